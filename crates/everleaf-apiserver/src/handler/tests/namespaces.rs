//! Namespaces: their phases, and how they and what is in them go.

use super::fixture::{World, config_map};
use futures_util::FutureExt as _;
use serde_json::{Value, json};

#[test]
fn namespaces() {
    let mut world = World::new();
    let created = world
        .post("/api/v1/namespaces", &json!({"metadata": {"name": "team"}}))
        .expect(201);
    assert_eq!(created.json["status"], json!({"phase": "Active"}));
    assert_eq!(created.json["spec"], json!({"finalizers": ["kubernetes"]}));
    assert_eq!(
        created.json["metadata"]["labels"],
        json!({"kubernetes.io/metadata.name": "team"})
    );
    let bad = json!({"metadata": {"name": "not.a.label"}});
    world.post("/api/v1/namespaces", &bad).expect(422);

    let inside = "/api/v1/namespaces/team/configmaps";
    world.post(inside, &config_map("a", "1")).expect(201);
    world
        .post(
            "/api/v1/namespaces/team/secrets",
            &json!({"metadata": {"name": "b"}}),
        )
        .expect(201);
    let missing = world.post("/api/v1/namespaces/none/configmaps", &config_map("a", "1"));
    assert_eq!(
        missing.expect(404).message(),
        "namespaces \"none\" not found"
    );

    world.delete("/api/v1/namespaces/kube-system").expect(403);
    let mut watch = world
        .watch("/api/v1/configmaps?watch=true&resourceVersion=0&fieldSelector=metadata.name%3Da");
    assert_eq!(watch.story(), ["ADDED a"]);
    world.pass(5);
    let deleted = world.delete("/api/v1/namespaces/team").expect(200);
    assert_eq!(deleted.json["status"], "Success");
    assert_eq!(watch.story(), ["DELETED a"]);
    world.get("/api/v1/namespaces/team").expect(404);
    assert_eq!(
        world.get("/api/v1/namespaces/team/secrets").names(),
        [""; 0]
    );
}

#[test]
fn a_namespace_with_something_held_is_not_begun_to_delete() {
    let world = World::new();
    world
        .post("/api/v1/namespaces", &json!({"metadata": {"name": "team"}}))
        .expect(201);
    let held = json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]}});
    world
        .post("/api/v1/namespaces/team/configmaps", &held)
        .expect(201);
    let refused = world.delete("/api/v1/namespaces/team").expect(409);
    assert!(
        refused
            .message()
            .contains("configmaps \"a\" in it has finalizers")
    );
    let namespace = world.get("/api/v1/namespaces/team").expect(200);
    assert_eq!(namespace.json["status"]["phase"], "Active");
}

#[test]
fn a_namespace_that_was_held_takes_its_contents_along() {
    let world = World::new();
    let team = "/api/v1/namespaces/team";
    let held = json!({"metadata": {"name": "team", "finalizers": ["example.com/hold"]}});
    world.post("/api/v1/namespaces", &held).expect(201);
    let inside = "/api/v1/namespaces/team/configmaps";
    let own = json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]}});
    world.post(inside, &own).expect(201);
    let marked = world.delete(team).expect(200);
    assert_eq!(marked.json["status"]["phase"], "Terminating");
    world.post(inside, &config_map("late", "1")).expect(403);
    let free = json!({"metadata": {"finalizers": null}});
    world.patch(team, &free).expect(409);
    world.patch(&format!("{inside}/a"), &free).expect(200);
    world.patch(team, &free).expect(200);
    world.get(team).expect(404);
    assert_eq!(world.get(inside).names(), [""; 0]);
}

#[test]
fn a_namespace_that_somebody_else_has_to_finish_waits_for_them() {
    let world = World::new();
    let team = "/api/v1/namespaces/team";
    let finalize = "/api/v1/namespaces/team/finalize";
    world
        .post("/api/v1/namespaces", &json!({"metadata": {"name": "team"}}))
        .expect(201);
    let with = |finalizers: Value| json!({"metadata": {"name": "team"}, "spec": {"finalizers": finalizers}});
    let both = world.put(
        finalize,
        &with(json!(["kubernetes", "example.com/archive"])),
    );
    let both = both.expect(200);
    assert_eq!(both.json["status"]["phase"], "Active");
    // The other endpoints leave that alone.
    let other = world.put(team, &with(json!([]))).expect(200);
    assert_eq!(other.json["spec"], both.json["spec"]);
    let bad = world.put(finalize, &with(json!(["not one"]))).expect(422);
    assert!(bad.message().contains("spec.finalizers[0]: Invalid value"));
    for method in ["GET", "PATCH", "POST", "DELETE"] {
        world.send(method, finalize, &[], "{}").expect(405);
    }
    let inside = "/api/v1/namespaces/team/configmaps";
    world.post(inside, &config_map("a", "1")).expect(201);
    world.delete(team).expect(200);
    let left = world.get(team).expect(200);
    assert_eq!(
        left.json["spec"]["finalizers"],
        json!(["example.com/archive"])
    );
    assert_eq!(left.json["status"]["phase"], "Terminating");
    assert_eq!(world.get(inside).names(), [""; 0]);
    world.delete(team).expect(200);
    world.get(team).expect(200);
    world.put(finalize, &with(json!([]))).expect(200);
    world.get(team).expect(404);
}

#[test]
fn a_namespace_that_is_held_twice_is_emptied_when_the_first_lets_go() {
    let world = World::new();
    let team = "/api/v1/namespaces/team";
    let held = json!({"metadata": {"name": "team", "finalizers": ["example.com/hold"]},
        "spec": {"finalizers": ["example.com/archive"]}});
    world.post("/api/v1/namespaces", &held).expect(201);
    let inside = "/api/v1/namespaces/team/configmaps";
    world.post(inside, &config_map("a", "1")).expect(201);
    world.delete(team).expect(200);
    assert_eq!(world.get(inside).names(), ["a"]);
    let free = json!({"metadata": {"finalizers": null}});
    let left = world.patch(team, &free).expect(200);
    assert_eq!(
        left.json["spec"]["finalizers"],
        json!(["example.com/archive"])
    );
    assert_eq!(world.get(inside).names(), [""; 0]);
    world.get(team).expect(200);
}

/// As after a timeout or a crash in the middle: Terminating, and nobody deletes it.
#[test]
fn an_interrupted_deletion_of_a_namespace_goes_on() {
    let world = World::new();
    let team = "/api/v1/namespaces/team";
    world
        .post("/api/v1/namespaces", &json!({"metadata": {"name": "team"}}))
        .expect(201);
    let inside = "/api/v1/namespaces/team/configmaps";
    let own = json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]}});
    world.post(inside, &own).expect(201);
    let kept = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    world.patch(team, &kept).expect(200);
    world.delete(team).expect(200);
    let care = || world.server.forget(world.now).now_or_never().unwrap();
    care();
    world.get(team).expect(200);
    // What is left when the process ends before the contents are gone.
    let mut bare = world.get(team).expect(200).json;
    bare["metadata"]["finalizers"] = Value::Null;
    let put = world.server.put("namespaces", bare, world.now);
    put.now_or_never().unwrap().unwrap();
    care();
    assert_eq!(world.get(inside).names(), ["a"], "it has a finalizer");
    let free = json!({"metadata": {"finalizers": null}});
    world.patch(&format!("{inside}/a"), &free).expect(200);
    care();
    world.get(team).expect(404);
    assert_eq!(world.get(inside).names(), [""; 0]);
}
