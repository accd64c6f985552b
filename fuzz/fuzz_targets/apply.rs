//! Applies and updates by three managers, one a line: an object or an error; an object keeps its
//! managers through every encoding, and applied once more, a configuration changes nothing. The
//! first byte of a line says who, how, and whether by force.

#![no_main]

use everleaf_api::managed::{self, Endpoint, Write};
use everleaf_api::schema::Type;
use everleaf_fuzz::{demand_round_trips, has_managers, split};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const MANAGERS: [&str; 4] = ["kubectl", "controller", "someone", ""];
const LINES_MAX: usize = 6;
const FORCE: u8 = 4;
const UPDATE: u8 = 8;

fuzz_target!(|data: &[u8]| {
    let Some((r#type, lines)) = split(data) else {
        return;
    };
    if !has_managers(r#type) {
        return;
    }
    let mut live = None;
    for line in lines.split(|&byte| byte == b'\n').take(LINES_MAX) {
        let Some((how, text)) = line.split_first() else {
            continue;
        };
        let Ok(tree) = serde_json::from_slice::<Value>(text) else {
            continue;
        };
        if let Some(object) = step(r#type, live.as_ref(), *how, tree) {
            demand_round_trips(r#type, &object);
            live = Some(object);
        }
    }
});

fn step(r#type: &'static Type, live: Option<&Value>, how: u8, tree: Value) -> Option<Value> {
    let endpoint = Endpoint {
        r#type,
        versions: &[],
        subresource: "",
        resets: &[],
    };
    let write = Write {
        manager: MANAGERS[usize::from(how % 4)],
        now: "2026-01-02T03:04:05Z",
    };
    if how & UPDATE != 0 {
        let mut new = r#type.decode_value(tree).ok()?.object;
        managed::update(&endpoint, live, &mut new, &write);
        return Some(new);
    }
    let force = how & FORCE != 0;
    let made = managed::apply(&endpoint, live, &tree, &write, force).ok()?;
    let again = managed::apply(&endpoint, Some(&made), &tree, &write, false);
    assert_eq!(again.map_err(|status| status.message), Ok(made.clone()));
    Some(made)
}
