//! Strategic merge patch: objects merge, lists merge as the schema says, `$…` members direct the
//! rest. Rules from `k8s.io/apimachinery/pkg/util/strategicpatch`, recordings of which the tests
//! compare with; where upstream follows the random order of a Go map, we go by name, so that
//! deletions from a list come before additions to it.
//!
//! Answers are upstream's, but for what upstream did not foresee and answers 500: it is the patch's
//! fault, so 400 with the same words.

use super::directives::{
    DELETE_FROM_LIST, PATCH, RETAIN_KEYS, SET_ORDER, directed_member, discard_nulls, unknown,
    without_directives,
};
use super::lists::{Sort, merge_lists};
use super::ordered;
use super::shape::Shape;
use crate::Status;
use crate::schema::{ListPatch, Message};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// An object's members.
pub(super) type Object = Map<String, Value>;

/// Applies a strategic merge patch to an object of that root message.
///
/// # Errors
/// 400 for a patch that contradicts itself, its directives or the schema; 422 for lists of lists.
pub fn strategic_merge(
    original: Object,
    patch: Object,
    message: &'static Message,
) -> Result<Object, Status> {
    merge_objects(original, patch, Shape::Message(message))
}

pub(super) fn merge_objects(
    mut original: Object,
    mut patch: Object,
    shape: Shape,
) -> Result<Object, Status> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(PATCH);
                Ok(patch)
            }
            Some("delete") => Ok(Object::new()),
            _ => Err(unknown(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    ordered::merge(&mut original, &mut patch, shape)?;
    let mut changes: Vec<_> = patch.into_iter().collect();
    changes.sort_by(|a, b| a.0.cmp(&b.0));
    for (key, change) in changes {
        if !key.starts_with(DELETE_FROM_LIST) {
            merge_member(&mut original, &key, change, false, shape)?;
            continue;
        }
        let member = directed_member(&key, DELETE_FROM_LIST)
            .ok_or_else(|| Status::bad_request("invalid patch format of primitive list"))?;
        merge_member(&mut original, member, change, true, shape)?;
    }
    Ok(original)
}

/// Merges one member; `is_deletion`: the change names what to take out of it.
fn merge_member(
    original: &mut Object,
    key: &str,
    mut change: Value,
    is_deletion: bool,
    shape: Shape,
) -> Result<(), Status> {
    if change.is_null() {
        original.remove(key);
        return Ok(());
    }
    let present = original.get_mut(key);
    let Some(slot) = present.filter(|slot| Sort::of(slot) == Sort::of(&change)) else {
        if !is_deletion {
            discard_nulls(&mut change);
            match without_directives(change) {
                Some(change) => original.insert(key.to_owned(), change),
                None => original.remove(key),
            };
        }
        return Ok(());
    };
    *slot = match (slot.take(), change) {
        (Value::Object(old), Value::Object(change)) => {
            Value::Object(merge_objects(old, change, shape.member(key)?)?)
        }
        (Value::Array(old), Value::Array(change)) => {
            let list = shape.list(key)?;
            match list.patch {
                ListPatch::Replace if !is_deletion => Value::Array(change),
                _ => Value::Array(merge_lists(old, change, list, is_deletion)?.items),
            }
        }
        (_, change) => change,
    };
    Ok(())
}

/// `$retainKeys`: whatever it does not name goes. The patch may only set what it names.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), Status> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let malformed = || Status::bad_request("invalid patch format of retainKeys");
    let retained = directive.as_array().ok_or_else(malformed)?;
    let retained: BTreeSet<&str> = retained.iter().filter_map(Value::as_str).collect();
    let sets_others = patch.iter().any(|(key, value)| {
        !value.is_null()
            && !key.starts_with(DELETE_FROM_LIST)
            && !key.starts_with(SET_ORDER)
            && !retained.contains(key.as_str())
    });
    if sets_others {
        return Err(malformed());
    }
    original.retain(|key, _| retained.contains(key.as_str()));
    Ok(())
}
