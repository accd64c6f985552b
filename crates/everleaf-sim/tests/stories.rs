//! Goal: the product's own story, and whatever else may happen within the fault budget, leaves
//! every node with a usable certificate. Method: the named scenarios under the checkers, each run
//! twice.

use everleaf_sim::{Report, World, stories};

fn run(name: &str, seed: u64) -> Report {
    let scenario = stories::named(name, seed).expect("a scenario of that name");
    let run = || World::new(scenario.clone()).expect("a world").run();
    let (first, second) = (run(), run());
    first
        .verdict(&scenario)
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(first, second, "{name} {seed} took something from outside");
    first
}

/// Minutes from the moment that the clocks are set to the first certificate of `name` after it.
fn renewed_after(report: &Report, name: &str) -> Option<f64> {
    let instant = |line: &String| {
        let text = line.split(' ').next().unwrap_or_default();
        text.parse::<jiff::Timestamp>().expect("an instant")
    };
    let mut lines = report
        .trace
        .iter()
        .skip_while(|line| !line.contains(" clock "));
    let set = instant(lines.next()?);
    let installed = format!(" {name} Installed");
    let line = lines.find(|line| line.contains(&installed))?;
    Some(set.duration_until(instant(line)).as_secs_f64() / 60.0)
}

/// A certificate of ten years, the clocks of node and control plane eight days before its end, a
/// restart: the node renews both of its certificates within minutes.
#[test]
fn ten_years_with_both_clocks_moved() {
    for seed in 1..4 {
        let report = run("ten-years-both", seed);
        for name in ["n0", "n0/serving"] {
            let minutes = renewed_after(&report, name).expect("a new certificate");
            assert!(minutes < 5.0, "{name} after {minutes} minutes");
        }
    }
}

/// The same with the node's clock alone: new certificates look old to it, and still it asks seldom.
#[test]
fn ten_years_with_the_nodes_clock_moved() {
    for seed in 1..4 {
        let report = run("ten-years-node", seed);
        for name in ["n0", "n0/serving"] {
            let minutes = renewed_after(&report, name).expect("a new certificate");
            assert!(minutes < 5.0, "{name} after {minutes} minutes");
        }
        assert!(report.created <= 20, "{} requests", report.created);
    }
}

#[test]
fn clocks_that_run_ahead_make_no_loop() {
    for seed in 1..4 {
        assert!(run("clock-loop", seed).created <= 20);
    }
}

/// Cuts, outages, restarts, suspends, crashes between a stored request and its answer, clocks
/// that are set and drift: 40 of them in 40 days.
#[test]
fn storms_pass() {
    for seed in 1..6 {
        let report = run("storm", seed);
        let happened = |what: &str| report.trace.iter().any(|line| line.contains(what));
        assert!(happened(" cut n") || happened(" server-down "), "{seed}");
        assert!(report.installed >= 20, "{} installed", report.installed);
    }
}

/// Whatever others do: a token holder in a node's name, a node in another's, a proxy in between,
/// crashes.
#[test]
fn others_change_nothing() {
    for name in ["loop", "steal", "strip", "crashes"] {
        assert!(run(name, 1).installed >= 1, "{name}");
    }
}

#[test]
fn certificates_of_an_hour_are_kept() {
    assert!(run("short-lived", 1).installed > 300);
}

/// The kinds of keys of a certificate of `name`, one after the other, each told once.
fn kinds(report: &Report, name: &str) -> Vec<String> {
    let told = format!(" {name} has a certificate of an ");
    let mut kinds: Vec<String> = report
        .trace
        .iter()
        .filter_map(|line| {
            Some(
                line.split_once(&told)?
                    .1
                    .trim_end_matches(" key")
                    .to_owned(),
            )
        })
        .collect();
    kinds.dedup();
    kinds
}

/// A fleet moves to ML-DSA and back at its renewals: no request is refused, and the change of
/// configuration alone replaces no certificate.
#[test]
fn a_fleet_moves_to_ml_dsa_and_back() {
    for seed in 1..4 {
        let report = run("post-quantum", seed);
        for (node, set) in [(0, "ML-DSA-44"), (1, "ML-DSA-65"), (2, "ML-DSA-87")] {
            for name in [format!("n{node}"), format!("n{node}/serving")] {
                assert_eq!(kinds(&report, &name), ["Ed25519", set, "Ed25519"], "{name}");
            }
        }
        for refusal in ["KeyRefused", "RequestDecided"] {
            let refused = report.trace.iter().find(|line| line.contains(refusal));
            assert_eq!(refused, None, "{seed}");
        }
        // Six certificates over nine days, each renewed between 70 and 90 % of a day.
        let expected = 6 * 9..=6 * 14;
        assert!(expected.contains(&report.installed), "{}", report.installed);
    }
}
