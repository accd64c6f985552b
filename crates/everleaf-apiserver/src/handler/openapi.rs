//! `/openapi/v2` and `/openapi/v3`: what objects look like and which operations there are, for
//! `kubectl explain`, `apply`, `diff` and whoever generates clients
//! (`k8s.io/kube-openapi/pkg/handler`, `pkg/handler3`).
//!
//! The documents follow from the binary alone, so each is made once, when it is first asked for.

use super::discovery::RESOURCES;
use super::query::Query;
use super::respond::{JSON, TEXT, accept_header, response};
use super::version::KUBERNETES_MINOR;
use super::{Admitted, Body, gzip};
use crate::registry::reviews::REVIEWS;
use crate::registry::served;
use bytes::Bytes;
use everleaf_api::http_date;
use everleaf_api::negotiate::preferred;
use everleaf_api::openapi::{Served, gnostic};
use everleaf_api::schema::Type;
use everleaf_api::types::TOKEN_REQUEST;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, EXPIRES, IF_NONE_MATCH, LOCATION, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::sync::LazyLock;

/// What kubectl asks for; a media type may not have an `@`, which newer servers know.
const GNOSTIC_ASKED: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];
/// How long a document that is named by its digest may be kept.
const KEPT: SignedDuration = SignedDuration::from_hours(365 * 24);

/// A document, whole, and its entity tag.
struct Document {
    bytes: Bytes,
    /// Upper-case hexadecimal digits, without quotes.
    digest: String,
}

static V2: LazyLock<Value> = LazyLock::new(|| with_served(|served| served.v2()));
static V2_JSON: LazyLock<Document> = LazyLock::new(|| Document::new(V2.to_string()));
static V2_PROTOBUF: LazyLock<Document> = LazyLock::new(|| Document {
    // Both forms are one document, and have its tag.
    digest: V2_JSON.digest.clone(),
    bytes: gnostic::encode(&V2).into(),
});
static V2_GZIP: LazyLock<Bytes> = LazyLock::new(|| gzip::whole(&V2_JSON.bytes));
static V2_PROTOBUF_GZIP: LazyLock<Bytes> = LazyLock::new(|| gzip::whole(&V2_PROTOBUF.bytes));
/// By the names of the parts.
static V3: LazyLock<Vec<(String, Document)>> = LazyLock::new(|| {
    with_served(|served| {
        let parts = served.parts().into_iter();
        let named = parts.map(|part| (part.name(), Document::new(served.v3(&part).to_string())));
        named.collect()
    })
});

fn with_served<T>(make: impl FnOnce(Served<'_>) -> T) -> T {
    make(Served {
        resources: RESOURCES.as_slice(),
        r#type,
        version: &format!("1.{KUBERNETES_MINOR}"),
    })
}

fn r#type(group: &str, version: &str, kind: &str) -> Option<&'static Type> {
    let types = served().map(|descriptor| descriptor.r#type);
    let reviews = REVIEWS.iter().map(|review| review.r#type);
    let mut types = types.chain(reviews).chain([&TOKEN_REQUEST]);
    types.find(|found| (found.group, found.version, found.kind) == (group, version, kind))
}

impl Document {
    fn new(json: String) -> Self {
        Self {
            digest: digest(json.as_bytes()),
            bytes: json.into(),
        }
    }
}

/// SHA-512 in upper-case hexadecimal digits: what entity tags are made of.
pub(super) fn digest(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, bytes);
    let mut text = String::new();
    for byte in digest.as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02X}");
    }
    text
}

/// The document of a path; None when it is none.
pub(super) fn document(path: &str, admitted: &Admitted) -> Option<Response<Body>> {
    match path.strip_prefix("/openapi/")? {
        "v2" => Some(varying(
            v2(&admitted.headers),
            &["Accept-Encoding", "Accept"],
        )),
        "v3" => Some(response(StatusCode::OK, TEXT, index())),
        name => {
            let name = name.strip_prefix("v3/")?;
            let Some((name, document)) = V3.iter().find(|(part, _)| part == name) else {
                return Some(tagged(StatusCode::NOT_FOUND, JSON, None, Bytes::new()));
            };
            let asked = (&admitted.headers, &admitted.query);
            Some(varying(
                v3(name, document, asked, admitted.now),
                &["Accept"],
            ))
        }
    }
}

