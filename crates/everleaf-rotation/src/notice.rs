//! What the machine tells: one vocabulary for logs, metrics, Kubernetes Events, the dashboard and
//! the simulator's trace. A notice asks for nothing; dropping all of them changes no behaviour.

use crate::effect::CredentialChoice;
use crate::event::RefusalClass;
use crate::overdue::Dates;
use crate::standing::Standing;
use crate::store::{Finding, RequestName, RequestUid};
use everleaf_pki::{Fingerprint, Leaf, PublicKeyKind, Serial};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// The facts about a leaf that people want to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafSummary {
    /// Serial number.
    pub serial: Serial,
    /// SHA-256 of the DER.
    pub fingerprint: Fingerprint,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// When it becomes due.
    pub deadline: Timestamp,
}

impl LeafSummary {
    /// The summary of `leaf`.
    pub fn of(leaf: &Leaf) -> Self {
        Self {
            serial: leaf.serial().clone(),
            fingerprint: leaf.fingerprint(),
            not_before: leaf.not_before(),
            not_after: leaf.not_after(),
            deadline: crate::deadline::rotation_deadline(leaf),
        }
    }

    /// When it is due, and when it ends.
    pub fn dates(&self) -> Dates {
        Dates {
            deadline: self.deadline,
            not_after: self.not_after,
        }
    }
}

/// How loudly a notice should be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// For those who look closely.
    Debug,
    /// A step of ordinary work.
    Info,
    /// Something an operator should know; the machine copes.
    Warning,
    /// Something went wrong, or a person must act.
    Error,
}

/// Why a rotation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// There is no credential.
    Absent,
    /// The CA that signed the credential is being replaced.
    Authority,
    /// The rotation deadline has come.
    Deadline,
    /// Our clock calls the credential expired.
    Expired,
    /// The server refuses the credential.
    Refused,
    /// The credential lacks something the template wants.
    Template,
}

impl Cause {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "there is no certificate",
            Self::Authority => "the CA that signed the certificate is being replaced",
            Self::Deadline => "the rotation deadline has come",
            Self::Expired => "the certificate has expired by this host's clock",
            Self::Refused => "the server refuses the certificate",
            Self::Template => "the certificate is not what is wanted",
        }
    }
}

/// What keeps a rotation from being attempted at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Block {
    /// A serving certificate waits for the client certificate.
    NoClientCredential,
    /// There is nothing to ask for: no addresses are known yet.
    NoTemplate,
    /// Too many new requests in the last hour; see [`Notice::Blocked`].
    TooManyRequests,
}

impl Block {
    /// The metric label: `no_client_credential`, `no_template`, `too_many_requests`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoClientCredential => "no_client_credential",
            Self::NoTemplate => "no_template",
            Self::TooManyRequests => "too_many_requests",
        }
    }
}

/// Why the machine is stuck: only a person can help, though it keeps trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StuckReason {
    /// The server answered 401 to every credential there is.
    AllRefused,
    /// There is no credential at all to ask with.
    NoCredential,
}

/// Which part of the work failed; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailedStep {
    /// Waiting for the verdict.
    Await,
    /// Asking whether a credential is accepted.
    Confirm,
    /// Writing the new credential.
    Install,
    /// Reading the store.
    Load,
    /// Making the key and the request.
    Prepare,
    /// Marking as accepted, pruning, discarding or reverting.
    Store,
    /// Creating the request.
    Submit,
}

impl FailedStep {
    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Await => "await",
            Self::Confirm => "confirm",
            Self::Install => "install",
            Self::Load => "load",
            Self::Prepare => "prepare",
            Self::Store => "store",
            Self::Submit => "submit",
        }
    }
}

