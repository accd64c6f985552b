//! The authorization table: identities × requests on a freshly installed server, and the rules
//! behind it.

use super::*;
use crate::fixture::{self, Shelf, cluster_role, cluster_role_binding};
use serde_json::json;
use std::sync::atomic::Ordering;

/// One request as `verb group/resource[/subresource] [namespace/]name` or `verb /path`.
fn ask(shelf: &Shelf, user: &User, request: &str) -> Decision {
    let selector;
    let mut words = request.split(' ');
    let verb = words.next().expect("a verb");
    let what = words.next().expect("a resource or path");
    let mut attributes = Attributes {
        verb,
        ..Attributes::of(user)
    };
    if what.starts_with('/') {
        attributes.path = what;
        return Authorizer::default().authorize(&attributes, shelf);
    }
    let (group, resource) = what.split_once('/').expect("group/resource");
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    attributes.group = if group == "core" { "" } else { group };
    attributes.resource = resource;
    attributes.subresource = subresource;
    for word in words {
        if let Some(text) = word.strip_prefix('?') {
            selector = FieldSelector::parse(text).expect("a field selector");
            attributes.field_selector = Some(&selector);
            break;
        }
        let (namespace, name) = word.split_once(':').unwrap_or(("", word));
        attributes.namespace = namespace;
        attributes.name = name;
    }
    Authorizer::default().authorize(&attributes, shelf)
}

const CSRS: &str = "certificates.k8s.io/certificatesigningrequests";

/// Who may make a request on a fresh server, and the request. Columns: admin, node, bootstrap
/// token, certificate-controller, controller-manager, bob, anonymous.
const FRESH: &[&str] = &[
    "yyy---- create certificates.k8s.io/certificatesigningrequests",
    "yyyyy-- get certificates.k8s.io/certificatesigningrequests x",
    "yyyyy-- list certificates.k8s.io/certificatesigningrequests",
    "yyyyy-- watch certificates.k8s.io/certificatesigningrequests",
    "y--yy-- delete certificates.k8s.io/certificatesigningrequests x",
    "y--yy-- update certificates.k8s.io/certificatesigningrequests/approval x",
    "y------ patch certificates.k8s.io/certificatesigningrequests/approval x",
    "y--yy-- update certificates.k8s.io/certificatesigningrequests/status x",
    "y------ patch certificates.k8s.io/certificatesigningrequests/status x",
    "y------ update certificates.k8s.io/certificatesigningrequests x",
    "y------ deletecollection certificates.k8s.io/certificatesigningrequests",
    "y-y---- create certificates.k8s.io/certificatesigningrequests/nodeclient",
    "yy----- create certificates.k8s.io/certificatesigningrequests/selfnodeclient",
    "y--yy-- approve certificates.k8s.io/signers kubernetes.io/kube-apiserver-client-kubelet",
    "y------ approve certificates.k8s.io/signers kubernetes.io/kube-apiserver-client",
    "y------ approve certificates.k8s.io/signers kubernetes.io/*",
    "y--yy-- sign certificates.k8s.io/signers kubernetes.io/kubelet-serving",
    "y------ sign certificates.k8s.io/signers example.com/x",
    "yy----- create core/nodes",
    "yy----- get core/nodes n1",
    "y------ get core/nodes n2",
    "y---y-- list core/nodes",
    "yy--y-- watch core/nodes n1",
    "y------ delete core/nodes n1",
    "yy----- patch core/nodes/status n1",
    "y---y-- get core/secrets kube-system:bootstrap-token-abcdef",
    "y---y-- list core/secrets",
    "y---y-y get core/configmaps kube-public:cluster-info",
    "y---y-- get core/configmaps kube-system:extension-apiserver-authentication",
    "yy----- get coordination.k8s.io/leases kube-node-lease:n1",
    "y------ get coordination.k8s.io/leases kube-node-lease:n2",
    "yy--y-- create coordination.k8s.io/leases kube-node-lease:",
    "y---y-- list coordination.k8s.io/leases kube-node-lease:",
    "y---y-- update coordination.k8s.io/leases kube-system:kube-controller-manager",
    "yy-yy-- create core/events default:",
    "yy-yy-- create authorization.k8s.io/subjectaccessreviews",
    "yyyyyy- create authorization.k8s.io/selfsubjectaccessreviews",
    "yyyyyy- create authentication.k8s.io/selfsubjectreviews",
    "yy--y-- create authentication.k8s.io/tokenreviews",
    "y------ create rbac.authorization.k8s.io/clusterrolebindings",
    "y------ impersonate core/users bob",
    "yyyyyyy get /healthz",
    "yyyyyyy get /version",
    "yyyyyy- get /apis/certificates.k8s.io/v1",
    "yyyyyy- get /openapi/v3",
    "y------ get /metrics",
    "y------ post /healthz",
];

