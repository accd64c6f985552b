//! The rules of the generic resources, through the front door.

use super::fixture::{MAPS, World, config_map};
use futures_util::FutureExt as _;
use serde_json::{Value, json};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

fn causes(answer: &super::fixture::Answer) -> Vec<String> {
    let causes = answer.json["details"]["causes"].as_array().unwrap();
    let text = |cause: &Value| {
        format!(
            "{} {}",
            cause["field"].as_str().unwrap(),
            cause["reason"].as_str().unwrap()
        )
    };
    causes.iter().map(text).collect()
}

#[test]
fn secrets() {
    let world = World::new();
    let secret = json!({"metadata": {"name": "s"}, "data": {"a": "MQ=="},
        "stringData": {"a": "x", "b": "y"}});
    let created = world.post(SECRETS, &secret).expect(201);
    assert_eq!(created.json["type"], "Opaque");
    assert_eq!(created.json["data"], json!({"a": "eA==", "b": "eQ=="}));
    assert_eq!(created.json["stringData"], Value::Null);

    let path = format!("{SECRETS}/s");
    let refused = world.patch(&path, &json!({"type": "other"})).expect(422);
    assert_eq!(causes(&refused), ["type FieldValueInvalid"]);
    assert_eq!(refused.json["details"]["kind"], "Secret");

    let bad = json!({"metadata": {"name": "t"}, "data": {"no spaces": ""}});
    let refused = world.post(SECRETS, &bad).expect(422);
    assert_eq!(causes(&refused), ["data[no spaces] FieldValueInvalid"]);

    let big = json!({"metadata": {"name": "t"}, "stringData": {"a": "x".repeat((1 << 20) + 1)}});
    let refused = world.post(SECRETS, &big).expect(422);
    assert_eq!(causes(&refused), ["data FieldValueTooLong"]);

    world.patch(&path, &json!({"immutable": true})).expect(200);
    let refused = world
        .patch(&path, &json!({"immutable": null, "stringData": {"a": "z"}}))
        .expect(422);
    assert_eq!(
        causes(&refused),
        ["immutable FieldValueForbidden", "data FieldValueForbidden"]
    );
    let labelled = json!({"metadata": {"labels": {"still": "fine"}}});
    world.patch(&path, &labelled).expect(200);

    let selected = world.get("/api/v1/secrets?fieldSelector=type%3DOpaque");
    assert_eq!(selected.expect(200).names(), ["s"]);
}

#[test]
fn config_maps() {
    let world = World::new();
    let both = json!({"metadata": {"name": "c"}, "data": {"k": "v"}, "binaryData": {"k": "AA=="}});
    let refused = world.post(MAPS, &both).expect(422);
    assert_eq!(causes(&refused), ["data[k] FieldValueInvalid"]);
    let mut frozen = config_map("c", "1");
    frozen["immutable"] = json!(true);
    world.post(MAPS, &frozen).expect(201);
    let refused = world.patch(&format!("{MAPS}/c"), &json!({"data": {"key": "2"}}));
    assert_eq!(causes(&refused.expect(422)), ["data FieldValueForbidden"]);
}

#[test]
fn a_wait_that_is_no_duration_is_refused_before_anything_else() {
    let world = World::new();
    for (timeout, why) in [
        ("soon", "invalid duration \"soon\""),
        ("10", "missing unit in duration \"10\""),
        ("10y", "unknown unit \"y\" in duration \"10y\""),
        ("1d", "unknown unit \"d\" in duration \"1d\""),
    ] {
        for path in ["/version", "/api/v1/namespaces", "/api/v1/nothing"] {
            let path = format!("{path}?timeout={timeout}");
            let refused = world.send("GET", &path, &[("Authorization", "Bearer no")], "");
            let text = format!("invalid timeout specified in the request URL - time: {why}");
            assert_eq!(refused.expect(400).message(), text);
        }
    }
    for timeout in ["", "0s", "-3s", "1ms", "1h30m"] {
        world
            .get(&format!("/version?timeout={timeout}"))
            .expect(200);
    }
    // A watch has timeoutSeconds, and nobody looks at this.
    world.watch("/api/v1/namespaces?watch=true&timeout=soon");
}

