//! Goal: over two years, under lost requests, lost answers, power loss and drifting clocks, no
//! node is ever without a usable credential, no key leaves a node, and requests stay few. Method:
//! twenty nodes in virtual time around the production cores; run twice and compare the traces,
//! which proves that the cores take nothing from outside.

use everleaf_sim::scenario::Noise;
use everleaf_sim::{Report, Scenario, World};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

fn two_years(seed: u64) -> Scenario {
    Scenario {
        seed,
        nodes: 20,
        duration: 730 * DAY,
        signing_duration: 30 * DAY,
        noise: Noise {
            request_loss_per_mille: 50,
            response_loss_per_mille: 50,
            power_loss_per_mille: 50,
            downtime_max: Duration::from_secs(4 * 3600),
            drift_ppm_max: 50,
        },
        ..Scenario::calm(seed)
    }
}

fn run(scenario: &Scenario) -> Report {
    let report = World::new(scenario.clone()).expect("a world").run();
    report
        .verdict(scenario)
        .unwrap_or_else(|failure| panic!("{failure}"));
    report
}

#[test]
fn nobody_lapses_in_two_years_and_the_run_repeats_exactly() {
    let scenario = two_years(1);
    let first = run(&scenario);
    let second = run(&scenario);
    assert_eq!(
        first.trace, second.trace,
        "the cores took something from outside"
    );
    assert_eq!(first, second);

    // The faults did happen, and so did the rotations: 730 days at 70 to 90 % of 30 days are 27
    // to 35 each.
    assert!(
        first.power_losses > 100,
        "{} power losses",
        first.power_losses
    );
    assert!(
        first.responses_lost > 100,
        "{} answers lost",
        first.responses_lost
    );
    assert!(
        (500..=800).contains(&first.installed),
        "{} installed",
        first.installed
    );
    // Lost answers and crashes resume the pending request instead of making another.
    assert!(
        first.created <= first.installed + first.power_losses,
        "{} requests for {} certificates",
        first.created,
        first.installed
    );
}

#[test]
fn other_seeds_hold_too_and_differ() {
    let mut traces = Vec::new();
    for seed in 2..6 {
        let scenario = Scenario {
            nodes: 5,
            duration: 180 * DAY,
            ..two_years(seed)
        };
        traces.push(run(&scenario).trace);
    }
    traces.dedup();
    assert_eq!(traces.len(), 4);
}

#[test]
fn a_calm_fleet_asks_exactly_once_per_certificate() {
    let scenario = Scenario::calm(7);
    let report = run(&scenario);
    assert_eq!(report.created, report.installed);
    assert!(report.installed >= 3 * 7, "{}", report.installed);
}

#[test]
fn a_fleet_beyond_its_fault_budget_lapses_and_is_seen_to() {
    let scenario = Scenario {
        nodes: 4,
        duration: 90 * DAY,
        noise: Noise {
            power_loss_per_mille: 300,
            downtime_max: 20 * DAY,
            ..two_years(8).noise
        },
        ..two_years(8)
    };
    let report = World::new(scenario.clone()).expect("a world").run();
    let failure = report
        .verdict(&scenario)
        .expect_err("nodes were down for weeks");
    let text = failure.to_string();
    assert!(text.contains("holds a leaf valid"), "{text}");
    let line = text.lines().last().expect("a line that replays it");
    let scenario_line = line.split('\'').nth(1).expect("a scenario");
    assert_eq!(scenario_line.parse(), Ok(scenario), "{line}");
}
