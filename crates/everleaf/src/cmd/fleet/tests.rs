//! Screens and forecasts of fleets on paper.

use super::{forecast, screen, wide};
use everleaf_api::csr;
use everleaf_controllers::issuance::Entry;
use everleaf_controllers::why::{Evidence, Known};
use everleaf_fleet::{Facts, Fleet, Forecast, Logbook};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

fn now() -> Timestamp {
    "2030-07-01T12:00:00Z".parse().unwrap()
}

/// So many nodes, whose certificates of a hundred days are of all ages up to `oldest` days, and as
/// many requests that wait.
pub(in crate::cmd) fn facts(nodes: usize, oldest: usize, requests: usize) -> Facts {
    let mut book = Logbook::default();
    for number in 0..nodes {
        let age = i64::try_from(24 * (number % oldest)).unwrap();
        let start = now() - SignedDuration::from_hours(age);
        book.note(&Entry {
            signer: "kubernetes.io/kube-apiserver-client-kubelet".to_owned(),
            cn: format!("system:node:a-node-with-a-very-long-name-{number:05}.example.com"),
            cert_sha256: format!("{:064x}", (number as u128 + 1) << 90 | number as u128),
            not_before: start.to_string(),
            not_after: (start + SignedDuration::from_hours(2400)).to_string(),
            ..Entry::default()
        });
    }
    let filed = |number: usize| {
        let usages = ["client auth"];
        let signer = "example.com/a-signer";
        let mut object = csr::build(
            &format!("csr-{number:05}"),
            "",
            "PEM",
            signer,
            &usages,
            None,
        );
        object["metadata"]["creationTimestamp"] = "2030-07-01T11:00:00Z".into();
        object["spec"]["username"] = json!("somebody\u{1b}[2J");
        object
    };
    let lease = json!({
        "metadata": {"name": "kube-controller-manager"},
        "spec": {
            "holderIdentity": "a-control-plane-host-with-a-long-name_0f0f0f0f-0f0f-0f0f-0f0f",
            "leaseDurationSeconds": 15, "renewTime": "2030-07-01T11:59:58.000000Z",
        },
    });
    Facts {
        evidence: Evidence {
            now: now(),
            local: now(),
            requests: Known::Read((0..requests).map(filed).collect()),
            nodes: Known::Hidden("nodes is forbidden: ".repeat(20)),
            leases: Known::Read(vec![lease]),
            ..Evidence::default()
        },
        log: Known::Read(book),
        ..Facts::default()
    }
}

#[test]
fn five_thousand_nodes_fit_on_a_screen() {
    let fleet = Fleet::of(&facts(5_000, 110, 3_000));
    let version = Some("v1.37.0-with-a-very-long-suffix-of-a-distribution");
    let lines = screen::of(
        &fleet,
        "https://a-long-name.of-a-server.example.com:6443",
        version,
        screen::WIDTH,
    );
    assert!(lines.len() <= 24, "{}", lines.join("\n"));
    for line in &lines {
        assert!(line.chars().count() <= 80, "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
    let text = lines.join("\n");
    for part in [
        "Nodes         5000: 5000 unseen",
        "Requests      3000 pending, 0 approved, 0 denied, 0 failed",
        "csr-00000            pending  60m",
        "signer-foreign: ",
        "kube-controller-manager: a-control-plane-host",
        "Not seen      (and 2 more, -o json) nodes: nodes is forbidden",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn a_screen_is_as_wide_as_the_terminal() {
    let fleet = Fleet::of(&facts(5_000, 110, 3_000));
    let longest = |columns: usize| {
        let lines = screen::of(&fleet, "https://a:6443", None, columns);
        let lengths = lines.iter().map(|line| line.chars().count());
        lengths.max().unwrap()
    };
    for columns in [1, 2, 20, 79, 120] {
        let longest = longest(columns);
        assert!(longest <= columns, "{longest} of {columns}");
    }
    assert!(longest(40) == 40 && longest(120) > 80);
}

#[test]
fn a_fleet_in_which_all_is_well_says_so_and_who_is_next() {
    let fleet = Fleet::of(&facts(3, 3, 0));
    let text = screen::of(&fleet, "https://a:6443", None, screen::WIDTH).join("\n");
    let part = "Lapsing       none known; next renewal on 2030-09-07: a-node-with-a-very-…";
    assert!(text.contains(part), "{text}");
    let none = screen::of(
        &Fleet::of(&facts(0, 1, 0)),
        "https://a:6443",
        None,
        screen::WIDTH,
    )
    .join("\n");
    assert!(none.contains("Nodes         none"), "{none}");
}

#[test]
fn a_row_per_node_says_what_does_not_renew() {
    let table = wide::table(&Fleet::of(&facts(110, 110, 0)));
    assert_eq!(table.lines().count(), 111);
    let row = table.lines().find(|line| line.contains("-00095.")).unwrap();
    assert!(row.contains("late") && row.contains("95%"), "{row}");
    assert!(
        row.contains("client: no request for another is seen"),
        "{row}"
    );
    let row = table.lines().find(|line| line.contains("-00010.")).unwrap();
    assert!(row.contains("fresh") && row.ends_with('-'), "{row}");
}

#[test]
fn a_histogram_is_short_and_adds_up() {
    let fleet = Fleet::of(&facts(1_000, 70, 0));
    for days in [1, 13, 14, 15, 365, 3650] {
        let forecast = Forecast::of(&fleet, days);
        let lines = forecast::histogram(&forecast);
        if forecast.load.total == 0 {
            assert_eq!(lines, ["No renewal is foreseen."]);
            continue;
        }
        assert!((2..=15).contains(&lines.len()), "{days}: {lines:?}");
        let numbers = lines[1..].iter().map(|line| {
            let word = line.split_whitespace().nth(1).unwrap();
            word.parse::<u64>().unwrap()
        });
        assert_eq!(numbers.sum::<u64>(), forecast.load.total);
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
    }
}
