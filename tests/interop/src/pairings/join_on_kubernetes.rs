//! `everleaf token` and `everleaf agent join` on a real control plane: the token is one to
//! kube-apiserver and kube-controller-manager, and the printed line makes a machine a node, whose
//! renewal is rehearsed.

use super::Pairing;
use crate::stack::{Kubernetes, Part, Stack};
use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Answer, Certificate, Kubectl, arg, ensure_that, eventually, run, same};
use serde_json::json;
use std::fs;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver, kube-controller-manager 1.37",
    ours: "`everleaf token`, `everleaf agent join`, `agent rehearse`",
    test: Test {
        name: "everleaf_join_on_real_kubernetes",
        long: true,
        run: |sandbox| joins(&Stack::of(Kubernetes::V1_37, sandbox, PARTS)?),
    },
};

pub(crate) const OLD: Pairing = Pairing {
    real: "kube-apiserver, kube-controller-manager 1.21.5",
    ours: "`everleaf token`, `everleaf agent join`, `agent rehearse`",
    test: Test {
        name: "everleaf_join_on_old_real_kubernetes",
        long: true,
        run: |sandbox| joins(&Stack::of(Kubernetes::V1_21, sandbox, PARTS)?),
    },
};

/// kube-controller-manager approves, signs, and signs cluster-info for each token.
const PARTS: &[Part<'_>] = &[
    Part::Etcd,
    Part::KubeApiserver(&[]),
    Part::KubeControllerManager(&[]),
];
const SECONDS_MAX: u64 = 60;
const TOKEN: &str = "abcdef.0123456789abcdef";

fn joins(stack: &Stack<'_>) -> Result<Verdict> {
    let (sandbox, admin) = (stack.sandbox, stack.admin()?);
    let kubeconfig = stack.kubeconfig("admin", "/O=system:masters/CN=admin")?;
    let token = |args: &[&str]| {
        let mut command = sandbox.everleaf(&["token"]);
        run(command.args(args).args(["--kubeconfig", arg(&kubeconfig)]))
    };
    sandbox.point(
        "a cluster that names no authority is told of, and no token is made",
        || {
            let told = token(&["create", TOKEN, "--print-join-command"])?.failed_with(1)?;
            ensure_that!(
                told.contains("has no ConfigMap kube-public/cluster-info"),
                "{told}"
            );
            let absent = token(&["delete", "abcdef"])?.failed_with(1)?;
            ensure_that!(absent.contains("no token abcdef"), "{absent}");
            Ok(())
        },
    )?;
    // kubeadm's bindings, and what it publishes.
    stack.bootstrap_kubeconfig()?;
    publish(stack, &admin)?;
    sandbox.point(
        "kube-apiserver takes a token that `everleaf token create` made",
        || {
            token(&["create", TOKEN, "--ttl", "2h"])?.ok()?;
            let by_token = stack.authority()?.token("made", TOKEN, stack.port()?)?;
            let by_token = stack.kubectl(by_token)?;
            let refused = by_token.run(&["get", "secrets"])?.failed_with(1)?;
            ensure_that!(
                refused.contains("User \"system:bootstrap:abcdef\" cannot list"),
                "{refused}"
            );
            same(
                "it may make requests",
                by_token.can_i(&["create", "csr"])?,
                true,
            )
        },
    )?;
    sandbox.point("kube-controller-manager signs cluster-info for it", || {
        eventually("its signature", SECONDS_MAX, || {
            let info = admin.json(&["-n", "kube-public", "get", "configmap", "cluster-info"])?;
            ensure_that!(info["data"]["jws-kubeconfig-abcdef"].is_string(), "{info}");
            Ok(())
        })
    })?;
    sandbox.point("it is listed beside a token that others made", || {
        let list = token(&["list", "-o", "json"])?.ok()?;
        let list: serde_json::Value = serde_json::from_str(&list)?;
        let ids: Vec<_> = list
            .as_array()
            .context("no list")?
            .iter()
            .map(|t| &t["id"])
            .collect();
        same("ids", ids, vec![&json!("abcdef"), &json!("intero")])
    })?;
    by_line(stack, &token)?;
    sandbox.point("a deleted token is refused by kube-apiserver", || {
        token(&["delete", "abcdef"])?.ok()?;
        let by_token = stack.kubectl(sandbox.path("made.conf"))?;
        eventually("a refusal", SECONDS_MAX, || {
            by_token.run(&["get", "csr"])?.failed_with(1).map(drop)
        })
    })?;
    Ok(Verdict::Passed)
}

