//! One etcd, served by Everleaf and by a real kube-apiserver in turn, and by both at once: the same
//! objects, the same resource versions, and nodes that notice nothing.

use super::Pairing;
use super::requests::{CLIENT, CLIENT_USAGES, file};
use crate::stack::{Part, Stack};
use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Kubectl, Process, Sandbox, arg, ensure_that, eventually, free_port, run as run_command, same,
};
use serde_json::Value;
use std::time::Duration;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "etcd 3.7, kube-apiserver 1.37, kube-controller-manager 1.37",
    ours: "`everleaf apiserver --etcd-servers`, `everleaf controllers`, `everleaf agent`",
    test: Test {
        name: "one_etcd_for_everleaf_and_real_kubernetes",
        long: true,
        run,
    },
};

/// Longest that a controller may take here: two cores, and other stacks beside it.
const SECONDS_MAX: u64 = 30;
/// kube-apiserver's in these stacks.
const ISSUER: &str = "--service-account-issuer=https://kubernetes.default.svc";
/// What is compared: in a namespace that is made here, and all signing requests.
const COMPARED: [&[&str]; 5] = [
    &["csr"],
    &["namespace", "shared"],
    &["-n", "shared", "secrets"],
    &["-n", "shared", "configmaps"],
    &["-n", "shared", "roles,rolebindings,serviceaccounts"],
];

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let mut stack = Stack::start(sandbox, &[Part::Etcd])?;
    let servers = stack.etcd_servers()?;
    let flags = [servers.as_str(), ISSUER];
    stack.add(&Part::EverleafApiserver(&flags))?;
    stack.add(&Part::EverleafControllers(&[]))?;
    let admin = stack.admin()?;
    sandbox.point(
        "a node gets its certificate with the objects in etcd",
        || {
            stack.add(&Part::EverleafAgent("n1"))?;
            issued(&stack, &admin, "on-everleaf")?;
            write(&admin)
        },
    )?;
    let node = identity(&mut stack)?;
    let before = seen(&admin)?;
    sandbox.point(
        "kube-apiserver on the same etcd serves the same objects",
        || {
            // The controllers end by the signal, when they have given back their lease.
            let _ = stack.stop("controllers");
            stack.stop("apiserver")?;
            stack.add(&Part::KubeApiserver(&[]))?;
            compare(&before, &seen(&admin)?)
        },
    )?;
    sandbox.point(
        "kube-controller-manager issues there, and the node keeps its identity",
        || {
            stack.add(&Part::KubeControllerManager(&[]))?;
            issued(&stack, &admin, "on-kubernetes")?;
            admin.quiet(&[
                "-n",
                "shared",
                "create",
                "deployment",
                "foreign",
                "--image=none",
            ])?;
            goes_on(&mut stack, &node)
        },
    )?;
    back(&mut stack, &admin, &node)?;
    Ok(Verdict::Passed)
}

/// Everleaf again on what Kubernetes left, alone and beside another; then Kubernetes once more.
fn back(stack: &mut Stack<'_>, admin: &Kubectl<'_>, node: &str) -> Result<()> {
    let sandbox = stack.sandbox;
    let servers = stack.etcd_servers()?;
    let flags = [servers.as_str(), ISSUER];
    let (before, foreign) = (seen(admin)?, deployment(admin)?);
    sandbox.point("Everleaf serves what Kubernetes wrote", || {
        let _ = stack.stop("kube-controller-manager");
        let _ = stack.stop("kube-apiserver");
        stack.add(&Part::EverleafApiserver(&flags))?;
        compare(&before, &seen(admin)?)
    })?;
    sandbox.point(
        "its controllers issue again, and the node keeps its identity",
        || {
            stack.add(&Part::EverleafControllers(&[]))?;
            issued(stack, admin, "on-everleaf-again")?;
            goes_on(stack, node)
        },
    )?;
    sandbox.point(
        "two servers of ours on one etcd: each shows at once what the other wrote",
        || beside(stack, admin),
    )?;
    sandbox.point(
        "of three servers, two started at once, each refuses a revoked node, and cuts its watches within 5 seconds",
        || revoked(stack, admin),
    )?;
    sandbox.point(
        "it is not ready without etcd, says so, and comes back by itself",
        || outage(stack, admin),
    )?;
    sandbox.point("what it does not know is as it was", || {
        let _ = stack.stop("controllers");
        stack.stop("apiserver")?;
        stack.add(&Part::KubeApiserver(&[]))?;
        same("the Deployment", deployment(admin)?, foreign)
    })?;
    Ok(())
}

