//! The members of a strategic merge patch that are not data: what they are called, and how they
//! leave the result.

use super::go_text;
use crate::Status;
use serde_json::{Map, Value};

/// In an object: `delete` or `replace` it; in an item of a merging list: `delete` the item, or
/// `replace` the list.
pub(super) const PATCH: &str = "$patch";
/// `$deleteFromPrimitiveList/<list>`: scalars to take out.
pub(super) const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
/// `$setElementOrder/<list>`: the order that the items shall have.
pub(super) const SET_ORDER: &str = "$setElementOrder";
/// Names of the members that survive.
pub(super) const RETAIN_KEYS: &str = "$retainKeys";

/// What follows the slash; None for another word that only begins like the directive, or without a
/// slash.
pub(super) fn directed_member<'a>(key: &'a str, directive: &str) -> Option<&'a str> {
    key.strip_prefix(directive)?.strip_prefix('/')
}

/// 400 for a `$patch` that nobody knows.
pub(super) fn unknown(directive: &Value, object: &Map<String, Value>) -> Status {
    Status::bad_request(format!(
        "unknown patch type: {} in map: {}",
        go_text::string_text(directive),
        go_text::text(&Value::Object(object.clone()))
    ))
}

/// A value that goes into the result as it is: objects that carry `$patch` are left out of it, at
/// any depth. None when it is one itself.
pub(super) fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(members) if members.contains_key(PATCH) => None,
        Value::Object(members) => {
            let members = members
                .into_iter()
                .filter_map(|(key, value)| Some((key, without_directives(value)?)));
            Some(Value::Object(members.collect()))
        }
        Value::Array(items) => Some(Value::Array(
            items.into_iter().filter_map(without_directives).collect(),
        )),
        scalar => Some(scalar),
    }
}

/// Removes the members that are `null`: there is nothing for them to delete.
pub(super) fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(discard_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(discard_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
