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
///
/// `client_ca_pem` is published for whoever delegates authentication to this server
/// ([`crate::authn::Authenticator::client_ca_pem`]).
pub fn missing(_objects: &dyn Objects, _client_ca_pem: &str) -> Vec<Installation> {
    Vec::new()
}

/// The Secret behind the bootstrap token `id.secret` (kube-system/bootstrap-token-ID) that lets kubelets join.
pub fn bootstrap_token_secret(
    _id: &str,
    _secret: &str,
    _expires: Option<jiff::Timestamp>,
    _description: &str,
) -> Value {
    unimplemented!()
}
