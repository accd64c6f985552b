//! Objects, lists and errors → responses.

use super::body::Body;
use super::query::Query;
use crate::objects::Stored;
use crate::registry::Descriptor;
use bytes::Bytes;
use everleaf_api::negotiate::{
    self, Answer, Encoding, MEDIA_TYPES, STREAM_TYPES, Shape, Unacceptable,
};
use everleaf_api::schema::Type;
use everleaf_api::table::{self, IncludeObject};
use everleaf_api::types::PARTIAL_OBJECT_METADATA;
use everleaf_api::{Status, meta};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use std::borrow::Borrow;

/// `Content-Type` of JSON answers.
pub(super) const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const PROTOBUF_WATCH: &str = "application/vnd.kubernetes.protobuf;stream=watch";
/// Of the health endpoints and the rare plain error.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
/// Longest text of all warnings of one answer together, in bytes; what goes beyond is left out
/// (`apiserver/pkg/endpoints/filters/warning.go` truncates likewise). Clients refuse an endless
/// head.
const WARNINGS_BYTES_MAX: usize = 4096;
/// What a header costs besides its value, in bytes (RFC 9113 6.5.2, and keeps them below the
/// hundred that Python's client takes).
const HEADER_BYTES: usize = 32;

/// What kind of answer an endpoint gives: which shapes it can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// One object.
    Object,
    /// A list.
    List,
    /// A stream of events, which YAML cannot frame.
    Watch,
    /// The answer to a review: an object without a Table.
    Review,
    /// A document of discovery: an object in no other shape.
    Discovery,
    /// A document of no type, in JSON or YAML alone: the paths, the version.
    Document,
}

/// The answer that was agreed on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub(super) answer: Answer,
    pub(super) include: IncludeObject,
    pub(super) pretty: bool,
}

impl Form {
    /// Agrees with the client; 406 when nothing fits, 400 for a bad `includeObject`.
    pub(super) fn negotiate(
        headers: &HeaderMap,
        query: &Query,
        occasion: Occasion,
    ) -> Result<Self, Status> {
        let can = |answer: Answer| {
            let encoding = match answer.encoding {
                Encoding::Json => true,
                Encoding::Yaml => occasion != Occasion::Watch,
                Encoding::Protobuf => occasion != Occasion::Document,
            };
            let shape = match answer.shape {
                Shape::Object => true,
                // A Table has no protobuf form.
                Shape::Table { .. } => {
                    answer.encoding != Encoding::Protobuf
                        && matches!(
                            occasion,
                            Occasion::Object | Occasion::List | Occasion::Watch
                        )
                }
                Shape::PartialObjectMetadata => {
                    matches!(
                        occasion,
                        Occasion::Object | Occasion::Watch | Occasion::Review
                    )
                }
                Shape::PartialObjectMetadataList => {
                    matches!(occasion, Occasion::List | Occasion::Watch)
                }
                Shape::GroupDiscovery => false,
            };
            encoding && shape
        };
        let accept = accept_header(headers);
        let answer = negotiate::accept(accept.as_deref(), &can)
            .map_err(|fault| not_acceptable(fault, occasion))?;
        let wanted = match answer.shape {
            Shape::Table { .. } => query.value("includeObject"),
            _ => None,
        };
        let include = IncludeObject::parse(wanted).map_err(Status::bad_request)?;
        Ok(Self {
            answer,
            include,
            pretty: query.is_pretty() || accept.as_deref().is_some_and(negotiate::is_pretty),
        })
    }

