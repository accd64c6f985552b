//! `everleaf demo` and `everleaf certs`.

use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict, now};
use everleaf_stage::{Sandbox, Up, arg, run};
use everleaf_stage::{ensure_that, same};
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "the_demo_tells_the_story_within_ten_seconds",
        long: false,
        run: demo,
    },
    Test {
        name: "certs_shows_what_is_on_disk",
        long: false,
        run: certs,
    },
    Test {
        name: "every_command_has_help_with_examples",
        long: false,
        run: help,
    },
];

fn demo(sandbox: &Sandbox) -> Result<Verdict> {
    let started = now();
    let text = run(&mut sandbox.everleaf(&["demo"]))?.ok()?;
    let took = started.elapsed();
    ensure_that!(took < Duration::from_secs(10), "it took {took:?}");
    for words in ["notBefore", "notAfter"] {
        let times = text.matches(words).count();
        ensure_that!(times >= 2, "{words} is printed {times} times:\n{text}");
    }
    Ok(Verdict::Passed)
}

fn certs(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    let certificate = up.node_certificate()?;
    let (pki, admin, ca) = (
        up.path("node/pki"),
        up.path("admin.conf"),
        up.path("pki/ca.crt"),
    );
    let paths = [arg(&pki), arg(&admin), arg(&ca)];
    let table = run(&mut sandbox.everleaf(&[&["certs"], &paths[..]].concat()))?.ok()?;
    for words in ["system:node:host1", "kubernetes-admin", "everleaf-ca"] {
        ensure_that!(table.contains(words), "no {words} in\n{table}");
    }
    let json =
        run(&mut sandbox.everleaf(&[&["certs", "-o", "json"], &paths[..]].concat()))?.ok()?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    let all = json["certificates"].as_array().cloned().unwrap_or_default();
    let node = all.iter().find(|one| {
        one["subject"]
            .as_str()
            .unwrap_or_default()
            .contains("system:node:host1")
    });
    let node = node.cloned().unwrap_or_default();
    same(
        "notAfter",
        node["notAfter"].as_str(),
        Some(certificate.not_after.to_string().as_str()),
    )?;
    let deadline: jiff::Timestamp = node["rotationDeadline"]
        .as_str()
        .unwrap_or_default()
        .parse()?;
    let share = deadline
        .duration_since(certificate.not_before)
        .as_secs_f64()
        / certificate.lifetime().as_secs_f64();
    ensure_that!(
        (0.7..=0.9).contains(&share),
        "the deadline is at {share} of the lifetime"
    );
    run(&mut sandbox.everleaf(&["certs", "no-such-file"]))?.failed_with(1)?;
    Ok(Verdict::Passed)
}

fn help(sandbox: &Sandbox) -> Result<Verdict> {
    for command in [
        "up",
        "agent",
        "controllers",
        "apiserver",
        "demo",
        "certs",
        "completion",
        "version",
    ] {
        let text = run(&mut sandbox.everleaf(&[command, "--help"]))?.ok()?;
        ensure_that!(
            text.contains("Examples:"),
            "{command} --help has no examples"
        );
        ensure_that!(
            text.contains("--log-format"),
            "{command} --help has no --log-format"
        );
    }
    Ok(Verdict::Passed)
}
