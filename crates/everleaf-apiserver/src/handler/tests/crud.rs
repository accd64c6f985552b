//! create, get, update, patch, delete of a plain resource.

use super::fixture::{Answer, MAPS, World, block_on, config_map};
use futures_util::future::join_all;
use serde_json::{Value, json};

#[test]
fn an_object_lives_and_dies() {
    let mut world = World::new();
    let created = world.post(MAPS, &config_map("a", "1")).expect(201);
    let uid = created.json["metadata"]["uid"].as_str().unwrap().to_owned();
    assert_eq!(uid.len(), 36, "{uid}");
    assert_eq!(
        created.json["metadata"]["creationTimestamp"],
        "2026-01-02T03:04:05Z"
    );
    assert_eq!(created.json["metadata"]["namespace"], "default");
    assert!(
        created
            .text
            .starts_with(r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":"#)
    );

    let path = format!("{MAPS}/a");
    let read = world.get(&path).expect(200);
    assert_eq!(read.json, created.json);
    assert_eq!(read.headers["date"], "Fri, 02 Jan 2026 03:04:05 GMT");
    assert_eq!(read.headers["cache-control"], "no-cache, private");

    world.pass(60);
    let mut body = read.json.clone();
    body["data"]["key"] = json!("2");
    body["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    let updated = world.put(&path, &body).expect(200);
    assert_eq!(updated.version(), created.version() + 1);
    assert_eq!(updated.json["metadata"]["uid"], uid.as_str());
    assert_eq!(
        updated.json["metadata"]["creationTimestamp"],
        "2026-01-02T03:04:05Z"
    );

    let conflict = world.put(&path, &body).expect(409);
    assert_eq!(conflict.json["reason"], "Conflict");
    assert!(conflict.message().contains(
        "the object has been modified; please apply your changes to the latest version and try again"
    ));
    assert_eq!(
        conflict.json["details"],
        json!({"name": "a", "kind": "configmaps"})
    );

    let patched = world
        .patch(&path, &json!({"data": {"key": null, "other": "3"}}))
        .expect(200);
    assert_eq!(patched.json["data"], json!({"other": "3"}));

    let deleted = world.delete(&path).expect(200);
    assert_eq!(deleted.json["status"], "Success");
    assert_eq!(
        deleted.json["details"],
        json!({"name": "a", "kind": "configmaps", "uid": uid})
    );
    let missing = world.get(&path).expect(404);
    assert_eq!(missing.json["reason"], "NotFound");
    assert_eq!(missing.message(), "configmaps \"a\" not found");
}

#[test]
fn what_clients_may_not_say_on_create() {
    let world = World::new();
    let mut body = config_map("a", "1");
    body["metadata"]["uid"] = json!("mine");
    body["metadata"]["generation"] = json!(7);
    body["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let created = world.post(MAPS, &body).expect(201);
    let metadata = created.json["metadata"].as_object().unwrap();
    assert_ne!(metadata["uid"], "mine");
    let mut members: Vec<&str> = metadata.keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(
        members,
        [
            "creationTimestamp",
            "generation",
            "managedFields",
            "name",
            "namespace",
            "resourceVersion",
            "uid"
        ]
    );

    let taken = world.post(MAPS, &config_map("a", "1")).expect(409);
    assert_eq!(taken.json["reason"], "AlreadyExists");
    assert_eq!(taken.message(), "configmaps \"a\" already exists");
    body["metadata"]["resourceVersion"] = json!("5");
    world.post(MAPS, &body).expect(400);
    let mut elsewhere = config_map("b", "1");
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    world.post(MAPS, &elsewhere).expect(400);
    let other_kind = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "b"}});
    world.post(MAPS, &other_kind).expect(400);
    let nameless = world.post(MAPS, &json!({"data": {}})).expect(422);
    assert_eq!(
        nameless.json["details"]["causes"][0]["field"],
        "metadata.name"
    );
    let bad = world.post(MAPS, &config_map("Not_A_Name", "1")).expect(422);
    assert!(
        bad.message()
            .starts_with("ConfigMap \"Not_A_Name\" is invalid: metadata.name: Invalid value")
    );
    world.send("POST", MAPS, &[], "{").expect(400);
    world.send("POST", MAPS, &[], "").expect(400);
}

