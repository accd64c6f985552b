//! patch, of each kind. What the merges themselves do is tested with them, in `everleaf-api`.

use super::conformance::server_csr;
use super::fixture::{Answer, CSRS, MAPS, World, config_map};
use serde_json::{Value, json};

const NODE: &str = "/api/v1/nodes/n1";
const STRATEGIC: &str = "strategic-merge-patch";
const JSON: &str = "json-patch";
const MERGE: &str = "merge-patch";

/// A world with the ConfigMap `a`.
fn world() -> (World, String) {
    let world = World::new();
    world.post(MAPS, &config_map("a", "1")).expect(201);
    (world, format!("{MAPS}/a"))
}

fn warnings(answer: &Answer) -> Vec<&str> {
    let all = answer.headers.get_all("warning").iter();
    all.map(|value| value.to_str().unwrap()).collect()
}

/// `type=value` of a node's conditions.
fn conditions(node: &Value) -> Vec<String> {
    let all = node["status"]["conditions"].as_array().unwrap();
    all.iter()
        .map(|one| {
            format!(
                "{}={}",
                one["type"].as_str().unwrap(),
                one["status"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn each_kind_changes_an_object() {
    let (world, path) = world();
    let strategic = world.patch_as(STRATEGIC, &path, &json!({"data": {"other": "2"}}));
    assert_eq!(
        strategic.expect(200).json["data"],
        json!({"key": "1", "other": "2"})
    );
    let merged = world.patch_as(MERGE, &path, &json!({"data": {"key": null}}));
    assert_eq!(merged.expect(200).json["data"], json!({"other": "2"}));
    let patch = json!([
        {"op": "test", "path": "/data/other", "value": "2"},
        {"op": "move", "from": "/data/other", "path": "/data/third"},
        {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}},
    ]);
    let patched = world.patch_as(JSON, &path, &patch).expect(200);
    assert_eq!(patched.json["data"], json!({"third": "2"}));
    assert_eq!(patched.json["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(world.get(&path).expect(200).json, patched.json);
    let failing = json!([{"op": "test", "path": "/data/third", "value": "3"}]);
    let refused = world.patch_as(JSON, &path, &failing).expect(422);
    assert_eq!(
        refused.message(),
        "the server rejected our request due to an error in our request"
    );
    assert_eq!(refused.json["reason"], "Invalid");
    assert_eq!(refused.json["details"], json!({}));
}

#[test]
fn a_patch_that_changes_nothing_writes_nothing() {
    let (world, path) = world();
    let version = world.get(&path).version();
    let empty =
        |kind: &str, patch: &Value| world.patch_as(kind, &path, patch).expect(200).version();
    assert_eq!(empty(STRATEGIC, &json!({"data": {"key": "1"}})), version);
    assert_eq!(empty(MERGE, &json!({"data": {"none": null}})), version);
    assert_eq!(empty(JSON, &json!([])), version);
    let dry = format!("{path}?dryRun=All");
    let tried = world.patch_as(STRATEGIC, &dry, &json!({"data": {"key": "2"}}));
    assert_eq!(tried.expect(200).json["data"]["key"], "2");
    assert_eq!(world.get(&path).version(), version);
}

/// As `component-helpers/node/util/status.go` computes its patches.
#[test]
fn a_kubelet_reports_its_status() {
    let world = World::new();
    let condition = |name: &str, status: &str| json!({"type": name, "status": status});
    let node = json!({"metadata": {"name": "n1", "finalizers": ["example.com/x"]}, "status": {
        "conditions": [condition("MemoryPressure", "False"), condition("DiskPressure", "False"), condition("Ready", "False")],
        "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "InternalIP", "address": "fd00::1"}],
    }});
    world.post("/api/v1/nodes", &node).expect(201);
    let status = format!("{NODE}/status");
    let patch = json!({"status": {
        "$setElementOrder/conditions": [{"type": "MemoryPressure"}, {"type": "DiskPressure"}, {"type": "Ready"}],
        "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-02-03T04:05:06Z"}],
    }});
    let patched = world.patch_as(STRATEGIC, &status, &patch).expect(200);
    assert_eq!(
        conditions(&patched.json),
        ["MemoryPressure=False", "DiskPressure=False", "Ready=True"]
    );
    let patch = json!({"status": {
        "$setElementOrder/conditions": [{"type": "NetworkUnavailable"}, {"type": "Ready"}],
        "conditions": [condition("NetworkUnavailable", "False"), {"type": "DiskPressure", "$patch": "delete"}],
        "addresses": [{"type": "InternalIP", "address": "10.0.0.2"}, {"type": "Hostname", "address": "n1"}, {"$patch": "replace"}],
    }});
    let patched = world.patch_as(STRATEGIC, &status, &patch).expect(200);
    assert_eq!(
        conditions(&patched.json),
        [
            "MemoryPressure=False",
            "NetworkUnavailable=False",
            "Ready=True"
        ]
    );
    let addresses = json!([{"type": "InternalIP", "address": "10.0.0.2"}, {"type": "Hostname", "address": "n1"}]);
    assert_eq!(patched.json["status"]["addresses"], addresses);
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/x"], "finalizers": ["example.com/y"]}});
    let patched = world.patch_as(STRATEGIC, NODE, &patch).expect(200);
    assert_eq!(
        patched.json["metadata"]["finalizers"],
        json!(["example.com/y"])
    );
}

#[test]
fn conditions_of_a_signing_request_are_replaced() {
    let world = World::new();
    let request = world.post(CSRS, &server_csr()).expect(201).json;
    let name = request["metadata"]["name"].as_str().unwrap();
    let path = format!("{CSRS}/{name}/approval");
    let condition = |name: &str| json!({"type": name, "status": "True"});
    for (kind, patch) in [
        (
            STRATEGIC,
            json!({"status": {"conditions": [condition("First"), condition("Second")]}}),
        ),
        (
            STRATEGIC,
            json!({"status": {"conditions": [condition("Third")]}}),
        ),
        (
            JSON,
            json!([{"op": "add", "path": "/status/conditions/-", "value": condition("Approved")}]),
        ),
    ] {
        world.patch_as(kind, &path, &patch).expect(200);
    }
    let found = world.get(&format!("{CSRS}/{name}")).expect(200).json;
    assert_eq!(conditions(&found), ["Third=True", "Approved=True"]);
    let status = json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]);
    let path = format!("{CSRS}/{name}/status");
    world.patch_as(JSON, &path, &status).expect(200);
}

#[test]
fn media_types() {
    let (world, path) = world();
    let send = |content_type: &str| {
        let headers = [("Content-Type", content_type)];
        let body = if content_type.contains("json-patch") {
            "[]"
        } else {
            "{}"
        };
        world.send("PATCH", &path, &headers, body)
    };
    for kind in [JSON, MERGE, STRATEGIC] {
        send(&format!("application/{kind}+json")).expect(200);
        send(&format!("application/{kind}+json; charset=utf-8")).expect(200);
    }
    for other in [
        "application/json",
        "application/yaml",
        "application/json-patch",
        "",
    ] {
        let refused = send(other).expect(415);
        assert_eq!(refused.message(), "415: Unsupported Media Type");
        assert_eq!(refused.json["reason"], "UnsupportedMediaType");
    }
    world.send("PATCH", &path, &[], "{}").expect(415);
}

#[test]
fn bodies_that_are_no_patch() {
    let (world, path) = world();
    let send = |kind: &str, query: &str, body: &str| {
        let content_type = format!("application/{kind}+json");
        let headers = [("Content-Type", content_type.as_str())];
        world.send(
            "PATCH",
            &format!("{path}{query}"),
            &headers,
            body.to_owned(),
        )
    };
    for kind in [JSON, MERGE, STRATEGIC] {
        for body in ["{", "", "{} {}", "nul"] {
            assert_eq!(
                send(kind, "", body).expect(400).message(),
                "invalid JSON patch"
            );
        }
        send(
            kind,
            "",
            &format!("{}1{}", "[".repeat(200), "]".repeat(200)),
        )
        .expect(400);
    }
    let ignore = "?fieldValidation=Ignore";
    let no_map = "json: cannot unmarshal array into Go value of type map[string]interface {}";
    for (kind, query, body, message) in [
        (STRATEGIC, "", "[]", no_map.to_owned()),
        (STRATEGIC, ignore, "[]", no_map.to_owned()),
        (MERGE, "", "[]", format!("error decoding patch: {no_map}")),
        (MERGE, "", "null", "Invalid JSON Patch".to_owned()),
        (MERGE, ignore, "5", "Invalid JSON Patch".to_owned()),
    ] {
        assert_eq!(send(kind, query, body).expect(400).message(), message);
    }
    send(STRATEGIC, "", "null").expect(200);
    send(JSON, "", "null").expect(200);
    send(MERGE, ignore, "[]").expect(422);
    let unknown = send(STRATEGIC, "", r#"{"data": {"$patch": "wrong"}}"#).expect(400);
    assert_eq!(
        unknown.message(),
        "unknown patch type: wrong in map: map[$patch:wrong]"
    );
    // Not there beats no patch, but not what is no JSON at all.
    let absent = format!("{MAPS}/none");
    world.patch_as(STRATEGIC, &absent, &json!([])).expect(404);
    let headers = [("Content-Type", "application/merge-patch+json")];
    world.send("PATCH", &absent, &headers, "{").expect(400);
}

#[test]
fn results_that_are_no_such_object() {
    let (world, path) = world();
    let data = json!({"data": 5});
    let of_kind = json!({"kind": "Secret"});
    for (kind, patch) in [
        (STRATEGIC, data.clone()),
        (STRATEGIC, json!({"kind": 5})),
        (MERGE, data),
        (MERGE, of_kind.clone()),
        (
            JSON,
            json!([{"op": "add", "path": "/kind", "value": "Secret"}]),
        ),
        (JSON, json!([{"op": "replace", "path": "", "value": []}])),
    ] {
        let refused = world.patch_as(kind, &path, &patch).expect(422);
        assert_eq!(refused.json["details"]["causes"][0]["field"], "patch");
        assert_eq!(refused.json["details"].get("name"), None);
    }
    let refused = world
        .patch_as(STRATEGIC, &path, &json!({"data": 5}))
        .expect(422);
    let shown = r#" "" is invalid: patch: Invalid value: "map[data:5]": "#;
    assert!(
        refused.message().starts_with(shown),
        "{}",
        refused.message()
    );
    // A strategic patch's word on the type does not count.
    world.patch_as(STRATEGIC, &path, &of_kind).expect(200);
}

#[test]
fn identity_stays() {
    let (world, path) = world();
    let meta = |member: &str, value: Value| json!({"metadata": {member: value}});
    for kind in [MERGE, STRATEGIC] {
        let refused = world
            .patch_as(kind, &path, &meta("name", json!("b")))
            .expect(400);
        let text = "the name of the object (b) does not match the name on the URL (a)";
        assert_eq!(refused.message(), text);
        let refused = world
            .patch_as(kind, &path, &meta("name", Value::Null))
            .expect(400);
        let text =
            "the name of the object (a based on URL) was undeterminable: name must be provided";
        assert_eq!(refused.message(), text);
        world
            .patch_as(kind, &path, &meta("namespace", json!("b")))
            .expect(400);
        let uid = meta("uid", json!("00000000-0000-4000-8000-000000000000"));
        let refused = world.patch_as(kind, &path, &uid).expect(422);
        let causes = &refused.json["details"]["causes"];
        assert_eq!(causes[0]["field"], "metadata.uid");
        let change = |version: String| json!({"metadata": {"resourceVersion": version}, "data": {"key": version}});
        world.patch_as(kind, &path, &change("1".into())).expect(409);
        let version = world.get(&path).version().to_string();
        world.patch_as(kind, &path, &change(version)).expect(200);
    }
    let absent = format!("{MAPS}/none");
    world.patch_as(STRATEGIC, &absent, &json!({})).expect(404);
    world.patch_as(JSON, &absent, &json!([])).expect(404);
}

#[test]
fn findings_are_warnings_or_a_refusal() {
    let (world, path) = world();
    let send = |kind: &str, query: &str, body: &str| {
        let content_type = format!("application/{kind}+json");
        let headers = [("Content-Type", content_type.as_str())];
        world.send(
            "PATCH",
            &format!("{path}{query}"),
            &headers,
            body.to_owned(),
        )
    };
    let body =
        r#"{"data": {"k": "1", "k": "2"}, "colour": 1, "colour": 2, "metadata": {"shape": {}}}"#;
    for kind in [MERGE, STRATEGIC] {
        let warned = send(kind, "", body).expect(200);
        let expected = [
            r#"299 - "duplicate field \"data.k\"""#,
            r#"299 - "duplicate field \"colour\"""#,
            r#"299 - "unknown field \"colour\"""#,
            r#"299 - "unknown field \"metadata.shape\"""#,
        ];
        let mut found = warnings(&warned);
        found.sort_by_key(|text| expected.iter().position(|one| one == text));
        assert_eq!(found, expected);
        assert_eq!(
            warnings(&send(kind, "?fieldValidation=Ignore", body).expect(200)),
            [""; 0]
        );
        let refused = send(kind, "?fieldValidation=Strict", r#"{"colour": "red"}"#).expect(422);
        let detail = r#"strict decoding error: unknown field "colour""#;
        assert!(refused.message().ends_with(detail), "{}", refused.message());
        assert_eq!(refused.json["details"]["causes"][0]["field"], "patch");
    }
    let body =
        r#"[{"op": "add", "path": "/colour", "value": {"a": 1, "a": 2}, "why": {"b": 1, "b": 2}}]"#;
    assert_eq!(
        warnings(&send(JSON, "", body).expect(200)),
        [
            r#"299 - "json patch duplicate field \"[0].value.a\"""#,
            r#"299 - "json patch unknown field \"[0].why\"""#,
            r#"299 - "unknown field \"colour\"""#,
        ]
    );
    send(JSON, "?fieldValidation=Strict", body).expect(422);
}

#[test]
fn parameters() {
    let (world, path) = world();
    let refused = |query: &str| {
        let answer = world.patch_as(STRATEGIC, &format!("{path}?{query}"), &json!({}));
        let answer = answer.expect(422);
        assert_eq!(answer.json["details"]["kind"], "PatchOptions");
        answer.message().to_owned()
    };
    let invalid = r#"PatchOptions.meta.k8s.io "" is invalid: "#;
    let force = "force: Forbidden: may not be specified for non-apply patch";
    for query in ["force=true", "force=false", "force"] {
        assert_eq!(refused(query), format!("{invalid}{force}"));
    }
    let manager = format!("fieldManager={}", "x".repeat(129));
    let text = "fieldManager: Too long: may not be more than 128 bytes";
    assert_eq!(refused(&manager), format!("{invalid}{text}"));
    let found = refused("fieldManager=a%0A%01b&force=true&dryRun=x&fieldValidation=Maybe");
    let expected = [
        force,
        r#"fieldManager: Invalid value: "a\n\x01b": invalid character U+000A (at position 1)"#,
        r#"fieldManager: Invalid value: "a\n\x01b": invalid character U+0001 (at position 2)"#,
        r#"dryRun: Unsupported value: ["x"]: supported values: "All""#,
        r#"fieldValidation: Unsupported value: "Maybe": supported values: "", "Ignore", "Strict", "Warn""#,
    ];
    assert_eq!(found, format!("{invalid}[{}]", expected.join(", ")));
    let allowed = format!("{path}?fieldManager=me&fieldValidation=Strict&dryRun=All");
    world.patch_as(STRATEGIC, &allowed, &json!({})).expect(200);
}
