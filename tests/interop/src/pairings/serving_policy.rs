//! `everleaf controllers --controllers=kubelet-serving-approver`: beside a full
//! kube-controller-manager, with its own Lease and the rights for this alone; and what it makes of
//! requests, on whatever control plane.

use super::Pairing;
use super::requests::{self, Filed, SERVING, serving_usages};
use crate::stack::{Kubernetes, Part, Stack};
use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Kubectl, arg, ensure_that, eventually, object, same};
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver, kube-controller-manager 1.37 (all its controllers)",
    ours: "`everleaf controllers --controllers=kubelet-serving-approver`",
    test: Test {
        name: "everleaf_approves_serving_requests_beside_kube_controller_manager",
        long: true,
        run: |sandbox| run(Stack::of(Kubernetes::V1_37, sandbox, PARTS)?),
    },
};

pub(crate) const OLD: Pairing = Pairing {
    real: "kube-apiserver, kube-controller-manager 1.21.5 (all its controllers)",
    ours: "`everleaf controllers --controllers=kubelet-serving-approver`",
    test: Test {
        name: "everleaf_approves_serving_requests_beside_old_kube_controller_manager",
        long: true,
        run: |sandbox| run(Stack::of(Kubernetes::V1_21, sandbox, PARTS)?),
    },
};

const PARTS: &[Part<'_>] = &[
    Part::Etcd,
    Part::KubeApiserver(&[]),
    Part::KubeControllerManager(&["--controllers=*"]),
    Part::EverleafServingApprover(TALKATIVE),
];
/// Says what was refused, too.
const TALKATIVE: &[&str] = &["--v=4"];
/// Longest that a verdict and a signature may take here: two cores, and other stacks beside it.
const SECONDS_MAX: u64 = 20;
/// The others wait for so long after a leader that did not say farewell, and some for a busy
/// machine.
const TAKEOVER_SECONDS_MAX: u64 = 15 + 5 + 10;
const APPROVED: &str = "Approved/EverleafPolicyApproved: Auto approving kubelet serving certificate: \
                        policy \"default\", all rules passed.";

fn run(mut stack: Stack<'_>) -> Result<Verdict> {
    let sandbox = stack.sandbox;
    let admin = stack.admin()?;
    sandbox.point("each leads by a Lease of its own, with no flag", || {
        let ours = holder(&admin, "everleaf-kubelet-serving-approver")?;
        let real = holder(&admin, "kube-controller-manager")?;
        ensure_that!(ours != real, "{ours} holds both");
        Ok(())
    })?;
    let node = sandbox.point(
        "kube-controller-manager approves and signs a node's client request",
        || {
            let by = Kubectl::new(sandbox, stack.bootstrap_kubeconfig()?);
            let request = requests::file(
                sandbox,
                &by,
                "bootstrap",
                ("/O=system:nodes/CN=system:node:n1", ""),
                (requests::CLIENT, requests::client_usages(stack.release)),
            )?;
            request.issued(&admin, SECONDS_MAX)?;
            let authority = stack.authority()?;
            let kubeconfig =
                authority.holder("n1", &request.certificate(), &request.key(), stack.port()?)?;
            stack.kubectl(kubeconfig)
        },
    )?;
    judges(&stack, &admin, &node)?;
    sandbox.point(
        "killed and started again, it decides what was filed meanwhile",
        || {
            stack.kill("serving-approver")?;
            let request = serving(&stack, &node, "meanwhile", "DNS:n1,IP:10.1.0.1")?;
            std::thread::sleep(Duration::from_secs(2));
            same("its state", request.state(&admin)?, Vec::new())?;
            stack.add(&Part::EverleafServingApprover(TALKATIVE))?;
            request.issued(&admin, TAKEOVER_SECONDS_MAX)?;
            is(&request, &admin, &[APPROVED, "issued"])
        },
    )?;
    sandbox.point(
        "its rights were enough: nothing that it asked for was refused",
        || {
            let log = stack.part("serving-approver")?.stderr();
            let refused = log.lines().find(|line| line.contains("orbidden"));
            ensure_that!(refused.is_none(), "{refused:?}");
            Ok(())
        },
    )?;
    Ok(Verdict::Passed)
}

fn holder(admin: &Kubectl<'_>, lease: &str) -> Result<String> {
    eventually(lease, SECONDS_MAX, || {
        let lease = admin.json(&["-n", "kube-system", "get", "lease", lease])?;
        let holder = lease["spec"]["holderIdentity"].as_str();
        let holder = holder.filter(|holder| !holder.is_empty());
        Ok(holder.context("nobody holds it")?.to_owned())
    })
}

