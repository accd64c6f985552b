//! ObjectMeta over a JSON-shaped object: typed reads and writes, no copies of the tree. Also the
//! two time formats.

use crate::codec::time::{self, Instant};
use jiff::Timestamp;
use serde_json::{Map, Value};

/// `metadata.name`, or "".
pub fn name(object: &Value) -> &str {
    text(object, "name")
}

/// `metadata.generateName`, or "".
pub fn generate_name(object: &Value) -> &str {
    text(object, "generateName")
}

/// `metadata.namespace`, or "".
pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

/// `namespace/name`, or the name alone where there is no namespace: unique within a resource.
#[must_use]
pub fn key(object: &Value) -> String {
    match namespace(object) {
        "" => name(object).to_owned(),
        namespace => format!("{namespace}/{}", name(object)),
    }
}

/// `metadata.uid`, or "".
pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}

/// A UUID of version 4 (RFC 9562 section 5.4) from random bytes: what a uid looks like.
#[must_use]
pub fn uuid(mut random: [u8; 16]) -> String {
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let mut text = format!("{:032x}", u128::from_be_bytes(random));
    for place in [20, 16, 12, 8] {
        text.insert(place, '-');
    }
    text
}

/// `metadata.resourceVersion`, or "".
pub fn resource_version(object: &Value) -> &str {
    text(object, "resourceVersion")
}

fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object["metadata"][member].as_str().unwrap_or_default()
}

/// Sets (or with "" removes) one string member of metadata.
pub fn set(object: &mut Value, member: &str, value: &str) {
    let metadata = metadata_mut(object);
    if value.is_empty() {
        metadata.remove(member);
    } else {
        metadata.insert(member.to_owned(), value.into());
    }
}

/// `metadata` for writing; made when it is missing. What is not an object becomes one.
pub fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    let members = as_members(object);
    as_members(
        members
            .entry("metadata")
            .or_insert_with(|| Value::Object(Map::new())),
    )
}

fn as_members(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value
        .as_object_mut()
        .expect("invariant: made an object above")
}

/// `metadata.labels`.
pub fn labels(object: &Value) -> Option<&Map<String, Value>> {
    object["metadata"]["labels"].as_object()
}

/// One label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"][key].as_str()
}

/// One annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][key].as_str()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object["metadata"]["finalizers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// `metadata.creationTimestamp` parsed.
pub fn creation_timestamp(object: &Value) -> Option<Timestamp> {
    parse_time(text(object, "creationTimestamp"))
}

/// `metadata.deletionTimestamp` parsed.
pub fn deletion_timestamp(object: &Value) -> Option<Timestamp> {
    parse_time(text(object, "deletionTimestamp"))
}

/// The version of `apiVersion`, without its group.
pub fn version(object: &Value) -> &str {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    version.rsplit('/').next().unwrap_or_default()
}

/// RFC 3339, whole seconds, `Z`: metav1.Time.
pub fn format_time(instant: Timestamp) -> String {
    Instant::from_timestamp(instant).time_text()
}

/// RFC 3339, six digits of fraction, `Z`: metav1.MicroTime.
pub fn format_micro_time(instant: Timestamp) -> String {
    Instant::from_timestamp(instant).micro_time_text()
}

/// Parses RFC 3339 with any offset, with or without a fraction.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    time::parse(text).map(|parsed| parsed.instant.to_timestamp())
}

/// The `metadata` of a list, for [`Type::encode_list_json`](crate::schema::Type::encode_list_json)
/// and tables. An empty `continue_token` is left out.
pub fn list_meta(
    resource_version: &str,
    continue_token: &str,
    remaining_items: Option<u64>,
) -> Value {
    let mut metadata = Map::new();
    for (member, value) in [
        ("resourceVersion", resource_version),
        ("continue", continue_token),
    ] {
        if !value.is_empty() {
            metadata.insert(member.to_owned(), value.into());
        }
    }
    if let Some(count) = remaining_items {
        metadata.insert("remainingItemCount".to_owned(), count.into());
    }
    Value::Object(metadata)
}
