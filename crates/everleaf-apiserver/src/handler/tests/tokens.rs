//! Tokens of service accounts, from the request to their use.

use super::fixture::{Answer, ISSUER, World};
use serde_json::{Value, json};

const ACCOUNTS: &str = "/api/v1/namespaces/kube-system/serviceaccounts";
const TOKEN_REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const WHO_AM_I: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

fn world() -> World {
    let world = World::new();
    let account = json!({"metadata": {"name": "robot"}});
    world.post(ACCOUNTS, &account).expect(201);
    world
}

fn ask(world: &World, spec: Value) -> Answer {
    let request = json!({"spec": spec});
    world.post(&format!("{ACCOUNTS}/robot/token"), &request)
}

fn token_of(answer: &Answer) -> String {
    answer.json["status"]["token"].as_str().unwrap().to_owned()
}

fn with_token(world: &World, method: &str, path: &str, token: &str, body: &Value) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", authorization.as_str())];
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    world.send(method, path, &headers, body)
}

#[test]
fn a_token_is_made_and_used() {
    let mut world = world();
    let answer = ask(&world, json!({})).expect(201);
    assert_eq!(answer.json["kind"], "TokenRequest");
    assert_eq!(answer.json["apiVersion"], "authentication.k8s.io/v1");
    let account = world.get(&format!("{ACCOUNTS}/robot")).json;
    for member in ["name", "namespace", "uid"] {
        assert_eq!(answer.json["metadata"][member], account["metadata"][member]);
    }
    assert_eq!(
        answer.json["spec"],
        json!({"audiences": [ISSUER], "expirationSeconds": 3600, "boundObjectRef": null})
    );
    assert_eq!(
        answer.json["status"]["expirationTimestamp"],
        "2026-01-02T04:04:05Z"
    );
    let token = token_of(&answer);

    world.be("nobody");
    let me = with_token(&world, "POST", WHO_AM_I, &token, &json!({})).expect(201);
    let user = &me.json["status"]["userInfo"];
    assert_eq!(user["username"], "system:serviceaccount:kube-system:robot");
    assert_eq!(user["uid"], account["metadata"]["uid"]);
    assert_eq!(
        user["groups"],
        json!([
            "system:serviceaccounts",
            "system:serviceaccounts:kube-system",
            "system:authenticated"
        ])
    );
    assert!(
        user["extra"]["authentication.kubernetes.io/credential-id"][0]
            .as_str()
            .unwrap()
            .starts_with("JTI=")
    );
    with_token(&world, "GET", ACCOUNTS, &token, &Value::Null).expect(403);

    world.pass(3600 + 61);
    with_token(&world, "GET", ACCOUNTS, &token, &Value::Null).expect(401);
}

#[test]
fn tokens_are_counted() {
    let world = world();
    ask(&world, json!({})).expect(201);
    let metrics = world.get("/metrics").expect(200).text;
    let made = |line: &&str| {
        [
            "apiserver_request_total{",
            "resource=\"serviceaccounts\"",
            "subresource=\"token\"",
        ]
        .iter()
        .all(|part| line.contains(part))
    };
    assert_eq!(metrics.lines().filter(made).count(), 1, "{metrics}");
}

#[test]
fn a_token_ends_with_its_account() {
    let mut world = world();
    let token = token_of(&ask(&world, json!({})).expect(201));
    world.delete(&format!("{ACCOUNTS}/robot")).expect(200);
    let again = json!({"metadata": {"name": "robot"}});
    world.post(ACCOUNTS, &again).expect(201);
    world.be("nobody");
    with_token(&world, "GET", ACCOUNTS, &token, &Value::Null).expect(401);
}

#[test]
fn a_controller_signs_with_the_token_of_its_account() {
    let mut world = World::new();
    let name = "certificate-controller";
    world
        .post(ACCOUNTS, &json!({"metadata": {"name": name}}))
        .expect(201);
    let answer = world.post(&format!("{ACCOUNTS}/{name}/token"), &json!({}));
    let token = token_of(&answer.expect(201));
    world.be("nobody");
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    with_token(&world, "GET", requests, &token, &Value::Null).expect(200);
    with_token(&world, "GET", "/api/v1/secrets", &token, &Value::Null).expect(403);
}

#[test]
fn what_is_asked_for_is_checked() {
    let world = world();
    for (spec, code, text) in [
        (
            json!({"expirationSeconds": 599}),
            422,
            "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
        ),
        (
            json!({"expirationSeconds": 4_294_967_297_i64}),
            422,
            "larger than 2^32 seconds",
        ),
        (
            json!({"attestations": {"a": ["b"]}}),
            422,
            "spec.attestations",
        ),
        (
            json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p"}}),
            404,
            "pods \"p\" not found",
        ),
        (
            json!({"boundObjectRef": {"apiVersion": "v1", "kind": "ConfigMap", "name": "p"}}),
            400,
            "cannot bind token to object of type /v1, Kind=ConfigMap",
        ),
    ] {
        let refused = ask(&world, spec).expect(code);
        assert!(refused.message().contains(text), "{}", refused.text);
    }
    let path = format!("{ACCOUNTS}/robot/token");
    for metadata in [json!({"name": "other"}), json!({"namespace": "other"})] {
        world
            .post(&path, &json!({ "metadata": metadata }))
            .expect(422);
    }
    let meant = json!({"metadata": {"uid": "another"}});
    let refused = world.post(&path, &meant).expect(409);
    assert!(
        refused
            .message()
            .contains("the UID in the token request (another)")
    );
    world
        .post(&format!("{ACCOUNTS}/nobody/token"), &json!({}))
        .expect(404);
    for method in ["GET", "PUT", "DELETE"] {
        world.send(method, &path, &[], "{}").expect(405);
    }
}