/// Tells caches which headers of a request an answer depends on.
fn varying(mut response: Response<Body>, names: &[&'static str]) -> Response<Body> {
    for name in names {
        response
            .headers_mut()
            .append(VARY, HeaderValue::from_static(name));
    }
    response
}

fn v2(headers: &HeaderMap) -> Response<Body> {
    let wanted = |media_type: &str| GNOSTIC_ASKED.contains(&media_type);
    let Some(is_protobuf) = choose(headers, wanted) else {
        return tagged(StatusCode::NOT_ACCEPTABLE, JSON, None, Bytes::new());
    };
    let (document, content_type) = match is_protobuf {
        true => (&*V2_PROTOBUF, GNOSTIC_ASKED[1]),
        false => (&*V2_JSON, JSON),
    };
    if is_known(headers, document) {
        return tagged(
            StatusCode::NOT_MODIFIED,
            content_type,
            Some(document),
            Bytes::new(),
        );
    }
    if !gzip::is_taken(headers) {
        let bytes = document.bytes.clone();
        return tagged(StatusCode::OK, content_type, Some(document), bytes);
    }
    let bytes = if is_protobuf {
        &V2_PROTOBUF_GZIP
    } else {
        &V2_GZIP
    };
    let mut response = tagged(
        StatusCode::OK,
        content_type,
        Some(document),
        Bytes::clone(bytes),
    );
    let gzip = HeaderValue::from_static("gzip");
    response.headers_mut().insert(CONTENT_ENCODING, gzip);
    response
}

/// Where the documents of version 3 are, each named by what is in it.
fn index() -> Vec<u8> {
    let paths = V3.iter().map(|(name, document)| {
        (
            name.clone(),
            json!({"serverRelativeURL": address(name, document)}),
        )
    });
    json!({"paths": paths.collect::<Map<_, _>>()})
        .to_string()
        .into_bytes()
}

fn address(name: &str, document: &Document) -> String {
    format!("/openapi/v3/{name}?hash={}", document.digest)
}

fn v3(
    name: &str,
    document: &Document,
    (headers, query): (&HeaderMap, &Query),
    now: Timestamp,
) -> Response<Body> {
    if choose(headers, |_| false).is_none() {
        return tagged(StatusCode::NOT_ACCEPTABLE, JSON, None, Bytes::new());
    }
    let asked = query.value("hash").filter(|hash| !hash.is_empty());
    if asked.is_some_and(|hash| hash != document.digest) {
        let code = StatusCode::MOVED_PERMANENTLY;
        let mut moved = tagged(code, JSON, Some(document), Bytes::new());
        set(&mut moved, LOCATION, &address(name, document));
        return moved;
    }
    let mut response = match is_known(headers, document) {
        true => tagged(StatusCode::NOT_MODIFIED, JSON, Some(document), Bytes::new()),
        false => tagged(StatusCode::OK, JSON, Some(document), document.bytes.clone()),
    };
    if asked.is_some() {
        set(&mut response, CACHE_CONTROL, "public, immutable");
        let expires = now.saturating_add(KEPT).unwrap_or(now);
        set(&mut response, EXPIRES, &http_date::written(expires));
    }
    response
}

fn tagged(
    code: StatusCode,
    content_type: &'static str,
    document: Option<&Document>,
    bytes: Bytes,
) -> Response<Body> {
    let mut response = response(code, content_type, bytes);
    if document.is_none() {
        // There is nothing in it.
        response.headers_mut().remove(CONTENT_TYPE);
    }
    if let Some(document) = document {
        set(&mut response, ETAG, &format!("\"{}\"", document.digest));
    }
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn is_known(headers: &HeaderMap, document: &Document) -> bool {
    let known = headers
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    let mut tags = known
        .into_iter()
        .flat_map(|known| known.split(','))
        .map(str::trim);
    tags.any(|tag| tag == "*" || tag.trim_start_matches("W/").trim_matches('"') == document.digest)
}

/// What the client wants first of what there is: true for the protobuf form that `is_protobuf`
/// knows, false for JSON, None for neither.
fn choose(headers: &HeaderMap, is_protobuf: impl Fn(&str) -> bool) -> Option<bool> {
    let accept = accept_header(headers).filter(|accept| !accept.is_empty());
    let accept = accept.as_deref().unwrap_or("*/*");
    preferred(accept)
        .into_iter()
        .find_map(|(r#type, subtype)| match (r#type, subtype) {
            ("application" | "*", "json" | "*") => Some(false),
            (r#type, subtype) => is_protobuf(&format!("{}/{subtype}", r#type)).then_some(true),
        })
}
