//! What is told of a request in the audit log, gathered on its walk.

use super::respond::error;
use super::{Admitted, Body, Head, ResourcePath, Server, Stage, Target, Trail, Verb, asked};
use crate::authn::Peer;
use crate::handler::route::Resolved;
use crate::registry::apis::Apis;
use crate::user::User;
use aws_lc_rs::digest::{SHA256, digest};
use everleaf_api::schema::Type;
use everleaf_api::{Status, meta, types};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The header that names a request, in the request and in its answer.
pub(crate) const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// Names of requests: random to anybody, for the price of a digest.
#[derive(Default)]
pub(super) struct AuditIds {
    seed: OnceLock<[u8; 16]>,
    count: AtomicU64,
}

impl AuditIds {
    pub(super) fn next(&self, seed: impl FnOnce() -> [u8; 16]) -> String {
        let mut input = self.seed.get_or_init(seed).to_vec();
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        input.extend(count.to_le_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&digest(&SHA256, &input).as_ref()[..16]);
        meta::uuid(id)
    }
}

impl Server {
    /// Gives a request a name unless it brings one; the name.
    pub(crate) fn name_request(&self, headers: &mut HeaderMap) -> HeaderValue {
        if let Some(id) = headers.get(AUDIT_ID).filter(|id| !id.is_empty()) {
            return id.clone();
        }
        let id = HeaderValue::try_from(self.new_audit_id());
        let id = id.unwrap_or_else(|_| HeaderValue::from_static(""));
        headers.insert(AUDIT_ID, id.clone());
        id
    }

    /// Begins to tell of a request, if the policy wants it.
    pub(super) fn begin_trail(
        &self,
        parts: &Parts,
        (peer, now): (&Peer, Timestamp),
        target: &Target,
        user: Option<&User>,
    ) -> Option<Arc<Trail>> {
        let auditor = self.audit.as_ref()?;
        let verb = parts.method.as_str().to_ascii_lowercase();
        let nobody = User::default();
        let id = parts.headers.get(AUDIT_ID).map(HeaderValue::as_bytes);
        let head = Head {
            parts,
            peer,
            user,
            request: &asked(user.unwrap_or(&nobody), target, &verb, parts.uri.path()),
            id: String::from_utf8_lossy(id.unwrap_or_default()).into_owned(),
            received: now,
            patience: super::patience(parts.uri.query()),
        };
        Trail::begin(auditor, &head)
    }
}

impl Admitted {
    /// Its beginning is in the log; if it cannot be and has to be, the answer to it.
    pub(crate) async fn is_told(&self) -> Result<(), Box<Response<Body>>> {
        match &self.trail {
            Some(trail) if !trail.settle().await => {
                trail.close();
                Err(Box::new(untold(trail)))
            }
            _ => Ok(()),
        }
    }
}

fn untold(trail: &Trail) -> Response<Body> {
    trail.count_rejected();
    error(&Status::internal(
        "this request cannot be told in the audit log, and is refused for that; the server's log says why",
    ))
}

/// Of a request that went no further than its head.
pub(super) fn tell_refused(
    trail: Option<Arc<Trail>>,
    status: &Status,
    response: &mut Response<Body>,
) {
    let Some(trail) = trail else { return };
    trail.answered(status.to_value());
    trail.coded(response.status().as_u16());
    if trail.is_of_nobody() {
        trail.reach(Stage::ResponseStarted);
        trail.close();
    }
    attach(Some(trail), response);
}

/// What is answered, before it is compressed. Lists tell themselves.
pub(super) fn tell_answer(apis: &Apis, admitted: &Admitted, response: &Response<Body>) {
    let Some(trail) = &admitted.trail else { return };
    trail.coded(response.status().as_u16());
    // Upstream tells no more of it either.
    let has_status =
        response.status().as_u16() >= 400 && response.status() != StatusCode::NOT_ACCEPTABLE;
    let is = |verbs: &[Verb]| matches!(&admitted.target, Target::Resource(path) if verbs.contains(&path.verb));
    let is_list = is(&[Verb::List, Verb::DeleteCollection]);
    let is_told = trail.tells_answers() && !is_list && response.status().is_success();
    if !(has_status || is(&[Verb::Delete]) || is_told) {
        return;
    }
    let is_document = matches!(admitted.target, Target::Path) && !is_api_path(&admitted.path);
    let Some(body) = response.body().as_bytes().filter(|_| !is_document) else {
        return;
    };
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let answer = read_answer((apis, &admitted.target), content_type.unwrap_or(""), body);
    if let Some(answer) = answer.filter(|answer| answer["kind"].is_string()) {
        trail.answered(answer);
        trail.coded(response.status().as_u16());
    }
}

/// Is it a path below which objects are, or which says what there is?
fn is_api_path(path: &str) -> bool {
    let mut segments = path.trim_matches('/').split('/');
    matches!(segments.next(), Some("api" | "apis"))
}

fn read_answer((apis, target): (&Apis, &Target), content_type: &str, body: &[u8]) -> Option<Value> {
    if content_type.starts_with("application/json") {
        return serde_json::from_slice(body).ok();
    }
    if content_type.starts_with("application/yaml") {
        return serde_saphyr::from_slice(body).ok();
    }
    if !content_type.starts_with("application/vnd.kubernetes.protobuf") {
        return None;
    }
    let of_target = match target {
        Target::Resource(path) => type_of(apis, path),
        Target::Path => None,
    };
    let candidates = [
        of_target,
        Some(&types::STATUS),
        Some(&types::PARTIAL_OBJECT_METADATA),
    ];
    let decode = |r#type: &'static Type| {
        let object = r#type.decode_protobuf(body).ok()?;
        serde_json::from_slice(&r#type.encode_json(&object)).ok()
    };
    candidates.into_iter().flatten().find_map(decode)
}

/// The type of what a path answers with.
fn type_of(apis: &Apis, path: &ResourcePath) -> Option<&'static Type> {
    match path.resolve(apis).ok()? {
        Resolved::Stored(descriptor) => Some(descriptor.r#type),
        Resolved::Review(review) => Some(review.r#type),
        Resolved::Token => Some(&types::TOKEN_REQUEST),
    }
}

/// Lets a trail end with the answer: with the last frame of a watch, else when it is ready.
pub(super) fn attach(trail: Option<Arc<Trail>>, response: &mut Response<Body>) {
    let Some(trail) = trail else { return };
    if trail.is_long_running() {
        trail.reach(Stage::ResponseStarted);
    }
    if let Some(watch) = response.body_mut().watch_mut() {
        watch.keep(Arc::clone(&trail));
    } else {
        trail.reach(Stage::ResponseComplete);
    }
    response.extensions_mut().insert(trail);
}

/// Waits until what was told of an answer is written, as the log's mode says.
pub(crate) async fn settle(mut response: Response<Body>) -> Response<Body> {
    let trail = response.extensions_mut().remove::<Arc<Trail>>();
    if let Some(trail) = trail {
        trail.settle().await;
    }
    response
}
