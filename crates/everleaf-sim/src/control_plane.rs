//! API server and controllers of the simulated cluster: the production request walk over the memory
//! store, and the production machines of follower, approver, signer and cleaner behind it.
//!
//! Stands where the shells of controllers and API server stand in production, and like them holds
//! no policy: it carries calls, and keeps time.

use crate::rng::Rng;
use bytes::Bytes;
use everleaf_api::csr::{self, Csr};
use everleaf_apiserver::authn::{Authenticator, Peer};
use everleaf_apiserver::authz::Authorizer;
use everleaf_apiserver::bootstrap::bootstrap_token_secret;
use everleaf_apiserver::handler::{self, Server, Version, WatchStream};
use everleaf_apiserver::late_reissue::Policy;
use everleaf_apiserver::registry::apis::Apis;
use everleaf_apiserver::serve::InProcess;
use everleaf_apiserver::store::Memory;
use everleaf_apiserver::user::User;
use everleaf_apiserver::writer::Mode;
use everleaf_controllers::Config;
use everleaf_controllers::attempt::{self, Task};
use everleaf_controllers::call::{Answer, Call, CallError, Expect, read_answer};
use everleaf_controllers::cleaner::{self, Ages, PASS_INTERVAL, Pass};
use everleaf_controllers::core::Core;
use everleaf_controllers::follower::{self, Follower, Resource};
use everleaf_controllers::issuers::{Issuers, Terms};
use everleaf_controllers::notice::Notice;
use everleaf_controllers::queue::{Next, Outcome};
use everleaf_controllers::serving::PolicySet;
use everleaf_pki::{Issuer, PrivateKey, SignerName, Subject, Template};
use everleaf_time::{Monotonic, Now, StepDetector};
use futures_util::FutureExt;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tower::Service;

const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// Which nodes may come back whose certificate has ended, if they ask.
const LATE_REISSUE: Policy = Policy {
    age_max: SignedDuration::from_hours(6 * 365 * 24),
    recoveries_max: 3,
};

/// Why a world cannot be built: a defect, or a scenario that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("the control plane cannot be built: {0}")]
pub struct BuildError(String);

fn built<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, BuildError> {
    result.map_err(|error| BuildError(error.to_string()))
}

/// An answer as it is on the wire.
pub type Response = http::Response<Bytes>;

/// What came of a node's request at the server.
pub enum Answered {
    /// A stream that stays open.
    Stream(http::response::Parts, Box<WatchStream>),
    /// All of it.
    Whole(Response),
}

