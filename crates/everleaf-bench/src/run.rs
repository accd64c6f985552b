//! The run of a load, from the keys to the report.

use crate::arrival::{self, Chance};
use crate::clock;
use crate::informer::Informer;
use crate::line::{Call, Line, REQUESTS, Target, lock};
use crate::live::{Live, Phase};
use crate::node::{Load, Node};
use crate::plan::{Arrival, Connections, Plan, Signer, Wait};
use crate::process::{self, Process, Usage};
use crate::record::{Durations, Record};
use crate::report::{Cleaned, Measured, Report, Watched};
use crate::requests;
use crate::trouble::Trouble;
use everleaf_pki::KeyError;
use http::Method;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Nodes under way while they get what they need before anything is measured, and requests while
/// they are deleted.
const UNMEASURED_IN_FLIGHT: usize = 64;
/// How often it is looked whether timers come late.
const PROBE: Duration = Duration::from_millis(10);
/// Longest wait for the first answer of a server.
const GREETING_MAX: Duration = Duration::from_secs(30);

/// Whom a load speaks to.
#[derive(Clone, Debug)]
pub struct Targets {
    /// As whom nodes ask for their first certificate.
    pub nodes: Target,
    /// As whom the load approves, if it is to do that itself.
    pub approver: Option<Target>,
}

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Keys or requests cannot be made.
    #[error("cannot make the requests of the nodes")]
    Requests(#[from] KeyError),
    /// The server does not answer as it should, before anything was sent.
    #[error("{server} cannot be measured: {why}")]
    Server {
        /// Which.
        server: String,
        /// Why, in words.
        why: String,
    },
    /// A process that was to be watched is not there.
    #[error("--pid {name}={pid}: there is no such process, or the kernel tells nothing of it")]
    NoProcess {
        /// What it was called.
        name: String,
        /// Its number.
        pid: u32,
    },
}

/// Runs a load until it is done, or until `stop`.
///
/// # Errors
/// Nothing could be measured. That certificates were not issued is no error: the report says so.
pub async fn run(
    plan: &Plan,
    targets: &Targets,
    processes: &[Process],
    live: &Arc<Live>,
    stop: impl Future<Output = ()> + Send,
) -> Result<Report, BenchError> {
    let mut stop = pin!(stop);
    usages(processes)?;
    let load = Arc::new(load(plan, targets, live).await?);
    let mut background = JoinSet::new();
    let ready = tokio::select! {
        nodes = ready(&load, targets, &mut background) => Some(nodes?),
        () = &mut stop => None,
    };
    let mut was_stopped = ready.is_none();
    let (nodes, names) = ready.unwrap_or_default();
    live.begin(Phase::Running, plan.certificates());
    let before = usages(processes)?;
    let lateness = Arc::new(Mutex::new(Durations::default()));
    background.spawn(probe(Arc::clone(&lateness)));
    let own_before = clock::own_cpu();
    let start = *load.start.get_or_init(Instant::now);
    tokio::select! {
        () = drive(&load, nodes) => {}
        () = &mut stop => was_stopped = true,
    }
    let elapsed = start.elapsed();
    let own = clock::own_cpu().saturating_sub(own_before);
    let watched = watched(processes, before);
    background.abort_all();
    let record = std::mem::take(&mut *lock(&load.record));
    let cleaned = match plan.cleans_up {
        true => Some(clean(&load, names).await),
        false => None,
    };
    let late_ms = lateness.lock().map(|late| late.percentile_ms(99.0));
    let measured = Measured {
        server: targets.nodes.server(),
        elapsed,
        own,
        late_ms: late_ms.unwrap_or_default(),
        processors: processors(),
        watched,
        load_average: process::load_average(),
        was_stopped,
        cleaned,
    };
    Ok(Report::new(plan, &record, measured))
}

