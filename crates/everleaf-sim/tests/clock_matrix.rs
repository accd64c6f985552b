//! Goal: whatever the node's clock, the lifetime that is granted and what is left of the CA, nobody
//! asks again and again, no certificate that works gives way to one that does not, and what is
//! abnormal is told with its cause. Method: every combination, once with a clock that is wrong from
//! the first start on, once with one that is set later, under the checkers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use everleaf_sim::scenario::{Change, Host, Scenario};
use everleaf_sim::{Report, World};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// How far the node's clock is ahead of the control plane's.
fn offsets() -> [SignedDuration; 9] {
    let minutes = SignedDuration::from_mins;
    [
        -DAY * 400,
        -DAY,
        minutes(-6),
        minutes(0),
        minutes(6),
        DAY,
        DAY * 357,
        DAY * 400,
        DAY * 365 * 11,
    ]
}

fn scenario(offset: SignedDuration, grant: Duration, left: Duration, at: Duration) -> Scenario {
    Scenario {
        nodes: 1,
        // Past the end of the authority, nothing can be right.
        duration: (left - 2 * MINUTE).min(3 * HOUR),
        signing_duration: grant,
        authority: Some(left),
        ..Scenario::calm(7)
    }
    .with(at, Change::Clock(Host::Node(0), offset))
}

fn told(report: &Report, words: &[&str]) -> bool {
    let mut lines = report.trace.iter();
    lines.any(|line| words.iter().any(|word| line.contains(word)))
}

/// A certificate that ran out, since its node, whose clock is behind, thought that there was time.
/// Nobody can spare it that; one that is not valid yet would be something else.
fn is_lapse(violation: &str) -> bool {
    let times = violation
        .split_once(" holds a leaf valid ")
        .and_then(|(_, rest)| {
            let (validity, at) = rest.split_once(", at ")?;
            let (_, end) = validity.split_once(" to ")?;
            Some((
                end.parse::<Timestamp>().ok()?,
                at.parse::<Timestamp>().ok()?,
            ))
        });
    times.is_some_and(|(end, at)| at > end)
}

fn play(at: Duration) {
    for offset in offsets() {
        for grant in [10 * MINUTE, HOUR, 8_760 * HOUR, 87_600 * HOUR] {
            for left in [HOUR, 30 * 24 * HOUR, 365 * 24 * HOUR, 3_650 * 24 * HOUR] {
                let scenario = scenario(offset, grant, left, at);
                let world = World::new(scenario.clone());
                let report = world.unwrap_or_else(|error| panic!("{scenario}: {error}"));
                let report = report.run_to_its_end();
                let is_behind = offset.is_negative();
                let mut violations = report.violations.iter();
                if let Some(violation) = violations.find(|one| !(is_behind && is_lapse(one))) {
                    panic!("{scenario}: {violation}\n{:#?}", report.trace);
                }
                assert!(report.installed >= 1, "{scenario}: no certificate at all");
                // By its clock, what it gets is not valid: the certificates begin five minutes ago.
                let life = SignedDuration::try_from(grant.min(left)).unwrap();
                if offset < SignedDuration::from_mins(-5) || offset > life {
                    assert!(told(&report, &["Clock"]), "{scenario}: {:#?}", report.trace);
                }
                if grant > left {
                    assert!(told(&report, &["Truncated"]), "{scenario}");
                }
            }
        }
    }
}

#[test]
fn a_clock_that_is_wrong_from_the_beginning() {
    play(Duration::ZERO);
}

#[test]
fn a_clock_that_is_set_later() {
    play(20 * MINUTE);
}
