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
        let yaml = CONTROLLERS_DOCUMENT.split("```").nth(1);
        let yaml = yaml.and_then(|block| block.strip_prefix("yaml\n"));
        let yaml =
            yaml.context("docs/controllers.md begins with another block than its bindings")?;
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

/// `agent` with rotation of both certificates.
pub(super) fn agent(stack: &mut Stack<'_>, node: &str) -> Result<()> {
    let mut agent = Agent::bootstrapped_by(stack.sandbox, stack.bootstrap_kubeconfig()?, node);
    agent.args.push("--rotate-server-certificates".to_owned());
    agent.args.push("--node-ip=127.0.0.1".to_owned());
    agent.start()?;
    stack.agents.push(agent);
    Ok(())
}
