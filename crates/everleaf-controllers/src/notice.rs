//! What the loops tell: one vocabulary for logs, metrics, and whoever else listens.
//!
//! A core or shell says *what happened*, once, as a [`Notice`]; [`Notice::log`] gives it upstream's
//! words (operators search for them) and fields, [`Notice::record`] counts it. Kubernetes
//! Events will be a third reading of the same list, through [`Telemetry`](crate::Telemetry)'s
//! listener. No notice carries a key, a token or a request body.

use crate::approver::Mismatch;
use crate::builtin::BuiltinSigner;
use crate::cleaner::Cause;
use crate::election::Change;
use crate::election::lease::LockName;
use crate::issuance::Standing;
use crate::metrics::{self, Metrics};
use crate::record::{LeafFacts, Record};
use crate::serving::Rule;
use crate::signer::Failure;
use crate::upkeep::Kept;
use everleaf_api::csr::Csr;
use everleaf_pki::{SignerName, Warning};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Which request a notice is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// `metadata.name`.
    pub csr: String,
    /// `spec.signerName`.
    pub signer: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `spec.username`.
    pub username: String,
}

impl About {
    /// What notices say about a request.
    pub fn of(csr: Csr<'_>) -> Self {
        Self {
            csr: csr.name().to_owned(),
            signer: csr.signer_name().to_owned(),
            uid: csr.uid().to_owned(),
            username: csr.username().to_owned(),
        }
    }
}

/// What the policy for serving requests came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Left to others.
    Abstained,
    /// Recorded as denied.
    Denied,
    /// Would be approved, but the policy only tells.
    WouldApprove,
    /// Would be denied, but the policy only tells.
    WouldDeny,
    /// Waits for what is missing.
    Waits,
}

