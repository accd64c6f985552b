//! The shell: starts the follower, the workers, the cleaner and the housekeeping, and stops them.
//!
//! `run` is one future without background left-overs: when it returns or is dropped, nothing runs
//! any more. [`crate::run_elected`] starts it on winning the election and drops it on losing.

use crate::call::Call;
use crate::cleaner;
use crate::config::{Config, IssuerSource, Loop};
use crate::event;
use crate::gate::Gate;
use crate::issuance::Writer;
use crate::issuers::{IssuerError, Issuers, Terms};
use crate::notice::Notice;
use crate::serving::files::PolicyFiles;
use crate::serving::{self, PolicySet, Source};
use crate::shell::{CONTROLLERS, Shell};
use crate::skew::SKEW_TOLERATED;
use crate::upkeep::{Kept, RootCa, RootCaError, RootCaSource};
use http::Method;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Time between two looks at CA files and clocks.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(60);

/// Events about this process that wait for the API server; the oldest go first when there are more.
const EVENTS_WAITING_MAX: usize = 32;

/// Time between two looks at the policy file.
const POLICY_INTERVAL: Duration = Duration::from_secs(5);

/// Looks at the policy file per look at the ConfigMaps that it names.
const LOOKS_PER_FETCH: usize = 6;

/// Upper bound for finishing the keys in hand when stopping.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What is missing for readiness once `shutdown` has completed.
const STOPPING: &str = "shutdown";

/// Why the controllers could not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// CA files of a signer cannot be used.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// The policy file cannot be used.
    #[error("--serving-approval-policy {file}: {error}")]
    Policy {
        /// Which.
        file: String,
        /// Why.
        error: String,
    },
    /// There is no root CA that could be published.
    #[error(transparent)]
    RootCa(#[from] RootCaError),
    /// A loop ended by a bug; the process should end, too, and be started again.
    #[error("a controller loop ended unexpectedly: {0}")]
    LoopDied(String),
    /// This process led and may not any more: it should end, and be started again to stand by.
    #[error("leader election lost: {0}")]
    LeadershipLost(String),
}

/// Runs the configured loops until `shutdown` completes, then finishes what is in hand.
///
/// `client` may reach a server over TLS or in the same process. When it is built from a
/// `kube::Config`, set `default_retry = false`: the loops have their own queue and backoff.
///
/// # Errors
/// At start, when CA files cannot be used. Later only when a loop dies of a bug: an API server that
/// is away, refuses or lacks the API is waited for.
pub async fn run(
    client: kube::Client,
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    let prepared = prepare(&config)?;
    let never = std::future::pending();
    run_prepared(client, config, prepared, None, shutdown, never).await
}

/// What was read at start.
pub(crate) struct Prepared {
    pub(crate) issuers: Issuers,
    pub(crate) policies: PolicySet,
    /// Set when it is published.
    pub(crate) root_ca: Option<RootCa>,
    /// Those of signers that are published.
    pub(crate) signer_cas: BTreeMap<String, RootCa>,
    /// Set when certificates of pods are signed.
    pub(crate) pods: Option<Issuers<String>>,
    /// Set when the policies come from a file.
    pub(crate) policy_files: Option<PolicyFiles>,
}

/// Reads the files, so that a mistake shows at start and not when this process first leads.
pub(crate) fn prepare(config: &Config) -> Result<Prepared, RunError> {
    let mut signing = [Loop::Signer, Loop::RevocationListPublisher].into_iter();
    let sources = match signing.any(|one| config.loops.contains(&one)) {
        true => config.issuers.clone(),
        false => BTreeMap::new(),
    };
    let (issuers, notices) = Issuers::load(&sources, Terms::of(config))?;
    for notice in &notices {
        config.telemetry.tell(notice);
    }
    if config.loops.contains(&Loop::Signer) && sources.is_empty() {
        config.telemetry.tell(&Notice::SignersSkipped);
    }
    let mut prepared = Prepared {
        issuers,
        policies: PolicySet::default(),
        root_ca: root_ca(config)?,
        signer_cas: signer_cas(config)?,
        pods: pod_issuers(config)?,
        policy_files: None,
    };
    let policy_file = config.serving().and_then(|one| one.policy_file.clone());
    if let Some(path) = policy_file {
        let (files, policies, notices) = PolicyFiles::load(path)?;
        for notice in &notices {
            config.telemetry.tell(notice);
        }
        prepared.policy_files = Some(files);
        prepared.policies = policies;
    }
    Ok(prepared)
}

/// The CA to publish, if it is.
fn root_ca(config: &Config) -> Result<Option<RootCa>, RootCaError> {
    let mut publishers = [Loop::RootCaPublisher, Loop::TrustBundlePublisher].into_iter();
    let Some(publisher) = publishers.find(|one| config.loops.contains(one)) else {
        return Ok(None);
    };
    let Some(source) = &config.root_ca else {
        let name = publisher.short_name();
        return Err(RootCaError(format!(
            "{name} needs --root-ca-file, or a kubeconfig that names a certificate-authority"
        )));
    };
    RootCa::load(source).map(Some)
}

