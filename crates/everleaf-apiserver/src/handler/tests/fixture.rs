//! A server on the memory store, and requests as one line each.

use crate::audit::Auditor;
use crate::authn::{self, Authenticator, Peer};
use crate::authz::Authorizer;
use crate::encryption::Encryption;
use crate::handler::{Body, Config, Limits, Server, Version, WatchStream};
use crate::registry::apis::Apis;
use crate::store::{Memory, Store};
use crate::writer::Mode;
use bytes::Bytes;
use everleaf_pki::{KeyAlgorithm, PrivateKey};
use futures_util::FutureExt as _;
use http::{HeaderMap, Method, Request};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;

/// Everybody's token is their name with a `t-` in front.
const TOKENS: &str = "\
t-admin,admin,,system:masters
t-eve,eve,
t-node,system:node:n1,,system:nodes
t-bootstrap,system:bootstrap:abcdef,,system:bootstrappers:kubeadm:default-node-token
";

/// Who signs tokens of service accounts.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A store that is not encrypted.
fn plain(store: Box<dyn Store>) -> (Box<dyn Store>, Encryption) {
    (store, Encryption::default())
}

fn judges() -> authn::Config {
    authn::Config {
        token_auth_csv: TOKENS.to_owned(),
        anonymous: true,
        bootstrap_tokens: true,
        service_accounts: Some(authn::ServiceAccountConfig {
            issuer: ISSUER.to_owned(),
            audiences: Vec::new(),
            signing_key: Some(Arc::new(
                PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(),
            )),
            verification_keys: Vec::new(),
        }),
        ..authn::Config::default()
    }
}

/// A server under test.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) now: Timestamp,
    user: &'static str,
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Box::new(Memory::new()), Limits::default())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        Self::with(Box::new(Memory::new()), limits)
    }

    /// With the writer on its own thread; needs a runtime to wait for it.
    pub(crate) fn threaded() -> Self {
        let store = Box::new(Memory::new());
        Self::build(
            store,
            Mode::Thread,
            None,
            (Limits::default(), Apis::default()),
        )
    }

    pub(crate) fn with(store: Box<dyn Store>, limits: Limits) -> Self {
        Self::build(store, Mode::Inline, None, (limits, Apis::default()))
    }

    /// One that serves these.
    pub(crate) fn serving(apis: Apis) -> Self {
        let store = Box::new(Memory::new());
        Self::build(store, Mode::Inline, None, (Limits::default(), apis))
    }

    /// One that tells of its requests.
    pub(crate) fn audited(audit: Auditor) -> Self {
        let store = Box::new(Memory::new());
        let offer = (Limits::default(), Apis::default());
        Self::build(store, Mode::Inline, Some(audit), offer)
    }

    /// One that believes others, too.
    pub(crate) fn believing(writer: Mode, edit: impl FnOnce(&mut authn::Config)) -> Self {
        let mut judges = judges();
        edit(&mut judges);
        let offer = (Limits::default(), Apis::default());
        let store = (plain(Box::new(Memory::new())), writer);
        Self::build_with(judges, store, None, offer)
    }

    /// One whose store is encrypted.
    pub(crate) fn encrypted(store: Box<dyn Store>, encryption: Encryption) -> Self {
        let offer = (Limits::default(), Apis::default());
        Self::build_with(judges(), ((store, encryption), Mode::Inline), None, offer)
    }

    fn build(
        store: Box<dyn Store>,
        writer: Mode,
        audit: Option<Auditor>,
        offer: (Limits, Apis),
    ) -> Self {
        Self::build_with(judges(), (plain(store), writer), audit, offer)
    }

    fn build_with(
        judges: authn::Config,
        ((store, encryption), writer): ((Box<dyn Store>, Encryption), Mode),
        audit: Option<Auditor>,
        (limits, apis): (Limits, Apis),
    ) -> Self {
        let mut counter = 0u64;
        let config = Config {
            authenticator: Authenticator::new(judges).unwrap(),
            authorizer: Authorizer::default(),
            version: Version::of_release("0.1.0", "abc", ""),
            random: Box::new(move |bytes| {
                for byte in bytes {
                    counter = counter
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    *byte = (counter >> 33) as u8;
                }
            }),
            limits,
            address: "127.0.0.1:6443".to_owned(),
            writer,
            encryption,
            audit,
            apis,
        };
        let world = Self {
            server: Server::new(config, store).unwrap(),
            now: "2026-01-02T03:04:05Z".parse().unwrap(),
            user: "admin",
        };
        let install = world.server.install(world.now);
        match writer {
            Mode::Inline => install.now_or_never().expect("one poll is enough"),
            Mode::Thread => block_on(install),
        }
        .unwrap();
        world
    }

    /// The same world through another's eyes.
    pub(crate) fn be(&mut self, user: &'static str) -> &mut Self {
        self.user = user;
        self
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    pub(crate) fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> http::Response<Body> {
        self.begin(method, path, headers, body)
            .now_or_never()
            .expect("with the inline writer one poll is enough")
    }

    /// The same as a future.
    pub(crate) async fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> http::Response<Body> {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path);
        if self.user != "nobody" {
            request = request.header("Authorization", format!("Bearer t-{}", self.user));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let peer = Peer::default();
        self.server.handle(request, &peer, self.now).await
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let response = self.raw(method, path, headers, body);
        Answer::of(response)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], body.to_string())
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &[], body.to_string())
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Answer {
        let headers = [("Content-Type", "application/merge-patch+json")];
        self.send("PATCH", path, &headers, body.to_string())
    }

    /// A patch of another kind: `json-patch`, `strategic-merge-patch`.
    pub(crate) fn patch_as(&self, kind: &str, path: &str, body: &Value) -> Answer {
        let content_type = format!("application/{kind}+json");
        let headers = [("Content-Type", content_type.as_str())];
        self.send("PATCH", path, &headers, body.to_string())
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "")
    }

    /// Opens a watch.
    pub(crate) fn watch(&self, path: &str) -> Watch {
        self.watch_with(path, &[])
    }

    pub(crate) fn watch_with(&self, path: &str, headers: &[(&str, &str)]) -> Watch {
        let response = self.raw("GET", path, headers, "");
        assert_eq!(response.status(), 200, "{path}");
        Watch(
            response
                .into_body()
                .into_watch()
                .expect("the path asks for a watch"),
        )
    }
}

