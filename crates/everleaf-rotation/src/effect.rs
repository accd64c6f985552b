//! What the machine wants done, and who answers what.
//!
//! The embedder takes effects with [`Rotation::poll_effect`](crate::Rotation::poll_effect), carries
//! them out in order, and gives answers back through
//! [`Rotation::handle_event`](crate::Rotation::handle_event). Performing holds no policy: which
//! credential, whether to retry and when is decided by the machine.
//!
//! | effect | carried out by | answer |
//! |---|---|---|
//! | [`Accept`](Effect::Accept) | `CertStore::accept` | `Accepted` or `StoreFailed` |
//! | [`AskVersion`](Effect::AskVersion) | `GET /version` | `VersionAnswered` |
//! | [`Await`](Effect::Await) | list and watch of one request | `Awaited` |
//! | [`CancelAwait`](Effect::CancelAwait) | stop the watch | none |
//! | [`Confirm`](Effect::Confirm) | one authenticated request | `ConfirmAnswered` |
//! | [`DiscardPending`](Effect::DiscardPending) | `CertStore::discard_pending` | `Discarded` or `StoreFailed` |
//! | [`Install`](Effect::Install) | `CertStore::install` | `Installed` or `StoreFailed` |
//! | [`Load`](Effect::Load) | `CertStore::load`, look at both kubeconfigs | `Loaded` or `StoreFailed` |
//! | [`Prepare`](Effect::Prepare) | key, request, `CertStore::put_pending` | `Prepared` or `StoreFailed` |
//! | [`Publish`](Effect::Publish) | hand the credential to TLS | none |
//! | [`RecordPending`](Effect::RecordPending) | `CertStore::update_pending` | none |
//! | [`Revert`](Effect::Revert) | `CertStore::revert` | `Reverted` or `StoreFailed` |
//! | [`Submit`](Effect::Submit) | create the request | `Submitted` |
//!
//! At most one effect that has an answer is outstanding at a time. An answer that never comes is
//! given up after a limit, and the machine computes again; an answer that comes late is ignored.

use crate::store::PendingRequest;
use everleaf_pki::{Chain, Leaf, SignerName, Template, Usage};
use std::time::Duration;

/// Which credential authenticates a request to the server.
///
/// The order of declaration is the order of trial, but a certificate of another name than is wanted
/// comes last; the machine moves on when the server answers 401, or 403 to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CredentialChoice {
    /// The credential in use: what the last `Load`, `Install` or `Revert` named current. It is
    /// presented even when our clock calls it expired or not yet valid.
    Current,
    /// The last credential that the server is known to have accepted, when it is not current.
    LastAccepted,
    /// The credential that the kubeconfig itself holds, re-read from disk each time.
    Kubeconfig,
    /// The bootstrap kubeconfig's credential, re-read from disk each time.
    Bootstrap,
    /// For a serving certificate: the client machine's current credential.
    ClientCredential,
}

impl CredentialChoice {
    /// For people: `current credential`, `bootstrap kubeconfig`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current credential",
            Self::LastAccepted => "last accepted credential",
            Self::Kubeconfig => "credential in the kubeconfig",
            Self::Bootstrap => "bootstrap kubeconfig",
            Self::ClientCredential => "client certificate",
        }
    }
}

impl std::fmt::Display for CredentialChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a request should ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Subject and SANs.
    pub template: Template,
    /// Who should sign.
    pub signer_name: SignerName,
    /// Usages, in the order in which they are sent (it matters for the digest name).
    pub usages: Vec<Usage>,
    /// `spec.expirationSeconds`; `None` leaves the lifetime to the signer.
    pub expiration_seconds: Option<i32>,
    /// The kind of key to make.
    pub key: KeyForm,
}

/// A kind of key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyForm {
    /// The one that the embedder was told to use.
    #[default]
    Configured,
    /// ECDSA P-256, which every control plane takes: the other one was refused.
    Usual,
}

/// Something to be carried out by the embedder. The module's table says what answers it.
#[derive(Clone, Debug)]
pub enum Effect {
    /// The server accepted the current credential: record that in the store, then prune older
    /// files.
    Accept,
    /// Ask the server for its version (`GET /version`): it decides how a request has to look.
    AskVersion {
        /// With what to authenticate.
        credential: CredentialChoice,
    },
    /// Wait for the verdict on a request, at most [`AWAIT_MAX`](crate::rotation::AWAIT_MAX).
    ///
    /// List, then watch, the object of this name; on a closed stream or 410 list again, pausing
    /// between 1 s and 30 s. Verdicts, per object seen: another UID or deleted → `Gone`; condition
    /// Denied → `Denied`; condition Failed → `Failed`; Approved and a certificate → `Issued`;
    /// anything else, also a certificate without Approved, → go on waiting. Condition *types*
    /// count, not their status values. A 401 ends the wait at once with `Refused`; other errors are
    /// retried inside the wait and end it with `TimedOut`. When `silence_max` passes and no
    /// condition was seen on it, the wait ends with `Silent`.
    Await {
        /// The request; its `uid` is known.
        pending: PendingRequest,
        /// With what to authenticate.
        credential: CredentialChoice,
        /// How long a request without any condition is awaited, when that means something.
        silence_max: Option<Duration>,
    },
    /// Stop the running `Await`. Its answer, should it still come, is ignored.
    CancelAwait,
    /// Make one cheap authenticated request on a **new** connection with this credential, one whose
    /// success proves that the credential was accepted (not one that anonymous users may make).
    Confirm {
        /// With what to authenticate: `Current` or `LastAccepted`.
        credential: CredentialChoice,
    },
    /// Remove the pending record and its key.
    DiscardPending,
    /// Join the chain with the pending key, write it, and make it current by one atomic rename.
    Install {
        /// As issued; its key, subject and validity have been checked.
        chain: Chain,
    },
    /// Read everything again: the store, and which other credentials exist.
    Load,
    /// Make a new key, build the request, choose its name, and persist both **before anything
    /// leaves the node**.
    Prepare(Order),
    /// Hand the current credential to whoever uses it: new connections, the serving TLS listener,
    /// the kubeconfig (written when it does not name the symlink yet). The credential is the one
    /// that the store returned last; `leaf` is its leaf.
    Publish {
        /// The leaf now current.
        leaf: Leaf,
    },
    /// Rewrite the pending record, which has just learnt the object's UID. Best effort: when it is
    /// lost, the name finds the object again.
    RecordPending(PendingRequest),
    /// Make the last accepted credential current again: the server refuses the present one.
    Revert,
    /// Create the request object under `pending.name`. On "already exists" get the object and
    /// report what it is.
    Submit {
        /// The request.
        pending: PendingRequest,
        /// With what to authenticate.
        credential: CredentialChoice,
    },
}
