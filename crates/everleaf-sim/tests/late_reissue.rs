//! Goal: nodes that were off for one year, or five, longer than their certificates and every
//! bootstrap token last, are back within half an hour of being switched on, all at once and
//! without anybody's hand; also when requests, answers and power are lost meanwhile. Method: fifty
//! nodes around the agent's machines, the server's walk and the controllers', which approve and
//! sign as ever. That nobody is locked out by a lost answer is half of the claim.

use everleaf_sim::scenario::{Change, Noise, days};
use everleaf_sim::{Report, Scenario, World};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Fifty nodes, all off for so long after their first day.
fn off(seed: u64, time: Duration, noise: Noise) -> Scenario {
    let scenario = Scenario {
        nodes: 50,
        duration: days(1) + time + HOUR,
        signing_duration: days(30),
        late: true,
        noise,
        ..Scenario::calm(seed)
    };
    (0..50).fold(scenario, |scenario, node| {
        scenario.with(days(1), Change::Off(node, time))
    })
}

fn run(scenario: &Scenario) -> Report {
    let report = World::new(scenario.clone()).expect("a world").run();
    report
        .verdict(scenario)
        .unwrap_or_else(|failure| panic!("{failure}"));
    report
}

fn count(report: &Report, what: &str) -> usize {
    let lines = report.trace.iter();
    lines.filter(|line| line.contains(what)).count()
}

const CAME_BACK: &str = "lets this node in by its old key";
const REGISTERED: &str = "late re-issue is arranged";

#[test]
fn fifty_nodes_come_back_after_a_year_and_after_five() {
    for years in [1, 5] {
        let scenario = off(1, days(365 * years), Noise::default());
        let report = run(&scenario);
        assert_eq!(count(&report, CAME_BACK), 50, "once each");
        // Before they were off, and after they were back.
        assert_eq!(count(&report, REGISTERED), 100);
        assert_eq!(report.installed, 100);
        if years == 1 {
            assert_eq!(report, run(&scenario), "something came from outside");
        }
    }
}

#[test]
fn lost_answers_and_power_cuts_lock_nobody_out() {
    let noise = Noise {
        request_loss_per_mille: 100,
        response_loss_per_mille: 200,
        power_loss_per_mille: 100,
        downtime_max: Duration::from_secs(30),
        drift_ppm_max: 50,
    };
    for seed in 2..4 {
        let report = run(&off(seed, days(365), noise));
        assert!(
            report.power_losses > 10,
            "{} power losses",
            report.power_losses
        );
        assert!(
            report.responses_lost > 20,
            "{} answers lost",
            report.responses_lost
        );
        assert_eq!(count(&report, "locked"), 0);
        assert!(count(&report, CAME_BACK) >= 50);
    }
}

#[test]
fn without_it_nobody_comes_back() {
    let scenario = Scenario {
        late: false,
        ..off(1, days(365), Noise::default())
    };
    let report = World::new(scenario.clone()).expect("a world").run();
    let failure = report.verdict(&scenario).expect_err("all have lapsed");
    assert!(failure.to_string().contains("holds a leaf valid"));
    assert_eq!(count(&report, CAME_BACK), 0);
}
