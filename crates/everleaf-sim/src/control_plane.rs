//! API server and controllers of the simulated cluster: the production request walk over the memory
//! store, and the production decisions of approver, signer and cleaner behind it.
//!
//! Stands where `controllers/run.rs` and `apiserver/serve.rs` stand in production, and like them holds
//! no policy.

use crate::rng::Rng;
use bytes::Bytes;
use everleaf_api::csr::{self, Csr};
use everleaf_api::watch::{EventType, JsonEvents};
use everleaf_apiserver::authn::{Authenticator, Peer};
use everleaf_apiserver::authz::Authorizer;
use everleaf_apiserver::bootstrap::bootstrap_token_secret;
use everleaf_apiserver::handler::{self, Server, Version, WatchStream};
use everleaf_apiserver::serve::InProcess;
use everleaf_apiserver::store::Memory;
use everleaf_apiserver::user::User;
use everleaf_apiserver::writer::Mode;
use everleaf_controllers::BuiltinSigner;
use everleaf_controllers::approver::{self, Review};
use everleaf_controllers::cleaner::{self, Ages};
use everleaf_controllers::index::{Index, Stage};
use everleaf_controllers::queue::{Next, Outcome, Queue};
use everleaf_controllers::signer::{self, Issuance};
use everleaf_controllers::uptime::Uptime;
use everleaf_pki::{Issuer, PrivateKey};
use futures_util::FutureExt;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tower::Service;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const ACCESS_REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// Why a world cannot be built: a defect, or a scenario that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("the control plane cannot be built: {0}")]
pub struct BuildError(String);

fn built<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, BuildError> {
    result.map_err(|error| BuildError(error.to_string()))
}

/// An answer as a node sees it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub code: StatusCode,
    /// JSON body; null when it is not JSON.
    pub body: Value,
}

/// Which loop has work on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Approve,
    Sign(BuiltinSigner),
}

/// Server, controllers, and the authority.
pub struct ControlPlane {
    server: Arc<Server>,
    controllers: InProcess,
    clock: Arc<AtomicI64>,
    issuer: Issuer,
    signing_duration: Duration,
    serials: Rng,
    index: Index,
    queue: Queue<(Role, String)>,
    watch: Option<(WatchStream, Duration, JsonEvents)>,
    cleaned: Duration,
}

impl ControlPlane {
    /// A cluster at `now` whose signer grants `signing_duration`, with one bootstrap token
    /// (`id`, `secret`) that expires at `token_expires`.
    pub fn new(
        rng: &Rng,
        now: Timestamp,
        signing_duration: Duration,
        token: (&str, &str),
        token_expires: Timestamp,
    ) -> Result<Self, BuildError> {
        let mut keys = rng.branch("ca");
        let key = built(PrivateKey::from_ed25519_seed(&keys.bytes()))?;
        let end = Timestamp::from_second(4_102_444_800).map_err(|e| BuildError(e.to_string()))?;
        let issuer = built(Issuer::self_signed(
            "kubernetes",
            key,
            keys.bytes(),
            now,
            end,
        ))?;
        let clock = Arc::new(AtomicI64::new(now.as_second()));
        let server = Arc::new(server(rng, &issuer)?);
        let token =
            bootstrap_token_secret(token.0, token.1, Some(token_expires), "simulated fleet");
        ready(server.install(now)).and_then(built)?;
        ready(server.put("secrets", token, now)).and_then(built)?;
        let shown = Arc::clone(&clock);
        let controllers = server.in_process(
            certificate_controller(),
            Arc::new(move || {
                Timestamp::from_second(shown.load(Ordering::Relaxed))
                    .unwrap_or(Timestamp::UNIX_EPOCH)
            }),
        );
        Ok(Self {
            server,
            controllers,
            clock,
            issuer,
            signing_duration,
            serials: rng.branch("serials"),
            index: Index::default(),
            queue: Queue::default(),
            watch: None,
            cleaned: Duration::ZERO,
        })
    }

    /// Answers one call of a node at true time `now`.
    pub fn answer(&self, request: Request<Bytes>, peer: &Peer, now: Timestamp) -> Option<Answer> {
        let response = self.server.handle(request, peer, now).now_or_never()?;
        let (parts, body) = response.into_parts();
        Some(Answer {
            code: parts.status,
            body: body
                .as_bytes()
                .and_then(|bytes| serde_json::from_slice(bytes).ok())
                .unwrap_or(Value::Null),
        })
    }

