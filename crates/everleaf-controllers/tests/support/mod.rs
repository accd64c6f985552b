//! A small API server in memory, behind a tower service, for the shell's tests.
//!
//! It keeps requests, assigns resource versions, refuses stale writes, lists in pages and streams
//! watches, all as a real one does; it validates nothing. Tests read the calls that were made and
//! can put a fault in front of the next ones.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use everleaf_api::types;
use everleaf_pki::{KeyAlgorithm, PrivateKey, Subject, Template};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

pub(crate) const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// Answers instead of the server, if it wants to.
type Fault = Box<dyn FnMut(&Method, &str) -> Option<Answer> + Send>;

/// An answer: code, headers, body.
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Value,
}

#[derive(Default)]
pub(crate) struct State {
    /// `METHOD path` of every call; queries of lists and watches included.
    pub(crate) calls: Vec<String>,
    /// Bodies of deletions.
    pub(crate) deletions: Vec<Value>,
    /// `Date` header of every answer.
    pub(crate) date: Option<String>,
    /// Messages of the Kubernetes Events that were recorded.
    pub(crate) messages: Vec<String>,
    /// The lease that processes contend for.
    pub(crate) lease: Option<Value>,
    pub(crate) objects: BTreeMap<String, Value>,
    /// Subresources that access reviews allow.
    pub(crate) permissions: BTreeSet<&'static str>,
    /// The transport fails.
    pub(crate) is_away: bool,
    faults: Vec<Fault>,
    /// Calls whose `METHOD path` contains this take so long to arrive.
    delay: Option<(&'static str, Duration)>,
    events: Vec<(u64, Value)>,
    watches: Vec<mpsc::UnboundedSender<Bytes>>,
    version: u64,
}

#[derive(Clone, Default)]
pub(crate) struct Server(Arc<Mutex<State>>);

impl Server {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn allow(&self, permission: &'static str) {
        self.state().permissions.insert(permission);
    }

    /// Creates or replaces an object, as another client would.
    pub(crate) fn put(&self, object: Value) {
        self.state().store(object);
    }

    /// Changes an object, as another client would.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.object(name).unwrap();
        change(&mut object);
        self.put(object);
    }

    pub(crate) fn object(&self, name: &str) -> Option<Value> {
        self.state().objects.get(name).cloned()
    }

    pub(crate) fn remove(&self, name: &str) {
        self.state().remove(name);
    }

    /// Ends all watches, as a restart or a timeout does.
    pub(crate) fn close_watches(&self) {
        self.state().watches.clear();
    }

    /// Sends these bytes to all watches.
    pub(crate) fn send_raw(&self, text: &'static str) {
        self.state()
            .watches
            .retain(|watch| watch.send(Bytes::from_static(text.as_bytes())).is_ok());
    }

    /// Forgets all past events: who resumes from before gets 410.
    pub(crate) fn compact(&self) {
        let mut state = self.state();
        state.version += 100;
        state.events.clear();
    }

    /// Answers `times` calls whose `METHOD path` contains `text` with this.
    pub(crate) fn fault(
        &self,
        text: &'static str,
        times: usize,
        answer: impl Fn() -> Answer + Send + 'static,
    ) {
        let mut left = times;
        self.state().faults.push(Box::new(move |method, path| {
            if left == 0 || !format!("{method} {path}").contains(text) {
                return None;
            }
            left -= 1;
            Some(answer())
        }));
    }

    /// Calls whose `METHOD path` contains `text` take so long to arrive.
    pub(crate) fn delay(&self, text: &'static str, by: Duration) {
        self.state().delay = Some((text, by));
    }

    /// Restores an earlier state of everything: resource versions go back.
    pub(crate) fn restore(&self, objects: BTreeMap<String, Value>, version: u64) {
        let mut state = self.state();
        state.objects = objects;
        state.version = version;
        state.events.clear();
        state.watches.clear();
    }

    /// Calls that were made, without lists, watches and discovery.
    pub(crate) fn work(&self) -> Vec<String> {
        let is_work =
            |call: &&String| !call.starts_with("GET") || call.contains(&format!("{CSRS}/"));
        self.state().calls.iter().filter(is_work).cloned().collect()
    }