/// Waits for a future that needs nothing of a runtime but its waker.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

impl Answer {
    /// Reads a complete response.
    pub(crate) fn of(response: http::Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = body.as_bytes().expect("not a watch").clone();
        Self {
            code: parts.status.as_u16(),
            headers: parts.headers,
            json: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// Asserts the code, shows the body when it is another.
    #[track_caller]
    pub(crate) fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{}", self.text);
        self
    }

    pub(crate) fn version(&self) -> u64 {
        let version = &self.json["metadata"]["resourceVersion"];
        version.as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn message(&self) -> &str {
        self.json["message"].as_str().unwrap_or("")
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let items = self.json["items"].as_array().unwrap();
        let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
        items.iter().map(name).collect()
    }
}

/// An open watch.
pub(crate) struct Watch(pub(crate) WatchStream);

impl Watch {
    /// Every event that is there after so many seconds; the flag tells whether the watch has ended.
    pub(crate) fn drain(&mut self, seconds: u64) -> (Vec<Value>, bool) {
        use std::task::{Context, Poll, Waker};
        let mut context = Context::from_waker(Waker::noop());
        let elapsed = std::time::Duration::from_secs(seconds);
        let mut events = Vec::new();
        loop {
            match self.0.poll_next(&mut context, elapsed) {
                Poll::Ready(Some(frame)) => {
                    assert_eq!(frame.last(), Some(&b'\n'));
                    events.push(serde_json::from_slice(&frame).unwrap());
                }
                Poll::Ready(None) => return (events, true),
                Poll::Pending => return (events, false),
            }
        }
    }

    /// `TYPE name` of every event that is there now.
    pub(crate) fn story(&mut self) -> Vec<String> {
        self.drain(0).0.iter().map(event_text).collect()
    }
}

/// `TYPE name`.
pub(crate) fn event_text(event: &Value) -> String {
    let name = event["object"]["metadata"]["name"].as_str().unwrap_or("");
    format!("{} {name}", event["type"].as_str().unwrap())
        .trim_end()
        .to_owned()
}

/// A ConfigMap body.
pub(crate) fn config_map(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"key": value}})
}

/// Where ConfigMaps live in tests.
pub(crate) const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Where CSRs live.
pub(crate) const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
