//! What holds for every set of fields, and for whatever is applied.

use super::*;
use proptest::prelude::*;

fn sets() -> impl Strategy<Value = FieldSet> {
    let leaf = Just(FieldSet::default());
    leaf.prop_recursive(4, 24, 4, |inner| {
        let element = prop_oneof![
            "[a-c]".prop_map(|name| element::Element::Field(name.into())),
            "[a-c ]{0,2}".prop_map(|text| element::Element::Value(text.into())),
            (0..3i64).prop_map(|number| element::Element::Value(number.into())),
            "[a-c]".prop_map(|text| element::Element::Key(vec![("k".into(), text.into())])),
        ];
        let step = (element, any::<bool>(), inner);
        prop::collection::vec(step, 0..4).prop_map(|steps| {
            let mut set = FieldSet::default();
            for (element, is_member, below) in steps {
                set.push(element, is_member, below);
            }
            set.sort();
            set
        })
    })
}

/// Trees in which members and sorts fit now and then.
fn trees() -> impl Strategy<Value = Value> {
    let names = [
        "metadata",
        "spec",
        "status",
        "name",
        "labels",
        "annotations",
        "finalizers",
        "type",
        "ownerReferences",
        "uid",
        "managedFields",
        "conditions",
        "taints",
        "podCIDRs",
        "addresses",
        "key",
        "a",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3i64).prop_map(Value::from),
        "[ab]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let name = prop::sample::select(names.to_vec());
        let members = prop::collection::btree_map(name, inner.clone(), 0..5);
        prop_oneof![
            2 => members.prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
            1 => prop::collection::vec(inner, 0..4).prop_map(Value::from),
        ]
    })
}

proptest! {
    /// Whatever is applied to whatever is there: an object or an error; applied again it changes
    /// nothing.
    #[test]
    fn any_tree_is_applied_or_refused(live in trees(), config in trees()) {
        let nodes = at(&NODE, "");
        let mut config = config;
        if !config.is_object() {
            config = json!({});
        }
        let live = NODE.decode_value(live).ok().map(|decoded| decoded.object);
        if let Ok(first) = applied(&nodes, live.as_ref(), config.clone(), "m", true) {
            let second = applied(&nodes, Some(&first), config, "m", false);
            prop_assert_eq!(second.map_err(|status| status.message), Ok(first));
        }
    }

    #[test]
    fn sets_obey_their_laws(a in sets(), b in sets()) {
        prop_assert_eq!(&FieldSet::parse(&a.write()).unwrap(), &a);
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
        prop_assert!(a.difference(&b).intersection(&b).is_empty());
        prop_assert!(a.deep_difference(&b).difference(&a).is_empty());
        let all = a.union(&b).paths().len();
        prop_assert_eq!(all, a.paths().len() + b.difference(&a).paths().len());
    }
}
