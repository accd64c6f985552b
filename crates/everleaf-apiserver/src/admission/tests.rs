//! What upstream's tests ask of `plugin/pkg/admission/certificates` and
//! `plugin/pkg/admission/noderestriction`, and what nodes may write.

use super::*;
use crate::fixture::{self, Shelf, cluster_role, cluster_role_binding, csr, node, request_pem};
use everleaf_pki::{RequestError, VerifiedRequest};
use serde_json::json;

const CSRS: &str = "certificatesigningrequests";
const CERTIFICATES: &str = "certificates.k8s.io";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

fn attributes<'a>(
    operation: Operation,
    group: &'static str,
    resource: &'static str,
    name: &'a str,
    user: &'a User,
) -> Attributes<'a> {
    Attributes {
        operation,
        resource,
        group,
        subresource: "",
        namespace: "",
        name,
        user,
        old: None,
        request: None,
    }
}

/// With the rights of an authorizer that has none.
fn mutate(
    attributes: &Attributes<'_>,
    object: Option<&mut Value>,
    objects: &dyn Objects,
) -> Result<(), Status> {
    super::mutate(attributes, object, objects, &Authorizer::default())
}

fn outcome(verdict: Result<(), Status>) -> String {
    match verdict {
        Ok(()) => "ok".to_owned(),
        Err(status) => format!("{} {}", status.code, status.message),
    }
}

/// May bob, who holds `verb` on these signers, write `subresource`, turning the stored object into
/// the edited one?
fn signer_check(
    verb: &str,
    names: Value,
    subresource: &str,
    edit: impl FnOnce(&mut Value),
) -> String {
    let shelf = Shelf::default();
    shelf.put("clusterroles", cluster_role("r", json!([{"verbs": [verb], "apiGroups": [CERTIFICATES], "resources": ["signers"], "resourceNames": names}])));
    let bob = json!([{"kind": "User", "name": "bob"}]);
    shelf.put("clusterrolebindings", cluster_role_binding("b", "r", bob));
    let user = fixture::user("bob", &[]);
    let old = csr("example.com/something", "");
    let mut new = old.clone();
    edit(&mut new);
    let attributes = Attributes {
        subresource,
        old: Some(&old),
        ..attributes(Operation::Update, CERTIFICATES, CSRS, "csr1", &user)
    };
    let authorizer = Authorizer::default();
    outcome(validate(&attributes, Some(&new), &shelf, &authorizer))
}

fn approve(csr: &mut Value) {
    csr["status"]["conditions"] = json!([{"type": "Approved", "status": "True"}]);
}

fn issue(csr: &mut Value) {
    csr["status"]["certificate"] = "eA==".into();
}

const NOT_APPROVE: &str = r#"403 certificatesigningrequests.certificates.k8s.io "csr1" is forbidden: user not permitted to approve requests with signerName "example.com/something""#;
const NOT_SIGN: &str = r#"403 certificatesigningrequests.certificates.k8s.io "csr1" is forbidden: user not permitted to sign requests with signerName "example.com/something""#;

#[test]
fn who_may_approve() {
    let check = |names: Value| signer_check("approve", names, "approval", approve);
    assert_eq!(check(json!(["example.com/something"])), "ok", "52, 111");
    assert_eq!(check(json!(["example.com/*"])), "ok", "53, 111");
    assert_eq!(check(json!([])), "ok", "every name");
    for names in [
        json!(["example.com/other"]),
        json!(["other.com/*"]),
        json!(["*"]),
        json!(["*/something"]),
        json!(["example.com/some*"]),
        json!(["example.com"]),
    ] {
        assert_eq!(check(names.clone()), NOT_APPROVE, "51, 54, 112 {names}");
    }
    let nothing = |_: &mut Value| ();
    assert_eq!(
        signer_check("approve", json!(["x"]), "approval", nothing),
        NOT_APPROVE,
        "even when nothing changes"
    );
    let swap = |csr: &mut Value| csr["spec"]["signerName"] = "mine.com/x".into();
    assert_eq!(
        signer_check("approve", json!(["mine.com/x"]), "approval", swap),
        NOT_APPROVE,
        "55"
    );
    assert_eq!(
        signer_check("sign", json!(["example.com/*"]), "approval", approve),
        NOT_APPROVE,
        "signing is not approving"
    );
}

