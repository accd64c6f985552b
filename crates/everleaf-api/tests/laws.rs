//! Laws of the codec, for every type: both encodings mean the same, and no bytes can hurt it.

use everleaf_api::schema::{Field, Kind, LIST_PROTOBUF_END, Message, Presence, Type};
use everleaf_api::types;
use everleaf_api::watch::{Events, JsonEvents};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

/// Every JSON that fits a kind, now and then in a form that is not canonical.
fn value_of(kind: &'static Kind) -> BoxedStrategy<Value> {
    let text = || {
        prop_oneof![
            "[a-z]{0,6}",
            "\\PC{0,6}",
            Just("<&>\u{2028}\n\0\"".to_owned())
        ]
    };
    match kind {
        Kind::Bool => any::<bool>().prop_map(Value::from).boxed(),
        Kind::Int32 => any::<i32>().prop_map(Value::from).boxed(),
        Kind::Int64 => any::<i64>().prop_map(Value::from).boxed(),
        Kind::String => text().prop_map(Value::from).boxed(),
        Kind::Bytes => select(vec!["", "AA==", "/+8=", "aGVsbG8=", "aGVs\nbG8="])
            .prop_map(Value::from)
            .boxed(),
        Kind::Time | Kind::MicroTime => (0..=9999, 1..=12, 1..=28, 0..60, 0..1_000_000, -12..=12)
            .prop_filter("within the years", |(year, .., hours)| {
                (1..9999).contains(year) || *hours == 0
            })
            .prop_map(|(year, month, day, second, micros, hours)| {
                let offset = format!("{}{:02}:30", if hours < 0 { '-' } else { '+' }, i32::abs(hours));
                let zone = if hours == 0 { "Z".to_owned() } else { offset };
                let date = format!("{year:04}-{month:02}-{day:02}");
                format!("{date}T04:05:{second:02}.{micros:06}{zone}").into()
            })
            .boxed(),
        Kind::Quantity => select(vec![json!("0"), json!("1500m"), json!("16Gi")]).boxed(),
        Kind::ExtraValue => {
            proptest::collection::vec(text().prop_map(Value::from), 0..3).prop_map(Value::from).boxed()
        }
        Kind::FieldsV1 => select(vec![
            json!({}),
            json!({"f:a": {".": {}, "k:{\"type\":\"<A>\"}": {}}, "f:b": [1, null, -2.5, "x", true]}),
        ])
        .boxed(),
        Kind::Message(message) => message_of(message).prop_map(Value::Object).boxed(),
        // No managers at all is something that only JSON can ask for.
        Kind::List(item, _) => {
            let least = usize::from(matches!(item, Kind::Message(message) if message.name == "ManagedFieldsEntry"));
            proptest::collection::vec(value_of(item), least..3).prop_map(Value::from).boxed()
        }
        Kind::Map(item) => proptest::collection::btree_map(text(), value_of(item), 0..3)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
            .boxed(),
        other => panic!("no generator for {other:?}"),
    }
}

fn message_of(message: &'static Message) -> BoxedStrategy<Map<String, Value>> {
    let members: Vec<_> = message.fields.iter().map(member_of).collect();
    members
        .prop_map(|members| members.into_iter().flatten().collect())
        .boxed()
}

/// A member, its absence, or `null`.
fn member_of(field: &'static Field) -> BoxedStrategy<Option<(String, Value)>> {
    let name = || field.json.to_owned();
    prop_oneof![
        3 => value_of(&field.kind).prop_map(move |value| Some((name(), value))),
        2 => Just(None),
        1 => Just(Some((name(), Value::Null))),
    ]
    .boxed()
}

fn any_type() -> impl Strategy<Value = &'static Type> {
    select(types::ALL)
}

