//! Strategic merge against what Kubernetes' own code makes of the same patches, and the tables'
//! patch strategies against its types' tags. Both are recordings; see `testdata/README.md`.

#![expect(clippy::disallowed_methods, reason = "the recordings are files")]

use everleaf_api::patch::{Patch, PatchType, strategic_merge};
use everleaf_api::schema::{Kind, ListPatch, Message, Type};
use everleaf_api::types;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

fn recording(name: &str) -> Value {
    let path = format!("{}/testdata/patches/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_slice(&text).expect("JSON")
}

fn type_of_kind(kind: &str) -> &'static Type {
    let known = types::ALL.iter().find(|known| known.kind == kind);
    known.unwrap_or_else(|| panic!("no table of a {kind}"))
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

/// Canonical form has no nulls; a Go server's tree has some.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let set = members.iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                set.map(|(key, value)| (key.clone(), without_nulls(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        scalar => scalar.clone(),
    }
}

/// What differs from the recording, in words.
fn judge(ty: &'static Type, original: &Value, recorded: &Value) -> Result<(), String> {
    let canonical = ty
        .decode_value(original.clone())
        .expect("a recorded object decodes")
        .object;
    let merged = strategic_merge(object(&canonical), object(&recorded["patch"]), ty.message);
    match (merged, &recorded["error"]) {
        (Ok(merged), Value::Null) => {
            let mut expected = object(&canonical);
            for (name, value) in recorded["changed"].as_object().into_iter().flatten() {
                expected.insert(name.clone(), value.clone());
            }
            let (expected, merged) = (Value::Object(expected), Value::Object(merged));
            // A null that stays in a map becomes a value once it is decoded.
            let decoded = |value: &Value| ty.decode_value(value.clone()).ok().map(|it| it.object);
            let equal = without_nulls(&merged) == without_nulls(&expected)
                && decoded(&merged) == decoded(&expected);
            match equal {
                true => Ok(()),
                false => Err(format!("expected {expected}\n     got {merged}")),
            }
        }
        (Ok(merged), error) => Err(format!(
            "expected the error {error}, got {}",
            Value::Object(merged)
        )),
        (Err(status), Value::Null) => Err(format!("unexpected error: {}", status.message)),
        (Err(status), error) => {
            let error = error.as_str().expect("a text");
            // By design: what upstream did not foresee (500) is the patch's fault.
            let code = match recorded["code"].as_u64() {
                Some(500) => 400,
                other => other.expect("a code"),
            };
            let told = error == "panic" || code == 422 || status.message == error;
            match told && u64::from(status.code) == code {
                true => Ok(()),
                false => Err(format!(
                    "expected {code} {error}\n     got {} {}",
                    status.code, status.message
                )),
            }
        }
    }
}

#[test]
fn merges_as_upstream_does() {
    let recorded = recording("merged.json");
    let patches = recorded["patches"].as_array().expect("a list");
    assert!(patches.len() > 400, "the recording is cut short");
    let mut failures = Vec::new();
    for one in patches {
        let original = &recorded["objects"][one["object"].as_str().expect("a name")];
        let ty = type_of_kind(original["kind"].as_str().expect("a kind"));
        if let Err(difference) = judge(ty, original, one) {
            failures.push(format!(
                "{} ← {}\n{difference}",
                one["object"], one["patch"]
            ));
        }
    }
    let count = failures.len();
    failures.truncate(12);
    assert!(
        count == 0,
        "{count} of {} differ:\n{}",
        patches.len(),
        failures.join("\n\n")
    );
}

/// `path: strategy key` of every list that does not simply replace.
fn strategies(message: &'static Message, path: &str, found: &mut Vec<String>) {
    for field in message.fields {
        let at = format!("{path}{}", field.json);
        match field.list_patch {
            ListPatch::Replace => {}
            ListPatch::Union => found.push(format!("{at}: merge")),
            ListPatch::By(key) => found.push(format!("{at}: merge {key}")),
        }
        let mut kind = &field.kind;
        while let Kind::List(item, _) | Kind::Map(item) = kind {
            kind = item;
        }
        if let Kind::Message(inner) = kind {
            strategies(inner, &format!("{at}."), found);
        }
    }
}

#[test]
fn the_tables_have_the_strategies_of_the_types() {
    let recorded: BTreeMap<String, Vec<String>> =
        serde_json::from_value(recording("strategies.json")).expect("lists by kind");
    for (kind, expected) in recorded {
        let mut found = Vec::new();
        strategies(type_of_kind(&kind).message, "", &mut found);
        found.sort();
        assert_eq!(found, expected, "{kind}");
    }
}

/// JSON that is likely to mean something to a patch of a Node: its members, directives, and values
/// of any sort.
fn nonsense() -> impl Strategy<Value = Value> {
    let word = || {
        prop_oneof![
            Just("metadata"),
            Just("finalizers"),
            Just("status"),
            Just("conditions"),
            Just("type"),
            Just("Ready"),
            Just("$patch"),
            Just("replace"),
            Just("delete"),
            Just("merge"),
            Just("$retainKeys"),
            Just("$setElementOrder/conditions"),
            Just("$setElementOrder/finalizers"),
            Just("$deleteFromPrimitiveList/finalizers"),
            Just("op"),
            Just("add"),
            Just("test"),
            Just("path"),
            Just("from"),
            Just("value"),
            Just("/status/conditions/-"),
            Just("/metadata/finalizers/0"),
        ]
        .prop_map(str::to_owned)
    };
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        Just(json!(0.5)),
        word().prop_map(Value::from),
    ];
    scalar.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(word(), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// No patch panics, whatever it holds, and what it yields is an object of the type.
    #[test]
    fn any_json_is_a_patch_or_an_error(document in nonsense(), findings: bool) {
        let node = json!({"metadata": {"name": "n", "finalizers": ["x"]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let node = types::NODE.decode_value(node).expect("a node").object;
        for patch_type in PatchType::ALL {
            let patch = Patch::read(patch_type, document.to_string().as_bytes()).expect("JSON");
            match patch.apply(&node, &types::NODE, findings) {
                Ok(patched) => {
                    let again = types::NODE.decode_value(patched.object.clone()).expect("a node");
                    prop_assert_eq!(again.object, patched.object);
                }
                Err(refused) => prop_assert!((400..500).contains(&refused.code), "{}", refused.message),
            }
        }
    }
}
