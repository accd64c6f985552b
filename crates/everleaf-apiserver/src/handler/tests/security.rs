//! What a node and a bootstrap token can and cannot do, through the whole walk.

use super::fixture::{CSRS, MAPS, World, config_map};
use crate::fixture::{certificate_pem, csr, request_pem};
use futures_util::FutureExt as _;
use serde_json::{Value, json};

const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";

fn kubelet_csr(name: &str, node: &str) -> Value {
    let common_name = format!("system:node:{node}");
    let mut object = csr(
        KUBELET_CLIENT,
        &request_pem(&common_name, &["system:nodes"]),
    );
    object["metadata"]["name"] = name.into();
    object
}

/// As admin: a ClusterRole of these rules, bound to eve.
fn let_eve(world: &mut World, rules: &Value) {
    world.be("admin");
    let role = json!({"metadata": {"name": "eve"}, "rules": rules});
    world.post(ROLES, &role).expect(201);
    let binding = json!({"metadata": {"name": "eve"}, "roleRef": {"kind": "ClusterRole", "name": "eve"},
        "subjects": [{"kind": "User", "name": "eve"}]});
    world.post(BINDINGS, &binding).expect(201);
    world.be("eve");
}

#[test]
fn a_node_and_its_requests() {
    let mut world = World::new();
    world.be("node");
    let created = world.post(CSRS, &kubelet_csr("mine", "n1")).expect(201);
    assert_eq!(created.json["spec"]["username"], "system:node:n1");
    let refused = world.post(CSRS, &kubelet_csr("other", "n2")).expect(403);
    assert_eq!(
        refused.message(),
        "certificatesigningrequests.certificates.k8s.io \"other\" is forbidden: can only create a node CSR with CN=system:node:n1"
    );
    world.get(&format!("{CSRS}/mine")).expect(200);
    world.get(CSRS).expect(200);
    drop(world.watch(&format!("{CSRS}?watch=true")));
    let approval = json!({"status": {"conditions": [{"type": "Approved", "status": "True"}]}});
    for subresource in ["approval", "status"] {
        world
            .patch(&format!("{CSRS}/mine/{subresource}"), &approval)
            .expect(403);
    }
    world
        .patch(
            &format!("{CSRS}/mine"),
            &json!({"metadata": {"labels": {"a": "b"}}}),
        )
        .expect(403);
    world.delete(&format!("{CSRS}/mine")).expect(403);
}

#[test]
fn a_node_and_everything_else() {
    let mut world = World::new();
    world.be("node");
    let node = |name: &str| json!({"metadata": {"name": name}});
    world.post("/api/v1/nodes", &node("n1")).expect(201);
    world.post("/api/v1/nodes", &node("n2")).expect(403);
    world.get("/api/v1/nodes/n1").expect(200);
    world.get("/api/v1/nodes/n2").expect(403);
    world.get("/api/v1/nodes").expect(403);
    world
        .get("/api/v1/nodes?fieldSelector=metadata.name%3Dn1")
        .expect(200);
    world
        .get("/api/v1/nodes?fieldSelector=metadata.name!%3Dn1")
        .expect(403);
    world
        .patch("/api/v1/nodes/n1", &json!({"spec": {"taints": null}}))
        .expect(403);
    world
        .patch(
            "/api/v1/nodes/n1",
            &json!({"metadata": {"labels": {"k8s.io/x": "y"}}}),
        )
        .expect(403);
    world
        .patch(
            "/api/v1/nodes/n1",
            &json!({"metadata": {"labels": {"example.com/x": "y"}}}),
        )
        .expect(200);
    world.delete("/api/v1/nodes/n1").expect(403);
    world
        .get("/api/v1/namespaces/kube-system/secrets/x")
        .expect(403);
    world.get("/api/v1/secrets").expect(403);
    world.post(LEASES, &node("n1")).expect(201);
    world.post(LEASES, &node("n2")).expect(403);
    world.put(&format!("{LEASES}/n2"), &node("n2")).expect(403);
    world.get(&format!("{LEASES}/n1")).expect(200);
    world.get(LEASES).expect(403);
    world.post(ROLES, &node("x")).expect(403);
}

#[test]
fn a_bootstrap_token_requests_and_nothing_else() {
    let mut world = World::new();
    world.be("bootstrap");
    world.post(CSRS, &kubelet_csr("join", "n9")).expect(201);
    world.get(&format!("{CSRS}/join")).expect(200);
    world.get(CSRS).expect(200);
    for path in ["/api/v1/nodes", "/api/v1/secrets", MAPS, LEASES, ROLES] {
        world.get(path).expect(403);
    }
    world
        .post("/api/v1/nodes", &json!({"metadata": {"name": "n9"}}))
        .expect(403);
    let approval = json!({"status": {"conditions": [{"type": "Approved", "status": "True"}]}});
    world
        .patch(&format!("{CSRS}/join/approval"), &approval)
        .expect(403);
    world.delete(&format!("{CSRS}/join")).expect(403);
}

#[test]
fn approving_takes_more_than_the_right_to_write_approval() {
    let mut world = World::new();
    world.post(CSRS, &kubelet_csr("mine", "n1")).expect(201);
    let_eve(
        &mut world,
        &json!([{"verbs": ["patch", "update"], "apiGroups": ["certificates.k8s.io"],
        "resources": ["certificatesigningrequests/approval", "certificatesigningrequests/status"]}]),
    );
    let approval = json!({"status": {"conditions": [{"type": "Approved", "status": "True"}]}});
    let path = format!("{CSRS}/mine/approval");
    let refused = world.patch(&path, &approval).expect(403);
    assert!(
        refused.message().ends_with("user not permitted to approve requests with signerName \"kubernetes.io/kube-apiserver-client-kubelet\""),
        "{}",
        refused.message()
    );
    let invalid = json!({"status": {"conditions": [{"type": "Approved", "status": "False"}]}});
    world.patch(&path, &invalid).expect(422);
    use base64::Engine as _;
    let certificate = base64::engine::general_purpose::STANDARD.encode(certificate_pem());
    let issued = json!({"status": {"certificate": certificate}});
    let refused = world
        .patch(&format!("{CSRS}/mine/status"), &issued)
        .expect(403);
    assert!(
        refused.message().contains("not permitted to sign"),
        "{}",
        refused.message()
    );
    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    world
        .patch(&format!("{CSRS}/mine/status"), &labelled)
        .expect(200);
}

