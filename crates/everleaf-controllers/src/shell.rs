//! What the tasks of all loops share: the core, the API, the clocks, and who waits for work.

mod keeping;

use crate::attempt::{self, Attempt, Task};
use crate::builtin::BuiltinSigner;
use crate::call::{Call, CallError, Expect};
use crate::cleaner::{self, Ages, Pass};
use crate::client::Api;
use crate::config::Config;
use crate::core::Core;
use crate::event;
use crate::follower::{self, Delta, Follower, Resource};
use crate::gate::Gate;
use crate::issuance::{Entry, LogConfig, ReadError, Reader, Standing, Writer};
use crate::issuers::Issuers;
use crate::looks;
use crate::metrics;
use crate::notice::Notice;
use crate::queue::{Next, Outcome};
use crate::run::Prepared;
use crate::serving::{Affected, Look, Source};
use crate::telemetry::Telemetry;
use crate::upkeep::{self, Machine, RootCa};
use bytes::Bytes;
use everleaf_time::{Monotonic, Now, StepDetector};
use http::Method;
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// Name of the CSR loops' queues in upstream's metrics: one for all of them.
const QUEUE_NAME: [(&str, &str); 1] = [("name", "certificate")];

/// What readiness calls the loops about signing requests.
pub(crate) const CONTROLLERS: &str = "controllers";

/// One controller of [`crate::upkeep`], and what wakes its worker.
struct Keeper(Mutex<Machine>, Notify);

impl Keeper {
    /// No code panics while it holds this lock; if one did, the data is still whole.
    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt that cannot go on without this look.
type Paused = (Attempt, Box<Look>);

/// See the module documentation.
pub(crate) struct Shell {
    pub(crate) api: Api,
    pub(crate) core: Core,
    steps: Mutex<StepDetector>,
    stepped: AtomicBool,
    pub(crate) telemetry: Arc<Telemetry>,
    /// Wakes the workers of a loop.
    wakers: BTreeMap<Task, Notify>,
    keepers: Vec<Keeper>,
    /// One of its loops is about signing requests.
    follows_requests: bool,
    /// The CA of pods' certificates, if they are signed here.
    pods: Option<Issuers<String>>,
    /// Set when certificates are logged.
    log: OnceLock<Weak<Writer>>,
    /// What is published.
    published: Vec<RootCa>,
}

impl Shell {
    pub(crate) fn new(
        client: kube::Client,
        config: &Config,
        prepared: Prepared,
        gate: Option<Gate>,
    ) -> Self {
        let telemetry = Arc::clone(&config.telemetry);
        let api = Api::new(
            client,
            config.api_limit,
            config.server_host.clone(),
            Arc::clone(&config.clock),
            Arc::clone(&telemetry),
        )
        .behind(gate);
        let node_signer = BuiltinSigner::KubeApiserverClientKubelet;
        let node_issuer = prepared.issuers.by_signer().get(&node_signer).cloned();
        let core = Core::new(config, prepared.issuers, prepared.policies);
        let core = match config.issuance_log {
            Some(_) => core.logging(),
            None => core,
        };
        let pod_issuer = prepared
            .pods
            .as_ref()
            .and_then(|pods| pods.by_signer().values().next());
        let machines = upkeep::machines(
            config,
            prepared.root_ca.as_ref(),
            &prepared.signer_cas,
            pod_issuer,
            node_issuer.as_ref(),
        );
        let mut steps = StepDetector::default();
        steps.observe(api.now());
        Self {
            steps: Mutex::new(steps),
            stepped: AtomicBool::new(false),
            telemetry,
            wakers: core.tasks().map(|task| (task, Notify::new())).collect(),
            keepers: machines
                .into_iter()
                .map(|machine| Keeper(Mutex::new(machine), Notify::new()))
                .collect(),
            follows_requests: config.loops.iter().any(|one| one.is_about_requests()),
            log: OnceLock::new(),
            pods: prepared.pods,
            published: prepared
                .root_ca
                .into_iter()
                .chain(prepared.signer_cas.into_values())
                .collect(),
            core,
            api,
        }
    }

    /// Both clocks.
    pub(crate) fn now(&self) -> Now {
        self.api.now()
    }

    // === work on requests ===