/// What the nodes share, with the connections that they share open.
async fn load(plan: &Plan, targets: &Targets, live: &Arc<Live>) -> Result<Load, BenchError> {
    let record = Arc::new(Mutex::new(Record::default()));
    let count = match plan.connections {
        Connections::Shared(count) => count,
        Connections::PerNode => 1,
    };
    let mut lines = Vec::new();
    for _ in 0..count {
        lines.push(greeted(&targets.nodes, &record).await?);
    }
    let approver = match &targets.approver {
        Some(target) => Some(greeted(target, &record).await?),
        None => None,
    };
    Ok(Load {
        plan: plan.clone(),
        record,
        live: Arc::clone(live),
        lines,
        approver,
        informer: OnceLock::new(),
        start: OnceLock::new(),
    })
}

/// A connection with a first call behind it, so that it is there when the clock starts. The call
/// costs nothing and every server has it: the list of resources.
async fn greeted(target: &Target, record: &Arc<Mutex<Record>>) -> Result<Line, BenchError> {
    let line = target.line(record);
    let call = Call::get("/apis/certificates.k8s.io/v1");
    let answer = tokio::time::timeout(GREETING_MAX, line.call(&call)).await;
    match answer {
        Ok(Ok(_)) => Ok(line),
        Ok(Err(trouble)) => Err(unfit(target, &trouble.to_string())),
        Err(_) => {
            let seconds = GREETING_MAX.as_secs();
            Err(unfit(target, &format!("no answer within {seconds} s")))
        }
    }
}

fn unfit(target: &Target, why: &str) -> BenchError {
    let server = target.server();
    let why = why.strip_prefix(&format!("{server}: ")).unwrap_or(why);
    BenchError::Server {
        why: why.to_owned(),
        server,
    }
}

/// Nodes that have all they need to begin, and the names of all requests; the informer runs.
async fn ready(
    load: &Arc<Load>,
    targets: &Targets,
    background: &mut JoinSet<()>,
) -> Result<(Vec<Node>, Vec<String>), BenchError> {
    let nodes = prepared(&load.plan, &load.live).await?;
    let names = match load.plan.cleans_up {
        true => nodes.iter().flat_map(Node::names).collect(),
        false => Vec::new(),
    };
    let nodes = match load.plan.signer {
        Signer::Client => nodes,
        Signer::Serving => equipped(load, nodes).await,
    };
    if load.plan.wait == Wait::Informer {
        let line = targets.nodes.line(&load.record);
        let informer = Arc::new(Informer::default());
        let listed = informer.list(&line).await;
        let version = listed.map_err(|trouble| unfit(&targets.nodes, &trouble.to_string()))?;
        background.spawn(Arc::clone(&informer).watch(line, version));
        load.informer.get_or_init(|| informer);
    }
    Ok((nodes, names))
}

/// Makes keys and requests, off the runtime's threads.
async fn prepared(plan: &Plan, live: &Arc<Live>) -> Result<Vec<Node>, BenchError> {
    live.begin(Phase::Preparing, u64::from(plan.nodes));
    let (plan, live) = (plan.clone(), Arc::clone(live));
    let made =
        tokio::task::spawn_blocking(move || requests::prepare(&plan, processors(), &live.done));
    let made = made
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    let nodes = made.into_iter().enumerate();
    Ok(nodes
        .map(|(number, requests)| Node::new(number, requests))
        .collect())
}

/// Nodes with their client certificates; those that did not get one are left out.
async fn equipped(load: &Arc<Load>, nodes: Vec<Node>) -> Vec<Node> {
    load.live
        .begin(Phase::Equipping, u64::from(load.plan.nodes));
    let ready = Arc::new(Mutex::new(Vec::new()));
    let equip = {
        let (load, ready) = (Arc::clone(load), Arc::clone(&ready));
        move |node| {
            let (load, ready) = (Arc::clone(&load), Arc::clone(&ready));
            async move {
                if let Some(node) = load.equip(node).await {
                    hold(&ready).push(node);
                }
            }
        }
    };
    few_at_a_time(UNMEASURED_IN_FLIGHT, nodes, equip).await;
    let mut ready = std::mem::take(&mut *hold(&ready));
    ready.sort_by_key(Node::number);
    ready
}

