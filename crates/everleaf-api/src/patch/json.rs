//! JSON patch (RFC 6902), with the liberties of the library that Kubernetes uses
//! (`gopkg.in/evanphx/json-patch.v4`): `replace` of a member that is not there adds it, `copy` of
//! one copies a null, a missing `value` is a null, indices may be negative and count from the end,
//! and what stands before the first slash of a path is not looked at.
//!
//! No crate does that: those that keep to the RFC refuse patches which clients send to Kubernetes.
//! Why a patch does not apply is not told, as upstream does not tell it.

use super::go_text;
use crate::Status;
use serde_json::{Map, Value};

/// Most operations in one patch.
const OPERATIONS_MAX: usize = 10_000;
/// Most bytes of JSON text that the `copy` operations of one patch may add.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Most list items that the operations of one patch may push aside, together.
const SHIFTED_ITEMS_MAX: usize = 50_000_000;
/// Deepest nesting of lists and objects in the result: that of a body. Trees are walked by
/// recursion, so a deeper one could end the process.
const DEPTH_MAX: usize = 127;
/// Most values that are walked to find how deep they nest, together.
const MEASURED_VALUES_MAX: usize = 50_000_000;

/// The operation does not apply.
struct DoesNotApply;

/// Applies a list of operations. `strict`: their members have the right types, else 400.
pub(super) fn apply(document: Value, patch: &Value, strict: bool) -> Result<Value, Status> {
    let operations = read_operations(patch, strict)?;
    if operations.len() > OPERATIONS_MAX {
        return Err(Status::too_large_for(&format!(
            "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
            operations.len()
        )));
    }
    let mut target = Target {
        document,
        copied_bytes: 0,
        shifted_items: 0,
        values_to_measure: MEASURED_VALUES_MAX,
    };
    for operation in operations {
        let applied = operation.as_object().ok_or(DoesNotApply);
        applied
            .and_then(|operation| target.perform(operation))
            .map_err(|DoesNotApply| Status::unprocessable())?;
    }
    Ok(target.document)
}

/// The operations, or 400 in the words of Go's decoder.
fn read_operations(patch: &Value, strict: bool) -> Result<&[Value], Status> {
    let (prefix, list, item) = if strict {
        let prefix = "error decoding patch: ";
        (prefix, "[]handlers.jsonPatchOp", "handlers.jsonPatchOp")
    } else {
        ("", "jsonpatch.Patch", "jsonpatch.Operation")
    };
    let mismatch = |found: &Value, place: String| {
        let sort = go_text::json_sort(found);
        Status::bad_request(format!(
            "{prefix}json: cannot unmarshal {sort} into Go {place}"
        ))
    };
    let operations = match patch {
        Value::Array(operations) => operations,
        Value::Null => return Ok(&[]),
        other => return Err(mismatch(other, format!("value of type {list}"))),
    };
    for operation in operations {
        let members = match operation {
            Value::Object(members) => members,
            Value::Null => continue,
            other => return Err(mismatch(other, format!("value of type {item}"))),
        };
        for member in ["op", "path", "from"].iter().filter(|_| strict) {
            match members.get(*member) {
                None | Some(Value::Null | Value::String(_)) => {}
                Some(other) => {
                    let place = format!("struct field jsonPatchOp.{member} of type string");
                    return Err(mismatch(other, place));
                }
            }
        }
    }
    Ok(operations)
}

struct Target {
    document: Value,
    copied_bytes: usize,
    shifted_items: usize,
    values_to_measure: usize,
}

impl Target {
    fn perform(&mut self, operation: &Map<String, Value>) -> Result<(), DoesNotApply> {
        let text = |member: &str| operation.get(member).and_then(Value::as_str);
        let value = operation.get("value");
        let path = text("path").ok_or(DoesNotApply)?;
        match text("op").ok_or(DoesNotApply)? {
            "add" => self.add(path, value.cloned().unwrap_or_default()),
            "remove" => self.remove(path).map(drop),
            "replace" => self.replace(path, value),
            "move" => {
                let moved = self.remove(text("from").ok_or(DoesNotApply)?)?;
                self.add(path, moved)
            }
            "copy" => self.copy(text("from").ok_or(DoesNotApply)?, path),
            "test" => self.test(path, value),
            _ => Err(DoesNotApply),
        }
    }