    /// Works on keys of one queue until told to stop; finishes the key in hand first.
    pub(crate) async fn work(self: Arc<Self>, task: Task, mut stop: watch::Receiver<bool>) {
        let mut looking = JoinSet::new();
        loop {
            let (name, waited) = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                next = self.next(task) => next,
            };
            let begun = self.api.monotonic();
            let ready_at = Monotonic::from_origin(begun.since_origin().saturating_sub(waited));
            let attempt = self.core.begin(task, &name, ready_at);
            match self.advance(task, attempt).await {
                Err(paused) => {
                    looks::make_room(&mut looking).await;
                    let shell = Arc::clone(&self);
                    looking.spawn(shell.look(task, name, paused, begun));
                }
                Ok(outcome) => self.done(task, &name, outcome, begun),
            }
        }
        while looking.join_next().await.is_some() {}
    }

    /// Has looks for an attempt while its worker goes on with other keys, and finishes it.
    async fn look(self: Arc<Self>, task: Task, name: String, paused: Paused, begun: Monotonic) {
        let mut paused = paused;
        let outcome = loop {
            let (mut attempt, look) = paused;
            attempt.looked(looks::have(&look, self.now().wall).await);
            match self.advance(task, attempt).await {
                Err(again) => paused = again,
                Ok(outcome) => break outcome,
            }
        };
        self.done(task, &name, outcome, begun);
    }

    /// Goes on with an attempt, until its end or until it has to look somewhere.
    async fn advance(self: &Arc<Self>, task: Task, attempt: Attempt) -> Result<Outcome, Paused> {
        let mut attempt = attempt;
        loop {
            let step = if self.core.may_block(task) {
                // A token signs when it likes; the other loops must not wait for it.
                let shell = Arc::clone(self);
                let stepping = tokio::task::spawn_blocking(move || {
                    let step = attempt.step(&shell.core, shell.now());
                    (attempt, step)
                });
                let Ok((stepped, step)) = stepping.await else {
                    return Ok(Outcome::FAILED);
                };
                attempt = stepped;
                step
            } else {
                attempt.step(&self.core, self.now())
            };
            match step {
                attempt::Step::Call(call) => {
                    let answer = self.api.call(&call).await;
                    attempt.answer(&answer, &self.core, self.now());
                }
                attempt::Step::Done(outcome) => return Ok(outcome),
                attempt::Step::Log(entry) => {
                    let logged = self.log(&entry).await;
                    attempt.logged(logged, &self.core, self.now());
                }
                attempt::Step::Look(look) => return Err((attempt, look)),
                attempt::Step::Tell(notice) => self.telemetry.tell(&notice),
            }
        }
    }

    // === the issuance log ===

    /// Begins to write the log, until what is returned is dropped.
    pub(crate) fn open_log(self: &Arc<Self>, config: LogConfig) -> std::io::Result<Arc<Writer>> {
        let shell = Arc::downgrade(self);
        let writer = Writer::start(config, move |standing| {
            let Some(shell) = shell.upgrade() else { return };
            shell.core.set_log_trouble(match &standing {
                Standing::Open(_) => None,
                Standing::Unavailable(error) => Some(error.clone()),
            });
            shell.telemetry.tell(&Notice::IssuanceLog(standing));
        })?;
        let writer = Arc::new(writer);
        let _ = self.log.set(Arc::downgrade(&writer));
        Ok(writer)
    }

    /// Lets the approver of serving requests know what the log has of valid certificates. Blocks on
    /// the disk.
    pub(crate) fn recall_issued(&self, directory: &Path) {
        let Some(state) = self.core.serving() else {
            return;
        };
        let now = self.now();
        let recalled = Reader::open(directory)
            .and_then(|reader| reader.each_from_newest(|entry| state.recall(entry, now)));
        match recalled {
            Ok(()) | Err(ReadError::Absent(_)) => {}
            Err(error @ ReadError::Broken(_)) => {
                let error = format!("{}: {error}", directory.display());
                self.telemetry.tell(&Notice::NotRecalled { error });
            }
        }
    }

    async fn log(&self, entry: &Entry) -> Result<(), String> {
        let writer = self.log.get().and_then(Weak::upgrade);
        let writer = writer.ok_or("this process stops")?;
        let begun = self.api.monotonic();
        let logged = writer.append(entry.to_bytes()).await;
        let metrics = self.telemetry.metrics();
        metrics.observe(metrics::LOG_LATENCY, &[], self.api.monotonic().since(begun));
        if logged.is_ok() {
            metrics.count(metrics::LOG_ENTRIES, &[]);
        }
        logged
    }

