//! What is told of requests.

use super::fixture::{CSRS, MAPS, World, config_map};
use crate::audit::{Auditor, Destination, Format, LogConfig, Mode, Policy, Rotation};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use std::sync::Arc;

/// A server that tells of its requests, and the file where it does.
struct Stage {
    world: World,
    dir: tempfile::TempDir,
}

impl Stage {
    fn of(policy: &str, format: Format) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{policy}");
        let log = LogConfig {
            destination: Destination::File(dir.path().join("audit.log")),
            rotation: Rotation::default(),
            format,
            mode: Mode::Batch,
        };
        let clock = || "2026-01-02T03:04:05.0678Z".parse().unwrap();
        let policy = Policy::parse(&text).unwrap();
        let auditor = Auditor::start(policy, log, Arc::new(clock)).unwrap();
        let world = World::audited(auditor);
        Self { world, dir }
    }

    fn text(&self) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime
            .unwrap()
            .block_on(self.world.server.audit().unwrap().flush());
        std::fs::read_to_string(self.dir.path().join("audit.log")).unwrap()
    }

    fn events(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// `stage verb code` of each event.
fn story(events: &[Value]) -> Vec<String> {
    let tell = |event: &Value| {
        let code = event["responseStatus"]["code"].as_u64();
        let code = code.map_or_else(String::new, |code| format!(" {code}"));
        let text = |member: &str| event[member].as_str().unwrap().to_owned();
        format!("{} {}{code}", text("stage"), text("verb"))
    };
    events.iter().map(tell).collect()
}

#[test]
fn an_event_says_what_upstreams_says() {
    let stage = Stage::of("rules: [{level: RequestResponse}]", Format::Json);
    let headers = [
        ("Audit-ID", "abc"),
        ("User-Agent", "kubectl/v1.37.0"),
        ("X-Forwarded-For", "10.0.0.1, nobody"),
    ];
    let body = json!({"metadata": {"name": "m"}, "data": {"a": "<1>"}});
    stage
        .world
        .send(
            "POST",
            &format!("{MAPS}?fieldManager=me"),
            &headers,
            body.to_string(),
        )
        .expect(201);
    let events = stage.events();
    assert_eq!(
        story(&events),
        ["RequestReceived create", "ResponseComplete create 201"]
    );
    let mut last = events[1].clone();
    let response = last["responseObject"].take();
    assert_eq!(response["metadata"]["managedFields"][0]["manager"], "me");
    let expected = json!({
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse",
        "auditID": "abc",
        "stage": "ResponseComplete",
        "requestURI": format!("{MAPS}?fieldManager=me"),
        "verb": "create",
        "user": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
        "sourceIPs": ["10.0.0.1"],
        "userAgent": "kubectl/v1.37.0",
        "objectRef": {
            "resource": "configmaps", "namespace": "default", "name": "m", "apiVersion": "v1",
        },
        "responseStatus": {"metadata": {}, "code": 201},
        "requestObject": {
            "kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "m"}, "data": {"a": "<1>"},
        },
        "responseObject": null,
        "requestReceivedTimestamp": "2026-01-02T03:04:05.000000Z",
        "stageTimestamp": "2026-01-02T03:04:05.067800Z",
        "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
    });
    assert_eq!(last, expected);
}

#[test]
fn a_level_says_how_much() {
    for (level, request, response) in [
        ("Metadata", false, false),
        ("Request", true, false),
        ("RequestResponse", true, true),
    ] {
        let stage = Stage::of(&format!("rules: [{{level: {level}}}]"), Format::Json);
        stage
            .world
            .post(MAPS, &config_map("m", "secret"))
            .expect(201);
        stage
            .world
            .patch(&format!("{MAPS}/m"), &json!({"data": {"b": "c"}}))
            .expect(200);
        stage.world.get(MAPS).expect(200);
        for event in stage
            .events()
            .iter()
            .filter(|event| event["stage"] == "ResponseComplete")
        {
            let is_list = event["verb"] == "list";
            assert_eq!(event.get("requestObject").is_some(), request && !is_list);
            assert_eq!(event.get("responseObject").is_some(), response);
        }
    }
}

#[test]
fn without_managed_fields_there_are_none() {
    let stage = Stage::of(
        "omitManagedFields: true\nrules: [{level: RequestResponse}]",
        Format::Json,
    );
    stage.world.post(MAPS, &config_map("m", "1")).expect(201);
    let table = [("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    stage.world.send("GET", MAPS, &table, "").expect(200);
    stage.world.get(MAPS).expect(200);
    let events = stage.events();
    assert_eq!(
        events[5]["responseObject"]["items"][0]["metadata"]["name"],
        "m"
    );
    assert!(!stage.text().contains("managedFields"));
}

#[test]
fn an_answer_in_protobuf_is_told_in_json() {
    let stage = Stage::of("rules: [{level: RequestResponse}]", Format::Json);
    stage.world.post(MAPS, &config_map("m", "1")).expect(201);
    let accept = [("Accept", "application/vnd.kubernetes.protobuf")];
    for (path, pointer) in [
        (format!("{MAPS}/m"), "/metadata/name"),
        (MAPS.to_owned(), "/items/0/metadata/name"),
        (format!("{MAPS}/no"), "/details/name"),
    ] {
        stage.world.raw("GET", &path, &accept, "");
        let events = stage.events();
        let told = &events.last().unwrap()["responseObject"];
        let name = told.pointer(pointer).and_then(Value::as_str);
        assert!(name == Some("m") || name == Some("no"), "{path}: {told}");
    }
}

#[test]
fn refusals_say_who_was_refused_and_why() {
    let mut stage = Stage::of("rules: [{level: Metadata}]", Format::Json);
    stage.world.be("eve").get(MAPS).expect(403);
    stage.world.be("stranger").get(MAPS).expect(401);
    let headers = [("Impersonate-User", "adam")];
    stage
        .world
        .be("eve")
        .send("GET", MAPS, &headers, "")
        .expect(403);
    stage
        .world
        .be("admin")
        .send("GET", MAPS, &headers, "")
        .expect(403);
    let events = stage.events();
    let expected = [
        "RequestReceived list",
        "ResponseComplete list 403",
        // As upstream: of whom nobody knows, nothing more.
        "ResponseStarted list 401",
        "RequestReceived list",
        "ResponseComplete list 403",
        "RequestReceived list",
        "ResponseComplete list 403",
    ];
    assert_eq!(story(&events), expected);
    let decision = |event: &Value| event["annotations"]["authorization.k8s.io/decision"].clone();
    assert_eq!(decision(&events[1]), "forbid");
    assert_eq!(events[1]["responseStatus"]["reason"], "Forbidden");
    assert_eq!(events[2]["user"], json!({}));
    assert_eq!(events[2]["responseStatus"]["reason"], "Unauthorized");
    assert_eq!(
        decision(&events[4]),
        Value::Null,
        "nobody asked what adam may do"
    );
    assert_eq!(events[6]["impersonatedUser"]["username"], "adam");
    assert_eq!(events[6]["user"]["username"], "admin");
    assert!(!stage.text().contains("t-eve"), "a token is told");
}

#[test]
fn a_watch_is_told_when_it_begins_and_when_it_ends() {
    let stage = Stage::of("rules: [{level: Metadata}]", Format::Json);
    let watch = stage.world.watch(&format!("{CSRS}?watch=true"));
    let begun = ["RequestReceived watch", "ResponseStarted watch 200"];
    // The trail of a watch waits for nothing here, so what it told is with it.
    assert_eq!(story(&stage.events()), begun);
    drop(watch);
    assert_eq!(story(&stage.events())[2..], ["ResponseComplete watch 200"]);
}

#[test]
fn a_request_that_is_given_up_is_told() {
    let stage = Stage::of("rules: [{level: Metadata}]", Format::Json);
    let body = config_map("m", "1").to_string();
    let (parts, _) = http::Request::post(MAPS)
        .header("Authorization", "Bearer t-admin")
        .body(body)
        .unwrap()
        .into_parts();
    let peer = crate::authn::Peer::default();
    let server = &stage.world.server;
    let judges = server.judges_for(&parts, &peer, stage.world.now);
    let judges = judges.now_or_never().unwrap();
    drop(server.admit(parts, &peer, stage.world.now, judges));
    let events = stage.events();
    assert_eq!(
        events.last().unwrap()["responseStatus"]["message"],
        "Connection closed early"
    );
    assert_eq!(
        story(&events),
        ["RequestReceived create", "ResponseComplete create 200"]
    );
}

#[test]
fn stages_are_omitted_and_nothing_is_told_of_the_rest() {
    let policy =
        "omitStages: [RequestReceived]\nrules: [{level: None, verbs: [list]}, {level: Metadata}]";
    let stage = Stage::of(policy, Format::Json);
    stage.world.get(MAPS).expect(200);
    stage.world.get("/livez").expect(200);
    assert_eq!(story(&stage.events()), ["ResponseComplete get 200"]);
    let metrics = stage.world.get("/metrics").text;
    for line in [
        "apiserver_audit_event_total 1",
        "apiserver_audit_level_total{level=\"None\"} 1",
        "apiserver_audit_error_total{plugin=\"log\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
}

#[test]
fn the_older_form_is_a_line_of_words() {
    let stage = Stage::of("rules: [{level: Metadata}]", Format::Legacy);
    let headers = [("Audit-ID", "abc"), ("User-Agent", "a \"b\"")];
    stage.world.send("GET", MAPS, &headers, "").expect(200);
    let expected = "2026-01-02T03:04:05Z AUDIT: id=\"abc\" stage=\"ResponseComplete\" ip=\"<unknown>\" method=\"list\" \
                    user=\"admin\" groups=\"\\\"system:masters\\\",\\\"system:authenticated\\\"\" as=\"<self>\" asgroups=\"<lookup>\" \
                    user-agent=\"a \\\"b\\\"\" namespace=\"default\" uri=\"/api/v1/namespaces/default/configmaps\" response=\"200\"";
    assert_eq!(stage.text().lines().last(), Some(expected));
}

#[test]
fn a_log_that_has_to_be_written_and_cannot_be_costs_the_request() {
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let stage = |mode| {
        let log = LogConfig {
            destination: Destination::File(path.clone()),
            rotation: Rotation::default(),
            format: Format::Json,
            mode,
        };
        let clock = || "2026-01-02T03:04:05Z".parse().unwrap();
        let auditor = Auditor::start(Policy::parse(policy).unwrap(), log, Arc::new(clock)).unwrap();
        // In its place stands what cannot be written from now on.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        World::audited(auditor)
    };
    for (mode, code) in [(Mode::Blocking, 201), (Mode::BlockingStrict, 500)] {
        let world = stage(mode);
        let body = config_map("m", "1").to_string();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let answer = runtime
            .unwrap()
            .block_on(world.begin("POST", MAPS, &[], body));
        assert_eq!(answer.status(), code);
        let is_there = world
            .server
            .objects()
            .get("configmaps", "default", "m")
            .is_some();
        assert_eq!(is_there, code == 201);
        std::fs::remove_dir(&path).unwrap();
    }
}