    /// Lets the controllers see what changed and do what they have to do; returns when they want to
    /// be called again although nothing changes.
    pub fn work(&mut self, now: Timestamp, elapsed: Duration) -> Option<Duration> {
        self.clock.store(now.as_second(), Ordering::Relaxed);
        let uptime = Uptime::new(elapsed);
        loop {
            self.follow(elapsed);
            match self.queue.next(uptime) {
                Next::Ready { key, .. } => {
                    let outcome = self.perform(&key, now);
                    self.queue.done(&key, outcome, uptime);
                }
                Next::WaitUntil(until) => return Some(until.since_start()),
                Next::Idle => return None,
            }
        }
    }

    /// One pass of the cleaner, at most once an hour.
    pub fn clean(&mut self, now: Timestamp, elapsed: Duration) {
        if elapsed.saturating_sub(self.cleaned) < Duration::from_secs(3600) {
            return;
        }
        self.cleaned = elapsed;
        self.follow(elapsed);
        let old: Vec<String> = self
            .index
            .entries()
            .map(|entry| entry.record())
            .filter(|record| {
                matches!(
                    cleaner::decide(record, now, &Ages::default()),
                    cleaner::Action::Delete(_)
                )
            })
            .map(|record| record.name.clone())
            .collect();
        for name in old {
            self.call(Method::DELETE, &format!("{REQUESTS}/{name}"), None);
        }
    }

    /// Signing requests the server holds.
    pub fn requests_held(&self) -> usize {
        self.server
            .objects()
            .list("certificatesigningrequests", None)
            .len()
    }

    /// Every stored object as JSON text, for checkers.
    pub fn stored_text(&self, resource: &str) -> String {
        let objects = self.server.objects().list(resource, None);
        objects
            .iter()
            .map(|stored| stored.object().to_string())
            .collect()
    }

    fn follow(&mut self, elapsed: Duration) {
        loop {
            let Some((stream, opened, events)) = &mut self.watch else {
                if !self.list_and_watch(elapsed) {
                    return;
                }
                continue;
            };
            let mut context = Context::from_waker(Waker::noop());
            let frame = match stream.poll_next(&mut context, elapsed.saturating_sub(*opened)) {
                Poll::Pending => return,
                Poll::Ready(frame) => frame,
            };
            let Some(events) = frame.and_then(|frame| events.feed(&frame).ok()) else {
                self.watch = None;
                continue;
            };
            for event in events {
                match event.kind {
                    EventType::Added | EventType::Modified => self.take_in(event.object, elapsed),
                    EventType::Deleted => self.index.delete(Csr(&event.object).name()),
                    EventType::Bookmark => {}
                    EventType::Error => self.watch = None,
                }
            }
        }
    }

