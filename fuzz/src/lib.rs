//! What the fuzz targets of the API share: which type an input is about, an object of that type,
//! the laws of its encodings, and a server.
//!
//! An input's first byte names a type, by its place in [`types::ALL`]. The seeds, which
//! `tests/recordings/examples/recorded_seeds.rs` makes of recorded requests, are laid out the
//! same way.

use bytes::Bytes;
use everleaf_api::schema::Type;
use everleaf_api::types;
use everleaf_apiserver::authn::{self, Authenticator, Peer};
use everleaf_apiserver::authz::Authorizer;
use everleaf_apiserver::handler::{Config, Limits, Server, Version};
use everleaf_apiserver::registry::apis::Apis;
use everleaf_apiserver::store::Memory;
use everleaf_apiserver::writer::Mode;
use futures_util::FutureExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use jiff::Timestamp;
use serde_json::{Value, json};

/// When everything happens.
const NOW_SECONDS: i64 = 1_767_323_045;
/// The administrator's token, and the file that says so.
const TOKEN: &str = "Bearer t";
const TOKENS_CSV: &str = "t,admin,,system:masters\n";
/// Longest watch that is followed to its end.
const WATCH_SECONDS_MAX: u64 = 2;

/// Objects of the types that have the most to merge, with every field set.
const SAMPLES: &[&[u8]] = &[
    include_bytes!("../../crates/everleaf-api/testdata/kubernetes-1.37/clusterrole-full.json"),
    include_bytes!(
        "../../crates/everleaf-api/testdata/kubernetes-1.37/clusterrolebinding-full.json"
    ),
    include_bytes!(
        "../../crates/everleaf-api/testdata/kubernetes-1.37/clustertrustbundle-full.json"
    ),
    include_bytes!("../../crates/everleaf-api/testdata/kubernetes-1.37/configmap-full.json"),
    include_bytes!("../../crates/everleaf-api/testdata/kubernetes-1.37/csinode-full.json"),
    include_bytes!("../../crates/everleaf-api/testdata/kubernetes-1.37/csr-full.json"),
    include_bytes!("../../crates/everleaf-api/testdata/kubernetes-1.37/event-full.json"),
    include_bytes!("../../crates/everleaf-api/testdata/kubernetes-1.37/lease-full.json"),
    include_bytes!("../../crates/everleaf-api/testdata/kubernetes-1.37/namespace-full.json"),
    include_bytes!("../../crates/everleaf-api/testdata/kubernetes-1.37/node-full.json"),
    include_bytes!("../../crates/everleaf-api/testdata/kubernetes-1.37/role-full.json"),
    include_bytes!("../../crates/everleaf-api/testdata/kubernetes-1.37/rolebinding-full.json"),
    include_bytes!("../../crates/everleaf-api/testdata/kubernetes-1.37/secret-full.json"),
    include_bytes!("../../crates/everleaf-api/testdata/kubernetes-1.37/serviceaccount-full.json"),
];

