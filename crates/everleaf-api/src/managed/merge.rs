//! An applied configuration laid over an object, and fields taken out of one
//! (`structured-merge-diff`, `typed/merge.go`, `typed/remove.go`). Trees are as clients see them.

use super::element::Element;
use super::set::FieldSet;
use super::shape::Shape;
use super::walk::is_empty;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// `live` with all that `config` says; None when nothing is left to say.
pub(super) fn merge(shape: Shape, live: &Value, config: &Value) -> Option<Value> {
    if matches!(shape, Shape::Leaf) || is_empty(Some(live)) && is_empty(Some(config)) {
        return Some(config.clone());
    }
    if let Shape::Keyed(..) | Shape::Set = shape {
        let items = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
        let merged = merge_lists(shape, &items(live), &items(config));
        return (!merged.is_empty()).then_some(Value::Array(merged));
    }
    let mut result = live.as_object().cloned().unwrap_or_default();
    for (name, value) in config.as_object().into_iter().flatten() {
        let below = shape.below(&Element::Field(name.clone().into()));
        let merged = match result.get(name) {
            None => Some(value.clone()),
            Some(live) => merge(below, live, value),
        };
        match merged {
            Some(merged) => result.insert(name.clone(), merged),
            None => result.remove(name),
        };
    }
    (!result.is_empty()).then_some(Value::Object(result))
}

/// Items in the order of the configuration; those that only the object has stay before what they
/// stood before.
fn merge_lists(shape: Shape, live: &[Value], config: &[Value]) -> Vec<Value> {
    let keyed = |items: &[Value]| -> Vec<Element> {
        let keys = items.iter().map(|item| shape.item(item));
        keys.filter_map(Result::ok).collect()
    };
    let (left, right) = (keyed(live), keyed(config));
    let mut of_live: BTreeMap<&Element, &Value> = BTreeMap::new();
    for (element, item) in left.iter().zip(live) {
        // What is repeated is merged with nothing.
        let entry = of_live.entry(element);
        entry
            .and_modify(|item| *item = &Value::Null)
            .or_insert(item);
    }
    let of_config: BTreeSet<&Element> = right.iter().collect();
    let is_shared = |element: &&Element| of_live.contains_key(*element);
    let mut shared: VecDeque<&Element> = right.iter().filter(is_shared).collect();
    let mut turn = shared.pop_front();
    let mut taken: BTreeSet<&Element> = BTreeSet::new();
    let mut result = Vec::with_capacity(live.len().max(config.len()));
    let merged = |at: usize| match of_live.get(&right[at]) {
        None => Some(config[at].clone()),
        Some(live) => merge(shape.of_item(), live, &config[at]),
    };
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let Some(element) = left.get(l) {
            if right.get(r) == Some(element) {
                result.extend(merged(r));
                taken.insert(element);
                turn = shared.pop_front();
                (l, r) = (l + 1, r + 1);
                continue;
            }
            if !of_config.contains(element) {
                result.push(live[l].clone());
                l += 1;
                continue;
            }
            if r < right.len() && turn.is_some_and(|turn| turn != element) {
                // It comes when the configuration names it.
                l += 1;
                continue;
            }
            if taken.contains(element) {
                l += 1;
            }
        }
        if let Some(element) = right.get(r) {
            result.extend(merged(r));
            taken.insert(element);
            r += 1;
            if turn == Some(element) {
                turn = shared.pop_front();
            }
        }
    }
    result
}

/// `value` without these fields and items; null when nothing is left of it.
pub(super) fn remove(shape: Shape, value: &Value, gone: &FieldSet) -> Value {
    match (shape, value) {
        (Shape::Struct(_) | Shape::Map(_), Value::Object(members)) if !members.is_empty() => {
            let mut result = Map::new();
            for (name, value) in members {
                let element = Element::Field(name.clone().into());
                match gone.step(&element) {
                    None => result.insert(name.clone(), value.clone()),
                    Some(step) if step.is_member => None,
                    Some(step) => {
                        let left = remove(shape.below(&element), value, &step.below);
                        result.insert(name.clone(), left)
                    }
                };
            }
            or_null(result.is_empty(), Value::Object(result))
        }
        (Shape::Keyed(..) | Shape::Set, Value::Array(items)) if !items.is_empty() => {
            let mut result = Vec::new();
            for item in items {
                let step = shape
                    .item(item)
                    .ok()
                    .and_then(|element| gone.step(&element));
                match step {
                    None => result.push(item.clone()),
                    Some(step) if step.is_member => {}
                    Some(step) => result.push(remove(shape.of_item(), item, &step.below)),
                }
            }
            or_null(result.is_empty(), Value::Array(result))
        }
        (Shape::Leaf, value) => value.clone(),
        _ => Value::Null,
    }
}

fn or_null(is_nothing: bool, value: Value) -> Value {
    if is_nothing { Value::Null } else { value }
}
