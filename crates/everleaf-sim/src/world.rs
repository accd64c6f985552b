//! Virtual time: a heap of happenings, and the loop that lets them happen one by one.

use crate::call::{Answer, Call, Next};
use crate::checker::{BoundedRequests, NoKeyInPayload, UsableCredential};
use crate::clock::HostClock;
use crate::control_plane::{Answered, BuildError, ControlPlane};
use crate::disk::PowerLoss;
use crate::network::{Fate, Network};
use crate::node::{Deed, Node};
use crate::report::Report;
use crate::rng::Rng;
use crate::scenario::Scenario;
use everleaf_controllers::uptime::{Now, Uptime};
use everleaf_rotation::{CredentialChoice, NAP_MAX, Notice, Wake};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a caller waits for an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a node looks whether its request has been decided.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// From a change on the server to the controllers' work on it.
const CONTROLLER_DELAY: Duration = Duration::from_millis(20);
/// First instant of every world.
const ORIGIN_SECOND: i64 = 1_767_225_600;
/// Lifetime of the one bootstrap token.
const TOKEN_LIFETIME: SignedDuration = SignedDuration::from_hours(24);

/// Something that will happen.
#[derive(Debug)]
enum Happening {
    /// A node is switched on.
    Boot(usize),
    /// A node wanted to look at the time. Obsolete unless its latest wish.
    Wake(usize),
    /// A call arrives at the server.
    Arrive(usize, u32, Call, CredentialChoice, Fate),
    /// An answer arrives, or the wait for it ends.
    Hear(
        usize,
        u32,
        Call,
        CredentialChoice,
        Option<Answer>,
        Timestamp,
    ),
    /// A node looks at its pending request.
    Look(usize, u32, u64, Call, CredentialChoice),
    /// The controllers look around.
    Control,
}