#[test]
fn leases() {
    let world = World::new();
    let path = format!("{LEASES}/l1");
    let lease = json!({"metadata": {"name": "l1"}, "spec": {"holderIdentity": "a",
        "leaseDurationSeconds": 15, "renewTime": "2026-01-02T03:04:05.000000Z"}});
    // PUT creates.
    let created = world.put(&path, &lease).expect(201);
    assert_eq!(
        created.json["spec"]["renewTime"],
        "2026-01-02T03:04:05.000000Z"
    );
    // A PUT must say what it replaces.
    let refused = world.put(&path, &lease).expect(422);
    assert_eq!(
        refused.message(),
        "leases.coordination.k8s.io \"l1\" is invalid: metadata.resourceVersion: Invalid value: \
         0: must be specified for an update"
    );
    let mut next = created.json.clone();
    next["spec"]["holderIdentity"] = json!("b");
    world.put(&path, &next).expect(200);
    world.put(&path, &next).expect(409);
    let refused = world.patch(&path, &json!({"spec": {"leaseDurationSeconds": 0}}));
    assert_eq!(
        causes(&refused.expect(422)),
        ["spec.leaseDurationSeconds FieldValueInvalid"]
    );
    let table = world
        .send("GET", LEASES, &[("Accept", TABLE)], "")
        .expect(200);
    assert_eq!(table.json["rows"][0]["cells"], json!(["l1", "b", "0s"]));
}

#[test]
fn a_put_that_creates_needs_to_be_allowed_to_create() {
    let mut world = World::new();
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "updater"}, "rules": [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update"]}]});
    world
        .post(&format!("{rbac}/clusterroles"), &role)
        .expect(201);
    let binding = json!({"metadata": {"name": "updater"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "updater"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}]});
    world
        .post(&format!("{rbac}/clusterrolebindings"), &binding)
        .expect(201);
    let lease = json!({"metadata": {"name": "l1"}});
    let path = format!("{LEASES}/l1");
    let refused = world.be("eve").put(&path, &lease).expect(403);
    assert!(
        refused
            .message()
            .contains("cannot create resource \"leases\"")
    );
    let created = world.be("admin").put(&path, &lease).expect(201);
    world.be("eve").put(&path, &created.json).expect(200);
}

