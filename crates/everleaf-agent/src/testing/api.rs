//! A small API server: signing requests, the self review, one Node. It judges by its own clock.

use super::{Answerer, Body, Ca, Seen, Server, failure, hours, json as answer, now};
use bytes::Bytes;
use everleaf_api::csr::{self, Csr};
use everleaf_api::{meta, watch as frames};
use everleaf_pki::{Template, Usage, VerifiedRequest};
use futures_util::{StreamExt, stream};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

pub(crate) struct Api {
    pub(crate) ca: Ca,
    pub(crate) state: Mutex<State>,
    changed: watch::Sender<u64>,
}

pub(crate) struct State {
    pub(crate) objects: BTreeMap<String, Value>,
    /// Tokens that authenticate.
    pub(crate) tokens: BTreeSet<String>,
    /// Serials that do not, although signed and in date.
    pub(crate) refused: BTreeSet<String>,
    /// Signers whose requests are approved and issued as they come.
    pub(crate) approves: BTreeSet<&'static str>,
    pub(crate) lifetime: SignedDuration,
    pub(crate) node: Option<Value>,
    version: u64,
}

pub(crate) const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub(crate) const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";

impl Api {
    /// Approves client requests, grants ten years, knows the token `token`.
    pub(crate) async fn start() -> (Arc<Self>, Server) {
        Self::start_speaking(&["h2", "http/1.1"]).await
    }

    /// As [`Api::start`], over these protocols.
    pub(crate) async fn start_speaking(protocols: &[&str]) -> (Arc<Self>, Server) {
        let api = Arc::new(Self {
            ca: Ca::new("ca"),
            state: Mutex::new(State {
                objects: BTreeMap::new(),
                tokens: BTreeSet::from(["token".to_owned()]),
                refused: BTreeSet::new(),
                approves: BTreeSet::from([CLIENT_SIGNER]),
                lifetime: hours(87_600),
                node: None,
                version: 1,
            }),
            changed: watch::Sender::new(1),
        });
        // Its own certificate lasts, as that of `everleaf up`: a node's wrong clock must not
        // matter.
        let credential = api.ca.server(now() - hours(90_000), now() + hours(400_000));
        let answerer: Answerer = {
            let api = Arc::clone(&api);
            Arc::new(move |seen| api.answer(seen))
        };
        let server = Server::start_speaking(protocols, &credential, answerer).await;
        (api, server)
    }

    pub(crate) fn requests(&self) -> Vec<Value> {
        self.state
            .lock()
            .unwrap()
            .objects
            .values()
            .cloned()
            .collect()
    }

    /// Decides a request as `kubectl certificate approve` (and the signer) or `deny` would.
    pub(crate) fn decide(&self, name: &str, condition: &str) {
        let mut state = self.state.lock().unwrap();
        let mut object = state.objects.remove(name).unwrap();
        csr::push_condition(&mut object, condition, "Reason", "because", Some(now()));
        if condition == csr::APPROVED {
            self.issue(&mut object, state.lifetime);
        }
        self.put(&mut state, object);
    }

    fn put(&self, state: &mut State, mut object: Value) {
        state.version += 1;
        meta::set(&mut object, "resourceVersion", &state.version.to_string());
        let name = meta::name(&object).to_owned();
        state.objects.insert(name, object);
        self.changed.send_replace(state.version);
    }

    fn issue(&self, object: &mut Value, lifetime: SignedDuration) {
        let csr = Csr(object);
        let request = VerifiedRequest::from_pem(&csr.request()).unwrap();
        let template = Template {
            subject: request.subject().clone(),
            dns_names: request.dns_names().to_vec(),
            ip_addresses: request.ip_addresses().to_vec(),
            ..Template::default()
        };
        let usages: Vec<_> = csr
            .usages()
            .iter()
            .map(|u| Usage::parse(u).unwrap())
            .collect();
        let begin = now() - SignedDuration::from_mins(5);
        let chain = self
            .ca
            .issuer
            .issue_own(
                &template,
                request.public_key(),
                &usages,
                self.ca.serial(),
                begin,
                begin + lifetime,
            )
            .unwrap();
        csr::set_certificate(object, &chain.to_pem());
    }

