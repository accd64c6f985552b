//! Merging two lists, and the order of the result.
//!
//! The items of the patch keep the patch's order, the others keep the order that the server had,
//! and the two are laid into each other by what the server's order says about both (`mergeSlice`,
//! `normalizeElementOrder` in `k8s.io/apimachinery/pkg/util/strategicpatch`). Items are known by
//! the text of their key, so all of it takes `n log n`, where upstream compares each with each.

use super::directives::{PATCH, unknown};
use super::go_text;
use super::shape::{ListShape, Shape};
use super::strategic::{Object, merge_objects};
use crate::Status;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How often one list of a patch may come back to items that it has changed already. Each time may
/// walk a long list inside the item.
const REPEATED_CHANGES_MAX: usize = 16;

/// The sorts of values that Go's decoder tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Null,
    Bool,
    Integer,
    Float,
    String,
    List,
    Object,
}

impl Sort {
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if number.is_i64() => Self::Integer,
            Value::Number(_) => Self::Float,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::List,
            Value::Object(_) => Self::Object,
        }
    }

    /// The one sort of all items.
    pub(super) fn of_items(lists: &[&[Value]]) -> Result<Self, Status> {
        let mut sort = None;
        for item in lists.iter().copied().flatten() {
            match (Self::of(item), sort) {
                // Upstream panics here.
                (Self::Null, None) => {
                    return Err(Status::bad_request("a merged list holds a null"));
                }
                (Self::List, None) => return Err(Status::unprocessable()),
                (first, None) => sort = Some(first),
                (next, Some(first)) if next == first => {}
                _ => {
                    return Err(Status::bad_request(format!(
                        "list element types are not identical: {}",
                        go_text::lists_text(lists)
                    )));
                }
            }
        }
        sort.ok_or_else(|| Status::bad_request("no elements in any of the given slices"))
    }
}

/// A list whose items are known by a text: an object's key, or the scalar itself.
pub(super) type Items = Vec<(String, Value)>;
/// Where an item stands in a list; the first of several counts.
pub(super) type Ranks = BTreeMap<String, usize>;

/// A merged list.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) items: Vec<Value>,
    /// Where the items stand in the server's list; one that the patch added has a place there only
    /// if it fills the gap of one that the patch deleted.
    pub(super) server: Ranks,
}

/// Merges a list of the patch into the server's; `is_deletion`: its scalars are taken out instead.
/// Not for lists that the patch replaces.
pub(super) fn merge_lists(
    original: Vec<Value>,
    patch: Vec<Value>,
    list: ListShape,
    is_deletion: bool,
) -> Result<Merged, Status> {
    if original.is_empty() && patch.is_empty() {
        return Ok(Merged {
            items: original,
            server: Ranks::new(),
        });
    }
    match (Sort::of_items(&[&original, &patch])?, list.key()) {
        (Sort::Object, Some(key)) => merge_objects_by(original, patch, key, list.item),
        (Sort::Object, None) => Err(Status::bad_request(format!(
            "cannot merge lists without merge key for {}",
            list.item.sort()
        ))),
        (_, _) if is_deletion => Ok(take_out(original, &patch)),
        (_, None) => Ok(merge_scalars(original, patch)),
        (_, Some(key)) => Err(not_keyed(original.iter().chain(&patch), key)),
    }
}

/// What upstream says when scalars stand where keyed objects belong.
fn not_keyed<'a>(items: impl Iterator<Item = &'a Value>, key: &str) -> Status {
    items
        .map(|item| item_key(item, Some(key)))
        .find_map(Result::err)
        .unwrap_or_else(|| Status::bad_request("a list of objects holds scalars"))
}

fn take_out(original: Vec<Value>, scalars: &[Value]) -> Merged {
    let gone: BTreeSet<String> = scalars.iter().map(Value::to_string).collect();
    let items = original
        .into_iter()
        .filter(|item| !gone.contains(&item.to_string()));
    Merged {
        items: items.collect(),
        server: Ranks::new(),
    }
}

fn merge_scalars(original: Vec<Value>, patch: Vec<Value>) -> Merged {
    let keyed = |items: Vec<Value>| -> Items {
        let mut seen = BTreeSet::new();
        items
            .into_iter()
            .map(|item| (item.to_string(), item))
            .filter(|(key, _)| seen.insert(key.clone()))
            .collect()
    };
    let (original, patch) = (keyed(original), keyed(patch));
    let server = ranks(original.iter().map(|(key, _)| key.clone()));
    let wanted = ranks(patch.iter().map(|(key, _)| key.clone()));
    let server_only = original
        .into_iter()
        .filter(|(key, _)| !wanted.contains_key(key));
    let items = lay_together(patch, server_only.collect(), &wanted, &server);
    Merged { items, server }
}

