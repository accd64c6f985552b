//! The chart, the manifests and the alerts of `deploy/`: taken by the programs they are for.

use super::Pairing;
use crate::stack::{Kubernetes, NAMESPACE, Part, Stack, deploy, helm, peer};
use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Kubectl, Sandbox, arg, ensure_that, eventually, run as run_program, same};
use serde_json::{Value, json};

const OURS: &str = "Helm chart, manifests and alerts";

pub(crate) const PAIRING: Pairing = Pairing {
    real: "Helm 4, kube-apiserver 1.37, promtool",
    ours: OURS,
    test: Test {
        name: "the_chart_and_the_manifests_install_on_kubernetes",
        long: true,
        run: |sandbox| run(sandbox, Kubernetes::V1_37),
    },
};

pub(crate) const OLD: Pairing = Pairing {
    real: "Helm 4, kube-apiserver 1.21.5, promtool",
    ours: OURS,
    test: Test {
        name: "the_chart_and_the_manifests_install_on_old_kubernetes",
        long: true,
        run: |sandbox| run(sandbox, Kubernetes::V1_21),
    },
};

/// Longest that the server may take to know a new type.
const SECONDS_MAX: u64 = 30;
/// Values, each a way in which somebody installs it.
const WAYS: &[&[&str]] = &[
    &[],
    &["mode=controllers"],
    &["mode=controllers", "controlPlaneOnly=true", "replicas=3"],
    &[
        "mode=controllers",
        "controllers={csrapproving,csrsigning,csrcleaner,kubelet-serving-approver,bootstrapsigner,tokencleaner,root-ca-cert-publisher}",
        "ca.perSigner.kubelet-serving=serving-ca",
        "ca.perSigner.kubelet-client=client-ca",
    ],
    &["mode=controllers", "controllers={tokencleaner}"],
    &[
        "serviceMonitor.enabled=true",
        "prometheusRule.enabled=true",
        "inventory.worker-1={10.20.0.11,worker-1.example.com}",
        "leaderElection.leaseNamespace=everleaf-system",
        "extraArgs={--kube-api-qps=0}",
        "verbosity=4",
        "imagePullSecrets[0].name=pull",
        "tolerations[0].operator=Exists",
        "serviceAccount.name=other",
    ],
];
/// Values that the chart refuses, and a word of why.
const REFUSED: &[(&str, &str)] = &[
    ("mode=everything", "mode"),
    ("replica=3", "replica"),
    ("controllers={csrsignin}", "controllers"),
    (
        "leaderElection.leaseName=kube-controller-manager",
        "leaseName",
    ),
    ("policy.version=v2", "version"),
    ("serviceAccount.create=false", "serviceAccount.name"),
];

fn run(sandbox: &Sandbox, release: Kubernetes) -> Result<Verdict> {
    let stack = Stack::of(release, sandbox, &[Part::Etcd, Part::KubeApiserver(&[])])?;
    let admin = stack.admin()?;
    sandbox.point("helm lint finds nothing in any way to install it", || {
        lint(sandbox)
    })?;
    sandbox.point("values that make no sense are refused by name", || {
        for (value, word) in REFUSED {
            let why = stack.render(&[value]).err();
            let why = why.map(|why| format!("{why:#}")).unwrap_or_default();
            ensure_that!(why.contains(word), "--set {value}: {why:?}");
        }
        Ok(())
    })?;
    sandbox.point(
        "kube-apiserver takes every object of every way, without a warning",
        || ways(&stack, &admin),
    )?;
    sandbox.point(
        "kubectl apply -f of one file installs it, and twice changes nothing",
        || {
            for name in ["serving-approver", "controllers"] {
                let file = deploy(&format!("manifests/everleaf-{name}.yaml"))?;
                let apply = ["apply", "-f", arg(&file)];
                admin.quiet(&apply)?;
                let again = admin.quiet(&apply)?;
                // Of this kind kubectl says "configured" each time, also when nothing changes.
                let is_told_always = |line: &str| line.starts_with("poddisruptionbudget");
                let mut lines = again.lines();
                let changed =
                    lines.find(|line| !line.ends_with(" unchanged") && !is_told_always(line));
                ensure_that!(changed.is_none(), "{changed:?}");
                admin.quiet(&["delete", "--wait=false", "-f", arg(&file)])?;
                wait_gone(sandbox, &admin)?;
            }
            Ok(())
        },
    )?;
    sandbox.point(
        "promtool finds the alerts sound, and each fires on its fault alone",
        || {
            let promtool = peer("PROMTOOL")?;
            let rules = deploy("helm/everleaf/alerts.yaml")?;
            run_program(
                sandbox
                    .command(&promtool)
                    .args(["check", "rules", arg(&rules)]),
            )?
            .ok()?;
            let tests = deploy("tests/alerts.yaml")?;
            let told =
                run_program(
                    sandbox
                        .command(&promtool)
                        .args(["test", "rules", arg(&tests)]),
                )?;
            told.ok().map(drop)
        },
    )?;
    Ok(Verdict::Passed)
}

