//! What the workers of all loops share: the index, the queues, the API, the clocks.
//!
//! Every lock here is held for a lookup or an insertion, never across an await.

use crate::breaker::{Breaker, Validity};
use crate::builtin::BuiltinSigner;
use crate::client::Api;
use crate::config::{Clock, Config, Loop, SerialSource};
use crate::index::{Change, Index, OpenRequest, Stage};
use crate::issuers::{Issuers, SharedIssuer};
use crate::metrics;
use crate::notice::{About, Notice};
use crate::queue::{Next, Outcome, Queue};
use crate::record::Record;
use crate::skew::StepDetector;
use crate::telemetry::Telemetry;
use everleaf_api::csr::Csr;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Name of the CSR loops' queues in upstream's metrics: one for all of them.
const QUEUE_NAME: [(&str, &str); 1] = [("name", "certificate")];

/// A [`Queue`] that workers can wait on.
#[derive(Default)]
pub(crate) struct WorkQueue {
    queue: Mutex<Queue<String>>,
    changed: Notify,
}

/// See the module documentation.
pub(crate) struct Workplace {
    pub(crate) api: Api,
    pub(crate) approvals: WorkQueue,
    breaker: Mutex<Breaker>,
    pub(crate) clock: Clock,
    index: Mutex<Index>,
    pub(crate) issuers: Issuers,
    is_approving: bool,
    pub(crate) serials: SerialSource,
    pub(crate) signing: BTreeMap<BuiltinSigner, WorkQueue>,
    pub(crate) signing_duration: Duration,
    steps: Mutex<StepDetector>,
    stepped: AtomicBool,
    pub(crate) telemetry: Arc<Telemetry>,
    /// The CA ends for which "certificates end with their CA" was said.
    told_truncated: Mutex<BTreeMap<BuiltinSigner, Timestamp>>,
}

impl Workplace {
    pub(crate) fn new(client: kube::Client, config: &Config, issuers: Issuers) -> Self {
        let telemetry = Arc::clone(&config.telemetry);
        let api = Api::new(
            client,
            config.api_limit,
            config.server_host.clone(),
            Arc::clone(&config.clock),
            Arc::clone(&telemetry),
        );
        let is_signing = config.loops.contains(&Loop::Signer);
        let signers = issuers.by_signer().keys().filter(|_| is_signing);
        let signing = signers
            .map(|signer| (*signer, WorkQueue::default()))
            .collect();
        let steps = StepDetector::new((config.clock)(), api.uptime());
        Self {
            api,
            approvals: WorkQueue::default(),
            breaker: Mutex::new(Breaker::new(config.early_renewals)),
            clock: Arc::clone(&config.clock),
            index: Mutex::default(),
            is_approving: config.loops.contains(&Loop::Approver),
            issuers,
            serials: Arc::clone(&config.serials),
            signing,
            signing_duration: config.signing_duration,
            steps: Mutex::new(steps),
            stepped: AtomicBool::new(false),
            telemetry,
            told_truncated: Mutex::default(),
        }
    }

    /// Wall time: the signer's clock.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The CA of a signer that runs.
    pub(crate) fn issuer(&self, signer: BuiltinSigner) -> Option<&SharedIssuer> {
        self.issuers.by_signer().get(&signer)
    }

    /// The cached state of a request that may still need work.
    pub(crate) fn open(&self, name: &str) -> Option<Arc<OpenRequest>> {
        lock(&self.index).open(name)
    }

    /// Takes a new or changed object from the watch.
    pub(crate) fn apply(&self, object: Value) {
        let change = lock(&self.index).apply(object);
        if let Some(change) = change {
            self.route(change);
        }
    }

    /// Takes a deletion from the watch.
    pub(crate) fn delete(&self, name: &str) {
        lock(&self.index).delete(name);
    }

    /// Takes a complete list.
    pub(crate) fn reset(&self, objects: Vec<Value>) {
        let changes = lock(&self.index).reset(objects);
        for change in changes {
            self.route(change);
        }
    }

    /// All requests, as records.
    pub(crate) fn records(&self) -> Vec<Arc<Record>> {
        let entries: Vec<_> = lock(&self.index).entries().cloned().collect();
        entries.into_iter().map(|entry| entry.record()).collect()
    }

    /// Number of requests.
    pub(crate) fn request_count(&self) -> usize {
        lock(&self.index).len()
    }

    /// How long the approval of this request has to wait, by the loop breaker.
    pub(crate) fn hold(&self, request: &OpenRequest) -> Option<Duration> {
        let common_name = &request.request().ok()?.subject().common_name;
        lock(&self.breaker).hold(request.csr().signer_name(), common_name, self.now())
    }

    /// Tells, once per CA, that its certificates are shorter than configured.
    pub(crate) fn tell_truncated(&self, signer: BuiltinSigner, not_after: Timestamp) {
        let told = lock(&self.told_truncated).insert(signer, not_after);
        if told != Some(not_after) {
            self.telemetry
                .tell(&Notice::Truncated { signer, not_after });
        }
    }

