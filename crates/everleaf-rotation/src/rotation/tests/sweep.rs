//! The agent is stopped at every effect and at every file operation of a life, on real files: it
//! always comes back with a usable credential, and never asks twice for what it has asked for
//! already (E1, E6). The same for each operation failing, once or for a time (E2).
//!
//! A life is a first certificate, a renewal that a person approves late, an ordinary renewal, and
//! one whose certificate the server refuses, which is taken back.
#![expect(
    clippy::disallowed_methods,
    reason = "the files are read as anybody else reads them"
)]

use super::world::*;
use crate::rotation::Config;
use crate::store::faulty::{self, Fault, Faults, FaultyDisk};
use crate::store::layout::Layout;
use everleaf_pki::{Credential, Leaf};
use rustix::io::Errno;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// What a disk says when it fails, is full, is mounted read-only, and is somebody else's.
const ERRNOS: [Errno; 4] = [Errno::IO, Errno::NOSPC, Errno::ROFS, Errno::ACCESS];

/// One node on real files.
struct Life {
    home: TempDir,
    config: Config,
    world: World<Layout<FaultyDisk>>,
    /// How this run is told from others.
    case: String,
    /// It was stopped, or its disk failed.
    was_hit: bool,
    /// The disk failed for a time.
    is_lasting: bool,
}

impl Life {
    fn new(config: &Config, faults: Faults, case: String) -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = faulty::store(&faults, home.path(), config.id.name());
        let mut world = World::with_store(config.clone(), store);
        world.faults = faults;
        world.await_step = minutes(1);
        Self {
            home,
            config: config.clone(),
            world,
            case,
            was_hit: false,
            is_lasting: false,
        }
    }

    fn path(&self, suffix: &str) -> PathBuf {
        let name = self.config.id.name();
        self.home.path().join(format!("{name}{suffix}"))
    }

    /// What anybody else reads at this moment, before any recovery.
    fn read_current(&self) -> Option<Leaf> {
        let bytes = std::fs::read(self.path("-current.pem")).ok()?;
        let credential = Credential::from_pem(&bytes)
            .unwrap_or_else(|error| panic!("{}: a torn file is current: {error}", self.case));
        Some(credential.leaf().clone())
    }

    /// Lives on for a while; afterwards the stopped process has a successor, and a failing disk is
    /// replaced.
    fn go_on(&mut self, span: Duration) {
        let held = self.read_current();
        self.world.run_for(span);
        if self.world.faults.has_begun() && !self.was_hit {
            // A disk that fails for a time does so until somebody comes.
            self.world.run_for(minutes(15));
        }
        let is_hit = self.world.faults.is_stopped() || self.world.faults.has_begun();
        if !is_hit || self.was_hit {
            return;
        }
        self.was_hit = true;
        let server = &self.world.server;
        let current = self.read_current();
        if held.is_some() && !server.distrusts_new {
            let is_usable = server.accepts(current.as_ref(), self.world.time);
            assert!(is_usable, "{}: {:#?}", self.case, self.world.notices);
        }
        assert!(held.is_none() || current.is_some(), "{}", self.case);
        let was_stopped = self.world.faults.is_stopped();
        self.world.faults.heal();
        if was_stopped {
            self.world.effect_stop = None;
            self.world.store =
                faulty::store(&self.world.faults, self.home.path(), self.config.id.name());
            self.world.restart();
        }
        self.world.run_for(minutes(45));
    }

    /// Nothing is lost, nothing was asked for twice, and nothing lies about.
    fn assert_whole(&mut self, csrs: usize) {
        let (case, world) = (&self.case, &self.world);
        assert_eq!(world.csrs(), csrs, "{case}: {:#?}", world.notices);
        assert!(world.server.accepts(world.machine.current(), world.time));
        assert_eq!(self.read_current().as_ref(), world.machine.current());
        world.assert_at_rest();
        for entry in std::fs::read_dir(self.home.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            // Nothing could be removed while the disk failed; the next load does it.
            let may_lie = self.is_lasting && name.ends_with("-pending.key");
            let is_left = name.ends_with(".tmp") || name.contains("-pending.");
            let is_left = is_left && !may_lie;
            assert!(!is_left && !name.contains("-updated"), "{case}: {name}");
        }
    }

    /// A life up to the ordinary renewal. Returns how many operations and effects it took.
    fn live(&mut self) -> (u64, u64) {
        self.go_on(minutes(5));
        self.assert_whole(1);
        // From now on a lost identity is lost for ever.
        self.world.sources.bootstrap = None;
        self.world.server.approves = false;
        self.world.pass(days(340));
        self.go_on(minutes(5));
        assert_eq!(self.world.csrs(), 2, "{}", self.case);
        self.approve_all();
        self.go_on(minutes(5));
        self.assert_whole(2);
        self.world.pass(days(340));
        self.go_on(minutes(5));
        self.assert_whole(3);
        (self.world.faults.operations(), self.world.effects)
    }

    /// Whether a credential that the server accepts lies in the directory.
    fn holds_accepted(&self) -> bool {
        std::fs::read_dir(self.home.path()).unwrap().any(|entry| {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
            let leaf = Credential::from_pem(&bytes).map(|credential| credential.leaf().clone());
            let (server, now) = (&self.world.server, self.world.time);
            server.accepts(leaf.ok().as_ref(), now)
        })
    }

    fn approve_all(&mut self) {
        let server = &mut self.world.server;
        let undecided: Vec<_> = server
            .objects
            .iter()
            .filter(|o| o.1.condition.is_none())
            .collect();
        let undecided: Vec<_> = undecided.into_iter().map(|o| o.0.clone()).collect();
        for name in undecided {
            server.approve(&name, self.world.time);
        }
        server.approves = true;
    }

    /// A life whose second certificate the server refuses.
    fn be_refused(&mut self) -> (u64, u64) {
        self.go_on(minutes(5));
        self.world.sources.bootstrap = None;
        self.world.server.distrusts_new = true;
        self.world.pass(days(340));
        self.go_on(minutes(5));
        // It may be current when this is asked; the accepted one is still there.
        let is_kept = self.holds_accepted();
        assert!(is_kept, "{}: {:#?}", self.case, self.world.notices);
        self.world.server.distrusts_new = false;
        self.go_on(hours(3));
        let csrs = self.world.csrs();
        self.assert_whole(csrs);
        (self.world.faults.operations(), self.world.effects)
    }
}