    fn user(&self, seen: &Seen) -> Option<String> {
        let state = self.state.lock().unwrap();
        if let Some(token) = &seen.token {
            return state
                .tokens
                .contains(token)
                .then(|| "system:bootstrap:abcdef".to_owned());
        }
        let leaf = seen.leaf.as_ref()?;
        let is_good = leaf.is_signed_by(self.ca.issuer.certificate())
            && leaf.not_before() <= now()
            && leaf.not_after() >= now()
            && !state.refused.contains(&leaf.serial().to_string());
        is_good.then(|| leaf.subject().common_name.clone())
    }

    fn answer(self: &Arc<Self>, seen: &Seen) -> Response<Body> {
        let Some(user) = self.user(seen) else {
            return failure(401, "Unauthorized", "Unauthorized");
        };
        let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        match (seen.method.as_str(), path) {
            ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews") => answer(
                StatusCode::CREATED,
                &json!({"status": {"userInfo": {"username": user}}}),
            ),
            ("POST", REQUESTS) => self.create(&seen.body),
            ("GET", REQUESTS) if query.contains("watch=true") => self.watch(query),
            ("GET", REQUESTS) => self.list(query),
            ("GET", path) if path.starts_with("/api/v1/nodes/") => {
                let node = self.state.lock().unwrap().node.clone();
                match node {
                    Some(node) => answer(StatusCode::OK, &node),
                    None => failure(404, "NotFound", "nodes not found"),
                }
            }
            ("GET", path) => {
                let name = decoded(path.rsplit('/').next().unwrap_or_default());
                match self.state.lock().unwrap().objects.get(&name) {
                    Some(object) => answer(StatusCode::OK, object),
                    None => failure(404, "NotFound", "no such request"),
                }
            }
            _ => failure(405, "MethodNotAllowed", "no"),
        }
    }

    fn create(&self, body: &str) -> Response<Body> {
        let mut object: Value = serde_json::from_str(body).unwrap();
        let name = meta::name(&object).to_owned();
        let mut state = self.state.lock().unwrap();
        if state.objects.contains_key(&name) {
            return failure(409, "AlreadyExists", "already exists");
        }
        let uid = format!("uid-{}", state.version);
        meta::set(&mut object, "uid", &uid);
        let approves = state.approves.contains(Csr(&object).signer_name());
        self.put(&mut state, object.clone());
        let created = state.objects[&name].clone();
        drop(state);
        if approves {
            self.decide(&name, csr::APPROVED);
        }
        answer(StatusCode::CREATED, &created)
    }

    fn list(&self, query: &str) -> Response<Body> {
        let state = self.state.lock().unwrap();
        let items: Vec<_> = state
            .objects
            .values()
            .filter(|object| query.contains("limit=1") || is_selected(object, query))
            .collect();
        let version = state.version.to_string();
        answer(
            StatusCode::OK,
            &json!({"kind": "CertificateSigningRequestList", "metadata": {"resourceVersion": version}, "items": items}),
        )
    }

    /// Streams every later state of the selected object, until the client leaves.
    fn watch(self: &Arc<Self>, query: &str) -> Response<Body> {
        let since: u64 = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("resourceVersion="))
            .and_then(|text| text.parse().ok())
            .unwrap();
        let mut changes = self.changed.subscribe();
        changes.mark_changed();
        let start = (Arc::clone(self), changes, since, query.to_owned());
        let events = stream::unfold(start, |(api, mut changes, since, query)| async move {
            loop {
                changes.changed().await.ok()?;
                if let Some((version, frame)) = api.later(&query, since) {
                    return Some((frame, (api, changes, version, query)));
                }
            }
        });
        let body = events.map(|frame| Ok::<_, Infallible>(Frame::data(Bytes::from(frame))));
        Response::builder()
            .header("content-type", "application/json")
            .body(StreamBody::new(body).boxed_unsync())
            .unwrap()
    }

    /// The selected object as a watch event, if it changed after `since`.
    fn later(&self, query: &str, since: u64) -> Option<(u64, Vec<u8>)> {
        let state = self.state.lock().unwrap();
        let mut objects = state.objects.values();
        let object = objects.find(|object| is_selected(object, query))?;
        let version: u64 = meta::resource_version(object).parse().unwrap();
        let text = object.to_string();
        let frame = || frames::json_frame(frames::EventType::Modified, text.as_bytes());
        (version > since).then(|| (version, frame()))
    }
}

fn is_selected(object: &Value, query: &str) -> bool {
    let query = decoded(query);
    query.contains(&format!("metadata.name={}", meta::name(object)))
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .unwrap()
        .into_owned()
}
