//! What the machine is told: answers to effects, and changes in the world.

use crate::effect::CredentialChoice;
use crate::store::{Finding, PendingRequest, RequestName, RequestUid, StoreError};
use everleaf_pki::{Chain, Fingerprint, Leaf, Template};
use jiff::Timestamp;
use std::time::Duration;

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Answers `Accept`.
    Accepted {
        /// How many old files were deleted.
        deleted: usize,
    },
    /// Answers `Await`.
    Awaited {
        /// The request that was awaited.
        name: RequestName,
        /// What came of it.
        outcome: AwaitOutcome,
    },
    /// The wall clock was set, or the host woke from suspend. Means only: compute again. The
    /// machine notices steps by itself too; this makes it sooner.
    ClockStepped,
    /// Answers `Confirm`.
    ConfirmAnswered {
        /// The credential that was tried.
        credential: CredentialChoice,
        /// What the server said.
        outcome: ConfirmOutcome,
    },
    /// A request of the embedder's own, with the current credential, was answered 401.
    CredentialRefused,
    /// Answers `DiscardPending`.
    Discarded,
    /// Answers `Install`.
    Installed {
        /// The leaf now current.
        leaf: Leaf,
    },
    /// Answers `Load`.
    Loaded(Loaded),
    /// Answers `Prepare`.
    Prepared(PendingRequest),
    /// Answers `Revert`.
    Reverted {
        /// The leaf now current.
        leaf: Leaf,
    },
    /// The CA of this leaf is being replaced: it is to be renewed at this time, if that comes
    /// before its deadline; `None`: at its deadline, after all.
    RenewalWanted(Option<(Fingerprint, Timestamp)>),
    /// Credentials outside the store appeared, went away, or changed.
    SourcesChanged(Sources),
    /// Answers any store effect (`Accept`, `DiscardPending`, `Install`, `Load`, `Prepare`,
    /// `Revert`) that failed. A key that could not be made is `StoreError::Key`.
    StoreFailed(StoreError),
    /// Answers `Submit`.
    Submitted {
        /// The request that was submitted.
        name: RequestName,
        /// What the server said.
        outcome: SubmitOutcome,
    },
    /// The wanted subject or SANs changed; `None` when there is nothing to ask for (no addresses
    /// yet).
    TemplateChanged(Option<Template>),
    /// Answers `AskVersion`: the minor version of Kubernetes 1 that the server speaks for; `None`
    /// when it did not say.
    VersionAnswered {
        /// 21 for 1.21.
        minor: Option<u32>,
    },
}

/// What a `Load` found. Made from [`Opened`](crate::store::Opened) by
/// [`Opened::loaded`](crate::store::Opened::loaded).
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Leaf of the current credential. An expired one is still reported.
    pub current: Option<Leaf>,
    /// There was no other certificate before it.
    pub is_first: bool,
    /// Leaf of the last accepted credential; may equal `current`.
    pub last_accepted: Option<Leaf>,
    /// The persisted pending request.
    pub pending: Option<PendingRequest>,
    /// What recovery had to do.
    pub findings: Vec<Finding>,
    /// Which credentials exist outside the store.
    pub sources: Sources,
}

/// A number for a credential, of which it tells nothing else: another one as soon as the credential
/// is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialVersion(pub u64);

/// Which credentials exist outside this machine's store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The kubeconfig holds a credential of its own (inline or token), usable for this node. None
    /// when it names the store's `current` file, which is no further credential.
    pub kubeconfig: Option<CredentialVersion>,
    /// The bootstrap kubeconfig exists and can be read.
    pub bootstrap: Option<CredentialVersion>,
    /// For a certificate that another one renews: that one.
    pub client: Option<CredentialVersion>,
}

/// Why the server did not do what it was asked, sorted by what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The class.
    pub class: RefusalClass,
    /// For people: the server's words, or the transport's.
    pub message: String,
    /// `Date` of the answer, if there was one.
    pub server_date: Option<Timestamp>,
}

