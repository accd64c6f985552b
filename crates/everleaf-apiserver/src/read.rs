//! Typed reads of JSON-shaped objects by JSON pointer. What is absent or of another type reads as empty, as Go's zero
//! values do; whether that is acceptable is the reader's question.

use everleaf_api::meta;
use jiff::Timestamp;
use serde_json::Value;

/// A string, or "".
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or("")
}

/// The items of a list, or none.
pub(crate) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The strings of a list of strings.
pub(crate) fn texts(object: &Value, pointer: &str) -> Vec<String> {
    items(object, pointer)
        .iter()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// A point in time; None when absent, null or not RFC 3339.
pub(crate) fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    meta::parse_time(text(object, pointer))
}

/// True when there is nothing: absent, null, "", `[]` or `{}`.
pub(crate) fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(members)) => members.is_empty(),
        Some(Value::Bool(_) | Value::Number(_)) => false,
    }
}