fn typed_object() -> impl Strategy<Value = (&'static Type, Value)> {
    any_type().prop_flat_map(|ty| {
        message_of(ty.message).prop_map(move |object| (ty, Value::Object(object)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// JSON → tree → protobuf → tree → JSON: nothing is lost, nothing changes.
    #[test]
    fn both_encodings_mean_the_same((ty, object) in typed_object()) {
        let decoded = ty.decode_value(object.clone()).unwrap();
        prop_assert!(decoded.warnings.is_empty(), "{:?}", decoded.warnings);
        let canonical = decoded.object;
        let text = ty.encode_json(&canonical);
        prop_assert_eq!(&ty.decode_json(&text).unwrap().object, &canonical);
        let wire = ty.encode_protobuf(&canonical);
        let returned = ty.decode_protobuf(&wire).unwrap();
        prop_assert_eq!(&returned, &canonical);
        prop_assert_eq!(ty.encode_json(&returned), text);
        prop_assert_eq!(&ty.encode_protobuf(&returned), &wire);
        // With a tree between or without.
        let mut shown = canonical.clone();
        let version = match ty.message.field("metadata") {
            Some(_) => {
                shown["metadata"]["resourceVersion"] = "42".into();
                "42"
            }
            None => "",
        };
        prop_assert_eq!(ty.transcode(&wire, version), Some(ty.encode(&shown)));
        if !version.is_empty() {
            let stamped = ty.encode_protobuf(&shown);
            prop_assert_eq!(ty.stamp(&wire, version), Some(stamped.clone()));
            let (mut direct, mut by_tree) = (Vec::new(), Vec::new());
            prop_assert_eq!(ty.stamp_item(&mut direct, &wire, version), Some(()));
            ty.encode_item_protobuf(&mut by_tree, &shown);
            prop_assert_eq!(&direct, &by_tree);
            // Read back, with and without those who manage its fields.
            let list_meta = everleaf_api::meta::list_meta("7", "more", Some(3));
            let mut list = ty.begin_list_protobuf(&list_meta, 2 * direct.len());
            list.extend([&*direct, &*direct, &LIST_PROTOBUF_END].concat());
            let list = ty.decode_list_protobuf_unmanaged(&list).unwrap();
            prop_assert_eq!(&list["metadata"]["continue"], "more");
            prop_assert_eq!(&list["metadata"]["resourceVersion"], "7");
            let mut whole = ty.decode_protobuf(&stamped).unwrap();
            whole["metadata"].as_object_mut().unwrap().remove("managedFields");
            prop_assert_eq!(&ty.decode_protobuf_unmanaged(&stamped).unwrap(), &whole);
            whole.as_object_mut().unwrap().retain(|member, _| !["apiVersion", "kind"].contains(&&**member));
            prop_assert_eq!(&list["items"], &json!([whole, whole]));
        }
        // Written by hand or canonical, an object prints the same.
        prop_assert_eq!(ty.decode_json(&ty.encode_json(&object)).unwrap().object, canonical);
    }

    /// Bytes with a few changes are refused or read, and what is read is canonical.
    #[test]
    fn damaged_protobuf_is_refused_or_read(
        (ty, object) in typed_object(),
        damage in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let mut wire = ty.encode_protobuf(&ty.decode_value(object).unwrap().object);
        for (at, byte) in damage {
            let at = at.index(wire.len());
            wire[at] = byte;
        }
        if let Some(cut) = cut {
            wire.truncate(cut.index(wire.len()));
        }
        if let Ok(object) = ty.decode_protobuf(&wire) {
            prop_assert_eq!(&ty.decode_value(object.clone()).unwrap().object, &object);
            let members = ["metadata.name", "metadata.labels"];
            let some = ty.decode_protobuf_members(&wire, &members);
            prop_assert_eq!(ty.decode_sound_protobuf_members(&wire, &members), some);
            if let Some(stamped) = ty.stamp(&wire, "9") {
                let mut shown = object.clone();
                everleaf_api::meta::set(&mut shown, "resourceVersion", "9");
                prop_assert_eq!(ty.decode_protobuf(&stamped).unwrap(), shown);
            }
            if let Some(direct) = ty.transcode(&wire, "") {
                let mut shown = object.clone();
                everleaf_api::meta::set(&mut shown, "resourceVersion", "");
                prop_assert_eq!(&direct, &ty.encode(&shown));
            }
            prop_assert_eq!(ty.decode_protobuf(&ty.encode_protobuf(&object)).unwrap(), object);
        } else {
            prop_assert_eq!(
                ty.decode_sound_protobuf_members(&wire, &["metadata.name"]).err(),
                ty.decode_protobuf(&wire).err()
            );
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(ty in any_type(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = ty.decode_json(&bytes);
        let _ = ty.decode_protobuf(&bytes);
        let _ = ty.decode_list_protobuf_unmanaged(&bytes);
        let enveloped = [b"k8s\0", &bytes[..]].concat();
        let _ = (ty.decode_protobuf(&enveloped), ty.decode_list_protobuf_unmanaged(&enveloped), ty.stamp(&enveloped, "1"));
        // The same inside an envelope that is right.
        let mut wire = b"k8s\0\x12\0".to_vec();
        if let Ok(length) = u8::try_from(bytes.len()) && length < 0x80 {
            wire[5] = length;
            wire.extend_from_slice(&bytes);
            let _ = ty.decode_protobuf(&wire);
        }
        let _ = JsonEvents::default().feed(&bytes);
        let _ = Events::of(Some(ty)).feed(&bytes);
        let length = u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes();
        let _ = Events::of(Some(ty)).feed(&[&length[..], &bytes].concat());
    }

    /// A tree of any shape can be written; readers of hand-made objects must not panic either.
    #[test]
    fn any_tree_can_be_written(ty in any_type(), members in proptest::collection::btree_map(
        select(vec!["metadata", "spec", "status", "rules", "data", "apiVersion"]),
        select(vec![json!(null), json!(1), json!("x"), json!([1, null, {"type": 5}]), json!({"name": [], "conditions": [7, {}], "labels": {"a": 1}})]),
        0..6,
    )) {
        let object = json!(members);
        let text = ty.encode_json(&object);
        prop_assert!(serde_json::from_slice::<Value>(&text).is_ok());
        prop_assert!(ty.decode_json(&text).is_ok(), "{}", String::from_utf8_lossy(&text));
        prop_assert!(ty.decode_protobuf(&ty.encode_protobuf(&object)).is_ok());
        let csr = everleaf_api::csr::Csr(&object);
        let _ = (csr.name(), csr.conditions(), csr.certificate(), csr.request(), csr.condition_text());
    }
}

/// The generic code relies on this of every table.
#[test]
fn tables_are_sound() {
    fn check(message: &'static Message) {
        for field in message.fields {
            assert!(
                !field.doc.is_empty() && field.doc.ends_with('.'),
                "{}.{}",
                message.name,
                field.json
            );
            let mut kind = &field.kind;
            if let Kind::List(item, _) | Kind::Map(item) = kind {
                assert!(
                    field.presence != Presence::Pointer,
                    "{}.{}",
                    message.name,
                    field.json
                );
                kind = item;
                let scalar_number = matches!(kind, Kind::Bool | Kind::Int32 | Kind::Int64);
                let nested = matches!(kind, Kind::List(..) | Kind::Map(_));
                assert!(!scalar_number && !nested, "{}.{}", message.name, field.json);
            }
            if let Kind::Message(_) = field.kind {
                // An embedded struct is never omitted in Go.
                assert_ne!(
                    field.presence,
                    Presence::OmitEmpty,
                    "{}.{}",
                    message.name,
                    field.json
                );
            }
            if let Kind::Message(inner) = kind {
                check(inner);
            }
        }
    }
    for ty in types::ALL {
        check(ty.message);
        assert!(std::ptr::eq(
            ty.message.field_by_number(1).unwrap(),
            ty.message.fields_by_number().next().unwrap()
        ));
    }
}
