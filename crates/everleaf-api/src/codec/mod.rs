//! The generic codec: JSON and protobuf, both driven by the tables of [`schema`](crate::schema). It
//! knows Go's conventions (what is printed when empty, how gogo writes fields, how times look) and
//! no type in particular.

pub(crate) mod budget;
pub(crate) mod defaults;
mod error;
mod json_any;
pub(crate) mod json_read;
mod json_value;
pub(crate) mod json_write;
pub(crate) mod proto_read;
pub(crate) mod proto_write;
mod quantity;
pub(crate) mod scalar;
pub(crate) mod stamp;
pub(crate) mod time;
pub(crate) mod transcode;

use crate::schema::{Field, Kind, Message, Presence};
pub use error::DecodeError;
use serde_json::{Map, Value};

/// What an always-present field holds when nobody set it; None where canonical form leaves it out
/// (printed as `null`).
fn zero(kind: &Kind) -> Option<Value> {
    match kind {
        Kind::Bool => Some(Value::Bool(false)),
        Kind::Int32 | Kind::Int64 => Some(Value::from(0)),
        Kind::String => Some(Value::String(String::new())),
        Kind::Message(message) => {
            let mut object = Map::new();
            fill(message, &mut object);
            Some(Value::Object(object))
        }
        Kind::Bytes
        | Kind::Time
        | Kind::MicroTime
        | Kind::Quantity
        | Kind::ExtraValue
        | Kind::FieldsV1
        | Kind::List(..)
        | Kind::Map(_) => None,
    }
}

/// Adds what Go would print for the fields that are absent.
fn fill(message: &Message, object: &mut Map<String, Value>) {
    for field in message.fields {
        if field.presence == Presence::Always
            && !object.contains_key(field.member)
            && let Some(value) = zero(&field.kind)
        {
            object.insert(field.member.to_owned(), value);
        }
    }
}

/// True when canonical form leaves this value of the field out.
fn is_left_out(field: &Field, value: &Value) -> bool {
    let empty = match value {
        Value::Null => return true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_i64() == Some(0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    };
    match field.presence {
        // An empty list behind a pointer does not occur in the tables; a zero behind one is kept.
        Presence::Pointer | Presence::Nullable => false,
        Presence::OmitEmpty => empty,
        Presence::Always => empty && matches!(field.kind, Kind::List(..) | Kind::Map(_)),
    }
}

/// The value in place of a list item or map value that was `null` or, in protobuf, empty.
fn zero_item(kind: &Kind) -> Value {
    match kind {
        Kind::Bytes => Value::String(String::new()),
        Kind::Quantity => Value::String("0".into()),
        Kind::ExtraValue | Kind::List(..) => Value::Array(Vec::new()),
        Kind::Map(_) => Value::Object(Map::new()),
        Kind::FieldsV1 => Value::String("{}".into()),
        other => zero(other).unwrap_or(Value::Null),
    }
}

/// Entries in key order, whichever map serde_json was built with.
fn sorted_entries(object: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = object.iter().collect();
    if !entries.is_sorted_by(|a, b| a.0 <= b.0) {
        entries.sort_by(|a, b| a.0.cmp(b.0));
    }
    entries
}