#[test]
fn who_may_sign() {
    let check = |names: Value, edit: fn(&mut Value)| signer_check("sign", names, "status", edit);
    let none = || json!(["x"]);
    assert_eq!(check(none(), |_| ()), "ok", "56");
    let metadata: fn(&mut Value) = |csr| csr["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(check(none(), metadata), "ok", "56");
    let empty: fn(&mut Value) = |csr| csr["status"]["conditions"] = json!([]);
    assert_eq!(check(none(), empty), "ok", "nothing and empty are the same");
    assert_eq!(check(none(), issue), NOT_SIGN, "57, 114");
    assert_eq!(check(none(), approve), NOT_SIGN, "57");
    assert_eq!(
        check(json!(["example.com/something"]), issue),
        "ok",
        "58, 113"
    );
    assert_eq!(check(json!(["example.com/*"]), issue), "ok", "58, 113");
    let swap: fn(&mut Value) = |csr| {
        csr["spec"]["signerName"] = "mine.com/x".into();
        issue(csr);
    };
    assert_eq!(check(json!(["mine.com/x"]), swap), NOT_SIGN, "59");
    assert_eq!(
        signer_check("approve", json!(["example.com/*"]), "status", issue),
        NOT_SIGN
    );
    assert_eq!(
        signer_check("approve", none(), "", |_| ()),
        "ok",
        "the main endpoint asks nothing"
    );
}

/// Creating a request for this subject from this signer, through mutation and validation.
fn create_csr(user: &User, signer: &str, common_name: &str, organizations: &[&str]) -> String {
    let pem = request_pem(common_name, organizations);
    let request = VerifiedRequest::from_pem(pem.as_bytes());
    create_with(user, signer, &request)
}

type Request = Result<VerifiedRequest, RequestError>;

const UNREADABLE: &Request = &Err(RequestError::NotPem);

fn create_with(user: &User, signer: &str, request: &Request) -> String {
    let mut object = csr(signer, "");
    let attributes = Attributes {
        request: Some(request),
        ..attributes(Operation::Create, CERTIFICATES, CSRS, "csr1", user)
    };
    let shelf = Shelf::default();
    let verdict = mutate(&attributes, Some(&mut object), &shelf)
        .and_then(|()| validate(&attributes, Some(&object), &shelf, &Authorizer::default()));
    outcome(verdict)
}

#[test]
fn nobody_asks_for_masters() {
    let bob = fixture::user("bob", &[]);
    let refused = r#"403 certificatesigningrequests.certificates.k8s.io "csr1" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"#;
    assert_eq!(
        create_csr(&bob, CLIENT, "x", &["system:masters"]),
        refused,
        "64, 115"
    );
    assert_eq!(
        create_csr(&bob, CLIENT, "x", &["a", "system:masters"]),
        refused,
        "64"
    );
    assert_eq!(
        create_csr(&fixture::admin(), CLIENT, "x", &["system:masters"]),
        refused
    );
    assert_eq!(
        create_csr(&bob, CLIENT, "x", &["system:master", "b"]),
        "ok",
        "63, 117"
    );
    assert_eq!(
        create_csr(&bob, "example.com/x", "x", &["system:masters"]),
        "ok",
        "61"
    );
    assert!(
        create_with(&bob, CLIENT, UNREADABLE).starts_with("403 "),
        "62"
    );
    assert_eq!(
        create_with(&bob, "example.com/x", UNREADABLE),
        "ok",
        "61: not this plugin's business"
    );
    for (resource, subresource) in [("secrets", ""), (CSRS, "approval")] {
        let mut other = attributes(Operation::Create, CERTIFICATES, resource, "x", &bob);
        other.subresource = subresource;
        let verdict = csr::subject_restriction(&other, &csr(CLIENT, ""));
        assert_eq!(outcome(verdict), "ok", "60 {resource}/{subresource}");
    }
}

#[test]
fn a_node_asks_for_itself_only() {
    let n1 = node("n1");
    for signer in [KUBELET_CLIENT, KUBELET_SERVING] {
        let check = |common_name: &str| create_csr(&n1, signer, common_name, &["system:nodes"]);
        assert_eq!(check("system:node:n1"), "ok", "65 {signer}");
        for other in [
            "system:node:n2",
            "n1",
            "system:node:",
            "system:node:n1\0",
            "system:node:N1",
            "",
        ] {
            assert_eq!(
                check(other),
                r#"403 certificatesigningrequests.certificates.k8s.io "csr1" is forbidden: can only create a node CSR with CN=system:node:n1"#,
                "65, 123 {signer} {other}"
            );
        }
        assert_eq!(
            create_with(&n1, signer, UNREADABLE),
            r#"403 certificatesigningrequests.certificates.k8s.io "csr1" is forbidden: unable to parse csr: the request is not PEM: expected a `CERTIFICATE REQUEST` block"#
        );
    }
    assert_eq!(
        create_csr(&n1, CLIENT, "anybody", &[]),
        "ok",
        "other signers are not checked"
    );
    let nameless = fixture::user("system:node:", &["system:nodes"]);
    assert!(create_csr(&nameless, CLIENT, "x", &[]).contains("could not determine node from user"));
    let token = fixture::user("system:bootstrap:abcdef", &["system:bootstrappers"]);
    assert_eq!(
        create_csr(&token, KUBELET_CLIENT, "system:node:n2", &["system:nodes"]),
        "ok"
    );
}

fn write_node(operation: Operation, name: &str, old: Option<Value>, new: Option<Value>) -> String {
    let n1 = node("n1");
    let attributes = Attributes {
        old: old.as_ref(),
        ..attributes(operation, "", "nodes", name, &n1)
    };
    let mut new = new;
    outcome(mutate(&attributes, new.as_mut(), &Shelf::default()))
}

fn node_object(name: &str, edit: impl FnOnce(&mut Value)) -> Value {
    let mut object = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "example.com/x": "y"}}, "spec": {}});
    edit(&mut object);
    object
}

