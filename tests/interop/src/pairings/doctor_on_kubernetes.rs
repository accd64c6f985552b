//! `everleaf doctor` on a real control plane: it finds what is true there and nothing else, and
//! names what is spoilt.

use super::Pairing;
use super::requests::{CLIENT, client_usages, file};
use crate::stack::{Kubernetes, Part, Stack};
use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Kubectl, arg, ensure_that, eventually, run, same};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver, kube-controller-manager 1.37",
    ours: "`everleaf doctor`",
    test: Test {
        name: "everleaf_doctor_on_real_kubernetes",
        long: true,
        run: |sandbox| doctor(Stack::of(Kubernetes::V1_37, sandbox, PARTS)?),
    },
};

pub(crate) const OLD: Pairing = Pairing {
    real: "kube-apiserver, kube-controller-manager 1.21.5",
    ours: "`everleaf doctor`",
    test: Test {
        name: "everleaf_doctor_on_old_real_kubernetes",
        long: true,
        run: |sandbox| doctor(Stack::of(Kubernetes::V1_21, sandbox, PARTS)?),
    },
};

const PARTS: &[Part<'_>] = &[Part::Etcd, Part::KubeApiserver(&[])];
const SECONDS_MAX: u64 = 90;
const NODE: &str = "/O=system:nodes/CN=system:node:n1";
/// True of every stack: its token has no end, and nothing but kubeadm makes cluster-info.
const TRUE_HERE: [&str; 2] = ["cluster-info-absent", "token-for-ever"];

/// Somebody who asks.
struct Asker<'a> {
    stack: &'a Stack<'a>,
    kubeconfig: PathBuf,
}

impl Asker<'_> {
    fn report(&self, args: &[&str]) -> Result<Value> {
        let mut command = self.stack.sandbox.everleaf(&["doctor", "-o", "json"]);
        let answer = run(command.args(args).env("KUBECONFIG", &self.kubeconfig))?;
        serde_json::from_str(&answer.stdout).with_context(|| answer.stdout + &answer.stderr)
    }

    /// Names of what is found, sorted, with what shows it.
    fn found(&self, args: &[&str]) -> Result<Vec<(String, Value)>> {
        let report = self.report(args)?;
        let sections = report["sections"].as_array().cloned().unwrap_or_default();
        let findings = sections.iter().flat_map(|one| one["findings"].as_array());
        let named = findings.flatten().map(|one| {
            let name = one["fault"].as_str().unwrap_or_default().to_owned();
            (name, one["evidence"].clone())
        });
        let mut named: Vec<(String, Value)> = named.collect();
        named.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(named)
    }

    /// Within seconds it is this one, of the controllers; a Lease takes its time to end.
    fn finds_of_controllers(&self, fault: &str) -> Result<()> {
        eventually(fault, 2 * SECONDS_MAX, || {
            let found = self.found(&["--section", "controllers"])?;
            let names: Vec<&str> = found.iter().map(|(name, _)| &**name).collect();
            same("findings", names, vec![fault])
        })
    }

    /// Within seconds it is what is true here anyway, and these.
    fn finds(&self, more: &[&str]) -> Result<()> {
        let mut wanted: Vec<String> = TRUE_HERE
            .iter()
            .chain(more)
            .map(ToString::to_string)
            .collect();
        wanted.sort();
        eventually("findings", SECONDS_MAX, || {
            let found = self.found(&[])?;
            let names: Vec<String> = found.iter().map(|(name, _)| name.clone()).collect();
            ensure_that!(names == wanted, "{wanted:?} were expected: {found:?}");
            Ok(())
        })
    }
}

fn doctor(mut stack: Stack<'_>) -> Result<Verdict> {
    let sandbox = stack.sandbox;
    let admin = stack.admin()?;
    let conf = stack.kubeconfig("admin", "/O=system:masters/CN=admin")?;
    let by_token = Kubectl::new(sandbox, stack.bootstrap_kubeconfig()?);
    sandbox.point("before any controller runs: controllers-absent", || {
        let asker = Asker {
            stack: &stack,
            kubeconfig: conf.clone(),
        };
        asker.finds_of_controllers("controllers-absent")
    })?;
    stack.add(&Part::KubeControllerManager(&["--controllers=*"]))?;
    let client = (CLIENT, client_usages(stack.release));
    let request = file(sandbox, &by_token, "bootstrap", (NODE, ""), client)?;
    request.issued(&admin, SECONDS_MAX)?;
    let asker = Asker {
        stack: &stack,
        kubeconfig: conf.clone(),
    };
    sandbox.point(
        "a healthy control plane: what is true there, and nothing else; all was looked at",
        || {
            asker.finds(&[])?;
            let report = asker.report(&[])?;
            let version = report["version"].as_str().unwrap_or_default();
            ensure_that!(version.starts_with("v1."), "{report}");
            Ok(())
        },
    )?;
    spoilt(&asker, &admin)?;
    stack.add(&Part::EverleafAgent("n2"))?;
    sandbox.point(
        "a node that an agent keeps there: nothing is wrong with it",
        || {
            stack.agent("n2")?.certificate()?;
            let args = ["doctor", "--node", "--data-dir", "n2"];
            eventually("nothing is wrong", SECONDS_MAX, || {
                run(&mut sandbox.everleaf(&args))?.ok().map(drop)
            })
        },
    )?;
    sandbox.point(
        "somebody who may not look: not-seen, and code 2 where nothing else is",
        || {
            let joe = stack.kubeconfig("joe", "/O=devs/CN=joe")?;
            let mut command = sandbox.everleaf(&["doctor", "--section", "nodes,rbac,tokens"]);
            let answer = run(command.env("KUBECONFIG", &joe))?;
            same("code", answer.code, Some(2))?;
            same("not seen", answer.stdout.matches("[not-seen]").count(), 3)
        },
    )?;
    stack.kill("kube-controller-manager")?;
    let asker = Asker {
        stack: &stack,
        kubeconfig: conf,
    };
    sandbox.point(
        "the kube-controller-manager is gone: controllers-gone",
        || asker.finds_of_controllers("controllers-gone"),
    )?;
    Ok(Verdict::Passed)
}

