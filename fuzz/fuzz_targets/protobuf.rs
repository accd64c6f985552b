//! Protobuf in: an object or an error. What is read says the same in every encoding, and what a
//! selector looks at is what the whole object has.

#![no_main]

use everleaf_fuzz::{demand_round_trips, split};
use libfuzzer_sys::fuzz_target;

const MEMBERS: [&str; 3] = ["metadata.labels", "metadata.name", "spec.signerName"];

fuzz_target!(|data: &[u8]| {
    let Some((r#type, body)) = split(data) else {
        return;
    };
    let Ok(object) = r#type.decode_protobuf(body) else {
        return;
    };
    demand_round_trips(r#type, &object);
    let some = r#type.decode_protobuf_members(body, &MEMBERS);
    let some = some.expect("the whole was read");
    for pointer in ["/metadata/labels", "/metadata/name", "/spec/signerName"] {
        assert_eq!(some.pointer(pointer), object.pointer(pointer), "{pointer}");
    }
});
