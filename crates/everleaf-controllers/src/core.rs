//! What all loops decide from: the index, the queues, the loop breaker, the issuers. No I/O.
//!
//! The shell ([`crate::run()`]) and a simulator drive the same one: they bring in what the follower
//! saw, hand out work, and carry the calls of the attempts. Every lock here is held for a lookup or
//! an insertion.

use crate::approver::{Policy, Review};
use crate::attempt::{Attempt, Task};
use crate::breaker::{Breaker, Subject, Validity};
use crate::builtin::BuiltinSigner;
use crate::config::{Config, Loop, SerialSource};
use crate::event;
use crate::follower::Delta;
use crate::index::{Change, Entry, Index, OpenRequest, Stage};
use crate::issuers::Issuers;
use crate::notice::Notice;
use crate::queue::{Next, Outcome, Queue};
use crate::record::{IssuedChain, Record};
use crate::serving::{self, Affected, Look, PolicySet, Saw, Source};
use crate::signer::{self, Issuance};
use everleaf_api::csr::Csr;
use everleaf_pki::{ApprovedRequest, Issuer, SignerName};
use everleaf_time::{Monotonic, Now};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A CA with less than this left gives certificates that hardly outlive those that nodes have.
const CA_LEFT_FEW: SignedDuration = SignedDuration::from_hours(24);
/// What a renewal has to gain then, to be approved without a human.
const GAIN_MIN: SignedDuration = SignedDuration::from_mins(10);

/// See the module documentation.
pub struct Core {
    breaker: Mutex<Breaker>,
    /// What was said of which object.
    events: Mutex<event::Spacing>,
    index: Mutex<Index>,
    issuers: Issuers,
    /// Certificates are logged before they are written.
    is_logging: bool,
    /// Why they cannot be.
    log_trouble: Mutex<Option<String>>,
    policy: Policy,
    /// The queues of the loops that run.
    queues: BTreeMap<Task, Mutex<Queue<String>>>,
    serials: SerialSource,
    /// Set when serving requests are approved, too.
    serving: Option<serving::State>,
    signing_duration: Duration,
    /// The CA ends for which "certificates end with their CA" was said.
    told_truncated: Mutex<BTreeMap<BuiltinSigner, Timestamp>>,
    /// The lint rules that were told about certificates of a signer.
    told_warnings: Mutex<BTreeSet<(BuiltinSigner, &'static str)>>,
}

impl Core {
    /// For the loops of `config`; every issuer gets a signer's loop. `policies` are those of the
    /// file that it names.
    pub fn new(config: &Config, issuers: Issuers, policies: PolicySet) -> Self {
        let serving = config.serving().map(|serving| {
            let origins = serving.origins.clone();
            serving::State::new(policies, origins, config.api_server())
        });
        let approves_clients = config.loops.contains(&Loop::Approver);
        let approving = (approves_clients || serving.is_some()).then_some(Task::Approve);
        let is_signing = config.loops.contains(&Loop::Signer);
        let signing = issuers.by_signer().keys().filter(|_| is_signing);
        let tasks = signing.map(|signer| Task::Sign(*signer)).chain(approving);
        Self {
            breaker: Mutex::new(Breaker::new(config.early_renewals)),
            events: Mutex::default(),
            index: Mutex::new(Index::among(config.recent_requests.clone())),
            is_logging: false,
            log_trouble: Mutex::default(),
            queues: tasks.map(|task| (task, Mutex::default())).collect(),
            issuers,
            policy: match approves_clients {
                true => Policy::default(),
                false => Policy(Vec::new()),
            },
            serving,
            serials: Arc::clone(&config.serials),
            signing_duration: config.signing_duration,
            told_truncated: Mutex::default(),
            told_warnings: Mutex::default(),
        }
    }

    /// Has every certificate logged before it is written ([`crate::attempt::Step::Log`]).
    pub fn logging(self) -> Self {
        Self {
            is_logging: true,
            ..self
        }
    }

    /// Whether certificates are logged.
    pub(crate) fn is_logging(&self) -> bool {
        self.is_logging
    }

