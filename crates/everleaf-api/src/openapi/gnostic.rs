//! The protobuf form of an OpenAPI document of version 2, which kubectl up to 1.26 asks for
//! (`github.com/google/gnostic-models/openapiv2/OpenAPIv2.proto`).

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
    /// A parameter, by where it is.
    Parameter,
}

use Shape::{Any, Each, Entries, Flag, Message, Parameter, Text, Within};

static SCHEMA: Shape = Message(
    &[
        ("$ref", 1, &Text),
        ("format", 2, &Text),
        ("description", 4, &Text),
        ("required", 19, &Each(&Text)),
        ("enum", 20, &Each(&Any)),
        ("additionalProperties", 21, &Within(1, &SCHEMA)),
        ("type", 22, &Within(1, &Text)),
        ("items", 23, &Within(1, &SCHEMA)),
        ("properties", 25, &Entries(1, &SCHEMA)),
    ],
    31,
);
static RESPONSE: Shape = Message(
    &[
        ("description", 1, &Text),
        ("schema", 2, &Within(1, &SCHEMA)),
    ],
    5,
);
static BODY_PARAMETER: Shape = Message(
    &[
        ("description", 1, &Text),
        ("name", 2, &Text),
        ("in", 3, &Text),
        ("required", 4, &Flag),
        ("schema", 5, &SCHEMA),
    ],
    6,
);
static QUERY_PARAMETER: Shape = Message(
    &[
        ("required", 1, &Flag),
        ("in", 2, &Text),
        ("description", 3, &Text),
        ("name", 4, &Text),
        ("type", 6, &Text),
        ("uniqueItems", 20, &Flag),
    ],
    23,
);
static PATH_PARAMETER: Shape = Message(
    &[
        ("required", 1, &Flag),
        ("in", 2, &Text),
        ("description", 3, &Text),
        ("name", 4, &Text),
        ("type", 5, &Text),
        ("uniqueItems", 19, &Flag),
    ],
    22,
);
static IN_BODY: Shape = Within(1, &BODY_PARAMETER);
static IN_QUERY: Shape = Within(2, &Within(3, &QUERY_PARAMETER));
static IN_PATH: Shape = Within(2, &Within(4, &PATH_PARAMETER));
static OPERATION: Shape = Message(
    &[
        ("tags", 1, &Each(&Text)),
        ("description", 3, &Text),
        ("operationId", 5, &Text),
        ("produces", 6, &Each(&Text)),
        ("consumes", 7, &Each(&Text)),
        ("parameters", 8, &Each(&Parameter)),
        ("responses", 9, &Entries(1, &Within(1, &RESPONSE))),
        ("schemes", 10, &Each(&Text)),
    ],
    13,
);
static PATH_ITEM: Shape = Message(
    &[
        ("get", 2, &OPERATION),
        ("put", 3, &OPERATION),
        ("post", 4, &OPERATION),
        ("delete", 5, &OPERATION),
        ("patch", 8, &OPERATION),
        ("parameters", 9, &Each(&Parameter)),
    ],
    10,
);
static API_KEY: Shape = Message(
    &[
        ("type", 1, &Text),
        ("name", 2, &Text),
        ("in", 3, &Text),
        ("description", 4, &Text),
    ],
    5,
);
static DOCUMENT: Shape = Message(
    &[
        ("swagger", 1, &Text),
        (
            "info",
            2,
            &Message(&[("title", 1, &Text), ("version", 2, &Text)], 7),
        ),
        ("paths", 8, &Entries(2, &PATH_ITEM)),
        ("definitions", 9, &Entries(1, &SCHEMA)),
        ("security", 12, &Each(&Entries(1, &Within(1, &Each(&Text))))),
        ("securityDefinitions", 13, &Entries(1, &Within(2, &API_KEY))),
    ],
    16,
);

/// Encodes a document as [`Served::v2`](super::Served::v2) makes it.
///
/// # Panics
/// When the document has a member that has no place here, which a test excludes.
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    members(&mut out, &DOCUMENT, document);
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
        Any | Message(..) | Entries(..) | Within(..) | Parameter => {
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
            Some("body") => field(out, 1, &IN_BODY, value),
            Some("path") => field(out, 1, &IN_PATH, value),
            _ => field(out, 1, &IN_QUERY, value),
        },
        Message(fields, extensions) => {
            for (name, value) in value.as_object().into_iter().flatten() {
                if name.starts_with("x-") {
                    let mut entry = Vec::new();
                    bytes(&mut entry, 1, name.as_bytes());
                    field(&mut entry, 2, &Any, value);
                    bytes(out, *extensions, &entry);
                    continue;
                }
                let place = fields.iter().find(|(member, ..)| member == name);
                let (_, number, inner) =
                    place.unwrap_or_else(|| panic!("invariant: {name} has a place in the tables"));
                field(out, *number, inner, value);
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