#[test]
fn generated_names() {
    let world = World::new();
    let body = json!({"metadata": {"generateName": "g-"}});
    let mut names: Vec<String> = (0..50)
        .map(|_| {
            let created = world.post(MAPS, &body).expect(201);
            created.json["metadata"]["name"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    for name in &names {
        let suffix = name.strip_prefix("g-").unwrap();
        assert_eq!(suffix.len(), 5);
        assert!(
            suffix
                .bytes()
                .all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte)),
            "{name}"
        );
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 50);
    let long = json!({"metadata": {"generateName": "x".repeat(80)}});
    let created = world.post(MAPS, &long).expect(201);
    assert_eq!(created.json["metadata"]["name"].as_str().unwrap().len(), 63);
    // A name beats a base.
    let both = json!({"metadata": {"name": "n", "generateName": "g-"}});
    assert_eq!(
        world.post(MAPS, &both).expect(201).json["metadata"]["name"],
        "n"
    );
}

#[test]
fn dry_runs_change_nothing() {
    let world = World::new();
    let before = world.get(MAPS).version();
    let path = format!("{MAPS}/a?dryRun=All");
    let tried = world
        .post(&format!("{MAPS}?dryRun=All"), &config_map("a", "1"))
        .expect(201);
    assert!(tried.json["metadata"]["uid"].is_string());
    world.get(&format!("{MAPS}/a")).expect(404);
    let created = world.post(MAPS, &config_map("a", "1")).expect(201);
    world
        .post(&format!("{MAPS}?dryRun=All"), &config_map("a", "1"))
        .expect(409);
    let updated = world.put(&path, &config_map("a", "2")).expect(200);
    assert_eq!(updated.json["data"]["key"], "2");
    world
        .patch(&path, &json!({"data": {"key": "3"}}))
        .expect(200);
    world.delete(&path).expect(200);
    world.delete(&format!("{MAPS}?dryRun=All")).expect(200);
    let options = json!({"dryRun": ["All"]});
    world
        .send("DELETE", &format!("{MAPS}/a"), &[], options.to_string())
        .expect(200);
    assert_eq!(
        world.get(&format!("{MAPS}/a")).expect(200).json,
        created.json
    );
    assert_eq!(world.get(MAPS).version(), before + 1);
    let refused = world
        .post(&format!("{MAPS}?dryRun=Some"), &config_map("b", "1"))
        .expect(422);
    assert_eq!(refused.json["details"]["causes"][0]["field"], "dryRun");
    world.delete(&format!("{MAPS}/a?dryRun=Some")).expect(422);
}

#[test]
fn unknown_fields_warn_fail_or_are_ignored() {
    let world = World::new();
    let body = |name: &str| {
        format!(r#"{{"metadata":{{"name":"{name}"}},"colour":"red","data":{{"a":"1","a":"2"}}}}"#)
    };
    let post =
        |query: &str, name: &str| world.send("POST", &format!("{MAPS}{query}"), &[], body(name));
    let warned = post("", "a").expect(201);
    let warnings: Vec<&str> = warned
        .headers
        .get_all("warning")
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    assert_eq!(
        warnings,
        [
            r#"299 - "unknown field \"colour\"""#,
            r#"299 - "duplicate field \"data.a\"""#
        ]
    );
    assert_eq!(warned.json["colour"], Value::Null);
    let silent = post("?fieldValidation=Ignore", "b").expect(201);
    assert!(silent.headers.get("warning").is_none());
    let strict = post("?fieldValidation=Strict", "c").expect(400);
    assert!(
        strict
            .message()
            .contains(r#"strict decoding error: unknown field "colour", duplicate field "data.a""#),
        "{}",
        strict.message()
    );
    post("?fieldValidation=Maybe", "c").expect(422);
}

#[test]
fn bodies_in_other_encodings() {
    let world = World::new();
    let yaml = "metadata:\n  name: yam\ndata:\n  key: '1'\n";
    let headers = [("Content-Type", "application/yaml")];
    world.send("POST", MAPS, &headers, yaml).expect(201);
    world.send("POST", MAPS, &headers, "a: [").expect(400);
    let bomb = "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\nmetadata: {name: z}\n";
    world.send("POST", MAPS, &headers, bomb);

    let object = config_map("p", "1");
    let bytes = everleaf_api::types::CONFIG_MAP.encode_protobuf(&object);
    let headers = [("Content-Type", "application/vnd.kubernetes.protobuf")];
    let created = world.send("POST", MAPS, &headers, bytes).expect(201);
    assert_eq!(created.json["data"]["key"], "1");
    world
        .send("POST", MAPS, &headers, "not protobuf")
        .expect(400);
    world
        .send("POST", MAPS, &[("Content-Type", "text/plain")], "x")
        .expect(415);
}

#[test]
fn writes_that_change_nothing_are_not_written() {
    let world = World::new();
    let created = world.post(MAPS, &config_map("a", "1")).expect(201);
    let mut watch = world.watch(&format!(
        "{MAPS}?watch=true&resourceVersion={}",
        created.version()
    ));
    let path = format!("{MAPS}/a");
    assert_eq!(
        world.put(&path, &created.json).expect(200).version(),
        created.version()
    );
    assert_eq!(
        world.patch(&path, &json!({})).expect(200).version(),
        created.version()
    );
    assert_eq!(
        world
            .put(&path, &config_map("a", "1"))
            .expect(200)
            .version(),
        created.version()
    );
    assert_eq!(watch.story(), [""; 0]);
}

#[test]
fn what_a_put_must_say() {
    let world = World::new();
    let path = format!("{MAPS}/a");
    let missing = world.put(&path, &config_map("a", "1")).expect(404);
    assert_eq!(missing.json["reason"], "NotFound");
    let created = world.post(MAPS, &config_map("a", "1")).expect(201);
    // Without a version it overwrites whatever is there.
    world.put(&path, &config_map("a", "2")).expect(200);
    world.put(&path, &config_map("b", "2")).expect(400);
    world.put(&path, &json!({"data": {}})).expect(400);
    let mut other = config_map("a", "3");
    other["metadata"]["uid"] = json!("00000000-0000-4000-8000-000000000000");
    let refused = world.put(&path, &other).expect(409);
    assert!(
        refused.message().contains("UID in precondition"),
        "{}",
        refused.message()
    );
    let mut versioned = config_map("a", "3");
    versioned["metadata"]["resourceVersion"] = json!("abc");
    world.put(&path, &versioned).expect(400);

    world.delete(&path).expect(200);
    // Whatever uid it names.
    world.put(&path, &created.json).expect(404);
    // Nothing but a subresource that exists takes a PUT.
    world
        .put(&format!("{path}/status"), &config_map("a", "1"))
        .expect(404);
}

#[test]
fn finalizers_delay_a_delete() {
    let mut world = World::new();
    let mut body = config_map("a", "1");
    body["metadata"]["finalizers"] = json!(["example.com/one"]);
    world.post(MAPS, &body).expect(201);
    let mut watch = world.watch(&format!("{MAPS}?watch=true"));
    assert_eq!(watch.story(), ["ADDED a"]);
    world.pass(10);
    let path = format!("{MAPS}/a");
    let marked = world.delete(&path).expect(200);
    assert_eq!(marked.json["kind"], "ConfigMap");
    assert_eq!(
        marked.json["metadata"]["deletionTimestamp"],
        "2026-01-02T03:04:15Z"
    );
    assert_eq!(marked.json["metadata"]["deletionGracePeriodSeconds"], 0);
    let again = world.delete(&path).expect(200);
    assert_eq!(again.version(), marked.version());
    let more = json!({"metadata": {"finalizers": ["example.com/one", "example.com/two"]}});
    let refused = world.patch(&path, &more).expect(422);
    assert_eq!(
        refused.json["details"]["causes"][0]["reason"],
        "FieldValueForbidden"
    );
    let undo = json!({"metadata": {"deletionTimestamp": "2027-01-01T00:00:00Z"}});
    world.patch(&path, &undo).expect(422);
    let last = world
        .patch(&path, &json!({"metadata": {"finalizers": null}}))
        .expect(200);
    assert_eq!(last.json["metadata"]["name"], "a");
    world.get(&path).expect(404);
    assert_eq!(watch.story(), ["MODIFIED a", "DELETED a"]);
}

#[test]
fn delete_preconditions() {
    let world = World::new();
    let created = world.post(MAPS, &config_map("a", "1")).expect(201);
    let path = format!("{MAPS}/a");
    let delete = |options: Value| world.send("DELETE", &path, &[], options.to_string());
    let wrong = json!({"kind": "DeleteOptions", "apiVersion": "v1",
        "preconditions": {"uid": "00000000-0000-4000-8000-000000000000"}});
    let refused = delete(wrong).expect(409);
    assert!(
        refused.message().starts_with(
            "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition ("
        ),
        "{}",
        refused.message()
    );
    delete(json!({"preconditions": {"resourceVersion": "1"}})).expect(409);
    delete(json!({"kind": "Secret"})).expect(400);
    delete(json!({"propagationPolicy": "Sideways"})).expect(422);
    delete(json!({"propagationPolicy": "Orphan", "orphanDependents": true})).expect(422);
    let right = json!({"propagationPolicy": "Background", "preconditions": {
        "uid": created.json["metadata"]["uid"],
        "resourceVersion": created.json["metadata"]["resourceVersion"]}});
    delete(right).expect(200);
    world.delete(&path).expect(404);
}

#[test]
fn collections_are_deleted_by_selection() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.post(MAPS, &config_map(name, "1")).expect(201);
    }
    let deleted = world
        .delete(&format!("{MAPS}?fieldSelector=metadata.name!%3Db"))
        .expect(200);
    assert_eq!(deleted.json["kind"], "ConfigMapList");
    assert_eq!(deleted.names(), ["a", "c"]);
    assert_eq!(world.get(MAPS).names(), ["b"]);
}

/// All of them are proposed before any is committed: the later ones are overtaken and start over.
#[test]
fn those_who_are_overtaken_start_over_or_hear_of_a_conflict() {
    let world = World::threaded();
    let path = format!("{MAPS}/a");
    let answers = |requests: Vec<(&'static str, Value)>| -> Vec<Answer> {
        let headers = [("Content-Type", "application/merge-patch+json")];
        let send = async |(method, body): (&'static str, Value)| {
            let headers = if method == "PATCH" { &headers[..] } else { &[] };
            let path = if method == "POST" { MAPS } else { &path };
            Answer::of(world.begin(method, path, headers, body.to_string()).await)
        };
        block_on(join_all(requests.into_iter().map(send)))
    };
    let codes = |answers: &[Answer]| {
        let mut codes: Vec<u16> = answers.iter().map(|answer| answer.code).collect();
        codes.sort_unstable();
        codes
    };
    let created = answers(vec![("POST", config_map("a", "1")); 5]);
    assert_eq!(codes(&created), [201, 409, 409, 409, 409]);

    let add = |key: &str| ("PATCH", json!({"data": {key: "1"}}));
    let patched = answers(["b", "c", "d", "e"].map(add).to_vec());
    assert_eq!(codes(&patched), [200, 200, 200, 200]);
    let now = answers(vec![add("key")]).remove(0);
    assert_eq!(
        now.json["data"].as_object().unwrap().len(),
        5,
        "{}",
        now.text
    );

    let mut body = now.json.clone();
    body["data"]["key"] = json!("2");
    let mut other = now.json.clone();
    other["data"]["key"] = json!("3");
    let put = answers(vec![("PUT", body), ("PUT", other)]);
    assert_eq!(codes(&put), [200, 409]);
    // Without a resourceVersion each starts over with what it sent, until it is through.
    let anew = |value: &str| ("PUT", config_map("a", value));
    let put = answers(["4", "5", "6"].map(anew).to_vec());
    assert_eq!(codes(&put), [200, 200, 200]);
    let told: Vec<&Value> = put.iter().map(|answer| &answer.json["data"]).collect();
    let wanted = ["4", "5", "6"].map(|value| config_map("a", value)["data"].clone());
    assert_eq!(told, wanted.iter().collect::<Vec<_>>());
    let deleted = answers(vec![("DELETE", json!({})); 3]);
    assert_eq!(codes(&deleted), [200, 404, 404]);
}