fn configs() -> [Config; 2] {
    [client_config(), serving_config()]
}

/// Runs `live` once undisturbed, and then once for each of its operations; the faults take turns.
fn at_each_operation(config: &Config, faults: &[Fault], live: fn(&mut Life) -> (u64, u64)) {
    let mut whole = Life::new(config, Faults::default(), "undisturbed".to_owned());
    let (operations, _) = live(&mut whole);
    assert!(operations > 100, "only {operations} operations");
    for (operation, fault) in (1..=operations).zip(faults.iter().cycle()) {
        let case = format!("{}: {fault:?} at operation {operation}", config.id);
        let mut life = Life::new(config, Faults::at(operation, *fault), case);
        life.is_lasting = matches!(fault, Fault::Lasting(_) | Fault::ReadOnly(_));
        live(&mut life);
        assert!(life.was_hit, "{}: it did not happen", life.case);
    }
}

#[test]
fn stopped_at_any_file_operation_it_comes_back_whole() {
    for config in configs() {
        at_each_operation(&config, &[Fault::Stop], Life::live);
    }
    at_each_operation(&client_config(), &[Fault::Stop], Life::be_refused);
}

#[test]
fn stopped_before_or_after_any_effect_it_comes_back_whole() {
    for config in configs() {
        let mut whole = Life::new(&config, Faults::default(), "undisturbed".to_owned());
        let (_, effects) = whole.live();
        assert!(effects > 25, "only {effects} effects");
        for effect in 1..=effects {
            for stop in [EffectStop::Before(effect), EffectStop::After(effect)] {
                let case = format!("{}: stopped {stop:?}", config.id);
                let mut life = Life::new(&config, Faults::default(), case);
                life.world.effect_stop = Some(stop);
                life.live();
                assert!(life.was_hit, "{}: it did not happen", life.case);
            }
        }
    }
}

/// Each with one of the errors; which one makes a difference only for what is torn.
#[test]
fn any_file_operation_may_fail_once() {
    for config in configs() {
        at_each_operation(&config, &ERRNOS.map(Fault::Once), Life::live);
    }
}

#[test]
fn the_disk_may_fail_for_a_time_from_any_operation_on() {
    at_each_operation(&client_config(), &[Fault::Lasting(Errno::IO)], Life::live);
    at_each_operation(
        &client_config(),
        &[Fault::ReadOnly(Errno::ROFS)],
        Life::live,
    );
}