/// What is asked for, and the rule that denies it.
const ATTACKS: &[(&str, &str, &str)] = &[
    ("a3", "DNS:kubernetes.default.svc", "S11"),
    ("a4", "IP:10.96.0.1", "S12"),
    ("a4-mapped", "IP:::ffff:10.96.0.1", "S12"),
    ("a4-nat64", "IP:64:ff9b::10.96.0.1", "S12"),
    ("a4-service", "IP:10.96.0.10", "S12"),
    ("a5", "IP:10.1.0.2", "S16"),
    ("a5-name", "DNS:n2", "S16"),
    ("a8", "DNS:*.example.org", "S11"),
    ("a9", "DNS:10.1.0.1", "S11"),
    ("a9-nul", "DER:30:09:82:07:6e:31:00:65:76:69:6c", "S11"),
    ("a11", "URI:spiffe://x/y,DNS:n1", "S9"),
    ("a11-email", "email:a@example.org,DNS:n1", "S9"),
    ("a29", "IP:169.254.169.254", "S12"),
    ("loopback", "IP:::1", "S12"),
];

/// What requests of the real node n1 come to. Its Node is made here, and one that lies.
pub(super) fn judges(stack: &Stack<'_>, admin: &Kubectl<'_>, node: &Kubectl<'_>) -> Result<()> {
    let sandbox = stack.sandbox;
    sandbox.point(
        "a serving request waits for its Node, then it is approved by policy",
        || {
            let request = serving(stack, node, "benign", "DNS:n1,IP:10.1.0.1")?;
            std::thread::sleep(Duration::from_secs(2));
            is(&request, admin, &[])?;
            make_node(stack, admin, "n1", &["10.1.0.1"])?;
            request.issued(admin, SECONDS_MAX)?;
            is(&request, admin, &[APPROVED, "issued"])
        },
    )?;
    sandbox.point(
        "Events say what it waited for, and that it was approved",
        || {
            eventually("its Events", SECONDS_MAX, || {
                let told = events(admin, "benign")?;
                for words in [
                    "CSRWaiting",
                    "rule S13 node",
                    "CSRApproved",
                    "all rules passed",
                ] {
                    ensure_that!(told.contains(words), "no {words:?} in Events: {told:?}");
                }
                Ok(())
            })
        },
    )?;
    sandbox.point(
        "hostile ones are denied, each by the rule that it breaks, whatever the Node says",
        || hostile(stack, admin, node),
    )?;
    sandbox.point("one for another signer is left alone", || {
        let usages: &[&str] = &["digital signature", "client auth"];
        let request = requests::file(
            sandbox,
            node,
            "a16",
            ("/O=system:nodes/CN=system:node:n1", "DNS:n1"),
            ("kubernetes.io/kube-apiserver-client", usages),
        )?;
        std::thread::sleep(Duration::from_secs(2));
        is(&request, admin, &[])
    })
}

fn hostile(stack: &Stack<'_>, admin: &Kubectl<'_>, node: &Kubectl<'_>) -> Result<()> {
    let sandbox = stack.sandbox;
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "dns", "namespace": "kube-system" },
        "spec": { "clusterIP": "10.96.0.10", "ports": [{ "port": 53 }] },
    });
    let service = sandbox.write("service.json", &service.to_string())?;
    admin.quiet(&["create", "--validate=false", "-f", arg(&service)])?;
    make_node(stack, admin, "n2", &["10.1.0.2"])?;
    let lies = [
        "10.1.0.1",
        "10.96.0.1",
        "10.96.0.10",
        "10.1.0.2",
        "127.0.0.1",
        "169.254.169.254",
    ];
    report(stack, admin, "n1", &lies)?;
    let mut filed = Vec::new();
    for (name, names, rule) in ATTACKS {
        filed.push((serving(stack, node, name, names)?, *rule));
    }
    filed.extend(odd(stack, node)?);
    for (request, rule) in &filed {
        denied(request, admin, rule)?;
    }
    Ok(())
}

/// A serving request of n1.
fn serving<'a>(
    stack: &Stack<'a>,
    node: &Kubectl<'_>,
    name: &str,
    names: &str,
) -> Result<Filed<'a>> {
    let subject = ("/O=system:nodes/CN=system:node:n1", names);
    let kind = (SERVING, serving_usages(stack.release));
    requests::file(stack.sandbox, node, name, subject, kind)
}