impl Judgement {
    /// Label of the metric.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Abstained => "left",
            Self::Denied => "denied",
            Self::WouldApprove => "would_approve",
            Self::WouldDeny => "would_deny",
            Self::Waits => "waiting",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// The approver recorded an approval.
    Approved {
        /// Which.
        about: About,
        /// From seeing it to the recorded approval.
        latency: Duration,
        /// The recognizer that matched.
        rule: String,
    },
    /// A CA works, but something about it is doubtful (said once per CA).
    CaDoubtful {
        /// Its signers.
        signers: String,
        /// What.
        doubt: Warning,
    },
    /// A CA certificate ends soon (said once per threshold: 180, 90, 30, 14, 7, 3, 1 days).
    CaExpiring {
        /// Its signers.
        signers: String,
        /// Its end.
        not_after: Timestamp,
        /// Whole days left; negative once it has ended.
        days: i64,
    },
    /// A CA certificate is not valid yet (said when it is first seen so).
    CaNotBegun {
        /// Its signers.
        signers: String,
        /// Its begin.
        not_before: Timestamp,
    },
    /// CA files were read and are in use.
    CaLoaded {
        /// Signers that use them.
        signers: String,
        /// The pair, as upstream names it.
        pair: String,
        /// End of the certificate, or of one above it.
        not_after: Timestamp,
        /// It is the CA of before with new dates: what it signed stays good.
        renewed: bool,
    },
    /// CA files changed on disk, but not to a usable pair: the old one stays in use.
    CaReloadFailed {
        /// Signers that use them.
        signers: String,
        /// The pair, as upstream names it.
        pair: String,
        /// What is wrong.
        error: String,
    },
    /// The caches are filled; the loops work.
    CachesSynced {
        /// What was listed.
        plural: &'static str,
        /// How many.
        objects: usize,
    },
    /// The cleaner is about to delete a request: the audit record.
    Cleaning {
        /// What it was.
        record: Arc<Record>,
        /// Why it goes.
        cause: Cause,
    },
    /// A deletion failed; the next pass tries again.
    CleaningFailed {
        /// Which.
        csr: String,
        /// Why.
        error: String,
    },
    /// The cleaner left out a pass, because its ages would be wrong.
    CleaningSkipped {
        /// Server clock minus ours, if known.
        offset: Option<SignedDuration>,
    },
    /// An issued request whose certificate cannot be read, so it is never cleaned.
    CleaningUnreadable {
        /// Which.
        csr: String,
        /// Why.
        error: String,
    },
    /// The clocks of server and controllers are apart by more than 5 minutes, or no longer.
    ClockSkew {
        /// Server clock minus ours.
        offset: SignedDuration,
        /// True when it just became too large, false when it is small again.
        apart: bool,
    },
    /// Our wall clock was set, or the machine slept.
    ClockStepped {
        /// By how much.
        step: SignedDuration,
    },
    /// A write met a newer version of the request; it is read again and decided again.
    Conflict {
        /// Which.
        about: About,
    },
    /// A certificate is sound, but something about it is doubtful (said once per signer and rule).
    Doubtful {
        /// The first request of which it was so.
        about: About,
        /// What.
        warning: Warning,
    },
    /// Who leads, and what stands in the way of knowing it.
    Election {
        /// What happened.
        change: Change,
        /// Who we are.
        identity: String,
        /// The lease, `namespace/name`.
        lock: LockName,
    },
    /// The server did not take an Event about a request; the verdict stands without it.
    EventRefused {
        /// Which.
        csr: String,
        /// Why.
        error: String,
    },
    /// The signer recorded a permanent failure.
    Failed {
        /// Which.
        about: About,
        /// Why.
        failure: Failure,
    },
    /// The policy for serving requests came to something: by which rule, and why.
    Judged {
        /// Which.
        about: About,
        /// To what.
        judgement: Judgement,
        /// Name of the policy.
        policy: String,
        /// The rule that decided; `None`: all hold, or no policy is for it.
        rule: Option<Rule>,
        /// What it said, as in the condition.
        message: String,
    },
    /// The loop breaker delays an approval.
    Held {
        /// Which.
        about: About,
        /// Subject CN.
        common_name: String,
        /// For how long.
        delay: Duration,
        /// How far the requestor's clock is ahead of ours at least, if that is why it asks.
        clock_ahead: SignedDuration,
    },
    /// A renewal is not approved, since the CA ends and it would gain next to nothing.
    HeldForCa {
        /// Which.
        about: About,
        /// How little, and what to do.
        message: String,
        /// Not said lately.
        is_news: bool,
    },
    /// A controller that keeps tokens and what is made of them did something.
    Kept(Kept),
    /// A certificate was recorded.
    Issued {
        /// Which.
        about: About,
        /// From seeing the approval to the recorded certificate.
        latency: Duration,
        /// What was issued.
        leaf: LeafFacts,
        /// It ends with its CA, earlier than asked.
        truncated: bool,
    },
    /// What became of the issuance log (said once per change).
    IssuanceLog(Standing),
    /// A certificate that could not be logged, so that nobody gets it; it is tried again.
    NotLogged {
        /// Which.
        about: About,
        /// Why.
        error: String,
    },
    /// The issuance log cannot be read: what is in it is not known to the approver of serving
    /// requests.
    NotRecalled {
        /// Why.
        error: String,
    },
    /// A recognized request, refused by the access review; it is tried again later.
    NotPermitted {
        /// Which.
        about: About,
        /// The permissions that were asked for, space separated.
        permissions: String,
    },
    /// The policy file was read and is in use, or an inventory that it names.
    PolicyLoaded {
        /// `policy` or `inventory`.
        what: &'static str,
        /// Which.
        file: String,
        /// Policies or nodes in it.
        entries: usize,
        /// What is doubtful about it.
        warnings: Vec<String>,
    },
    /// The policy file, or an inventory that it names, cannot be used: what was read before stays
    /// in use (said once per change).
    PolicyRefused {
        /// `policy` or `inventory`.
        what: &'static str,
        /// Which.
        file: String,
        /// Why.
        error: String,
    },
    /// The API server does not answer, or answers again (said once per change).
    ServerReachable {
        /// What was tried.
        what: String,
        /// Why not; `None` when it works again.
        error: Option<String>,
    },
    /// The issuer of a signer cannot sign at present; requests wait.
    SignerUnavailable {
        /// Which.
        about: About,
        /// Why.
        error: String,
    },
    /// No issuer is configured, so no signer runs.
    SignersSkipped,
    /// About to sign: said before the signature, so that none is without a trace.
    Signing {
        /// Which.
        about: About,
        /// Subject CN.
        common_name: String,
        /// How long it will be valid unless the CA ends before.
        duration: Duration,
    },
    /// A loop starts.
    Starting {
        /// Upstream's name of the loop.
        name: &'static str,
    },
    /// Work on a request failed and will be retried.
    SyncFailed {
        /// Which.
        csr: String,
        /// Why.
        error: String,
    },
    /// Certificates of a signer end with its CA, earlier than configured (said once per CA).
    Truncated {
        /// The signer.
        signer: BuiltinSigner,
        /// End of the CA, and of the certificates.
        not_after: Timestamp,
    },
    /// The request is left to a human, since it can never be approved here.
    Unfit {
        /// Which.
        about: About,
        /// Label of the rule: `unreadable`, `weak_key`.
        rule: &'static str,
        /// Why.
        error: String,
    },
    /// Nobody's rule recognizes the request, so it is someone else's to decide.
    Unrecognized {
        /// Which.
        about: About,
        /// Why not, by the last rule that was tried.
        why: Option<Mismatch>,
    },
    /// A loop waits for the first complete list.
    WaitingForCaches {
        /// Upstream's name of the loop.
        name: &'static str,
    },
}