    /// A response with one object of a resource, in the agreed form.
    pub(super) fn object(
        &self,
        code: StatusCode,
        descriptor: &Descriptor,
        object: &Value,
        now: Timestamp,
    ) -> Response<Body> {
        if self.answer.encoding == Encoding::Protobuf {
            return response(code, PROTOBUF, self.protobuf(descriptor.r#type, object));
        }
        let json = match self.answer.shape {
            Shape::Table { v1 } => {
                let meta = meta::list_meta(meta::resource_version(object), "", None);
                let objects = std::iter::once(object);
                table_of(v1, &meta, descriptor, objects, self.include, true, now)
            }
            Shape::PartialObjectMetadata => table::encode_partial_object_metadata(object, true),
            Shape::Object | Shape::PartialObjectMetadataList | Shape::GroupDiscovery => {
                descriptor.r#type.encode_json(object)
            }
        };
        self.document(code, json)
    }

    /// A response with an object as it is stored.
    pub(super) fn stored(
        &self,
        code: StatusCode,
        descriptor: &Descriptor,
        object: &Stored,
        now: Timestamp,
    ) -> Response<Body> {
        let r#type = descriptor.r#type;
        match (self.answer.shape, self.answer.encoding) {
            (Shape::Object, Encoding::Protobuf) => {
                response(code, PROTOBUF, object.protobuf(r#type))
            }
            (Shape::Object, Encoding::Json | Encoding::Yaml) => {
                self.document(code, object.json(r#type).document().clone())
            }
            _ => self.object(code, descriptor, &object.object(), now),
        }
    }

    /// A response with an object that has no Table: a review, a Status.
    pub(super) fn plain(&self, code: StatusCode, ty: &Type, object: &Value) -> Response<Body> {
        // A Status stays what it is.
        let is_partial = self.answer.shape == Shape::PartialObjectMetadata && ty.kind != "Status";
        match self.answer.encoding {
            Encoding::Protobuf if is_partial => response(code, PROTOBUF, self.protobuf(ty, object)),
            Encoding::Protobuf => response(code, PROTOBUF, ty.encode_protobuf(object)),
            Encoding::Json | Encoding::Yaml if is_partial => {
                self.document(code, table::encode_partial_object_metadata(object, true))
            }
            Encoding::Json | Encoding::Yaml => self.document(code, ty.encode_json(object)),
        }
    }

    /// An object as a protobuf document, in the agreed shape.
    pub(super) fn protobuf(&self, ty: &Type, object: &Value) -> Vec<u8> {
        match self.answer.shape {
            Shape::PartialObjectMetadata => PARTIAL_OBJECT_METADATA.encode_protobuf(object),
            _ => ty.encode_protobuf(object),
        }
    }

    /// The `Content-Type` of a watch.
    pub(super) fn watch_type(&self) -> &'static str {
        match self.answer.encoding {
            Encoding::Protobuf => PROTOBUF_WATCH,
            Encoding::Json | Encoding::Yaml => JSON,
        }
    }

    /// The `Content-Type` of what has a Table.
    pub(super) fn list_type(&self) -> &'static str {
        match self.answer.encoding {
            Encoding::Protobuf => PROTOBUF,
            Encoding::Json => JSON,
            Encoding::Yaml => YAML,
        }
    }

    /// A response with a JSON document, in the agreed encoding.
    pub(super) fn document(&self, code: StatusCode, json: impl Into<Bytes>) -> Response<Body> {
        let json = json.into();
        match self.answer.encoding {
            Encoding::Yaml => match yaml(&json) {
                Ok(text) => response(code, YAML, text),
                Err(status) => error(&status),
            },
            Encoding::Json | Encoding::Protobuf if self.pretty => {
                let mut out = Vec::with_capacity(json.len() * 2);
                Indenter::default().push(&mut out, &json);
                response(code, JSON, out)
            }
            Encoding::Json | Encoding::Protobuf => response(code, JSON, json),
        }
    }
}

/// 406, with what there is instead. Lists and watches have one address, so what is told of it is
/// the same.
pub(super) fn not_acceptable(fault: Unacceptable, occasion: Occasion) -> Status {
    let all = [MEDIA_TYPES.as_slice(), STREAM_TYPES.as_slice()].concat();
    match (fault, occasion) {
        (Unacceptable::MediaType, Occasion::List | Occasion::Watch) => Status::not_acceptable(&all),
        (
            Unacceptable::MediaType | Unacceptable::Form | Unacceptable::Shape,
            Occasion::Document,
        ) => Status::not_acceptable(&MEDIA_TYPES[..2]),
        (Unacceptable::MediaType, _) => Status::not_acceptable(&MEDIA_TYPES),
        (Unacceptable::Form, Occasion::Watch) => Status::not_acceptable_listing(&STREAM_TYPES),
        (Unacceptable::Form | Unacceptable::Shape, _) => {
            Status::not_acceptable_listing(&MEDIA_TYPES)
        }
        (Unacceptable::ListOfOne, _) => Status::not_acceptable_because(
            "you requested PartialObjectMetadataList, but the requested object is not a list",
        ),
        (Unacceptable::OneOfList, _) => Status::not_acceptable_because(
            "you requested PartialObjectMetadata, but the requested object is a list",
        ),
    }
}

/// Every `Accept` header as one.
pub(super) fn accept_header(headers: &HeaderMap) -> Option<String> {
    let all: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    (!all.is_empty()).then(|| all.join(","))
}

/// A Table with a row per object; columns only `with_columns`.
pub(super) fn table_of(
    v1: bool,
    list_meta: &Value,
    descriptor: &Descriptor,
    objects: impl Iterator<Item: Borrow<Value>>,
    include: IncludeObject,
    with_columns: bool,
    now: Timestamp,
) -> Vec<u8> {
    let rows: Vec<Vec<u8>> = objects
        .map(|object| {
            let object = object.borrow();
            let cells = (descriptor.cells)(object, now);
            table::encode_row(descriptor.r#type, &cells, object, v1, include)
        })
        .collect();
    let columns = with_columns.then_some(descriptor.columns);
    table::encode(v1, list_meta, columns, rows.iter().map(Vec::as_slice))
}

/// A response with the usual headers.
pub(super) fn response(
    code: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    with_body(code, content_type, Body::full(body))
}

/// The same with any body.
pub(super) fn with_body(
    code: StatusCode,
    content_type: &'static str,
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A Status error in the encoding that the client prefers; JSON when it wants none that we have
/// (`apiserver/pkg/endpoints/handlers/responsewriters`, `ErrorNegotiated`).
pub(super) fn error_for(headers: &HeaderMap, status: &Status) -> Response<Body> {
    let can = |answer: Answer| answer.shape == Shape::Object;
    let agreed = negotiate::accept(accept_header(headers).as_deref(), &can);
    let encoding = agreed.map_or(Encoding::Json, |answer| answer.encoding);
    let (content_type, body) = match encoding {
        Encoding::Json => (JSON, status.to_json()),
        Encoding::Protobuf => (PROTOBUF, status.to_protobuf()),
        Encoding::Yaml => match yaml(&status.to_json()) {
            Ok(text) => (YAML, text.into_bytes()),
            Err(_) => (JSON, status.to_json()),
        },
    };
    error_of(status, content_type, body)
}

/// A Status error in JSON, where no client's wishes are known.
pub(super) fn error(status: &Status) -> Response<Body> {
    error_of(status, JSON, status.to_json())
}

fn error_of(status: &Status, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = response(code, content_type, body);
    let headers = response.headers_mut();
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    if let Some(seconds) = status.retry_after_seconds {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Adds a `Warning: 299 - "text"` header, if there is room for it.
pub(super) fn warn(headers: &mut HeaderMap, text: &str) {
    let present: usize = headers
        .get_all(WARNING)
        .iter()
        .map(|value| value.len() + HEADER_BYTES)
        .sum();
    let mut quoted = String::from("299 - \"");
    for character in text.chars() {
        if present + quoted.len() >= WARNINGS_BYTES_MAX {
            return;
        }
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    if let Ok(value) = HeaderValue::from_str(&quoted) {
        headers.append(WARNING, value);
    }
}

/// JSON text of a tree.
pub(super) fn to_json(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn yaml(json: &[u8]) -> Result<String, Status> {
    let tree: Value = serde_json::from_slice(json)
        .map_err(|error| Status::internal(format!("the answer is not JSON: {error}")))?;
    yaml_of(&tree)
}

/// YAML text of a tree.
pub(super) fn yaml_of(tree: &Value) -> Result<String, Status> {
    // Long values (Base64, mostly) stay on their key's line, as upstream writes them.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(tree, options)
        .map_err(|error| Status::internal(format!("the answer cannot be written as YAML: {error}")))
}

/// Writes JSON anew with two spaces per level, as `pretty=true` wants it. Works on the text, piece
/// by piece: lists stream, and members keep their order, which serde_json's tree would sort.
#[derive(Debug, Default)]
pub(super) struct Indenter {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The last byte opened an array or object.
    opened: bool,
}

impl Indenter {
    pub(super) fn push(&mut self, out: &mut Vec<u8>, json: &[u8]) {
        let newline = |out: &mut Vec<u8>, depth: usize| {
            out.push(b'\n');
            out.extend(std::iter::repeat_n(b' ', depth * 2));
        };
        for &byte in json {
            if self.in_string {
                out.push(byte);
                self.in_string = self.escaped || byte != b'"';
                self.escaped = byte == b'\\' && !self.escaped;
                continue;
            }
            let closes = matches!(byte, b'}' | b']');
            if closes {
                self.depth = self.depth.saturating_sub(1);
            }
            if self.opened != closes {
                newline(out, self.depth);
            }
            self.opened = matches!(byte, b'{' | b'[');
            out.push(byte);
            match byte {
                b'{' | b'[' => self.depth += 1,
                b',' => newline(out, self.depth),
                b':' => out.push(b' '),
                b'"' => self.in_string = true,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indentation_keeps_order_and_meaning() {
        let json = br#"{"b":[1,{"a":"x,\"{}:"}],"a":{},"c":[]}"#;
        let mut pretty = Vec::new();
        let mut indenter = Indenter::default();
        json.iter()
            .for_each(|byte| indenter.push(&mut pretty, &[*byte]));
        let pretty = String::from_utf8(pretty).unwrap();
        let expected = "{\n  \"b\": [\n    1,\n    {\n      \"a\": \"x,\\\"{}:\"\n    }\n  ],\n  \"a\": {},\n  \"c\": []\n}";
        assert_eq!(pretty, expected);
    }

    #[test]
    fn warnings_do_not_fill_the_head() {
        let mut headers = HeaderMap::new();
        for field in 0..10_000 {
            warn(&mut headers, &format!("unknown field \"spec.f{field}\""));
        }
        let bytes: usize = headers.get_all(WARNING).iter().map(HeaderValue::len).sum();
        assert!((1_000..=4_096).contains(&bytes), "{bytes}");
        let count = headers.get_all(WARNING).iter().count();
        assert!((20..90).contains(&count), "{count}");
    }

    #[test]
    fn yaml_keeps_long_values_on_their_line() {
        let long = "QUJD".repeat(500);
        let text = yaml(format!(r#"{{"data":{{"k":"{long}"}}}}"#).as_bytes()).unwrap();
        assert!(text.contains(&format!("k: {long}\n")), "{text}");
    }

    #[test]
    fn warnings_are_safe_in_a_header() {
        let mut headers = HeaderMap::new();
        warn(&mut headers, "unknown field \"spec.ü\"\r\nX: y");
        assert_eq!(
            headers[WARNING],
            "299 - \"unknown field \\\"spec.?\\\"??X: y\""
        );
    }
}