    fn add(&mut self, path: &str, value: Value) -> Result<(), DoesNotApply> {
        self.check_depth(path, &value)?;
        match container(&mut self.document, path)? {
            (Container::Object(members), key) => {
                members.insert(key, value);
            }
            (Container::List(items), key) if key == "-" => items.push(value),
            (Container::List(items), key) => {
                let at = index(&key, items.len() + 1)?;
                let behind = items.len() - at;
                items.insert(at, value);
                self.count_shifted(behind)?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<Value, DoesNotApply> {
        match container(&mut self.document, path)? {
            (Container::Object(members), key) => members.remove(&key).ok_or(DoesNotApply),
            (Container::List(items), key) => {
                let at = index(&key, items.len())?;
                let behind = items.len() - at;
                let removed = items.remove(at);
                self.count_shifted(behind)?;
                Ok(removed)
            }
        }
    }

    fn replace(&mut self, path: &str, value: Option<&Value>) -> Result<(), DoesNotApply> {
        if path.is_empty() {
            let value = value.filter(|value| value.is_object() || value.is_array());
            self.document = value.ok_or(DoesNotApply)?.clone();
            return Ok(());
        }
        let value = value.cloned().unwrap_or_default();
        self.check_depth(path, &value)?;
        match container(&mut self.document, path)? {
            (Container::Object(members), key) => {
                members.insert(key, value);
            }
            (Container::List(items), key) => {
                let at = index(&key, items.len())?;
                items[at] = value;
            }
        }
        Ok(())
    }

    fn copy(&mut self, from: &str, path: &str) -> Result<(), DoesNotApply> {
        let copied = self.member(from)?.cloned().unwrap_or_default();
        if !copied.is_null() {
            self.copied_bytes += copied.to_string().len();
        }
        if self.copied_bytes > COPIED_BYTES_MAX {
            return Err(DoesNotApply);
        }
        self.add(path, copied)
    }

    fn test(&mut self, path: &str, wanted: Option<&Value>) -> Result<(), DoesNotApply> {
        let equal = if path.is_empty() {
            wanted == Some(&self.document)
        } else {
            // A null and nothing at all are the same here.
            let wanted = wanted.filter(|wanted| !wanted.is_null());
            let found = self.member(path)?.filter(|found| !found.is_null());
            found == wanted
        };
        equal.then_some(()).ok_or(DoesNotApply)
    }

    /// The value at a path; None for a member that an object does not have.
    fn member(&mut self, path: &str) -> Result<Option<&Value>, DoesNotApply> {
        match container(&mut self.document, path)? {
            (Container::Object(members), key) => Ok(members.get(&key)),
            (Container::List(items), key) => {
                let at = index(&key, items.len())?;
                Ok(Some(&items[at]))
            }
        }
    }

    /// The value does not nest too deep at that path.
    fn check_depth(&mut self, path: &str, value: &Value) -> Result<(), DoesNotApply> {
        let above = path.matches('/').count();
        let levels = DEPTH_MAX.checked_sub(above).ok_or(DoesNotApply)?;
        let fits = nests_at_most(value, levels, &mut self.values_to_measure);
        fits.then_some(()).ok_or(DoesNotApply)
    }

    fn count_shifted(&mut self, items: usize) -> Result<(), DoesNotApply> {
        self.shifted_items += items;
        if self.shifted_items > SHIFTED_ITEMS_MAX {
            return Err(DoesNotApply);
        }
        Ok(())
    }
}

/// False as well when there are more values than may be looked at.
fn nests_at_most(value: &Value, levels: usize, values_left: &mut usize) -> bool {
    let Some(left) = values_left.checked_sub(1) else {
        return false;
    };
    *values_left = left;
    let mut inner = |item: &Value| {
        let levels = levels.checked_sub(1);
        levels.is_some_and(|levels| nests_at_most(item, levels, values_left))
    };
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(&mut inner),
        Value::Object(members) => levels > 0 && members.values().all(&mut inner),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// What a path's last part is looked up in.
enum Container<'v> {
    Object(&'v mut Map<String, Value>),
    List(&'v mut Vec<Value>),
}

/// The container that a path (RFC 6901) leads to, and the last part of the path.
fn container<'v>(
    document: &'v mut Value,
    path: &str,
) -> Result<(Container<'v>, String), DoesNotApply> {
    let unescape = |part: &str| part.replace("~1", "/").replace("~0", "~");
    let (_, path) = path.split_once('/').ok_or(DoesNotApply)?;
    let (parents, key) = path.rsplit_once('/').unwrap_or(("", path));
    let mut node = document;
    for part in parents.split('/').skip(usize::from(path == key)) {
        let part = unescape(part);
        node = match node {
            Value::Object(members) => members.get_mut(&part).ok_or(DoesNotApply)?,
            Value::Array(items) => {
                let at = index(&part, items.len())?;
                &mut items[at]
            }
            _ => return Err(DoesNotApply),
        };
    }
    match node {
        Value::Object(members) => Ok((Container::Object(members), unescape(key))),
        Value::Array(items) => Ok((Container::List(items), unescape(key))),
        _ => Err(DoesNotApply),
    }
}

/// A place in a list of `len` items; negative ones count from the end.
fn index(text: &str, len: usize) -> Result<usize, DoesNotApply> {
    let number: isize = text.parse().map_err(|_| DoesNotApply)?;
    let at = if number < 0 {
        len.checked_sub(number.unsigned_abs())
    } else {
        Some(number.unsigned_abs())
    };
    at.filter(|at| *at < len).ok_or(DoesNotApply)
}

#[cfg(test)]
mod tests;