    /// Number of calls that contain `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.state()
            .calls
            .iter()
            .filter(|call| call.contains(text))
            .count()
    }

    pub(crate) fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let server = server.clone();
            async move { server.answer(request).await }
        });
        kube::Client::new(service, "default")
    }

    async fn answer(
        &self,
        request: Request<kube::client::Body>,
    ) -> Result<Response<Stream>, std::io::Error> {
        let (head, body) = request.into_parts();
        let agent = head.headers["user-agent"].to_str().unwrap();
        assert!(agent.starts_with("everleaf-controllers/"), "{agent}");
        let bytes = body
            .collect()
            .await
            .map_err(std::io::Error::other)?
            .to_bytes();
        let path = head
            .uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default();
        let call = format!("{} {path}", head.method);
        let delay = self.state().delay.filter(|(text, _)| call.contains(text));
        if let Some((_, by)) = delay {
            tokio::time::sleep(by).await;
        }
        let mut state = self.state();
        state.calls.push(call);
        if state.is_away {
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        let mut faults = std::mem::take(&mut state.faults);
        let fault = faults
            .iter_mut()
            .find_map(|fault| fault(&head.method, &path));
        state.faults = faults;
        let date = state.date.clone();
        let mut response = match fault {
            Some(answer) => {
                let mut response = whole(answer.code, &answer.body);
                for (name, value) in answer.headers {
                    response.headers_mut().insert(name, value.parse().unwrap());
                }
                response
            }
            None => state.route(&head.method, &path, &bytes),
        };
        if let Some(date) = date {
            response.headers_mut().insert("date", date.parse().unwrap());
        }
        Ok(response)
    }
}

/// What was sent, in either encoding.
fn read(path: &str, body: &[u8]) -> Value {
    if !body.starts_with(b"k8s\0") {
        return serde_json::from_slice(body).unwrap();
    }
    let r#type = match path {
        REVIEWS => &types::SUBJECT_ACCESS_REVIEW,
        _ => &types::CERTIFICATE_SIGNING_REQUEST,
    };
    r#type.decode_protobuf(body).unwrap()
}

impl State {
    fn route(&mut self, method: &Method, path: &str, body: &[u8]) -> Response<Stream> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let value = || read(path, body);
        if path == "/apis/certificates.k8s.io/v1" {
            return whole(
                200,
                &json!({ "resources": [{ "name": "certificatesigningrequests" }] }),
            );
        }
        if path == REVIEWS {
            let review = value();
            let asked = review["spec"]["resourceAttributes"]["subresource"]
                .as_str()
                .unwrap();
            let allowed = self.permissions.contains(asked);
            return whole(201, &json!({ "status": { "allowed": allowed } }));
        }
        if path.starts_with("/api/v1/namespaces/") && path.ends_with("/events") {
            let message = value()["message"].as_str().unwrap().to_owned();
            self.messages.push(message);
            return whole(201, &value());
        }
        if path.starts_with(LEASES) {
            return self.route_lease(method, path == LEASES, body);
        }
        if path == CSRS && query.contains("watch=true") {
            return self.watch(&parameter(query, "resourceVersion"));
        }
        if path == CSRS {
            return self.list(query);
        }
        let Some(rest) = path
            .strip_prefix(CSRS)
            .and_then(|rest| rest.strip_prefix('/'))
        else {
            return failure(404, "no such path");
        };
        let (name, subresource) = rest.split_once('/').unwrap_or((rest, ""));
        let Some(stored) = self.objects.get(name).cloned() else {
            return failure(404, &format!("{name} not found"));
        };
        match (method, subresource) {
            (&Method::GET, "") => whole(200, &stored),
            (&Method::DELETE, "") => {
                self.deletions.push(value());
                self.remove(name);
                whole(200, &json!({ "kind": "Status", "status": "Success" }))
            }
            (&Method::PUT, "approval" | "status") => {
                let new = value();
                if version(&new) != version(&stored) {
                    return failure(409, "the object has been modified");
                }
                let mut merged = stored;
                let members = match subresource {
                    "approval" => &["conditions"][..],
                    _ => &["certificate", "conditions"],
                };
                for member in members {
                    merged["status"][*member] = new["status"][*member].clone();
                }
                whole(200, &self.store(merged))
            }
            _ => failure(405, "method not allowed"),
        }
    }

    fn route_lease(&mut self, method: &Method, is_create: bool, body: &[u8]) -> Response<Stream> {
        let new = || serde_json::from_slice::<Value>(body).unwrap();
        match (&self.lease, method, is_create) {
            (None, &Method::POST, true) => whole(201, &self.store_lease(new())),
            (Some(_), &Method::POST, true) => failure(409, "already exists"),
            (None, ..) => failure(404, "not found"),
            (Some(stored), &Method::GET, false) => whole(200, stored),
            (Some(stored), &Method::PUT, false) if version(stored) != version(&new()) => {
                failure(409, "the object has been modified")
            }
            (Some(_), &Method::PUT, false) => whole(200, &self.store_lease(new())),
            _ => failure(405, "method not allowed"),
        }
    }

    pub(crate) fn store_lease(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.lease = Some(lease.clone());
        lease
    }

    fn store(&mut self, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let kind = if self.objects.contains_key(&name) {
            "MODIFIED"
        } else {
            "ADDED"
        };
        self.emit(kind, &object);
        self.objects.insert(name, object.clone());
        object
    }

    fn remove(&mut self, name: &str) {
        if let Some(mut object) = self.objects.remove(name) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.emit("DELETED", &object);
        }
    }

    fn emit(&mut self, kind: &str, object: &Value) {
        let event = json!({ "type": kind, "object": object });
        self.events.push((self.version, event.clone()));
        self.watches
            .retain(|watch| watch.send(line(&event)).is_ok());
    }

    fn watch(&mut self, from: &str) -> Response<Stream> {
        let from: u64 = from.parse().unwrap();
        if from > self.version {
            let current = self.version;
            let message = format!("Too large resource version: {from}, current: {current}");
            return failure(504, &message);
        }
        let oldest = self.version - self.events.len() as u64;
        if from < oldest {
            return failure(410, "too old resource version");
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        for (_, event) in self.events.iter().filter(|(version, _)| *version > from) {
            sender.send(line(event)).unwrap();
        }
        self.watches.push(sender);
        Response::new(Stream(receiver))
    }

    /// Pages: the continue token is the version of the first one, which all of them have, and the
    /// first name of the next.
    fn list(&self, query: &str) -> Response<Stream> {
        let limit: usize = parameter(query, "limit").parse().unwrap();
        let token = parameter(query, "continue");
        let now = self.version.to_string();
        let (version, from) = token.split_once('.').unwrap_or((&now, ""));
        let mut rest = self.objects.range(from.to_owned()..);
        let items: Vec<Value> = rest
            .by_ref()
            .take(limit)
            .map(|(_, object)| item(object))
            .collect();
        let token = rest.next().map(|(name, _)| format!("{version}.{name}"));
        let meta = json!({ "resourceVersion": version, "continue": token });
        whole(
            200,
            &json!({ "kind": "CertificateSigningRequestList", "metadata": meta, "items": items }),
        )
    }
}