    /// Why the issuance log cannot be written now: nothing is signed meanwhile.
    pub(crate) fn log_trouble(&self) -> Option<String> {
        lock(&self.log_trouble).clone()
    }

    /// Notes why the issuance log cannot be written; `None`: it can.
    pub fn set_log_trouble(&self, trouble: Option<String>) {
        *lock(&self.log_trouble) = trouble;
    }

    /// `Some`: this is to be said of `object` in an Event, and how often it happened.
    pub(crate) fn admit_event(&self, reason: &'static str, object: &str, now: Now) -> Option<u32> {
        lock(&self.events).admit(reason, object, now.monotonic)
    }

    /// The loops that run.
    pub fn tasks(&self) -> impl Iterator<Item = Task> {
        self.queues.keys().copied()
    }

    /// The issuers of the signers that run.
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// Takes in what the follower saw. `Some`: the loop that has a new key now.
    pub fn take(&self, delta: Delta, now: Now) -> Option<Task> {
        match delta {
            Delta::Served(_) => {}
            Delta::ListBegins => lock(&self.index).begin_list(),
            Delta::ListEnds => lock(&self.index).end_list(),
            Delta::Deleted(name) => lock(&self.index).delete(&name),
            Delta::Put(object) => {
                let issued = IssuedChain::of(Csr(&object));
                self.note_chain(&object, &issued, now);
                let change = lock(&self.index).apply_read(object, &issued)?;
                return self.route(change, now);
            }
        }
        None
    }

    /// Lets the approver of serving requests know what a node was issued, when it is first seen.
    fn note_chain(&self, object: &Value, issued: &IssuedChain, now: Now) {
        let csr = Csr(object);
        let is_nodes = matches!(
            csr.signer_name(),
            SignerName::KUBELET_SERVING | SignerName::KUBE_APISERVER_CLIENT_KUBELET
        );
        if let (Some(state), Some(chain)) = (&self.serving, issued.chain())
            && is_nodes
            && csr.is_issued()
            && !lock(&self.index).is_closed(csr.name())
        {
            state.issued(chain, now);
        }
    }

    /// Takes in what the follower of `source` saw. `Some`: the loop that has a new key now.
    pub fn take_cluster(&self, source: Source, delta: Delta, now: Now) -> Option<Task> {
        let affected = self.serving.as_ref()?.take(source, delta);
        self.decide_again(&affected, now)
    }

    /// Has the undecided serving requests of whom it concerns decided once more.
    pub fn decide_again(&self, affected: &Affected, now: Now) -> Option<Task> {
        // What a node could change by itself must not cost more than those that are looked at.
        let most = serving::rules::PENDING_MAX;
        let names = match affected {
            Affected::All => lock(&self.index).serving(None, most),
            Affected::Node(node) => {
                let username = format!("{}{node}", serving::NODE_PREFIX);
                lock(&self.index).serving(Some(&username), most)
            }
            Affected::Nobody => return None,
        };
        let names: Vec<_> = names
            .into_iter()
            .map(|name| (name.clone(), self.flow(&name)))
            .collect();
        let mut queue = lock(self.queues.get(&Task::Approve)?);
        let added = names
            .into_iter()
            .filter(|(name, flow)| queue.add_of(flow, name.clone(), now.monotonic));
        (added.count() > 0).then_some(Task::Approve)
    }

    /// What approves serving requests, if they are approved here.
    pub fn serving(&self) -> Option<&serving::State> {
        self.serving.as_ref()
    }

    /// Decides about a serving request, if they are approved here.
    pub(crate) fn decide_serving(
        &self,
        request: &OpenRequest,
        reviews: &[Review],
        seen: &[(Look, Saw)],
        now: Now,
    ) -> Option<serving::Decision> {
        let state = self.serving.as_ref()?;
        let csr = request.csr();
        let newer = lock(&self.index).newer(csr);
        let seconds = csr.expiration_seconds();
        let lifetime = everleaf_pki::signer::granted_duration(self.signing_duration, seconds);
        Some(state.decide(request, newer, lifetime, reviews, seen, now))
    }

