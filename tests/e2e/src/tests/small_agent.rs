//! `everleaf-agent`, the agent as a program of its own.

use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Certificate, Kubectl, Sandbox, Up, arg, ensure_that, eventually, free_port, http_get, run, same,
};
use std::collections::BTreeSet;
use std::path::Path;

pub(super) const TESTS: &[Test] = &[Test {
    name: "the_agent_alone_is_the_same_agent",
    long: false,
    run: same_agent,
}];

fn same_agent(sandbox: &Sandbox) -> Result<Verdict> {
    let Some(program) = sandbox.tools.everleaf_agent.clone() else {
        return Ok(Verdict::Skipped("EVERLEAF_AGENT is not set".to_owned()));
    };
    same_flags(sandbox, &program)?;
    wrong_flags(sandbox, &program)?;
    let up = Up::start(sandbox, &["--no-node"])?;
    let admin = up.path("admin.conf");
    let mut command = sandbox.everleaf(&["token", "create", "--print-join-command"]);
    let line = run(command.args(["--kubeconfig", arg(&admin)]))?.ok()?;
    // The words after `everleaf agent`.
    let words = line.split_whitespace().skip(2);
    let mut join = sandbox.command(&program);
    join.args(words);
    join.args([
        "--data-dir",
        "n2",
        "--hostname-override",
        "n2",
        "--no-start",
    ]);
    let told = run(&mut join)?.ok()?;
    let start = format!("everleaf-agent --data-dir {}", sandbox.path("n2").display());
    ensure_that!(told.contains(&start), "{told} lacks {start:?}");
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = sandbox.command(&program);
    command.args(["--data-dir", "n2", "--metrics-bind-address", &address]);
    let mut agent = sandbox.start("agent", &mut command)?;
    let current = sandbox.path("n2/pki/kubelet-client-current.pem");
    let certificate = eventually("the node's certificate", 15, || {
        Certificate::read(sandbox, &current)
    })?;
    let node = Kubectl::new(sandbox, sandbox.path("n2/kubelet.conf"));
    let whoami = node.json(&["auth", "whoami"])?;
    let user = whoami["status"]["userInfo"]["username"].as_str();
    same("who it is", user, Some("system:node:n2"))?;
    let metrics = http_get(&address, "/metrics")?;
    let name = "kubelet_certificate_manager_client_expiration_renew_errors";
    ensure_that!(metrics.contains(name), "no {name} in {metrics}");
    same("exit code on SIGTERM", agent.stop()?, 0)?;
    // Either program goes on where the other has left off.
    run(&mut sandbox.everleaf(&["agent", "--data-dir", "n2", "--once"]))?.ok()?;
    run(sandbox
        .command(&program)
        .args(["--data-dir", "n2", "--once"]))?
    .ok()?;
    let kept = Certificate::read(sandbox, &current)?;
    same("the same certificate", kept.serial, certificate.serial)?;
    Ok(Verdict::Passed)
}

/// Each flag of `everleaf agent`, and no other.
fn same_flags(sandbox: &Sandbox, program: &Path) -> Result<()> {
    let flags = |help: &str| -> BTreeSet<String> {
        let words = help.split_whitespace();
        let flags = words.filter(|word| word.starts_with("--"));
        let name = |flag: &str| flag.split(['=', '[']).next().unwrap_or_default().to_owned();
        flags.map(name).collect()
    };
    for (more, known) in [
        (&[][..], "--data-dir"),
        (&["join"], "--data-dir"),
        (&["rehearse"], "--data-dir"),
        (&["adopt"], "--dry-run"),
        (&["hand-back"], "--dry-run"),
    ] {
        let own = run(sandbox.command(program).args(more).arg("--help"))?.ok()?;
        let whole = run(sandbox.everleaf(&["agent"]).args(more).arg("--help"))?.ok()?;
        let (own, whole) = (flags(&own), flags(&whole));
        ensure_that!(own.contains(known), "no {known} in {own:?}");
        same("flags", own, whole)?;
    }
    Ok(())
}

/// It speaks by its own name, with the exit codes of the whole program.
fn wrong_flags(sandbox: &Sandbox, program: &Path) -> Result<()> {
    let mut absent = sandbox.command(program);
    let told = run(absent.args(["--data-dir", "absent"]))?.failed_with(1)?;
    let first = told.lines().next().context("nothing is told")?;
    ensure_that!(
        first.starts_with("everleaf-agent: ") && told.contains("`everleaf-agent join` writes"),
        "{told}"
    );
    let mut typo = sandbox.command(program);
    let told = run(typo.arg("--rotate-certficates"))?.failed_with(2)?;
    ensure_that!(told.contains("'--rotate-certificates'"), "{told}");
    Ok(())
}
