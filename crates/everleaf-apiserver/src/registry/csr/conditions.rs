//! Conditions of a CSR: what a write may keep of them, and when two lists say the same.

use crate::read;
use everleaf_api::{
    csr::{APPROVED, DENIED},
    meta,
};
use jiff::Timestamp;
use serde_json::Value;

/// The type of a condition.
pub(super) fn kind(condition: &Value) -> &str {
    read::text(condition, "/type")
}

/// Conditions of one type, in order.
pub(super) fn of_kind<'a>(conditions: &'a [Value], wanted: &str) -> Vec<&'a Value> {
    conditions
        .iter()
        .filter(|condition| kind(condition) == wanted)
        .collect()
}

/// Equal in meaning: an absent string is empty, an absent time is zero, times compare by instant.
pub(crate) fn is_same(a: &Value, b: &Value) -> bool {
    ["/type", "/status", "/reason", "/message"]
        .iter()
        .all(|pointer| read::text(a, pointer) == read::text(b, pointer))
        && ["/lastUpdateTime", "/lastTransitionTime"]
            .iter()
            .all(|pointer| read::time(a, pointer) == read::time(b, pointer))
}

/// Two lists, in order.
pub(crate) fn are_same(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
}

/// Puts the stored Approved and Denied conditions over those of the request, instance by instance.
/// Where their number differs the write is refused by validation, whatever this leaves.
pub(super) fn restore_decisions(new: &mut [Value], old: &[Value]) {
    for decision in [APPROVED, DENIED] {
        let places = new
            .iter_mut()
            .filter(|condition| kind(condition) == decision);
        for (place, stored) in places.zip(of_kind(old, decision)) {
            place.clone_from(stored);
        }
    }
}

/// Fills absent times: `lastUpdateTime` with now; `lastTransitionTime` with that of the first
/// stored condition of the same type and status that has one, else with now.
pub(super) fn fill_times(new: &mut [Value], old: &[Value], now: Timestamp) {
    for condition in new {
        if read::time(condition, "/lastUpdateTime").is_none() {
            set_time(condition, "lastUpdateTime", now);
        }
        if read::time(condition, "/lastTransitionTime").is_none() {
            let since = old
                .iter()
                .filter(|stored| {
                    kind(stored) == kind(condition)
                        && read::text(stored, "/status") == read::text(condition, "/status")
                })
                .find_map(|stored| read::time(stored, "/lastTransitionTime"));
            set_time(condition, "lastTransitionTime", since.unwrap_or(now));
        }
    }
}

fn set_time(condition: &mut Value, member: &str, time: Timestamp) {
    if let Some(members) = condition.as_object_mut() {
        members.insert(member.to_owned(), meta::format_time(time).into());
    }
}
