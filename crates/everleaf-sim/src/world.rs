//! Virtual time: an agenda of what is due when, and the loop that takes it one by one.

mod calls;
mod late;

use crate::checker::{BoundedRequests, Issued, NoKeyInPayload, UsableCredential};
use crate::clock::HostClock;
use crate::control_plane::{BuildError, ControlPlane};
use crate::disk::PowerLoss;
use crate::network::Network;
use crate::node::{Node, Performed};
use crate::report::Report;
use crate::rng::Rng;
use crate::scenario::{Change, Host, Scenario};
use calls::Heard;
use everleaf_apiserver::user::User;
use everleaf_rotation::{NAP_MAX, Notice, Now, Wake};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// From a change on the server to the controllers' work on it.
const CONTROLLER_DELAY: Duration = Duration::from_millis(20);
/// Until an agent that ended is started anew.
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// A run that found so much ends.
const VIOLATIONS_MAX: usize = 50;
/// First instant of every world.
const ORIGIN_SECOND: i64 = 1_767_225_600;
/// Lifetime of the one bootstrap token.
const TOKEN_LIFETIME: SignedDuration = SignedDuration::from_hours(24);

/// Something that is due.
enum Due {
    /// A call arrives at the server.
    Arrive(Box<calls::Sent>),
    /// The controllers look around.
    Control,
    /// An answer arrives, or the wait for it ends.
    Hear(usize, u64, Box<Heard>),
    /// Somebody else asks in the name of a node, for the nth time, until then.
    Loop(usize, u32, Duration),
    /// The agent of a node starts.
    Start(usize),
    /// A conversation goes on.
    Resume(usize, u64),
    /// A step of the scenario.
    Script(usize),
    /// A certificate of a node wants to look at the time. Obsolete unless its latest wish.
    Wake(usize, usize),
    /// A suspended node goes on.
    WakeUp(usize, Duration),
}

/// A whole simulated cluster.
pub struct World {
    scenario: Scenario,
    origin: Timestamp,
    elapsed: Duration,
    agenda: BTreeMap<(Duration, u64), Due>,
    sequence: u64,
    nodes: Vec<Node>,
    wakes: BTreeMap<(usize, usize), (Duration, u64)>,
    /// Nodes that are suspended, and until when.
    suspended: BTreeMap<usize, Duration>,
    /// Until when nodes that were off may be without a good certificate.
    excused: BTreeMap<usize, Duration>,
    /// Nodes that lose power when the server has stored their next request.
    doomed: BTreeSet<usize>,
    control_due: Option<Duration>,
    control_clock: HostClock,
    control_plane: ControlPlane,
    controllers_down: Duration,
    server_down: Duration,
    network: Network,
    power: PowerLoss,
    downtime: Rng,
    usable: UsableCredential,
    bounded: BoundedRequests,
    issued: Issued,
    report: Report,
}