#[test]
fn who_may_do_what_on_a_fresh_server() {
    let shelf = Shelf::installed();
    let token = fixture::user(
        "system:bootstrap:abcdef",
        &[
            "system:bootstrappers",
            "system:bootstrappers:kubeadm:default-node-token",
        ],
    );
    let controller = User::service_account("kube-system", "certificate-controller");
    let manager = fixture::user("system:kube-controller-manager", &[]);
    let bob = fixture::user("bob", &["dev"]);
    let node = fixture::node("n1");
    let stranger = User::anonymous();
    let users = [
        &fixture::admin(),
        &node,
        &token,
        &controller,
        &manager,
        &bob,
        &stranger,
    ];
    let mut wrong = Vec::new();
    for row in FRESH {
        let (expected, request) = row.split_once(' ').expect("two columns");
        let answers: String = users
            .iter()
            .map(|user| {
                if ask(&shelf, user, request).allowed {
                    'y'
                } else {
                    '-'
                }
            })
            .collect();
        if answers != expected {
            wrong.push(format!("{request}: {answers}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the node n1 is refused, and why.
const NODE_REASONS: &[&str] = &[
    "get core/secrets default:x => no relationship found between node 'n1' and this object",
    "list core/secrets default: => No Object name found",
    "list core/configmaps => can only read namespaced object of this type",
    "create core/secrets default: => can only read resources of this type",
    "get core/secrets/status default:x => cannot read subresource",
    "list core/nodes => node 'n1' cannot read all nodes, only its own Node object",
    "get core/nodes n2 => node 'n1' cannot read 'n2', only its own Node object",
    "list core/pods => can only list/watch pods with spec.nodeName field selector",
    "list core/pods ?spec.nodeName=n2 => can only list/watch pods with spec.nodeName field selector",
    "list core/pods ?spec.nodeName!=n1 => can only list/watch pods with spec.nodeName field selector",
    "get coordination.k8s.io/leases default:n1 => can only access leases in the \"kube-node-lease\" system namespace",
    "create core/serviceaccounts/token default:x => no relationship found between node 'n1' and this object",
    "get core/serviceaccounts default:x => no relationship found between node 'n1' and this object",
    "list core/serviceaccounts default: => can only create tokens for individual service accounts",
    "patch core/persistentvolumeclaims/status default:x => no relationship found between node 'n1' and this object",
    "list storage.k8s.io/csinodes => can only get, create, update, patch, or delete a CSINode",
    "patch storage.k8s.io/csinodes/status n1 => CSINode status access requires CSIVolumeHealth feature",
    "list storage.k8s.io/volumeattachments => can only get individual resources of this type",
    "list certificates.k8s.io/podcertificaterequests => can only list/watch podcertificaterequests with nodeName field selector",
    "delete certificates.k8s.io/podcertificaterequests a:b => nodes may not delete podcertificaterequests",
    "deletecollection resource.k8s.io/resourceslices => can only list/watch/deletecollection resourceslices with nodeName field selector",
    "get resource.k8s.io/resourceslices s => no relationship found between node 'n1' and this object",
    "get storage.k8s.io/csinodes n2 => can only access CSINode with the same name as the requesting node",
];

#[test]
fn node_reasons() {
    let shelf = Shelf::installed();
    let unknown = fixture::user("system:node:", &["system:nodes"]);
    let group_only = fixture::user("n1", &["system:nodes"]);
    let node = fixture::node("n1");
    let of_node = NODE_REASONS.iter().map(|row| {
        let (request, reason) = row.split_once(" => ").expect("two columns");
        (&node, request, format!("node: {reason}"))
    });
    let create = format!("create {CSRS}");
    let of_others = [
        (
            &unknown,
            create.as_str(),
            "node: unknown node for user \"system:node:\"".to_owned(),
        ),
        (&group_only, create.as_str(), String::new()),
    ];
    for (user, request, expected) in of_node.chain(of_others) {
        let decision = ask(&shelf, user, request);
        assert!(!decision.allowed, "{request}");
        assert_eq!(decision.reason, expected, "{request}");
    }
    for request in [
        "list core/pods ?spec.nodeName=n1",
        "get storage.k8s.io/csinodes n1",
        "list node.k8s.io/runtimeclasses",
        "list core/services",
        "list storage.k8s.io/csidrivers",
        "create core/events default:",
        "create events.k8s.io/events default:",
        "watch certificates.k8s.io/podcertificaterequests ?spec.nodeName=n1",
        "list certificates.k8s.io/clustertrustbundles",
        "deletecollection resource.k8s.io/resourceslices ?spec.nodeName=n1",
    ] {
        assert!(ask(&shelf, &node, request).allowed, "{request}");
    }
}

/// A state with one ClusterRole `r` of these rules, bound to user bob.
fn bound(rules: serde_json::Value) -> Shelf {
    let shelf = Shelf::default();
    shelf.put("clusterroles", cluster_role("r", rules));
    let bob = json!([{"kind": "User", "name": "bob"}]);
    shelf.put("clusterrolebindings", cluster_role_binding("b", "r", bob));
    shelf
}

#[test]
fn resource_names_need_a_name() {
    let shelf = bound(
        json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["x"]}]),
    );
    let bob = fixture::user("bob", &[]);
    for (request, expected) in [
        ("get core/secrets ns:x", true),
        ("get core/secrets ns:y", false),
        ("list core/secrets ns:", false),
        ("list core/secrets ns:x", true),
        ("create core/secrets ns:", false),
        ("deletecollection core/secrets ns:", false),
        ("update core/secrets ns:x", true),
    ] {
        assert_eq!(ask(&shelf, &bob, request).allowed, expected, "{request}");
    }
}

#[test]
fn role_bindings_reach_their_namespace_only() {
    let shelf = bound(json!([]));
    shelf.put("roles", json!({"metadata": {"name": "local", "namespace": "a"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]}));
    shelf.put(
        "clusterroles",
        cluster_role(
            "wide",
            json!([
                {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]},
                {"verbs": ["get"], "nonResourceURLs": ["/secret-path"]},
            ]),
        ),
    );
    for (name, kind, role) in [("one", "Role", "local"), ("two", "ClusterRole", "wide")] {
        shelf.put("rolebindings", json!({"metadata": {"name": name, "namespace": "a"},
            "roleRef": {"kind": kind, "name": role},
            "subjects": [{"kind": "Group", "name": "dev"}, {"kind": "ServiceAccount", "name": "robot"}, {"kind": "ServiceAccount", "name": "robot", "namespace": "z"}]}));
    }
    let dev = fixture::user("eve", &["dev"]);
    for (request, expected) in [
        ("get core/secrets a:x", true),
        ("get core/configmaps a:x", true),
        ("get core/secrets b:x", false),
        ("get core/secrets", false),
        ("get /secret-path", false),
    ] {
        assert_eq!(ask(&shelf, &dev, request).allowed, expected, "{request}");
    }
    let path_in_a_namespace = Attributes {
        verb: "get",
        path: "/secret-path",
        namespace: "a",
        ..Attributes::of(&dev)
    };
    let decision = Authorizer::default().authorize(&path_in_a_namespace, &shelf);
    assert!(!decision.allowed, "a path lies in no namespace");
    for (namespace, expected) in [("a", true), ("z", true), ("b", false)] {
        let robot = User::service_account(namespace, "robot");
        assert_eq!(
            ask(&shelf, &robot, "get core/secrets a:x").allowed,
            expected,
            "{namespace}"
        );
    }
    let all = Authorizer::default().enumerate(&dev, "a", &shelf);
    assert_eq!(all.rules.len(), 2, "{all:?}");
    let allowed = ask(&shelf, &dev, "get core/secrets a:x");
    assert_eq!(
        allowed.reason,
        r#"RBAC: allowed by RoleBinding "one/a" of Role "local" to Group "dev""#
    );
}

#[test]
fn missing_roles_are_told_when_nothing_else_allows() {
    let shelf = bound(json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]));
    let bob = json!([{"kind": "User", "name": "bob"}]);
    shelf.put(
        "clusterrolebindings",
        cluster_role_binding("a", "gone", bob.clone()),
    );
    let user = fixture::user("bob", &[]);
    assert!(ask(&shelf, &user, "get core/secrets a:x").allowed);
    let decision = ask(&shelf, &user, "list core/secrets a:");
    assert_eq!(
        decision.reason,
        r#"rbac: RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found"#
    );
    shelf.put("rolebindings", json!({"metadata": {"name": "c", "namespace": "a"}, "roleRef": {"kind": "Role", "name": "lost"}, "subjects": bob}));
    let decision = ask(&shelf, &user, "list core/secrets a:");
    assert_eq!(
        decision.reason,
        r#"rbac: RBAC: [clusterrole.rbac.authorization.k8s.io "gone" not found, role.rbac.authorization.k8s.io "lost" not found]"#
    );
    assert_eq!(
        ask(&shelf, &fixture::user("eve", &[]), "list core/secrets a:").reason,
        ""
    );
}

