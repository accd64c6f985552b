//! The shell of the election: makes its calls, starts and stops the loops, tells what changed.
//!
//! It owns no rule: [`crate::election`] says what to do next, this file does it and reports back.
//! Calls about the lease have their own client path, without the loops' rate limit: a busy signer
//! must not cost the leadership.

use crate::call::{Call as ApiCall, CallError, parse, segment};
use crate::client::Api;
use crate::config::{ApiLimit, Config};
use crate::election::lease::LockName;
use crate::election::permit::Permit;
use crate::election::{
    Answer, Call, Change, Effect, Election, ElectionConfig, Ending, Event, lease,
};
use crate::notice::Notice;
use crate::run::{Prepared, RunError, prepare, run_prepared};
use crate::telemetry::Telemetry;
use everleaf_time::Now;
use http::Method;
use serde_json::Value;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Longest wait for a Kubernetes Event about the election; nobody depends on it.
const EVENT_PATIENCE: Duration = Duration::from_secs(2);

/// Component of readiness.
const COMPONENT: &str = "leader election";
/// The loops' own component, which says nothing while they are not to run.
const LOOPS: &str = "controllers";

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs the configured loops whenever this process leads, until `shutdown` completes. At most one
/// of all processes that take part in the same election runs them at any time.
///
/// # Errors
/// As [`run()`](crate::run()), and [`RunError::LeadershipLost`]: the loops were stopped at once,
/// and the process should end, so that whoever supervises it starts it again as a standby.
pub async fn run_elected(
    client: kube::Client,
    config: Config,
    election: ElectionConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    run_all_elected(client.clone(), vec![(client, config)], election, shutdown).await
}

/// As [`run_elected`], for several runs that lead and leave together: each with a client of its
/// own, whose rights are its own. When one of them ends, all do. Calls about the lease are made by
/// `client`; the first run says what else they need (clock, telemetry, the server's name).
///
/// # Errors
/// As [`run_elected`]. Without a run, nothing is done until `shutdown` completes.
pub async fn run_all_elected(
    client: kube::Client,
    runs: Vec<(kube::Client, Config)>,
    election: ElectionConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    let prepared = runs.iter().map(|(_, config)| prepare(config));
    let prepared = prepared.collect::<Result<Vec<_>, _>>()?;
    let Some((_, first)) = runs.first() else {
        shutdown.await;
        return Ok(());
    };
    let api = Api::new(
        client,
        ApiLimit::Off,
        first.server_host.clone(),
        Arc::clone(&first.clock),
        Arc::clone(&first.telemetry),
    );
    let leases = Arc::new(LeaseClient {
        api: api.quiet(),
        identity: election.identity.clone(),
        lock: election.lock.clone(),
        telemetry: Arc::clone(&first.telemetry),
    });
    let mut candidate = Candidate {
        machine: Election::new(election, leases.now()),
        abandon: None,
        events: JoinSet::new(),
        leases,
        finish: Arc::default(),
        flight: None,
        permit: watch::Sender::default(),
        prepared,
        runs,
        loops: None,
        outcome: Ok(()),
    };
    tokio::pin!(shutdown);
    let mut is_stop_asked = false;
    loop {
        if let Some(ending) = candidate.perform().await {
            return candidate.end(ending).await;
        }
        let due = candidate.machine.poll_timeout();
        let due = due.map(|due| candidate.leases.api.instant(due));
        let event = tokio::select! {
            () = &mut shutdown, if !is_stop_asked => {
                is_stop_asked = true;
                Some(Event::StopAsked)
            }
            answer = or_never(&mut candidate.flight) => {
                candidate.flight = None;
                Some(Event::Answered(answer))
            }
            outcome = or_never(&mut candidate.loops) => {
                candidate.loops = None;
                candidate.outcome = outcome;
                Some(Event::LoopsEnded)
            }
            () = sleep_until(due) => None,
        };
        let now = candidate.leases.now();
        match event {
            Some(event) => candidate.machine.handle_event(now, event),
            None => candidate.machine.handle_timeout(now),
        }
    }
}