impl World {
    /// The world that a scenario describes, at its first instant.
    ///
    /// # Errors
    /// The control plane cannot be built.
    pub fn new(scenario: Scenario) -> Result<Self, BuildError> {
        let root = Rng::new(scenario.seed);
        let origin = Timestamp::from_second(ORIGIN_SECOND).unwrap_or(Timestamp::UNIX_EPOCH);
        let token = ("simula", "0123456789abcdef");
        let expires = origin
            .saturating_add(TOKEN_LIFETIME)
            .unwrap_or(Timestamp::MAX);
        let duration = scenario.signing_duration;
        let control_plane = match scenario.authority {
            None => ControlPlane::new(&root, origin, duration, token, expires)?,
            Some(life) => {
                let end = origin.saturating_add(life).unwrap_or(Timestamp::MAX);
                ControlPlane::until(&root, origin, duration, token, expires, end)?
            }
        };
        let lifetime = duration.min(scenario.authority.unwrap_or(duration));
        let mut drifts = root.branch("drifts");
        let noise = scenario.noise;
        let nodes = (0..scenario.nodes).map(|number| {
            let name = format!("n{number}");
            let drift = i64::try_from(drifts.below(u64::from(noise.drift_ppm_max) * 2 + 1));
            let drift = drift.unwrap_or(0) - i64::from(noise.drift_ppm_max);
            let clock = HostClock::new(origin, drift);
            let token = format!("{}.{}", token.0, token.1);
            let branch = root.branch(&name);
            Node::new(&name, clock, &branch, token, scenario.serving)
                .with_late(scenario.late, &branch)
        });
        let nodes: Vec<Node> = nodes.collect();
        for node in nodes.iter().filter(|_| scenario.late) {
            control_plane.put_node(node.name(0), origin)?;
        }
        let mut world = Self {
            origin,
            elapsed: Duration::ZERO,
            agenda: BTreeMap::new(),
            sequence: 0,
            wakes: BTreeMap::new(),
            suspended: BTreeMap::new(),
            excused: BTreeMap::new(),
            doomed: BTreeSet::new(),
            control_due: None,
            control_clock: HostClock::new(origin, 0),
            control_plane,
            controllers_down: Duration::ZERO,
            server_down: Duration::ZERO,
            network: Network::new(
                root.branch("network"),
                noise.request_loss_per_mille,
                noise.response_loss_per_mille,
            ),
            power: PowerLoss::new(root.branch("power"), noise.power_loss_per_mille),
            downtime: root.branch("downtime"),
            usable: UsableCredential::default(),
            bounded: BoundedRequests::new(lifetime),
            issued: Issued::default(),
            report: Report::default(),
            nodes,
            scenario,
        };
        let mut boots = root.branch("boots");
        for node in 0..world.nodes.len() {
            let at = Duration::from_millis(boots.below(60_000));
            world.plan(at, Due::Start(node));
        }
        for step in 0..world.scenario.steps.len() {
            world.plan(world.scenario.steps[step].at, Due::Script(step));
        }
        Ok(world)
    }

    /// Runs the scenario: first with faults, then healed until the fleet must have converged.
    pub fn run(mut self) -> Report {
        self.run_until(self.scenario.duration);
        self.network.heal();
        self.power.heal();
        self.doomed.clear();
        self.run_until(self.scenario.duration + Scenario::CONVERGENCE);
        self.judge_convergence();
        self.report
    }

    /// Runs the scenario and ends with it: for what has no time to converge, since the authority
    /// ends.
    pub fn run_to_its_end(mut self) -> Report {
        self.run_until(self.scenario.duration);
        self.report
    }

    fn run_until(&mut self, end: Duration) {
        while let Some(entry) = self.agenda.first_entry() {
            let at = entry.key().0;
            if at > end || self.report.violations.len() >= VIOLATIONS_MAX {
                break;
            }
            let due = entry.remove();
            self.elapsed = at;
            self.take(due);
        }
        self.elapsed = end;
    }

    fn take(&mut self, due: Due) {
        // Nothing happens on a node that sleeps.
        let node = match &due {
            Due::Hear(node, ..) | Due::Start(node) | Due::Resume(node, _) | Due::Wake(node, _) => {
                Some(*node)
            }
            _ => None,
        };
        if let Some(until) = node.and_then(|node| self.suspended.get(&node)) {
            self.plan(*until, due);
            return;
        }
        match due {
            Due::Arrive(sent) => self.arrive(*sent),
            Due::Control => {
                self.control_due = None;
                self.control();
            }
            Due::Loop(node, count, until) => self.ask_again(node, count, until),
            Due::Hear(node, id, heard) => self.hear(node, id, *heard),
            Due::Start(node) => {
                if !self.nodes[node].is_up() {
                    self.nodes[node].start();
                    self.wake_all(node);
                }
            }
            Due::Resume(node, id) => self.go_on(node, id),
            Due::Script(step) => self.change(self.scenario.steps[step].change.clone()),
            Due::Wake(node, slot) => {
                self.wakes.remove(&(node, slot));
                self.wake(node, slot);
            }
            Due::WakeUp(node, slept) => {
                self.suspended.remove(&node);
                self.nodes[node].clock.suspend(slept);
                self.notice_clock(node);
            }
        }
    }

    // === what the scenario says ===

