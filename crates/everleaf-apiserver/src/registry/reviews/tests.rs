//! Questions and answers.

use super::*;
use crate::{
    authn::Config,
    fixture::{self, Shelf},
};
use serde_json::json;

fn ask_in(
    namespace: &str,
    user: &User,
    resource: &str,
    object: Value,
) -> Result<Value, (u16, String)> {
    let authenticator = Authenticator::new(Config {
        token_auth_csv: "letmein,carol,7,staff".to_owned(),
        ..Config::default()
    })
    .expect("sound");
    let input = ReviewInput {
        user,
        namespace,
        authenticator: &authenticator,
        authorizer: &Authorizer::default(),
        objects: &Shelf::installed(),
        now: "2030-01-01T00:00:00Z".parse().expect("a time"),
    };
    handle(resource, object, &input)
        .inspect(|answer| assert!(answer["status"].is_object(), "{answer}"))
        .map_err(|status| (status.code, status.message))
}

fn ask(user: &User, resource: &str, object: Value) -> Result<Value, (u16, String)> {
    ask_in("", user, resource, object)
}

fn status(user: &User, resource: &str, object: Value) -> Value {
    ask(user, resource, object).expect("an answer")["status"].clone()
}

#[test]
fn every_review_is_answered() {
    for review in REVIEWS {
        let answer = ask(&fixture::admin(), review.resource, json!({"spec": {}}));
        assert!(!matches!(answer, Err((404, _))), "{}", review.resource);
    }
    assert_eq!(
        ask(&fixture::admin(), "secrets", json!({}))
            .expect_err("none")
            .0,
        404
    );
}

/// A million faults are not collected: anybody may ask about themselves.
#[test]
fn faults_are_bounded() {
    let requirement =
        |values: usize| json!({"key": "a", "operator": "In", "values": vec!["?"; values]});
    for (requirements, values) in [(1, 5_000), (5_000, 1)] {
        let question = json!({"spec": {"resourceAttributes": {"labelSelector": {
            "requirements": vec![requirement(values); requirements]}}}});
        let user = fixture::user("bob", &[]);
        let review = REVIEWS
            .iter()
            .find(|review| review.resource == "selfsubjectaccessreviews");
        let authenticator = Authenticator::default();
        let input = ReviewInput {
            user: &user,
            namespace: "",
            authenticator: &authenticator,
            authorizer: &Authorizer::default(),
            objects: &Shelf::default(),
            now: Timestamp::UNIX_EPOCH,
        };
        let errors = faults::of_access(review.expect("served"), &question, &input);
        assert!((256..300).contains(&errors.len()), "{}", errors.len());
    }
}

#[test]
fn who_am_i() {
    let mut bob = fixture::user("bob", &["g"]);
    bob.extra.insert("k".to_owned(), vec!["v".to_owned()]);
    let found = status(
        &bob,
        "selfsubjectreviews",
        json!({"metadata": {"creationTimestamp": null}}),
    );
    assert_eq!(
        found,
        json!({"userInfo": {"username": "bob", "groups": ["g", "system:authenticated"], "extra": {"k": ["v"]}}})
    );
}

#[test]
fn metadata_of_a_question() {
    let admin = fixture::admin();
    let path = json!({"nonResourceAttributes": {"path": "/x", "verb": "get"}});
    let named = json!({"metadata": {"name": "x"}, "spec": path});
    let (code, message) =
        ask(&admin, "selfsubjectaccessreviews", named.clone()).expect_err("named");
    assert_eq!(code, 422);
    assert!(
        message.contains("metadata: Invalid value: ") && message.ends_with("must be empty"),
        "{message}"
    );
    let elsewhere = json!({"metadata": {"namespace": "b"}, "spec": path});
    let refused = ask_in("a", &admin, "localsubjectaccessreviews", elsewhere);
    assert_eq!(refused.expect_err("elsewhere").0, 400);
    let myself = ask(&admin, "selfsubjectreviews", named.clone()).expect("an answer");
    assert_eq!(
        myself["metadata"],
        json!({"creationTimestamp": "2030-01-01T00:00:00Z"})
    );
    let token = json!({"metadata": {"name": "x"}, "spec": {"token": "letmein"}});
    let known = ask(&admin, "tokenreviews", token).expect("an answer");
    assert_eq!(known["metadata"], json!({"name": "x"}));
    let rules = json!({"metadata": {"name": "x"}, "spec": {"namespace": "a"}});
    let rules = ask(&admin, "selfsubjectrulesreviews", rules).expect("an answer");
    assert_eq!(
        (&rules["metadata"], &rules["spec"]),
        (&json!({}), &json!({}))
    );
}