/// Items of a list carry no type.
fn item(object: &Value) -> Value {
    let mut object = object.clone();
    object.as_object_mut().unwrap().remove("kind");
    object.as_object_mut().unwrap().remove("apiVersion");
    object
}

fn version(object: &Value) -> &Value {
    &object["metadata"]["resourceVersion"]
}

fn parameter(query: &str, name: &str) -> String {
    let prefix = format!("{name}=");
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(&prefix))
        .unwrap_or_default()
        .to_owned()
}

fn line(event: &Value) -> Bytes {
    Bytes::from(format!("{event}\n"))
}

pub(crate) fn status(code: u16, message: &str) -> Answer {
    let body = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message });
    Answer {
        code,
        headers: Vec::new(),
        body,
    }
}

fn failure(code: u16, message: &str) -> Response<Stream> {
    whole(code, &status(code, message).body)
}

fn whole(code: u16, body: &Value) -> Response<Stream> {
    let (sender, receiver) = mpsc::unbounded_channel();
    sender.send(Bytes::from(body.to_string())).unwrap();
    let mut response = Response::new(Stream(receiver));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

/// A body whose frames come from a channel; it ends when the sender is dropped.
pub(crate) struct Stream(mpsc::UnboundedReceiver<Bytes>);

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A node's own client request.
pub(crate) fn node_request(name: &str, node: &str) -> Value {
    let user = format!("system:node:{node}");
    let template = Template {
        subject: Subject {
            common_name: user.clone(),
            organizations: vec!["system:nodes".to_owned()],
        },
        ..Template::default()
    };
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let pem = template.to_request_pem(&key).unwrap();
    json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {
            "name": name,
            "uid": format!("uid-{name}"),
            "creationTimestamp": "2026-11-20T11:59:00Z",
            "labels": { "kept": "yes" },
        },
        "spec": {
            "request": STANDARD.encode(pem),
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
            "usages": ["digital signature", "client auth"],
            "username": user,
            "groups": ["system:nodes"],
        },
        "status": {},
    })
}

/// As the data of a Secret.
pub(crate) fn base64(text: &str) -> String {
    STANDARD.encode(text)
}
