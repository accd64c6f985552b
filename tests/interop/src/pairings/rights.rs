//! The rights that the chart grants: enough for all that the controllers do, and none too many.
//! Each is taken away, one at a time, and something that needs it then fails, by name in the log.

mod right;
mod trial;

use super::Pairing;
use crate::stack::{Kubernetes, Part, Stack};
use anyhow::{Result, bail};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Sandbox, http_get};
use right::Right;
use std::collections::BTreeSet;
use trial::Trial;

const OURS: &str = "`everleaf controllers` with the rights of the chart";

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver 1.37, Helm 4",
    ours: OURS,
    test: Test {
        name: "each_right_of_the_chart_is_needed_and_they_are_enough",
        long: true,
        run: |sandbox| run(sandbox, Kubernetes::V1_37),
    },
};

pub(crate) const OLD: Pairing = Pairing {
    real: "kube-apiserver 1.21.5, Helm 4",
    ours: OURS,
    test: Test {
        name: "each_right_of_the_chart_is_needed_on_old_kubernetes",
        long: true,
        run: |sandbox| run(sandbox, Kubernetes::V1_21),
    },
};

/// Only serving requests are approved: the chart's defaults.
const SERVING: &[&str] = &["verbosity=2"];
/// Everything. What it signs ends with the CA, which is a number of its own.
const ALL: &[&str] = &[
    "mode=controllers",
    "controllers={csrapproving,csrsigning,csrcleaner,kubelet-serving-approver,bootstrapsigner,tokencleaner,root-ca-cert-publisher,kube-apiserver-serving-clustertrustbundle-publisher-controller}",
    "ca.trustBundles={kubernetes.io/kubelet-serving}",
    "ca.signingDuration=200000h",
    "verbosity=2",
    // A policy for nobody, whose inventory is in a ConfigMap; then that for everybody.
    "policy.policy[0].name=listed",
    "policy.policy[0].match.node_name_regex=nobody",
    "policy.policy[0].inventory.kind=configmap",
    "policy.policy[0].inventory.ref=kube-public/nodes",
    "policy.policy[1].name=default",
];

fn run(sandbox: &Sandbox, release: Kubernetes) -> Result<Verdict> {
    let stack = Stack::of(release, sandbox, &[Part::Etcd, Part::KubeApiserver(&[])])?;
    let mut trial = Trial::new(stack)?;
    // What it needs for that alone is not another thing on an old release.
    if release == Kubernetes::V1_37 {
        serving(sandbox, &mut trial)?;
    }
    sandbox.point("all controllers: the rights are enough", || {
        trial.install(ALL)?;
        trial.works()
    })?;
    sandbox.point("all metrics that the alerts ask for are there", || {
        metrics(&trial)
    })?;
    sandbox.point(
        "all controllers: without any one of them something fails, and the log names it",
        || each(&mut trial),
    )?;
    Ok(Verdict::Passed)
}

fn serving(sandbox: &Sandbox, trial: &mut Trial<'_>) -> Result<()> {
    sandbox.point(
        "approving serving requests alone: the rights are enough",
        || {
            trial.install(SERVING)?;
            trial.works()
        },
    )?;
    sandbox.point(
        "approving serving requests alone: without any one of them something fails, and the log names it",
        || each(trial),
    )?;
    trial.uninstall(SERVING)
}

/// Takes each right away, tells about all that nothing missed.
fn each(trial: &mut Trial<'_>) -> Result<()> {
    let rights = trial.rights()?;
    let mut wrong = Vec::new();
    // Those that show while it runs need no start each.
    let (running, starting): (Vec<Right>, Vec<Right>) =
        rights.into_iter().partition(Right::shows_while_running);
    for right in &running {
        if let Err(why) = trial.without(right, Trial::misses_while_running) {
            wrong.push(format!("without {right}: {why:#}"));
        }
    }
    trial.stop();
    for right in &starting {
        if let Err(why) = trial.without(right, Trial::misses_from_the_start) {
            wrong.push(format!("without {right}: {why:#}"));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{}", wrong.join("\n"))
}

/// Whatever an alert names, the process exports, once it has happened.
fn metrics(trial: &Trial<'_>) -> Result<()> {
    let rules = std::fs::read_to_string(crate::stack::deploy("helm/everleaf/alerts.yaml")?)?;
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let wanted: BTreeSet<&str> = words
        .filter(|word| word.starts_with("everleaf_") || word.starts_with("leader_election_"))
        .collect();
    let told = http_get(&trial.metrics, "/metrics")?;
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|name| !told.contains(&format!("# TYPE {name} ")))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("not exported: {}", missing.join(", "))
}