/// The CAs of signers to publish.
fn signer_cas(config: &Config) -> Result<BTreeMap<String, RootCa>, RootCaError> {
    let signers = config.published_signers.iter().filter_map(|signer| {
        let source = config.issuers.get(signer)?;
        Some((signer.name(), source))
    });
    let pods = config.pod_signer.iter().filter(|pods| pods.is_published);
    let pods = pods.map(|pods| (pods.policy.signer(), &pods.issuer));
    let load = |(name, source): (&str, &IssuerSource)| {
        let source = match source {
            IssuerSource::Files(files) => RootCaSource::File(files.certificate.clone()),
            IssuerSource::Memory(issuer) => {
                RootCaSource::Memory(issuer.current().certificate_pem())
            }
        };
        Ok((name.to_owned(), RootCa::load(&source)?))
    };
    signers.chain(pods).map(load).collect()
}

/// The CA of pods' certificates, if they are signed.
fn pod_issuers(config: &Config) -> Result<Option<Issuers<String>>, IssuerError> {
    let runs = config.loops.contains(&Loop::PodCertificateSigner);
    let Some(pods) = config.pod_signer.as_ref().filter(|_| runs) else {
        return Ok(None);
    };
    let sources = BTreeMap::from([(pods.policy.signer().to_owned(), pods.issuer.clone())]);
    let terms = Terms {
        signing_duration: pods.policy.lifetime(),
        spread_ca_end: false,
    };
    let (issuers, notices) = Issuers::load(&sources, terms)?;
    for notice in &notices {
        config.telemetry.tell(notice);
    }
    Ok(Some(issuers))
}

/// See [`run()`]. Writes pass the gate, if there is one. When `lost` completes, calls that are not
/// on their way yet are not made any more, and nothing runs when this returns.
pub(crate) async fn run_prepared(
    client: kube::Client,
    config: Config,
    mut prepared: Prepared,
    gate: Option<Gate>,
    shutdown: impl Future<Output = ()> + Send,
    lost: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    config.telemetry.set_missing(STOPPING, None);
    let policy_files = prepared.policy_files.take();
    let shell = Arc::new(Shell::new(client, &config, prepared, gate));
    let observed = Arc::downgrade(&shell);
    config.telemetry.on_exposition(move || {
        let shell = observed.upgrade();
        if let Some(shell) = &shell {
            shell.set_gauges();
        }
        shell.is_some()
    });
    let log = open_log(&shell, &config).await?;
    let (stop, stopped) = watch::channel(false);
    let mut loops = start(&shell, &config, policy_files, &stopped);
    let mut lost = std::pin::pin!(lost);
    let mut is_lost = false;
    let outcome = tokio::select! {
        () = &mut lost => {
            is_lost = true;
            Ok(())
        }
        () = shutdown => Ok(()),
        Some(ended) = loops.join_next() => Err(died(ended)),
    };
    config
        .telemetry
        .set_missing(STOPPING, Some("the controllers stop".to_owned()));
    // Receivers outlive this: `loops` holds them.
    let _ = stop.send(true);
    if !is_lost {
        let finished = async { while loops.join_next().await.is_some() {} };
        tokio::select! {
            () = &mut lost => {}
            _ = tokio::time::timeout(STOP_PATIENCE, finished) => {}
        }
    }
    shell.api.close();
    loops.shutdown().await;
    // The last checkpoint takes a moment, and a disk that hangs must not hold us.
    let closing = tokio::task::spawn_blocking(move || drop(log));
    let _ = tokio::time::timeout(STOP_PATIENCE, closing).await;
    outcome
}

/// Begins to write the issuance log, if there is to be one, and recalls what it has.
async fn open_log(shell: &Arc<Shell>, config: &Config) -> Result<Option<Arc<Writer>>, RunError> {
    let Some(log) = config.issuance_log.clone() else {
        return Ok(None);
    };
    let (recalling, directory) = (Arc::clone(shell), log.directory.clone());
    let recalled = tokio::task::spawn_blocking(move || recalling.recall_issued(&directory)).await;
    recalled.map_err(|error| RunError::LoopDied(error.to_string()))?;
    let writer = shell.open_log(log);
    writer
        .map(Some)
        .map_err(|error| RunError::LoopDied(format!("no thread for the issuance log: {error}")))
}

fn died(ended: Result<(), tokio::task::JoinError>) -> RunError {
    RunError::LoopDied(match ended {
        Ok(()) => "it returned".to_owned(),
        Err(error) => error.to_string(),
    })
}