/// A bootstrap request, filed, approved and signed by whoever runs.
fn issued(stack: &Stack<'_>, admin: &Kubectl<'_>, name: &str) -> Result<()> {
    let by = Kubectl::new(stack.sandbox, stack.bootstrap_kubeconfig()?);
    let subject = format!("/O=system:nodes/CN=system:node:{name}");
    let usages = (CLIENT, CLIENT_USAGES);
    let request = file(stack.sandbox, &by, name, (&subject, ""), usages)?;
    request.issued(admin, SECONDS_MAX).map(drop)
}

/// One object of several kinds, written, some written again, one deleted.
fn write(admin: &Kubectl<'_>) -> Result<()> {
    admin.quiet(&["create", "namespace", "shared"])?;
    let create = |args: &[&str]| admin.quiet(&[&["-n", "shared", "create"], args].concat());
    create(&["secret", "generic", "s", "--from-literal=a=b"])?;
    create(&["configmap", "c", "--from-literal=a=b"])?;
    create(&["configmap", "gone", "--from-literal=a=b"])?;
    create(&["role", "r", "--verb=get", "--resource=pods"])?;
    create(&["rolebinding", "b", "--role=r", "--user=u"])?;
    create(&["serviceaccount", "a"])?;
    admin.quiet(&["-n", "shared", "label", "configmap", "c", "again=yes"])?;
    admin.quiet(&["-n", "shared", "delete", "configmap", "gone"])?;
    Ok(())
}

/// The objects that are compared, as a client gets them. What the server in front publishes by
/// itself into each namespace is left out.
fn seen(admin: &Kubectl<'_>) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for what in COMPARED {
        let mut found = admin.json(&[&["get", "-o", "json"], what].concat())?;
        match found["items"].as_array_mut() {
            Some(items) => all.append(items),
            None => all.push(found),
        }
    }
    all.retain(|object| object["metadata"]["name"] != "kube-root-ca.crt");
    Ok(all)
}

fn compare(before: &[Value], after: &[Value]) -> Result<()> {
    let name = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
    let names = |all: &[Value]| all.iter().map(name).collect::<Vec<_>>();
    same("the objects", names(after), names(before))?;
    for (before, after) in before.iter().zip(after) {
        same(&name(before), after, before)?;
    }
    Ok(())
}

/// The requests that the agent has made for itself.
fn identity(stack: &mut Stack<'_>) -> Result<String> {
    let agent = stack.agent("n1")?;
    eventually("the agent has its certificate", SECONDS_MAX, || {
        agent.certificate().map(|certificate| certificate.serial)
    })
}

/// The same certificate, and the server believes it.
fn goes_on(stack: &mut Stack<'_>, serial: &str) -> Result<()> {
    same("the certificate", identity(stack)?.as_str(), serial)?;
    let by = stack.agent("n1")?.kubectl();
    let whoami = by.quiet(&[
        "auth",
        "whoami",
        "-o",
        "jsonpath={.status.userInfo.username}",
    ])?;
    same("the node", whoami.trim(), "system:node:n1")
}

fn deployment(admin: &Kubectl<'_>) -> Result<Value> {
    admin.json(&["-n", "shared", "get", "deployment", "foreign", "-o", "json"])
}

/// Another server, with a data directory of its own; how kubectl is led to it.
fn another(stack: &Stack<'_>, name: &str) -> Result<(Process, String)> {
    let (sandbox, authority, port) = (stack.sandbox, stack.authority()?, free_port()?);
    let bind = [
        "apiserver",
        "--data-dir",
        name,
        "--bind-address",
        "127.0.0.1",
    ];
    let mut command = sandbox.everleaf(&bind);
    command.args([stack.etcd_servers()?, format!("--secure-port={port}")]);
    for (flag, path) in [
        ("--client-ca-file", authority.certificate().to_owned()),
        ("--tls-cert-file", authority.path("apiserver.crt")),
        ("--tls-private-key-file", authority.path("apiserver.key")),
    ] {
        command.arg(format!("{flag}={}", path.display()));
    }
    let process = sandbox.start(name, &mut command)?;
    Ok((process, format!("--server=https://127.0.0.1:{port}")))
}