    fn change(&mut self, change: Change) {
        self.report.trace.push(format!("{} {change}", self.now()));
        let elapsed = self.elapsed;
        match change {
            Change::Clock(Host::ControlPlane, by) => self.control_clock.step(by),
            Change::Clock(Host::Node(node), by) => {
                let Some(node) = self.node(node) else { return };
                self.nodes[node].clock.step(by);
                self.notice_clock(node);
            }
            Change::ControllersDown(time) => self.controllers_down = elapsed + time,
            Change::CrashUnheard(node) => self.doomed.extend(self.node(node)),
            Change::Cut(node, time) => {
                let Some(node) = self.node(node) else { return };
                self.network.cut(node, elapsed + time);
            }
            Change::Drift(Host::ControlPlane, ppm) => self.control_clock.set_drift(elapsed, ppm),
            Change::Drift(Host::Node(node), ppm) => {
                let Some(node) = self.node(node) else { return };
                self.nodes[node].clock.set_drift(elapsed, ppm);
                self.notice_clock(node);
            }
            Change::Keys(node, kind) => {
                let Some(node) = self.node(node) else { return };
                self.nodes[node].configure_keys(kind);
                self.restart(node);
            }
            Change::Loop(node, time) => {
                let Some(node) = self.node(node) else { return };
                self.plan(elapsed, Due::Loop(node, 0, elapsed + time));
            }
            Change::Steal(other) => {
                let thief = user("thief", "thieves");
                let (key, now) = (self.downtime.bytes(), self.control_now());
                let granted = self.control_plane.let_file(&thief.name, now);
                self.note(granted);
                let name = format!("stolen-{}", elapsed.as_secs());
                let other = format!("n{other}");
                if !self.control_plane.file(thief, &name, &other, key, now) {
                    self.note(Err("the thief could not even ask".to_owned()));
                }
            }
            Change::Strip(node, time) => {
                let Some(node) = self.node(node) else { return };
                self.network.strip(node, elapsed + time);
            }
            Change::Off(node, time) => self.turn_off(node, time),
            Change::Restart(node) => {
                let Some(node) = self.node(node) else { return };
                self.restart(node);
            }
            Change::ServerDown(time) => {
                self.server_down = elapsed + time;
                self.break_streams();
            }
            Change::Suspend(node, time) => {
                let Some(node) = self.node(node) else { return };
                self.suspended.insert(node, elapsed + time);
                self.plan(elapsed + time, Due::WakeUp(node, time));
            }
        }
        self.plan_control(CONTROLLER_DELAY);
        for end in [self.controllers_down, self.server_down] {
            if end > elapsed {
                self.plan(end, Due::Control);
            }
        }
    }

    /// Another holder of a bootstrap token wants one more certificate of a node.
    fn ask_again(&mut self, node: usize, count: u32, until: Duration) {
        let name = |count| format!("loop-{}-{count}", until.as_secs());
        let is_waiting = count > 0 && self.control_plane.is_waiting(&name(count - 1));
        let mut next = count;
        if !is_waiting {
            let group = "system:bootstrappers:kubeadm:default-node-token";
            let whom = user("system:bootstrap:other", group);
            let (key, now) = (self.downtime.bytes(), self.control_now());
            let node = self.nodes[node].name(0).to_owned();
            let is_filed = self.control_plane.file(whom, &name(count), &node, key, now);
            next += u32::from(is_filed);
            self.plan_control(CONTROLLER_DELAY);
        }
        let at = self.elapsed + Duration::from_secs(1);
        if at < until {
            self.plan(at, Due::Loop(node, next, until));
        }
    }

    /// A node of the fleet; a scenario may name others.
    fn node(&self, number: u32) -> Option<usize> {
        let node = usize::try_from(number).ok()?;
        (node < self.nodes.len()).then_some(node)
    }

    /// A host finds out about its clock at its next nap.
    fn notice_clock(&mut self, node: usize) {
        let nap = self.downtime.below(NAP_MAX.as_secs());
        for slot in 0..self.nodes[node].slots() {
            self.plan_wake_at(node, slot, self.elapsed + Duration::from_secs(nap));
        }
    }

