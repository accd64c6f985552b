//! Roles of the RBAC bootstrap policy, as data
//! (`plugin/pkg/auth/authorizer/rbac/bootstrappolicy/{policy,controller_policy,namespace_policy}.go`,
//! `cmd/kubeadm/app/phases/bootstraptoken/node/tlsbootstrap.go`). Of upstream's controllers only
//! those are here that deal with certificates or joining nodes.

use crate::authz::rule::Rule;
use crate::registry::gates::{Gate, Gates};
use crate::registry::known;

/// A role to install: name, rules, and the place of a Role (None: a ClusterRole).
pub(super) struct Role {
    pub(super) name: &'static str,
    pub(super) namespace: Option<&'static str>,
    pub(super) rules: Vec<Rule>,
    /// Labels besides the policy's own.
    pub(super) labels: &'static [(&'static str, &'static str)],
    /// Label of the ClusterRoles whose rules this one gathers.
    pub(super) gathers: Option<&'static str>,
    /// What has to be on for it to be of use; None: nothing.
    pub(super) gate: Option<Gate>,
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const CERTIFICATES: &[&str] = &["certificates.k8s.io"];
const CORE: &[&str] = &[""];
/// Events have two addresses.
const EVENT_GROUPS: [&str; 2] = ["", "events.k8s.io"];
const LEASES: &[&str] = &["coordination.k8s.io"];
const RBAC: &[&str] = &["rbac.authorization.k8s.io"];
const AUTHENTICATION: &[&str] = &["authentication.k8s.io"];
const AUTHORIZATION: &[&str] = &["authorization.k8s.io"];

const HEALTH_PATHS: [&str; 5] = ["/livez", "/readyz", "/healthz", "/version", "/version/"];

fn role(name: &'static str, rules: Vec<Rule>) -> Role {
    Role {
        name,
        namespace: None,
        rules: rules.into_iter().map(Rule::sorted).collect(),
        labels: &[],
        gathers: None,
        gate: None,
    }
}

fn gated(gate: Gate, role: Role) -> Role {
    Role {
        gate: Some(gate),
        ..role
    }
}

fn local_role(namespace: &'static str, name: &'static str, rules: Vec<Rule>) -> Role {
    Role {
        namespace: Some(namespace),
        ..role(name, rules)
    }
}

fn events() -> Rule {
    Rule::on(&["create", "patch", "update"], &EVENT_GROUPS, &["events"])
}

/// Every ClusterRole.
pub(super) fn cluster_roles() -> Vec<Role> {
    let mut roles = vec![role(
        "cluster-admin",
        vec![
            Rule::on(&["*"], &["*"], &["*"]),
            Rule::on_paths(&["*"], &["*"]),
        ],
    )];
    roles.extend(path_roles());
    roles.extend(review_roles());
    roles.extend(certificate_roles());
    roles.extend(node_roles());
    roles.extend(controller_roles());
    roles.extend(user_roles());
    roles
}

/// These roles, without those whose gate is off, whose names are told, and without rights on what
/// is not there for the same reason.
pub(super) fn without(roles: Vec<Role>, gates: &Gates) -> (Vec<Role>, Vec<&'static str>) {
    let is_off = |gate: Option<Gate>| gate.is_some_and(|gate| !gates.has(gate));
    let missing = known().filter(|descriptor| is_off(descriptor.gate));
    let missing: Vec<&str> = missing.map(|descriptor| descriptor.resource).collect();
    let is_missing = |resource: &String| missing.contains(&resource.as_str());
    let (gone, mut left): (Vec<Role>, Vec<Role>) =
        roles.into_iter().partition(|role| is_off(role.gate));
    for role in &mut left {
        let is_void =
            |rule: &Rule| !rule.resources.is_empty() && rule.resources.iter().all(is_missing);
        role.rules.retain(|rule| !is_void(rule));
    }
    (left, gone.into_iter().map(|role| role.name).collect())
}

/// Roles about the server itself: what it is, whether it is well.
fn path_roles() -> Vec<Role> {
    const DISCOVERY: [&str; 6] = [
        "/openapi",
        "/openapi/*",
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
    ];
    const MONITORING: [&str; 10] = [
        "/flagz",
        "/healthz",
        "/healthz/*",
        "/livez",
        "/livez/*",
        "/metrics",
        "/metrics/slis",
        "/readyz",
        "/readyz/*",
        "/statusz",
    ];
    const ISSUER_DISCOVERY: [&str; 4] = [
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration/",
        "/openid/v1/jwks",
        "/openid/v1/jwks/",
    ];
    let get = |name, paths: &[&str]| role(name, vec![Rule::on_paths(&["get"], paths)]);
    vec![
        get(
            "system:discovery",
            &[&HEALTH_PATHS[..], &DISCOVERY[..]].concat(),
        ),
        role(
            "system:monitoring",
            vec![
                Rule::on_paths(&["get"], &MONITORING),
                Rule::on(&["get"], CORE, &["nodes/metrics"]),
            ],
        ),
        get("system:public-info-viewer", &HEALTH_PATHS),
        get("system:service-account-issuer-discovery", &ISSUER_DISCOVERY),
    ]
}

/// Roles that ask about identities and rights.
fn review_roles() -> Vec<Role> {
    vec![
        role(
            "system:basic-user",
            vec![
                Rule::on(
                    &["create"],
                    AUTHORIZATION,
                    &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                ),
                Rule::on(&["create"], AUTHENTICATION, &["selfsubjectreviews"]),
            ],
        ),
        role(
            "system:auth-delegator",
            vec![
                Rule::on(&["create"], AUTHENTICATION, &["tokenreviews"]),
                Rule::on(&["create"], AUTHORIZATION, &["subjectaccessreviews"]),
            ],
        ),
    ]
}

fn certificate_roles() -> Vec<Role> {
    let requests = |subresource: &str| {
        let resource = format!("certificatesigningrequests/{subresource}");
        vec![Rule::on(&["create"], CERTIFICATES, &[&resource])]
    };
    let approve =
        |signer: &str| vec![Rule::on(&["approve"], CERTIFICATES, &["signers"]).named(&[signer])];
    vec![
        role(
            "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
            requests("nodeclient"),
        ),
        role(
            "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
            requests("selfnodeclient"),
        ),
        role(
            "system:certificates.k8s.io:kube-apiserver-client-approver",
            approve("kubernetes.io/kube-apiserver-client"),
        ),
        role(
            "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
            approve("kubernetes.io/kube-apiserver-client-kubelet"),
        ),
        role(
            "system:certificates.k8s.io:kubelet-serving-approver",
            approve("kubernetes.io/kubelet-serving"),
        ),
        role(
            "system:certificates.k8s.io:legacy-unknown-approver",
            approve("kubernetes.io/legacy-unknown"),
        ),
        gated(
            Gate::ClusterTrustBundle,
            role(
                "system:cluster-trust-bundle-discovery",
                vec![Rule::on(READ, CERTIFICATES, &["clustertrustbundles"])],
            ),
        ),
    ]
}

fn node_roles() -> Vec<Role> {
    vec![
        role(
            "system:node-bootstrapper",
            vec![Rule::on(
                &["create", "get", "list", "watch"],
                CERTIFICATES,
                &["certificatesigningrequests"],
            )],
        ),
        role("system:node", node_rules()),
        role(
            "system:kubelet-api-admin",
            vec![
                Rule::on(READ, CORE, &["nodes"]),
                Rule::on(&["proxy"], CORE, &["nodes"]),
                Rule::on(
                    &["*"],
                    CORE,
                    &["nodes/proxy", "nodes/metrics", "nodes/stats", "nodes/log"],
                ),
                Rule::on(
                    &["*"],
                    CORE,
                    &["nodes/pods", "nodes/healthz", "nodes/configz"],
                ),
            ],
        ),
    ]
}

/// What a node may do by the Node authorizer's static rules. The same rules make the ClusterRole
/// `system:node`, which is installed for clusters that bind it themselves; its binding here has no
/// subjects.
pub(crate) fn node_rules() -> Vec<Rule> {
    let mut rules = vec![
        Rule::on(&["create"], AUTHENTICATION, &["tokenreviews"]),
        Rule::on(
            &["create"],
            AUTHORIZATION,
            &["subjectaccessreviews", "localsubjectaccessreviews"],
        ),
        Rule::on(READ, CORE, &["services"]),
        Rule::on(&["create", "get", "list", "watch"], CORE, &["nodes"]),
        Rule::on(&["update", "patch"], CORE, &["nodes/status"]),
        Rule::on(&["update", "patch"], CORE, &["nodes"]),
        events(),
        Rule::on(READ, CORE, &["pods"]),
        Rule::on(&["create", "delete"], CORE, &["pods"]),
        Rule::on(&["update", "patch"], CORE, &["pods/status"]),
        Rule::on(&["create"], CORE, &["pods/eviction"]),
        Rule::on(READ, CORE, &["secrets", "configmaps"]),
        Rule::on(
            &["get"],
            CORE,
            &["persistentvolumeclaims", "persistentvolumes"],
        ),
        Rule::on(&["get"], CORE, &["endpoints"]),
        Rule::on(
            &["create", "get", "list", "watch"],
            CERTIFICATES,
            &["certificatesigningrequests"],
        ),
        Rule::on(
            &["get", "create", "update", "patch", "delete"],
            LEASES,
            &["leases"],
        ),
        Rule::on(&["get"], &["storage.k8s.io"], &["volumeattachments"]),
        Rule::on(&["create"], CORE, &["serviceaccounts/token"]),
    ];
    rules.extend(node_rules_since_then());
    rules
}

/// What came with a feature, in upstream's order.
fn node_rules_since_then() -> Vec<Rule> {
    vec![
        Rule::on(
            &["get", "update", "patch"],
            CORE,
            &["persistentvolumeclaims/status"],
        ),
        Rule::on(READ, &["storage.k8s.io"], &["csidrivers"]),
        Rule::on(
            &["get", "create", "update", "patch", "delete"],
            &["storage.k8s.io"],
            &["csinodes"],
        ),
        Rule::on(READ, &["node.k8s.io"], &["runtimeclasses"]),
        Rule::on(&["get"], &["resource.k8s.io"], &["resourceclaims"]),
        Rule::on(
            &["deletecollection"],
            &["resource.k8s.io"],
            &["resourceslices"],
        ),
        Rule::on(READ, CERTIFICATES, &["clustertrustbundles"]),
        Rule::on(&["get"], CORE, &["serviceaccounts"]),
        Rule::on(
            &["get", "list", "watch", "create"],
            CERTIFICATES,
            &["podcertificaterequests"],
        ),
    ]
}

fn controller_roles() -> Vec<Role> {
    vec![
        role(
            "system:kube-controller-manager",
            vec![
                events(),
                Rule::on(&["create"], LEASES, &["leases"]),
                Rule::on(&["get", "update"], LEASES, &["leases"])
                    .named(&["kube-controller-manager"]),
                Rule::on(&["create"], CORE, &["secrets", "serviceaccounts"]),
                Rule::on(&["delete"], CORE, &["secrets"]),
                Rule::on(
                    &["get"],
                    CORE,
                    &["namespaces", "secrets", "serviceaccounts", "configmaps"],
                ),
                Rule::on(&["update"], CORE, &["secrets", "serviceaccounts"]),
                Rule::on(&["create"], AUTHENTICATION, &["tokenreviews"]),
                Rule::on(&["create"], AUTHORIZATION, &["subjectaccessreviews"]),
                Rule::on(&["list", "watch"], &["*"], &["*"]),
                Rule::on(&["create"], CORE, &["serviceaccounts/token"]),
            ],
        ),
        role(
            "system:controller:certificate-controller",
            vec![
                Rule::on(
                    &["get", "list", "watch", "delete"],
                    CERTIFICATES,
                    &["certificatesigningrequests"],
                ),
                Rule::on(
                    &["update"],
                    CERTIFICATES,
                    &[
                        "certificatesigningrequests/status",
                        "certificatesigningrequests/approval",
                    ],
                ),
                Rule::on(&["approve"], CERTIFICATES, &["signers"])
                    .named(&["kubernetes.io/kube-apiserver-client-kubelet"]),
                Rule::on(&["sign"], CERTIFICATES, &["signers"]).named(&[
                    "kubernetes.io/legacy-unknown",
                    "kubernetes.io/kube-apiserver-client",
                    "kubernetes.io/kube-apiserver-client-kubelet",
                    "kubernetes.io/kubelet-serving",
                ]),
                Rule::on(&["create"], AUTHORIZATION, &["subjectaccessreviews"]),
                events(),
            ],
        ),
        podcertificaterequest_cleaner(),
        clustertrustbundle_publisher(),
        role(
            "system:controller:root-ca-cert-publisher",
            vec![
                Rule::on(&["create", "update"], CORE, &["configmaps"]),
                events(),
            ],
        ),
    ]
}

fn podcertificaterequest_cleaner() -> Role {
    gated(
        Gate::PodCertificateRequest,
        role(
            "system:controller:podcertificaterequestcleaner",
            vec![Rule::on(
                &["get", "list", "watch", "delete"],
                CERTIFICATES,
                &["podcertificaterequests"],
            )],
        ),
    )
}

fn clustertrustbundle_publisher() -> Role {
    gated(
        Gate::ClusterTrustBundle,
        role(
            "system:controller:kube-apiserver-serving-clustertrustbundle-publisher",
            vec![
                Rule::on(&["attest"], CERTIFICATES, &["signers"])
                    .named(&["kubernetes.io/kube-apiserver-serving"]),
                Rule::on(
                    &["create", "update", "delete", "list", "watch"],
                    CERTIFICATES,
                    &["clustertrustbundles"],
                ),
                events(),
            ],
        ),
    )
}

/// Label by which `view`, `edit` and `admin` find the ClusterRoles whose rules they gather.
const TO_VIEW: (&str, &str) = ("rbac.authorization.k8s.io/aggregate-to-view", "true");
const TO_EDIT: (&str, &str) = ("rbac.authorization.k8s.io/aggregate-to-edit", "true");
const TO_ADMIN: (&str, &str) = ("rbac.authorization.k8s.io/aggregate-to-admin", "true");

/// Roles for people in a namespace. Upstream leaves the gathering to a controller; here the three
/// are written out over the resources this server has.
fn user_roles() -> Vec<Role> {
    let view = || {
        vec![
            Rule::on(
                READ,
                CORE,
                &[
                    "configmaps",
                    "namespaces",
                    "pods",
                    "serviceaccounts",
                    "services",
                ],
            ),
            Rule::on(READ, &EVENT_GROUPS, &["events"]),
        ]
    };
    let edit = || {
        vec![
            Rule::on(READ, CORE, &["secrets"]),
            Rule::on(WRITE, CORE, &["configmaps", "secrets", "serviceaccounts"]),
            Rule::on(&["impersonate"], CORE, &["serviceaccounts"]),
            Rule::on(&["create"], CORE, &["serviceaccounts/token"]),
            Rule::on(WRITE, &EVENT_GROUPS, &["events"]),
            Rule::on(READ, LEASES, &["leases"]),
            Rule::on(WRITE, LEASES, &["leases"]),
        ]
    };
    let admin = || {
        vec![
            Rule::on(&["create"], AUTHORIZATION, &["localsubjectaccessreviews"]),
            Rule::on(READ, RBAC, &["roles", "rolebindings"]),
            Rule::on(WRITE, RBAC, &["roles", "rolebindings"]),
        ]
    };
    let part = |name, rules, labels| Role {
        labels,
        ..role(name, rules)
    };
    let whole = |name, rules, labels, (gathers, _)| Role {
        labels,
        gathers: Some(gathers),
        ..role(name, rules)
    };
    vec![
        part("system:aggregate-to-view", view(), &[TO_VIEW]),
        part("system:aggregate-to-edit", edit(), &[TO_EDIT]),
        part("system:aggregate-to-admin", admin(), &[TO_ADMIN]),
        whole("view", view(), &[TO_EDIT], TO_VIEW),
        whole("edit", [edit(), view()].concat(), &[TO_ADMIN], TO_EDIT),
        whole("admin", [admin(), edit(), view()].concat(), &[], TO_ADMIN),
    ]
}

/// Roles inside the system namespaces.
pub(super) fn local_roles() -> Vec<Role> {
    vec![
        local_role(
            "kube-system",
            "extension-apiserver-authentication-reader",
            vec![
                Rule::on(READ, CORE, &["configmaps"])
                    .named(&[super::EXTENSION_APISERVER_AUTHENTICATION]),
            ],
        ),
        local_role(
            "kube-system",
            "system::leader-locking-kube-controller-manager",
            ["leases", "leasecandidates"]
                .map(|resource| {
                    let verbs = ["get", "list", "watch", "create", "update"];
                    Rule::on(&verbs, LEASES, &[resource])
                })
                .into(),
        ),
        local_role(
            "kube-system",
            "system:controller:bootstrap-signer",
            vec![Rule::on(READ, CORE, &["secrets"])],
        ),
        local_role(
            "kube-system",
            "system:controller:token-cleaner",
            vec![
                Rule::on(&["get", "list", "watch", "delete"], CORE, &["secrets"]),
                events(),
            ],
        ),
        local_role(
            "kube-public",
            "system:controller:bootstrap-signer",
            vec![
                Rule::on(READ, CORE, &["configmaps"]),
                Rule::on(&["update"], CORE, &["configmaps"]).named(&["cluster-info"]),
                events(),
            ],
        ),
        local_role(
            "kube-public",
            "kubeadm:bootstrap-signer-clusterinfo",
            vec![Rule::on(&["get"], CORE, &["configmaps"]).named(&["cluster-info"])],
        ),
    ]
}