    /// Waits for work. Returns a key, which the caller now holds, and how long it waited.
    /// Dropping the future loses nothing.
    async fn next(&self, task: Task) -> (String, Duration) {
        let Some(waker) = self.wakers.get(&task) else {
            return std::future::pending().await;
        };
        loop {
            let changed = waker.notified();
            match self.core.next(task, self.api.monotonic()) {
                (Next::Ready { key, waited }, depth) => {
                    let metrics = self.telemetry.metrics();
                    metrics.observe(metrics::QUEUE_DURATION, &QUEUE_NAME, waited);
                    if depth > 0 {
                        // Several keys may have become due together, with one worker woken.
                        waker.notify_one();
                    }
                    return (key, waited);
                }
                (Next::Idle, _) => changed.await,
                (Next::WaitUntil(at), _) => {
                    let _ = tokio::time::timeout_at(self.api.instant(at), changed).await;
                }
            }
        }
    }

    /// Gives a key back.
    fn done(&self, task: Task, key: &String, outcome: Outcome, begun: Monotonic) {
        let now = self.api.monotonic();
        let metrics = self.telemetry.metrics();
        metrics.observe(metrics::QUEUE_WORK, &QUEUE_NAME, now.since(begun));
        if matches!(outcome, Outcome::Failed { .. }) {
            metrics.count(metrics::QUEUE_RETRIES, &QUEUE_NAME);
        }
        if self.core.done(task, key, outcome, now).is_some() {
            // Somebody has to wait for it, perhaps for less time than so far.
            self.wake(task);
        }
    }

    fn wake(&self, task: Task) {
        if let Some(waker) = self.wakers.get(&task) {
            waker.notify_one();
        }
    }

    // === following ===

    /// Follows the signing requests for ever. `synced` becomes true with the first complete list.
    pub(crate) async fn follow(&self, synced: &watch::Sender<bool>) -> Infallible {
        let all = Follower::new(Resource::SIGNING_REQUESTS);
        let is_synced = || {
            synced.send_replace(true);
        };
        self.drive(all, CONTROLLERS, is_synced, |delta| self.take(delta))
            .await
    }

    /// Follows what serving requests are judged by, for ever.
    pub(crate) async fn follow_cluster(&self, source: Source) -> Infallible {
        let component = Resource::of(source).plural;
        let follower = Follower::new(Resource::of(source));
        let take = |delta| {
            if let Some(task) = self.core.take_cluster(source, delta, self.now()) {
                self.wake(task);
            }
        };
        self.drive(follower, component, || {}, take).await
    }