#[test]
fn policy_is_compiled_once_per_change() {
    let shelf = bound(json!([]));
    let authorizer = Authorizer::default();
    let bob = fixture::user("bob", &[]);
    let attributes = Attributes {
        verb: "get",
        resource: "secrets",
        namespace: "a",
        name: "x",
        ..Attributes::of(&bob)
    };
    assert!(!authorizer.authorize(&attributes, &shelf).allowed);
    let reads = shelf.reads.load(Ordering::Relaxed);
    for _ in 0..100 {
        assert!(!authorizer.authorize(&attributes, &shelf).allowed);
    }
    assert_eq!(shelf.reads.load(Ordering::Relaxed), reads);
    shelf.put(
        "secrets",
        json!({"metadata": {"name": "x", "namespace": "a"}}),
    );
    authorizer.authorize(&attributes, &shelf);
    assert_eq!(
        shelf.reads.load(Ordering::Relaxed),
        reads,
        "a Secret is no policy"
    );
    shelf.put(
        "clusterroles",
        cluster_role(
            "r",
            json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]),
        ),
    );
    assert!(authorizer.authorize(&attributes, &shelf).allowed);
    shelf.remove("clusterrolebindings", "", "b");
    assert!(!authorizer.authorize(&attributes, &shelf).allowed);
}