    fn list_and_watch(&mut self, elapsed: Duration) -> bool {
        let Some((_, list)) = self.call(Method::GET, REQUESTS, None) else {
            return false;
        };
        let version = list["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default();
        let path = format!("{REQUESTS}?watch=true&resourceVersion={version}");
        let items = list["items"].as_array().cloned().unwrap_or_default();
        for change in self.index.reset(items) {
            self.enqueue(change.stage, change.name, elapsed);
        }
        let request = request(Method::GET, &path, None);
        let Some(Ok(response)) = self.controllers.call(request).now_or_never() else {
            return false;
        };
        self.watch = response
            .into_body()
            .into_watch()
            .map(|stream| (stream, elapsed, JsonEvents::default()));
        self.watch.is_some()
    }

    fn take_in(&mut self, object: Value, elapsed: Duration) {
        if let Some(change) = self.index.apply(object) {
            self.enqueue(change.stage, change.name, elapsed);
        }
    }

    fn enqueue(&mut self, stage: Stage, name: String, elapsed: Duration) {
        let role = match stage {
            Stage::Undecided => Role::Approve,
            Stage::Approved(Some(signer)) => Role::Sign(signer),
            Stage::Approved(None) | Stage::Closed => return,
        };
        self.queue.add((role, name), Uptime::new(elapsed));
    }

    fn perform(&mut self, (role, name): &(Role, String), now: Timestamp) -> Outcome {
        match role {
            Role::Approve => self.approve(name, now),
            Role::Sign(signer) => self.sign(name, *signer, now),
        }
    }

    fn approve(&mut self, name: &str, now: Timestamp) -> Outcome {
        let Some(open) = self.index.open(name) else {
            return Outcome::Finished;
        };
        let mut reviews = Vec::new();
        loop {
            match approver::decide(&open, &reviews, None) {
                approver::Action::Review { permission } => {
                    let body = approver::review_body(open.csr(), permission);
                    let Some((StatusCode::CREATED, review)) =
                        self.call(Method::POST, ACCESS_REVIEWS, Some(&body))
                    else {
                        return Outcome::FAILED;
                    };
                    let allowed = review["status"]["allowed"] == Value::Bool(true);
                    reviews.push(Review {
                        permission,
                        allowed,
                    });
                }
                approver::Action::Approve {
                    reason, message, ..
                } => {
                    let mut object = open.object().clone();
                    csr::push_condition(&mut object, csr::APPROVED, reason, message, Some(now));
                    return self.put(name, "approval", &object);
                }
                approver::Action::Hold(delay) => return Outcome::After(delay),
                approver::Action::Leave(_) => return Outcome::Finished,
            }
        }
    }

    fn sign(&mut self, name: &str, builtin: BuiltinSigner, now: Timestamp) -> Outcome {
        let Some(open) = self.index.open(name) else {
            return Outcome::Finished;
        };
        let approved = match signer::decide(&open, builtin) {
            signer::Action::Sign(approved) => approved,
            signer::Action::Fail { reason, message } => {
                let mut object = open.object().clone();
                csr::push_condition(&mut object, csr::FAILED, reason, &message, Some(now));
                return self.put(name, "status", &object);
            }
            signer::Action::Leave => return Outcome::Finished,
        };
        let serial = self.serials.bytes();
        match signer::issue(&self.issuer, &approved, self.signing_duration, serial, now) {
            Issuance::Issued(issued) => {
                let mut object = open.object().clone();
                csr::set_certificate(&mut object, &issued.chain.to_pem());
                self.put(name, "status", &object)
            }
            Issuance::Failed { .. } | Issuance::Unavailable(_) => Outcome::FAILED,
        }
    }

    fn put(&mut self, name: &str, subresource: &str, object: &Value) -> Outcome {
        let path = format!("{REQUESTS}/{name}/{subresource}");
        match self.call(Method::PUT, &path, Some(object)) {
            Some((StatusCode::OK, _)) => Outcome::Finished,
            _ => Outcome::FAILED,
        }
    }

    fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Option<(StatusCode, Value)> {
        let response = self
            .controllers
            .call(request(method, path, body))
            .now_or_never()?;
        let (parts, body) = response.ok()?.into_parts();
        let value = serde_json::from_slice(body.as_bytes()?).ok()?;
        Some((parts.status, value))
    }
}

/// The answer of a future that never waits: the memory store commits inline.
fn ready<T>(future: impl Future<Output = T>) -> Result<T, BuildError> {
    future
        .now_or_never()
        .ok_or_else(|| BuildError("the memory store made a request wait".to_owned()))
}

fn server(rng: &Rng, issuer: &Issuer) -> Result<Server, BuildError> {
    let mut random = rng.branch("server");
    let authenticator = Authenticator::new(everleaf_apiserver::authn::Config {
        client_ca_pem: issuer.certificate_pem().into_bytes(),
        bootstrap_tokens: true,
        anonymous: true,
        ..Default::default()
    });
    let config = handler::Config {
        authenticator: built(authenticator)?,
        authorizer: Authorizer::default(),
        version: Version::of_release(env!("CARGO_PKG_VERSION"), "", ""),
        random: Box::new(move |buffer| {
            for chunk in buffer.chunks_mut(8) {
                let word = random.next_word().to_le_bytes();
                chunk.copy_from_slice(&word[..chunk.len()]);
            }
        }),
        limits: handler::Limits::default(),
        address: String::new(),
        writer: Mode::Inline,
    };
    built(Server::new(config, Box::new(Memory::new())))
}

/// Who the controllers are, as in `up`.
fn certificate_controller() -> User {
    User {
        name: "system:serviceaccount:kube-system:certificate-controller".to_owned(),
        groups: [
            "system:serviceaccounts",
            "system:serviceaccounts:kube-system",
            "system:authenticated",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..User::default()
    }
}

fn request(method: Method, path: &str, body: Option<&Value>) -> Request<Full<Bytes>> {
    let bytes = body.map(Value::to_string).unwrap_or_default();
    let mut request = Request::new(Full::new(Bytes::from(bytes)));
    *request.method_mut() = method;
    // A path made of our own constants and names the server has accepted.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
}