/// What a decision against a request says about the names and addresses in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusedNames {
    /// It names all of them: there is nothing to ask for without them.
    All,
    /// It names these: they are left out from now on, until other names are wanted.
    LeftOut(Vec<String>),
    /// It names none of them.
    Unnamed,
}

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A rotation attempt begins (upstream: "Rotating certificates").
    AttemptBegan {
        /// Why.
        cause: Cause,
        /// What the certificate lacks, when that is why.
        lack: Option<String>,
    },
    /// Nothing can be asked for, or asked with; told once until it ends.
    Blocked {
        /// What blocks.
        block: Block,
        /// How long, when that is known.
        wait: Option<Duration>,
    },
    /// A block has ended.
    Unblocked {
        /// Which.
        block: Block,
    },
    /// A new leaf is valid at the server but not by our clock, or in its rotation window at birth.
    ClockSkew {
        /// This host's clock.
        node: Timestamp,
        /// The server's clock.
        server: Timestamp,
        /// The leaf that shows it.
        leaf: LeafSummary,
        /// How long the machine waits before it rotates again, at least.
        wait: Duration,
    },
    /// The wall clock moved against the monotonic one (set, or suspend).
    ClockStepped {
        /// How far; positive is forward.
        by: SignedDuration,
        /// Where it stands now.
        now: Timestamp,
    },
    /// The server accepted the current credential.
    Confirmed {
        /// The leaf.
        leaf: LeafSummary,
    },
    /// An attempt failed; the next one comes after `wait`.
    Failed {
        /// At which step.
        step: FailedStep,
        /// Class of the server's refusal; `None` for a local failure.
        class: Option<RefusalClass>,
        /// For people.
        message: String,
        /// Failures in a row.
        failures: u32,
        /// Until the next attempt.
        wait: Duration,
    },
    /// A new credential is current. Ends an attempt.
    Installed {
        /// What it replaced, and how old that was by our clock (upstream's histogram); none at
        /// first.
        replaced: Option<(LeafSummary, SignedDuration)>,
        /// The new leaf.
        leaf: LeafSummary,
    },
    /// The server delivered a certificate; it is checked next.
    Issued {
        /// The request.
        name: RequestName,
        /// The leaf.
        leaf: LeafSummary,
        /// Since the request was prepared, by our clock.
        after: SignedDuration,
    },
    /// An issued certificate differs from what was asked, in a way that does not prevent its use.
    LeafDiffers {
        /// The leaf.
        leaf: LeafSummary,
        /// What differs.
        difference: String,
    },
    /// An issued certificate must not be installed.
    LeafRejected {
        /// The leaf.
        leaf: LeafSummary,
        /// Why.
        reason: String,
    },
    /// The store was read.
    Loaded {
        /// Standing of the current credential.
        standing: Standing,
        /// Its leaf.
        leaf: Option<LeafSummary>,
        /// A pending request found.
        pending: Option<RequestName>,
    },
    /// The current certificate is of another name than is wanted: the host was renamed, or its disk
    /// copied. It is handed to nobody, and asks only where nothing else can. Told once per `next`.
    NotThisNodes {
        /// The leaf.
        leaf: LeafSummary,
        /// Common name of the leaf.
        holder: String,
        /// The one that is wanted.
        wanted: String,
        /// What asks in its place, if something can.
        next: Option<CredentialChoice>,
    },
    /// Our clock is before `notBefore` of the current leaf; it stays in use. Told once per leaf.
    NotYetValid {
        /// The leaf.
        leaf: LeafSummary,
        /// This host's clock.
        node: Timestamp,
    },
    /// The control plane does not take the configured kind of key: it is asked again with an ECDSA
    /// P-256 key, at once.
    KeyRefused {
        /// The request.
        name: RequestName,
        /// The kind.
        kind: PublicKeyKind,
        /// Why, as it said.
        message: String,
    },
    /// A pending request was given up.
    PendingDiscarded {
        /// The request.
        name: RequestName,
        /// Why.
        reason: &'static str,
    },
    /// Old files were deleted.
    Pruned {
        /// How many.
        deleted: usize,
    },
    /// The server let a credential in, and forbade it to ask (403); another is tried at once.
    CredentialForbidden {
        /// Which.
        credential: CredentialChoice,
        /// The server's words.
        message: String,
        /// What is tried.
        next: CredentialChoice,
    },
    /// The server refused the current credential with 401.
    CredentialRefused {
        /// Which.
        credential: CredentialChoice,
        /// How many times in a row.
        times: u32,
    },
    /// The server or signer decided against a request, with its words.
    RequestDecided {
        /// The request.
        name: RequestName,
        /// `Denied` or `Failed`; `Refused` when the API server did not take it because of its
        /// names.
        condition: &'static str,
        /// Condition reason.
        reason: String,
        /// Condition message.
        message: String,
        /// Which names of the request it is about.
        names: RefusedNames,
        /// Until a new request may be made.
        wait: Duration,
    },
    /// The request object is gone, or another has its name.
    RequestGone {
        /// The request.
        name: RequestName,
    },
    /// Key and request are on disk.
    RequestPrepared {
        /// The request.
        name: RequestName,
    },
    /// A request made earlier is taken up again.
    RequestResumed {
        /// The request.
        name: RequestName,
    },
    /// The object exists on the server.
    RequestSubmitted {
        /// The request.
        name: RequestName,
        /// Its UID.
        uid: RequestUid,
        /// With what it was authenticated.
        credential: CredentialChoice,
        /// It was there already, made earlier by this node with the same key.
        existed: bool,
    },
    /// Nobody decided within the limit; the same request stays.
    RequestUndecided {
        /// The request.
        name: RequestName,
    },
    /// The last accepted credential is current again.
    Reverted {
        /// The leaf.
        leaf: LeafSummary,
    },
    /// The lifetime granted is so short that the machine can hardly keep up.
    ShortLifetime {
        /// The leaf.
        leaf: LeafSummary,
    },
    /// Nothing more can be tried; the machine goes on slowly and deletes nothing.
    Stuck {
        /// Why.
        reason: StuckReason,
        /// The leaf it holds, if any.
        leaf: Option<LeafSummary>,
        /// Until the next try.
        wait: Duration,
    },
    /// Recovery of the store did something.
    StoreRecovered(Finding),
    /// Nothing is due; the machine waits.
    Waiting {
        /// For this deadline; none when it has passed, and spacing (told with `ClockSkew`) holds
        /// the next rotation back.
        deadline: Option<Timestamp>,
    },
}

