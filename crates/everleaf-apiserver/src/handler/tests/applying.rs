//! Server-side apply, and who owns what any other write wrote. What is merged and what is a
//! conflict is tested where it is decided, in `everleaf-api`.

use super::conformance::server_csr;
use super::fixture::{Answer, CSRS, MAPS, World, config_map};
use serde_json::{Value, json};

const APPLY: (&str, &str) = ("Content-Type", "application/apply-patch+yaml");

fn apply(world: &World, path: &str, body: &Value) -> Answer {
    world.send("PATCH", path, &[APPLY], body.to_string())
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

/// `manager operation subresource fields`
fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array();
    let shown = entries.into_iter().flatten().map(|entry| {
        let text = |member: &str| entry[member].as_str().unwrap_or("-").to_owned();
        let (manager, operation) = (text("manager"), text("operation"));
        let fields = &entry["fieldsV1"];
        format!("{manager} {operation} {} {fields}", text("subresource"))
    });
    shown.collect()
}

#[test]
fn apply_creates_and_changes() {
    let mut world = World::new();
    let path = format!("{MAPS}/a?fieldManager=me");
    let body = map(json!({"k": "1"}));
    let created = apply(&world, &path, &body).expect(201);
    assert_eq!(
        owners(&created.json),
        [r#"me Apply - {"f:data":{"f:k":{}}}"#]
    );
    let entry = &created.json["metadata"]["managedFields"][0];
    assert_eq!(entry["time"], "2026-01-02T03:04:05Z");
    world.pass(60);
    // Nothing changes: not even the time.
    let same = apply(&world, &path, &body).expect(200);
    assert_eq!(same.json, created.json);
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: '2'\n";
    let changed = world.send("PATCH", &path, &[APPLY], yaml).expect(200);
    assert_eq!(changed.json["data"]["k"], "2");
    let entry = &changed.json["metadata"]["managedFields"][0];
    assert_eq!(entry["time"], "2026-01-02T03:05:05Z");
    let dry = format!("{path}&dryRun=All");
    let would = apply(&world, &dry, &map(json!({}))).expect(200);
    assert_eq!(would.json["data"], Value::Null);
    assert_eq!(world.get(&format!("{MAPS}/a")).json, changed.json);
    let other = format!("{MAPS}/a?fieldManager=other");
    let refused = apply(&world, &other, &map(json!({"k": "3"}))).expect(409);
    assert_eq!(
        refused.message(),
        "Apply failed with 1 conflict: conflict with \"me\": .data.k"
    );
    let forced = format!("{other}&force=true");
    let taken = apply(&world, &forced, &map(json!({"k": "3"}))).expect(200);
    assert_eq!(
        owners(&taken.json),
        [r#"other Apply - {"f:data":{"f:k":{}}}"#]
    );
}

#[test]
fn every_write_has_a_manager() {
    let world = World::new();
    let agent = |name: &'static str| [("User-Agent", name), ("Content-Type", "application/json")];
    let body = config_map("a", "1").to_string();
    let created = world
        .send("POST", MAPS, &agent("kubectl/v1 (x)"), body)
        .expect(201);
    let first = r#"kubectl Update - {"f:data":{".":{},"f:key":{}}}"#;
    assert_eq!(owners(&created.json), [first]);
    let path = format!("{MAPS}/a");
    let patched = world
        .patch(
            &format!("{path}?fieldManager=me"),
            &json!({"data": {"b": "1"}}),
        )
        .expect(200);
    let second = r#"me Update - {"f:data":{"f:b":{}}}"#;
    assert_eq!(owners(&patched.json), [first, second]);
    let mut put = patched.json.clone();
    put["data"]["key"] = "2".into();
    let long = "ä".repeat(100);
    let headers = [("User-Agent", long.as_str())];
    let put = world
        .send("PUT", &path, &headers, put.to_string())
        .expect(200);
    let name = "ä".repeat(64);
    let third = format!(r#"{name} Update - {{"f:data":{{"f:key":{{}}}}}}"#);
    let emptied = r#"kubectl Update - {"f:data":{}}"#;
    assert_eq!(owners(&put.json), [emptied, second, &third]);
    // Nobody owned anything, and nobody does until somebody applies.
    let reset = world
        .patch(&path, &json!({"metadata": {"managedFields": []}}))
        .expect(200);
    assert_eq!(owners(&reset.json), [""; 0]);
    let patched = world.patch(&path, &json!({"data": {"b": "2"}})).expect(200);
    assert_eq!(owners(&patched.json), [""; 0]);
    let named = "x".repeat(129);
    let entry = json!([{"manager": named, "operation": "Update", "apiVersion": "v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:b": {}}}}]);
    let refused = world
        .patch(&path, &json!({"metadata": {"managedFields": entry}}))
        .expect(422);
    assert!(
        refused.message().contains(
            "metadata.managedFields[0].manager: Too long: may not be more than 128 bytes"
        )
    );
}

#[test]
fn endpoints_own_what_they_may_write() {
    let world = World::new();
    let mut body = server_csr();
    body["metadata"] = json!({"name": "r"});
    body["status"] = json!({"conditions": [{"type": "Other", "status": "True"}]});
    let created = world
        .post(&format!("{CSRS}?fieldManager=f"), &body)
        .expect(201);
    assert_eq!(owners(&created.json), [""; 0]);
    let labels = json!({"metadata": {"labels": {"a": "1"}}});
    let path = format!("{CSRS}/r");
    let config = |status: Value| {
        json!({"apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest", "metadata": {"name": "r"}, "status": status})
    };
    let condition = |sort: &str| json!({"conditions": [{"type": sort, "status": "True"}]});
    let approval = format!("{path}/approval?fieldManager=f");
    apply(&world, &approval, &config(condition("Approved"))).expect(200);
    let certificate = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    let status = apply(
        &world,
        &format!("{path}/status?fieldManager=f"),
        &config(certificate),
    );
    // What this endpoint writes of conditions is nobody's, as upstream.
    let status = status.expect(200);
    let all = owners(&status.json);
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(
        all[0].starts_with("f Apply approval {\"f:status\":{\"f:conditions\":"),
        "{all:?}"
    );
    let labeled = world
        .patch(&format!("{path}?fieldManager=f"), &labels)
        .expect(200);
    assert_eq!(
        owners(&labeled.json)[1],
        r#"f Update - {"f:metadata":{"f:labels":{".":{},"f:a":{}}}}"#
    );
    apply(
        &world,
        &format!("{CSRS}/none/status?fieldManager=f"),
        &config(json!({})),
    )
    .expect(404);
}

#[test]
fn applies_that_are_refused() {
    let world = World::new();
    let path = format!("{MAPS}/a?fieldManager=me");
    let refused = |answer: Answer, code: u16, text: &str| {
        let answer = answer.expect(code);
        assert_eq!(answer.message(), text);
    };
    let good = map(json!({"k": "1"}));
    let nobody = apply(&world, &format!("{MAPS}/a"), &good);
    refused(
        nobody,
        422,
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
    );
    let raw = |body: &str| world.send("PATCH", &path, &[APPLY], body.to_owned());
    refused(raw(""), 400, "invalid object type: /, Kind=");
    refused(raw("null"), 400, "invalid object type: /, Kind=");
    raw("[1]").expect(400);
    raw("{\"a").expect(400);
    refused(
        raw("kind: ConfigMap"),
        400,
        "invalid object type: /, Kind=ConfigMap",
    );
    let mut nameless = good.clone();
    nameless["metadata"] = json!({});
    refused(
        apply(&world, &path, &nameless),
        400,
        "the name of the object (a based on URL) was undeterminable: name must be provided",
    );
    let mut known = good.clone();
    known["metadata"]["uid"] = "1".into();
    refused(
        apply(&world, &path, &known),
        409,
        "Operation cannot be fulfilled on configmaps \"a\": uid mismatch: the provided object specified uid 1, and no existing object was found",
    );
    let twice = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"1","k":"2"}}"#;
    let strict = format!("{path}&fieldValidation=Strict&dryRun=All");
    let strict = world.send("PATCH", &strict, &[APPLY], twice);
    refused(
        strict,
        400,
        "error strict decoding patch: duplicate field \"data.k\"",
    );
    let warned = world
        .send("PATCH", &format!("{path}&dryRun=All"), &[APPLY], twice)
        .expect(201);
    assert_eq!(warned.json["data"]["k"], "2");
    assert_eq!(
        warned.headers["warning"],
        r#"299 - "duplicate field \"data.k\"""#
    );
    let cbor = [("Content-Type", "application/apply-patch+cbor")];
    world.send("PATCH", &path, &cbor, "x").expect(415);
}

#[test]
fn the_right_to_change_is_not_the_right_to_make() {
    let mut world = World::new();
    let path = format!("{MAPS}/a?fieldManager=me");
    let good = map(json!({"k": "1"}));
    let role = json!({"metadata": {"name": "patcher"}, "rules":
        [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    world
        .post(&format!("{rbac}/clusterroles"), &role)
        .expect(201);
    let binding = json!({"metadata": {"name": "eve"}, "subjects": [{"kind": "User", "name": "eve"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "patcher"}});
    world
        .post(&format!("{rbac}/clusterrolebindings"), &binding)
        .expect(201);
    apply(world.be("eve"), &path, &good).expect(403);
    apply(world.be("admin"), &path, &good).expect(201);
    apply(world.be("eve"), &path, &good).expect(200);
}

#[test]
fn what_is_there_from_the_start_is_the_servers() {
    let world = World::new();
    let namespace = world.get("/api/v1/namespaces/default").expect(200);
    assert_eq!(
        owners(&namespace.json),
        [
            r#"kube-apiserver Update - {"f:metadata":{"f:labels":{".":{},"f:kubernetes.io/metadata.name":{}}}}"#
        ]
    );
}