fn start(
    shell: &Arc<Shell>,
    config: &Config,
    policy_files: Option<PolicyFiles>,
    stopped: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut loops = JoinSet::new();
    let (synced_sender, synced) = watch::channel(false);
    for task in shell.core.tasks() {
        let name = task.loop_name();
        shell.telemetry.tell(&Notice::Starting { name });
        shell.telemetry.tell(&Notice::WaitingForCaches { name });
        for _ in 0..config.workers.max(1) {
            loops.spawn(Arc::clone(shell).work(task, stopped.clone()));
        }
    }
    if config.loops.contains(&Loop::Cleaner) {
        let cleaning = clean(Arc::clone(shell), config.ages, synced);
        loops.spawn(until_stopped(stopped.clone(), cleaning));
    }
    if config.loops.iter().any(|one| one.is_about_requests()) {
        let shell = Arc::clone(shell);
        let following = async move {
            shell.follow(&synced_sender).await;
        };
        loops.spawn(until_stopped(stopped.clone(), following));
    } else {
        shell.telemetry.set_missing(CONTROLLERS, None);
    }
    start_upkeep(shell, stopped, &mut loops);
    if shell.core.serving().is_some() {
        for source in Source::ALL {
            let shell = Arc::clone(shell);
            let following = async move {
                shell.follow_cluster(source).await;
            };
            loops.spawn(until_stopped(stopped.clone(), following));
        }
    }
    if let Some(files) = policy_files {
        let watching = watch_policy(Arc::clone(shell), files);
        loops.spawn(until_stopped(stopped.clone(), watching));
    }
    loops.spawn(until_stopped(
        stopped.clone(),
        look_after(Arc::clone(shell)),
    ));
    loops
}

/// Starts what keeps tokens and what is made of them: one worker each, and one follower for each
/// thing that any of them looks at.
fn start_upkeep(shell: &Arc<Shell>, stopped: &watch::Receiver<bool>, loops: &mut JoinSet<()>) {
    for (index, title) in shell.upkeep_titles() {
        shell
            .telemetry
            .tell(&Notice::Kept(Kept::Starting { title }));
        loops.spawn(Arc::clone(shell).keep(index, stopped.clone()));
    }
    for watched in shell.watched() {
        let missing = Some("not listed yet".to_owned());
        shell.telemetry.set_missing(watched.component(), missing);
        let shell = Arc::clone(shell);
        let following = async move {
            shell.follow_watched(watched).await;
        };
        loops.spawn(until_stopped(stopped.clone(), following));
    }
}

async fn until_stopped(mut stopped: watch::Receiver<bool>, task: impl Future<Output = ()>) {
    tokio::select! {
        // An error means that `run` was dropped, which stops everything as well.
        _ = stopped.wait_for(|stopped| *stopped) => {}
        () = task => {}
    }
}

/// One pass over all requests after the first list, then one per hour, or more often where requests
/// may become less old.
async fn clean(shell: Arc<Shell>, ages: cleaner::Ages, mut synced: watch::Receiver<bool>) {
    if synced.wait_for(|synced| *synced).await.is_err() {
        return;
    }
    loop {
        shell.clean(&ages).await;
        tokio::time::sleep(ages.pass_interval()).await;
    }
}

/// Puts the policy file in force whenever it changes, and the inventories that it names.
async fn watch_policy(shell: Arc<Shell>, mut files: PolicyFiles) {
    let mut looks: usize = 0;
    let mut ticks = tokio::time::interval(POLICY_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(state) = shell.core.serving() else {
            return;
        };
        let (mut changed, mut notices) = files.look(state);
        // At once after the policy has changed.
        if changed || looks.is_multiple_of(LOOKS_PER_FETCH) {
            for source in serving::files::named(state) {
                let Some(path) = source.path() else { continue };
                let answer = shell.api.call(&Call::new(Method::GET, path, None)).await;
                let (is_other, more) = files.answer(&source, &answer, state);
                changed |= is_other;
                notices.extend(more);
            }
        }
        looks = looks.wrapping_add(1);
        for notice in &notices {
            shell.telemetry.tell(notice);
        }
        if changed {
            shell.decide_all_again();
        }
    }
}

/// Looks at CA files and clocks every minute, the first time at once.
async fn look_after(shell: Arc<Shell>) {
    let mut ticks = tokio::time::interval(HOUSEKEEPING_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut clocks_apart = false;
    let mut events = VecDeque::new();
    loop {
        ticks.tick().await;
        shell.api.look_at_version().await;
        shell.check_step(false);
        let mut notices = Vec::new();
        if let Some(offset) = shell.api.clock_offset() {
            let apart = offset.abs() > SKEW_TOLERATED;
            if apart != clocks_apart {
                clocks_apart = apart;
                notices.push(Notice::ClockSkew { offset, apart });
            }
        }
        let now = shell.now().wall;
        let looking = {
            let shell = Arc::clone(&shell);
            // The disk may be slow, or a network file system.
            tokio::task::spawn_blocking(move || {
                let mut notices = shell.look_at_issuers(now);
                notices.extend(shell.look_at_published_cas());
                notices
            })
        };
        notices.extend(looking.await.unwrap_or_default());
        for notice in &notices {
            shell.telemetry.tell(notice);
            events.extend(event::of_notice(notice, shell.now()));
        }
        while events.len() > EVENTS_WAITING_MAX {
            events.pop_front();
        }
        shell.deliver(&mut events).await;
    }
}