impl Notice {
    /// How loudly to tell it.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Confirmed { .. } | Self::Waiting { .. } | Self::Pruned { .. } => Severity::Debug,
            Self::AttemptBegan { .. }
            | Self::Installed { .. }
            | Self::Issued { .. }
            | Self::Loaded { .. }
            | Self::RequestPrepared { .. }
            | Self::RequestResumed { .. }
            | Self::RequestSubmitted { .. }
            | Self::Blocked {
                block: Block::NoClientCredential | Block::NoTemplate,
                ..
            }
            | Self::Unblocked { .. } => Severity::Info,
            Self::Blocked {
                block: Block::TooManyRequests,
                ..
            }
            | Self::ClockSkew { .. }
            | Self::ClockStepped { .. }
            | Self::CredentialForbidden { .. }
            | Self::CredentialRefused { .. }
            | Self::NotThisNodes { next: Some(_), .. }
            | Self::Failed { .. }
            | Self::LeafDiffers { .. }
            | Self::NotYetValid { .. }
            | Self::KeyRefused { .. }
            | Self::PendingDiscarded { .. }
            | Self::RequestDecided {
                names: RefusedNames::LeftOut(_),
                ..
            }
            | Self::RequestGone { .. }
            | Self::RequestUndecided { .. }
            | Self::Reverted { .. }
            | Self::ShortLifetime { .. }
            | Self::StoreRecovered(
                Finding::FinishedSwap { .. }
                | Finding::Relinked { .. }
                | Finding::UnusablePending { .. },
            ) => Severity::Warning,
            Self::LeafRejected { .. }
            | Self::NotThisNodes { next: None, .. }
            | Self::RequestDecided { .. }
            | Self::StoreRecovered(
                Finding::NotALink { .. }
                | Finding::NotRepaired { .. }
                | Finding::Quarantined { .. },
            )
            | Self::Stuck { .. } => Severity::Error,
        }
    }
}
