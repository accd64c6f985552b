//! Clocks that move.

use super::world::*;
use crate::event::Event;
use crate::notice::{Cause, Notice};
use crate::rotation::Phase;
use crate::standing::Standing;
use crate::store::CertStore as _;
use jiff::SignedDuration;

fn began(cause: Cause) -> impl Fn(&Notice) -> bool {
    move |notice| matches!(notice, Notice::AttemptBegan { cause: told, .. } if *told == cause)
}

#[test]
fn renewals_fall_into_the_window_and_follow_the_leaf() {
    let mut world = World::settled_for(minutes(60));
    for _ in 0..50 {
        let leaf = world.leaf().clone();
        while world.leaf().fingerprint() == leaf.fingerprint() {
            world.run_for(seconds(10));
        }
        let share = world.time.duration_since(leaf.not_before()).as_secs_f64()
            / leaf.lifetime().seconds as f64;
        assert!((0.7..0.91).contains(&share), "renewed at {share}");
    }
    assert_eq!(world.csrs(), 51);
    world.assert_at_rest();
}

#[test]
fn renewals_go_on_when_both_wall_clocks_are_moved_on_and_on() {
    // The monotonic clock sees a minute or two of each 18: it is not too many requests an hour.
    let mut world = World::settled_for(minutes(20));
    for round in 0..50 {
        let leaf = world.leaf().clone();
        let monotonic = world.monotonic;
        world.pass(minutes(18));
        world.monotonic = monotonic;
        world.run_for(seconds(65));
        assert_ne!(world.leaf().fingerprint(), leaf.fingerprint(), "{round}");
    }
    assert_eq!(world.csrs(), 51);
    world.assert_at_rest();
}

#[test]
fn a_clock_set_before_expiry_while_running_renews_within_a_nap() {
    let mut world = World::settled_for(days(3650));
    let old = world.leaf().clone();
    world.offset = SignedDuration::from_hours(24 * (3650 - 8));
    world.run_for(seconds(65));
    assert_ne!(world.leaf().fingerprint(), old.fingerprint());
    assert!(world.has(began(Cause::Deadline)));
    assert!(world.has(|notice| matches!(notice, Notice::ClockStepped { .. })));
    assert!(world.has(|notice| matches!(notice, Notice::ClockSkew { .. })));
    // The new one is in its window at birth, and that starts no loop.
    world.run_for(hours(1));
    assert_eq!(world.csrs(), 2);
    assert!(world.machine.is_confirmed());
    world.assert_at_rest();
}

#[test]
fn a_notification_that_the_clock_was_set_renews_at_once() {
    let mut world = World::settled();
    world.offset = SignedDuration::from_hours(24 * 360);
    world.tell(Event::ClockStepped);
    assert_eq!(world.csrs(), 2);
}

#[test]
fn an_expired_certificate_without_bootstrap_credential_is_renewed_with_itself() {
    for restarts in [false, true] {
        let mut world = World::settled();
        let old = world.leaf().clone();
        world.offset = SignedDuration::from_hours(24 * 366);
        if restarts {
            world.restart();
        }
        world.run_for(seconds(65));
        assert!(world.has(began(Cause::Expired)));
        // It is valid by the server's date and expired by ours: installed and used all the same.
        assert_ne!(world.leaf().fingerprint(), old.fingerprint());
        assert_eq!(world.machine.standing(world.now().wall), Standing::Expired);
        assert!(world.machine.is_confirmed());
        world.run_for(hours(1));
        assert_eq!(world.csrs(), 2);
    }
}

#[test]
fn a_clock_before_not_before_is_noted_once_and_renews_nothing() {
    for restarts in [false, true] {
        let mut world = World::settled();
        world.offset = SignedDuration::from_hours(-24 * 365);
        if restarts {
            world.restart();
        }
        world.run_for(hours(6));
        assert_eq!(world.csrs(), 1);
        assert_eq!(
            world.count(|notice| matches!(notice, Notice::NotYetValid { .. })),
            1
        );
        assert_eq!(
            world.machine.standing(world.now().wall),
            Standing::NotYetValid
        );
        world.assert_at_rest();
    }
}