/// The machine joins by the line that is printed, and by no other.
fn by_line(stack: &Stack<'_>, token: &dyn Fn(&[&str]) -> Result<Answer>) -> Result<()> {
    let sandbox = stack.sandbox;
    sandbox.point("the printed line makes a machine a node", || {
        let line = token(&["create", "--print-join-command"])?.ok()?;
        let mut command = sandbox.everleaf(&[]);
        command.args(line.split_whitespace().skip(1));
        command.args(["--data-dir", "n1", "--hostname-override", "n1"]);
        command.args(["--node-ip", "127.0.0.1"]);
        let _agent = sandbox.start("join", &mut command)?;
        let current = sandbox.path("n1/pki/kubelet-client-current.pem");
        let certificate = eventually("its certificate", SECONDS_MAX, || {
            Certificate::read(sandbox, &current)
        })?;
        let subject = "O = system:nodes, CN = system:node:n1";
        same("subject", certificate.subject.as_str(), subject)?;
        let node = stack.kubectl(sandbox.path("n1/kubelet.conf"))?;
        let told = node.run(&["get", "secrets"])?.failed_with(1)?;
        ensure_that!(
            told.contains("User \"system:node:n1\" cannot list"),
            "{told}"
        );
        Ok(())
    })?;
    sandbox.point("its renewal is rehearsed, and no file changes", || {
        let (current, kubeconfig) = (
            sandbox.path("n1/pki/kubelet-client-current.pem"),
            sandbox.path("n1/kubelet.conf"),
        );
        let before = (fs::read(&current)?, fs::read(&kubeconfig)?);
        let mut command = sandbox.everleaf(&["agent", "rehearse", "--data-dir", "n1"]);
        let told = run(command.args(["-o", "json"]))?.ok()?;
        let told: serde_json::Value = serde_json::from_str(&told)?;
        same("would renew", told["wouldRenew"].clone(), json!(true))?;
        let steps = told["steps"].as_array().context("no steps")?;
        same("steps", steps.len(), 8)?;
        let failed = steps.iter().find(|step| step["ok"] != true);
        ensure_that!(failed.is_none(), "{failed:?}");
        let after = (fs::read(&current)?, fs::read(&kubeconfig)?);
        same("files", after, before)
    })?;
    sandbox.point("a line with another authority's hash joins nobody", || {
        let line = token(&["create", "--print-join-command"])?.ok()?;
        let other = format!("sha256:{}", "0a".repeat(32));
        let words = line.split_whitespace().skip(1);
        let words = words.map(|word| match word.starts_with("sha256:") {
            true => &other,
            false => word,
        });
        let mut command = sandbox.everleaf(&[]);
        command.args(words).args(["--data-dir", "n2"]);
        let told = run(&mut command)?.failed_with(1)?;
        ensure_that!(told.contains("none of the hashes given"), "{told}");
        ensure_that!(!sandbox.path("n2").exists(), "it has left files");
        Ok(())
    })?;
    Ok(())
}

/// What `kubeadm init phase bootstrap-token` makes for whoever is nobody yet.
fn publish(stack: &Stack<'_>, admin: &Kubectl<'_>) -> Result<()> {
    use base64::Engine as _;
    let ca = fs::read(stack.authority()?.certificate())?;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca);
    let port = stack.port()?;
    let kubeconfig = format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {ca}\n    server: https://127.0.0.1:{port}\n  name: \"\"\n\
         contexts: null\ncurrent-context: \"\"\nkind: Config\npreferences: {{}}\nusers: null\n"
    );
    let name = "kubeadm:bootstrap-signer-clusterinfo";
    let rbac = "rbac.authorization.k8s.io";
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "cluster-info", "namespace": "kube-public"},
            "data": {"kubeconfig": kubeconfig},
        },
        {
            "apiVersion": format!("{rbac}/v1"), "kind": "Role",
            "metadata": {"name": name, "namespace": "kube-public"},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["cluster-info"], "verbs": ["get"]}],
        },
        {
            "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": "kube-public"},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": "system:anonymous"}],
        },
    ]});
    let path = stack
        .sandbox
        .write("cluster-info.json", &list.to_string())?;
    admin.quiet(&["create", "-f", arg(&path)]).map(drop)
}