/// A node that watches at three servers, and is revoked at one of them.
fn revoked(stack: &mut Stack<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let sandbox = stack.sandbox;
    let (_second, second) = another(stack, "server-2")?;
    let (_third, third) = another(stack, "server-3")?;
    for there in [&second, &third] {
        eventually("it answers", SECONDS_MAX, || {
            admin.quiet(&[there, "get", "csr"])
        })?;
    }
    let servers: [&[&str]; 3] = [&[], &[&second], &[&third]];
    let kubeconfig = stack.kubeconfig("revoker", "/O=system:masters/CN=revoker")?;
    let node = stack.agent("n1")?.kubectl();
    let mut watches = Vec::new();
    for server in servers {
        node.quiet(&[server, &["get", "csr"]].concat())?;
        let watch = ["get", "csr", "--watch-only"];
        watches.push(node.start("watch", &[server, &watch].concat())?);
    }
    // Until they are there.
    std::thread::sleep(Duration::from_secs(2));
    let is_open = |watches: &mut Vec<Process>| watches.iter_mut().all(Process::is_running);
    ensure_that!(is_open(&mut watches), "a watch ended by itself");
    let mut command = sandbox.everleaf(&["ca", "revoke", "node/n1", "--yes"]);
    command.args(["--kubeconfig", arg(&kubeconfig)]);
    run_command(&mut command)?.ok()?;
    eventually("all watches are cut within 5 seconds", 5, || {
        let open = watches.iter_mut().map(Process::is_running);
        same(
            "watches that are open",
            open.filter(|open| *open).count(),
            0,
        )
    })?;
    for server in servers {
        let told = node
            .run(&[server, &["get", "csr"]].concat())?
            .failed_with(1)?;
        ensure_that!(
            told.contains("logged in") || told.contains("Unauthorized"),
            "{told}"
        );
    }
    Ok(())
}

/// A second server for a while.
fn beside(stack: &Stack<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let (_second, there) = another(stack, "second")?;
    let get = |server: &[&str]| {
        let what = [
            "-n",
            "shared",
            "get",
            "configmap",
            "c",
            "-o",
            "jsonpath={.data.a}",
        ];
        admin.quiet(&[server, &what].concat())
    };
    eventually("the second server answers", SECONDS_MAX, || get(&[&there]))?;
    for turn in 0..20 {
        let patch = format!(r#"{{"data":{{"a":"{turn}"}}}}"#);
        let patch = ["-n", "shared", "patch", "configmap", "c", "-p", &patch];
        // In turns, without waiting: a read is never older than what was acknowledged before it.
        let (write, read): (&[&str], &[&str]) = match turn % 2 {
            0 => (&[], &[&there]),
            _ => (&[&there], &[]),
        };
        admin.quiet(&[write, &patch].concat())?;
        same(
            "read from the other",
            get(read)?.trim(),
            turn.to_string().as_str(),
        )?;
    }
    Ok(())
}

/// etcd ends, and comes back with what it had.
fn outage(stack: &mut Stack<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let _ = stack.stop("controllers");
    stack.part("etcd")?.pause()?;
    let ready = || admin.run(&["get", "--raw", "/readyz", "--request-timeout=5s"]);
    eventually("it is not ready", SECONDS_MAX, || {
        let answer = ready()?;
        ensure_that!(answer.code != Some(0), "it is ready");
        Ok(())
    })?;
    let read = admin.run(&["get", "csr", "--request-timeout=25s"])?;
    ensure_that!(read.code != Some(0), "it serves what may be old");
    stack.part("etcd")?.resume()?;
    eventually("it is ready again", SECONDS_MAX, || {
        let answer = ready()?;
        same("/readyz", answer.stdout.trim(), "ok")
    })?;
    // Whoever led without being able to renew his lease has ended, as he should.
    stack.add(&Part::EverleafControllers(&[]))?;
    issued(stack, admin, "after-outage")
}
