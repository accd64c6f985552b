//! JSON in: an object or an error. What is read says the same in every encoding.

#![no_main]

use everleaf_fuzz::{demand_round_trips, split};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((r#type, body)) = split(data) else {
        return;
    };
    if let Ok(decoded) = r#type.decode_json(body) {
        demand_round_trips(r#type, &decoded.object);
    }
});
