//! `rbac.authorization.k8s.io`.

use super::table::*;

const V1: Package = Package("io.k8s.api.rbac.v1");

const GROUP: &str = "rbac.authorization.k8s.io";

/// `rbac.authorization.k8s.io/v1` Role: what may be done in one namespace.
pub static ROLE: Type = Type {
    group: GROUP,
    version: "v1",
    kind: "Role",
    message: &V1.message(
        "Role",
        "Permissions within one namespace.",
        &[METADATA, RULES],
    ),
};

/// ClusterRole.
pub static CLUSTER_ROLE: Type = Type {
    group: GROUP,
    version: "v1",
    kind: "ClusterRole",
    message: &V1.message(
        "ClusterRole",
        "Permissions in every namespace and on cluster-scoped resources.",
        &[
            METADATA,
            RULES,
            f("aggregationRule", 3, Nested(&AGGREGATION_RULE), Pointer, "Fills the rules from other ClusterRoles."),
        ],
    ),
};

/// RoleBinding.
pub static ROLE_BINDING: Type = Type {
    group: GROUP,
    version: "v1",
    kind: "RoleBinding",
    message: &V1.message(
        "RoleBinding",
        "Grants a role's permissions within one namespace.",
        &[METADATA, SUBJECTS, ROLE_REF],
    ),
};

/// ClusterRoleBinding.
pub static CLUSTER_ROLE_BINDING: Type = Type {
    group: GROUP,
    version: "v1",
    kind: "ClusterRoleBinding",
    message: &V1.message(
        "ClusterRoleBinding",
        "Grants a ClusterRole's permissions everywhere.",
        &[METADATA, SUBJECTS, ROLE_REF],
    ),
};

static RULE_ITEM: crate::schema::Kind = Nested(&POLICY_RULE);
static SUBJECT_ITEM: crate::schema::Kind = Nested(&SUBJECT);
const RULES: Field = f("rules", 2, List(&RULE_ITEM, Atomic), Always, "What is permitted.");
const SUBJECTS: Field = f("subjects", 2, List(&SUBJECT_ITEM, Atomic), OmitEmpty, "Who is permitted.");
const ROLE_REF: Field = f("roleRef", 3, Nested(&ROLE_REFERENCE), Always, "The role; cannot change.").required();

static POLICY_RULE: Message = V1.message(
    "PolicyRule",
    "Verbs on resources, or on paths.",
    &[
        f("verbs", 1, List(&String, Atomic), Always, "Verbs; * is every one.").required(),
        f("apiGroups", 2, List(&String, Atomic), OmitEmpty, "Groups; the empty string is core, * is every one."),
        f("resources", 3, List(&String, Atomic), OmitEmpty, "Resources, or resource/subresource; * is every one."),
        f("resourceNames", 4, List(&String, Atomic), OmitEmpty, "Names it is limited to; empty is every one."),
        f("nonResourceURLs", 5, List(&String, Atomic), OmitEmpty, "Paths; a * at the end matches what follows."),
    ],
);

static SUBJECT: Message = V1.message(
    "Subject",
    "Who is permitted.",
    &[
        f("kind", 1, String, Always, "User, Group or ServiceAccount.").required(),
        f("apiGroup", 2, String, OmitEmpty, "Group of the kind; empty for ServiceAccount."),
        f("name", 3, String, Always, "Name.").required(),
        f("namespace", 4, String, OmitEmpty, "Namespace of a ServiceAccount."),
    ],
).atomic();

static ROLE_REFERENCE: Message = V1.message(
    "RoleRef",
    "The role that a binding grants.",
    &[
        f("apiGroup", 1, String, Always, "Group of the role."),
        f("kind", 2, String, Always, "Role or ClusterRole.").required(),
        f("name", 3, String, Always, "Name.").required(),
    ],
).atomic();

static AGGREGATION_RULE: Message = V1.message(
    "AggregationRule",
    "Which ClusterRoles are put together.",
    &[f("clusterRoleSelectors", 1, List(&Nested(&super::meta::LABEL_SELECTOR), Atomic), OmitEmpty, "A ClusterRole that matches one of these is included.")],
);