async fn or_never<T>(slot: &mut Option<Boxed<T>>) -> T {
    match slot {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Waits for all runs. When one ends, the others are asked to finish; how the first ended that did
/// not end well is how all did.
async fn all_ended(
    mut running: JoinSet<Result<(), RunError>>,
    finish: Arc<watch::Sender<bool>>,
) -> Result<(), RunError> {
    let mut outcome = Ok(());
    while let Some(ended) = running.join_next().await {
        finish.send_replace(true);
        let ended = ended.unwrap_or_else(|died| Err(RunError::LoopDied(died.to_string())));
        outcome = outcome.and(ended);
    }
    outcome
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

struct Candidate {
    /// Has the loops end at once.
    abandon: Option<watch::Sender<()>>,
    /// Kubernetes Events on their way.
    events: JoinSet<()>,
    leases: Arc<LeaseClient>,
    /// Asks the loops to finish.
    finish: Arc<watch::Sender<bool>>,
    flight: Option<Boxed<Answer>>,
    /// What the loops may write.
    permit: watch::Sender<Option<Permit>>,
    /// Of each run, until the loops start.
    prepared: Vec<Prepared>,
    runs: Vec<(kube::Client, Config)>,
    loops: Option<Boxed<Result<(), RunError>>>,
    machine: Election,
    /// How the loops ended.
    outcome: Result<(), RunError>,
}

impl Candidate {
    /// Performs what the machine asks for; `Some`: it is over.
    async fn perform(&mut self) -> Option<Ending> {
        let permit = self.machine.permit();
        self.permit
            .send_if_modified(|present| std::mem::replace(present, permit) != permit);
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Call(call, within) => {
                    self.flight = Some(Box::pin(Arc::clone(&self.leases).call(call, within)));
                }
                Effect::End(ending) => return Some(ending),
                Effect::Finish => drop(self.finish.send_replace(true)),
                Effect::Lead => self.lead(),
                Effect::Tell(change) => self.tell(change).await,
            }
        }
        None
    }

    fn lead(&mut self) {
        let abandon = watch::Sender::new(());
        let mut running = JoinSet::new();
        for ((client, config), prepared) in self.runs.iter().zip(self.prepared.drain(..)) {
            let (mut finished, mut abandoned) = (self.finish.subscribe(), abandon.subscribe());
            let stopped = async move {
                let _ = finished.wait_for(|is_asked| *is_asked).await;
            };
            let lost = async move {
                // It is never sent, only dropped.
                let _ = abandoned.changed().await;
            };
            let (client, config) = (client.clone(), config.clone());
            let gate = Some(self.permit.subscribe());
            running.spawn(run_prepared(client, config, prepared, gate, stopped, lost));
        }
        self.abandon = Some(abandon);
        self.loops = Some(Box::pin(all_ended(running, Arc::clone(&self.finish))));
    }

    async fn tell(&mut self, change: Change) {
        let telemetry = &self.leases.telemetry;
        match &change {
            Change::Failing { error } => {
                telemetry.set_standing_by(None);
                telemetry.set_missing(COMPONENT, Some(error.clone()));
            }
            Change::Leading => {
                telemetry.set_standing_by(None);
                telemetry.set_missing(COMPONENT, None);
                telemetry.set_missing(LOOPS, Some("not started".to_owned()));
            }
            Change::Recovered => telemetry.set_missing(COMPONENT, None),
            Change::Seen { holder } => {
                telemetry.set_missing(COMPONENT, None);
                telemetry.set_missing(LOOPS, None);
                telemetry.set_standing_by(Some(holder.clone()));
            }
            Change::Lost { .. } => {
                telemetry.set_missing(COMPONENT, Some("lost".to_owned()));
            }
            _ => {}
        }
        let event = match &change {
            Change::Leading => Some("became leader"),
            Change::Released => Some("stopped leading"),
            _ => None,
        };
        let is_last = change == Change::Released;
        self.leases.tell(change);
        if let Some(what) = event {
            let lease = self.machine.lease().cloned().unwrap_or_default();
            let sending = Arc::clone(&self.leases).send_event(lease, what);
            if is_last {
                sending.await;
            } else {
                self.events.spawn(sending);
            }
        }
    }

    /// Nothing writes any more when this returns.
    async fn end(mut self, ending: Ending) -> Result<(), RunError> {
        self.flight = None;
        self.leases.api.close();
        drop(self.abandon.take());
        if let Some(loops) = self.loops.take() {
            // How they ended does not matter any more: they were to.
            let _ = loops.await;
        }
        self.events.shutdown().await;
        match ending {
            Ending::Lost(why) => Err(RunError::LeadershipLost(why)),
            Ending::Stopped => self.outcome,
        }
    }
}

/// Makes the calls about the lease.
struct LeaseClient {
    api: Api,
    identity: String,
    lock: LockName,
    telemetry: Arc<Telemetry>,
}

impl LeaseClient {
    fn now(&self) -> Now {
        self.api.now()
    }

    fn tell(&self, change: Change) {
        self.telemetry.tell(&Notice::Election {
            change,
            identity: self.identity.clone(),
            lock: self.lock.clone(),
        });
    }

    async fn call(self: Arc<Self>, call: Call, within: Duration) -> Answer {
        match tokio::time::timeout(within, self.exchange(&call)).await {
            Ok(Ok(lease)) => Answer::Lease(lease),
            Ok(Err(error)) => self.answer(&call, &error),
            Err(_) => Answer::Failed(format!("no answer within {} s", within.as_secs_f32())),
        }
    }

    async fn exchange(&self, call: &Call) -> Result<Value, CallError> {
        let LockName { namespace, name } = &self.lock;
        let namespace = segment(namespace);
        let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        let lease = format!("{leases}/{}", segment(name));
        let (method, path, body) = match call {
            Call::Create(lease) => (Method::POST, &leases, Some(lease)),
            Call::Read => (Method::GET, &lease, None),
            Call::Replace(object) => (Method::PUT, &lease, Some(object)),
        };
        let call = ApiCall::new(method, path, body.cloned());
        parse(&self.api.call(&call).await?)
    }

    fn answer(&self, call: &Call, error: &CallError) -> Answer {
        let what = match call {
            Call::Create(_) => "create",
            Call::Read => "get",
            Call::Replace(_) => "update",
        };
        let told = error.advised(
            "grant get, create and update on leases of coordination.k8s.io there, or switch the \
             election off with --leader-elect=false where this is the only process",
        );
        let text = format!("cannot {what} the lease {}: {told}", self.lock);
        match (error.code(), call) {
            (404, Call::Read | Call::Replace(_)) => Answer::Missing(text),
            (409, _) => Answer::Conflict(text),
            _ => Answer::Failed(text),
        }
    }

    /// Records a Kubernetes Event, as kube-controller-manager does; best effort.
    async fn send_event(self: Arc<Self>, lease: Value, what: &'static str) {
        let message = format!("{} {what}", self.identity);
        let event = lease::event(&lease, &self.lock, &message, self.now().wall);
        let path = format!(
            "/api/v1/namespaces/{}/events",
            segment(&self.lock.namespace)
        );
        let call = ApiCall::new(Method::POST, path, Some(event));
        let call = self.api.call(&call);
        match tokio::time::timeout(EVENT_PATIENCE, call).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "cannot record the event {message:?}"),
            Err(_) => tracing::debug!("cannot record the event {message:?}: no answer"),
        }
    }
}