    fn route(&self, change: Change, now: Now) -> Option<Task> {
        let task = match change.stage {
            Stage::Undecided => Task::Approve,
            Stage::Approved(Some(signer)) => Task::Sign(signer),
            Stage::Approved(None) => return None,
            Stage::Closed => {
                self.note_issued(change.closed.as_deref(), now);
                return None;
            }
        };
        let flow = self.flow(&change.name);
        let mut queue = lock(self.queues.get(&task)?);
        let is_new = queue.add_of(&flow, change.name, now.monotonic);
        is_new.then_some(task)
    }

    /// Whose turn a request takes: its requestor's.
    fn flow(&self, name: &str) -> String {
        let request = lock(&self.index).open(name);
        request.map_or_else(String::new, |request| request.csr().username().to_owned())
    }

    /// Lets the loop breaker know what was issued, whoever signed it.
    fn note_issued(&self, closed: Option<&Record>, now: Now) {
        let Some((record, leaf)) = closed.and_then(|record| Some((record, record.leaf()?))) else {
            return;
        };
        let subject = Subject {
            signer: record.signer_name.clone(),
            common_name: leaf.common_name.clone(),
            requestor: record.username.clone(),
        };
        let validity = Validity {
            not_before: leaf.not_before,
            not_after: leaf.not_after,
        };
        lock(&self.breaker).issued(&subject, validity, now.wall);
    }

    /// What a loop's worker gets, and the depth of its queue after that.
    pub fn next(&self, task: Task, now: Monotonic) -> (Next<String>, usize) {
        match self.queues.get(&task).map(lock) {
            Some(mut queue) => (queue.next(now), queue.depth()),
            None => (Next::Idle, 0),
        }
    }

    /// Begins to work on a key that [`Core::next`] handed out; it became ready at `ready_at`.
    pub fn begin(&self, task: Task, name: &str, ready_at: Monotonic) -> Attempt {
        let request = lock(&self.index).open(name);
        Attempt::new(task, name.to_owned(), request, ready_at)
    }

    /// Gives a key back; the delay until its next attempt, if there is one.
    pub fn done(
        &self,
        task: Task,
        name: &String,
        end: Outcome,
        now: Monotonic,
    ) -> Option<Duration> {
        lock(self.queues.get(&task)?).done(name, end, now)
    }

    /// Depth of each loop's queue, and the age of its oldest key.
    pub(crate) fn queues(&self, now: Monotonic) -> impl Iterator<Item = (Task, usize, Duration)> {
        self.queues.iter().map(move |(task, queue)| {
            let queue = lock(queue);
            (*task, queue.depth(), queue.oldest(now))
        })
    }

    /// All requests, by name.
    pub fn entries(&self) -> Vec<(String, Entry)> {
        let index = lock(&self.index);
        let entries = index.entries();
        entries
            .map(|(name, entry)| (name.to_owned(), entry.clone()))
            .collect()
    }

    /// Requests that are not closed, by signer as metrics name it.
    pub(crate) fn open_counts(&self) -> BTreeMap<&'static str, usize> {
        lock(&self.index).open_counts()
    }

    /// What is approved without a human.
    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Longest validity that is granted.
    pub(crate) fn signing_duration(&self) -> Duration {
        self.signing_duration
    }

    /// How long the approval of this request has to wait, by the loop breaker.
    pub(crate) fn hold(&self, request: &OpenRequest, now: Now) -> Option<Duration> {
        lock(&self.breaker).hold(&subject(request)?, now.wall)
    }

    /// Takes the approval that a wait has earned; `Some`: another request was quicker.
    pub(crate) fn take_turn(&self, request: &OpenRequest, now: Now) -> Option<Duration> {
        lock(&self.breaker).take(&subject(request)?, now.wall)
    }

    /// A request that would be approved is held: the wait counts from now on.
    pub(crate) fn begin_hold(&self, request: &OpenRequest, delay: Duration, now: Now) {
        if let Some(subject) = subject(request) {
            lock(&self.breaker).begin(&subject, delay, now.wall);
        }
    }

