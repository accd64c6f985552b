//! A patch of any kind on an object with every field: a canonical object or an error. The first
//! byte is the kind.

#![no_main]

use everleaf_api::patch::{Patch, PatchType};
use everleaf_fuzz::{demand_round_trips, sample, split};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let (kind, findings) = (usize::from(kind % 3), kind & 0x80 == 0);
    let Some((r#type, body)) = split(rest) else {
        return;
    };
    let patch_type = PatchType::ALL[kind];
    let Ok(patch) = Patch::read(patch_type, body) else {
        return;
    };
    let object = sample(r#type);
    let Ok(patched) = patch.apply(&object, r#type, findings) else {
        return;
    };
    demand_round_trips(r#type, &patched.object);
    if patch_type == PatchType::Merge {
        let again = patch.apply(&patched.object, r#type, findings);
        let again = again.expect("what it made is as good as what it was made of");
        assert_eq!(again.object, patched.object);
    }
});
