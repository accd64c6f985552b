//! What requests cost the server itself: no sockets, no TLS, no disk.
//!
//! `cargo bench -p everleaf-apiserver` prints microseconds per operation, medians of rounds. With a
//! name and a number it only does that operation so many times and prints nothing: so
//! `cargo xtask instructions` counts what it takes.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measuring program prints, reads the clock, and may end at what does not fit"
)]

use bytes::Bytes;
use everleaf_api::managed::{self, Endpoint, Write};
use everleaf_api::types::CERTIFICATE_SIGNING_REQUEST;
use everleaf_apiserver::authn::{self, Authenticator, Peer};
use everleaf_apiserver::authz::Authorizer;
use everleaf_apiserver::handler::{Body, Config, Limits, Server, Version, WatchStream};
use everleaf_apiserver::registry::apis::Apis;
use everleaf_apiserver::store::Memory;
use everleaf_apiserver::writer::Mode;
use futures_util::FutureExt as _;
use http::{Request, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

const TOKENS: &str = "\
t-admin,admin,,system:masters
t-bootstrap,system:bootstrap:abcdef,,\"system:bootstrappers,system:bootstrappers:kubeadm:default-node-token\"
";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// A request for a node's certificate, and a certificate: always the same, since another key has
/// numbers of other lengths.
const PEM: &str = include_str!("request.pem");
const CERTIFICATE: &str = include_str!("certificate.pem");
/// Operations per round: as many requests as a server holds at the least.
const ROUND: usize = 500;
/// The median of these counts.
const ROUNDS: usize = 9;

/// A server.
struct World {
    server: Server,
    now: Timestamp,
}

/// One operation, done `count` times on a new server; how long these took.
type Operation = fn(&World, usize) -> Duration;

const OPERATIONS: &[(&str, Operation)] = &[
    ("create", |world, count| {
        timed(0..count, |n| world.create(n).0)
    }),
    ("own", own),
    ("approve", |world, count| {
        let all: Vec<Value> = (0..count).map(|n| json_of(&world.create(n).1)).collect();
        timed(all, |object| world.approve(object))
    }),
    ("issue", |world, count| {
        let all = (0..count).map(|n| world.approve(json_of(&world.create(n).1)));
        let all: Vec<Value> = all.map(|(_, object)| object).collect();
        timed(all, |object| world.issue(object))
    }),
    ("get", |world, count| {
        for n in 0..count {
            world.create(n);
        }
        timed(0..count, |n| {
            world.send("t-bootstrap", "GET", &world.path(n), &Value::Null)
        })
    }),
    ("watch", |world, count| {
        for n in 0..count {
            world.create(n);
        }
        timed(0..count, |n| world.watch(n))
    }),
];

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    match args.as_slice() {
        [name, count] => {
            let (_, operation) = OPERATIONS.iter().find(|(known, _)| known == name).unwrap();
            operation(&World::new(), count.parse().unwrap());
        }
        _ => {
            for (name, operation) in OPERATIONS {
                println!("{name:10} {:8.1} µs", median(*operation));
            }
            let (create, own) = (median(OPERATIONS[0].1), median(OPERATIONS[1].1));
            println!(
                "a create costs {:.1} % more for saying who owns its fields",
                own / (create - own) * 100.0
            );
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn median(operation: Operation) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| operation(&World::new(), ROUND).as_secs_f64() * 1e6 / ROUND as f64)
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn timed<I, T>(inputs: impl IntoIterator<Item = I>, mut act: impl FnMut(I) -> T) -> Duration {
    let begun = Instant::now();
    for input in inputs {
        std::hint::black_box(act(input));
    }
    begun.elapsed()
}

/// What a create says of who owns its fields, alone.
fn own(world: &World, count: usize) -> Duration {
    let object = world.object("n");
    let decoded = CERTIFICATE_SIGNING_REQUEST.decode_value(object).unwrap();
    let all: Vec<Value> = vec![decoded.object; count];
    let endpoint = Endpoint {
        r#type: &CERTIFICATE_SIGNING_REQUEST,
        versions: &[&CERTIFICATE_SIGNING_REQUEST],
        subresource: "",
        resets: &[&["status"]],
    };
    let write = Write {
        manager: "bench",
        now: "2026-01-02T03:04:05Z",
    };
    timed(all, |mut object| {
        managed::update(&endpoint, None, &mut object, &write);
        object
    })
}

fn json_of(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

impl World {
    fn new() -> Self {
        let mut counter = 0u64;
        let config = Config {
            authenticator: Authenticator::new(authn::Config {
                token_auth_csv: TOKENS.to_owned(),
                ..authn::Config::default()
            })
            .unwrap(),
            authorizer: Authorizer::default(),
            version: Version::of_release("0.1.0", "abc", ""),
            random: Box::new(move |bytes| {
                for byte in bytes {
                    counter = counter
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    *byte = counter.to_be_bytes()[0];
                }
            }),
            limits: Limits::default(),
            address: "127.0.0.1:6443".to_owned(),
            writer: Mode::Inline,
            encryption: Default::default(),
            audit: None,
            apis: Apis::default(),
        };
        let server = Server::new(config, Box::new(Memory::new())).unwrap();
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        server.install(now).now_or_never().unwrap().unwrap();
        Self { server, now }
    }

    fn object(&self, name: &str) -> Value {
        json!({
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": name},
            "spec": {
                // Text before the block means nothing, and makes it one that nobody has verified.
                "request": base64(&format!("{name}\n{PEM}")),
                "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
                "usages": ["digital signature", "client auth"],
            },
        })
    }

    fn path(&self, number: usize) -> String {
        format!("{REQUESTS}/n{number}")
    }

    fn send(&self, token: &str, method: &str, path: &str, body: &Value) -> Bytes {
        let body = match body {
            Value::Null => Bytes::new(),
            body => Bytes::from(body.to_string()),
        };
        whole(self.response(token, method, path, (JSON, body)))
    }

    /// What controllers do with a request, and what they are answered: in protobuf.
    fn decide(&self, object: &Value, subresource: &str) -> Bytes {
        let name = object["metadata"]["name"].as_str().unwrap();
        let path = format!("{REQUESTS}/{name}/{subresource}");
        let body = CERTIFICATE_SIGNING_REQUEST.encode_protobuf(object).into();
        whole(self.response("t-admin", "PUT", &path, (PROTOBUF, body)))
    }

    fn response(
        &self,
        token: &str,
        method: &str,
        path: &str,
        (form, body): (&str, Bytes),
    ) -> Response<Body> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .header("user-agent", "bench/v1 (linux/amd64)")
            .header("accept", form)
            .header("content-type", form)
            .body(body)
            .unwrap();
        let peer = Peer::default();
        let answer = self.server.handle(request, &peer, self.now);
        answer
            .now_or_never()
            .expect("with the inline writer one poll is enough")
    }

    fn create(&self, number: usize) -> ((), Bytes) {
        let object = self.object(&format!("n{number}"));
        ((), self.send("t-bootstrap", "POST", REQUESTS, &object))
    }

    fn approve(&self, mut object: Value) -> (Bytes, Value) {
        // As controllers read it.
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("managedFields");
        object["status"]["conditions"] = json!([{
            "type": "Approved", "status": "True", "reason": "AutoApproved", "message": "Auto approving",
        }]);
        let answer = self.decide(&object, "approval");
        let object = CERTIFICATE_SIGNING_REQUEST.decode_protobuf_unmanaged(&answer);
        let object = object.unwrap();
        (answer, object)
    }

    fn issue(&self, mut object: Value) -> Bytes {
        object["status"]["certificate"] = base64(CERTIFICATE).into();
        self.decide(&object, "status")
    }

    /// Opens a watch of one name, takes what is there, and closes it.
    fn watch(&self, number: usize) -> usize {
        let path = format!("{REQUESTS}?watch=true&fieldSelector=metadata.name%3Dn{number}");
        let response = self.response("t-bootstrap", "GET", &path, (JSON, Bytes::new()));
        let mut stream: WatchStream = response.into_body().into_watch().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut frames = 0;
        while let Poll::Ready(Some(_)) = stream.poll_next(&mut context, Duration::ZERO) {
            frames += 1;
        }
        assert_eq!(frames, 1);
        frames
    }
}

/// The body of an answer that is no refusal.
fn whole(response: Response<Body>) -> Bytes {
    let ok = response.status().is_success();
    let bytes = response.into_body().as_bytes().unwrap().clone();
    assert!(ok, "{}", String::from_utf8_lossy(&bytes));
    bytes
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
