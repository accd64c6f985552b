//! ObjectMeta over a JSON-shaped object: typed reads and writes, no copies of the tree.
use serde_json::Value;
/// `metadata.name`, or "".
pub fn name(_object: &Value) -> &str {
    unimplemented!()
}
/// `metadata.namespace`, or "".
pub fn namespace(_object: &Value) -> &str {
    unimplemented!()
}
/// `metadata.uid`, or "".
pub fn uid(_object: &Value) -> &str {
    unimplemented!()
}
/// `metadata.resourceVersion`, or "".
pub fn resource_version(_object: &Value) -> &str {
    unimplemented!()
}
/// Sets (or with "" removes) one string member of metadata.
pub fn set(_object: &mut Value, _member: &str, _value: &str) {
    unimplemented!()
}
/// One label.
pub fn label<'a>(_object: &'a Value, _key: &str) -> Option<&'a str> {
    unimplemented!()
}
/// One annotation.
pub fn annotation<'a>(_object: &'a Value, _key: &str) -> Option<&'a str> {
    unimplemented!()
}
/// `metadata.creationTimestamp` parsed.
pub fn creation_timestamp(_object: &Value) -> Option<jiff::Timestamp> {
    unimplemented!()
}
/// RFC 3339, whole seconds, `Z`: metav1.Time.
pub fn format_time(_instant: jiff::Timestamp) -> String {
    unimplemented!()
}
/// Parses any RFC 3339 text.
pub fn parse_time(_text: &str) -> Option<jiff::Timestamp> {
    unimplemented!()
}
