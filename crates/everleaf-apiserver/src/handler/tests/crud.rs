//! create, get, update, patch, delete of a plain resource.

use serde_json::json;

use super::fixture::{MAPS, World, config_map};

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

    world.pass(60);
    let mut body = read.json.clone();
    body["data"]["key"] = json!("2");
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
