//! What a person reads: the notices of a first issuance and of a renewal.

use super::world::*;
use crate::event::Event;
use crate::notice::Notice;
use everleaf_pki::Fingerprint;
use jiff::SignedDuration;

/// One line per notice: its name, and what tells it from others of that name.
fn trace(world: &World) -> String {
    let line = |notice: &Notice| match notice {
        Notice::AttemptBegan { cause, .. } => format!("attempt began: {}", cause.as_str()),
        Notice::ClockSkew {
            node, server, wait, ..
        } => {
            format!(
                "clock skew: node {node:.0}, server {server:.0}, at least {}s",
                wait.as_secs()
            )
        }
        Notice::ClockStepped { by, .. } => format!("clock stepped by {}s", by.as_secs()),
        Notice::Confirmed { .. } => "confirmed".to_owned(),
        Notice::Installed {
            replaced: None,
            leaf,
        } => {
            format!("installed {} to {}", leaf.not_before, leaf.not_after)
        }
        Notice::Installed {
            replaced: Some((old, _)),
            leaf,
        } => {
            format!(
                "installed {} to {}, was to {}",
                leaf.not_before, leaf.not_after, old.not_after
            )
        }
        Notice::Issued { name, .. } => format!("issued {name}"),
        Notice::Loaded {
            standing,
            pending: Some(name),
            ..
        } => {
            format!("loaded: {standing}, {name} is pending")
        }
        Notice::Loaded {
            standing,
            pending: None,
            ..
        } => format!("loaded: {standing}"),
        Notice::RequestPrepared { name } => format!("prepared {name}"),
        Notice::RequestResumed { name } => format!("resumed {name}"),
        Notice::RequestSubmitted {
            name,
            uid,
            credential,
            ..
        } => {
            format!("submitted {name} as {uid} with the {credential}")
        }
        Notice::Waiting {
            deadline: Some(deadline),
        } => format!("waiting for {deadline:.0}"),
        Notice::Waiting { deadline: None } => "waiting".to_owned(),
        other => format!("{other:?}"),
    };
    world
        .notices
        .iter()
        .map(|notice| line(notice) + "\n")
        .collect()
}

#[test]
fn a_first_issuance() {
    let mut world = World::new(client_config());
    world.run_for(minutes(2));
    insta::assert_snapshot!(trace(&world), @r"
    loaded: absent
    attempt began: there is no certificate
    prepared node-csr-1
    submitted node-csr-1 as uid-1 with the bootstrap kubeconfig
    issued node-csr-1
    installed 2026-08-01T09:55:00Z to 2027-08-01T09:55:00Z
    confirmed
    waiting for 2027-04-29T10:01:43Z
    ");
}

#[test]
fn a_first_issuance_with_a_restart_while_it_is_pending() {
    let mut world = World::new(client_config());
    world.server.approves = false;
    world.run_for(minutes(2));
    world.restart();
    world.run_for(minutes(1));
    let name = world.server.objects.keys().next().unwrap().clone();
    let now = world.time;
    world.server.approve(&name, now);
    world.run_for(minutes(1));
    insta::assert_snapshot!(trace(&world), @r"
    loaded: absent
    attempt began: there is no certificate
    prepared node-csr-1
    submitted node-csr-1 as uid-1 with the bootstrap kubeconfig
    loaded: absent, node-csr-1 is pending
    resumed node-csr-1
    issued node-csr-1
    installed 2026-08-01T09:58:00Z to 2027-08-01T09:58:00Z
    confirmed
    waiting for 2027-05-21T23:18:19Z
    ");
}

#[test]
fn a_renewal() {
    let mut world = World::settled_for(hours(24));
    world.nap_max = hours(1);
    world.run_for(hours(23));
    insta::assert_snapshot!(trace(&world), @r"
    attempt began: the rotation deadline has come
    prepared node-csr-2
    submitted node-csr-2 as uid-2 with the current credential
    issued node-csr-2
    installed 2026-08-02T02:46:23Z to 2026-08-03T02:46:23Z, was to 2026-08-02T09:55:00Z
    confirmed
    waiting for 2026-08-02T23:08:31Z
    ");
}

#[test]
fn a_renewal_because_the_ca_is_replaced() {
    let mut world = World::settled_for(days(365));
    let (leaf, now) = (world.leaf().fingerprint(), world.now().wall);
    let early = now + SignedDuration::from_hours(2);
    // Of another certificate, and taken back.
    let other = Fingerprint::new([7; 32]);
    world.tell(Event::RenewalWanted(Some((other, now))));
    world.run_for(hours(1));
    world.tell(Event::RenewalWanted(Some((leaf, early))));
    world.tell(Event::RenewalWanted(None));
    world.run_for(hours(2));
    assert_eq!(world.csrs(), 1);
    let early = world.now().wall + SignedDuration::from_hours(2);
    world.tell(Event::RenewalWanted(Some((leaf, early))));
    assert_eq!(world.machine.deadline(), Some(early));
    world.run_for(minutes(119));
    assert_eq!(world.csrs(), 1, "not before");
    world.run_for(hours(30));
    assert_eq!(world.csrs(), 2, "once");
    insta::assert_snapshot!(trace(&world), @r"
    attempt began: the CA that signed the certificate is being replaced
    prepared node-csr-2
    submitted node-csr-2 as uid-2 with the current credential
    issued node-csr-2
    installed 2026-08-01T14:55:30Z to 2027-08-01T14:55:30Z, was to 2027-08-01T09:55:00Z
    confirmed
    waiting for 2027-04-30T21:39:19Z
    ");
}

#[test]
fn a_renewal_because_only_the_nodes_clock_moved() {
    let mut world = World::settled_for(days(3650));
    world.offset = SignedDuration::from_hours(24 * (3650 - 8));
    world.tell(Event::ClockStepped);
    world.run_for(minutes(10));
    insta::assert_snapshot!(trace(&world), @r"
    clock stepped by 314668800s
    attempt began: the rotation deadline has come
    prepared node-csr-2
    submitted node-csr-2 as uid-2 with the current credential
    issued node-csr-2
    installed 2026-08-01T09:55:30Z to 2036-07-29T09:55:30Z, was to 2036-07-29T09:55:00Z
    clock skew: node 2036-07-21T10:00:30Z, server 2026-08-01T10:00:30Z, at least 15767985s
    confirmed
    waiting
    ");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let story = || {
        let mut world = World::new(client_config());
        world.server.is_reachable = false;
        world.run_for(minutes(30));
        world.server.is_reachable = true;
        world.run_for(minutes(30));
        world.notices
    };
    assert_eq!(story(), story());
}
