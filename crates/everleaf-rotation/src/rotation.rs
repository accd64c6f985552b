//! The rotation machine: one per certificate.
//!
//! It owns the phase of one certificate's rotation: what to do next, with which credential, and
//! when. It refuses to know how anything is done. Each turn ends in one question to
//! [`startup::first_step`](crate::startup::first_step), asked of what *is* (store, clock, server's
//! answers), so that start, retry, wake-up and recovery are one path.
//!
//! ```text
//!          Load ─▶ (nothing due) ─▶ Confirm ─▶ Accept ─▶ wait for the deadline
//!           │                          ▲
//!           └─▶ Prepare ─▶ Submit ─▶ Await ─▶ Install ─▶ Publish ─▶ DiscardPending
//! ```

mod advance;
mod answers;
mod key_form;
mod refused_names;
mod replies;
mod spacing;
mod trust;
mod usage_form;
pub mod verdict;

#[cfg(test)]
mod tests;

use crate::backoff::Generator;
use crate::certificate::CertificateId;
use crate::deadline::Timing;
use crate::effect::{CredentialChoice, Effect};
use crate::event::{Event, Sources};
use crate::notice::{Block, Cause, LeafSummary, Notice, StuckReason};
use crate::overdue::Dates;
use crate::standing::Standing;
use crate::store::{PendingRequest, RequestName};
use crate::time::{Monotonic, Now, StepDetector, Wake};
use everleaf_pki::{Fingerprint, Leaf, SignerName, Template, Usage};
use jiff::Timestamp;
use key_form::KeyChoice;
use spacing::Spacing;
use std::collections::VecDeque;
use std::time::Duration;
use trust::Trust;
use usage_form::UsageForm;

pub use usage_form::{SILENCE_MAX, is_long_for};

/// How long one `Await` may last; afterwards the same request is awaited again
/// (client-go `certificate_manager.go`, `certificateWaitTimeout`).
pub const AWAIT_MAX: Duration = Duration::from_secs(15 * 60);

/// How long a pending request is worth waiting for.
pub const PENDING_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the server is asked for the answer to a request that was found to be older than that.
pub const LAST_LOOK_MAX: Duration = Duration::from_secs(60);

/// How long a changed template must stay before a pending request is given up for it.
pub const TEMPLATE_DEBOUNCE: Duration = Duration::from_secs(10);

/// How long a machine that waits for something else, or for nothing at all, rests before it reads
/// everything again: a change that nobody told it of is found after this long.
pub const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);

/// What one machine keeps renewed.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which certificate.
    pub id: CertificateId,
    /// Who should sign.
    pub signer_name: SignerName,
    /// Subject and SANs wanted at start; `None` when not known yet. Later changes come as
    /// [`Event::TemplateChanged`].
    pub template: Option<Template>,
    /// Usages to ask for.
    pub usages: Vec<Usage>,
    /// The other form of usages: with key encipherment, which control planes before 1.25 insist on.
    /// The server's version decides which form is asked; where it is not known, a rejection, or
    /// silence, brings one request in the other form. Empty when there is no choice.
    pub usages_long: Vec<Usage>,
    /// Whether a certificate is renewed at its deadline. Without, one is fetched where none is
    /// held, or it has ended or is refused (a kubelet with a bootstrap kubeconfig and without
    /// `--rotate-certificates`).
    pub renews: bool,
    /// `spec.expirationSeconds`; `None` leaves the lifetime to the signer, as a kubelet does.
    pub expiration_seconds: Option<i32>,
    /// When a certificate is renewed.
    pub timing: Timing,
}

/// What the machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// For a verdict on the pending request.
    Awaiting,
    /// After a failure.
    BackingOff,
    /// Writing, confirming or pruning credentials.
    Installing,
    /// Reading the store, making key and request.
    Preparing,
    /// Nothing more can be tried without a person; it goes on trying slowly.
    Stuck,
    /// Creating the request.
    Submitting,
    /// For a deadline, a template, or the client certificate.
    Waiting,
}

impl Phase {
    /// The word: `waiting`, `backing off`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Awaiting => "awaiting",
            Self::BackingOff => "backing off",
            Self::Installing => "installing",
            Self::Preparing => "preparing",
            Self::Stuck => "stuck",
            Self::Submitting => "submitting",
            Self::Waiting => "waiting",
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the machine asked for and has no answer to yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Accepting,
    AskingVersion,
    Awaiting(CredentialChoice),
    Confirming(CredentialChoice),
    Discarding,
    /// Nothing is outstanding.
    Idle,
    /// With the server's date at delivery.
    Installing(Timestamp),
    Loading,
    Preparing,
    Reverting,
    Submitting(CredentialChoice),
}

