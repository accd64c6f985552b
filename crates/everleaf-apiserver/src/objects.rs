//! The committed state as everyone reads it: immutable objects behind `Arc`, by resource, namespace and name.
use bytes::Bytes;
use serde_json::Value;
use std::sync::Arc;

/// A stored object at one revision. `object` carries the resourceVersion; `bytes` is the stored protobuf without it.
#[derive(Debug)]
pub struct Stored {
    /// Plural resource, unique among those served (`secrets`, `certificatesigningrequests`, …).
    pub resource: &'static str,
    /// Namespace or "".
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Revision of its last change.
    pub revision: u64,
    /// Revision of its creation.
    pub created: u64,
    /// JSON-shaped object.
    pub object: Value,
    /// `k8s\0` envelope as stored.
    pub bytes: Bytes,
}

/// Read access to committed state; what authentication, authorization and admission see.
pub trait Objects: Send + Sync {
    /// One object.
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Stored>>;
    /// All of a resource (of one namespace, when given), by namespace then name.
    fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Stored>>;
    /// Revision of the last change to any object of this resource; 0 when never. Lets readers cache what they compile.
    fn last_change(&self, resource: &str) -> u64;
}
