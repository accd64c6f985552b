use super::*;
use crate::Status;
use crate::types::{
    CERTIFICATE_SIGNING_REQUEST, CONFIG_MAP, EVENT, NEW_EVENT, NODE, ROLE, SERVICE_ACCOUNT,
};

mod laws;

const NOW: &str = "2030-01-01T00:00:00Z";
const LATER: &str = "2030-01-01T00:00:07Z";

fn at(r#type: &'static Type, subresource: &'static str) -> Endpoint<'static> {
    Endpoint {
        r#type,
        versions: &[],
        subresource,
        resets: &[],
    }
}

fn decoded(r#type: &'static Type, tree: Value) -> Value {
    r#type.decode_value(tree).expect("a fixture").object
}

/// What is stored after this update.
fn updated(endpoint: &Endpoint<'_>, old: Option<&Value>, tree: Value, manager: &str) -> Value {
    let mut new = decoded(endpoint.r#type, tree);
    let write = Write { manager, now: NOW };
    update(endpoint, old, &mut new, &write);
    new
}

fn applied(
    endpoint: &Endpoint<'_>,
    live: Option<&Value>,
    mut config: Value,
    manager: &str,
    force: bool,
) -> Result<Value, Status> {
    config["apiVersion"] = endpoint.r#type.api_version().into();
    config["kind"] = endpoint.r#type.kind.into();
    let write = Write {
        manager,
        now: LATER,
    };
    apply(endpoint, live, &config, &write, force)
}

/// `manager/operation[/subresource] set`, as stored.
fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array();
    let shown = entries.into_iter().flatten().map(|entry| {
        let text = |member: &str| entry[member].as_str().unwrap_or("-").to_owned();
        let subresource = match entry["subresource"].as_str() {
            Some(name) => format!("/{name}"),
            None => String::new(),
        };
        format!(
            "{}/{}{subresource} {}",
            text("manager"),
            text("operation"),
            text("fieldsV1")
        )
    });
    shown.collect()
}

fn map(data: Value) -> Value {
    json!({"metadata": {"name": "a"}, "data": data})
}