#[test]
fn a_clock_that_comes_back_finds_the_certificate_fresh() {
    let mut world = World::settled();
    world.offset = SignedDuration::from_hours(24 * 366);
    world.run_for(minutes(2));
    world.offset = SignedDuration::ZERO;
    world.run_for(hours(3));
    assert_eq!(world.csrs(), 2);
    assert_eq!(world.machine.standing(world.now().wall), Standing::Fresh);
    world.assert_at_rest();
}

#[test]
fn thirty_days_of_suspend_are_noticed() {
    // The monotonic clock stands still meanwhile.
    let mut world = World::settled_for(days(33));
    let monotonic = world.monotonic;
    world.pass(days(30));
    world.monotonic = monotonic;
    world.run_for(seconds(1));
    assert_eq!(world.csrs(), 2);
    assert!(world.has(|notice| matches!(notice, Notice::ClockStepped { .. })));
    world.assert_at_rest();
}

#[test]
fn a_step_of_the_clock_does_not_age_a_pending_request() {
    let mut world = World::new(client_config());
    world.server.approves = false;
    world.run_for(minutes(1));
    world.offset = SignedDuration::from_hours(24 * 365);
    world.run_for(hours(2));
    assert_eq!(world.csrs(), 1);
    assert_eq!(world.machine.phase(), Phase::Awaiting);
}

#[test]
fn a_back_dated_certificate_of_two_minutes_does_not_spin() {
    let mut world = World::new(client_config());
    world.server.ttl = minutes(2);
    world.run_for(minutes(10));
    assert!(world.has(|notice| matches!(notice, Notice::ShortLifetime { .. })));
    assert!(!world.has(|notice| matches!(notice, Notice::ClockSkew { .. })));
    // 2 h / 2 min an hour are allowed: 10 in ten minutes.
    assert!(world.csrs() <= 10, "{}", world.csrs());
    assert!(world.time < world.leaf().not_after(), "and it never lapses");
}

#[test]
fn when_certificate_and_server_agree_that_it_expired_the_machine_is_stuck_and_goes_on() {
    let mut world = World::settled();
    world.server.is_reachable = false;
    world.pass(days(370));
    world.run_for(hours(1));
    assert_eq!(world.machine.phase(), Phase::BackingOff);
    world.server.is_reachable = true;
    world.run_for(hours(2));
    assert_eq!(world.machine.phase(), Phase::Stuck);
    assert_eq!(
        world.count(|notice| matches!(notice, Notice::Stuck { .. })),
        1
    );
    assert!(world.machine.current().is_some(), "nothing is deleted");
    assert_eq!(world.csrs(), 1);
    // A bootstrap credential appears: found at the next try, with no word from anybody.
    world.sources.bootstrap = Some(crate::event::CredentialVersion(1));
    world.run_for(minutes(6));
    assert_eq!(world.csrs(), 2);
    assert_eq!(world.machine.standing(world.now().wall), Standing::Fresh);
    world.assert_at_rest();
}

#[test]
fn a_step_reads_the_store_again() {
    let mut world = World::settled();
    let order = crate::store::conformance::client_order();
    let (pending, key) = crate::store::conformance::prepare(order, 77, world.time);
    let end = world.time + SignedDuration::from_hours(8760);
    let chain = world.server.authority.issue(&pending, world.time, end);
    let local = jiff::civil::date(2026, 8, 2).at(0, 0, 0, 0);
    world.store.put_pending(&pending, &key).unwrap();
    world.store.install(&chain, local).unwrap();
    world.store.discard_pending().unwrap();
    world.run_for(minutes(10));
    assert_ne!(world.leaf().fingerprint(), chain.leaf().fingerprint());
    world.offset = SignedDuration::from_secs(10);
    world.run_for(minutes(2));
    assert_eq!(world.leaf().fingerprint(), chain.leaf().fingerprint());
    assert_eq!(world.csrs(), 1);
    world.assert_at_rest();
}
