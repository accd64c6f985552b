//! A run: rounds of load, each with a fault or two, and the judgement of all that was seen.

use crate::check::{Violation, violations};
use crate::client::Access;
use crate::doctor::doctored;
use crate::history::{Answer, History, Request};
use crate::load::{Load, keys, locked};
use crate::random::Random;
use crate::system::{Store, System};
use crate::watcher::Watcher;
use anyhow::{Context, Result, bail, ensure};
use everleaf_stage::runner::{now, say};
use everleaf_stage::{Sandbox, eventually};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Clients that write and read.
const CLIENTS: u64 = 6;
/// Watchers.
const WATCHERS: usize = 3;
/// Load before the fault, and after all is well again.
const AROUND: Duration = Duration::from_millis(600);
/// How long a fault of etcd lasts, or a server stands still: elections take a second or two.
const FAULT: Duration = Duration::from_millis(3500);
/// How long a server is gone.
const GONE: Duration = Duration::from_millis(400);
/// Longest until watchers have been told of the last write.
const SECONDS_MAX: u64 = 40;
/// Most violations that are told.
const TOLD_MAX: usize = 20;

/// What a run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where the objects are.
    pub store: Store,
    /// How often something is done to them.
    pub rounds: u32,
    /// Of what is done, and to whom.
    pub seed: u64,
    /// Whether each round is told.
    pub is_told: bool,
}

/// What is done in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` of a server, which is started again.
    ServerKilled,
    /// SIGSTOP of a server, and SIGCONT.
    ServerPaused,
    /// `kill -9` of a member, which is started again.
    MemberKilled,
    /// SIGSTOP of a member, and SIGCONT.
    MemberPaused,
    /// The other members are not reached from one, nor it from them; its clients reach it.
    MemberCutOff,
}

/// What a run has shown.
#[derive(Debug, Default)]
pub struct Report {
    /// How often each was done.
    pub faults: BTreeMap<Fault, usize>,
    /// Writes and deletes that were acknowledged; none of them was lost.
    pub acknowledged: usize,
    /// Compare-and-swaps that were refused since somebody was quicker.
    pub conflicts: usize,
    /// Writes of which no client knows what became.
    pub unknown: usize,
    /// Reads.
    pub reads: usize,
    /// Events that watchers were told.
    pub events: usize,
    /// Times that a watcher had to list anew.
    pub relists: usize,
    /// Planted faults that the check has seen in copies of the history.
    pub planted: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = self.faults.iter();
        let faults: Vec<_> = faults
            .map(|(what, times)| format!("{what:?} {times}"))
            .collect();
        write!(
            f,
            "faults: {}; acknowledged writes: {}, none lost; compare-and-swaps refused: {}; not answered: {}; reads: {}; events of \
             watches: {}; lists anew: {}; planted faults seen: {}",
            faults.join(", "),
            self.acknowledged,
            self.conflicts,
            self.unknown,
            self.reads,
            self.events,
            self.relists,
            self.planted
        )
    }
}

/// Does it.
///
/// # Errors
/// Something does not come back, or what was seen is not what must hold.
pub fn run(sandbox: &Sandbox, plan: Plan) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut system = System::start(sandbox, plan.store, &runtime)?;
    let access = Access::read(&system.admin())?;
    let load = Arc::new(Load::new(access, system.ports.clone()));
    for number in 0..CLIENTS {
        let load = Arc::clone(&load);
        let seed = plan.seed.wrapping_mul(CLIENTS).wrapping_add(number);
        runtime.spawn(async move { load.client(seed).await });
    }
    let watchers: Vec<Arc<Watcher>> = (0..WATCHERS).map(|_| Arc::default()).collect();
    for (first, watcher) in watchers.iter().enumerate() {
        let (load, watcher) = (Arc::clone(&load), Arc::clone(watcher));
        runtime.spawn(async move { watcher.run(&load, first).await });
    }
    eventually("the watchers watch", SECONDS_MAX, || {
        let is_there = watchers.iter().all(|one| one.position() > 0);
        is_there.then_some(()).context("not all")
    })?;
    let mut faults = BTreeMap::new();
    let mut random = Random::new(plan.seed);
    for round in 1..=plan.rounds {
        let began = now();
        let chosen = chosen(&mut random, plan.store);
        load.round.store(round, Ordering::Relaxed);
        std::thread::sleep(AROUND);
        inflict(&mut system, &mut random, &chosen)?;
        std::thread::sleep(AROUND);
        for port in &system.ports {
            runtime.block_on(read_all(&load, *port, round..=round))?;
        }
        if plan.is_told {
            let took = began.elapsed().as_secs_f64();
            say(&format!("round {round:4}  {took:5.1} s  {chosen:?}"));
        }
        chosen
            .iter()
            .for_each(|one| *faults.entry(*one).or_default() += 1);
    }
    let history = end(&runtime, &system, &load, &watchers, plan.rounds)?;
    let found = violations(&history);
    if !found.is_empty() {
        let told = found.iter().take(TOLD_MAX).map(Violation::to_string);
        let told = told.collect::<Vec<_>>().join("\n");
        let evidence = sandbox.write("violations.txt", &evidence(&history, &found))?;
        bail!(
            "{} violations ({}), of which:\n{told}",
            found.len(),
            evidence.display()
        );
    }
    report(&history, faults)
}