/// Server, controllers, and the authority.
pub struct ControlPlane {
    server: Arc<Server>,
    controllers: Controllers,
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
        let end = Timestamp::from_second(4_102_444_800).map_err(|e| BuildError(e.to_string()))?;
        Self::until(rng, now, signing_duration, token, token_expires, end)
    }

    /// The same, with an authority that ends then.
    pub fn until(
        rng: &Rng,
        now: Timestamp,
        signing_duration: Duration,
        token: (&str, &str),
        token_expires: Timestamp,
        end: Timestamp,
    ) -> Result<Self, BuildError> {
        let mut keys = rng.branch("ca");
        let key = built(PrivateKey::from_ed25519_seed(&keys.bytes()))?;
        let issuer = Issuer::self_signed("kubernetes", key, keys.bytes(), now, end);
        let issuer = Arc::new(built(issuer)?);
        let server = Arc::new(server(rng, &issuer)?);
        let token =
            bootstrap_token_secret(token.0, token.1, Some(token_expires), "simulated fleet");
        ready(server.install(now)).and_then(built)?;
        ready(server.put("secrets", token, now)).and_then(built)?;
        let controllers = Controllers::new(&server, rng, now, signing_duration, issuer)?;
        Ok(Self {
            server,
            controllers,
        })
    }

    /// Answers one call of a node at the server's time `now`. `None`: not at its first poll.
    pub fn answer(&self, request: Request<Bytes>, peer: &Peer, now: Timestamp) -> Option<Answered> {
        let response = self.server.handle(request, peer, now).now_or_never()?;
        let (parts, body) = response.into_parts();
        let body = body.completed();
        if let Some(bytes) = body.as_bytes() {
            return Some(Answered::Whole(Response::from_parts(parts, bytes.clone())));
        }
        Some(Answered::Stream(parts, Box::new(body.into_watch()?)))
    }

    /// Lets the controllers see what changed and do what they have to do; returns when they want to
    /// be called again although nothing changes.
    pub fn work(&mut self, now: Now) -> Option<Monotonic> {
        self.controllers.work(now)
    }

    /// A certificate that somebody may have stands in the issuance log.
    pub fn judge_logged(&self, notice: &Notice) -> Result<(), String> {
        let Notice::Issued { about, leaf, .. } = notice else {
            return Ok(());
        };
        let entry = (about.csr.clone(), leaf.serial.clone());
        match self.controllers.logged.contains(&entry) {
            true => Ok(()),
            false => Err(format!("{} was issued and is not in the log", leaf.serial)),
        }
    }

    /// What the controllers told since the last call.
    pub fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.controllers.notices)
    }

    /// Somebody who is neither a node's agent nor an operator files a request for a node's client
    /// certificate. Returns whether the server took it.
    pub fn file(&self, whom: User, name: &str, node: &str, key: [u8; 32], now: Timestamp) -> bool {
        let template = Template {
            subject: Subject::node(node),
            ..Template::default()
        };
        let key = PrivateKey::from_ed25519_seed(&key);
        let pem = key.and_then(|key| template.to_request_pem(&key));
        let signer = SignerName::KUBE_APISERVER_CLIENT_KUBELET;
        let usages = ["digital signature", "client auth"];
        let object = csr::build(name, "", &pem.unwrap_or_default(), signer, &usages, None);
        let mut service = self.server.in_process(whom, Arc::new(move || now));
        let call = Call::new(Method::POST, CSRS, Some(object));
        call_in_process(&mut service, &call).is_ok()
    }

    /// Lets a user file requests, and nothing else.
    pub fn let_file(&self, name: &str, now: Timestamp) -> Result<(), String> {
        let (group, role) = ("rbac.authorization.k8s.io", "may-file");
        let rule = json!({"apiGroups": ["certificates.k8s.io"],
            "resources": ["certificatesigningrequests"], "verbs": ["create"]});
        let role_object = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole",
            "metadata": {"name": role}, "rules": [rule]});
        let binding = json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": role},
            "subjects": [{"kind": "User", "name": name, "apiGroup": group}],
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role}});
        for (resource, object) in [
            ("clusterroles", role_object),
            ("clusterrolebindings", binding),
        ] {
            let put = ready(self.server.put(resource, object, now));
            put.map_err(|error| error.to_string())??;
        }
        Ok(())
    }

    /// Registers a node, as its kubelet does.
    pub fn put_node(&self, name: &str, now: Timestamp) -> Result<(), BuildError> {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        ready(self.server.put("nodes", node, now)).and_then(built)?;
        Ok(())
    }

    /// Whether the request of this name waits for its certificate.
    pub fn is_waiting(&self, name: &str) -> bool {
        let objects = self.server.objects();
        let stored = objects.get("certificatesigningrequests", "", name);
        stored.is_some_and(|stored| Csr(&stored.object()).certificate().is_empty())
    }

    /// An operator approves every serving certificate that is asked for; returns how many.
    pub fn approve_serving(&mut self, now: Timestamp) -> usize {
        let admin = User {
            name: "operator".to_owned(),
            groups: vec![
                "system:masters".to_owned(),
                "system:authenticated".to_owned(),
            ],
            ..User::default()
        };
        let mut service = self.server.in_process(admin, Arc::new(move || now));
        let requests = self
            .server
            .objects()
            .list("certificatesigningrequests", None);
        let mut approved = 0;
        for stored in requests {
            let mut object = (*stored.object()).clone();
            let csr = Csr(&object);
            let is_serving = csr.signer_name() == SignerName::KUBELET_SERVING;
            if !is_serving || !csr.conditions().is_empty() {
                continue;
            }
            let path = format!("{CSRS}/{}/approval", csr.name());
            csr::push_condition(&mut object, csr::APPROVED, "ByOperator", "", None);
            let call = Call::new(Method::PUT, path, Some(object));
            approved += usize::from(call_in_process(&mut service, &call).is_ok());
        }
        approved
    }

    /// Every stored object as JSON text, for checkers.
    pub fn stored_text(&self, resource: &str) -> String {
        let objects = self.server.objects().list(resource, None);
        objects
            .iter()
            .map(|stored| stored.object().to_string())
            .collect()
    }

    /// The server itself, for tests that look at what is stored.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }
}

