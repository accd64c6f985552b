//! `/openapi/v2` and `/openapi/v3`: what objects look like and which operations there are, for
//! `kubectl explain`, `apply`, `diff` and whoever generates clients
//! (`k8s.io/kube-openapi/pkg/handler`, `pkg/handler3`).
//!
//! The documents follow from what is served, so each is made once, when it is first asked for.

use super::query::Query;
use super::respond::{JSON, TEXT, accept_header, response};
use super::{Admitted, Body, gzip};
use crate::registry::gates::Minor;
use crate::registry::known;
use crate::registry::reviews::REVIEWS;
use bytes::Bytes;
use everleaf_api::discovery::Resource;
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
use std::sync::OnceLock;

/// What kubectl asks for; a media type may not have an `@`, which newer servers know.
const GNOSTIC_ASKED: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];
/// The same of version 3.
const GNOSTIC_V3_ASKED: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
];
/// How long a document that is named by its digest may be kept.
const KEPT: SignedDuration = SignedDuration::from_hours(365 * 24);

/// A document, whole, and its entity tag.
struct Document {
    bytes: Bytes,
    /// Upper-case hexadecimal digits, without quotes.
    digest: String,
}

/// A document, and its form for clients that take it compressed.
#[derive(Default)]
struct Form {
    document: OnceLock<Document>,
    gzip: OnceLock<Bytes>,
}

/// The documents of one server.
#[derive(Default)]
pub(super) struct Documents {
    v2: OnceLock<Value>,
    json: Form,
    protobuf: Form,
    v3: OnceLock<Vec<Named>>,
}

/// A part of version 3.
struct Named {
    name: String,
    json: Document,
    protobuf: OnceLock<Document>,
}

/// What documents tell of.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) resources: &'a [Resource],
    pub(super) emulated: Minor,
}

impl Told<'_> {
    fn make<T>(self, make: impl FnOnce(Served<'_>) -> T) -> T {
        make(Served {
            resources: self.resources,
            r#type,
            version: &format!("1.{}", self.emulated),
        })
    }
}

impl Form {
    fn gzip(&self, document: &Document) -> &Bytes {
        self.gzip.get_or_init(|| gzip::whole(&document.bytes))
    }
}

impl Documents {
    fn v2(&self, told: Told<'_>) -> &Value {
        self.v2.get_or_init(|| told.make(|served| served.v2()))
    }

    fn json(&self, told: Told<'_>) -> &Document {
        let document = &self.json.document;
        document.get_or_init(|| Document::new(self.v2(told).to_string()))
    }

    fn protobuf(&self, told: Told<'_>) -> &Document {
        self.protobuf.document.get_or_init(|| Document {
            // Both forms are one document, and have its tag.
            digest: self.json(told).digest.clone(),
            bytes: gnostic::encode(self.v2(told)).into(),
        })
    }

    fn v3(&self, told: Told<'_>) -> &[Named] {
        self.v3.get_or_init(|| {
            told.make(|served| {
                let parts = served.parts().into_iter();
                let named = parts.map(|part| Named {
                    name: part.name(),
                    json: Document::new(served.v3(&part).to_string()),
                    protobuf: OnceLock::new(),
                });
                named.collect()
            })
        })
    }
}

impl Named {
    fn protobuf(&self) -> &Document {
        self.protobuf.get_or_init(|| {
            let json = serde_json::from_slice(&self.json.bytes);
            Document {
                // As of version 2.
                digest: self.json.digest.clone(),
                bytes: gnostic::encode_v3(&json.unwrap_or_default()).into(),
            }
        })
    }
}

fn r#type(group: &str, version: &str, kind: &str) -> Option<&'static Type> {
    let types = known().map(|descriptor| descriptor.r#type);
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

impl Documents {
    /// The document of a path; None when it is none.
    pub(super) fn answer(
        &self,
        told: Told<'_>,
        path: &str,
        admitted: &Admitted,
    ) -> Option<Response<Body>> {
        match path.strip_prefix("/openapi/")? {
            "v2" => Some(varying(
                self.answer_v2(told, &admitted.headers),
                &["Accept-Encoding", "Accept"],
            )),
            "v3" => Some(response(StatusCode::OK, TEXT, index(self.v3(told)))),
            name => {
                let name = name.strip_prefix("v3/")?;
                let mut parts = self.v3(told).iter();
                let Some(part) = parts.find(|part| part.name == name) else {
                    return Some(tagged(StatusCode::NOT_FOUND, JSON, None, Bytes::new()));
                };
                let asked = (&admitted.headers, &admitted.query);
                Some(varying(v3(part, asked, admitted.now), &["Accept"]))
            }
        }
    }

    fn answer_v2(&self, told: Told<'_>, headers: &HeaderMap) -> Response<Body> {
        let wanted = |media_type: &str| GNOSTIC_ASKED.contains(&media_type);
        let Some(is_protobuf) = choose(headers, wanted) else {
            return tagged(StatusCode::NOT_ACCEPTABLE, JSON, None, Bytes::new());
        };
        let (form, document, content_type) = match is_protobuf {
            true => (&self.protobuf, self.protobuf(told), GNOSTIC_ASKED[1]),
            false => (&self.json, self.json(told), JSON),
        };
        let answer = |code, bytes| tagged(code, content_type, Some(document), bytes);
        if is_known(headers, document) {
            return answer(StatusCode::NOT_MODIFIED, Bytes::new());
        }
        if !gzip::is_taken(headers) {
            return answer(StatusCode::OK, document.bytes.clone());
        }
        let mut response = answer(StatusCode::OK, form.gzip(document).clone());
        let gzip = HeaderValue::from_static("gzip");
        response.headers_mut().insert(CONTENT_ENCODING, gzip);
        response
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

/// Where the documents of version 3 are, each named by what is in it.
fn index(parts: &[Named]) -> Vec<u8> {
    let paths = parts.iter().map(|part| {
        let address = address(&part.name, &part.json);
        (part.name.clone(), json!({"serverRelativeURL": address}))
    });
    json!({"paths": paths.collect::<Map<_, _>>()})
        .to_string()
        .into_bytes()
}

fn address(name: &str, document: &Document) -> String {
    format!("/openapi/v3/{name}?hash={}", document.digest)
}

fn v3(part: &Named, (headers, query): (&HeaderMap, &Query), now: Timestamp) -> Response<Body> {
    let wanted = |media_type: &str| GNOSTIC_V3_ASKED.contains(&media_type);
    let (document, content_type) = match choose(headers, wanted) {
        Some(true) => (part.protobuf(), GNOSTIC_V3_ASKED[1]),
        Some(false) => (&part.json, JSON),
        None => return tagged(StatusCode::NOT_ACCEPTABLE, JSON, None, Bytes::new()),
    };
    let answer = |code, bytes| tagged(code, content_type, Some(document), bytes);
    let asked = query.value("hash").filter(|hash| !hash.is_empty());
    if asked.is_some_and(|hash| hash != document.digest) {
        let mut moved = answer(StatusCode::MOVED_PERMANENTLY, Bytes::new());
        set(&mut moved, LOCATION, &address(&part.name, document));
        return moved;
    }
    let mut response = match is_known(headers, document) {
        true => answer(StatusCode::NOT_MODIFIED, Bytes::new()),
        false => answer(StatusCode::OK, document.bytes.clone()),
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
