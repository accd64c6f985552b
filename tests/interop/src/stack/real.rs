//! The real programs as parts.

use super::{Kubernetes, START_SECONDS_MAX, Stack, last_lines, peer};
use anyhow::{Result, bail};
use everleaf_stage::{arg, eventually, free_port};
use std::path::PathBuf;
use std::process::Command;

/// The controllers of kube-controller-manager that have to do with certificates and bootstrap.
const CONTROLLERS: &str =
    "csrapproving,csrsigning,csrcleaner,root-ca-cert-publisher,bootstrapsigner,tokencleaner";

pub(super) fn etcd(stack: &mut Stack<'_>, flags: &[&str]) -> Result<()> {
    let (client, other) = (free_port()?, free_port()?);
    let (client_url, peer_url) = (
        format!("http://127.0.0.1:{client}"),
        format!("http://127.0.0.1:{other}"),
    );
    let mut command = stack.sandbox.command(&peer("ETCD")?);
    command.args([
        "--name",
        "stack",
        "--data-dir",
        "etcd",
        "--log-level",
        "warn",
    ]);
    command.args(flags);
    command.args([
        "--listen-client-urls",
        &client_url,
        "--advertise-client-urls",
        &client_url,
    ]);
    command.args([
        "--listen-peer-urls",
        &peer_url,
        "--initial-advertise-peer-urls",
        &peer_url,
    ]);
    command.args(["--initial-cluster", &format!("stack={peer_url}")]);
    let process = stack.sandbox.start("etcd", &mut command)?;
    stack.parts.push(("etcd", process));
    stack.etcd_port = Some(client);
    eventually("etcd answers", START_SECONDS_MAX, || {
        everleaf_stage::http_get(&format!("127.0.0.1:{client}"), "/health").map(|_| ())
    })
}

/// Makes etcd forget every revision but the present one, as a kube-apiserver does with those of
/// more than five minutes ago.
pub(super) fn compact(stack: &Stack<'_>) -> Result<()> {
    let Some(port) = stack.etcd_port else {
        bail!("no etcd in this stack");
    };
    let address = format!("127.0.0.1:{port}");
    let answer = everleaf_stage::http_post(&address, "/v3/kv/range", r#"{"key":"YQ=="}"#)?;
    let revision = answer.split_once(r#""revision":""#).map(|(_, rest)| rest);
    let Some((revision, _)) = revision.and_then(|rest| rest.split_once('"')) else {
        bail!("etcd names no revision: {answer}");
    };
    let body = format!(r#"{{"revision":"{revision}","physical":true}}"#);
    everleaf_stage::http_post(&address, "/v3/kv/compaction", &body).map(|_| ())
}

pub(super) fn kube_apiserver(stack: &mut Stack<'_>, flags: &[&str]) -> Result<()> {
    let Some(etcd) = stack.etcd_port else {
        bail!("a kube-apiserver needs an etcd before it");
    };
    // Started again it keeps its port, as its clients expect.
    let port = stack.port.map_or_else(free_port, Ok)?;
    stack.port = Some(port);
    let sandbox = stack.sandbox;
    let authority = stack.authority_or_new()?;
    let file = |name: &str| authority.path(name);
    let files: [(&str, PathBuf); 6] = [
        ("--client-ca-file", authority.certificate().to_owned()),
        ("--tls-cert-file", file("apiserver.crt")),
        ("--tls-private-key-file", file("apiserver.key")),
        ("--service-account-key-file", file("sa.pub")),
        ("--service-account-signing-key-file", file("sa.key")),
        ("--cert-dir", file("kube-apiserver")),
    ];
    let mut command = sandbox.command(&stack.release.peer("KUBE_APISERVER")?);
    for (flag, path) in files {
        command.arg(format!("{flag}={}", path.display()));
    }
    command.arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"));
    command.arg(format!("--secure-port={port}"));
    command.args([
        "--bind-address=127.0.0.1",
        // No Endpoints for a loopback address.
        "--endpoint-reconciler-type=none",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--enable-bootstrap-token-auth",
    ]);
    command.args(flags);
    let process = sandbox.start("kube-apiserver", &mut command)?;
    stack.parts.push(("kube-apiserver", process));
    stack.wait_for_server("kube-apiserver")
}

pub(super) fn kube_controller_manager(stack: &mut Stack<'_>, flags: &[&str]) -> Result<()> {
    let port = free_port()?;
    let user = "system:kube-controller-manager";
    let kubeconfig = stack.kubeconfig("kube-controller-manager", &format!("/CN={user}"))?;
    let kubeconfig = kubeconfig.display();
    let authority = stack.authority()?;
    authority.serving("controller-manager")?;
    let (certificate, key) = (authority.certificate().display(), authority.key().display());
    let mut command: Command = stack
        .sandbox
        .command(&stack.release.peer("KUBE_CONTROLLER_MANAGER")?);
    for flag in [
        "--kubeconfig",
        "--authentication-kubeconfig",
        "--authorization-kubeconfig",
    ] {
        command.arg(format!("{flag}={kubeconfig}"));
    }
    command.arg(format!("--controllers={CONTROLLERS}"));
    command.arg(format!("--cluster-signing-cert-file={certificate}"));
    command.arg(format!("--cluster-signing-key-file={key}"));
    command.arg(format!("--root-ca-file={certificate}"));
    command.arg(format!("--secure-port={port}"));
    command.args([
        "--bind-address=127.0.0.1",
        "--use-service-account-credentials=true",
        "-v=2",
    ]);
    command.arg(flag(
        "--tls-cert-file",
        &authority.path("controller-manager.crt"),
    ));
    command.arg(flag(
        "--tls-private-key-file",
        &authority.path("controller-manager.key"),
    ));
    if stack.release == Kubernetes::V1_21 {
        // Else it listens without TLS, too, and always on the same port.
        command.arg("--port=0");
    }
    command.args(flags);
    let process = stack
        .sandbox
        .start("kube-controller-manager", &mut command)?;
    stack.parts.push(("kube-controller-manager", process));
    let admin = stack.admin()?;
    let server = format!("--server=https://127.0.0.1:{port}");
    eventually("kube-controller-manager answers", START_SECONDS_MAX, || {
        let process = stack.part("kube-controller-manager")?;
        if !process.is_running() {
            bail!("it ended: {}", last_lines(&process.stderr()));
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
        let answer = admin.run(&[&server, "get", "--raw", "/healthz"])?;
        everleaf_stage::same("/healthz", answer.stdout.trim(), "ok")
    })
}

/// A path as a flag's value.
pub(super) fn flag(name: &str, path: &std::path::Path) -> String {
    format!("{name}={}", arg(path))
}
