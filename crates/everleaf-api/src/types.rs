//! The schema tables of every type we serve. (Owner splits into `types/…` by group.)
use crate::schema::{Message, Type};
macro_rules! placeholder { ($($name:ident $group:literal $version:literal $kind:literal),* $(,)?) => { $(
    /// Placeholder table.
    pub static $name: Type = Type { group: $group, version: $version, kind: $kind, message: &Message { name: $kind, doc: "", fields: &[] } };
)* } }
placeholder! {
    CERTIFICATE_SIGNING_REQUEST "certificates.k8s.io" "v1" "CertificateSigningRequest",
    SECRET "" "v1" "Secret", CONFIG_MAP "" "v1" "ConfigMap", NAMESPACE "" "v1" "Namespace", NODE "" "v1" "Node",
    SERVICE_ACCOUNT "" "v1" "ServiceAccount", EVENT "" "v1" "Event",
    LEASE "coordination.k8s.io" "v1" "Lease",
    ROLE "rbac.authorization.k8s.io" "v1" "Role", ROLE_BINDING "rbac.authorization.k8s.io" "v1" "RoleBinding",
    CLUSTER_ROLE "rbac.authorization.k8s.io" "v1" "ClusterRole", CLUSTER_ROLE_BINDING "rbac.authorization.k8s.io" "v1" "ClusterRoleBinding",
    SUBJECT_ACCESS_REVIEW "authorization.k8s.io" "v1" "SubjectAccessReview",
    SELF_SUBJECT_ACCESS_REVIEW "authorization.k8s.io" "v1" "SelfSubjectAccessReview",
    SELF_SUBJECT_RULES_REVIEW "authorization.k8s.io" "v1" "SelfSubjectRulesReview",
    LOCAL_SUBJECT_ACCESS_REVIEW "authorization.k8s.io" "v1" "LocalSubjectAccessReview",
    SELF_SUBJECT_REVIEW "authentication.k8s.io" "v1" "SelfSubjectReview",
    TOKEN_REVIEW "authentication.k8s.io" "v1" "TokenReview",
    DELETE_OPTIONS "meta.k8s.io" "v1" "DeleteOptions", STATUS "" "v1" "Status",
}