#[test]
fn a_node_writes_its_own_node_only() {
    let create = |path_name: &str, object: Value| {
        write_node(Operation::Create, path_name, None, Some(object))
    };
    assert_eq!(create("n1", node_object("n1", |_| ())), "ok");
    assert_eq!(
        create("", node_object("n1", |_| ())),
        "ok",
        "the name is in the body"
    );
    assert_eq!(
        create("n2", node_object("n2", |_| ())),
        r#"403 nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#
    );
    assert!(create("n1", node_object("n2", |_| ())).starts_with("403 "));
    assert!(create("", json!({"metadata": {"generateName": "n"}})).starts_with("403 "));
    let forbidden =
        |o: &mut Value| o["metadata"]["labels"]["node-role.kubernetes.io/x"] = "".into();
    assert_eq!(
        create("n1", node_object("n1", forbidden)),
        r#"403 nodes "n1" is forbidden: node "n1" is not allowed to set the following labels: node-role.kubernetes.io/x"#
    );
    let config = |o: &mut Value| o["spec"]["configSource"] = json!({"configMap": {}});
    assert!(create("n1", node_object("n1", config)).contains("configSource"));
    let delete = |name: &str| {
        write_node(
            Operation::Delete,
            name,
            Some(node_object(name, |_| ())),
            None,
        )
    };
    assert_eq!(delete("n1"), "ok", "the authorizer decides about its own");
    assert!(delete("n2").starts_with("403 "));
    assert!(delete("").starts_with("403 "));
}

#[test]
fn a_node_keeps_taints_and_labels() {
    let stored = || {
        node_object("n1", |o| {
            o["spec"]["taints"] = json!([{"key": "a", "effect": "NoSchedule"}]);
            o["metadata"]["labels"]["node-restriction.kubernetes.io/a"] = "1".into();
        })
    };
    let check = |edit: fn(&mut Value)| {
        let mut new = stored();
        edit(&mut new);
        let text = write_node(Operation::Update, "n1", Some(stored()), Some(new));
        text.rsplit("is forbidden: ")
            .next()
            .expect("text")
            .to_owned()
    };
    assert_eq!(check(|_| ()), "ok");
    assert_eq!(
        check(|o| o["metadata"]["labels"]["example.com/x"] = "z".into()),
        "ok"
    );
    assert_eq!(check(|o| o["spec"]["unschedulable"] = true.into()), "ok");
    assert_eq!(
        check(|o| o["spec"]["taints"] = json!([])),
        r#"node "n1" is not allowed to modify taints"#
    );
    let restricted = "is not allowed to modify labels: node-restriction.kubernetes.io/a";
    assert_eq!(
        check(|o| o["metadata"]["labels"]["node-restriction.kubernetes.io/a"] = "2".into()),
        restricted
    );
    assert_eq!(
        check(|o| o["metadata"]["labels"] = json!({})),
        restricted,
        "nor remove it"
    );
    assert_eq!(
        check(|o| {
            o["metadata"]["labels"]["k8s.io/z"] = "1".into();
            o["metadata"]["labels"]["kubernetes.io/b"] = "1".into();
        }),
        "is not allowed to modify labels: k8s.io/z, kubernetes.io/b"
    );
    assert!(
        check(|o| o["spec"]["configSource"] = json!({"configMap": {}})).contains("configSource")
    );
}

