//! The catalogue: everything that can keep a certificate from a node, as far as this program can
//! tell it apart.
//!
//! Owns names, words and remedies. Refuses to know how a fault is found. The commands hold
//! placeholders such as `{csr}`, which a finding fills in and the documentation shows as they are.

use super::catalogue::Fault;

/// Where an operator meets a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `kubectl get csr` does not show the request.
    Missing,
    /// It is Pending.
    Pending,
    /// A request for a client certificate is Pending.
    PendingClient,
    /// A request for a serving certificate is Pending, or was denied by policy.
    Serving,
    /// It is Denied.
    Denied,
    /// It is Approved and has no certificate.
    Approved,
    /// It is Failed.
    Failed,
    /// It is Issued, and something is still wrong.
    Issued,
    /// The node itself.
    Node,
}

impl Place {
    /// All of them, in the order of a request's life.
    pub const ALL: [Self; 9] = [
        Self::Missing,
        Self::Pending,
        Self::PendingClient,
        Self::Serving,
        Self::Denied,
        Self::Approved,
        Self::Failed,
        Self::Issued,
        Self::Node,
    ];

    /// What an operator sees.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Missing => "`kubectl get csr` does not show the request",
            Self::Pending => "The request is `Pending`",
            Self::PendingClient => "A client certificate's request is `Pending`",
            Self::Serving => {
                "A serving certificate's request is `Pending`, or `Denied` by a policy"
            }
            Self::Denied => "The request is `Denied`",
            Self::Approved => "The request is `Approved`, and there is no certificate",
            Self::Failed => "The request is `Approved,Failed`",
            Self::Issued => "The request is `Approved,Issued`, and something is still wrong",
            Self::Node => "A node has no valid certificate, or nobody believes the one it has",
        }
    }
}

/// One fault, in words.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The fault.
    pub fault: Fault,
    /// Its name for programs, lower case with dashes.
    pub id: &'static str,
    /// Where it is met.
    pub place: Place,
    /// What is wrong, in one line.
    pub title: &'static str,
    /// Why it is so, and what follows from it.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// It as commands; `{…}` stand for names.
    pub commands: &'static [&'static str],
}
