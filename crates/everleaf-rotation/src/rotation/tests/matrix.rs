//! Spec controllers.md 7.3: node clock against signer clock, lifetime, and the authority's end.

use super::world::*;
use crate::notice::Notice;
use crate::rotation::Phase;
use crate::standing::Standing;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Node clock minus signer clock, in seconds.
const OFFSETS: [i64; 9] = [
    -400 * DAY,
    -DAY,
    -360,
    0,
    360,
    DAY,
    357 * DAY,
    400 * DAY,
    11 * 365 * DAY,
];
/// `--cluster-signing-duration`.
const LIFETIMES: [u64; 4] = [600, 3600, 8760 * 3600, 87600 * 3600];
/// What is left of the authority.
const AUTHORITY_LEFT: [u64; 4] = [3600, 30 * 86400, 365 * 86400, 3650 * 86400];

/// Every hour of `created` holds at most `max(5, 2 · 1 h / L)` requests, L being what remained at
/// birth of the shortest-lived certificate of that hour.
#[track_caller]
fn assert_bounded(created: &[(Timestamp, Option<Duration>)], case: &str) {
    for (index, (start, _)) in created.iter().enumerate() {
        let end = *start + SignedDuration::from_hours(1);
        let hour: Vec<_> = created[index..]
            .iter()
            .take_while(|(time, _)| *time < end)
            .collect();
        let life = hour
            .iter()
            .filter_map(|(_, life)| *life)
            .min()
            .unwrap_or(hours(1));
        let bound = (2 * 3600 / life.as_secs().max(1)).max(5);
        assert!(
            hour.len() as u64 <= bound,
            "{case}: {} requests in the hour from {start}, bound {bound}: {hour:#?}",
            hour.len()
        );
    }
}

/// A world of that cell, when its node's clock has just moved.
fn cell(offset: i64, lifetime: u64, left: u64, restarts: bool) -> World {
    let case = format!("offset {offset}s, lifetime {lifetime}s, authority {left}s, {restarts}");
    let mut world = World::new(client_config());
    world.server.ttl = seconds(lifetime);
    world.server.ca_not_after = world.time + SignedDuration::from_secs(left.cast_signed());
    world.run_for(seconds(60));
    assert!(world.machine.is_confirmed(), "{case}: {:#?}", world.notices);
    world.sources.bootstrap = None;
    world.offset = SignedDuration::from_secs(offset);
    if restarts {
        world.restart();
    }
    let life = lifetime.min(left);
    world.nap_max = if life > 86_400 { hours(12) } else { minutes(1) };
    world
}

fn check(offset: i64, lifetime: u64, left: u64, restarts: bool) {
    let case = format!("offset {offset}s, lifetime {lifetime}s, authority {left}s, {restarts}");
    let mut world = cell(offset, lifetime, left, restarts);
    world.skips_looks = true;
    let life = lifetime.min(left);
    let mut left = hours(3).max(seconds(life * 2)).min(days(400));
    while left > Duration::ZERO && world.machine.phase() != Phase::Stuck {
        let span = left.min(days(1));
        world.run_for(span);
        left -= span;
    }
    world.run_for(hours(3));

    assert_bounded(&world.server.created, &case);
    let born_wrong = world.count(|notice| match notice {
        Notice::Installed { leaf, .. } => {
            // In its window at birth by the node's clock, for no other reason than the offset.
            let node = leaf.not_before + SignedDuration::from_secs(300 + offset);
            offset != 0 && (node >= leaf.deadline || node < leaf.not_before)
        }
        _ => false,
    });
    let told = world.has(|notice| {
        matches!(
            notice,
            Notice::ClockSkew { .. } | Notice::NotYetValid { .. }
        )
    });
    assert!(
        born_wrong <= 1 || told,
        "{case}: nothing was told: {:#?}",
        world.notices
    );
}

/// What the cells below rely on.
#[test]
fn a_look_at_what_nobody_changed_changes_nothing() {
    for (offset, lifetime) in [(400 * DAY, 8760), (11 * 365 * DAY, 87600), (-DAY, 1)] {
        let [with, without] = [false, true].map(|skips_looks| {
            let mut world = cell(offset, lifetime * 3600, AUTHORITY_LEFT[3], false);
            world.skips_looks = skips_looks;
            world.run_for(days(5));
            let requests = world.server.created.clone();
            (world.effects, requests, format!("{:?}", world.notices))
        });
        assert_eq!(with.1, without.1);
        assert_eq!(with.2, without.2);
        let is_looked_for = lifetime > 1;
        assert_eq!(
            with.0 > without.0 + 300,
            is_looked_for,
            "{offset}: {with:?}"
        );
    }
}

#[test]
fn requests_are_bounded_when_the_clock_moves_while_running() {
    for offset in OFFSETS {
        for lifetime in LIFETIMES {
            for left in AUTHORITY_LEFT {
                check(offset, lifetime, left, false);
            }
        }
    }
}

#[test]
fn requests_are_bounded_when_the_clock_moves_before_a_restart() {
    for offset in OFFSETS {
        for lifetime in LIFETIMES {
            for left in [AUTHORITY_LEFT[0], AUTHORITY_LEFT[3]] {
                check(offset, lifetime, left, true);
            }
        }
    }
}

#[test]
fn a_certificate_that_is_always_due_is_renewed_before_it_lapses() {
    for lifetime in [20, 24, 25, 30, 45, 60, 240] {
        let mut world = World::settled_for(minutes(lifetime));
        world.offset = SignedDuration::from_hours(24);
        for _ in 0..24 * 60 {
            world.run_for(seconds(60));
            assert!(
                world.time < world.leaf().not_after(),
                "lapsed with {lifetime} min"
            );
        }
        assert_eq!(world.machine.standing(world.now().wall), Standing::Expired);
        assert_bounded(&world.server.created, &format!("{lifetime} min"));
    }
}

#[test]
fn a_clock_that_is_set_back_and_forth_cannot_flood_the_server() {
    let mut world = World::settled();
    for turn in 0..240 {
        let days = if turn % 2 == 0 { 360 } else { 0 };
        world.offset = SignedDuration::from_hours(24 * days);
        world.run_for(seconds(60));
    }
    assert_bounded(&world.server.created, "flapping");
    assert!(world.csrs() > 5, "each hour begins anew");
}