#[test]
fn a_node_writes_its_own_lease_only() {
    let n1 = node("n1");
    let check = |operation: Operation, namespace: &str, path_name: &str, name: &str| {
        let shelf = Shelf::installed();
        let mut object = json!({"metadata": {"name": name}});
        let attributes = Attributes {
            namespace,
            ..attributes(operation, "coordination.k8s.io", "leases", path_name, &n1)
        };
        outcome(mutate(&attributes, Some(&mut object), &shelf))
    };
    use Operation::{Create, Delete, Update};
    assert_eq!(check(Create, "kube-node-lease", "n1", "n1"), "ok");
    assert_eq!(check(Update, "kube-node-lease", "n1", "n1"), "ok");
    assert_eq!(check(Delete, "kube-node-lease", "n1", "n1"), "ok");
    assert!(
        check(Create, "kube-node-lease", "n2", "n2").contains("same name as the requesting node")
    );
    assert!(check(Create, "kube-node-lease", "", "").contains("same name as the requesting node"));
    assert!(
        check(Update, "kube-node-lease", "n2", "n1").contains("same name as the requesting node")
    );
    assert!(
        check(Create, "kube-system", "n1", "n1")
            .contains(r#"leases in the "kube-node-lease" system namespace"#)
    );
}

#[test]
fn a_node_is_born_not_ready() {
    let admin = fixture::admin();
    let check = |mut object: Value, operation: Operation| {
        let attributes = attributes(operation, "", "nodes", "n1", &admin);
        mutate(&attributes, Some(&mut object), &Shelf::default()).expect("admin may");
        object["spec"]["taints"].clone()
    };
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    let mine = json!({"key": "mine", "effect": "NoExecute"});
    use Operation::{Create, Update};
    assert_eq!(check(json!({}), Create), json!([taint]));
    assert_eq!(check(json!({"spec": null}), Create), json!([taint]));
    assert_eq!(
        check(json!({"spec": {"taints": [mine]}}), Create),
        json!([mine, taint])
    );
    assert_eq!(
        check(json!({"spec": {"taints": [taint]}}), Create),
        json!([taint])
    );
    assert_eq!(check(json!({"spec": {}}), Update), Value::Null);
}

#[test]
fn namespaces_must_be_there() {
    let shelf = Shelf::installed();
    let admin = fixture::admin();
    let terminating = |edit: &dyn Fn(&mut Value)| {
        let mut namespace = json!({"metadata": {"name": "going"}});
        edit(&mut namespace);
        shelf.put("namespaces", namespace);
    };
    let write = |operation: Operation, namespace: &str| {
        let attributes = Attributes {
            namespace,
            ..attributes(operation, "", "secrets", "x", &admin)
        };
        mutate(&attributes, Some(&mut json!({})), &shelf)
    };
    assert_eq!(outcome(write(Operation::Create, "default")), "ok");
    assert_eq!(
        outcome(write(Operation::Create, "nowhere")),
        r#"404 namespaces "nowhere" not found"#
    );
    for edit in [
        (&|n: &mut Value| n["status"]["phase"] = "Terminating".into()) as &dyn Fn(&mut Value),
        &|n| n["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z".into(),
    ] {
        terminating(edit);
        let status = write(Operation::Create, "going").expect_err("terminating");
        assert_eq!(status.code, 403);
        let details = status.details.expect("details");
        assert_eq!(details["causes"][0]["reason"], "NamespaceTerminating");
        assert_eq!(outcome(write(Operation::Update, "going")), "ok");
        assert_eq!(outcome(write(Operation::Delete, "going")), "ok");
    }
    for (name, expected) in [
        ("default", 403),
        ("kube-system", 403),
        ("kube-public", 403),
        ("kube-node-lease", 403),
        ("mine", 200),
    ] {
        let attributes = attributes(Operation::Delete, "", "namespaces", name, &admin);
        let code = mutate(&attributes, None, &shelf).map_or_else(|status| status.code, |()| 200);
        assert_eq!(code, expected, "{name}");
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";

/// Writes an RBAC object as `dev`, who holds get secrets, may write RBAC, `escalate` role "e" and
/// `bind` role "b".
fn write_rbac(resource: &'static str, name: &str, old: Option<Value>, new: &Value) -> String {
    let shelf = Shelf::installed();
    shelf.put("clusterroles", cluster_role("dev", json!([
        {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]},
        {"verbs": ["escalate"], "apiGroups": [RBAC], "resources": ["clusterroles"], "resourceNames": ["e"]},
        {"verbs": ["bind"], "apiGroups": [RBAC], "resources": ["clusterroles"], "resourceNames": ["b"]},
    ])));
    let dev = json!([{"kind": "User", "name": "dev"}]);
    shelf.put(
        "clusterrolebindings",
        cluster_role_binding("dev", "dev", dev),
    );
    shelf.put(
        "clusterroles",
        cluster_role(
            "b",
            json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]),
        ),
    );
    shelf.put(
        "clusterroles",
        cluster_role(
            "small",
            json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]),
        ),
    );
    let user = fixture::user("dev", &["team"]);
    let operation = if old.is_some() {
        Operation::Update
    } else {
        Operation::Create
    };
    let attributes = Attributes {
        old: old.as_ref(),
        ..attributes(operation, RBAC, resource, name, &user)
    };
    outcome(validate(
        &attributes,
        Some(new),
        &shelf,
        &Authorizer::default(),
    ))
}

