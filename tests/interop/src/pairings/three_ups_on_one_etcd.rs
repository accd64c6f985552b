//! Three `everleaf up` on one real etcd: one CA, controllers of which one server's run at a time,
//! and certificates that are issued on when that server is killed.

use super::Pairing;
use super::requests::{CLIENT, CLIENT_USAGES as USAGES};
use crate::stack::{Part, Stack};
use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Kubectl, Process, Sandbox, arg, ensure_that, eventually, free_port, object, run as run_command,
    same,
};
use serde_json::json;
use std::fs;
use std::time::Duration;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "etcd 3.7",
    ours: "three `everleaf up --etcd-servers`",
    test: Test {
        name: "three_ups_on_one_etcd",
        long: true,
        run,
    },
};

/// Certificates before and after the leader is killed.
const CERTIFICATES: usize = 50;
/// Nodes that ask for them: one that asks again and again is made to wait.
const NODES: usize = 10;
/// Longest until they are issued; a lease that nobody gave back is waited out for 15 seconds.
const SECONDS_MAX: u64 = 50;
/// How long etcd stands still: longer than a leader holds its lease without it.
const OUTAGE: Duration = Duration::from_secs(12);
/// What servers of one cluster have in common, as the refusal says.
const SHARED: [&str; 4] = [
    "pki/ca.crt",
    "pki/ca.key",
    "pki/sa.key",
    "pki/front-proxy-ca.crt",
];

/// One of the servers.
struct Up<'a> {
    name: &'static str,
    port: u16,
    process: Process,
    admin: Kubectl<'a>,
}

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let mut stack = Stack::start(sandbox, &[Part::Etcd])?;
    let servers = stack.etcd_servers()?;
    let mut ups = vec![up(sandbox, &servers, "up-1")?];
    answers(&ups[0])?;
    sandbox.point(
        "one with a CA of its own is refused, and told what to copy",
        || refused(sandbox, &servers),
    )?;
    sandbox.point(
        "with these files two more start at the same moment, and each has its node",
        || {
            share(sandbox)?;
            ups.push(up(sandbox, &servers, "up-2")?);
            ups.push(up(sandbox, &servers, "up-3")?);
            ups.iter().try_for_each(answers)?;
            eventually("the nodes have their certificates", SECONDS_MAX, || {
                ups.iter().try_for_each(|one| has_node(sandbox, one))
            })
        },
    )?;
    sandbox.point(
        "50 requests through all three are issued by the controllers of one",
        || {
            issued(sandbox, &ups, "first", CERTIFICATES)?;
            same("servers that have issued", issuers(sandbox).len(), 1)
        },
    )?;
    sandbox.point(
        "a certificate that is revoked at one is refused by all within 5 seconds",
        || revoked(sandbox, &ups, "first-0"),
    )?;
    sandbox.point("a roll of the CA is refused", || {
        let admin = sandbox.path("up-2/admin.conf");
        let mut roll = sandbox.everleaf(&["ca", "roll", "start", "--kubeconfig", arg(&admin)]);
        let told = run_command(&mut roll)?.failed_with(1)?;
        ensure_that!(told.contains("which other servers may share"), "{told}");
        Ok(())
    })?;
    let leader = issuers(sandbox).pop().context("nobody has issued")?;
    sandbox.point(
        "when that one is killed, the controllers of another issue 50 more",
        || {
            let place = ups.iter().position(|one| one.name == leader);
            let mut killed = ups.swap_remove(place.context("the leader is none of the three")?);
            killed.process.kill();
            issued(sandbox, &ups, "second", CERTIFICATES)?;
            same("servers that have issued", issuers(sandbox).len(), 2)
        },
    )?;
    sandbox.point(
        "without etcd they are not ready and serve nothing as the present; with it they go on by themselves",
        || outage(sandbox, &mut stack, &mut ups),
    )?;
    Ok(Verdict::Passed)
}

fn refused(sandbox: &Sandbox, servers: &str) -> Result<()> {
    let mut process = start(sandbox, servers, "up-2", free_port()?)?;
    let code = process.exit_code(Duration::from_secs(SECONDS_MAX))?;
    ensure_that!(code != 0, "it ended as if all were well");
    let told = process.stderr();
    ensure_that!(told.contains("has another CA"), "{told}");
    for file in SHARED {
        ensure_that!(told.contains(file), "nothing of {file}: {told}");
    }
    Ok(())
}

/// Does as the refusal says, where there is a directory and where there is none.
fn share(sandbox: &Sandbox) -> Result<()> {
    for name in ["up-2", "up-3"] {
        fs::create_dir_all(sandbox.path(name).join("pki"))?;
        for file in SHARED {
            let from = sandbox.path("up-1").join(file);
            fs::copy(&from, sandbox.path(name).join(file))
                .with_context(|| from.display().to_string())?;
        }
    }
    Ok(())
}

fn start(sandbox: &Sandbox, servers: &str, name: &str, port: u16) -> Result<Process> {
    let listen = format!("127.0.0.1:{port}");
    let node = name.replace("up", "node");
    let mut command = sandbox.everleaf(&["up", "--data-dir", name, "--listen", &listen]);
    command.args(["--node-name", &node, servers]);
    sandbox.start(name, &mut command)
}

fn up<'a>(sandbox: &'a Sandbox, servers: &str, name: &'static str) -> Result<Up<'a>> {
    let port = free_port()?;
    Ok(Up {
        name,
        port,
        process: start(sandbox, servers, name, port)?,
        admin: Kubectl::new(sandbox, sandbox.path(name).join("admin.conf")),
    })
}

