//! A real kubelet's client certificate is adopted, renewed by the agent, and handed back: it goes
//! on each time, and never bootstraps again.

use super::Pairing;
use super::kubelet_on_everleaf_up::{NODE, renews_lease, requests};
use crate::stack::{Kubelet, Kubernetes, Part, Stack, obstacle};
use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Answer, Certificate, FakeClock, Kubectl, Sandbox, arg, ensure_that, eventually, run as finish,
    same,
};
use serde_json::{Map, Value};
use std::fs;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kubelet 1.37 (with containerd)",
    ours: "`everleaf agent adopt`, `hand-back`",
    test: Test {
        name: "real_kubelet_is_adopted_and_handed_back",
        long: true,
        run,
    },
};

/// With the five minutes of backdating 400 s: a kubelet renews within a minute of the issue.
const UP: &[Part<'_>] = &[Part::EverleafUp(&["--cluster-signing-duration=100s"])];
const ROTATION_SECONDS_MAX: u64 = 80;
/// By such a clock a new certificate is at 97 % of its life.
const AHEAD: FakeClock = FakeClock::Offset(90);
const CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    if let Some(obstacle) = obstacle() {
        return Ok(Verdict::Skipped(obstacle));
    }
    let mut stack = Stack::of(Kubernetes::V1_37, sandbox, UP)?;
    stack.add(&Part::Kubelet(NODE))?;
    let admin = stack.admin()?;
    let kubelet = stack.kubelet(NODE)?;
    eventually("its certificate", 30, || kubelet.certificate_now())?;
    as_yaml(kubelet)?;
    sandbox.point("it is not adopted while it runs", || {
        let told = command(sandbox, kubelet, "adopt")?.failed_with(1)?;
        ensure_that!(told.contains("a kubelet with these files runs"), "{told}");
        Ok(())
    })?;
    let told = sandbox.point("stopped, it is adopted", || {
        kubelet.stop()?;
        command(sandbox, kubelet, "adopt")?.ok()
    })?;
    let adopted = kubelet.certificate_now()?;
    sandbox.point("the agent renews, the kubelet goes on beside it", || {
        beside_it(sandbox, kubelet, &admin, &told, &adopted)
    })?;
    let handed_back = kubelet.certificate_now()?;
    sandbox.point("handed back, it goes on and renews by itself", || {
        command(sandbox, kubelet, "hand-back")?.ok()?;
        kubelet.stop()?;
        kubelet.start()?;
        renews_lease(&admin)?;
        kubelet.renewed(&handed_back, ROTATION_SECONDS_MAX)
    })?;
    sandbox.point("it bootstrapped once, at the very first", || {
        let all = requests(&admin, CLIENT)?;
        let by_token = |request: &&Value| {
            let name = request["spec"]["username"].as_str().unwrap_or_default();
            name.starts_with("system:bootstrap:")
        };
        same("requests by token", all.iter().filter(by_token).count(), 1)
    })?;
    Ok(Verdict::Passed)
}

fn beside_it(
    sandbox: &Sandbox,
    kubelet: &mut Kubelet<'_>,
    admin: &Kubectl<'_>,
    told: &str,
    adopted: &Certificate,
) -> Result<()> {
    let line = told.lines().last().context("nothing is told")?;
    let mut agent = sandbox.everleaf(&[]);
    AHEAD.apply(sandbox, agent.args(line.split_whitespace().skip(1)));
    let mut agent = sandbox.start("agent", &mut agent)?;
    kubelet.start()?;
    kubelet.renewed(adopted, 20)?;
    renews_lease(admin)?;
    same("exit code on SIGTERM", agent.stop()?, 0)
}

fn command(sandbox: &Sandbox, kubelet: &Kubelet<'_>, name: &str) -> Result<Answer> {
    let mut command = sandbox.everleaf(&["agent", name]);
    command.args(["--kubeconfig", arg(&kubelet.path("kubelet.conf"))]);
    command.args(["--cert-dir", arg(&kubelet.path("pki"))]);
    finish(command.args(["--config", arg(&kubelet.path("config.json"))]))
}

/// The same configuration with a line per field, as kubeadm writes it.
fn as_yaml(kubelet: &Kubelet<'_>) -> Result<()> {
    let path = kubelet.path("config.json");
    let members: Map<String, Value> = serde_json::from_str(&fs::read_to_string(&path)?)?;
    let lines = members
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"));
    Ok(fs::write(&path, lines.collect::<String>())?)
}