/// What has been told already, so that it is told once.
#[derive(Debug, Default)]
struct Told {
    block: Option<Block>,
    not_this_nodes: Option<(Fingerprint, Option<CredentialChoice>)>,
    not_yet_valid: Option<Fingerprint>,
    short_lifetime: Option<Fingerprint>,
    waiting: Option<Option<Timestamp>>,
}

/// The machine. Deterministic: the same seed and the same calls give the same effects and notices.
///
/// Drive it like this: call [`handle_timeout`](Self::handle_timeout) once; then, for ever, drain
/// [`poll_notice`](Self::poll_notice) and [`poll_effect`](Self::poll_effect), and call
/// [`handle_event`](Self::handle_event) for each answer, or `handle_timeout` when
/// [`poll_timeout`](Self::poll_timeout) is reached.
#[derive(Debug)]
pub struct Rotation {
    config: Config,
    jitter: Generator,
    effects: VecDeque<Effect>,
    notices: VecDeque<Notice>,
    /// What is, as last read or as answers have changed it since.
    current: Option<Leaf>,
    /// There was no other certificate before it.
    is_first: bool,
    last_accepted: Option<Leaf>,
    pending: Option<PendingRequest>,
    sources: Sources,
    /// As the embedder wants it.
    wished: Option<Template>,
    /// The same without the names that were refused: what counts everywhere else.
    template: Option<Template>,
    /// What is outstanding, and until when its answer is expected.
    step: Step,
    answer_by: Monotonic,
    /// The leaf that is to be renewed early, and when.
    early: Option<(Fingerprint, Timestamp)>,
    /// The store must be read before anything else.
    must_load: bool,
    /// Whether the store was ever read.
    was_loaded: bool,
    /// The store was read since the machine last rested.
    is_fresh: bool,
    /// When it rests without a point in time to wait for: it reads everything again then.
    look_again_at: Option<Monotonic>,
    /// After a failure: not before this.
    retry_at: Option<Monotonic>,
    stuck: Option<StuckReason>,
    /// Failures, decisions against us, and rounds of being stuck, each in a row.
    failures: u32,
    decisions: u32,
    stuck_rounds: u32,
    /// When to mark the current credential as accepted, if that is to be done.
    accept_at: Option<Monotonic>,
    /// Until when a changed template is watched before it counts.
    template_settles_at: Monotonic,
    /// Until when a template that nobody has told yet is waited for.
    template_due_by: Monotonic,
    /// When the pending request of that name becomes too old.
    pending_ends: Option<(RequestName, Monotonic)>,
    /// When a pending key was last replaced because its object was of no use.
    rekeyed_at: Option<Monotonic>,
    /// Why the running attempt was begun.
    attempt: Option<Cause>,
    usage_form: UsageForm,
    key_choice: KeyChoice,
    trust: Trust,
    spacing: Spacing,
    published: Option<Fingerprint>,
    told: Told,
    is_server_healthy: bool,
    clock_steps: StepDetector,
    /// What it waits for, looks at what nobody told it of apart.
    wake: Wake,
}

