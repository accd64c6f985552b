//! Defaults and field errors of nodes.

use super::*;
use crate::user::User;
use jiff::Timestamp;

fn context<'a>(user: &'a User, subresource: &'a str) -> Context<'a> {
    Context {
        user,
        subresource,
        now: Timestamp::UNIX_EPOCH,
        request: None,
        gates: &crate::registry::gates::USUAL,
    }
}

fn told(errors: &[FieldError]) -> Vec<String> {
    errors
        .iter()
        .map(|error| format!("{} {}", error.path, error.reason))
        .collect()
}

fn create(mut node: Value) -> (Value, Vec<String>) {
    let user = User::default();
    NodeStrategy.default(&mut node);
    NodeStrategy.prepare_create(&mut node, &context(&user, ""));
    let errors = NodeStrategy.validate_create(&node, &context(&user, ""));
    (node, told(&errors))
}

fn update(old: &Value, mut new: Value, subresource: &str) -> (Value, Vec<String>) {
    let user = User::default();
    let context = context(&user, subresource);
    NodeStrategy.default(&mut new);
    NodeStrategy.prepare_update(&mut new, old, &context);
    let errors = NodeStrategy.validate_update(&new, old, &context);
    (new, told(&errors))
}

#[test]
fn what_is_unset_follows_from_what_is_set() {
    let check = |spec: Value, one: Value, all: Value| {
        let (node, errors) = create(json!({ "spec": spec }));
        assert_eq!(errors, [""; 0], "{node}");
        assert_eq!(node["spec"]["podCIDR"], one);
        assert_eq!(node["spec"]["podCIDRs"], all);
    };
    let (v4, v6, other) = ("10.1.0.0/24", "fd00::/64", "10.2.0.0/24");
    check(json!({}), Value::Null, Value::Null);
    check(json!({"podCIDR": v4}), json!(v4), json!([v4]));
    check(json!({"podCIDRs": [v4, v6]}), json!(v4), json!([v4, v6]));
    check(
        json!({"podCIDR": v4, "podCIDRs": [v4, v6]}),
        json!(v4),
        json!([v4, v6]),
    );
    check(
        json!({"podCIDR": other, "podCIDRs": [v4, v6]}),
        json!(other),
        json!([other]),
    );
    let (node, _) = create(json!({"status": {"capacity": {"cpu": "2"}}}));
    assert_eq!(node["status"]["allocatable"], json!({"cpu": "2"}));
    let given = json!({"capacity": {"cpu": "2"}, "allocatable": {"cpu": "1"}});
    let (node, _) = update(&json!({}), json!({ "status": given }), "status");
    assert_eq!(node["status"], given);
}

#[test]
fn what_is_unused_goes() {
    let source = json!({"configMap": {"name": "a"}});
    let (node, _) = create(json!({"spec": {"configSource": source}, "status": {"config": {}}}));
    assert_eq!(node, json!({"spec": {}, "status": {}}));
    let old = json!({"spec": {"configSource": source}});
    let (node, _) = update(&old, old.clone(), "");
    assert_eq!(node["spec"], old["spec"]);
}

#[test]
fn taints() {
    let check = |taints: Value, expected: &[&str]| {
        let (_, errors) = create(json!({"spec": {"taints": taints}}));
        assert_eq!(errors, expected, "{taints}");
    };
    let good = json!({"key": "example.com/a", "value": "b", "effect": "NoExecute"});
    let other = json!({"key": "example.com/a", "effect": "NoSchedule"});
    check(json!([good, other]), &[]);
    check(
        json!([{"key": "a b", "value": "-", "effect": "Never"}, {"key": "a", "effect": ""}]),
        &[
            "metadata.taints[0].key FieldValueInvalid",
            "metadata.taints[0].value FieldValueInvalid",
            "metadata.taints[0].effect FieldValueNotSupported",
            "metadata.taints[1].effect FieldValueRequired",
        ],
    );
    check(
        json!([good, good]),
        &["metadata.taints[1] FieldValueDuplicate"],
    );
}

#[test]
fn quantities_swap_and_ranges() {
    let (_, errors) = create(json!({"status": {"capacity": {"cpu": "-1m", "pods": "-0"},
        "nodeInfo": {"swap": {"capacity": 0}}}}));
    assert_eq!(
        errors,
        [
            "status.capacity.cpu FieldValueInvalid",
            "status.allocatable.cpu FieldValueInvalid",
            "metadata.nodeSwapStatus.capacity FieldValueInvalid",
        ]
    );
    let check = |ranges: Value, expected: &[&str]| {
        let (_, errors) = create(json!({"spec": {"podCIDRs": ranges}}));
        assert_eq!(errors, expected, "{ranges}");
    };
    check(json!(["0.0.0.0/0", "::/0"]), &[]);
    check(json!(["10.0.0.1/32", "fd00::1/128"]), &[]);
    for bad in [
        "",
        "10.0.0.0",
        "10.0.0.0/33",
        "10.0.0.0/08",
        "10.0.0.1/24",
        "10.00.0.0/24",
        "fd00::/129",
        "::ffff:10.0.0.0/104",
        "a/8",
    ] {
        check(json!([bad]), &["spec.podCIDRs[0] FieldValueInvalid"]);
    }
    let both = ["spec.podCIDRs FieldValueInvalid"];
    check(json!(["10.1.0.0/24", "10.2.0.0/24"]), &both);
    check(json!(["10.1.0.0/24", "fd00::/64", "10.2.0.0/24"]), &both);
}

#[test]
fn what_is_set_once_stays() {
    let old = json!({"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"], "providerID": "x://y"}});
    let check = |spec: Value, expected: &[&str]| {
        let (_, errors) = update(&old, json!({ "spec": spec }), "");
        assert_eq!(errors, expected, "{spec}");
    };
    check(old["spec"].clone(), &[]);
    check(
        json!({"externalID": "e"}),
        &[
            "spec.podCIDRs FieldValueForbidden",
            "spec.providerID FieldValueInvalid",
            "spec.externalID FieldValueForbidden",
        ],
    );
    let (_, errors) = update(&json!({}), old.clone(), "");
    assert_eq!(errors, [""; 0], "from nothing to something");
    let address = json!({"type": "InternalIP", "address": "10.0.0.1"});
    let (_, errors) = update(
        &old,
        json!({"status": {"addresses": [address, address]}}),
        "status",
    );
    assert_eq!(errors, ["status.addresses[1] FieldValueDuplicate"]);
}
