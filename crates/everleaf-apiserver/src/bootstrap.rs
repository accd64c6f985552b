//! Objects every server installs: namespaces, RBAC bootstrap policy, kubeadm bindings.
use serde_json::Value;

use crate::objects::Objects;

/// One object to write, without authorization and admission (it is the server's own).
/// The engine fills uid, creationTimestamp and, for a namespace, what its strategy fills.
pub struct Installation {
    /// Plural resource.
    pub resource: &'static str,
    /// The whole object, `metadata.name` (and namespace) set. When it exists already it is replaced
    /// (uid, creationTimestamp and unnamed metadata kept by whoever built it from the stored one).
    pub object: Value,
}

/// What must be written so that `objects` holds everything the server installs; empty when
/// nothing is missing. Asked at start and once a minute.
pub fn missing(_objects: &dyn Objects) -> Vec<Installation> {
    Vec::new()
}