fn merge_objects_by(
    original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
    shape: Shape,
) -> Result<Merged, Status> {
    let places = original.len();
    let (mut merged, changes) = special_items(original, patch, key)?;
    let kept = merged.len();
    let mut index = Ranks::new();
    for (at, item) in merged.iter().enumerate() {
        if let Ok(text) = item_key(item, Some(key)) {
            index.entry(text).or_insert(at);
        }
    }
    let wanted = ranks(list_keys(&changes, Some(key))?);
    if changes.len() - wanted.len() > REPEATED_CHANGES_MAX {
        return Err(Status::bad_request(format!(
            "the patch changes items of one list again and again: more than {REPEATED_CHANGES_MAX} times"
        )));
    }
    for change in changes {
        let text = item_key(&change, Some(key))?;
        match (index.get(&text).copied(), change) {
            (Some(at), Value::Object(change)) => {
                let old = match merged[at].take() {
                    Value::Object(old) => old,
                    _ => Object::new(),
                };
                merged[at] = Value::Object(merge_objects(old, change, shape)?);
            }
            (_, change) => {
                index.insert(text, merged.len());
                merged.push(change);
            }
        }
    }
    let keys = list_keys(&merged, Some(key))?;
    let before = ranks(keys.iter().take(kept).cloned());
    let server = ranks(keys.iter().take(places).cloned());
    let (from_patch, server_only) = keys
        .into_iter()
        .zip(merged)
        .partition(|(text, _)| wanted.contains_key(text));
    let items = lay_together(from_patch, server_only, &wanted, &before);
    Ok(Merged { items, server })
}

/// Obeys the items that carry `$patch`. Returns what is left of the server's list, and the patch's
/// other items.
fn special_items(
    original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), Status> {
    let (mut changes, mut gone, mut replace) = (Vec::new(), BTreeSet::new(), false);
    for item in patch {
        let directive = item.get(PATCH).map(|directive| directive.as_str());
        match (directive, &item) {
            (None, _) => changes.push(item),
            (Some(Some("delete")), _) => {
                gone.insert(item_key(&item, Some(key))?);
            }
            (Some(Some("replace")), _) => replace = true,
            (Some(Some("merge")), _) => {
                return Err(Status::bad_request(
                    "merging lists cannot yet be specified in the patch",
                ));
            }
            (Some(_), Value::Object(members)) => return Err(unknown(&members[PATCH], members)),
            (Some(_), _) => {}
        }
    }
    if replace {
        return Ok((changes, Vec::new()));
    }
    let kept = original
        .into_iter()
        .filter(|item| item_key(item, Some(key)).map_or(true, |text| !gone.contains(&text)));
    Ok((kept.collect(), changes))
}

/// The text by which an item is known: its member `key`, or itself when it is a scalar.
pub(super) fn item_key(item: &Value, key: Option<&str>) -> Result<String, Status> {
    let value = match (key, item) {
        (None, scalar) => scalar,
        (Some(key), Value::Object(members)) => {
            members.get(key).ok_or_else(|| no_key(members, key))?
        }
        (Some(_), other) => return Err(wrong_type("map[string]interface {}", other)),
    };
    match value {
        // Upstream panics here: such values cannot be compared.
        Value::Array(_) | Value::Object(_) => Err(Status::bad_request(format!(
            "{} cannot tell list items apart",
            go_text::text(value)
        ))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(value.to_string()),
    }
}

/// The keys of all items.
pub(super) fn list_keys(items: &[Value], key: Option<&str>) -> Result<Vec<String>, Status> {
    items.iter().map(|item| item_key(item, key)).collect()
}

fn no_key(members: &Object, key: &str) -> Status {
    Status::bad_request(format!(
        "map: {} does not contain declared merge key: {key}",
        go_text::text(&Value::Object(members.clone()))
    ))
}

/// 400 `expected a T, but received a U`.
pub(super) fn wrong_type(expected: &str, found: &Value) -> Status {
    Status::bad_request(format!(
        "expected a {expected}, but received a {}",
        go_text::type_name(found)
    ))
}

pub(super) fn ranks(keys: impl IntoIterator<Item = String>) -> Ranks {
    let mut ranks = Ranks::new();
    for (at, key) in keys.into_iter().enumerate() {
        ranks.entry(key).or_insert(at);
    }
    ranks
}

/// The patch's items in the wanted order, the server's in the server's, one laid into the other: a
/// server's item goes before the first of the patch's that the server has behind it.
pub(super) fn lay_together(
    from_patch: Items,
    server_only: Items,
    wanted: &Ranks,
    server: &Ranks,
) -> Vec<Value> {
    let mut result = Vec::with_capacity(from_patch.len() + server_only.len());
    let mut left = in_order(server_only, server).into_iter().peekable();
    for (key, item) in in_order(from_patch, wanted) {
        let place = server.get(&key);
        while let Some((_, before)) = left.next_if(|(key, _)| {
            place.is_some_and(|place| server.get(key).is_some_and(|other| other < place))
        }) {
            result.push(before);
        }
        result.push(item);
    }
    result.extend(left.map(|(_, item)| item));
    result
}

/// Sorts by rank. Items without one come about only when `$setElementOrder` is empty though the
/// patch adds items. Upstream's comparison is no order then; an insertion sort does what Go does
/// with up to twenty items.
fn in_order(mut items: Items, ranks: &Ranks) -> Items {
    const INSERTION_MAX: usize = 20;
    if items.iter().all(|(key, _)| ranks.contains_key(key)) {
        items.sort_by_key(|(key, _)| ranks.get(key).copied());
    } else if items.len() <= INSERTION_MAX {
        for at in 1..items.len() {
            let mut to = at;
            while to > 0 && goes_before(&items[to].0, &items[to - 1].0, ranks) {
                items.swap(to, to - 1);
                to -= 1;
            }
        }
    }
    items
}

fn goes_before(left: &str, right: &str, ranks: &Ranks) -> bool {
    match (ranks.get(left), ranks.get(right)) {
        (Some(left), Some(right)) => left < right,
        _ => true,
    }
}
