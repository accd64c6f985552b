//! JSON merge patch (RFC 7386). Other patch types are doors for later.
use serde_json::Value;
/// Applies a merge patch in place.
pub fn merge(_target: &mut Value, _patch: &Value) {
    unimplemented!()
}