#[test]
fn tokens() {
    let admin = fixture::admin();
    let check = |token: &str| ask(&admin, "tokenreviews", json!({"spec": {"token": token}}));
    let carol =
        json!({"username": "carol", "uid": "7", "groups": ["staff", "system:authenticated"]});
    assert_eq!(
        check("letmein").expect("known")["status"],
        json!({"authenticated": true, "user": carol})
    );
    let unknown = check("wrong").expect("an answer");
    assert_eq!(unknown["status"].get("authenticated"), None);
    assert_eq!(unknown["status"]["error"], "invalid bearer token");
    assert_eq!(check("").expect_err("no token").0, 400);
}

/// The approver's question about the requestor of a CSR.
fn approver_asks(user: &str, groups: &[&str], subresource: &str) -> bool {
    let question = json!({"spec": {"user": user, "groups": groups, "extra": {"a": ["b"]}, "resourceAttributes":
        {"verb": "create", "group": "certificates.k8s.io", "resource": "certificatesigningrequests", "subresource": subresource}}});
    let controller = User::service_account("kube-system", "certificate-controller");
    let found = status(&controller, "subjectaccessreviews", question);
    found["allowed"].as_bool().expect("a verdict")
}

#[test]
fn subresources_that_no_endpoint_serves() {
    let node: &[&str] = &["system:nodes", "system:authenticated"];
    let token: &[&str] = &[
        "system:bootstrappers",
        "system:bootstrappers:kubeadm:default-node-token",
    ];
    assert!(approver_asks("system:node:n1", node, "selfnodeclient"));
    assert!(!approver_asks("system:node:n1", node, "nodeclient"));
    assert!(approver_asks(
        "system:bootstrap:abcdef",
        token,
        "nodeclient"
    ));
    assert!(!approver_asks(
        "system:bootstrap:abcdef",
        token,
        "selfnodeclient"
    ));
    assert!(!approver_asks(
        "bob",
        &["system:authenticated"],
        "nodeclient"
    ));
    assert!(approver_asks("root", &["system:masters"], "nodeclient"));
}