#[test]
fn who_creates_owns_what_it_says() {
    let request = json!({
        "metadata": {"name": "a", "labels": {"b": "", "a": ""}, "finalizers": ["x.y/b", "x.y/a"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]},
        "spec": {"request": "aGk=", "signerName": "a.b/c", "usages": ["any"], "extra": {"k": ["v"]}},
        "status": {"conditions": [{"type": "A b", "status": "True"}, {"type": "A", "status": "True", "reason": "R"}]},
    });
    let created = updated(&at(&CERTIFICATE_SIGNING_REQUEST, ""), None, request, "");
    let meta = r#""f:metadata":{"f:finalizers":{".":{},"v:\"x.y/a\"":{},"v:\"x.y/b\"":{}},"f:labels":{".":{},"f:a":{},"f:b":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"u\"}":{}}}"#;
    let spec =
        r#""f:spec":{"f:extra":{".":{},"f:k":{}},"f:request":{},"f:signerName":{},"f:usages":{}}"#;
    let times = r#""f:lastTransitionTime":{},"f:lastUpdateTime":{}"#;
    let first = format!(
        r#""k:{{\"type\":\"A\"}}":{{".":{{}},{times},"f:reason":{{}},"f:status":{{}},"f:type":{{}}}}"#
    );
    let second =
        format!(r#""k:{{\"type\":\"A b\"}}":{{".":{{}},{times},"f:status":{{}},"f:type":{{}}}}"#);
    let status = format!(r#""f:status":{{"f:conditions":{{".":{{}},{first},{second}}}}}"#);
    let expected = format!("unknown/Update {{{meta},{spec},{status}}}");
    assert_eq!(owners(&created), [expected]);
    assert_eq!(created["metadata"]["managedFields"][0]["time"], NOW);
    // What the endpoint leaves alone is nobody's.
    let mut endpoint = at(&CERTIFICATE_SIGNING_REQUEST, "");
    endpoint.resets = &[&["spec"], &["status"], &["metadata", "labels"]];
    let request = json!({"metadata": {"name": "a", "labels": {"a": ""}, "generateName": "b"},
        "spec": {"signerName": "a.b/c"}});
    let created = updated(&endpoint, None, request, "m");
    let expected = r#"m/Update {"f:metadata":{"f:generateName":{}}}"#;
    assert_eq!(owners(&created), [expected]);
}

#[test]
fn who_changes_a_field_takes_it() {
    let maps = at(&CONFIG_MAP, "");
    let old = updated(&maps, None, map(json!({"a": "1", "b": "1"})), "one");
    let mut tree = map(json!({"a": "1", "b": "2", "c": "1"}));
    let new = updated(&maps, Some(&old), tree.clone(), "two");
    assert_eq!(
        owners(&new),
        [
            r#"one/Update {"f:data":{".":{},"f:a":{}}}"#,
            r#"two/Update {"f:data":{"f:b":{},"f:c":{}}}"#,
        ]
    );
    // What is removed is nobody's any more; who owns nothing is no manager.
    tree["data"] = json!({"c": "1"});
    let last = updated(&maps, Some(&new), tree.clone(), "three");
    assert_eq!(
        owners(&last),
        [
            r#"one/Update {"f:data":{}}"#,
            r#"two/Update {"f:data":{"f:c":{}}}"#,
        ]
    );
    // The same managers may be sent back, or others; what cannot be read is as if not sent.
    let mut sent = last.clone();
    sent["metadata"]["managedFields"][0]["operation"] = "Own".into();
    let again = updated(&maps, Some(&last), sent.clone(), "four");
    assert_eq!(owners(&again), owners(&last));
    let entries = sent["metadata"]["managedFields"].as_array_mut().unwrap();
    entries.remove(0);
    let fewer = updated(&maps, Some(&last), sent, "four");
    assert_eq!(owners(&fewer), owners(&last)[1..]);
    // A subresource is no place for them.
    let mut through = last.clone();
    through["metadata"]["managedFields"] = json!([{}]);
    let status = updated(&at(&CONFIG_MAP, "status"), Some(&last), through, "four");
    assert_eq!(owners(&status), owners(&last));
}

#[test]
fn without_managers_none_are_kept_until_somebody_applies() {
    let maps = at(&CONFIG_MAP, "");
    let old = updated(&maps, None, map(json!({"a": "1"})), "one");
    for none in [json!([]), json!([{}])] {
        let mut tree = old.clone();
        tree["metadata"]["managedFields"] = none;
        let reset = updated(&maps, Some(&old), tree, "two");
        assert_eq!(owners(&reset), [""; 0]);
        let changed = map(json!({"a": "2"}));
        let untracked = updated(&maps, Some(&reset), changed, "two");
        assert_eq!(owners(&untracked), [""; 0]);
        let config = map(json!({"b": "1"}));
        let tracked = applied(&maps, Some(&untracked), config, "three", false).unwrap();
        assert_eq!(
            owners(&tracked),
            [
                r#"three/Apply {"f:data":{"f:b":{}}}"#,
                r#"before-first-apply/Update {"f:data":{".":{},"f:a":{}}}"#,
            ]
        );
    }
}

#[test]
fn what_is_not_said_any_more_goes() {
    let maps = at(&CONFIG_MAP, "");
    let first = applied(&maps, None, map(json!({"a": "1", "b": "1"})), "one", false).unwrap();
    let shared = applied(&maps, Some(&first), map(json!({"b": "1"})), "two", false).unwrap();
    // Nothing changed, and still there is another owner, who changed nothing ever.
    assert_eq!(owners(&shared)[0], r#"two/Apply {"f:data":{"f:b":{}}}"#);
    let entry = &shared["metadata"]["managedFields"][0];
    assert_eq!(entry.get("time"), None);
    let less = applied(&maps, Some(&shared), map(json!({"c": "1"})), "one", false).unwrap();
    assert_eq!(less["data"], json!({"b": "1", "c": "1"}));
    assert_eq!(
        owners(&less),
        [
            r#"two/Apply {"f:data":{"f:b":{}}}"#,
            r#"one/Apply {"f:data":{"f:c":{}}}"#,
        ]
    );
}

#[test]
fn conflicts_are_told_and_forced() {
    let maps = at(&CONFIG_MAP, "");
    let live = updated(&maps, None, map(json!({"a": "1", "b": "1"})), "up date");
    let live = applied(
        &maps,
        Some(&live),
        map(json!({"b": "1", "c": "1"})),
        "one",
        false,
    )
    .unwrap();
    let config = map(json!({"a": "2", "b": "2", "c": "1"}));
    let refused = applied(&maps, Some(&live), config.clone(), "two", false).unwrap_err();
    assert_eq!((refused.code, refused.reason), (409, "Conflict"));
    assert_eq!(
        refused.message,
        "Apply failed with 3 conflicts: conflicts with \"one\":\n- .data.b\n\
         conflicts with \"up date\" using v1:\n- .data.a\n- .data.b"
    );
    let causes = refused.to_value()["details"]["causes"].clone();
    assert_eq!(
        causes[2],
        json!({"reason": "FieldManagerConflict", "field": ".data.b",
               "message": "conflict with \"up date\" using v1"})
    );
    let forced = applied(&maps, Some(&live), config, "two", true).unwrap();
    assert_eq!(
        owners(&forced),
        [
            r#"one/Apply {"f:data":{"f:c":{}}}"#,
            r#"two/Apply {"f:data":{"f:a":{},"f:b":{},"f:c":{}}}"#,
            r#"up date/Update {"f:data":{}}"#,
        ]
    );
    let one = applied(&maps, Some(&forced), map(json!({"a": "3"})), "one", false).unwrap_err();
    assert_eq!(
        one.message,
        "Apply failed with 1 conflict: conflict with \"two\": .data.a"
    );
}

#[test]
fn items_are_merged_by_their_keys() {
    let nodes = at(&NODE, "status");
    let node = |conditions: Value| json!({"metadata": {"name": "n"}, "status": {"conditions": conditions}});
    let condition = |sort: &str, status: &str| json!({"type": sort, "status": status});
    let kinds = |node: &Value| -> Vec<String> {
        let conditions = node["status"]["conditions"].as_array().unwrap();
        let text = |c: &Value| format!("{}={}", c["type"], c["status"]).replace('"', "");
        conditions.iter().map(text).collect()
    };
    let start = node(json!([
        condition("A", "1"),
        condition("B", "1"),
        condition("C", "1")
    ]));
    let live = updated(&nodes, None, start, "kubelet");
    let config = node(json!([
        condition("D", "2"),
        condition("B", "1"),
        condition("A", "1")
    ]));
    let one = applied(&nodes, Some(&live), config, "one", false).unwrap();
    assert_eq!(kinds(&one), ["D=2", "B=1", "C=1", "A=1"]);
    let config = node(json!([condition("D", "2"), condition("C", "2")]));
    let refused = applied(&nodes, Some(&one), config, "one", false).unwrap_err();
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"kubelet\" with subresource \"status\" \
         using v1: .status.conditions[type=\"C\"].status"
    );
    // What another manager has stays, what nobody has goes.
    let config = node(json!([condition("B", "1")]));
    let less = applied(&nodes, Some(&one), config, "one", false).unwrap();
    assert_eq!(kinds(&less), ["B=1", "C=1", "A=1"]);
}

#[test]
fn sets_and_what_is_owned_as_one() {
    let roles = at(&ROLE, "");
    let role = |finalizers: Value, rules: Value| json!({"metadata": {"name": "r", "finalizers": finalizers}, "rules": rules});
    let rule = |verb: &str| json!([{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]}]);
    let one = applied(
        &roles,
        None,
        role(json!(["x.y/a", "x.y/b"]), rule("get")),
        "one",
        false,
    )
    .unwrap();
    assert_eq!(
        owners(&one),
        [
            r#"one/Apply {"f:metadata":{"f:finalizers":{"v:\"x.y/a\"":{},"v:\"x.y/b\"":{}}},"f:rules":{}}"#
        ]
    );
    let two = applied(
        &roles,
        Some(&one),
        role(json!(["x.y/c"]), rule("list")),
        "two",
        true,
    )
    .unwrap();
    assert_eq!(two["rules"], rule("list"));
    assert_eq!(
        two["metadata"]["finalizers"],
        json!(["x.y/a", "x.y/b", "x.y/c"])
    );
    assert_eq!(
        owners(&two)[0],
        r#"one/Apply {"f:metadata":{"f:finalizers":{"v:\"x.y/a\"":{},"v:\"x.y/b\"":{}}}}"#
    );
    // A set from a time when the rules were owned one by one.
    let mut old = two;
    let entry = &mut old["metadata"]["managedFields"][1];
    entry["fieldsV1"] = r#"{"f:rules":{"i:0":{"f:verbs":{}}}}"#.into();
    let same = updated(&roles, Some(&old), old.clone(), "three");
    assert_eq!(owners(&same)[1], r#"two/Apply {"f:rules":{}}"#);
}

#[test]
fn what_only_led_to_a_field_goes_with_it() {
    let nodes = at(&NODE, "");
    let node = |spec: Value| json!({"metadata": {"name": "n"}, "spec": spec});
    let policy = json!({"podPreemptionPolicy": {"disableResizePreemption": ["a"]}});
    let live = applied(&nodes, None, node(policy), "one", false).unwrap();
    let bare = applied(&nodes, Some(&live), node(json!({})), "one", false).unwrap();
    assert_eq!(bare["spec"], json!({}));
}

#[test]
fn items_that_are_repeated_are_merged_as_one() {
    let maps = at(&CONFIG_MAP, "");
    let named = |finalizers: Value| json!({"metadata": {"name": "a", "finalizers": finalizers}});
    let twice = json!(["x.y/a", "x.y/a", "x.y/b"]);
    let live = updated(&maps, None, named(twice), "one");
    let once = applied(&maps, Some(&live), named(json!(["x.y/a"])), "two", true).unwrap();
    assert_eq!(once["metadata"]["finalizers"], json!(["x.y/a", "x.y/b"]));
}

#[test]
fn a_configuration_that_does_not_fit() {
    let faults = |config: Value| {
        let refused = applied(&at(&CONFIG_MAP, ""), None, config, "m", false).unwrap_err();
        let start = "failed to create typed patch object (/a; /v1, Kind=ConfigMap): ";
        let text = refused.message.strip_prefix(start);
        (refused.code, text.unwrap_or(&refused.message).to_owned())
    };
    let meta = |metadata: Value| {
        let mut config = json!({"metadata": metadata});
        config["metadata"]["name"] = "a".into();
        config
    };
    for (config, code, text) in [
        (map(json!("x")), 500, ".data: expected map, got &{x}"),
        (
            map(json!({"a": 1})),
            500,
            ".data.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (
            meta(json!({"colour": 1})),
            500,
            ".metadata.colour: field not declared in schema",
        ),
        (
            meta(json!({"finalizers": ["a", "a"]})),
            500,
            ".metadata.finalizers: duplicate entries for key [=\"a\"]",
        ),
        (
            meta(json!({"finalizers": [{}], "generation": "a"})),
            500,
            "errors:\n  .metadata.finalizers: element 0: associative list without keys has an element that's a map type\n  .metadata.generation: expected numeric (int or float), got string",
        ),
        (
            meta(json!({"managedFields": []})),
            400,
            "metadata.managedFields must be nil",
        ),
    ] {
        assert_eq!(faults(config), (code, text.to_owned()));
    }
    let write = Write {
        manager: "m",
        now: NOW,
    };
    let other = json!({"apiVersion": "a/v2", "kind": "ConfigMap"});
    let refused = apply(&at(&CONFIG_MAP, ""), None, &other, &write, false).unwrap_err();
    assert_eq!(refused.message, "invalid object type: a/v2, Kind=ConfigMap");
}

#[test]
fn a_key_that_is_left_out_is_its_default() {
    let keyless = |r#type: &'static Type, config: Value| {
        let refused = applied(&at(r#type, ""), None, config, "m", false);
        refused.map_err(|status| status.message)
    };
    let owned = json!({"metadata": {"name": "a", "ownerReferences": [{"kind": "x"}]}});
    let owned = keyless(&CONFIG_MAP, owned).unwrap();
    assert_eq!(owned["metadata"]["ownerReferences"][0]["uid"], "");
    let secrets = json!({"metadata": {"name": "a"}, "secrets": [{"kind": "x"}]});
    let text = "failed to create typed patch object (/a; /v1, Kind=ServiceAccount): .secrets: \
                element 0: associative list with keys has an element that omits all key fields \
                [\"name\"] (and doesn't have default values for any key fields)";
    assert_eq!(keyless(&SERVICE_ACCOUNT, secrets), Err(text.to_owned()));
}

#[test]
fn kubectl_takes_over_what_it_applied_by_itself() {
    let maps = at(&CONFIG_MAP, "");
    let last = |data: Value| {
        let mut last = map(data);
        last["apiVersion"] = "v1".into();
        last["kind"] = "ConfigMap".into();
        last.to_string()
    };
    let mut tree = map(json!({"a": "1", "b": "1"}));
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    tree["metadata"]["annotations"] = json!({annotation: last(json!({"a": "1", "b": "0"}))});
    let live = updated(&maps, None, tree, "kubectl-client-side-apply");
    let a = map(json!({"a": "2"}));
    assert!(applied(&maps, Some(&live), a.clone(), "other", false).is_err());
    let taken = applied(&maps, Some(&live), a, "kubectl", false).unwrap();
    assert_eq!(taken["data"]["a"], "2");
    let mut kept: Value = serde_json::from_str(
        taken["metadata"]["annotations"][annotation]
            .as_str()
            .unwrap(),
    )
    .unwrap();
    assert_eq!(kept["data"], json!({"a": "2"}));
    kept["data"] = json!(null);
    // Somebody else changed it since.
    let refused = applied(
        &maps,
        Some(&live),
        map(json!({"a": "2", "b": "2"})),
        "kubectl",
        false,
    );
    let told = "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using \
                v1: .data.b";
    assert_eq!(refused.unwrap_err().message, told);
}

#[test]
fn managers_that_update_are_laid_together() {
    let maps = at(&CONFIG_MAP, "");
    let mut live: Option<Value> = None;
    for at in 0..13 {
        let mut tree = live.clone().unwrap_or_else(|| map(json!({})));
        tree["data"][format!("k{at:02}")] = "1".into();
        let manager = format!("m{at:02}");
        live = Some(updated(&maps, live.as_ref(), tree, &manager));
    }
    let owners = owners(&live.unwrap());
    assert_eq!(owners.len(), 10);
    assert_eq!(
        owners[0],
        r#"ancient-changes/Update {"f:data":{".":{},"f:k00":{},"f:k01":{},"f:k02":{},"f:k03":{}}}"#
    );
}

#[test]
fn two_versions_of_one_object() {
    const VERSIONS: &[&Type] = &[&EVENT, &NEW_EVENT];
    let endpoint = |r#type| Endpoint {
        versions: VERSIONS,
        ..at(r#type, "")
    };
    let event = json!({"metadata": {"name": "e", "namespace": "n"}, "reason": "R", "message": "m",
        "involvedObject": {"kind": "Node", "name": "a"}});
    let live = updated(&endpoint(&EVENT), None, event, "one");
    let write = Write {
        manager: "two",
        now: NOW,
    };
    let mut new = live.clone();
    new["message"] = "n".into();
    update(&endpoint(&NEW_EVENT), Some(&live), &mut new, &write);
    let owners = owners(&new);
    assert!(
        owners[0].contains("f:reason") && !owners[0].contains("f:message"),
        "{owners:?}"
    );
    assert_eq!(owners[1], r#"two/Update {"f:note":{}}"#);
    // A version that is gone takes its managers along.
    new["metadata"]["managedFields"][1]["apiVersion"] = "events.k8s.io/v1beta1".into();
    update(&endpoint(&EVENT), Some(&new.clone()), &mut new, &write);
    assert_eq!(
        new["metadata"]["managedFields"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn a_write_of_the_same_keeps_its_time() {
    let maps = at(&CONFIG_MAP, "");
    let live = applied(&maps, None, map(json!({"a": "1"})), "one", false).unwrap();
    let mut new = live.clone();
    new["metadata"]["managedFields"][0]["time"] = "2031-01-01T00:00:00Z".into();
    new["metadata"]["resourceVersion"] = "7".into();
    let mut changed = new.clone();
    changed["data"]["b"] = "1".into();
    keep_times(&mut new, &live);
    assert_eq!(
        new["metadata"]["managedFields"],
        live["metadata"]["managedFields"]
    );
    keep_times(&mut changed, &live);
    assert_ne!(
        changed["metadata"]["managedFields"],
        live["metadata"]["managedFields"]
    );
}

#[test]
fn text_of_sets() {
    let check = |text: &str, normal: &str| {
        assert_eq!(FieldSet::parse(text).unwrap().write(), normal, "{text}");
    };
    let all = r#"{"f:a":{".":{},"f:b":{}},"k:{\"n\":\"x\"}":{"f:b":{}},"k:{\"p\":80,\"q\":\"T\"}":{},"v:1":{},"v:\"a\"":{},"v:true":{},"i:2":{}}"#;
    check(all, all);
    check(
        r#"{ "v:true": {}, "k:{\"q\":\"T\", \"p\":80}": null, "i:2": {}, "f:b": {}, "x:new": {"f:a": {}}, "f:a": {} }"#,
        r#"{"f:a":{},"f:b":{},"k:{\"p\":80,\"q\":\"T\"}":{},"v:true":{},"i:2":{}}"#,
    );
    check(
        r#"{"f:a":{"f:b":{}},"f:a":{"f:c":{}}}"#,
        r#"{"f:a":{"f:c":{}}}"#,
    );
    check(r#"{"v:\"<\"":{}}"#, r#"{"v:\"\\u003c\"":{}}"#);
    for bad in [
        "",
        "[]",
        "1",
        "{",
        r#"{"f":{}}"#,
        r#"{"v:x":{}}"#,
        r#"{"k:[]":{}}"#,
        r#"{"i:a":{}}"#,
        r#"{"f:a":1}"#,
        "{}{}",
    ] {
        assert!(FieldSet::parse(bad).is_err(), "{bad}");
    }
}