/// The controllers, in one process.
struct Controllers {
    service: InProcess,
    clock: Arc<AtomicI64>,
    core: Core,
    follower: Follower,
    /// The follower pauses until then.
    follow_at: Monotonic,
    /// The issuance log: names of requests, and serial numbers.
    logged: BTreeSet<(String, String)>,
    notices: Vec<Notice>,
    pass: Option<Pass>,
    /// The next pass of the cleaner, or the next step of this one.
    pass_at: Monotonic,
    steps: StepDetector,
    /// The follower's open watch, and when it was opened.
    stream: Option<(WatchStream, Monotonic)>,
}

impl Controllers {
    fn new(
        server: &Arc<Server>,
        rng: &Rng,
        now: Timestamp,
        signing_duration: Duration,
        issuer: Arc<Issuer>,
    ) -> Result<Self, BuildError> {
        let clock = Arc::new(AtomicI64::new(now.as_second()));
        let shown = Arc::clone(&clock);
        let service = server.in_process(
            User::service_account("kube-system", "certificate-controller"),
            Arc::new(move || {
                Timestamp::from_second(shown.load(Ordering::Relaxed))
                    .unwrap_or(Timestamp::UNIX_EPOCH)
            }),
        );
        let serials = Mutex::new(rng.branch("serials"));
        let config = Config {
            serials: Arc::new(move || {
                Ok(serials
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .bytes())
            }),
            signing_duration,
            ..Config::in_process(issuer)
        };
        let (issuers, _) = built(Issuers::load(&config.issuers, Terms::of(&config)))?;
        let mut steps = StepDetector::default();
        steps.observe(Now {
            wall: now,
            monotonic: Monotonic::default(),
        });
        Ok(Self {
            service,
            clock,
            core: Core::new(&config, issuers, PolicySet::default()).logging(),
            logged: BTreeSet::new(),
            follower: Follower::new(Resource::SIGNING_REQUESTS),
            follow_at: Monotonic::default(),
            notices: Vec::new(),
            pass: None,
            pass_at: Monotonic::from_origin(PASS_INTERVAL),
            steps,
            stream: None,
        })
    }

    fn work(&mut self, now: Now) -> Option<Monotonic> {
        self.clock.store(now.wall.as_second(), Ordering::Relaxed);
        let tasks: Vec<Task> = self.core.tasks().collect();
        let mut wake = None;
        loop {
            self.follow(now);
            let mut is_idle = true;
            for task in &tasks {
                match self.core.next(*task, now.monotonic).0 {
                    Next::Ready { key, waited } => {
                        is_idle = false;
                        let ready_at = now.monotonic.since_origin().saturating_sub(waited);
                        let outcome =
                            self.attempt(*task, &key, Monotonic::from_origin(ready_at), now);
                        self.core.done(*task, &key, outcome, now.monotonic);
                    }
                    Next::WaitUntil(at) => wake = earlier(wake, at),
                    Next::Idle => {}
                }
            }
            if is_idle {
                break;
            }
            wake = None;
        }
        self.clean(now);
        if self.pass.is_some() {
            wake = earlier(wake, self.pass_at);
        }
        if self.follow_at > now.monotonic {
            wake = earlier(wake, self.follow_at);
        }
        wake
    }

    fn attempt(&mut self, task: Task, name: &str, ready_at: Monotonic, now: Now) -> Outcome {
        let mut attempt = self.core.begin(task, name, ready_at);
        loop {
            match attempt.step(&self.core, now) {
                attempt::Step::Call(call) => {
                    let answer = self.call(&call, now.monotonic);
                    attempt.answer(&answer, &self.core, now);
                }
                attempt::Step::Done(outcome) => return outcome,
                attempt::Step::Log(entry) => {
                    self.logged.insert((entry.csr, entry.serial));
                    attempt.logged(Ok(()), &self.core, now);
                }
                // No policy here asks for one.
                attempt::Step::Look(look) => attempt.looked(look.in_vain()),
                attempt::Step::Tell(notice) => self.notices.push(*notice),
            }
        }
    }