/// Classes of refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalClass {
    /// 403.
    Forbidden {
        /// The verb that is missing: `create`, `get`, …
        verb: &'static str,
        /// On what: `certificatesigningrequests`.
        resource: &'static str,
    },
    /// 400 or 422: it breaks a rule of the server's.
    Invalid,
    /// 404 as an API status: the certificates API is not served.
    NotServed,
    /// Any other API status (409, 5xx).
    Other,
    /// 429 (or 503) with the seconds of `Retry-After`, if given.
    RateLimited {
        /// As the server asked.
        retry_after: Option<Duration>,
    },
    /// 401.
    Unauthorized,
    /// An answer that is no API status: a proxy's page, a 404 in plain text.
    Unexpected,
    /// No answer: refused connection, timeout, TLS failure.
    Unreachable,
    /// 422 that names `spec.request`: it cannot read the request, or does not take its kind of key.
    RequestRejected,
    /// 422 that names `spec.usages`: an API server older than 1.25 wants the long form.
    UsagesRejected,
}

impl RefusalClass {
    /// Whether such an answer shows a working API server (client-go `certificate_manager.go`,
    /// `rotateCerts`: 401, 403 and an API 404 do).
    pub fn is_server_healthy(&self) -> bool {
        match self {
            Self::Unauthorized | Self::Forbidden { .. } | Self::NotServed => true,
            Self::Invalid
            | Self::Other
            | Self::RateLimited { .. }
            | Self::Unexpected
            | Self::Unreachable
            | Self::RequestRejected
            | Self::UsagesRejected => false,
        }
    }
}

/// Outcome of `Submit`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SubmitOutcome {
    /// The object was created.
    Created {
        /// Its UID.
        uid: RequestUid,
        /// `Date` of the answer.
        server_date: Option<Timestamp>,
    },
    /// An object of this name exists.
    AlreadyExists(ExistingRequest),
    /// It was not created.
    Refused(Refusal),
}

/// Facts about an object found under the name of a pending request (client-go
/// `util/certificate/csr`, `ensureCompatible`). Judged by the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExistingRequest {
    /// Its UID.
    pub uid: RequestUid,
    /// Its request parses and is signed by the pending key.
    pub has_same_key: bool,
    /// Its request has the same subject.
    pub has_same_subject: bool,
    /// The signer names are equal, or one is empty.
    pub has_same_signer: bool,
    /// It carries the condition Denied or Failed.
    pub is_refused: bool,
    /// Earliest `notAfter` among the certificates in its status, if it was issued.
    pub certificate_not_after: Option<Timestamp>,
    /// `Date` of the answer.
    pub server_date: Option<Timestamp>,
}

/// Outcome of `Await`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AwaitOutcome {
    /// Approved, with a certificate. A certificate that does not parse is `Unreadable`.
    Issued {
        /// The chain.
        chain: Chain,
        /// `Date` of the verified response that delivered it (for a watch event: of the last answer
        /// on that connection plus the monotonic time since).
        server_date: Option<Timestamp>,
    },
    /// Condition Denied.
    Denied {
        /// Its reason.
        reason: String,
        /// Its message.
        message: String,
    },
    /// Condition Failed.
    Failed {
        /// Its reason.
        reason: String,
        /// Its message.
        message: String,
    },
    /// Deleted, or another object has its name now.
    Gone,
    /// The wait ended with this answer.
    Refused(Refusal),
    /// No condition on it within `silence_max`.
    Silent,
    /// No verdict within the limit.
    TimedOut,
    /// Issued, but what is in `status.certificate` is no chain.
    Unreadable {
        /// Why.
        message: String,
    },
}

/// Outcome of `Confirm`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConfirmOutcome {
    /// The server accepted the credential. A 403 counts as accepted: it knew who we are.
    Confirmed {
        /// `Date` of the answer.
        server_date: Option<Timestamp>,
    },
    /// It did not, or could not be asked.
    Refused(Refusal),
}