/// A namespace goes slowly, and here nobody finishes it: no controller runs.
fn wait_gone(sandbox: &Sandbox, admin: &Kubectl<'_>) -> Result<()> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/finalize");
    let object =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    let file = sandbox.write("finalize.json", &object.to_string())?;
    admin.run(&["replace", "--raw", &path, "-f", arg(&file)])?;
    eventually("the namespace is gone", SECONDS_MAX, || {
        let get = ["get", "namespace", NAMESPACE, "--ignore-not-found"];
        same("namespace", admin.quiet(&get)?, String::new())
    })
}

fn lint(sandbox: &Sandbox) -> Result<()> {
    let chart = deploy("helm/everleaf")?;
    for way in WAYS {
        let mut args = vec!["lint", "--strict", arg(&chart)];
        for value in *way {
            args.extend(["--set", value]);
        }
        let told = helm(sandbox, &args)?.ok()?;
        let finding = told
            .lines()
            .find(|line| line.starts_with("[WARNING]") || line.starts_with("[ERROR]"));
        ensure_that!(finding.is_none(), "{way:?}: {finding:?}");
    }
    Ok(())
}

/// Has the server judge each of them whole, and strictly, and keep nothing.
fn ways(stack: &Stack<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let sandbox = stack.sandbox;
    let types = sandbox.write("monitoring.json", &monitoring().to_string())?;
    admin.quiet(&["apply", "-f", arg(&types)])?;
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": NAMESPACE, "labels": {
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/warn": "restricted",
        } },
    });
    let namespace = sandbox.write("namespace.json", &namespace.to_string())?;
    admin.quiet(&["create", "-f", arg(&namespace)])?;
    eventually("it knows the types of monitoring", SECONDS_MAX, || {
        let get = ["get", "servicemonitors,prometheusrules", "-A"];
        admin.run(&get)?.ok().map(drop)
    })?;
    for (number, way) in WAYS.iter().enumerate() {
        let text = stack.render(way)?;
        let file = sandbox.write(&format!("way-{number}.yaml"), &text)?;
        let validate = match stack.release {
            Kubernetes::V1_21 => "--validate=true",
            _ => "--validate=strict",
        };
        let dry = ["apply", "--dry-run=server", validate, "-f", arg(&file)];
        admin.quiet(&dry)?;
    }
    admin.quiet(&["delete", "--wait=false", "namespace", NAMESPACE])?;
    wait_gone(sandbox, admin)
}

/// The types of the Prometheus operator, as far as the chart uses them: what is not in them is an
/// unknown field.
fn monitoring() -> Value {
    let text = || json!({ "type": "string" });
    let texts = || json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let object = |properties: Value| json!({ "type": "object", "properties": properties });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let monitor = object(json!({
        "selector": object(json!({ "matchLabels": texts() })),
        "endpoints": list(object(json!({ "port": text(), "path": text(), "interval": text() }))),
    }));
    let rule = object(json!({
        "alert": text(), "expr": text(), "for": text(), "labels": texts(), "annotations": texts(),
    }));
    let group = object(json!({ "name": text(), "rules": list(rule) }));
    let rules = object(json!({ "groups": list(group) }));
    let definition = |kind: &str, plural: &str, spec: Value| {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {
                "name": format!("{plural}.monitoring.coreos.com"),
                "annotations": { "api-approved.kubernetes.io": "unapproved, a test" },
            },
            "spec": {
                "group": "monitoring.coreos.com", "scope": "Namespaced",
                "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List") },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": object(json!({ "spec": spec })) },
                }],
            },
        })
    };
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        definition("ServiceMonitor", "servicemonitors", monitor),
        definition("PrometheusRule", "prometheusrules", rules),
    ] })
}