/// Requests that are odd in other ways than by a name, with the rules that deny them.
fn odd<'a>(stack: &Stack<'a>, node: &Kubectl<'_>) -> Result<Vec<(Filed<'a>, &'static str)>> {
    let sandbox = stack.sandbox;
    let usual = serving_usages(stack.release);
    let with_client = [usual, &["client auth"]].concat();
    let own = "/O=system:nodes/CN=system:node:n1";
    let mut filed = Vec::new();
    for (name, subject, usages, rule) in [
        (
            "a12",
            "/O=system:nodes/O=system:masters/CN=system:node:n1",
            usual,
            "S7",
        ),
        (
            "a13",
            "/O=system:nodes/CN=system:node:n2/CN=system:node:n1",
            usual,
            "S7",
        ),
        ("a14", own, &with_client, "S8"),
    ] {
        let request = requests::file(sandbox, node, name, (subject, "DNS:n1"), (SERVING, usages))?;
        filed.push((request, rule));
    }
    // The first block is a request that is good.
    let mut two = fs::read(sandbox.path("benign.csr"))?;
    two.extend(fs::read(sandbox.path("a5.csr"))?);
    let mut long = object(
        "a17",
        &fs::read(sandbox.path("benign.csr"))?,
        SERVING,
        usual,
    );
    long["spec"]["expirationSeconds"] = json!(i32::MAX);
    let mut objects = vec![("a24", object("a24", &two, SERVING, usual), "S3")];
    // 1.21 drops the field, which it does not know.
    if stack.release > Kubernetes::V1_21 {
        objects.push(("a17", long, "S21"));
    }
    for (name, object, rule) in objects {
        let file = sandbox.write(&format!("{name}.json"), &object.to_string())?;
        node.quiet(&["create", "--validate=false", "-f", arg(&file)])?;
        filed.push((Filed::of(sandbox, name), rule));
    }
    Ok(filed)
}

pub(super) fn make_node(
    stack: &Stack<'_>,
    admin: &Kubectl<'_>,
    name: &str,
    addresses: &[&str],
) -> Result<()> {
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
    let file = format!("node-{name}.json");
    let file = stack.sandbox.write(&file, &node.to_string())?;
    admin.quiet(&["create", "--validate=false", "-f", arg(&file)])?;
    report(stack, admin, name, addresses)
}

/// What a kubelet writes into the status of its Node.
fn report(stack: &Stack<'_>, admin: &Kubectl<'_>, name: &str, addresses: &[&str]) -> Result<()> {
    let addresses = addresses.iter();
    let mut all: Vec<Value> = addresses
        .map(|address| json!({ "type": "InternalIP", "address": address }))
        .collect();
    all.push(json!({ "type": "Hostname", "address": name }));
    // kubectl 1.21 patches no subresource. Controllers write to the Node, too.
    eventually("its status is written", SECONDS_MAX, || {
        let mut node = admin.json(&["get", "node", name])?;
        node["status"]["addresses"] = Value::Array(all.clone());
        let file = format!("status-{name}.json");
        let file = stack.sandbox.write(&file, &node.to_string())?;
        let path = format!("/api/v1/nodes/{name}/status");
        admin.quiet(&["replace", "--raw", &path, "-f", arg(&file)])?;
        Ok(())
    })
}

fn is(request: &Filed<'_>, admin: &Kubectl<'_>, wanted: &[&str]) -> Result<()> {
    let wanted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
    eventually(&request.name, SECONDS_MAX, || {
        same("its state", request.state(admin)?, wanted.clone())
    })
}

fn denied(request: &Filed<'_>, admin: &Kubectl<'_>, rule: &str) -> Result<()> {
    eventually(&request.name, SECONDS_MAX, || {
        let state = request.state(admin)?;
        let wanted = format!("Denied/EverleafPolicyDenied: policy \"default\", rule {rule} ");
        let is_it = state.len() == 1 && state[0].starts_with(&wanted);
        ensure_that!(is_it, "its state is {state:?}, not {wanted}");
        Ok(())
    })
}

/// `reason: message` of the Events about a request.
fn events(admin: &Kubectl<'_>, request: &str) -> Result<String> {
    let list = admin.json(&["-n", "default", "get", "events"])?;
    let all = list["items"].as_array().into_iter().flatten();
    let of_it = all.filter(|event| event["involvedObject"]["name"] == request);
    let lines: Vec<String> = of_it
        .map(|event| format!("{}: {}", event["reason"], event["message"]))
        .collect();
    Ok(lines.join("\n"))
}