/// Has all nodes come, and returns when the last one is done.
async fn drive(load: &Arc<Load>, nodes: Vec<Node>) {
    let mut chance = Chance::new(load.plan.seed);
    let moments = arrival::moments(load.plan.arrival, load.plan.nodes, &mut chance);
    match (load.plan.arrival, moments) {
        (Arrival::ClosedLoop { in_flight }, _) => {
            let load = Arc::clone(load);
            let play = move |node| {
                let load = Arc::clone(&load);
                async move { load.play(node, Instant::now()).await }
            };
            few_at_a_time(in_flight as usize, nodes, play).await;
        }
        (_, moments) => {
            let start = Instant::now();
            let mut playing = JoinSet::new();
            for (node, moment) in nodes.into_iter().zip(moments.unwrap_or_default()) {
                // What a node waits for counts from when it was to come: that it came late is our
                // fault, and no reason to measure less.
                let came = start + moment;
                tokio::time::sleep_until(came).await;
                lock(&load.record).lateness.add(came.elapsed());
                let load = Arc::clone(load);
                playing.spawn(async move { load.play(node, came).await });
                while playing.try_join_next().is_some() {}
            }
            while playing.join_next().await.is_some() {}
        }
    }
}

/// Works on all of them, so many at a time.
async fn few_at_a_time<T, W>(
    at_once: usize,
    items: Vec<T>,
    work: impl Fn(T) -> W + Clone + Send + Sync + 'static,
) where
    T: Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let at_once = at_once.min(items.len());
    let items = Arc::new(Mutex::new(items.into_iter()));
    let mut workers = JoinSet::new();
    for _ in 0..at_once {
        let (items, work) = (Arc::clone(&items), work.clone());
        workers.spawn(async move {
            loop {
                let next = hold(&items).next();
                let Some(item) = next else { return };
                work(item).await;
            }
        });
    }
    while workers.join_next().await.is_some() {}
}

/// Deletes the requests that are still there.
async fn clean(load: &Arc<Load>, names: Vec<String>) -> Cleaned {
    load.live.begin(Phase::Cleaning, names.len() as u64);
    let line = load.approver.as_ref().unwrap_or(&load.lines[0]).clone();
    let cleaned = Arc::new(Mutex::new(Cleaned::default()));
    let delete = {
        let (load, cleaned) = (Arc::clone(load), Arc::clone(&cleaned));
        move |name: String| {
            let (load, line, cleaned) = (Arc::clone(&load), line.clone(), Arc::clone(&cleaned));
            async move {
                let path = format!("{REQUESTS}/{name}");
                let call = Call {
                    method: Method::DELETE,
                    path: &path,
                    body: None,
                };
                let deleted = tokio::time::timeout(load.plan.timeout, line.call(&call)).await;
                let deleted = deleted.unwrap_or(Err(Trouble::NoAnswer(load.plan.timeout)));
                load.live.count(deleted.is_ok());
                hold(&cleaned).count(&name, deleted.map(drop));
            }
        }
    };
    few_at_a_time(UNMEASURED_IN_FLIGHT, names, delete).await;
    std::mem::take(&mut *hold(&cleaned))
}

/// Looks how late timers come, for ever.
async fn probe(lateness: Arc<Mutex<Durations>>) {
    loop {
        let due = Instant::now() + PROBE;
        tokio::time::sleep_until(due).await;
        hold(&lateness).add(due.elapsed());
    }
}

/// What the processes have used until now; all of them must be there.
fn usages(processes: &[Process]) -> Result<Vec<Usage>, BenchError> {
    let usage = |process: &Process| {
        process.usage().ok_or_else(|| BenchError::NoProcess {
            name: process.name.clone(),
            pid: process.pid,
        })
    };
    processes.iter().map(usage).collect()
}

/// What they used since; one that has ended meanwhile has used nothing.
fn watched(processes: &[Process], before: Vec<Usage>) -> Vec<Watched> {
    let pairs = processes.iter().zip(before);
    pairs
        .map(|(process, before)| Watched {
            process: process.clone(),
            before,
            after: process.usage(),
        })
        .collect()
}

fn processors() -> u32 {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(threads).unwrap_or(u32::MAX)
}

/// What is shared here is whole whatever panicked: each change is one call.
fn hold<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