#[test]
fn masters_need_no_policy() {
    let shelf = Shelf::default();
    for request in [
        "get core/secrets a:x",
        "bind rbac.authorization.k8s.io/clusterroles x",
        "get /anything",
    ] {
        assert!(ask(&shelf, &fixture::admin(), request).allowed, "{request}");
    }
    let all = Authorizer::default().enumerate(&fixture::admin(), "a", &shelf);
    assert!(
        all.rules.is_empty(),
        "what can be listed is policy, as upstream"
    );
    assert!(
        Authorizer::default()
            .enumerate(&fixture::node("n1"), "a", &shelf)
            .incomplete
    );
}

#[test]
fn denial_texts() {
    let check = |user: &User, attributes: Attributes<'_>, reason: &str| {
        let decision = Decision {
            allowed: false,
            reason: reason.to_owned(),
            ..Decision::default()
        };
        let attributes = Attributes { user, ..attributes };
        let status = Authorizer::denied(&attributes, &decision);
        status.message
    };
    let bob = fixture::user("bob", &[]);
    let get = Attributes {
        verb: "get",
        ..Attributes::of(&bob)
    };
    assert_eq!(
        check(
            &bob,
            Attributes {
                resource: "nodes",
                name: "n2",
                ..get.clone()
            },
            ""
        ),
        r#"nodes "n2" is forbidden: User "bob" cannot get resource "nodes" in API group "" at the cluster scope"#
    );
    assert_eq!(
        check(
            &bob,
            Attributes {
                group: "certificates.k8s.io",
                resource: "certificatesigningrequests",
                subresource: "approval",
                namespace: "a",
                ..get.clone()
            },
            "why"
        ),
        r#"certificatesigningrequests.certificates.k8s.io is forbidden: User "bob" cannot get resource "certificatesigningrequests/approval" in API group "certificates.k8s.io" in the namespace "a": why"#
    );
    let odd = fixture::user("<b>&\"\n\0", &[]);
    assert_eq!(
        check(&odd, Attributes { path: "/x", ..get }, ""),
        r#"forbidden: User "&lt;b&gt;&amp;\"\n\x00" cannot get path "/x""#
    );
}

#[test]
fn a_node_reads_the_requests_of_its_pods() {
    let shelf = Shelf::installed();
    for (name, node) in [("a", "n1"), ("b", "n2")] {
        let object =
            json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"nodeName": node}});
        shelf.put("podcertificaterequests", object);
    }
    let node = fixture::node("n1");
    let get = |name: &str| {
        let request = format!("get certificates.k8s.io/podcertificaterequests default:{name}");
        ask(&shelf, &node, &request)
    };
    assert!(get("a").allowed);
    for name in ["b", "c"] {
        let reason = "node: no relationship found between node 'n1' and this object";
        assert_eq!(get(name).reason, reason);
    }
}