    // === nodes ===

    fn node_now(&self, node: usize) -> Now {
        self.nodes[node].clock.now(self.elapsed)
    }

    fn wake_all(&mut self, node: usize) {
        for slot in 0..self.nodes[node].slots() {
            self.wake(node, slot);
        }
    }

    fn wake(&mut self, node: usize, slot: usize) {
        let now = self.node_now(node);
        self.nodes[node].wake(slot, now);
        self.settle(node, slot);
    }

    /// Lets a certificate do everything it wants to do at this instant, then plans its next look at
    /// the time.
    fn settle(&mut self, node: usize, slot: usize) {
        let now = self.node_now(node);
        let mut is_published = false;
        loop {
            self.tell_notices(node, slot);
            let performed = self.nodes[node].perform_next(slot, now, &mut self.power);
            match performed {
                None => break,
                Some(Performed::Begun(exchange)) => self.begin(node, slot, *exchange),
                Some(Performed::Done) => {}
                Some(Performed::PowerLost) => return self.lose_power(node),
                Some(Performed::Published) => is_published = true,
            }
        }
        if slot == 0 && self.knock(node) {
            return self.lose_power(node);
        }
        self.judge_credential(node, slot);
        let wake = self.nodes[node].next_wake(slot);
        self.plan_wake(node, slot, wake);
        if is_published {
            for other in (0..self.nodes[node].slots()).filter(|other| *other != slot) {
                self.wake(node, other);
            }
        }
    }

    fn plan_wake(&mut self, node: usize, slot: usize, wake: Wake) {
        if !self.nodes[node].is_up() {
            return;
        }
        // A node naps at most NAP_MAX, to see that its clock was set. Here clocks are only set by
        // the scenario, so that the naps in between, which change nothing, are skipped.
        let unbounded = Duration::from_secs(u64::from(u32::MAX));
        let nap = match wake == Wake::default() {
            true => NAP_MAX,
            false => wake
                .nap(self.node_now(node), unbounded)
                .max(Duration::from_millis(1)),
        };
        let nap = match slot {
            0 => self.knock_nap(node).map_or(nap, |knock| nap.min(knock)),
            _ => nap,
        };
        self.plan_wake_at(node, slot, self.elapsed + nap);
    }

    fn plan_wake_at(&mut self, node: usize, slot: usize, at: Duration) {
        self.forget_wake(node, slot);
        let key = self.plan(at, Due::Wake(node, slot));
        self.wakes.insert((node, slot), key);
    }

    fn forget_wake(&mut self, node: usize, slot: usize) {
        if let Some(planned) = self.wakes.remove(&(node, slot)) {
            self.agenda.remove(&planned);
        }
    }

    fn tell_notices(&mut self, node: usize, slot: usize) {
        while let Some(notice) = self.nodes[node].notice(slot) {
            if let Notice::Installed { .. } = &notice {
                self.report.installed += 1;
                self.tell_key(node, slot);
            }
            self.trace(node, slot, &format!("{notice:?}"));
        }
    }

    /// Which kind of key the certificate has that was just installed.
    fn tell_key(&mut self, node: usize, slot: usize) {
        if let Some(held) = self.nodes[node].current(slot) {
            let kind = *held.leaf().public_key().kind();
            self.trace(node, slot, &format!("has a certificate of an {kind} key"));
        }
    }

    fn lose_power(&mut self, node: usize) {
        let kept = self.power.kept_names();
        self.stop(node, kept);
        self.nodes[node].clock.reboot(self.elapsed);
        self.report.power_losses += 1;
        self.trace(node, 0, &format!("power lost, {kept} unsynced names kept"));
        let now = self.node_now(node);
        for slot in 0..self.nodes[node].slots() {
            let held = self.nodes[node].on_disk(slot, now);
            let name = self.nodes[node].name(slot).to_owned();
            if self.is_excused(node) {
                continue;
            }
            let verdict = self
                .usable
                .judge(&name, held.as_deref(), self.control_now());
            self.note(verdict);
        }
        let downtime_max = self.scenario.noise.downtime_max.as_secs();
        let seconds = 1 + self.downtime.below(downtime_max.max(1));
        self.plan(
            self.elapsed + Duration::from_secs(seconds),
            Due::Start(node),
        );
    }