#[test]
fn a_put_that_creates_needs_the_right_to_create() {
    let mut world = World::new();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let rule = |verbs: Value| json!([{"verbs": verbs, "apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}]);
    let_eve(&mut world, &rule(json!(["update"])));
    let lease = json!({"metadata": {"name": "x"}});
    let refused = world.put(&format!("{leases}/x"), &lease).expect(403);
    assert!(
        refused
            .message()
            .contains("cannot create resource \"leases\""),
        "{}",
        refused.message()
    );
    world.be("admin");
    let role = json!({"metadata": {"name": "eve"}, "rules": rule(json!(["update", "create"]))});
    world.put(&format!("{ROLES}/eve"), &role).expect(200);
    world
        .be("eve")
        .put(&format!("{leases}/x"), &lease)
        .expect(201);
}

#[test]
fn rights_are_not_handed_on_beyond_ones_own() {
    let mut world = World::new();
    let_eve(
        &mut world,
        &json!([
            {"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles", "clusterrolebindings"], "resourceNames": ["mine"]},
            {"verbs": ["create"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles", "clusterrolebindings"]},
            {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]},
        ]),
    );
    let role = |verb: &str| json!({"metadata": {"name": "mine2"}, "rules": [{"verbs": [verb], "apiGroups": [""], "resources": ["configmaps"]}]});
    world.post(ROLES, &role("list")).expect(403);
    world.post(ROLES, &role("get")).expect(201);
    let binding = |role: &str| {
        json!({"metadata": {"name": "mine2"}, "roleRef": {"kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": "eve"}]})
    };
    world.post(BINDINGS, &binding("cluster-admin")).expect(403);
    world.post(BINDINGS, &binding("mine2")).expect(201);
    world.be("admin");
    let moved = world
        .put(&format!("{BINDINGS}/mine2"), &binding("cluster-admin"))
        .expect(422);
    assert!(
        moved.message().contains("cannot change roleRef"),
        "{}",
        moved.message()
    );
}

#[test]
fn hostile_names_and_headers() {
    let world = World::new();
    let as_nul = [
        ("Impersonate-User", "bob"),
        ("Impersonate-Extra-a%00b", "x"),
    ];
    world.send("GET", MAPS, &as_nul, "").expect(403);
    let group_alone = [("Impersonate-Group", "system:masters")];
    world.send("GET", MAPS, &group_alone, "").expect(400);
    let twice = [("Impersonate-User", "eve"), ("Impersonate-User", "admin")];
    world.send("GET", MAPS, &twice, "").expect(400);
    let mut csr = kubelet_csr("n\u{0}l", "n1");
    world.post(CSRS, &csr).expect(201);
    world.get(&format!("{CSRS}/n%00l")).expect(200);
    csr["metadata"]["name"] = "a/b".into();
    world.post(CSRS, &csr).expect(422);
    world.post(MAPS, &config_map("n\u{0}l", "x")).expect(422);
}

/// Who may see one object by its name does not see another by a selector beside it.
#[test]
fn a_selector_does_not_reach_past_the_name_in_the_path() {
    let mut world = World::new();
    for name in ["n1", "n2"] {
        let node = json!({"metadata": {"name": name}});
        world.post("/api/v1/nodes", &node).expect(201);
    }
    world.be("node");
    for query in ["watch=true", "watch=true&fieldSelector=metadata.name%3Dn2"] {
        // A name makes it a get, whatever else is asked.
        let own = world.get(&format!("/api/v1/nodes/n1?{query}")).expect(200);
        assert_eq!(own.json["metadata"]["name"], "n1");
    }
    let path = "/api/v1/watch/nodes/n1";
    for query in ["", "?fieldSelector=metadata.name%3Dn1"] {
        let mut watch = world.watch(&format!("{path}{query}"));
        assert_eq!(watch.story(), ["ADDED n1"]);
    }
    for selector in ["metadata.name%3Dn2", "spec.unschedulable%3Dfalse"] {
        world
            .get(&format!("{path}?fieldSelector={selector}"))
            .expect(400);
    }
}

/// A role reference cannot be changed, only deleted and made anew; so does the server with its own.
#[test]
fn a_binding_of_the_server_that_was_replaced_is_put_back_as_it_was() {
    let world = World::new();
    let path = format!("{BINDINGS}/cluster-admin");
    world.delete(&path).expect(200);
    let devs = json!({"metadata": {"name": "cluster-admin"},
        "roleRef": {"kind": "ClusterRole", "name": "system:basic-user"},
        "subjects": [{"kind": "Group", "name": "devs"}]});
    world.post(BINDINGS, &devs).expect(201);
    let install = world.server.install(world.now);
    install.now_or_never().expect("one poll").expect("put back");
    let binding = world.get(&path).expect(200).json;
    assert_eq!(binding["roleRef"]["name"], "cluster-admin");
    let subjects = &binding["subjects"];
    assert_eq!(subjects.as_array().map(Vec::len), Some(1), "{subjects}");
    assert_eq!(subjects[0]["name"], "system:masters");
}
