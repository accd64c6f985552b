//! The RBAC group.
use everleaf_api::types;

use super::{Descriptor, names};

/// ClusterRoles.
pub static CLUSTER_ROLES: Descriptor = Descriptor {
    create_on_update: true,
    validate_name: names::path_segment,
    ..Descriptor::cluster(&types::CLUSTER_ROLE, "clusterroles", "clusterrole")
};
/// ClusterRoleBindings.
pub static CLUSTER_ROLE_BINDINGS: Descriptor = Descriptor {
    create_on_update: true,
    validate_name: names::path_segment,
    ..Descriptor::cluster(
        &types::CLUSTER_ROLE_BINDING,
        "clusterrolebindings",
        "clusterrolebinding",
    )
};
/// Roles.
pub static ROLES: Descriptor = Descriptor {
    create_on_update: true,
    validate_name: names::path_segment,
    ..Descriptor::namespaced(&types::ROLE, "roles", "role")
};
/// RoleBindings.
pub static ROLE_BINDINGS: Descriptor = Descriptor {
    create_on_update: true,
    validate_name: names::path_segment,
    ..Descriptor::namespaced(&types::ROLE_BINDING, "rolebindings", "rolebinding")
};
