//! Which certificate a machine keeps, among those of one agent.

use std::fmt;
use std::sync::Arc;

/// Whose certificate authenticates the requests for a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RenewedBy {
    /// The certificate itself, once there is one: it is tried at the server, and given up for an
    /// older one that the server still takes.
    Itself,
    /// Another one of the same agent, which proves nothing about this one.
    Another,
}

/// The identity of a certificate: a name that stays the same whatever is issued under it, unique in
/// its agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateId {
    name: Arc<str>,
    renewed_by: RenewedBy,
}

impl CertificateId {
    /// A certificate of that name: a word for log fields, metric labels and sentences ("the NAME
    /// certificate").
    pub fn new(name: &str, renewed_by: RenewedBy) -> Self {
        Self {
            name: name.into(),
            renewed_by,
        }
    }

    /// A kubelet's `client`: the node toward the API server.
    pub fn kubelet_client() -> Self {
        Self::new("client", RenewedBy::Itself)
    }

    /// A kubelet's `serving`: the node's own TLS server.
    pub fn kubelet_serving() -> Self {
        Self::new("serving", RenewedBy::Another)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose certificate authenticates its requests.
    pub fn renewed_by(&self) -> RenewedBy {
        self.renewed_by
    }

    /// Whether it authenticates its own renewals.
    pub fn renews_itself(&self) -> bool {
        self.renewed_by == RenewedBy::Itself
    }
}

impl fmt::Display for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