#[test]
fn a_token_is_bound_to_an_object() {
    let mut world = world();
    world
        .post("/api/v1/nodes", &json!({"metadata": {"name": "n1"}}))
        .expect(201);
    let uid = world.get("/api/v1/nodes/n1").json["metadata"]["uid"].clone();
    let bound = |uid: &Value| json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": uid}});
    ask(&world, bound(&json!("another"))).expect(409);
    let token = token_of(&ask(&world, bound(&uid)).expect(201));
    world.be("nobody");
    let me = with_token(&world, "POST", WHO_AM_I, &token, &json!({})).expect(201);
    let extra = &me.json["status"]["userInfo"]["extra"];
    assert_eq!(
        extra["authentication.kubernetes.io/node-name"],
        json!(["n1"])
    );
    world.be("admin").delete("/api/v1/nodes/n1").expect(200);
    world.be("nobody");
    with_token(&world, "POST", WHO_AM_I, &token, &json!({})).expect(401);
}

#[test]
fn reviews_say_to_whom_a_token_is_good() {
    let world = world();
    let review = |token: &str, audiences: Value| {
        let review = json!({"spec": {"token": token, "audiences": audiences}});
        world.post(TOKEN_REVIEWS, &review).expect(201).json["status"].clone()
    };
    let for_vault = token_of(&ask(&world, json!({"audiences": ["vault"]})).expect(201));
    assert_eq!(
        review(&for_vault, json!(null))["authenticated"],
        json!(null)
    );
    assert_eq!(
        review(&for_vault, json!(["x", "vault"]))["audiences"],
        json!(["vault"])
    );
    let for_us = token_of(&ask(&world, json!({})).expect(201));
    assert_eq!(review(&for_us, json!(null))["audiences"], json!([ISSUER]));
    assert_eq!(review(&for_us, json!(["x"]))["authenticated"], json!(null));
    // Other tokens are good here, whoever asks on our behalf.
    assert_eq!(review("t-eve", json!(null))["audiences"], json!([ISSUER]));
    assert_eq!(
        review("t-eve", json!(["x", ISSUER]))["audiences"],
        json!([ISSUER])
    );
    assert_eq!(review("t-eve", json!(["x"]))["authenticated"], json!(null));
}

/// Tokens are for those who may have them: an editor of the namespace, never a node without a pod.
#[test]
fn who_may_have_a_token() {
    let mut world = world();
    let path = format!("{ACCOUNTS}/robot/token");
    world.be("eve").post(&path, &json!({})).expect(403);
    let refused = world.be("node").post(&path, &json!({})).expect(403);
    assert!(
        refused.message().contains("no relationship found"),
        "{}",
        refused.text
    );
    let binding = json!({"metadata": {"name": "e"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings";
    world.be("admin").post(bindings, &binding).expect(201);
    world.be("eve").post(&path, &json!({})).expect(201);
}

#[test]
fn discovery_tells_of_tokens() {
    let world = world();
    let list = world.get("/api/v1").expect(200).json;
    let entries = list["resources"].as_array().unwrap();
    let entry = entries
        .iter()
        .find(|entry| entry["name"] == "serviceaccounts/token")
        .unwrap();
    assert_eq!(
        *entry,
        json!({"name": "serviceaccounts/token", "singularName": "", "namespaced": true,
            "group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest", "verbs": ["create"]})
    );
}

/// Everybody with a service account may read how to judge tokens; strangers may not.
#[test]
fn keys_are_public_among_service_accounts() {
    let mut world = world();
    let token = token_of(&ask(&world, json!({})).expect(201));
    world.be("nobody");
    world.get("/openid/v1/jwks").expect(403);
    let provider = with_token(
        &world,
        "GET",
        "/.well-known/openid-configuration",
        &token,
        &Value::Null,
    );
    let provider = provider.expect(200);
    assert_eq!(provider.json["issuer"], ISSUER);
    assert_eq!(
        provider.json["jwks_uri"],
        "https://127.0.0.1:6443/openid/v1/jwks"
    );
    let keys = with_token(&world, "GET", "/openid/v1/jwks", &token, &Value::Null).expect(200);
    assert_eq!(keys.headers["content-type"], "application/jwk-set+json");
    assert_eq!(keys.headers["cache-control"], "public, max-age=3600");
    assert_eq!(keys.json["keys"][0]["crv"], "P-256");
}