    /// How far the clock of who files this must be ahead of ours, if it asks since its last
    /// certificate looks due.
    pub(crate) fn clock_ahead(&self, request: &OpenRequest, now: Now) -> SignedDuration {
        let subject = subject(request);
        subject.map_or(SignedDuration::ZERO, |subject| {
            lock(&self.breaker).clock_ahead(&subject, now.wall)
        })
    }

    /// Whether a renewal would hardly gain anything, since the CA ends: the end of its certificate
    /// would be the CA's. `Some`: that end, and by how much it is later than that of the subject's
    /// present certificate.
    pub(crate) fn gains_little(
        &self,
        request: &OpenRequest,
        now: Now,
    ) -> Option<(Timestamp, SignedDuration)> {
        let csr = request.csr();
        let issuer = self.issuer(BuiltinSigner::parse(csr.signer_name()).ok()?)?;
        let ca_end = issuer.certificate().not_after();
        let left = now.wall.duration_until(ca_end);
        let seconds = csr.expiration_seconds();
        let lifetime = everleaf_pki::signer::granted_duration(self.signing_duration, seconds);
        let is_capped = SignedDuration::try_from(lifetime).is_ok_and(|lifetime| lifetime >= left);
        if !is_capped || left > CA_LEFT_FEW {
            return None;
        }
        let present = lock(&self.breaker).last(&subject(request)?)?;
        let is_valid = present.not_after > now.wall;
        let gain = present.not_after.duration_until(ca_end);
        (is_valid && gain < GAIN_MIN).then_some((ca_end, gain))
    }

    /// Whether there is a Node of this name, if Nodes are known here.
    pub(crate) fn has_node(&self, name: &str) -> Option<bool> {
        self.serving.as_ref()?.has_node(name)
    }

    /// The CA of a signer that runs.
    pub(crate) fn issuer(&self, signer: BuiltinSigner) -> Option<Arc<Issuer>> {
        let issuer = self.issuers.by_signer().get(&signer)?;
        Some(issuer.current())
    }

    /// Has the CA of `signer` sign.
    pub(crate) fn issue(
        &self,
        signer: BuiltinSigner,
        approved: &ApprovedRequest,
        now: Now,
    ) -> Issuance {
        let Some(issuer) = self.issuer(signer) else {
            return Issuance::Unavailable(format!("{signer} has no CA"));
        };
        match (self.serials)() {
            Err(error) => Issuance::Unavailable(error),
            Ok(serial) => signer::issue(&issuer, approved, self.signing_duration, serial, now.wall),
        }
    }

    /// Whether a step of `task` may wait for a key that is somewhere else.
    pub fn may_block(&self, task: Task) -> bool {
        match task {
            Task::Approve => false,
            Task::Sign(signer) => self
                .issuer(signer)
                .is_some_and(|issuer| issuer.signs_elsewhere()),
        }
    }

    /// Whether what a lint rule says about a certificate has to be told: once per signer.
    pub(crate) fn is_first_warning(&self, signer: BuiltinSigner, rule: &'static str) -> bool {
        lock(&self.told_warnings).insert((signer, rule))
    }

    /// What is to be said when a certificate ends with its CA, earlier than asked: once per signer
    /// and end.
    pub(crate) fn truncation(&self, task: Task, truncated: bool) -> Option<Notice> {
        let Task::Sign(signer) = task else {
            return None;
        };
        let not_after = self.issuer(signer)?.limit();
        let is_news =
            truncated && lock(&self.told_truncated).insert(signer, not_after) != Some(not_after);
        is_news.then_some(Notice::Truncated { signer, not_after })
    }
}

fn subject(request: &OpenRequest) -> Option<Subject> {
    let csr = request.csr();
    Some(Subject {
        signer: csr.signer_name().to_owned(),
        common_name: request.request().ok()?.subject().common_name.clone(),
        requestor: csr.username().to_owned(),
    })
}

/// No code panics while it holds one of these locks; if one did, the data is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
