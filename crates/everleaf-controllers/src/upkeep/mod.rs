//! Controllers that keep a few objects as they should be: bootstrap tokens, what is made of
//! them, and the published CAs. No I/O but in [`root_ca`].
//!
//! Each is a set of [`Rules`] over what was seen of the cluster; one [`Machine`] drives any of
//! them: it owns the queue, the order of calls, and when to come back. A rule never writes on the
//! strength of half a list, and whatever fails is tried again with backoff.
//!
//! ```text
//! followers ─▶ Rules::take ─▶ queue ─▶ Rules::judge ─▶ call ─▶ Rules::answered ─▶ done
//!                               ▲           ▲────────────────────┘ again │
//!                               └───────────────── later ◀───────────────┘
//! ```

pub mod bootstrap_signer;
pub mod ca_publisher;
pub(crate) mod cache;
mod notice;
pub mod pod_certificate_cleaner;
pub mod revocation_list;
pub mod root_ca;
pub mod token;
pub mod token_cleaner;
pub mod trust_bundles;

use crate::call::{Answer, Call};
use crate::config::{Config, Loop};
use crate::follower::Delta;
use crate::issuance::Entry;
use crate::issuers::SharedIssuer;
use crate::notice::Notice;
use crate::pods::PodCertificateSigner;
use crate::queue::{Next, Outcome, Queue};
use everleaf_time::{Monotonic, Now};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use bootstrap_signer::BootstrapSigner;
pub use ca_publisher::CaPublisher;
pub use notice::Kept;
pub use pod_certificate_cleaner::PodCertificateCleaner;
pub use revocation_list::RevocationListPublisher;
pub use root_ca::{Bundle, RootCa, RootCaError, RootCaSource};
pub use token_cleaner::TokenCleaner;
pub use trust_bundles::TrustBundlePublisher;

/// First delay after a failure: client-go's default
/// (`util/workqueue/default_rate_limiters.go`).
const BACKOFF_MIN: Duration = Duration::from_millis(5);
/// Longest time before what depends on a clock is judged again: clocks are set.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    /// The ConfigMap kube-public/cluster-info.
    ClusterInfo,
    /// All namespaces.
    Namespaces,
    /// All PodCertificateRequests.
    PodCertificateRequests,
    /// The ConfigMap kube-public/everleaf-revocation-list.
    RevocationList,
    /// The ConfigMap kube-system/everleaf-revocations.
    Revocations,
    /// The ConfigMaps kube-root-ca.crt, one in each namespace.
    RootCas,
    /// Bootstrap tokens: Secrets of their type in kube-system.
    Tokens,
    /// All ClusterTrustBundles, in the newest version that the server has.
    TrustBundles,
}

impl Watched {
    /// What readiness calls it.
    pub const fn component(self) -> &'static str {
        match self {
            Self::ClusterInfo => "cluster-info",
            Self::Namespaces => "namespaces",
            Self::PodCertificateRequests => "podcertificaterequests",
            Self::RevocationList => "everleaf-revocation-list",
            Self::Revocations => "everleaf-revocations",
            Self::RootCas => "kube-root-ca.crt",
            Self::Tokens => "bootstrap tokens",
            Self::TrustBundles => "clustertrustbundles",
        }
    }
}

/// When something is judged.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Both clocks.
    pub now: Now,
    /// The API server's clock minus ours, once that is known.
    pub offset: Option<SignedDuration>,
}

impl Moment {
    /// The API server's time, as well as we know it.
    pub fn server(&self) -> Timestamp {
        let wall = self.now.wall;
        let offset = self.offset.unwrap_or(SignedDuration::ZERO);
        wall.checked_add(offset).unwrap_or(wall)
    }
}

/// What is to be done about a key.
#[derive(Debug)]
pub enum Verdict {
    /// Make this call.
    Call(Call),
    /// Have this entry logged; what is next, [`Rules::logged`] says.
    Log(Box<Entry>),
    /// Nothing, or not now.
    Done(Outcome),
}

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// Judge the key again at once.
    Again,
    /// Give it back.
    Done(Outcome),
}

