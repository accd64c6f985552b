//! Renewals of a running system, in real time.

use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict, now};
use everleaf_stage::{Agent, Certificate, Sandbox, Up, run};
use everleaf_stage::{ensure_that, same};
use jiff::Timestamp;
use std::time::Duration;

/// Nodes of the real-time test: the earliest deadline of a few comes soon.
const NODES: usize = 4;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "five_minute_certificates_renew_in_real_time_without_a_failed_request",
        long: true,
        run: real_time,
    },
    Test {
        name: "below_ten_minutes_there_is_a_warning",
        long: false,
        run: short_durations,
    },
];

/// Certificates of five minutes live ten, five of them before they are issued: the first of four
/// deadlines comes after two to three minutes.
fn real_time(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node", "--cluster-signing-duration", "5m"])?;
    let mut nodes = Vec::new();
    for number in 0..NODES {
        let mut agent = Agent::new(sandbox, &up, &format!("n{number}"));
        agent.start()?;
        let certificate = agent.certificate()?;
        nodes.push((deadline(sandbox, &agent)?, certificate, agent));
    }
    nodes.sort_by_key(|(deadline, ..)| *deadline);
    let (deadline, old, agent) = &nodes[0];
    same("lifetime in minutes", old.lifetime().as_mins(), 10)?;
    let kubectl = agent.kubectl();
    let started = now();
    let renewed = loop {
        kubectl.quiet(&["get", "csr", "-o", "name"])?;
        let present = agent.certificate_now()?;
        if present.serial != old.serial {
            break present;
        }
        ensure_that!(
            started.elapsed() < Duration::from_secs(270),
            "no renewal, due at {deadline}"
        );
        std::thread::sleep(Duration::from_millis(150));
    };
    for _ in 0..20 {
        kubectl.quiet(&["get", "csr", "-o", "name"])?;
    }
    let share = share_of_life(old, &renewed);
    ensure_that!(
        (0.7..0.92).contains(&share),
        "renewed at {share} of the lifetime"
    );
    Ok(Verdict::Passed)
}

fn share_of_life(old: &Certificate, renewed: &Certificate) -> f64 {
    let issued = renewed.not_before.as_second() + 300;
    let age = issued - old.not_before.as_second();
    f64::from(i32::try_from(age).unwrap_or(i32::MAX)) / old.lifetime().as_secs_f64()
}

fn deadline(sandbox: &Sandbox, agent: &Agent<'_>) -> Result<Timestamp> {
    let path = agent.path("pki/kubelet-client-current.pem");
    let path = path.to_string_lossy();
    let json = run(&mut sandbox.everleaf(&["certs", "-o", "json", &path]))?.ok()?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    Ok(json["certificates"][0]["rotationDeadline"]
        .as_str()
        .unwrap_or_default()
        .parse()?)
}

fn short_durations(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &["--cluster-signing-duration", "1m"])?;
    up.node_certificate()?;
    let log = up.process.stderr();
    ensure_that!(log.contains("below 10 minutes"), "no warning: {log}");
    std::thread::sleep(Duration::from_secs(20));
    let made = up
        .admin()
        .quiet(&["get", "csr", "-o", "name"])?
        .lines()
        .count();
    ensure_that!(made <= 4, "{made} requests in twenty seconds");
    same("exit code", up.process.stop()?, 0)?;
    Ok(Verdict::Passed)
}