/// A signer name as a label value: the built-in ones, or `other`.
pub fn signer_label(name: &str) -> &'static str {
    match name {
        SignerName::KUBE_APISERVER_CLIENT => SignerName::KUBE_APISERVER_CLIENT,
        SignerName::KUBE_APISERVER_CLIENT_KUBELET => SignerName::KUBE_APISERVER_CLIENT_KUBELET,
        SignerName::KUBELET_SERVING => SignerName::KUBELET_SERVING,
        SignerName::LEGACY_UNKNOWN => SignerName::LEGACY_UNKNOWN,
        _ => "other",
    }
}

impl Notice {
    /// Counts the notice.
    pub fn record(&self, metrics: &Metrics) {
        let decision = |about: &About, decision: &str, rule: &str| {
            let labels = [
                ("signer", signer_label(&about.signer)),
                ("decision", decision),
                ("rule", rule),
            ];
            metrics.count(metrics::DECISIONS, &labels);
        };
        match self {
            Self::Approved {
                about,
                latency,
                rule,
            } => {
                decision(about, "approved", rule);
                metrics.observe(metrics::APPROVE_LATENCY, &[], *latency);
            }
            Self::Cleaning { cause, .. } => {
                metrics.count(metrics::CLEANED, &[("state", cause.state())]);
            }
            Self::Conflict { .. } => metrics.count(metrics::WRITE_CONFLICTS, &[]),
            Self::Election { change, lock, .. } => record_election(metrics, change, &lock.name),
            Self::Failed { about, failure } => {
                let labels = [
                    ("signer", signer_label(&about.signer)),
                    ("reason", failure.reason()),
                ];
                metrics.count(metrics::FAILED, &labels);
            }
            Self::CleaningSkipped { .. } => metrics.count(metrics::CLEANING_SKIPPED, &[]),
            Self::ClockStepped { .. } => metrics.count(metrics::CLOCK_STEPS, &[]),
            Self::Held { about, .. } => decision(about, "held", "rotation_loop"),
            Self::HeldForCa { about, .. } => decision(about, "held", "ca_ends"),
            Self::Issued {
                about,
                latency,
                truncated,
                ..
            } => {
                let labels = [("signer", signer_label(&about.signer))];
                metrics.count(metrics::ISSUED, &labels);
                metrics.observe(metrics::SIGN_LATENCY, &[], *latency);
                if *truncated {
                    metrics.count(metrics::TRUNCATED, &labels);
                }
            }
            Self::Judged {
                about,
                judgement,
                rule,
                ..
            } => decision(about, judgement.label(), rule.map_or("all", Rule::name)),
            Self::Kept(kept) => kept.record(metrics),
            Self::PolicyLoaded { what, .. } => {
                metrics.set(metrics::POLICY_RELOAD_SUCCESS, &[("file", what)], 1.0);
            }
            Self::PolicyRefused { what, .. } => {
                metrics.set(metrics::POLICY_RELOAD_SUCCESS, &[("file", what)], 0.0);
            }
            Self::IssuanceLog(Standing::Open(_)) => metrics.set(metrics::LOG_UP, &[], 1.0),
            Self::IssuanceLog(_) => metrics.set(metrics::LOG_UP, &[], 0.0),
            Self::NotLogged { .. } => metrics.count(metrics::LOG_FAILURES, &[]),
            Self::NotPermitted { about, .. } => decision(about, "left", "not_permitted"),
            Self::Unfit { about, rule, .. } => decision(about, "left", rule),
            Self::Unrecognized { about, .. } => decision(about, "left", "unrecognized"),
            _ => {}
        }
    }
}

fn record_election(metrics: &Metrics, change: &Change, name: &str) {
    let labels = [("name", name)];
    match change {
        Change::Leading => metrics.set(metrics::LEADER, &labels, 1.0),
        Change::Attempting
        | Change::Lost { .. }
        | Change::Released
        | Change::ReleaseFailed { .. } => metrics.set(metrics::LEADER, &labels, 0.0),
        Change::SlowPath => metrics.count(metrics::LEADER_SLOW_PATH, &labels),
        Change::Failing { .. }
        | Change::Recovered
        | Change::RenewalFailing { .. }
        | Change::Seen { .. } => {}
    }
}
