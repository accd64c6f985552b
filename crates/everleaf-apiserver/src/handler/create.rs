//! create: a body becomes an object.

use super::query::{FieldValidation, WriteOptions};
use super::respond::{Form, Occasion};
use super::write::{Target, answer};
use super::{Body, Call, Server, object_meta};
use everleaf_api::fields::{ERRORS_SHOWN_MAX, quote};
use everleaf_api::negotiate::{self, Encoding};
use everleaf_api::schema::{Decoded, Type};
use everleaf_api::{Status, meta};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response};
use serde_json::{Map, Value};

impl Server {
    pub(super) async fn create(&self, call: &Call<'_>) -> Result<Response<Body>, Status> {
        let form = Form::negotiate(call.headers, call.query, Occasion::Object)?;
        let options = WriteOptions::parse(call.query, "CreateOptions")?;
        let (mut object, warnings) = read_object(call, options)?;
        let written = match place(call, &mut object) {
            Ok(()) => {
                // What is verified on create are requests for certificates.
                if let (Some(origin), Some(_)) = (call.origin, call.descriptor.verify) {
                    self.origins.note(&call.user.name, &object, origin);
                }
                let make = |_: Option<&Value>| Ok(object.clone());
                self.write(call, options, Target::New, make).await
            }
            Err(status) => Err(status),
        };
        Ok(answer(call, form, written, warnings))
    }
}

/// The object of a body, and what is wrong with it that is no error.
pub(super) fn read_object(
    call: &Call<'_>,
    options: WriteOptions,
) -> Result<(Value, Vec<String>), Status> {
    let mut decoded = decode(call.descriptor.r#type, call.headers, call.body)?;
    let mut warnings = judge_warnings(&mut decoded, options)?;
    if let Some(trail) = call.trail {
        let complete = |object: &mut Value| call.descriptor.strategy.default(object);
        trail.sent(call.descriptor.r#type, &decoded.object, complete);
    }
    warnings.extend(object_meta::drop_repeated_owners(
        &mut decoded.object,
        false,
    ));
    Ok((decoded.object, warnings))
}

/// Decodes a body by its `Content-Type`.
pub(super) fn decode(
    r#type: &'static Type,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Decoded, Status> {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    match negotiate::content_type(content_type)? {
        // null is an object in which nobody set anything.
        Encoding::Json if body.trim_ascii() == b"null" => Ok(r#type.decode_json(b"{}")?),
        Encoding::Json => Ok(r#type.decode_json(body)?),
        Encoding::Yaml => {
            let (tree, repeated) = read_yaml(body)?;
            let tree = match tree {
                Value::Null => Value::Object(Map::new()),
                tree => tree,
            };
            let mut decoded = r#type.decode_value(tree)?;
            decoded.warnings.splice(0..0, repeated);
            Ok(decoded)
        }
        Encoding::Protobuf => Ok(Decoded {
            object: r#type.decode_protobuf(body)?,
            warnings: Vec::new(),
        }),
    }
}

/// The first document, null when there is none, and in words what is repeated in it: the last
/// counts.
pub(super) fn read_yaml(body: &[u8]) -> Result<(Value, Option<String>), Status> {
    let body = first_document(body);
    let is_blank = |line: &[u8]| {
        let line = line.trim_ascii();
        line.is_empty() || line.starts_with(b"#") || line == b"---"
    };
    if body.split(|&byte| byte == b'\n').all(is_blank) {
        return Ok((Value::Null, None));
    }
    let options = serde_saphyr::options! { with_snippet: false };
    let repeated = match serde_saphyr::from_slice_with_options(body, options) {
        Ok(tree) => return Ok((tree, None)),
        Err(error) => yaml_fault(&error),
    };
    let lenient = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        with_snippet: false,
    };
    let tree = serde_saphyr::from_slice_with_options(body, lenient).map_err(|error| {
        Status::bad_request(format!(
            "the body is not valid YAML: {}",
            yaml_fault(&error)
        ))
    })?;
    Ok((tree, Some(repeated)))
}

/// What is wrong with YAML text, on a line.
fn yaml_fault(error: &serde_saphyr::Error) -> String {
    match error {
        serde_saphyr::Error::DuplicateMappingKey { key, location } => {
            let key = quote(key.as_deref().unwrap_or_default());
            format!("line {}: key {key} already set in map", location.line())
        }
        other => other.to_string().replace('\n', " "),
    }
}

/// The first document of YAML text: what follows a line of `---` is another one, and is not looked
/// at (`sigs.k8s.io/yaml`).
fn first_document(body: &[u8]) -> &[u8] {
    let is_break = |line: &[u8]| {
        let rest = line.strip_prefix(b"---");
        rest.is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
    };
    let mut begun = false;
    let mut end = 0;
    for line in body.split_inclusive(|&byte| byte == b'\n') {
        if is_break(line) && begun {
            return &body[..end];
        }
        let text = line.trim_ascii();
        begun |= !(text.is_empty() || text.starts_with(b"#") || text.starts_with(b"%"));
        end += line.len();
    }
    body
}

/// What `fieldValidation` makes of findings: nothing, warnings, or 400.
fn judge_warnings(decoded: &mut Decoded, options: WriteOptions) -> Result<Vec<String>, Status> {
    let warnings = std::mem::take(&mut decoded.warnings);
    match options.field_validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(warnings),
        FieldValidation::Strict if warnings.is_empty() => Ok(warnings),
        FieldValidation::Strict => Err(Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
            decoded.object["kind"].as_str().unwrap_or(""),
            meta::version(&decoded.object),
            decoded.object["kind"].as_str().unwrap_or(""),
            warnings[..warnings.len().min(ERRORS_SHOWN_MAX)].join(", "),
        ))),
    }
}

/// Puts an object where the path says, or 400 when it says otherwise.
pub(super) fn place(call: &Call<'_>, object: &mut Value) -> Result<(), Status> {
    if call.descriptor.namespaced {
        match meta::namespace(object) {
            "" => {}
            namespace if namespace == call.namespace => {}
            _ => {
                return Err(Status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on \
                     the request",
                ));
            }
        }
    }
    meta::set(object, "namespace", call.namespace);
    Ok(())
}
