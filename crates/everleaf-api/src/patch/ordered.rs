//! `$setElementOrder/<list>`: a list merges and then takes an order. What the directive names comes
//! in its order, the rest as the server had it.

use super::directives::{PATCH, SET_ORDER, directed_member, without_directives};
use super::go_text;
use super::lists::{
    Items, Merged, Ranks, Sort, item_key, lay_together, list_keys, merge_lists, ranks, wrong_type,
};
use super::shape::{ListShape, Shape};
use super::strategic::Object;
use crate::Status;
use crate::schema::ListPatch;
use serde_json::Value;

/// Go's name of the type of a list.
const LIST: &str = "[]interface {}";

/// Merges every list that the patch orders, and takes it and the directive out of the patch.
pub(super) fn merge(original: &mut Object, patch: &mut Object, shape: Shape) -> Result<(), Status> {
    let mut directives: Vec<String> = patch
        .keys()
        .filter(|key| key.starts_with(SET_ORDER))
        .cloned()
        .collect();
    directives.sort();
    for directive in directives {
        let order = match patch.remove(&directive) {
            Some(Value::Array(order)) => order,
            other => return Err(wrong_type(LIST, &other.unwrap_or_default())),
        };
        let member = directed_member(&directive, SET_ORDER)
            .ok_or_else(|| Status::bad_request("invalid patch format of setElementOrder list"))?;
        let (old, change) = (list_of(original, member)?, list_of(patch, member)?);
        let list = shape.list(member)?;
        check_order(change.unwrap_or_default(), &order, list)?;
        if old.is_none() && change.is_none() {
            continue;
        }
        let old = take(original, member);
        let change = take(patch, member);
        let merged = merge_ordered(old, change, &order, list)?;
        original.insert(member.to_owned(), Value::Array(merged));
    }
    Ok(())
}

fn list_of<'a>(object: &'a Object, member: &str) -> Result<Option<&'a [Value]>, Status> {
    match object.get(member) {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(other) => Err(wrong_type(LIST, other)),
    }
}

fn take(object: &mut Object, member: &str) -> Option<Vec<Value>> {
    match object.remove(member) {
        Some(Value::Array(items)) => Some(items),
        _ => None,
    }
}

fn merge_ordered(
    old: Option<Vec<Value>>,
    change: Option<Vec<Value>>,
    order: &[Value],
    list: ListShape,
) -> Result<Vec<Value>, Status> {
    // Upstream looks at the sorts last; nothing that comes before can fail when they differ but for
    // this reason.
    let sort = Sort::of_items(&[
        old.as_deref().unwrap_or_default(),
        change.as_deref().unwrap_or_default(),
    ])?;
    if sort == Sort::Object && list.key().is_none() {
        return Err(Status::bad_request(
            "objects of a list without merge key cannot be ordered",
        ));
    }
    let Merged { items, server } = match (old, change) {
        (Some(old), Some(change)) if list.patch == ListPatch::Replace => Merged {
            items: change,
            server: ranks(list_keys(&old, None)?),
        },
        (Some(old), Some(change)) => merge_lists(old, change, list, false)?,
        (Some(old), None) => Merged {
            server: ranks(list_keys(&old, list.key())?),
            items: old,
        },
        (None, change) => Merged {
            items: change
                .into_iter()
                .flatten()
                .filter_map(without_directives)
                .collect(),
            server: Ranks::new(),
        },
    };
    if let Some(at) = order
        .iter()
        .position(|item| list.key().is_some() && !item.is_object())
    {
        return Err(Status::bad_request(format!(
            "value for key {at} is not a map"
        )));
    }
    let wanted = ranks(list_keys(order, list.key())?);
    let keys = list_keys(&items, list.key())?;
    let (from_patch, server_only): (Items, Items) = keys
        .into_iter()
        .zip(items)
        .partition(|(key, _)| wanted.contains_key(key));
    Ok(lay_together(from_patch, server_only, &wanted, &server))
}

/// The items of the patch must stand in the directive's list, in the same order.
fn check_order(change: &[Value], order: &[Value], list: ListShape) -> Result<(), Status> {
    if change.is_empty() || order.is_empty() {
        return Ok(());
    }
    let key = list.key();
    if let Some(scalar) = change
        .iter()
        .find(|item| key.is_some() && !item.is_object())
    {
        return Err(wrong_type("map[string]interface {}", scalar));
    }
    let is_deleted = |item: &&Value| key.is_some() && item[PATCH] == "delete";
    let mut left = change.iter().filter(|item| !is_deleted(item)).peekable();
    let mut wanted = order.iter().peekable();
    // A key may be long: it is made once, not for each place of the order.
    let mut known = None;
    while let (Some(item), Some(next)) = (left.peek(), wanted.peek()) {
        if item.get(PATCH).is_some() {
            left.next();
            continue;
        }
        let item = match known.take() {
            Some(text) => text,
            None => item_key(item, key)?,
        };
        if item == item_key(next, key)? {
            left.next();
        } else {
            known = Some(item);
        }
        wanted.next();
    }
    if left.peek().is_none() {
        return Ok(());
    }
    Err(Status::bad_request(format!(
        "The order in patch list:\n{}\n doesn't match {SET_ORDER} list:\n{}\n",
        go_text::text(&Value::Array(change.to_vec())),
        go_text::text(&Value::Array(order.to_vec()))
    )))
}
