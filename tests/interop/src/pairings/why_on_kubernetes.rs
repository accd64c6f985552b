//! `everleaf why` on a real control plane: what holds a request there is named, and goes when it is
//! mended as it says.

use super::Pairing;
use super::requests::{self, CLIENT, SERVING, client_usages, file, serving_usages};
use crate::stack::{Kubernetes, Part, Stack};
use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Kubectl, ensure_that, eventually, run, same};
use serde_json::Value;
use std::path::Path;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver, kube-controller-manager 1.37",
    ours: "`everleaf why`",
    test: Test {
        name: "everleaf_why_on_real_kubernetes",
        long: true,
        run: |sandbox| why(Stack::of(Kubernetes::V1_37, sandbox, PARTS)?),
    },
};

pub(crate) const OLD: Pairing = Pairing {
    real: "kube-apiserver, kube-controller-manager 1.21.5",
    ours: "`everleaf why`",
    test: Test {
        name: "everleaf_why_on_old_real_kubernetes",
        long: true,
        run: |sandbox| why(Stack::of(Kubernetes::V1_21, sandbox, PARTS)?),
    },
};

const PARTS: &[Part<'_>] = &[Part::Etcd, Part::KubeApiserver(&[])];
/// What is not late yet is no fault; with it, two cores and other stacks.
const SECONDS_MAX: u64 = 90;
const NODE: &str = "/O=system:nodes/CN=system:node:n1";

/// The faults that are named, the most important first.
fn faults(stack: &Stack<'_>, kubeconfig: &Path, subject: &str) -> Result<Vec<String>> {
    let mut command = stack.sandbox.everleaf(&["why", subject, "-o", "json"]);
    let answer = run(command.env("KUBECONFIG", kubeconfig))?;
    let diagnosis: Value = serde_json::from_str(&answer.stdout)?;
    same(
        "not seen",
        diagnosis["unseen"].clone(),
        Value::Array(Vec::new()),
    )?;
    let findings = diagnosis["findings"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    same("code", answer.code, Some(i32::from(!findings.is_empty())))?;
    let name = |finding: &Value| finding["fault"].as_str().unwrap_or_default().to_owned();
    Ok(findings.iter().map(name).collect())
}

/// Within seconds it is this one; "" for none.
fn tells(stack: &Stack<'_>, kubeconfig: &Path, subject: &str, fault: &str) -> Result<()> {
    eventually(subject, SECONDS_MAX, || {
        let named = faults(stack, kubeconfig, subject)?;
        same(subject, named.first().map_or("", String::as_str), fault)
    })
}

fn why(mut stack: Stack<'_>) -> Result<Verdict> {
    let sandbox = stack.sandbox;
    let admin = stack.admin()?;
    let conf = stack.kubeconfig("admin", "/O=system:masters/CN=admin")?;
    let by_token = Kubectl::new(sandbox, stack.bootstrap_kubeconfig()?);
    let client = (CLIENT, client_usages(stack.release));
    let request = file(sandbox, &by_token, "bootstrap", (NODE, ""), client)?;
    sandbox.point("before any controller runs: approver-absent", || {
        tells(&stack, &conf, "csr/bootstrap", "approver-absent")
    })?;
    sandbox.point(
        "with a kube-controller-manager: issued, and nothing is wrong",
        || {
            stack.add(&Part::KubeControllerManager(&["--controllers=*"]))?;
            request.issued(&admin, SECONDS_MAX)?;
            tells(&stack, &conf, "csr/bootstrap", "")
        },
    )?;
    without_the_right(&stack, &admin, &conf)?;
    serving(&mut stack, &admin, &conf)?;
    sandbox.point("the kube-controller-manager is gone: leader-gone", || {
        stack.kill("kube-controller-manager")?;
        file(sandbox, &by_token, "late", (NODE, ""), client)?;
        eventually("late", 2 * SECONDS_MAX, || {
            let named = faults(&stack, &conf, "csr/late")?;
            same(
                "csr/late",
                named.first().map_or("", String::as_str),
                "leader-gone",
            )
        })
    })?;
    Ok(Verdict::Passed)
}

fn without_the_right(stack: &Stack<'_>, admin: &Kubectl<'_>, conf: &Path) -> Result<()> {
    let sandbox = stack.sandbox;
    let client = (CLIENT, client_usages(stack.release));
    sandbox.point(
        "somebody without the right: bootstrap-group names who has it, and its command gives it",
        || {
            let joe = stack.user("joe", "/O=devs/CN=joe")?;
            admin.quiet(&[
                "create",
                "clusterrole",
                "filer",
                "--verb=create",
                "--resource=csr",
            ])?;
            admin.quiet(&[
                "create",
                "clusterrolebinding",
                "filer",
                "--clusterrole=filer",
                "--user=joe",
            ])?;
            let request = file(sandbox, &joe, "joe", (NODE, ""), client)?;
            tells(stack, conf, "csr/joe", "bootstrap-group")?;
            let role =
                "--clusterrole=system:certificates.k8s.io:certificatesigningrequests:nodeclient";
            admin.quiet(&[
                "create",
                "clusterrolebinding",
                "mended",
                role,
                "--group=devs",
            ])?;
            // The approver tries again after a while that doubles.
            request.issued(admin, SECONDS_MAX)?;
            tells(stack, conf, "csr/joe", "")
        },
    )
}

fn serving(stack: &mut Stack<'_>, admin: &Kubectl<'_>, conf: &Path) -> Result<()> {
    let sandbox = stack.sandbox;
    let authority = stack.authority()?;
    let first = requests::Filed::of(sandbox, "bootstrap");
    let kubeconfig = authority.holder("n1", &first.certificate(), &first.key(), stack.port()?)?;
    let node = stack.kubectl(kubeconfig)?;
    let object = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}"#;
    let object = sandbox.write("node.json", object)?;
    admin.quiet(&["create", "-f", everleaf_stage::arg(&object)])?;
    let usages = (SERVING, serving_usages(stack.release));
    let request = file(sandbox, &node, "serving", (NODE, "DNS:n1"), usages)?;
    sandbox.point(
        "a serving request: serving-nobody, until an approver runs beside it",
        || {
            eventually("serving", SECONDS_MAX, || {
                let named = faults(stack, conf, "csr/serving")?;
                same("csr/serving", named, vec!["serving-nobody".to_owned()])
            })?;
            stack.add(&Part::EverleafServingApprover(&[]))?;
            request.issued(admin, SECONDS_MAX)?;
            let named = faults(stack, conf, "csr/serving")?;
            ensure_that!(named.is_empty(), "{named:?}");
            let named = faults(stack, conf, "node/n1")?;
            // There is no kubelet behind this Node.
            ensure_that!(
                named.iter().all(|fault| fault.starts_with("node-")),
                "{named:?}"
            );
            Ok(())
        },
    )
}