    fn restart(&mut self, node: usize) {
        self.stop(node, usize::MAX);
        self.plan(self.elapsed + RESTART_DELAY, Due::Start(node));
    }

    fn stop(&mut self, node: usize, kept_names: usize) {
        self.nodes[node].stop(kept_names);
        for slot in 0..self.nodes[node].slots() {
            self.forget_wake(node, slot);
        }
    }

    fn judge_credential(&mut self, node: usize, slot: usize) {
        let now = self.control_now();
        if self.is_excused(node) {
            return;
        }
        // Before its first look at the disk a machine holds nothing yet.
        if let Some(held) = self.nodes[node].current(slot) {
            let name = self.nodes[node].name(slot);
            let verdict = self.usable.judge(name, Some(held), now);
            self.note(verdict);
        }
    }

    // === control plane ===

    fn plan_control(&mut self, delay: Duration) {
        let at = self.elapsed + delay;
        if self.control_due.is_none_or(|due| due > at) {
            self.control_due = Some(at);
            self.plan(at, Due::Control);
        }
    }

    fn control(&mut self) {
        let elapsed = self.elapsed;
        if elapsed < self.controllers_down || elapsed < self.server_down {
            return;
        }
        let now = self.control_clock.now(elapsed);
        let approved = match self.scenario.serving {
            true => self.control_plane.approve_serving(now.wall),
            false => 0,
        };
        let again = self.control_plane.work(now);
        for notice in self.control_plane.notices() {
            let verdict = self.issued.judge(&notice, elapsed);
            self.note(verdict);
            let verdict = self.control_plane.judge_logged(&notice);
            self.note(verdict);
            let line = format!("{} controllers {notice:?}", self.now());
            self.report.trace.push(line);
        }
        if approved > 0 {
            self.plan_control(CONTROLLER_DELAY);
        }
        if let Some(again) = again {
            self.plan_control(again.since(now.monotonic).max(CONTROLLER_DELAY));
        }
        self.announce();
    }

    // === the world itself ===

    /// True time.
    fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.elapsed).unwrap_or(SignedDuration::MAX);
        self.origin
            .saturating_add(elapsed)
            .unwrap_or(Timestamp::MAX)
    }

    /// The wall clock of server and controllers, by which everything is judged.
    fn control_now(&self) -> Timestamp {
        self.control_clock.now(self.elapsed).wall
    }

    fn plan(&mut self, at: Duration, due: Due) -> (Duration, u64) {
        self.sequence += 1;
        let key = (at, self.sequence);
        self.agenda.insert(key, due);
        key
    }

    fn note(&mut self, verdict: Result<(), String>) {
        if let Err(violation) = verdict {
            let now = self.now();
            self.report.violations.push(format!("{now} {violation}"));
        }
    }

    fn trace(&mut self, node: usize, slot: usize, what: &str) {
        let line = format!("{} {} {what}", self.now(), self.nodes[node].name(slot));
        self.report.trace.push(line);
    }

    fn judge_convergence(&mut self) {
        let now = self.control_now();
        for node in 0..self.nodes.len() {
            for slot in 0..self.nodes[node].slots() {
                let name = self.nodes[node].name(slot).to_owned();
                let held = self.nodes[node].current(slot).cloned();
                let verdict = match &held {
                    Some(held) => self.usable.judge(&name, Some(held), now),
                    None => Err(format!(
                        "{name} has no credential although all faults have ended"
                    )),
                };
                self.note(verdict);
            }
        }
        let secrets = self.control_plane.stored_text("certificatesigningrequests");
        self.note(NoKeyInPayload.judge("the server", secrets.as_bytes()));
    }
}

fn user(name: &str, group: &str) -> User {
    User {
        name: name.to_owned(),
        groups: vec![group.to_owned(), "system:authenticated".to_owned()],
        ..User::default()
    }
}
