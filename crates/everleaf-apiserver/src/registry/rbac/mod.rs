//! The RBAC group: roles and their bindings (`pkg/apis/rbac/validation/validation.go`,
//! `pkg/registry/rbac/*/strategy.go`). That nobody may hand out what they do not hold is
//! admission's rule, not one of form.

mod strategy;
mod table;

use self::strategy::{BindingStrategy, RoleStrategy};
use super::{Descriptor, names};
use everleaf_api::types;

const CLUSTER: Descriptor = Descriptor {
    create_on_update: true,
    validate_name: names::path_segment,
    ..Descriptor::cluster(&types::CLUSTER_ROLE, "", "")
};

/// ClusterRoles.
pub static CLUSTER_ROLES: Descriptor = Descriptor {
    strategy: &RoleStrategy { namespaced: false },
    columns: table::ROLE_COLUMNS,
    cells: table::role_cells,
    r#type: &types::CLUSTER_ROLE,
    resource: "clusterroles",
    singular: "clusterrole",
    storage: "clusterroles",
    // As everywhere where a type says nothing of its own: nothing has one.
    selectable: &["metadata.namespace"],
    ..CLUSTER
};
/// ClusterRoleBindings.
pub static CLUSTER_ROLE_BINDINGS: Descriptor = Descriptor {
    strategy: &BindingStrategy { namespaced: false },
    columns: table::BINDING_COLUMNS,
    cells: table::binding_cells,
    r#type: &types::CLUSTER_ROLE_BINDING,
    resource: "clusterrolebindings",
    singular: "clusterrolebinding",
    storage: "clusterrolebindings",
    // As everywhere where a type says nothing of its own: nothing has one.
    selectable: &["metadata.namespace"],
    ..CLUSTER
};
/// Roles.
pub static ROLES: Descriptor = Descriptor {
    namespaced: true,
    strategy: &RoleStrategy { namespaced: true },
    columns: table::ROLE_COLUMNS,
    cells: table::role_cells,
    r#type: &types::ROLE,
    resource: "roles",
    singular: "role",
    storage: "roles",
    ..CLUSTER
};
/// RoleBindings.
pub static ROLE_BINDINGS: Descriptor = Descriptor {
    namespaced: true,
    strategy: &BindingStrategy { namespaced: true },
    columns: table::BINDING_COLUMNS,
    cells: table::binding_cells,
    r#type: &types::ROLE_BINDING,
    resource: "rolebindings",
    singular: "rolebinding",
    storage: "rolebindings",
    ..CLUSTER
};

#[cfg(test)]
mod tests;