/// The type that an input is about, and the rest of it.
pub fn split(data: &[u8]) -> Option<(&'static Type, &[u8])> {
    let (first, rest) = data.split_first()?;
    let r#type = types::ALL.get(usize::from(*first) % types::ALL.len())?;
    Some((r#type, rest))
}

/// An object of that type, canonical; full, where there is one to be had.
pub fn sample(r#type: &'static Type) -> Value {
    let is_meant = |object: &Value| object["kind"] == r#type.kind;
    let full = SAMPLES
        .iter()
        .filter_map(|text| serde_json::from_slice(text).ok())
        .find(is_meant);
    let mut full = full.unwrap_or_else(|| json!({}));
    // What there is in several versions is the same in all of them, but for this.
    full["apiVersion"] = r#type.api_version().into();
    full["kind"] = r#type.kind.into();
    let decoded = r#type.decode_value(full);
    decoded
        .expect("invariant: samples are of their types")
        .object
}

/// Whether objects of the type have managers of their fields: they have metadata of an object.
pub fn has_managers(r#type: &'static Type) -> bool {
    let full = json!({"metadata": {"managedFields": [{"manager": "m"}]}});
    let decoded = r#type.decode_value(full);
    decoded.is_ok_and(|decoded| !decoded.object["metadata"]["managedFields"].is_null())
}

/// The same, with each set of fields in the order in which JSON readers leave it: protobuf keeps
/// the bytes as they came.
fn with_ordered_fields(mut object: Value) -> Value {
    let managers = object.pointer_mut("/metadata/managedFields");
    for manager in managers.and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(Value::String(text)) = manager.get_mut("fieldsV1") else {
            continue;
        };
        if let Ok(fields) = serde_json::from_str::<Value>(text) {
            *text = fields.to_string();
        }
    }
    object
}

/// A canonical object says the same in JSON and protobuf.
pub fn demand_round_trips(r#type: &'static Type, object: &Value) {
    let text = r#type.encode_json(object);
    let read = r#type.decode_json(&text).map(|decoded| decoded.object);
    let read = read.map(with_ordered_fields);
    let wanted = with_ordered_fields(object.clone());
    assert_eq!(read.as_ref().map_err(ToString::to_string), Ok(&wanted));
    let bytes = r#type.encode_protobuf(object);
    let read = r#type.decode_protobuf(&bytes);
    assert_eq!(read.as_ref().map_err(ToString::to_string), Ok(object));
    assert_eq!(r#type.encode_protobuf(object), bytes);
}

/// A server that holds its own objects, and whose only user may do everything.
pub struct World(Server);

impl Default for World {
    fn default() -> Self {
        let mut counter = 0u8;
        let config = Config {
            authenticator: Authenticator::new(authn::Config {
                token_auth_csv: TOKENS_CSV.to_owned(),
                ..authn::Config::default()
            })
            .expect("invariant: a token file alone"),
            authorizer: Authorizer::default(),
            version: Version::of_release("0.1.0", "", ""),
            random: Box::new(move |bytes| {
                for byte in bytes {
                    counter = counter.wrapping_mul(77).wrapping_add(13);
                    *byte = counter;
                }
            }),
            limits: Limits::default(),
            address: "127.0.0.1:6443".to_owned(),
            writer: Mode::Inline,
            encryption: Default::default(),
            audit: None,
            apis: Apis::default(),
        };
        let server = Server::new(config, Box::new(Memory::new()));
        let server = server.expect("invariant: nothing to read");
        let installed = server.install(now()).now_or_never();
        let installed = installed.expect("the writer is inline");
        installed.expect("invariant: the server's own objects are valid");
        Self(server)
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW_SECONDS).expect("invariant: a date")
}

impl World {
    /// Sends a request as the administrator, and demands that the answer is no defect.
    pub fn send(&self, mut request: Request<Bytes>) {
        let token = HeaderValue::from_static(TOKEN);
        request.headers_mut().entry(AUTHORIZATION).or_insert(token);
        let peer = Peer::default();
        let answer = self.0.handle(request, &peer, now()).now_or_never();
        let (head, body) = answer.expect("the writer is inline").into_parts();
        let code = head.status.as_u16();
        // 504: a version that is still to come. 500: what Kubernetes answers so, too (a patch that
        // does not fit its type, a request for a pod that names what is not there).
        let text = body.as_bytes().cloned().unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let known = [
            "PodCertificateRequest for ",
            "does not contain declared merge key",
            "failed to convert new object ",
            "failed to create typed",
            "merging lists cannot yet be specified",
            "while retrieving ",
        ];
        let is_known = code < 500 || code == 504 || known.iter().any(|known| text.contains(known));
        assert!(is_known, "{code}: {text}");
        if let Some(mut watch) = body.into_watch() {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            for seconds in 0..=WATCH_SECONDS_MAX {
                let elapsed = std::time::Duration::from_secs(seconds);
                while let std::task::Poll::Ready(Some(frame)) =
                    watch.poll_next(&mut context, elapsed)
                {
                    assert!(!frame.is_empty());
                }
            }
        }
    }
}