    fn follow(&mut self, now: Now) {
        while self.follow_at <= now.monotonic {
            match self.follower.step() {
                follower::Step::Call(call) => {
                    let answer = self.call(&call, now.monotonic);
                    self.follower.answer(&answer, now.monotonic);
                }
                follower::Step::Read(_) => match self.read(now.monotonic) {
                    Poll::Pending => return,
                    Poll::Ready(frame) => self.follower.read(frame.as_ref(), now.monotonic),
                },
                follower::Step::Take(delta) => {
                    self.core.take(delta, now);
                }
                follower::Step::Tell(notice) => self.notices.push(*notice),
                follower::Step::Wait(pause) => self.follow_at = now.monotonic + pause,
                follower::Step::Missing(_) | follower::Step::Synced => {}
            }
        }
    }

    /// The next frame of the watch; `None`: it ended.
    fn read(&mut self, now: Monotonic) -> Poll<Option<Bytes>> {
        let Some((stream, opened)) = &mut self.stream else {
            return Poll::Ready(None);
        };
        let mut context = Context::from_waker(Waker::noop());
        let frame = stream.poll_next(&mut context, now.since(*opened));
        if matches!(frame, Poll::Ready(None)) {
            self.stream = None;
        }
        frame
    }

    /// One pass of the cleaner, once an hour; it may take several calls.
    fn clean(&mut self, now: Now) {
        if now.monotonic < self.pass_at {
            return;
        }
        if self.pass.is_none() {
            let is_stepped = self.steps.observe(now).is_some();
            // Server and controllers are one host.
            if !cleaner::may_judge_ages(Some(SignedDuration::ZERO), is_stepped) {
                self.pass_at = now.monotonic + PASS_INTERVAL;
                return self.notices.push(Notice::CleaningSkipped { offset: None });
            }
            self.pass = Some(Pass::new(self.core.entries(), Ages::default(), now.wall));
        }
        while let Some(pass) = &mut self.pass {
            match pass.step(now.monotonic) {
                cleaner::Step::Call(call) => {
                    let answer = call_in_process(&mut self.service, &call);
                    pass.answer(&answer.map(|(bytes, _)| bytes));
                }
                cleaner::Step::Done => {
                    self.pass = None;
                    self.pass_at = now.monotonic + PASS_INTERVAL;
                }
                cleaner::Step::Tell(notice) => self.notices.push(*notice),
                cleaner::Step::Wait(pause) => {
                    self.pass_at = now.monotonic + pause;
                    return;
                }
            }
        }
    }

    fn call(&mut self, call: &Call, now: Monotonic) -> Answer {
        let (bytes, stream) = call_in_process(&mut self.service, call)?;
        if let Some(stream) = stream {
            self.stream = Some((stream, now));
        }
        Ok(bytes)
    }
}

fn earlier(one: Option<Monotonic>, other: Monotonic) -> Option<Monotonic> {
    Some(one.map_or(other, |one| one.min(other)))
}

fn call_in_process(
    service: &mut InProcess,
    call: &Call,
) -> Result<(Bytes, Option<WatchStream>), CallError> {
    let broken = |what: &str| CallError::Unreachable(what.to_owned());
    let request = call.request()?.map(Full::new);
    let Some(Ok(response)) = service.call(request).now_or_never() else {
        return Err(broken("not answered at its first poll"));
    };
    let (parts, body) = response.into_parts();
    if call.expect == Expect::Stream && parts.status.is_success() {
        return Ok((Bytes::new(), body.into_watch()));
    }
    let bytes = body.collect().now_or_never().and_then(Result::ok);
    let bytes = bytes.ok_or_else(|| broken("the answer broke"))?.to_bytes();
    read_answer(parts.status, &parts.headers, bytes).map(|bytes| (bytes, None))
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
        late_reissue: Some(LATE_REISSUE),
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
        encryption: Default::default(),
        audit: None,
        apis: Apis::default(),
    };
    built(Server::new(config, Box::new(Memory::new())))
}