#[test]
fn may_i() {
    let node = fixture::node("n1");
    let check = |attributes: Value| {
        status(
            &node,
            "selfsubjectaccessreviews",
            json!({"spec": {"resourceAttributes": attributes}}),
        )
    };
    assert_eq!(
        check(json!({"verb": "get", "resource": "nodes", "name": "n1"})),
        json!({"allowed": true})
    );
    assert_eq!(
        check(json!({"verb": "get", "resource": "nodes", "name": "n2"})),
        json!({"allowed": false, "reason": "node: node 'n1' cannot read 'n2', only its own Node object"})
    );
    assert_eq!(
        check(json!({"verb": "list", "resource": "pods"}))["allowed"],
        false
    );
    for (selector, allowed) in [
        (json!({"rawSelector": "spec.nodeName=n1"}), true),
        (
            json!({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]}),
            true,
        ),
        (
            json!({"requirements": [{"key": "spec.nodeName", "operator": "NotIn", "values": ["n1"]}]}),
            false,
        ),
        (
            json!({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1", "n2"]}]}),
            false,
        ),
    ] {
        let found = check(json!({"verb": "list", "resource": "pods", "fieldSelector": selector}));
        assert_eq!(found["allowed"], allowed, "{selector}");
    }
    let path = json!({"spec": {"nonResourceAttributes": {"path": "/version", "verb": "get"}}});
    assert_eq!(
        status(&node, "selfsubjectaccessreviews", path)["allowed"],
        true
    );
    let nothing = json!({"spec": {"resourceAttributes": {}}});
    let bob = fixture::user("bob", &[]);
    assert_eq!(
        status(&bob, "selfsubjectaccessreviews", nothing)["allowed"],
        false
    );
}

#[test]
fn questions_that_are_none() {
    let admin = fixture::admin();
    let check = |resource: &str, spec: Value| {
        let refused = ask_in("a", &admin, resource, json!({"spec": spec}));
        let (code, message) = refused.expect_err("no question");
        assert_eq!(code, 422, "{message}");
        message
    };
    let get = json!({"verb": "get", "resource": "secrets", "namespace": "a"});
    let path = json!({"verb": "get", "path": "/x"});
    let sar = "subjectaccessreviews";
    let one = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
    let none = format!("spec: Invalid value: null: {one}");
    assert!(check(sar, json!({"user": "bob"})).contains(&none));
    let both = json!({"user": "bob", "resourceAttributes": get, "nonResourceAttributes": path});
    assert!(check(sar, both).contains(one));
    let nobody = "spec.user: Invalid value: \"\": at least one of user or group must be specified";
    assert!(check(sar, json!({"resourceAttributes": get})).contains(nobody));
    assert!(check(sar, json!({})).contains(&format!("[{none}, {nobody}]")));
    assert!(check("selfsubjectaccessreviews", json!({})).contains(&none));
    let local = "localsubjectaccessreviews";
    assert!(
        check(local, json!({"user": "bob", "nonResourceAttributes": path}))
            .contains("spec.nonResourceAttributes")
    );
    let elsewhere = json!({"verb": "get", "resource": "secrets", "namespace": "b"});
    assert!(
        check(
            local,
            json!({"user": "bob", "resourceAttributes": elsewhere})
        )
        .contains("spec.resourceAttributes.namespace")
    );
    let here =
        json!({"metadata": {"namespace": "a"}, "spec": {"user": "bob", "resourceAttributes": get}});
    let answer = ask_in("a", &admin, local, here).expect("a question");
    assert_eq!(answer["metadata"], json!({"namespace": "a"}));
}

/// Asks whether the node n1 may list pods so selected.
fn selected(member: &str, selector: &Value) -> Result<Value, (u16, String)> {
    let attributes = json!({"verb": "list", "resource": "pods", member: selector});
    let question = json!({"spec": {"resourceAttributes": attributes}});
    ask(&fixture::node("n1"), "selfsubjectaccessreviews", question)
}

#[test]
fn selectors_are_judged() {
    let check = |member: &str, selector: Value| {
        let (code, message) = selected(member, &selector).expect_err("no selector");
        assert_eq!(code, 422, "{selector}");
        let at = format!("spec.resourceAttributes.{member}.");
        let (_, faults) = message.split_once(" is invalid: ").expect("faults");
        faults.replace(&at, "")
    };
    let both = json!({"rawSelector": "a", "requirements": [{"key": "", "operator": "Near"}]});
    assert_eq!(
        check("fieldSelector", both),
        r#"[rawSelector: Invalid value: "a": may not specified at the same time as requirements, requirements[0].key: Required value: must be specified]"#
    );
    assert!(check("fieldSelector", json!({})).starts_with("requirements: Required value: when "));
    for (requirement, fault) in [
        (
            json!({"key": "a", "operator": "In"}),
            "requirements[0].values: Required value",
        ),
        (
            json!({"key": "a", "operator": "Exists", "values": ["b"]}),
            "requirements[0].values: Forbidden",
        ),
        (
            json!({"key": "-", "operator": "Exists"}),
            "requirements[0].key: Invalid value",
        ),
        (
            json!({"key": "a", "operator": "In", "values": ["", "-"]}),
            "requirements[0].values[1]: Invalid value",
        ),
    ] {
        let faults = check("labelSelector", json!({"requirements": [requirement]}));
        assert!(faults.starts_with(fault), "{faults}");
    }
}

#[test]
fn what_is_left_out_of_a_selector_is_told() {
    let own = json!({"key": "spec.nodeName", "operator": "In", "values": ["n1"]});
    let near = json!({"key": "a", "operator": "Near", "values": ["b"]});
    for (member, selector, allowed, fault) in [
        ("fieldSelector", json!({"requirements": [own]}), true, None),
        (
            "fieldSelector",
            json!({"requirements": [own, near]}),
            true,
            Some("fieldSelector partially ignored"),
        ),
        (
            "fieldSelector",
            json!({"requirements": [near]}),
            false,
            Some("fieldSelector ignored"),
        ),
        (
            "fieldSelector",
            json!({"rawSelector": "a"}),
            false,
            Some("fieldSelector ignored"),
        ),
        (
            "labelSelector",
            json!({"requirements": [{"key": "a", "operator": "In", "values": ["b", ""]}]}),
            false,
            None,
        ),
        (
            "labelSelector",
            json!({"requirements": [{"key": "a", "operator": "DoesNotExist"}, near]}),
            false,
            Some("labelSelector partially ignored"),
        ),
        (
            "labelSelector",
            json!({"rawSelector": "a in"}),
            false,
            Some("labelSelector ignored"),
        ),
    ] {
        let status = &selected(member, &selector).expect("an answer")["status"];
        assert_eq!(status["allowed"], allowed, "{selector}");
        let told = fault.map(|fault| format!("spec.resourceAttributes.{fault} due to parse error"));
        assert_eq!(
            status.get("evaluationError"),
            told.map(Value::from).as_ref()
        );
    }
}

#[test]
fn what_may_i() {
    let check = |user: &User| {
        status(
            user,
            "selfsubjectrulesreviews",
            json!({"spec": {"namespace": "default"}}),
        )
    };
    let bob = check(&fixture::user("bob", &[]));
    assert_eq!(bob["incomplete"], false);
    let resources = bob["resourceRules"].as_array().expect("rules");
    assert_eq!(resources.len(), 2, "{resources:?}");
    assert!(resources.contains(&json!({"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]})));
    let paths = bob["nonResourceRules"].as_array().expect("rules");
    assert_eq!(paths.len(), 2, "{paths:?}");
    let node = check(&fixture::node("n1"));
    assert_eq!(node["incomplete"], true);
    assert_eq!(
        node["evaluationError"],
        "node authorizer does not support user rule resolution"
    );
    let nowhere = ask(
        &fixture::admin(),
        "selfsubjectrulesreviews",
        json!({"spec": {}}),
    );
    assert_eq!(nowhere.expect_err("no namespace").0, 400);
}