    /// True when our clock was set since the last call with `forget`, as far as anyone noticed.
    pub(crate) fn check_step(&self, forget: bool) -> bool {
        let step = lock(&self.steps).observe(self.now(), self.api.uptime());
        if let Some(step) = step {
            self.stepped.store(true, Ordering::Relaxed);
            self.api.forget_clock_offset();
            self.telemetry.tell(&Notice::ClockStepped { step });
        }
        if forget {
            self.stepped.swap(false, Ordering::Relaxed)
        } else {
            self.stepped.load(Ordering::Relaxed)
        }
    }

    /// Wall time of the API server, as well as we know it.
    pub(crate) fn server_now(&self) -> Timestamp {
        let offset = self.api.clock_offset().unwrap_or(SignedDuration::ZERO);
        self.now()
            .checked_add(offset)
            .unwrap_or_else(|_| self.now())
    }

    /// Sets the gauges that describe a state rather than an event.
    pub(crate) fn set_gauges(&self) {
        let metrics = self.telemetry.metrics();
        for (signer, not_after, in_use) in self.issuers.standings() {
            let labels = [("signer", signer.name())];
            metrics.set(metrics::CA_EXPIRY, &labels, not_after.as_second() as f64);
            metrics.set(
                metrics::CA_RELOAD_SUCCESS,
                &labels,
                f64::from(u8::from(in_use)),
            );
        }
        if let Some(offset) = self.api.clock_offset() {
            metrics.set(
                metrics::CLOCK_OFFSET,
                &[("peer", "apiserver")],
                offset.as_secs_f64(),
            );
        }
        for (signer, count) in lock(&self.index).open_counts() {
            metrics.set(metrics::PENDING, &[("signer", signer)], count as f64);
        }
        let mut depth = 0;
        let signing = self
            .signing
            .iter()
            .map(|(signer, queue)| (signer.loop_name(), queue));
        for (name, queue) in signing.chain([("csrapproving", &self.approvals)]) {
            let core = lock(&queue.queue);
            depth += core.depth();
            let oldest = core.oldest(self.api.uptime()).as_secs_f64();
            metrics.set(metrics::QUEUE_OLDEST, &[("loop", name)], oldest);
        }
        metrics.set(metrics::QUEUE_DEPTH, &QUEUE_NAME, depth as f64);
    }

    fn route(&self, change: Change) {
        match change.stage {
            Stage::Undecided if self.is_approving => self.add(&self.approvals, change.name),
            Stage::Approved(Some(signer)) => {
                if let Some(queue) = self.signing.get(&signer) {
                    self.add(queue, change.name);
                }
            }
            Stage::Approved(None) | Stage::Undecided => {}
            Stage::Closed => self.note_issued(change.closed.as_deref()),
        }
    }

    /// Lets the loop breaker know what was issued, whoever signed it.
    fn note_issued(&self, closed: Option<&Record>) {
        let Some((record, leaf)) = closed.and_then(|record| Some((record, record.leaf()?))) else {
            return;
        };
        let validity = Validity {
            not_before: leaf.not_before,
            not_after: leaf.not_after,
        };
        let now = self.now();
        lock(&self.breaker).issued(&record.signer_name, &leaf.common_name, validity, now);
    }

    fn add(&self, queue: &WorkQueue, name: String) {
        let mut core = lock(&queue.queue);
        let is_new = core.add(name, self.api.uptime());
        drop(core);
        if is_new {
            self.telemetry
                .metrics()
                .count(metrics::QUEUE_ADDS, &QUEUE_NAME);
            queue.changed.notify_one();
        }
    }

    /// Waits for work. Returns a key, which the caller now holds, and how long it waited.
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&self, queue: &WorkQueue) -> (String, Duration) {
        loop {
            let changed = queue.changed.notified();
            let (next, depth) = {
                let mut core = lock(&queue.queue);
                (core.next(self.api.uptime()), core.depth())
            };
            match next {
                Next::Ready { key, waited } => {
                    let metrics = self.telemetry.metrics();
                    metrics.observe(metrics::QUEUE_DURATION, &QUEUE_NAME, waited);
                    if depth > 0 {
                        // Several keys may have become due together, with one worker woken.
                        queue.changed.notify_one();
                    }
                    return (key, waited);
                }
                Next::Idle => changed.await,
                Next::WaitUntil(at) => {
                    let _ = tokio::time::timeout_at(self.api.instant(at), changed).await;
                }
            }
        }
    }

    /// Gives a key back.
    pub(crate) fn done(&self, queue: &WorkQueue, key: &String, outcome: Outcome, work: Duration) {
        let metrics = self.telemetry.metrics();
        metrics.observe(metrics::QUEUE_WORK, &QUEUE_NAME, work);
        if matches!(outcome, Outcome::Failed { .. }) {
            metrics.count(metrics::QUEUE_RETRIES, &QUEUE_NAME);
        }
        let again = lock(&queue.queue).done(key, outcome, self.api.uptime());
        if again.is_some() {
            // Somebody has to wait for it, perhaps for less time than so far.
            queue.changed.notify_one();
        }
    }
}

/// What notices say about a request.
pub(crate) fn about(csr: Csr<'_>) -> About {
    About {
        csr: csr.name().to_owned(),
        signer: csr.signer_name().to_owned(),
        uid: csr.uid().to_owned(),
        username: csr.username().to_owned(),
    }
}

/// No code panics while it holds one of these locks; if one did, the data is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