impl Rotation {
    /// A machine that has not looked at anything yet. `seed` feeds its jitter. Call
    /// [`handle_timeout`](Self::handle_timeout) once to start it.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            jitter: Generator::from_seed(seed),
            effects: VecDeque::new(),
            notices: VecDeque::new(),
            current: None,
            is_first: false,
            last_accepted: None,
            pending: None,
            sources: Sources::default(),
            wished: config.template.clone(),
            template: config.template.clone(),
            step: Step::Idle,
            answer_by: Monotonic::default(),
            early: None,
            must_load: true,
            was_loaded: false,
            is_fresh: false,
            look_again_at: None,
            retry_at: None,
            stuck: None,
            failures: 0,
            decisions: 0,
            stuck_rounds: 0,
            accept_at: None,
            template_settles_at: Monotonic::default(),
            template_due_by: Monotonic::default(),
            pending_ends: None,
            rekeyed_at: None,
            attempt: None,
            usage_form: UsageForm::default(),
            key_choice: KeyChoice::default(),
            trust: Trust::default(),
            spacing: Spacing::default(),
            published: None,
            told: Told::default(),
            is_server_healthy: false,
            clock_steps: StepDetector::default(),
            wake: Wake::default(),
            config,
        }
    }

    /// Takes in what happened, at `now`.
    pub fn handle_event(&mut self, now: Now, event: Event) {
        self.observe_clock(now);
        self.take_in(now, event);
        self.advance(now);
    }

    /// Looks at the time. To be called when [`poll_timeout`](Self::poll_timeout) is reached, and at
    /// least every [`NAP_MAX`](crate::NAP_MAX).
    pub fn handle_timeout(&mut self, now: Now) {
        self.observe_clock(now);
        self.give_up_overdue(now);
        self.advance(now);
    }

    /// The next thing to carry out, in order. Drain it after each `handle_…` call.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The next thing to tell, in order. Drain it after each `handle_…` call.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next. `None` only before the first
    /// call: no wait is without an end, so that an event that never comes cannot hold it up.
    pub fn poll_timeout(&self) -> Option<Wake> {
        let mut wake = self.wake;
        if let Some(at) = self.look_again_at.filter(|_| self.is_resting()) {
            wake.monotonic = Some(wake.monotonic.map_or(at, |other| other.min(at)));
        }
        (wake != Wake::default()).then_some(wake)
    }

    /// Whether nothing is outstanding, and nothing failed.
    fn is_resting(&self) -> bool {
        self.step == Step::Idle && self.retry_at.is_none()
    }

    /// Which certificate it keeps.
    pub fn id(&self) -> &CertificateId {
        &self.config.id
    }

    /// What the machine is doing.
    pub fn phase(&self) -> Phase {
        if self.stuck.is_some() {
            return Phase::Stuck;
        }
        match self.step {
            Step::Accepting | Step::Discarding | Step::Installing(_) | Step::Reverting => {
                Phase::Installing
            }
            Step::Awaiting(_) => Phase::Awaiting,
            Step::AskingVersion | Step::Loading | Step::Preparing => Phase::Preparing,
            Step::Submitting(_) => Phase::Submitting,
            Step::Idle if self.retry_at.is_some() => Phase::BackingOff,
            Step::Idle | Step::Confirming(_) => Phase::Waiting,
        }
    }

    /// Standing of the current credential at `now`.
    pub fn standing(&self, now: Timestamp) -> Standing {
        let Some(leaf) = &self.current else {
            return Standing::Absent;
        };
        Standing::by_dates(leaf.not_before(), leaf.not_after(), self.due(leaf), now)
    }

    /// The summary of `leaf`, which is the current one or about to be.
    pub(super) fn summary(&self, leaf: &Leaf) -> LeafSummary {
        LeafSummary {
            deadline: self.due(leaf),
            ..LeafSummary::of(leaf)
        }
    }

    /// When the current leaf becomes due.
    fn due(&self, leaf: &Leaf) -> Timestamp {
        self.config.timing.deadline(leaf, self.is_first)
    }

    /// When the current certificate is due, and when it ends.
    pub fn dates(&self) -> Option<Dates> {
        self.current.as_ref().map(|leaf| self.summary(leaf).dates())
    }

    /// Leaf of the current credential, expired or not.
    pub fn current(&self) -> Option<&Leaf> {
        self.current.as_ref()
    }

    /// Rotation deadline of the current credential, or when it is to be renewed before that.
    pub fn deadline(&self) -> Option<Timestamp> {
        let deadline = self.current.as_ref().map(|leaf| self.due(leaf))?;
        Some(self.early().map_or(deadline, |early| early.min(deadline)))
    }

    /// What [`Event::RenewalWanted`] said last.
    pub fn wanted_early(&self) -> Option<(Fingerprint, Timestamp)> {
        self.early
    }

    /// When the current credential is to be renewed for its CA's sake.
    fn early(&self) -> Option<Timestamp> {
        let (fingerprint, at) = self.early.filter(|_| self.config.renews)?;
        let is_current = |leaf: &Leaf| leaf.fingerprint() == fingerprint;
        self.current.as_ref().is_some_and(is_current).then_some(at)
    }

    /// The request that the machine is waiting for.
    pub fn pending(&self) -> Option<&PendingRequest> {
        self.pending.as_ref()
    }

    /// Whether the server accepted the current credential since this machine was made.
    pub fn is_confirmed(&self) -> bool {
        self.current.is_some() && self.trust.is_confirmed
    }

    /// Whether the last request showed a working API server; `false` before the first one.
    pub fn is_server_healthy(&self) -> bool {
        self.is_server_healthy
    }

    /// Sees to it that a rest ends, also when what it waits for never comes.
    fn look_again(&mut self, now: Now, is_blocked: bool) {
        if !is_blocked && self.wake != Wake::default() {
            self.look_again_at = None;
            return;
        }
        self.look_again_at
            .get_or_insert(now.monotonic + LOOK_AGAIN_AFTER);
    }

    fn sleep_until(&mut self, at: Monotonic) {
        self.wake = Wake {
            wall: None,
            monotonic: Some(at),
        };
    }

    fn wake_at(&mut self, at: Monotonic) {
        let earlier = self.wake.monotonic.map_or(at, |other| other.min(at));
        self.wake.monotonic = Some(earlier);
    }
}