fn create(asker: &Asker<'_>, admin: &Kubectl<'_>, object: &Value) -> Result<()> {
    let file = asker
        .stack
        .sandbox
        .write("object.json", &object.to_string())?;
    admin
        .quiet(&["create", "--validate=false", "-f", arg(Path::new(&file))])
        .map(drop)
}

fn spoilt(asker: &Asker<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let sandbox = asker.stack.sandbox;
    let client = (CLIENT, client_usages(asker.stack.release));
    sandbox.point(
        "a signer that is misspelt; one requestor's denied request",
        || {
            let misspelt = ("kubernetes.io/kubelet-client", client.1);
            file(sandbox, admin, "misspelt", (NODE, ""), misspelt)?;
            let by_hand = ("kubernetes.io/kube-apiserver-client", client.1);
            file(sandbox, admin, "by-hand", ("/CN=ann", ""), by_hand)?;
            asker.finds(&["requests-for-people", "requests-misspelt"])?;
            admin.quiet(&["certificate", "deny", "by-hand"])?;
            asker.finds(&["requests-denied", "requests-misspelt"])?;
            admin.quiet(&["delete", "csr", "misspelt", "by-hand"])?;
            asker.finds(&[])
        },
    )?;
    sandbox.point("a right that is taken away, one that everybody has", || {
        const RENEWAL: &str = "kubeadm:node-autoapprove-certificate-rotation";
        const ROLE: &str = "system:certificates.k8s.io:certificatesigningrequests";
        admin.quiet(&["delete", "clusterrolebinding", RENEWAL])?;
        asker.finds(&["renewal-right-absent"])?;
        let role = format!("--clusterrole={ROLE}:selfnodeclient");
        admin.quiet(&[
            "create",
            "clusterrolebinding",
            RENEWAL,
            &role,
            "--group=system:nodes",
        ])?;
        let role = format!("--clusterrole={ROLE}:nodeclient");
        admin.quiet(&[
            "create",
            "clusterrolebinding",
            "wide",
            &role,
            "--group=system:unauthenticated",
        ])?;
        asker.finds(&["anybody-joins"])?;
        admin.quiet(&["delete", "clusterrolebinding", "wide"])?;
        asker.finds(&[])
    })?;
    later(asker, admin)
}

fn later(asker: &Asker<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let sandbox = asker.stack.sandbox;
    sandbox.point("a node that is too new for its control plane, and silent", || {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": {
            "nodeInfo": {"kubeletVersion": "v1.99.0", "architecture": "", "bootID": "", "containerRuntimeVersion": "",
                "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": ""},
            "conditions": [{"type": "Ready", "status": "Unknown", "message": "stopped posting"}],
        }});
        create(asker, admin, &node)?;
        let newer = match asker.stack.release {
            Kubernetes::V1_37 => "versions-kubelet-newer",
            // Older than 1.25: it would never answer such a kubelet.
            _ => "versions-usages",
        };
        asker.finds(&["node-silent", newer])?;
        admin.quiet(&["delete", "node", "n1"])?;
        asker.finds(&[])
    })?;
    sandbox.point("a revocation, which no kube-apiserver heeds", || {
        let map = [
            "-n",
            "kube-system",
            "create",
            "configmap",
            "everleaf-revocations",
        ];
        admin.quiet(&[&map[..], &["--from-literal=serial.AB={}"]].concat())?;
        asker.finds(&["revocation-list-absent", "revocations-unenforced"])?;
        admin.quiet(&[
            "-n",
            "kube-system",
            "delete",
            "configmap",
            "everleaf-revocations",
        ])?;
        asker.finds(&[])
    })
}