/// One fault; on etcd a second one now and then, of another kind of part.
fn chosen(random: &mut Random, store: Store) -> Vec<Fault> {
    let of_server = match random.below(3) {
        0 => Fault::ServerPaused,
        _ => Fault::ServerKilled,
    };
    if store == Store::Embedded {
        return vec![of_server];
    }
    let of_member = match random.below(3) {
        0 => Fault::MemberKilled,
        1 => Fault::MemberPaused,
        _ => Fault::MemberCutOff,
    };
    match random.below(4) {
        0 => vec![of_server],
        1 => vec![of_member, of_server],
        _ => vec![of_member],
    }
}

/// Does it, undoes it, and waits until all is well.
fn inflict(system: &mut System<'_>, random: &mut Random, chosen: &[Fault]) -> Result<()> {
    let server = random.below(system.servers());
    let member = random.below(system.members().max(1));
    let mut lasts = Duration::ZERO;
    for fault in chosen {
        match fault {
            Fault::ServerKilled => system.kill_server(server),
            Fault::ServerPaused => system.pause_server(server, true)?,
            Fault::MemberKilled => system.kill_member(member),
            Fault::MemberPaused => system.pause_member(member, true)?,
            Fault::MemberCutOff => system.cut(Some(member)),
        }
        lasts = lasts.max(match (fault, system.members()) {
            (Fault::ServerKilled, _) | (Fault::ServerPaused, 0) => GONE,
            _ => FAULT,
        });
    }
    std::thread::sleep(lasts);
    for fault in chosen {
        match fault {
            Fault::ServerKilled => system.restart_server(server)?,
            Fault::ServerPaused => system.pause_server(server, false)?,
            Fault::MemberKilled => system.restart_member(member)?,
            Fault::MemberPaused => system.pause_member(member, false)?,
            Fault::MemberCutOff => system.cut(None),
        }
    }
    system.wait_for_members()?;
    system.wait_for_servers()
}

/// Until it succeeds: a read that fails says nothing.
async fn read_all(load: &Load, port: u16, rounds: std::ops::RangeInclusive<u32>) -> Result<()> {
    let deadline = now() + Duration::from_secs(SECONDS_MAX);
    loop {
        match load.read_all(port, rounds.clone()).await {
            Err(_) if now() < deadline => tokio::time::sleep(AROUND).await,
            done => return done,
        }
    }
}

/// Lets all come to rest, reads everything everywhere, and takes the record.
fn end(
    runtime: &Runtime,
    system: &System<'_>,
    load: &Load,
    watchers: &[Arc<Watcher>],
    rounds: u32,
) -> Result<History> {
    load.round.store(0, Ordering::Relaxed);
    for port in &system.ports {
        runtime.block_on(read_all(load, *port, 1..=rounds))?;
    }
    let last = runtime.block_on(async {
        let mut connection = load.access.connect(system.ports[0]).await?;
        let key = keys(rounds + 1).start;
        let request = Request::Create(u64::MAX);
        match load.perform(&mut connection, key, request).await {
            Answer::Wrote(revision) => Ok(revision),
            answer => bail!("the last write: {answer:?}"),
        }
    })?;
    eventually(
        "all watchers are told of the last write",
        SECONDS_MAX,
        || {
            let behind = watchers.iter().filter(|one| one.position() < last).count();
            ensure!(behind == 0, "{behind} are behind revision {last}");
            Ok(())
        },
    )?;
    load.is_over.store(true, Ordering::Relaxed);
    if let Some(links) = &system.links {
        links.check()?;
    }
    let odd = locked(&load.odd);
    ensure!(odd.is_empty(), "answers that no fault explains: {odd:?}");
    Ok(History {
        operations: locked(&load.operations).clone(),
        watchers: watchers.iter().map(|one| one.stretches()).collect(),
    })
}

/// All that was asked and told of the objects that have a violation.
fn evidence(history: &History, found: &[Violation]) -> String {
    let mut lines = Vec::new();
    for key in found.iter().map(Violation::key).collect::<BTreeSet<_>>() {
        lines.push(format!("object {key}"));
        let mut operations = history.operations.clone();
        operations.retain(|one| one.key == key);
        operations.sort_by_key(|one| one.called);
        lines.extend(operations.iter().map(|one| format!("{one:?}")));
        for (watcher, stretches) in history.watchers.iter().enumerate() {
            let events = stretches.iter().flat_map(|stretch| &stretch.events);
            let events = events.filter(|one| one.key == key);
            lines.extend(events.map(|one| format!("watcher {watcher}: {one:?}")));
        }
    }
    lines.join("\n") + "\n"
}

/// The figures, and whether the check sees what is planted into copies of the history.
fn report(history: &History, faults: BTreeMap<Fault, usize>) -> Result<Report> {
    let mut report = Report {
        faults,
        ..Report::default()
    };
    for operation in &history.operations {
        report.acknowledged += usize::from(operation.is_acknowledged());
        match (operation.request, operation.answer) {
            (_, Answer::Seen(_)) => report.reads += 1,
            (Request::Replace(Some(_), _), Answer::Conflict) => report.conflicts += 1,
            (Request::Read, _) => {}
            (_, Answer::Unknown) => report.unknown += 1,
            _ => {}
        }
    }
    for stretches in &history.watchers {
        report.relists += stretches.len().saturating_sub(1);
        report.events += stretches.iter().map(|one| one.events.len()).sum::<usize>();
    }
    ensure!(
        report.acknowledged > 0 && report.conflicts > 0 && report.events > 0,
        "nothing was tried: {report}"
    );
    for (what, copy) in doctored(history) {
        ensure!(
            !violations(&copy).is_empty(),
            "the check does not see that {what}"
        );
        report.planted += 1;
    }
    Ok(report)
}
