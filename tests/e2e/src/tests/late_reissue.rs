//! A node that was off for longer than its certificate lasted comes back by its old key, and a copy
//! of its disk does not live beside it.

use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Agent, FakeClock, Kubectl, Process, Sandbox, Up, eventually, free_port, run};
use everleaf_stage::{ensure_that, same};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// How long the node is off, in seconds: its certificate lasts for a year.
const OFF: i64 = 400 * 86_400;
const CURRENT: &str = "pki/kubelet-client-current.pem";

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "off_for_a_year_without_bootstrap_a_node_comes_back_and_a_copy_does_not",
        long: false,
        run: off_for_a_year,
    },
    Test {
        name: "a_server_without_late_reissue_is_told_of_while_there_is_time",
        long: false,
        run: not_offered,
    },
];

/// `up` for nodes that come back, by the clock that it is given.
fn up(sandbox: &Sandbox, listen: &str, clock: Option<&FakeClock>) -> Result<Process> {
    let mut command = sandbox.everleaf(&[
        "up",
        "--data-dir",
        "data",
        "--no-node",
        "--listen",
        listen,
        "--late-reissue-max-age",
        "8760h",
        "--late-reissue-max-recoveries",
        "2",
    ]);
    if let Some(clock) = clock {
        clock.apply(sandbox, &mut command);
    }
    let up = sandbox.start("up", &mut command)?;
    eventually("everleaf up is ready", 20, || {
        ensure_that!(up.stdout().contains("is ready"), "{}", up.stderr());
        Ok(())
    })?;
    Ok(up)
}

fn off_for_a_year(sandbox: &Sandbox) -> Result<Verdict> {
    let listen = format!("127.0.0.1:{}", free_port()?);
    let then = FakeClock::Offset(-OFF);
    let mut past = up(sandbox, &listen, Some(&then))?;
    let admin = Kubectl::new(sandbox, sandbox.path("data/admin.conf"));
    let node = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}}"#;
    let node = sandbox.write("node.json", node)?;
    // kubectl knows no other clock than ours, by which that server's certificate has ended.
    let unverified = "--insecure-skip-tls-verify";
    let file = node.to_str().context("a path")?;
    admin.quiet(&["create", unverified, "--validate=false", "-f", file])?;
    let bootstrap = sandbox.path("data/bootstrap-kubelet.conf");
    let mut agent = Agent::bootstrapped_by(sandbox, bootstrap, "n2");
    agent.args.push("--late-reissue".to_owned());
    agent.start_at(&then)?;
    let old = agent.certificate()?;
    said(&agent, "late re-issue is arranged")?;
    agent.stop()?;
    past.stop()?;
    let thief = sandbox.path("thief");
    copy(&agent.path(""), &thief)?;

    // A year later, with nothing but what is on its disk.
    let _present = up(sandbox, &listen, None)?;
    agent.forget_bootstrap();
    agent.start()?;
    let renewed = agent.renewed(&old, 15)?;
    same("subject", renewed.subject, old.subject)?;
    said(
        &agent,
        "lets this node in by its old key; it may do so 1 more times",
    )?;
    said(&agent, "late re-issue is arranged")?;
    agent.kubectl().quiet(&["get", "csr"])?;
    let filed = admin.json(&["get", "csr"])?;
    let extra = &filed["items"][0]["spec"]["extra"]["everleaf.io/late-reissue"];
    same("extra of the request", extra, &serde_json::json!(["2"]))?;
    let metrics = admin.quiet(&["get", "--raw", "/metrics"])?;
    let count = "everleaf_late_reissue_total{result=\"recovered\"} 1";
    ensure_that!(metrics.contains(count), "no {count} in /metrics");

    // The copy of its disk, with the agent that it needs.
    let mut command = sandbox.everleaf(&["agent", "--hostname-override", "n2", "--once"]);
    command.args(["--rotate-certificates", "--late-reissue", "--kubeconfig"]);
    command.arg(thief.join("kubelet.conf"));
    command.arg("--cert-dir").arg(thief.join("pki"));
    let refused = run(&mut command)?.failed_with(1)?;
    for words in [
        "there are two copies of the node's key",
        "everleaf token create",
    ] {
        ensure_that!(refused.contains(words), "no {words:?} in {refused}");
    }
    let secret = ["get", "secret", "-n", "kube-system", "late-reissue.n2"];
    let record = admin.json(&secret)?;
    let is_locked = record["data"]["locked"]
        .as_str()
        .is_some_and(|text| !text.is_empty());
    ensure_that!(is_locked, "the node is not locked: {record}");
    // Which of the two is the node, nobody can tell: what it was issued is good for nothing now.
    let whoami = agent.kubectl().run(&["auth", "whoami"])?;
    ensure_that!(whoami.stderr.contains("Unauthorized"), "{whoami:?}");
    let events = admin.quiet(&["get", "events", "-o", "name"])?;
    for event in ["n2.latereissue", "n2.latereissuelocked"] {
        ensure_that!(events.contains(event), "no Event {event} in {events}");
    }
    agent.stop()?;
    Ok(Verdict::Passed)
}

fn not_offered(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    agent.args.push("--late-reissue".to_owned());
    agent.start()?;
    agent.certificate()?;
    said(&agent, "the API server does not offer it")?;
    agent.stop()?;
    Ok(Verdict::Passed)
}

fn said(agent: &Agent<'_>, words: &str) -> Result<()> {
    eventually("the agent says so", 15, || {
        let log = agent.log();
        ensure_that!(log.contains(words), "no {words:?} in {log}");
        Ok(())
    })
}

/// The disk of a node, as somebody else has it: what names paths names those of the copy.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.join("pki"))?;
    for entry in fs::read_dir(from.join("pki"))? {
        let path = entry?.path();
        let name = path.file_name().context("a name")?;
        if path.is_file() && !path.is_symlink() {
            fs::copy(&path, to.join("pki").join(name))?;
        }
    }
    let target = fs::read_link(from.join(CURRENT))?;
    let name = target.file_name().context("a name")?;
    symlink(to.join("pki").join(name), to.join(CURRENT))?;
    let text = fs::read_to_string(from.join("kubelet.conf"))?;
    let own = from.to_str().context("a path")?.trim_end_matches('/');
    let text = text.replace(own, to.to_str().context("a path")?);
    fs::write(to.join("kubelet.conf"), text)?;
    Ok(())
}
