//! The protobuf form of OpenAPI documents, as `github.com/google/gnostic-models` has it: of version
//! 2, which kubectl up to 1.26 asks for, and of version 3.

mod v2;
mod v3;

use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::Value;

/// How a value of the document is written.
enum Shape {
    Text,
    Flag,
    /// Any value, as YAML text; JSON is such.
    Any,
    /// Repeated.
    Each(&'static Self),
    /// Members by their names, and the number of the extensions (`x-…`).
    Message(&'static [(&'static str, u32, &'static Self)], u32),
    /// An object whose members are no fixed set: entries of name and value, of this number.
    Entries(u32, &'static Self),
    /// Alone in a message, under this number: mostly one of several.
    Within(u32, &'static Self),
    /// A parameter of version 2, by where it is.
    Parameter,
    /// In version 3: this, under the number 1, or a reference to one, under 2.
    OrReference(&'static Self),
    /// In version 3: a default, by its kind; of an object nothing is told.
    Default,
}

use Shape::{Any, Default, Each, Entries, Flag, Message, OrReference, Parameter, Text, Within};

/// Encodes a document as [`Served::v2`](super::Served::v2) makes it.
///
/// # Panics
/// When the document has a member that has no place here, which a test excludes.
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    members(&mut out, &v2::DOCUMENT, document);
    out
}

/// The same of a document as [`Served::v3`](super::Served::v3) makes it.
///
/// # Panics
/// As [`encode`].
pub fn encode_v3(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    members(&mut out, &v3::DOCUMENT, document);
    out
}

/// A value as the field of that number.
fn field(out: &mut Vec<u8>, number: u32, shape: &'static Shape, value: &Value) {
    match shape {
        Text => bytes(out, number, value.as_str().unwrap_or_default().as_bytes()),
        Flag => {
            encode_key(number, WireType::Varint, out);
            encode_varint(u64::from(value.as_bool().unwrap_or_default()), out);
        }
        Each(item) => {
            for value in value.as_array().into_iter().flatten() {
                field(out, number, item, value);
            }
        }
        Any | Message(..) | Entries(..) | Within(..) | Parameter | OrReference(_) | Default => {
            let mut inner = Vec::new();
            members(&mut inner, shape, value);
            bytes(out, number, &inner);
        }
    }
}

/// What is in the message of a value.
fn members(out: &mut Vec<u8>, shape: &'static Shape, value: &Value) {
    match shape {
        Any => bytes(out, 2, value.to_string().as_bytes()),
        Within(number, inner) => field(out, *number, inner, value),
        Entries(number, inner) => {
            for (name, value) in value.as_object().into_iter().flatten() {
                let mut entry = Vec::new();
                bytes(&mut entry, 1, name.as_bytes());
                field(&mut entry, 2, inner, value);
                bytes(out, *number, &entry);
            }
        }
        Parameter => match value["in"].as_str() {
            Some("body") => field(out, 1, &v2::IN_BODY, value),
            Some("path") => field(out, 1, &v2::IN_PATH, value),
            _ => field(out, 1, &v2::IN_QUERY, value),
        },
        OrReference(_) if value.get("$ref").is_some() => field(out, 2, &v3::REFERENCE, value),
        OrReference(inner) => field(out, 1, inner, value),
        Default => match value {
            Value::Number(number) => {
                encode_key(1, WireType::SixtyFourBit, out);
                out.extend(number.as_f64().unwrap_or_default().to_le_bytes());
            }
            Value::Bool(_) => field(out, 2, &Flag, value),
            Value::String(_) => field(out, 3, &Text, value),
            _ => {}
        },
        Message(fields, extensions) => {
            let all = value.as_object().into_iter().flatten();
            let (extra, known): (Vec<_>, Vec<_>) =
                all.partition(|(name, _)| name.starts_with("x-"));
            let mut placed: Vec<_> = known
                .into_iter()
                .map(|(name, value)| {
                    let place = fields.iter().find(|(member, ..)| member == name);
                    let (_, number, inner) = place
                        .unwrap_or_else(|| panic!("invariant: {name} has a place in the tables"));
                    (*number, *inner, value)
                })
                .collect();
            placed.sort_by_key(|(number, ..)| *number);
            for (number, inner, value) in placed {
                field(out, number, inner, value);
            }
            for (name, value) in extra {
                let mut entry = Vec::new();
                bytes(&mut entry, 1, name.as_bytes());
                field(&mut entry, 2, &Any, value);
                bytes(out, *extensions, &entry);
            }
        }
        Text | Flag | Each(_) => field(out, 1, shape, value),
    }
}

fn bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}