#[test]
fn nobody_grants_what_they_do_not_hold() {
    let role = |verb: &str| {
        cluster_role(
            "r",
            json!([{"verbs": [verb], "apiGroups": [""], "resources": ["secrets"]}]),
        )
    };
    let create = |name: &str, object: &Value| write_rbac("clusterroles", name, None, object);
    assert_eq!(create("r", &role("get")), "ok");
    assert_eq!(
        create("r", &role("list")),
        "403 clusterroles.rbac.authorization.k8s.io \"r\" is forbidden: user \"dev\" (groups=[\"team\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"list\"]}"
    );
    let mut larger = role("list");
    larger["rules"][0]["verbs"] = json!(["list", "get", "watch"]);
    assert!(
        create("r", &larger).ends_with("Verbs:[\"list\" \"watch\"]}"),
        "one line for one resource"
    );
    let escalate = |old: Option<Value>| write_rbac("clusterroles", "e", old, &role("list"));
    assert_eq!(escalate(Some(role("get"))), "ok");
    assert!(
        escalate(None).starts_with("403 "),
        "what is created has no name yet"
    );
    let mut gathering = role("get");
    gathering["aggregationRule"] = json!({"clusterRoleSelectors": [{}]});
    assert!(
        create("r", &gathering).contains("cluster-admin privileges to use the aggregationRule")
    );
    let update = |old: &Value, new: &Value| write_rbac("clusterroles", "r", Some(old.clone()), new);
    assert!(update(&role("get"), &role("*")).starts_with("403 "));
    let mut labelled = role("*");
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert!(
        update(&role("*"), &labelled).starts_with("403 "),
        "rules are as they were, and asked for all the same"
    );
    let mut let_go = role("*");
    let_go["metadata"]["finalizers"] = json!(["a/b"]);
    let_go["metadata"]["ownerReferences"] = json!([]);
    assert_eq!(update(&role("*"), &let_go), "ok");
    let mut no_more = role("get");
    no_more["aggregationRule"] = Value::Null;
    assert!(update(&gathering, &no_more).contains("cluster-admin privileges"));
}

#[test]
fn nobody_binds_what_they_do_not_hold() {
    let binding =
        |role: &str| cluster_role_binding("x", role, json!([{"kind": "User", "name": "eve"}]));
    let create = |role: &str| write_rbac("clusterrolebindings", "x", None, &binding(role));
    assert_eq!(create("small"), "ok", "all of it is held");
    assert_eq!(create("b"), "ok", "bind");
    assert!(create("cluster-admin").starts_with("403 "));
    assert_eq!(
        create("gone"),
        r#"404 clusterrolebindings.rbac.authorization.k8s.io "gone" not found"#
    );
    let old = binding("cluster-admin");
    let update = |new: &Value| write_rbac("clusterrolebindings", "x", Some(old.clone()), new);
    assert_eq!(update(&old), "ok", "nothing changes");
    let mut more = old.clone();
    more["subjects"] = json!([{"kind": "User", "name": "dev"}]);
    assert!(update(&more).starts_with("403 "));
}

#[test]
fn masters_grant_anything() {
    let admin = fixture::admin();
    let attributes = attributes(Operation::Create, RBAC, "clusterroles", "r", &admin);
    let role = cluster_role(
        "r",
        json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]),
    );
    let verdict = validate(
        &attributes,
        Some(&role),
        &Shelf::default(),
        &Authorizer::default(),
    );
    assert_eq!(outcome(verdict), "ok");
}
