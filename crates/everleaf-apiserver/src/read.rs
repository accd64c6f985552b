//! Typed reads of JSON-shaped objects by path (`/spec/signerName`). What is absent or of another
//! type reads as empty, as Go's zero values do; whether that is acceptable is the reader's
//! question.

use everleaf_api::meta;
use jiff::Timestamp;
use serde_json::Value;

/// What lies at a path of member names. Unlike a JSON pointer (RFC 6901) it has no escapes and no
/// list positions, and so needs no memory: every request is read this way many times.
fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut members = path.split('/').skip(1);
    members.try_fold(object, |value, member| value.get(member))
}

/// A string, or "".
pub(crate) fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or("")
}

/// The items of a list, or none.
pub(crate) fn items<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    at(object, path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The strings of a list of strings.
pub(crate) fn texts(object: &Value, path: &str) -> Vec<String> {
    items(object, path)
        .iter()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// A point in time; None when absent, null or not RFC 3339.
pub(crate) fn time(object: &Value, path: &str) -> Option<Timestamp> {
    meta::parse_time(text(object, path))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_there_reads_as_empty() {
        let object = json!({"a": {"b": "c", "d": ["e", 1]}, "n": null});
        for (path, found) in [
            ("/a/b", "c"),
            ("/a", ""),
            ("/a/x", ""),
            ("/a/b/c", ""),
            ("/a/d/0", ""),
            ("/n", ""),
            ("", ""),
        ] {
            assert_eq!(text(&object, path), found, "{path}");
        }
        assert_eq!(texts(&object, "/a/d"), ["e"]);
        assert!(items(&object, "/a/b").is_empty());
    }
}
