//! `everleaf status` and `everleaf forecast` on a real cluster: a kubelet's certificates are known,
//! by the API and by what it shows itself; who waits is named with the reason.

use super::Pairing;
use super::requests::{CLIENT, SERVING, client_usages, file};
use crate::stack::{Kubernetes, Part, Stack, obstacle};
use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Kubectl, Sandbox, ensure_that, eventually, run, same};
use serde_json::{Value, json};
use std::path::Path;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver, kube-controller-manager, kubelet 1.37 (with containerd)",
    ours: "`everleaf status`, `everleaf forecast`",
    test: Test {
        name: "everleaf_status_and_forecast_on_real_kubernetes",
        long: true,
        run: |sandbox| on(sandbox, Kubernetes::V1_37),
    },
};

pub(crate) const OLD: Pairing = Pairing {
    real: "kube-apiserver, kube-controller-manager, kubelet 1.21.5 (with containerd)",
    ours: "`everleaf status`, `everleaf forecast`",
    test: Test {
        name: "everleaf_status_and_forecast_on_old_real_kubernetes",
        long: true,
        run: |sandbox| on(sandbox, Kubernetes::V1_21),
    },
};

const PARTS: &[Part<'_>] = &[
    Part::Etcd,
    Part::KubeApiserver(&[]),
    Part::KubeControllerManager(&[]),
];
const NODE: &str = "node1";
/// For whatever takes a moment: two cores, and other stacks beside it.
const SECONDS_MAX: u64 = 90;

/// An answer in JSON, and the exit code.
fn told(sandbox: &Sandbox, conf: &Path, args: &[&str]) -> Result<(Value, Option<i32>)> {
    let mut command = sandbox.everleaf(args);
    let answer = run(command.args(["-o", "json"]).env("KUBECONFIG", conf))?;
    let value = serde_json::from_str(&answer.stdout);
    Ok((value.with_context(|| answer.stderr.clone())?, answer.code))
}

/// A node's certificate of this kind, as `status` tells it.
fn holding(fleet: &Value, kind: &str) -> Result<Value> {
    let mut nodes = fleet["nodes"].as_array().into_iter().flatten();
    let node = nodes.find(|node| node["name"] == NODE);
    Ok(node.with_context(|| format!("no {NODE}: {fleet}"))?[kind].clone())
}

fn on(sandbox: &Sandbox, release: Kubernetes) -> Result<Verdict> {
    if let Some(obstacle) = obstacle().or_else(|| release.lacks("KUBELET")) {
        return Ok(Verdict::Skipped(obstacle));
    }
    let mut stack = Stack::of(release, sandbox, PARTS)?;
    stack.add(&Part::Kubelet(NODE))?;
    let admin = stack.admin()?;
    let conf = stack.kubeconfig("admin", "/O=system:masters/CN=admin")?;
    sandbox.point(
        "a kubelet's client certificate is known, and when it renews",
        || {
            eventually("the node", SECONDS_MAX, || {
                let (fleet, code) = told(sandbox, &conf, &["status"])?;
                same("code", code, Some(0))?;
                same("not seen", fleet["unseen"].clone(), json!([]))?;
                let client = holding(&fleet, "client")?;
                same("standing", client["standing"].clone(), json!("fresh"))?;
                same("keeper", client["keeper"].clone(), json!("kubelet"))?;
                let serial = client["certificate"]["serial"].as_str().unwrap_or_default();
                let own = stack.kubelet(NODE)?.certificate_now()?.serial;
                same(
                    "serial",
                    serial.trim_start_matches('0'),
                    own.trim_start_matches('0'),
                )?;
                let text = &client["outlook"]["reasons"][0]["text"];
                let text = text.as_str().unwrap_or_default();
                ensure_that!(text.starts_with("renews by itself between"), "{client}");
                same(
                    "leader",
                    fleet["leaders"][0]["isAlive"].clone(),
                    json!(true),
                )
            })
        },
    )?;
    serving(&mut stack, &admin, &conf)?;
    joining(&mut stack, &admin, &conf)?;
    Ok(Verdict::Passed)
}

