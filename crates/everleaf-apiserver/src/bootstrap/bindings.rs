//! Who holds the roles of [`super::policy`] in a fresh server.

use crate::user::{ANONYMOUS, AUTHENTICATED, MASTERS, NODES, UNAUTHENTICATED};
use serde_json::{Value, json};

/// A binding to install: its name, the place of a RoleBinding (None: a ClusterRoleBinding), kind
/// and name of the role, and the subjects.
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) namespace: Option<&'static str>,
    pub(super) role_kind: &'static str,
    pub(super) role: &'static str,
    pub(super) subjects: Vec<Value>,
}

/// Group of the bootstrap tokens that may join nodes, as kubeadm names it.
pub(super) const NODE_TOKEN_GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";

const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";

fn group(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name})
}

fn user(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name})
}

fn service_account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"})
}

fn cluster(name: &str, role: &'static str, subjects: Vec<Value>) -> Binding {
    Binding {
        name: name.to_owned(),
        namespace: None,
        role_kind: "ClusterRole",
        role,
        subjects,
    }
}

fn local(namespace: &'static str, name: &str, role: &'static str, subjects: Vec<Value>) -> Binding {
    Binding {
        name: name.to_owned(),
        namespace: Some(namespace),
        role_kind: "Role",
        role,
        subjects,
    }
}

/// Bindings kube-apiserver installs.
pub(super) fn of_apiserver() -> Vec<Binding> {
    let same = |role: &'static str, subjects| cluster(role, role, subjects);
    let controller = |role: &'static str| {
        let account = role.rsplit(':').next().unwrap_or(role);
        same(role, vec![service_account(account)])
    };
    vec![
        same("cluster-admin", vec![group(MASTERS)]),
        same("system:monitoring", vec![group("system:monitoring")]),
        same("system:discovery", vec![group(AUTHENTICATED)]),
        same("system:basic-user", vec![group(AUTHENTICATED)]),
        same(
            "system:public-info-viewer",
            vec![group(AUTHENTICATED), group(UNAUTHENTICATED)],
        ),
        same(CONTROLLER_MANAGER, vec![user(CONTROLLER_MANAGER)]),
        same("system:node", Vec::new()),
        same(
            "system:service-account-issuer-discovery",
            vec![group("system:serviceaccounts")],
        ),
        same(
            "system:cluster-trust-bundle-discovery",
            vec![group("system:serviceaccounts")],
        ),
        controller("system:controller:certificate-controller"),
        controller("system:controller:podcertificaterequestcleaner"),
        controller("system:controller:kube-apiserver-serving-clustertrustbundle-publisher"),
        controller("system:controller:root-ca-cert-publisher"),
        local(
            "kube-system",
            "system::extension-apiserver-authentication-reader",
            "extension-apiserver-authentication-reader",
            vec![user(CONTROLLER_MANAGER), user("system:kube-scheduler")],
        ),
        local(
            "kube-system",
            "system::leader-locking-kube-controller-manager",
            "system::leader-locking-kube-controller-manager",
            vec![
                user(CONTROLLER_MANAGER),
                service_account("kube-controller-manager"),
                service_account("leader-election-controller"),
            ],
        ),
        local(
            "kube-system",
            "system:controller:bootstrap-signer",
            "system:controller:bootstrap-signer",
            vec![service_account("bootstrap-signer")],
        ),
        local(
            "kube-system",
            "system:controller:token-cleaner",
            "system:controller:token-cleaner",
            vec![service_account("token-cleaner")],
        ),
        local(
            "kube-public",
            "system:controller:bootstrap-signer",
            "system:controller:bootstrap-signer",
            vec![service_account("bootstrap-signer")],
        ),
    ]
}

/// Bindings kubeadm adds so that nodes can join and renew. Its `kubeadm:get-nodes`, which lets a
/// token look at Node objects, is left out: it serves the checks of `kubeadm join`, and a bootstrap
/// token should do requests and nothing else.
pub(super) fn of_kubeadm() -> Vec<Binding> {
    let joining = || vec![group(NODE_TOKEN_GROUP)];
    vec![
        cluster(
            "kubeadm:kubelet-bootstrap",
            "system:node-bootstrapper",
            joining(),
        ),
        cluster(
            "kubeadm:node-autoapprove-bootstrap",
            "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
            joining(),
        ),
        cluster(
            "kubeadm:node-autoapprove-certificate-rotation",
            "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
            vec![group(NODES)],
        ),
        local(
            "kube-public",
            "kubeadm:bootstrap-signer-clusterinfo",
            "kubeadm:bootstrap-signer-clusterinfo",
            vec![user(ANONYMOUS)],
        ),
    ]
}

/// A kube-controller-manager started without `--use-service-account-credentials` runs every
/// controller under its own name, whose role may neither approve nor sign. These let such a process
/// do the work of the certificate controllers.
pub(super) fn of_single_identity() -> Vec<Binding> {
    let whom = || vec![user(CONTROLLER_MANAGER)];
    let name = |controller: &str| format!("everleaf:kube-controller-manager:{controller}");
    vec![
        cluster(
            &name("certificate-controller"),
            "system:controller:certificate-controller",
            whom(),
        ),
        cluster(
            &name("podcertificaterequestcleaner"),
            "system:controller:podcertificaterequestcleaner",
            whom(),
        ),
        cluster(
            &name("root-ca-cert-publisher"),
            "system:controller:root-ca-cert-publisher",
            whom(),
        ),
        local(
            "kube-system",
            &name("bootstrap-signer"),
            "system:controller:bootstrap-signer",
            whom(),
        ),
        local(
            "kube-system",
            &name("token-cleaner"),
            "system:controller:token-cleaner",
            whom(),
        ),
        local(
            "kube-public",
            &name("bootstrap-signer"),
            "system:controller:bootstrap-signer",
            whom(),
        ),
    ]
}