#[test]
fn nodes() {
    let mut world = World::new();
    let path = "/api/v1/nodes/n1";
    let other = json!({"metadata": {"name": "n2"}, "spec": {"unschedulable": true}});
    world.post("/api/v1/nodes", &other).expect(201);
    world.be("node");
    let node = json!({"metadata": {"name": "n1"}, "status": {"addresses": [
        {"type": "InternalIP", "address": "10.0.0.1"}]}});
    let created = world.post("/api/v1/nodes", &node).expect(201);
    assert_eq!(
        created.json["status"]["addresses"][0]["address"],
        "10.0.0.1"
    );
    // The main endpoint keeps status, the subresource keeps spec.
    let both = json!({"spec": {"podCIDR": "10.1.0.0/24"}, "status": {"addresses": null}});
    let main = world.patch(path, &both).expect(200);
    assert_eq!(main.json["spec"]["podCIDR"], "10.1.0.0/24");
    assert_eq!(main.json["status"]["addresses"][0]["address"], "10.0.0.1");
    let ready = json!({"spec": {"podCIDR": "other"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let status = world.patch(&format!("{path}/status"), &ready).expect(200);
    assert_eq!(status.json["spec"]["podCIDR"], "10.1.0.0/24");
    // Another node's object is not its own.
    world.patch("/api/v1/nodes/n2", &json!({})).expect(403);
    world.be("admin");
    let table = world
        .send("GET", path, &[("Accept", TABLE)], "")
        .expect(200);
    let cells = &table.json["rows"][0]["cells"];
    assert_eq!(cells[0], "n1");
    assert_eq!(cells[1], "Ready");
    assert_eq!(table.json["columnDefinitions"][5]["priority"], 1);
    let names = world.get("/api/v1/nodes?fieldSelector=spec.unschedulable%3Dfalse");
    assert_eq!(names.expect(200).names(), ["n1"]);
}

const EVENTS: &str = "/api/v1/namespaces/default/events";

const NEW_EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

fn event(name: &str, about: &str, seen: &str) -> Value {
    json!({"metadata": {"name": name}, "involvedObject": {"kind": "Node", "name": about}, "reason": "Starting",
        "source": {"component": "kubelet", "host": about}, "lastTimestamp": seen, "count": 1, "type": "Normal"})
}

#[test]
fn both_groups_of_events_show_one_object() {
    let world = World::new();
    let watch = |events: &str| world.watch(&format!("{events}?watch=true&resourceVersion=0"));
    let (mut core, mut new) = (watch(EVENTS), watch(NEW_EVENTS));
    let seen = event("n1.1", "n1", "2026-01-02T03:04:05Z");
    world.post(EVENTS, &seen).expect(201);
    let (core, new) = (core.drain(0).0, new.drain(0).0);
    assert_eq!(core[0]["object"]["involvedObject"]["name"], "n1");
    assert_eq!(new[0]["object"]["regarding"]["name"], "n1");
    assert_eq!(new[0]["object"]["apiVersion"], "events.k8s.io/v1");

    // What the newer group stores, the older one reads.
    let series = json!({"metadata": {"name": "n1.2"}, "regarding": {"kind": "Node", "name": "n1"}, "reason": "r",
        "eventTime": "2026-01-02T03:04:05.000000Z", "action": "a", "type": "Normal", "note": "told",
        "reportingController": "c", "reportingInstance": "i"});
    world.post(NEW_EVENTS, &series).expect(201);
    let read = world.get(&format!("{EVENTS}/n1.2")).expect(200);
    assert_eq!(read.json["message"], "told");
    assert_eq!(read.json["apiVersion"], "v1");
    world.delete(&format!("{NEW_EVENTS}/n1.1")).expect(200);
    assert_eq!(world.get(EVENTS).names(), ["n1.2"]);
}

#[test]
fn events() {
    let mut world = World::new();
    world.be("node");
    let first = event("n1.1", "n1", "2026-01-02T03:04:05Z");
    world.post(EVENTS, &first).expect(201);
    // PUT creates, and needs no resourceVersion.
    let path = format!("{EVENTS}/n1.2");
    let mut second = event("n1.2", "n1", "2026-01-02T03:04:05Z");
    world.put(&path, &second).expect(201);
    second["count"] = json!(2);
    world.put(&path, &second).expect(200);
    world.patch(&path, &json!({"count": 3})).expect(200);
    world.get(EVENTS).expect(403);
    world.be("admin");
    world
        .post(EVENTS, &event("n2.1", "n2", "2026-01-02T03:04:05Z"))
        .expect(201);
    let about = world.get(&format!(
        "{EVENTS}?fieldSelector=involvedObject.name%3Dn1,source%3Dkubelet"
    ));
    assert_eq!(about.expect(200).names(), ["n1.1", "n1.2"]);
    let elsewhere = format!("{}/x", EVENTS.replace("default", "kube-system"));
    let refused = world.put(&elsewhere, &event("x", "n1", "2026-01-02T03:04:05Z"));
    assert_eq!(
        causes(&refused.expect(422)),
        ["involvedObject.namespace FieldValueInvalid"]
    );
    let table = world
        .send("GET", &path, &[("Accept", TABLE)], "")
        .expect(200);
    assert_eq!(table.json["columnDefinitions"][0]["name"], "Last Seen");
    assert_eq!(table.json["rows"][0]["cells"][8], 3);
}

#[test]
fn events_are_forgotten_after_an_hour() {
    let mut world = World::new();
    let seen = |name: &str, seen: &str| event(name, "n1", seen);
    world
        .post(EVENTS, &seen("once", "2026-01-02T03:04:05Z"))
        .expect(201);
    world
        .post(EVENTS, &seen("again", "2026-01-02T03:04:05Z"))
        .expect(201);
    let mut watch = world.watch(&format!("{EVENTS}?watch=true"));
    assert_eq!(watch.story(), ["ADDED again", "ADDED once"]);
    let forget = |world: &World| world.server.forget(world.now).now_or_never().unwrap();
    world.pass(3599);
    let later = json!({"lastTimestamp": "2026-01-02T04:04:04Z"});
    world.patch(&format!("{EVENTS}/again"), &later).expect(200);
    forget(&world);
    assert_eq!(watch.story(), ["MODIFIED again"]);
    world.pass(1);
    forget(&world);
    assert_eq!(watch.story(), ["DELETED once"]);
    world.pass(3598);
    forget(&world);
    assert_eq!(watch.story(), [""; 0]);
    world.pass(1);
    forget(&world);
    assert_eq!(watch.story(), ["DELETED again"]);
}

/// However many are told, the store does not grow without end.
#[test]
fn too_many_events_push_out_the_oldest() {
    let world = World::new();
    let long = "x".repeat(1 << 20);
    for number in 0..20 {
        let mut event = event(&format!("e{number:02}"), "n1", "2026-01-02T03:04:05Z");
        event["message"] = json!(long);
        world.post(EVENTS, &event).expect(201);
    }
    let left = world.get(EVENTS).expect(200).names();
    assert!(
        left.len() < 17 && left.contains(&"e19".to_owned()),
        "{left:?}"
    );
    assert!(!left.contains(&"e00".to_owned()), "{left:?}");
    // Nor by events that grow.
    let long = json!({"message": long.repeat(2)});
    for name in &left {
        let path = format!("{EVENTS}/{name}");
        assert!(
            matches!(world.patch(&path, &long).code, 200 | 404),
            "{name}"
        );
    }
    let left = world.get(EVENTS).expect(200).names();
    assert!(
        left.len() <= 8 && left.contains(&"e19".to_owned()),
        "{left:?}"
    );
}

#[test]
fn csi_nodes() {
    const PATH: &str = "/apis/storage.k8s.io/v1/csinodes";
    let mut world = World::new();
    world.be("node");
    let node = json!({"metadata": {"name": "n1"}, "spec": {"drivers": null}});
    let created = world.post(PATH, &node).expect(201);
    assert_eq!(created.json["spec"], json!({"drivers": null}));
    let of_another = json!({"metadata": {"name": "n2"}, "spec": {}});
    world.post(PATH, &of_another).expect(403);
    let path = format!("{PATH}/n1");
    world.put(&path, &node).expect(422);
    let mut with_driver = world.get(&path).expect(200).json;
    with_driver["spec"]["drivers"] = json!([{"name": "d", "nodeID": "x"}]);
    world.put(&path, &with_driver).expect(200);
    world.get(PATH).expect(403);
    world.be("admin");
    let table = world
        .send("GET", PATH, &[("Accept", TABLE)], "")
        .expect(200);
    assert_eq!(table.json["rows"][0]["cells"], json!(["n1", 1, "0s"]));
}

/// What a kubelet lists and watches at start, in its own words; and what it waits for is there
/// although there is nothing.
#[test]
fn empty_lists_for_kubelets() {
    let mut world = World::new();
    world.be("node");
    for path in [
        "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1",
        "/api/v1/services",
        "/apis/node.k8s.io/v1/runtimeclasses",
        "/apis/storage.k8s.io/v1/csidrivers",
        "/apis/certificates.k8s.io/v1/clustertrustbundles",
        "/apis/certificates.k8s.io/v1/podcertificaterequests?fieldSelector=spec.nodeName%3Dn1",
        "/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.nodeName%3Dn1",
    ] {
        let list = world.get(path).expect(200);
        assert_eq!(list.json["items"], json!([]), "{path}");
        let end = if path.contains('?') { "&" } else { "?" };
        let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        let mut watch = world.watch(&format!("{path}{end}{query}"));
        assert_eq!(watch.story(), ["BOOKMARK"], "{path}");
    }
    let slices = "/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.nodeName%3Dn";
    let wiped = world.send("DELETE", &format!("{slices}1"), &[], "");
    assert_eq!(wiped.expect(200).json["kind"], "ResourceSliceList");
    world
        .send("DELETE", &format!("{slices}2"), &[], "")
        .expect(403);
    world.get("/api/v1/pods").expect(403);
    world
        .get("/apis/storage.k8s.io/v1/volumeattachments")
        .expect(403);
    world.be("admin");
    world
        .get("/apis/storage.k8s.io/v1/volumeattachments")
        .expect(200);
    world.get("/api/v1/namespaces/default/pods/p").expect(404);
    let pod = json!({"metadata": {"name": "p"}});
    world
        .post("/api/v1/namespaces/default/pods", &pod)
        .expect(405);
    let missing = world.get("/apis/certificates.k8s.io/v1/trustbundles");
    assert_eq!(missing.expect(404).json["kind"], "Status");
}

/// Whatever is wrong with what is sent for a Secret: no refusal repeats it, for refusals end up in
/// logs.
#[test]
fn what_is_wrong_with_a_secret_is_said_without_its_value() {
    const VALUE: &str = "hunter2-LEAK!";
    let world = World::new();
    let secret = |name: &str| json!({"metadata": {"name": name}, "data": {"a": "MQ=="}});
    world.post(SECRETS, &secret("s")).expect(201);
    let path = format!("{SECRETS}/s");
    let bad = json!({"metadata": {"name": "t"}, "data": {"password": VALUE}});
    let patch = json!({"data": {"password": VALUE}}).to_string();
    let number = r#"{"data": {"password": 18446744073709551615, "b": "hunter2-LEAK!"}}"#;
    let operations = json!([{"op": "add", "path": "/data/password", "value": VALUE}]).to_string();
    let applied = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
        "data": {"password": VALUE}});
    let applied = applied.to_string();
    for (method, url, media_type, body) in [
        ("POST", SECRETS, "application/json", bad.to_string()),
        ("PUT", &path, "application/json", bad.to_string()),
        (
            "PATCH",
            &path,
            "application/merge-patch+json",
            patch.clone(),
        ),
        (
            "PATCH",
            &path,
            "application/merge-patch+json",
            number.to_owned(),
        ),
        (
            "PATCH",
            &path,
            "application/strategic-merge-patch+json",
            patch,
        ),
        ("PATCH", &path, "application/json-patch+json", operations),
        (
            "PATCH",
            &format!("{path}?fieldManager=m"),
            "application/apply-patch+yaml",
            applied,
        ),
    ] {
        let answer = world.send(method, url, &[("Content-Type", media_type)], body);
        let told = answer.json.to_string();
        assert!(told.contains("Failure"), "{method} {media_type}: {told}");
        for part in ["hunter2", "18446744073709551615"] {
            assert!(!told.contains(part), "{method} {media_type}: {told}");
        }
    }
}