fn serving(stack: &mut Stack<'_>, admin: &Kubectl<'_>, conf: &Path) -> Result<()> {
    let sandbox = stack.sandbox;
    sandbox.point(
        "its serving request waits: nobody approves it, as `why` says",
        || {
            // Before that, somebody might still come.
            eventually("serving-nobody", SECONDS_MAX, || {
                let (fleet, _) = told(sandbox, conf, &["status", "--probe"])?;
                let serving = holding(&fleet, "serving")?;
                same("standing", serving["standing"].clone(), json!("unknown"))?;
                let codes = serving["outlook"]["reasons"].to_string();
                ensure_that!(
                    codes.contains("\"waits\"") && codes.contains("\"not-shown\""),
                    "{codes}"
                );
                let fault = &fleet["requests"][0]["hold"]["fault"];
                same("fault", fault.clone(), json!("serving-nobody"))
            })
        },
    )?;
    let authority = stack.authority()?.certificate().to_owned();
    let kubelet = stack.kubelet(NODE)?;
    sandbox.point(
        "approved, it is known without a request: the kubelet shows it",
        || {
            let requests = admin.json(&["get", "csr"])?;
            let requests = requests["items"].as_array().into_iter().flatten();
            for request in requests.filter(|one| one["spec"]["signerName"] == SERVING) {
                let name = request["metadata"]["name"].as_str().unwrap_or_default();
                admin.quiet(&["certificate", "approve", name])?;
            }
            let shown = eventually("a good certificate", SECONDS_MAX, || {
                kubelet.shown_certificate(&authority)
            })?;
            admin.quiet(&["delete", "csr", "--all"])?;
            let (forecast, code) = told(sandbox, conf, &["forecast", "--probe"])?;
            same("lapses", forecast["lapses"].clone(), json!([]))?;
            same("code", code, Some(0))?;
            let (fleet, _) = told(sandbox, conf, &["status", "--probe"])?;
            let serving = holding(&fleet, "serving")?;
            same("standing", serving["standing"].clone(), json!("fresh"))?;
            let found = &serving["certificate"];
            same("source", found["source"].clone(), json!("probe"))?;
            let serial = found["serial"].as_str().unwrap_or_default();
            same(
                "serial",
                serial.trim_start_matches('0'),
                shown.serial.trim_start_matches('0'),
            )?;
            // Of the other one, nothing tells any more.
            let client = holding(&fleet, "client")?;
            same("client", client["standing"].clone(), json!("unknown"))
        },
    )
}

fn joining(stack: &mut Stack<'_>, admin: &Kubectl<'_>, conf: &Path) -> Result<()> {
    let sandbox = stack.sandbox;
    sandbox.point(
        "without controllers a new node waits, and who has stopped is told",
        || {
            stack.kill("kube-controller-manager")?;
            let by_token = Kubectl::new(sandbox, stack.bootstrap_kubeconfig()?);
            let client = (CLIENT, client_usages(stack.release));
            let subject = "/O=system:nodes/CN=system:node:n2";
            file(sandbox, &by_token, "late", (subject, ""), client)?;
            eventually("leader-gone", 2 * SECONDS_MAX, || {
                let (fleet, _) = told(sandbox, conf, &["status"])?;
                let fault = &fleet["requests"][0]["hold"]["fault"];
                same("fault", fault.clone(), json!("leader-gone"))?;
                same(
                    "leader",
                    fleet["leaders"][0]["isAlive"].clone(),
                    json!(false),
                )
            })
        },
    )?;
    sandbox.point(
        "who may read requests alone is shown them, and told of the rest",
        || {
            let role = ["--verb=get,list", "--resource=csr"];
            let make = [&["create", "clusterrole", "looker"], &role[..]].concat();
            admin.quiet(&make)?;
            let bind = ["--clusterrole=looker", "--user=joe"];
            admin.quiet(&[&["create", "clusterrolebinding", "looker"], &bind[..]].concat())?;
            let joe = stack.kubeconfig("joe", "/CN=joe")?;
            let (fleet, code) = told(sandbox, &joe, &["status"])?;
            same("code", code, Some(0))?;
            same(
                "requests",
                fleet["requests"][0]["name"].clone(),
                json!("late"),
            )?;
            let unseen = fleet["unseen"].to_string();
            for part in ["nodes: ", "leases: ", "revocations: ", "forbidden"] {
                ensure_that!(unseen.contains(part), "{part} in {unseen}");
            }
            let (_, code) = told(sandbox, &joe, &["forecast"])?;
            same("code of forecast", code, Some(2))
        },
    )
}