/// A whole simulated cluster.
pub struct World {
    scenario: Scenario,
    origin: Timestamp,
    elapsed: Duration,
    agenda: BTreeMap<(Duration, u64), Happening>,
    sequence: u64,
    nodes: Vec<Node>,
    wakes: Vec<Option<(Duration, u64)>>,
    /// Which wait of a node is the current one; an earlier one has been cancelled.
    looks: Vec<u64>,
    control_due: Option<Duration>,
    control_plane: ControlPlane,
    network: Network,
    power: PowerLoss,
    downtime: Rng,
    usable: UsableCredential,
    bounded: BoundedRequests,
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
        let control_plane =
            ControlPlane::new(&root, origin, scenario.signing_duration, token, expires)?;
        let mut boots = root.branch("boots");
        let mut drifts = root.branch("drifts");
        let (mut nodes, mut world_agenda) = (Vec::new(), Vec::new());
        for number in 0..scenario.nodes {
            let name = format!("n{number}");
            let span = u64::from(scenario.drift_ppm_max) * 2 + 1;
            let drift =
                i64::try_from(drifts.below(span)).unwrap_or(0) - i64::from(scenario.drift_ppm_max);
            let clock = HostClock::new(origin, drift);
            let token = format!("{}.{}", token.0, token.1);
            nodes.push(Node::new(name.clone(), clock, &root.branch(&name), token));
            world_agenda.push(Duration::from_millis(boots.below(60_000)));
        }
        let mut world = Self {
            origin,
            elapsed: Duration::ZERO,
            agenda: BTreeMap::new(),
            sequence: 0,
            wakes: vec![None; nodes.len()],
            looks: vec![0; nodes.len()],
            nodes,
            control_due: None,
            control_plane,
            network: Network::new(
                root.branch("network"),
                scenario.request_loss_per_mille,
                scenario.response_loss_per_mille,
            ),
            power: PowerLoss::new(root.branch("power"), scenario.power_loss_per_mille),
            downtime: root.branch("downtime"),
            usable: UsableCredential::default(),
            bounded: BoundedRequests::new(scenario.signing_duration),
            report: Report::default(),
            scenario,
        };
        for (node, at) in world_agenda.into_iter().enumerate() {
            world.plan(at, Happening::Boot(node));
        }
        Ok(world)
    }

    /// Runs the scenario: first with faults, then healed until the fleet must have converged.
    pub fn run(mut self) -> Report {
        self.run_until(self.scenario.duration);
        self.network.heal();
        self.power.heal();
        self.run_until(self.scenario.duration + Scenario::CONVERGENCE);
        self.judge_convergence();
        self.report
    }

    fn run_until(&mut self, end: Duration) {
        while let Some(entry) = self.agenda.first_entry() {
            let at = entry.key().0;
            if at > end {
                break;
            }
            let happening = entry.remove();
            self.elapsed = at;
            self.happen(happening);
        }
        self.elapsed = end;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Boot(node) => {
                self.nodes[node].boot(self.elapsed);
                self.wakes[node] = None;
                self.wake(node);
            }
            Happening::Wake(node) => {
                self.wakes[node] = None;
                self.wake(node);
            }
            Happening::Arrive(node, life, call, credential, fate) => {
                self.arrive(node, life, call, credential, fate);
            }
            Happening::Hear(node, life, call, credential, answer, at) => {
                self.hear(node, life, call, credential, answer, at);
            }
            Happening::Look(node, life, look, call, credential) => {
                if self.nodes[node].life == life && self.looks[node] == look {
                    self.send(node, call, credential);
                }
            }
            Happening::Control => {
                self.control_due = None;
                self.control();
            }
        }
    }

    // === nodes ===

    fn wake(&mut self, node: usize) {
        let now = self.nodes[node].clock.now(self.elapsed);
        self.nodes[node].wake(now);
        self.settle(node);
    }

    /// Lets a node do everything it wants to do at this instant, then plans its next look at the time.
    fn settle(&mut self, node: usize) {
        let now = self.nodes[node].clock.now(self.elapsed);
        loop {
            self.tell_notices(node);
            let Some(deed) = self.nodes[node].perform_next(now, &mut self.power) else {
                break;
            };
            match deed {
                Deed::Call(call, credential) => {
                    if matches!(*call, Call::Look(_)) {
                        self.looks[node] += 1;
                    }
                    self.send(node, *call, credential);
                }
                Deed::StopLooking => self.looks[node] += 1,
                Deed::Done => {}
                Deed::PowerLost => return self.lose_power(node),
            }
        }
        self.judge_credential(node);
        let nap = self.nodes[node].next_wake();
        self.plan_wake(node, nap);
    }

    fn plan_wake(&mut self, node: usize, wake: Wake) {
        if !self.nodes[node].is_up() {
            return;
        }
        // A node naps at most NAP_MAX, to see that its clock was set. Here clocks are only set by
        // happenings, so that the naps in between, which change nothing, are skipped.
        let now = self.nodes[node].clock.now(self.elapsed);
        let unbounded = Duration::from_secs(u64::from(u32::MAX));
        let nap = wake.nap(now, unbounded).max(Duration::from_millis(1));
        let nap = if wake == Wake::default() {
            NAP_MAX
        } else {
            nap
        };
        if let Some(planned) = self.wakes[node].take() {
            self.agenda.remove(&planned);
        }
        let key = self.plan(self.elapsed + nap, Happening::Wake(node));
        self.wakes[node] = Some(key);
    }

    fn tell_notices(&mut self, node: usize) {
        while let Some(notice) = self.nodes[node].notice() {
            if let Notice::Installed { .. } = &notice {
                self.report.installed += 1;
            }
            self.trace(node, &format!("{notice:?}"));
        }
    }

    fn lose_power(&mut self, node: usize) {
        let kept = self.power.kept_names();
        self.nodes[node].crash(kept);
        self.report.power_losses += 1;
        self.trace(node, &format!("power lost, {kept} unsynced names kept"));
        let now = self.nodes[node].clock.now(self.elapsed);
        let held = self.nodes[node].on_disk(now);
        let name = self.nodes[node].name.clone();
        let verdict = self.usable.judge(&name, held.as_deref(), self.now());
        self.note(verdict);
        if let Some(planned) = self.wakes[node].take() {
            self.agenda.remove(&planned);
        }
        let seconds = 1 + self
            .downtime
            .below(self.scenario.downtime_max.as_secs().max(1));
        self.plan(
            self.elapsed + Duration::from_secs(seconds),
            Happening::Boot(node),
        );
    }

    fn judge_credential(&mut self, node: usize) {
        let now = self.now();
        let node = &self.nodes[node];
        // Before its first look at the disk a machine holds nothing yet.
        if let Some(held) = node.current() {
            let verdict = self.usable.judge(&node.name, Some(held), now);
            self.note(verdict);
        }
    }

    // === calls ===

    fn send(&mut self, node: usize, call: Call, credential: CredentialChoice) {
        let fate = self.network.fate();
        let life = self.nodes[node].life;
        match fate {
            Fate::RequestLost => {
                let at = self.now();
                let hear = Happening::Hear(node, life, call, credential, None, at);
                self.plan(self.elapsed + CALL_TIMEOUT, hear);
            }
            Fate::Delivered(delay) => {
                let arrive = Happening::Arrive(node, life, call, credential, fate);
                self.plan(self.elapsed + delay / 2, arrive);
            }
            Fate::ResponseLost => {
                let arrive = Happening::Arrive(node, life, call, credential, fate);
                self.plan(self.elapsed + Duration::from_millis(5), arrive);
            }
        }
    }

    fn arrive(
        &mut self,
        node: usize,
        life: u32,
        call: Call,
        credential: CredentialChoice,
        fate: Fate,
    ) {
        if self.nodes[node].life != life {
            return;
        }
        let (peer, token) = self.nodes[node].present(credential);
        let request = call.to_request(token.as_deref());
        let name = self.nodes[node].name.clone();
        self.note(NoKeyInPayload.judge(&name, request.body()));
        let answer = match self.control_plane.answer(request, &peer, self.now()) {
            Some(Answered::Whole(response)) => Some(Answer {
                code: response.status(),
                body: serde_json::from_slice(response.body()).unwrap_or_default(),
            }),
            Some(Answered::Stream(..)) | None => None,
        };
        if answer.is_none() {
            self.note(Err(format!(
                "a request of {name} was not answered at its first poll"
            )));
        }
        let was_created = answer
            .as_ref()
            .is_some_and(|a| a.code == StatusCode::CREATED);
        if was_created && matches!(call, Call::Create(_)) {
            self.report.created += 1;
            let verdict = self.bounded.created(&name, self.elapsed);
            self.note(verdict);
        }
        self.plan_control(CONTROLLER_DELAY);
        let at = self.now();
        let (answer, delay) = match fate {
            Fate::Delivered(delay) => (answer, delay / 2),
            Fate::RequestLost | Fate::ResponseLost => {
                self.report.responses_lost += 1;
                self.trace(node, &format!("answer lost: {}", word(&call)));
                (None, CALL_TIMEOUT)
            }
        };
        self.plan(
            self.elapsed + delay,
            Happening::Hear(node, life, call, credential, answer, at),
        );
    }

    fn hear(
        &mut self,
        node: usize,
        life: u32,
        call: Call,
        credential: CredentialChoice,
        answer: Option<Answer>,
        at: Timestamp,
    ) {
        if self.nodes[node].life != life || !self.nodes[node].is_up() {
            return;
        }
        let next = match &answer {
            Some(answer) => call.understand(answer, at),
            None => call.unanswered(),
        };
        match next {
            Next::Tell(event) => {
                let now = self.nodes[node].clock.now(self.elapsed);
                self.nodes[node].tell(now, event);
                self.settle(node);
            }
            Next::Then(call) => self.send(node, call, credential),
            Next::LookAgain(pending) => {
                let look = self.looks[node];
                let again = Happening::Look(node, life, look, Call::Look(pending), credential);
                self.plan(self.elapsed + LOOK_INTERVAL, again);
            }
        }
    }

    // === control plane ===

    fn plan_control(&mut self, delay: Duration) {
        let at = self.elapsed + delay;
        if self.control_due.is_none_or(|due| due > at) {
            self.control_due = Some(at);
            self.plan(at, Happening::Control);
        }
    }

    fn control(&mut self) {
        let (now, elapsed) = (self.now(), self.elapsed);
        let again = self.control_plane.work(Now {
            uptime: Uptime::new(elapsed),
            wall: now,
        });
        for notice in self.control_plane.notices() {
            self.report
                .trace
                .push(format!("{now} controllers {notice:?}"));
        }
        if let Some(again) = again {
            let wait = again.since_start().saturating_sub(elapsed);
            self.plan_control(wait.max(CONTROLLER_DELAY));
        }
    }

    // === the world itself ===

    /// True time, which is also the server's.
    fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.elapsed).unwrap_or(SignedDuration::MAX);
        self.origin
            .saturating_add(elapsed)
            .unwrap_or(Timestamp::MAX)
    }

    fn plan(&mut self, at: Duration, happening: Happening) -> (Duration, u64) {
        self.sequence += 1;
        let key = (at, self.sequence);
        self.agenda.insert(key, happening);
        key
    }

    fn note(&mut self, verdict: Result<(), String>) {
        if let Err(violation) = verdict {
            let now = self.now();
            self.report.violations.push(format!("{now} {violation}"));
        }
    }

    fn trace(&mut self, node: usize, what: &str) {
        let line = format!("{} {} {what}", self.now(), self.nodes[node].name);
        self.report.trace.push(line);
    }

    fn judge_convergence(&mut self) {
        let now = self.now();
        for node in 0..self.nodes.len() {
            let name = self.nodes[node].name.clone();
            let held = self.nodes[node].current().cloned();
            let verdict = match &held {
                Some(held) => self.usable.judge(&name, Some(held), now),
                None => Err(format!(
                    "{name} has no credential although all faults have ended"
                )),
            };
            self.note(verdict);
        }
        let secrets = self.control_plane.stored_text("certificatesigningrequests");
        self.note(NoKeyInPayload.judge("the server", secrets.as_bytes()));
    }
}

fn word(call: &Call) -> &'static str {
    match call {
        Call::Create(_) => "create",
        Call::Inspect(_) => "get",
        Call::Look(_) => "look",
        Call::Confirm(_) => "confirm",
    }
}