/// One controller: what it looks at, and what it makes of it.
pub trait Rules: Send {
    /// What it is called after "Starting", in upstream's words.
    fn title(&self) -> &'static str;
    /// Upstream's name of its queue, in metrics.
    fn queue_name(&self) -> &'static str;
    /// What it looks at.
    fn watches(&self) -> &'static [Watched];
    /// Takes in what was seen; returns the keys that it concerns.
    fn take(&mut self, watched: Watched, delta: Delta) -> Vec<String>;
    /// Whether everything was listed once.
    fn is_synced(&self) -> bool;
    /// Every key, to be judged anew.
    fn keys(&self) -> Vec<String>;
    /// Whether judging may wait for somebody else: then it is done where waiting does no harm.
    fn may_block(&self) -> bool {
        false
    }
    /// What to do about a key, now that the entry that was asked for is durable, or why it is not.
    fn logged(
        &mut self,
        _key: &str,
        _logged: Result<(), String>,
        _moment: Moment,
        _told: &mut Vec<Kept>,
    ) -> Verdict {
        Verdict::Done(Outcome::Finished)
    }
    /// What to do about a key.
    fn judge(&mut self, key: &str, moment: Moment, told: &mut Vec<Kept>) -> Verdict;
    /// What the answer to the call about this key means.
    fn answered(
        &mut self,
        key: &str,
        answer: &Answer,
        moment: Moment,
        told: &mut Vec<Kept>,
    ) -> Reply;
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Make this call and hand in its answer.
    Call(Call),
    /// Log this and say whether it is durable.
    Log(Box<Entry>),
    /// Tell people.
    Tell(Box<Notice>),
    /// Nothing until this instant, or (`None`) until something was taken in.
    Wait(Option<Monotonic>),
}

/// See the module documentation.
pub struct Machine {
    rules: Box<dyn Rules>,
    queue: Queue<String>,
    /// Keys that became ready, and keys that failed, so far.
    counts: (u64, u64),
    /// The key in hand.
    held: Option<String>,
    steps: VecDeque<Step>,
}

impl Machine {
    /// A controller that has seen nothing yet.
    pub fn new(rules: impl Rules + 'static) -> Self {
        Self {
            rules: Box::new(rules),
            queue: Queue::with_backoff(BACKOFF_MIN),
            counts: (0, 0),
            held: None,
            steps: VecDeque::new(),
        }
    }

    /// What it looks at, and its names.
    pub fn rules(&self) -> &dyn Rules {
        &*self.rules
    }

    /// Takes in what a follower saw.
    pub fn take(&mut self, watched: Watched, delta: Delta, now: Monotonic) {
        let was_synced = self.rules.is_synced();
        let keys = self.rules.take(watched, delta);
        if was_synced {
            self.add(keys, now);
        } else if self.rules.is_synced() {
            self.look_again(now);
        }
    }

    /// Has everything judged anew: a clock was set, or a file has changed.
    pub fn look_again(&mut self, now: Monotonic) {
        let keys = self.rules.keys();
        self.add(keys, now);
    }

    fn add(&mut self, keys: Vec<String>, now: Monotonic) {
        for key in keys {
            self.counts.0 += u64::from(self.queue.add(key, now));
        }
    }

    /// What to do next. After a [`Step::Call`] its answer has to be handed in before, after a
    /// [`Step::Log`] what came of it.
    pub fn step(&mut self, moment: Moment) -> Step {
        loop {
            if let Some(step) = self.steps.pop_front() {
                return step;
            }
            if !self.rules.is_synced() {
                return Step::Wait(None);
            }
            match self.queue.next(moment.now.monotonic) {
                Next::Idle => return Step::Wait(None),
                Next::WaitUntil(at) => return Step::Wait(Some(at)),
                Next::Ready { key, .. } => self.judge(key, moment),
            }
        }
    }

    /// Takes in the answer to the call that was asked for.
    pub fn answer(&mut self, answer: &Answer, moment: Moment) {
        let Some(key) = self.held.take() else { return };
        let mut told = Vec::new();
        let reply = self.rules.answered(&key, answer, moment, &mut told);
        self.tell(told);
        match reply {
            Reply::Again => self.judge(key, moment),
            Reply::Done(outcome) => self.done(&key, outcome, moment),
        }
    }

