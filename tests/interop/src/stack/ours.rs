//! Everleaf's programs as parts.

use super::real::flag;
use super::{Authority, Stack};
use anyhow::{Context, Result};
use everleaf_stage::{Agent, arg, free_port};

/// `up` on an empty directory; its CA becomes the stack's.
pub(super) fn up(stack: &mut Stack<'_>, flags: &[&str]) -> Result<()> {
    let port = stack.port.map_or_else(free_port, Ok)?;
    stack.port = Some(port);
    let listen = format!("127.0.0.1:{port}");
    let mut args = vec!["up", "--data-dir", "data", "--no-node", "--listen", &listen];
    args.extend(flags);
    let sandbox = stack.sandbox;
    let process = sandbox.start("up", &mut sandbox.everleaf(&args))?;
    stack.parts.push(("up", process));
    let data = sandbox.path("data");
    everleaf_stage::eventually("everleaf up makes its CA", 20, || {
        anyhow::ensure!(data.join("admin.conf").exists(), "no admin.conf yet");
        Ok(())
    })?;
    stack.authority = Some(Authority::of_data_dir(sandbox, &data));
    stack.wait_for_server("up")
}

/// `apiserver` with files as kube-apiserver's.
pub(super) fn apiserver(stack: &mut Stack<'_>, flags: &[&str]) -> Result<()> {
    let port = stack.port.map_or_else(free_port, Ok)?;
    stack.port = Some(port);
    let sandbox = stack.sandbox;
    let authority = stack.authority_or_new()?;
    let mut command = sandbox.everleaf(&[
        "apiserver",
        "--data-dir",
        "data",
        "--bind-address",
        "127.0.0.1",
    ]);
    command.arg(flag("--client-ca-file", authority.certificate()));
    command.arg(flag("--tls-cert-file", &authority.path("apiserver.crt")));
    command.arg(flag(
        "--tls-private-key-file",
        &authority.path("apiserver.key"),
    ));
    command.arg(flag(
        "--service-account-signing-key-file",
        &authority.path("sa.key"),
    ));
    command.arg(format!("--secure-port={port}"));
    command.arg("--enable-bootstrap-token-auth");
    command.args(flags);
    let process = sandbox.start("apiserver", &mut command)?;
    stack.parts.push(("apiserver", process));
    stack.wait_for_server("apiserver")
}

/// What an operator reads about the rights of the controllers.
const CONTROLLERS_DOCUMENT: &str = include_str!("../../../../docs/controllers.md");

/// `controllers`, as a user who has the documented rights and no others.
pub(super) fn controllers(stack: &mut Stack<'_>, flags: &[&str]) -> Result<()> {
    let kubeconfig = stack.kubeconfig("controllers", "/CN=everleaf-controllers")?;
    let sandbox = stack.sandbox;
    let bindings = sandbox.path("controllers-rbac.yaml");
    if !bindings.exists() {
        let block = CONTROLLERS_DOCUMENT.split("```yaml\n").nth(1);
        let yaml = block.and_then(|block| block.split("```").next());
        let yaml = yaml.context("docs/controllers.md has no block of YAML")?;
        sandbox.write("controllers-rbac.yaml", yaml)?;
        let admin = stack.admin()?;
        admin.quiet(&["create", "--validate=false", "-f", arg(&bindings)])?;
    }
    let authority = stack.authority()?;
    let mut command = sandbox.everleaf(&["controllers"]);
    command.arg(flag("--kubeconfig", &kubeconfig));
    command.arg(flag("--cluster-signing-cert-file", authority.certificate()));
    command.arg(flag("--cluster-signing-key-file", authority.key()));
    command.args(flags);
    let process = sandbox.start("controllers", &mut command)?;
    stack.parts.push(("controllers", process));
    Ok(())
}

/// What the approver of serving requests does, and nothing else: read requests, write their
/// approval, know Nodes, Services and where the API server is, leave Events, hold its Lease and say
/// there that it leads.
const SERVING_RIGHTS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: serving-approver}
rules:
- {apiGroups: [certificates.k8s.io], resources: [certificatesigningrequests], verbs: [get, list, watch]}
- {apiGroups: [certificates.k8s.io], resources: [certificatesigningrequests/approval], verbs: [update]}
- apiGroups: [certificates.k8s.io]
  resources: [signers]
  resourceNames: [kubernetes.io/kubelet-serving]
  verbs: [approve]
- {apiGroups: [''], resources: [nodes, services], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: serving-approver, namespace: default}
rules:
- {apiGroups: [''], resources: [endpoints], verbs: [list, watch]}
- {apiGroups: [''], resources: [events], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: serving-approver, namespace: kube-system}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}
- {apiGroups: [''], resources: [events], verbs: [create]}
";

/// `controllers --controllers=kubelet-serving-approver`, as a user with these rights and no others.
pub(super) fn serving_approver(stack: &mut Stack<'_>, flags: &[&str]) -> Result<()> {
    let kubeconfig = stack.kubeconfig("serving-approver", "/CN=serving-approver")?;
    let sandbox = stack.sandbox;
    let rights = sandbox.path("serving-rights.yaml");
    if !rights.exists() {
        sandbox.write("serving-rights.yaml", SERVING_RIGHTS)?;
        let admin = stack.admin()?;
        admin.quiet(&["create", "--validate=false", "-f", arg(&rights)])?;
        let user = "--user=serving-approver";
        let role = "--clusterrole=serving-approver";
        admin.quiet(&[
            "create",
            "clusterrolebinding",
            "serving-approver",
            role,
            user,
        ])?;
        for namespace in ["default", "kube-system"] {
            let bind = ["create", "rolebinding", "serving-approver", "-n", namespace];
            let whom = ["--role=serving-approver", user];
            admin.quiet(&[&bind[..], &whom].concat())?;
        }
    }
    let mut command = sandbox.everleaf(&["controllers", "--controllers=kubelet-serving-approver"]);
    command.arg(flag("--kubeconfig", &kubeconfig));
    command.args(flags);
    let process = sandbox.start("serving-approver", &mut command)?;
    stack.parts.push(("serving-approver", process));
    Ok(())
}

/// `agent` with rotation of both certificates.
pub(super) fn agent(stack: &mut Stack<'_>, node: &str) -> Result<()> {
    let mut agent = Agent::bootstrapped_by(stack.sandbox, stack.bootstrap_kubeconfig()?, node);
    agent.args.push("--rotate-server-certificates".to_owned());
    agent.args.push("--node-ip=127.0.0.1".to_owned());
    agent.start()?;
    stack.agents.push(agent);
    Ok(())
}