    async fn drive(
        &self,
        mut follower: Follower,
        component: &'static str,
        synced: impl Fn(),
        take: impl Fn(Delta),
    ) -> Infallible {
        let mut stream = Body::empty();
        loop {
            match follower.step() {
                follower::Step::Call(call) if call.expect == Expect::Stream => {
                    let answer = self.api.open(&call).await.map(|body| {
                        stream = body;
                        Bytes::new()
                    });
                    follower.answer(&answer, self.api.monotonic());
                }
                follower::Step::Call(call) => {
                    let answer = self.api.call(&call).await;
                    follower.answer(&answer, self.api.monotonic());
                }
                follower::Step::Missing(reason) => self.telemetry.set_missing(component, reason),
                follower::Step::Read(silence_max) => {
                    let read = tokio::time::timeout(silence_max, read(&mut stream)).await;
                    follower.read(read.ok().flatten().as_ref(), self.api.monotonic());
                }
                follower::Step::Synced => synced(),
                follower::Step::Take(delta) => {
                    take(delta);
                    // A long list must not keep a thread to itself.
                    tokio::task::coop::consume_budget().await;
                }
                follower::Step::Tell(notice) => self.telemetry.tell(&notice),
                follower::Step::Wait(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// Has all undecided serving requests decided once more.
    pub(crate) fn decide_all_again(&self) {
        if let Some(task) = self.core.decide_again(&Affected::All, self.now()) {
            self.wake(task);
        }
    }

    fn take(&self, delta: Delta) {
        if let Some(task) = self.core.take(delta, self.now()) {
            let metrics = self.telemetry.metrics();
            metrics.count(metrics::QUEUE_ADDS, &QUEUE_NAME);
            self.wake(task);
        }
    }

    // === cleaning ===

    /// One pass of the cleaner.
    pub(crate) async fn clean(&self, ages: &Ages) {
        let stepped = self.check_step(true);
        let offset = self.api.clock_offset();
        if !cleaner::may_judge_ages(offset, stepped) {
            let offset = if stepped { None } else { offset };
            let skipped = Notice::CleaningSkipped { offset };
            self.telemetry.tell(&skipped);
            let mut events = event::of_notice(&skipped, self.now()).into_iter().collect();
            return self.deliver(&mut events).await;
        }
        let mut pass = Pass::new(self.core.entries(), *ages, self.server_now());
        loop {
            match pass.step(self.api.monotonic()) {
                cleaner::Step::Call(call) => pass.answer(&self.api.call(&call).await),
                cleaner::Step::Done => return,
                cleaner::Step::Tell(notice) => self.telemetry.tell(&notice),
                cleaner::Step::Wait(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// True when our clock was set since the last call with `forget`, as far as anyone noticed.
    pub(crate) fn check_step(&self, forget: bool) -> bool {
        let now = self.now();
        let step = {
            let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
            steps.observe(now)
        };
        if let Some(step) = step {
            self.stepped.store(true, Ordering::Relaxed);
            self.api.forget_clock_offset();
            self.telemetry.tell(&Notice::ClockStepped { step });
            self.keep_again();
        }
        if forget {
            self.stepped.swap(false, Ordering::Relaxed)
        } else {
            self.stepped.load(Ordering::Relaxed)
        }
    }

    /// Wall time of the API server, as well as we know it.
    fn server_now(&self) -> Timestamp {
        let offset = self.api.clock_offset().unwrap_or(SignedDuration::ZERO);
        let now = self.now().wall;
        now.checked_add(offset).unwrap_or(now)
    }

    // === telling ===

    /// Leaves Events about this process, oldest first; those that the server cannot take now stay.
    pub(crate) async fn deliver(&self, events: &mut VecDeque<Value>) {
        while let Some(event) = events.front() {
            let call = Call::new(Method::POST, event::PATH, Some(event.clone()));
            match self.api.call(&call).await {
                Err(CallError::Unreachable(_)) => return,
                Err(error) if matches!(error.code(), 429 | 500..) => return,
                _ => events.pop_front(),
            };
        }
    }

    /// Sets the gauges that describe a state rather than an event.
    pub(crate) fn set_gauges(&self) {
        let metrics = self.telemetry.metrics();
        for (signer, not_after, in_use) in self.core.issuers().standings() {
            let labels = [("signer", signer.name())];
            metrics.set(metrics::CA_EXPIRY, &labels, not_after.as_second() as f64);
            metrics.set(
                metrics::CA_RELOAD_SUCCESS,
                &labels,
                f64::from(u8::from(in_use)),
            );
        }
        let of_pods = self.pods.iter().flat_map(Issuers::standings);
        for (signer, not_after, in_use) in of_pods {
            let labels = [("signer", signer.as_str())];
            metrics.set(metrics::CA_EXPIRY, &labels, not_after.as_second() as f64);
            let in_use = f64::from(u8::from(in_use));
            metrics.set(metrics::CA_RELOAD_SUCCESS, &labels, in_use);
        }
        if let Some(offset) = self.api.clock_offset() {
            metrics.set(
                metrics::CLOCK_OFFSET,
                &[("peer", "apiserver")],
                offset.as_secs_f64(),
            );
        }
        if self.follows_requests {
            self.set_gauges_of_requests();
        }

        for keeper in &self.keepers {
            let machine = keeper.lock();
            let labels = [("name", machine.rules().queue_name())];
            let (depth, adds, retries) = machine.load();
            metrics.set(metrics::QUEUE_DEPTH, &labels, depth as f64);
            metrics.set(metrics::QUEUE_ADDS, &labels, adds as f64);
            metrics.set(metrics::QUEUE_RETRIES, &labels, retries as f64);
        }
    }

    /// Those of which another run in this process, which does not follow requests, knows nothing.
    fn set_gauges_of_requests(&self) {
        let metrics = self.telemetry.metrics();
        for (signer, count) in self.core.open_counts() {
            metrics.set(metrics::PENDING, &[("signer", signer)], count as f64);
        }
        let mut depth_of_all = 0;
        for (task, depth, oldest) in self.core.queues(self.api.monotonic()) {
            depth_of_all += depth;
            let labels = [("loop", task.loop_name())];
            metrics.set(metrics::QUEUE_OLDEST, &labels, oldest.as_secs_f64());
        }
        metrics.set(metrics::QUEUE_DEPTH, &QUEUE_NAME, depth_of_all as f64);
    }
}

/// The next bytes of a stream; `None`: it ended or broke.
async fn read(stream: &mut Body) -> Option<Bytes> {
    loop {
        // What is not data are trailers.
        if let Ok(bytes) = stream.frame().await?.ok()?.into_data() {
            return Some(bytes);
        }
    }
}