    /// Takes in whether the entry that was asked for is durable.
    pub fn logged(&mut self, logged: Result<(), String>, moment: Moment) {
        let Some(key) = self.held.take() else { return };
        let mut told = Vec::new();
        let verdict = self.rules.logged(&key, logged, moment, &mut told);
        self.tell(told);
        self.follow(key, verdict, moment);
    }

    fn judge(&mut self, key: String, moment: Moment) {
        let mut told = Vec::new();
        let verdict = self.rules.judge(&key, moment, &mut told);
        self.tell(told);
        self.follow(key, verdict, moment);
    }

    fn follow(&mut self, key: String, verdict: Verdict, moment: Moment) {
        match verdict {
            Verdict::Call(call) => {
                self.steps.push_back(Step::Call(call));
                self.held = Some(key);
            }
            Verdict::Log(entry) => {
                self.steps.push_back(Step::Log(entry));
                self.held = Some(key);
            }
            Verdict::Done(outcome) => self.done(&key, outcome, moment),
        }
    }

    fn done(&mut self, key: &String, outcome: Outcome, moment: Moment) {
        self.counts.1 += u64::from(matches!(outcome, Outcome::Failed { .. }));
        self.queue.done(key, outcome, moment.now.monotonic);
    }

    fn tell(&mut self, told: Vec<Kept>) {
        let notices = told.into_iter().map(|one| Box::new(Notice::Kept(one)));
        self.steps.extend(notices.map(Step::Tell));
    }

    /// Depth of the queue, keys that became ready so far, and keys that failed so far.
    pub fn load(&self) -> (usize, u64, u64) {
        (self.queue.depth(), self.counts.0, self.counts.1)
    }
}

/// The controllers of these that `config` switches on.
pub(crate) fn machines(
    config: &Config,
    root_ca: Option<&RootCa>,
    signer_cas: &BTreeMap<String, RootCa>,
    pod_issuer: Option<&SharedIssuer>,
    node_issuer: Option<&SharedIssuer>,
) -> Vec<Machine> {
    let mut machines = Vec::new();
    let runs = |one| config.loops.contains(&one);
    if let Some(root_ca) = root_ca.filter(|_| runs(Loop::RootCaPublisher)) {
        machines.push(Machine::new(CaPublisher::new(root_ca.bundle().clone())));
    }
    let of_api_server = root_ca.filter(|_| runs(Loop::TrustBundlePublisher));
    let of_api_server = of_api_server.map(|ca| (trust_bundles::API_SERVER, ca));
    let published = signer_cas.iter().map(|(signer, ca)| (signer.as_str(), ca));
    let bundles: BTreeMap<_, _> = published
        .chain(of_api_server)
        .map(|(signer, ca)| (signer.to_owned(), ca.bundle().clone()))
        .collect();
    if !bundles.is_empty() {
        machines.push(Machine::new(TrustBundlePublisher::new(bundles)));
    }
    if let (Some(pods), Some(issuer)) = (&config.pod_signer, pod_issuer) {
        let (serials, is_logging) = (config.serials.clone(), config.issuance_log.is_some());
        machines.push(Machine::new(PodCertificateSigner::new(
            pods.policy.clone(),
            issuer.clone(),
            serials,
            is_logging,
        )));
    }
    if let Some(issuer) = node_issuer.filter(|_| runs(Loop::RevocationListPublisher)) {
        machines.push(Machine::new(RevocationListPublisher::new(issuer.clone())));
    }
    if runs(Loop::PodCertificateCleaner) {
        machines.push(Machine::new(PodCertificateCleaner::default()));
    }
    if runs(Loop::BootstrapSigner) {
        machines.push(Machine::new(BootstrapSigner::default()));
    }
    if runs(Loop::TokenCleaner) {
        machines.push(Machine::new(TokenCleaner::default()));
    }
    machines
}

#[cfg(test)]
pub(crate) mod tests;
