//! Canonical object → protobuf, byte for byte as gogo's generated code writes it: fields by number,
//! embedded structs, strings and numbers even when empty, pointers only when set, maps by key.

use super::proto_read::MAGIC;
use super::{scalar, sorted_entries, time};
use crate::schema::{Field, Kind, Message, Type};
use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::{Map, Value};

pub(crate) fn document(ty: &Type, object: &Value) -> Vec<u8> {
    envelope(&ty.api_version(), ty.kind, |out| {
        message(out, ty.message, object)
    })
}

/// The beginning of a list whose items have `items_bytes` together, each as [`list_item`] writes
/// it. It ends with [`ENVELOPE_END`].
pub(crate) fn list_begin(ty: &Type, list_meta: &Value, items_bytes: usize) -> Vec<u8> {
    let mut out = envelope_begin(
        &ty.api_version(),
        &format!("{}List", ty.kind),
        DOCUMENT_BYTES,
    );
    let mut head = Vec::new();
    nested(&mut head, 1, |out| {
        message(out, &crate::types::meta::LIST_META, list_meta);
    });
    encode_key(2, WireType::LengthDelimited, &mut out);
    encode_varint((head.len() + items_bytes) as u64, &mut out);
    out.extend(head);
    out
}

pub(crate) fn list_item(out: &mut Vec<u8>, ty: &Type, item: &Value) {
    nested(out, 2, |out| message(out, ty.message, item));
}

/// Room that a document of unknown length begins with.
const DOCUMENT_BYTES: usize = 2048;

/// contentEncoding and contentType, both empty.
pub(crate) const ENVELOPE_END: [u8; 4] = [3 << 3 | 2, 0, 4 << 3 | 2, 0];

/// `k8s\0` and `runtime.Unknown` around a message.
fn envelope(api_version: &str, kind: &str, raw: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = envelope_begin(api_version, kind, DOCUMENT_BYTES);
    nested(&mut out, 2, raw);
    out.extend_from_slice(&ENVELOPE_END);
    out
}

/// The beginning of a document, with room for so many bytes.
pub(super) fn envelope_begin(api_version: &str, kind: &str, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    out.extend_from_slice(MAGIC);
    nested(&mut out, 1, |out| {
        bytes(out, 1, api_version.as_bytes());
        bytes(out, 2, kind.as_bytes());
    });
    out
}

fn message(out: &mut Vec<u8>, table: &Message, value: &Value) {
    let empty = Map::new();
    let members = value.as_object().unwrap_or(&empty);
    for field in table.fields_by_number() {
        one_field(
            out,
            field,
            members.get(field.member).unwrap_or(&Value::Null),
        );
    }
}

fn one_field(out: &mut Vec<u8>, field: &Field, value: &Value) {
    let number = field.number;
    let optional = field.presence.is_pointer();
    match (&field.kind, value) {
        (Kind::List(item, _), Value::Array(items)) => {
            for value in items {
                single(out, number, item, value);
            }
        }
        (Kind::Map(item), Value::Object(members)) => {
            for (key, value) in sorted_entries(members) {
                nested(out, number, |out| {
                    bytes(out, 1, key.as_bytes());
                    single(out, 2, item, value);
                });
            }
        }
        (Kind::List(..) | Kind::Map(_), _) => {}
        // A nil byte slice is not written, an empty one is.
        (Kind::Bytes | Kind::FieldsV1 | Kind::ExtraValue, Value::Null) => {}
        (_, Value::Null) if optional => {}
        (kind, value) => single(out, number, kind, value),
    }
}

/// One value with its key. What does not fit the kind is written as zero.
fn single(out: &mut Vec<u8>, number: u32, kind: &Kind, value: &Value) {
    match kind {
        Kind::Bool => varint(out, number, u64::from(value.as_bool().unwrap_or_default())),
        // Negative numbers are sign-extended to ten bytes.
        Kind::Int32 | Kind::Int64 => {
            varint(out, number, value.as_i64().unwrap_or_default() as u64);
        }
        Kind::String => bytes(out, number, value.as_str().unwrap_or_default().as_bytes()),
        Kind::Bytes => {
            let decoded = value
                .as_str()
                .and_then(scalar::base64_bytes)
                .unwrap_or_default();
            bytes(out, number, &decoded);
        }
        Kind::Time | Kind::MicroTime => nested(out, number, |out| timestamp(out, kind, value)),
        Kind::Quantity => nested(out, number, |out| {
            bytes(out, 1, value.as_str().unwrap_or("0").as_bytes());
        }),
        Kind::ExtraValue => nested(out, number, |out| {
            for item in value.as_array().into_iter().flatten() {
                bytes(out, 1, item.as_str().unwrap_or_default().as_bytes());
            }
        }),
        Kind::FieldsV1 => nested(out, number, |out| match value {
            Value::String(text) => bytes(out, 1, text.as_bytes()),
            tree => bytes(out, 1, tree.to_string().as_bytes()),
        }),
        Kind::Message(table) => nested(out, number, |out| message(out, table, value)),
        // No table nests lists or maps.
        Kind::List(..) | Kind::Map(_) => {}
    }
}

/// `Timestamp{seconds, nanos}`; nothing for unset.
fn timestamp(out: &mut Vec<u8>, kind: &Kind, value: &Value) {
    let Some(parsed) = value.as_str().and_then(time::parse) else {
        return;
    };
    let kept_nanos = match kind {
        Kind::Time => 0,
        _ => parsed.instant.nanos / 1000 * 1000,
    };
    varint(out, 1, parsed.instant.seconds as u64);
    varint(out, 2, u64::from(kept_nanos));
}

fn varint(out: &mut Vec<u8>, number: u32, value: u64) {
    encode_key(number, WireType::Varint, out);
    encode_varint(value, out);
}

pub(crate) fn bytes(out: &mut Vec<u8>, number: u32, payload: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(payload.len() as u64, out);
    out.extend_from_slice(payload);
}

/// A length-delimited part whose length is known only afterwards. One byte is kept for it, which
/// most need; a longer one moves the part, a short copy.
pub(crate) fn nested(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    encode_key(number, WireType::LengthDelimited, out);
    let at = out.len();
    out.push(0);
    write(out);
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
    } else {
        let mut prefix = Vec::with_capacity(10);
        encode_varint(length as u64, &mut prefix);
        out.splice(at..=at, prefix);
    }
}