fn answers(up: &Up<'_>) -> Result<()> {
    eventually("it is ready", SECONDS_MAX, || {
        let answer = up
            .admin
            .quiet(&["get", "--raw", "/readyz", "--request-timeout=5s"])?;
        same("/readyz", answer.trim(), "ok")
    })
}

fn has_node(sandbox: &Sandbox, up: &Up<'_>) -> Result<()> {
    let current = "node/pki/kubelet-client-current.pem";
    ensure_that!(
        sandbox.path(up.name).join(current).exists(),
        "the node of {} has no certificate",
        up.name
    );
    Ok(())
}

/// Servers whose controllers have issued: whoever leads opens the issuance log.
fn issuers(sandbox: &Sandbox) -> Vec<&'static str> {
    let names = ["up-1", "up-2", "up-3"].into_iter();
    names
        .filter(|name| sandbox.path(name).join("issuance-log").exists())
        .collect()
}

/// So many requests of [`NODES`], filed with the bootstrap tokens of all servers in turn; all have
/// a certificate, wherever one looks.
fn issued(sandbox: &Sandbox, ups: &[Up<'_>], turn: &str, number: usize) -> Result<()> {
    let key = sandbox.path("key.pem");
    if !key.exists() {
        let curve = "ec_paramgen_curve:P-256";
        let make = ["genpkey", "-algorithm", "EC", "-pkeyopt", curve, "-out"];
        sandbox.openssl(&[&make[..], &[arg(&key)]].concat())?.ok()?;
    }
    let mut requests = Vec::new();
    for node in 0..number.min(NODES) {
        let request = sandbox.path(&format!("{turn}-{node}.csr"));
        let subject = format!("/O=system:nodes/CN=system:node:{turn}-{node}");
        let ask = ["req", "-new", "-key", arg(&key), "-subj", &subject, "-out"];
        let made = sandbox.openssl(&[&ask[..], &[arg(&request)]].concat())?;
        made.ok()?;
        requests.push(fs::read(&request).context("openssl wrote no request")?);
    }
    let request = |number: usize| {
        let pem = &requests[number % requests.len()];
        object(&format!("{turn}-{number}"), pem, CLIENT, USAGES)
    };
    for (place, up) in ups.iter().enumerate() {
        let items = (place..number).step_by(ups.len());
        let items = items.map(request).collect::<Vec<_>>();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        let file = sandbox.write(&format!("{turn}-{place}.json"), &list.to_string())?;
        let by = sandbox.path(up.name).join("bootstrap-kubelet.conf");
        let create = ["create", "--validate=false", "-f", arg(&file)];
        Kubectl::new(sandbox, by).quiet(&create)?;
    }
    let prefix = format!("{turn}-");
    for up in ups {
        eventually("all have a certificate", SECONDS_MAX, || {
            let all = up.admin.json(&["get", "csr", "-o", "json"])?;
            let all = all["items"].as_array().cloned().unwrap_or_default();
            let issued = all.iter().filter(|one| {
                let name = one["metadata"]["name"].as_str().unwrap_or_default();
                name.starts_with(&prefix) && one["status"]["certificate"].is_string()
            });
            same("certificates", issued.count(), number)
        })?;
    }
    Ok(())
}

/// A node that every server knows, until one of them is told that it is not to be believed.
fn revoked(sandbox: &Sandbox, ups: &[Up<'_>], name: &str) -> Result<()> {
    let get = ["get", "csr", name, "-o", "jsonpath={.status.certificate}"];
    let certificate = ups[0].admin.quiet(&get)?;
    let mut nodes = Vec::new();
    for up in ups {
        let node = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{}', certificate-authority: {}}}}}]\n\
             users: [{{name: c, user: {{client-certificate-data: {}, client-key: {}}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: c}}}}]\n",
            up.port,
            sandbox.path("up-1/pki/ca.crt").display(),
            certificate.trim(),
            sandbox.path("key.pem").display(),
        );
        let node = sandbox.write(&format!("revoked-at-{}.conf", up.name), &node)?;
        nodes.push(Kubectl::new(sandbox, node));
    }
    let whoami = ["auth", "whoami"];
    for node in &nodes {
        node.quiet(&whoami)?;
    }
    let admin = sandbox.path(ups[1].name).join("admin.conf");
    let target = format!("node/{name}");
    let mut command = sandbox.everleaf(&["ca", "revoke", &target, "--yes", "--kubeconfig"]);
    run_command(command.arg(&admin))?.ok()?;
    for node in &nodes {
        eventually("it is refused", 5, || {
            let told = node.run(&whoami)?.failed_with(1)?;
            ensure_that!(
                told.contains("logged in") || told.contains("Unauthorized"),
                "{told}"
            );
            Ok(())
        })?;
    }
    Ok(())
}

/// etcd stands still for longer than a lease is held without it.
fn outage(sandbox: &Sandbox, stack: &mut Stack<'_>, ups: &mut [Up<'_>]) -> Result<()> {
    stack.part("etcd")?.pause()?;
    let began = everleaf_stage::runner::now();
    for up in ups.iter() {
        eventually("it is not ready", SECONDS_MAX, || {
            let ready = ["get", "--raw", "/readyz", "--request-timeout=5s"];
            ensure_that!(up.admin.run(&ready)?.code != Some(0), "it is ready");
            Ok(())
        })?;
        let read = up.admin.run(&["get", "csr", "--request-timeout=8s"])?;
        ensure_that!(read.code != Some(0), "it serves what may be old");
    }
    std::thread::sleep(OUTAGE.saturating_sub(began.elapsed()));
    stack.part("etcd")?.resume()?;
    ups.iter().try_for_each(answers)?;
    issued(sandbox, ups, "third", 5)?;
    for up in ups {
        ensure_that!(up.process.is_running(), "{} has ended", up.name);
    }
    Ok(())
}
