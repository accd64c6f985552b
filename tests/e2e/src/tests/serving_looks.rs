//! Policies that look outside the API server's own lists: at DNS, at the certificate that a kubelet
//! shows, at an inventory in a ConfigMap.

use super::serving_approval::{Approver, has_condition, policy};
use anyhow::{Context, Result};
use base64::Engine;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Kubectl, Process, Sandbox, Up, arg, ensure_that, eventually, free_port, host_address,
};
use serde_json::json;
use std::net::{SocketAddr, UdpSocket};

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "a_policy_that_asks_dns_believes_what_it_says",
        long: false,
        run: asks_dns,
    },
    Test {
        name: "a_present_certificate_stands_in_for_an_inventory_in_a_configmap",
        long: true,
        run: renews,
    },
];

/// `n1` is at 10.1.0.1; there is no `absent`, and nobody can tell about `failing`.
fn reply(query: &[u8]) -> Option<Vec<u8>> {
    let length = usize::from(*query.get(12)?);
    let label = query.get(13..13 + length)?;
    let end = 12 + query.get(12..)?.iter().position(|byte| *byte == 0)? + 5;
    let is_v4 = query.get(end - 4..end - 2)? == [0, 1];
    let (code, has_answer) = match label {
        b"absent" => (3, false),
        b"failing" => (2, false),
        _ => (0, is_v4),
    };
    let mut reply = query.get(..2)?.to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(has_answer), 0, 0, 0, 0]);
    reply.extend(query.get(12..end)?);
    if has_answer {
        // The name of the question; type A, class IN, a minute, four bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 0, 1]);
    }
    Some(reply)
}

/// A DNS server that lives as long as the suite.
fn name_server() -> Result<SocketAddr> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    std::thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let query = bytes.get(..length).unwrap_or_default();
            let _ = reply(query).map(|reply| socket.send_to(&reply, from));
        }
    });
    Ok(address)
}

fn asks_dns(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node", "--serving-approval=false"])?;
    let server = name_server()?;
    let keys = format!("  san: {{dns_resolution: {{enabled: true, servers: [\"{server}\"]}}}}\n");
    let file = sandbox.write("policy.yaml", &policy("dns", &keys))?;
    let approver = Approver::start(sandbox, &up, &file)?;
    let addresses = [
        ("Hostname", "n1"),
        ("InternalDNS", "absent.example"),
        ("InternalDNS", "failing.example"),
        ("InternalIP", "10.1.0.1"),
        ("InternalIP", "10.1.0.2"),
    ];
    approver.node.has(&addresses)?;
    let files = |name: &str, names: &str| -> Result<()> {
        let names = format!("subjectAltName={names}");
        approver.node.files(&[approver.node.request(name, &names)?])
    };
    let denied = "Denied/EverleafPolicyDenied";
    sandbox.point("a name that leads to the address is approved", || {
        files("own", "DNS:n1,IP:10.1.0.1")?;
        has_condition(&approver.admin, "own", "Approved/", "policy \"dns\"")
    })?;
    sandbox.point("an address to which no name leads is denied", || {
        files("other", "DNS:n1,IP:10.1.0.2")?;
        let message = "rule S19 dns_resolution: no name that it asks for leads to 10.1.0.2";
        has_condition(&approver.admin, "other", denied, message)
    })?;
    sandbox.point("so is a name that does not exist", || {
        files("absent", "DNS:n1,DNS:absent.example,IP:10.1.0.1")?;
        let message = "rule S19 dns_resolution: DNS knows no \"absent.example\" (NXDOMAIN)";
        has_condition(&approver.admin, "absent", denied, message)
    })?;
    sandbox.point(
        "one that a server fails to tell waits, and an Event says so",
        || {
            files("failing", "DNS:failing.example,IP:10.1.0.1")?;
            eventually("its Event", 15, || {
                let told = approver
                    .admin
                    .run(&["events", "--for", "csr/failing"])?
                    .stdout;
                let waits = told.contains("CSRWaiting") && told.contains("SERVFAIL");
                ensure_that!(waits, "{told}");
                Ok(())
            })
        },
    )?;
    Ok(Verdict::Passed)
}

/// Puts this inventory into the ConfigMap that the policy names.
fn write_inventory(sandbox: &Sandbox, admin: &Kubectl<'_>, text: &str) -> Result<()> {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "namespace": "default", "name": "nodes" }, "data": { "inventory.yaml": text },
    });
    let file = sandbox.write("inventory.json", &map.to_string())?;
    admin
        .quiet(&["apply", "--validate=false", "-f", arg(&file)])
        .map(drop)
}

fn renews(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node", "--serving-approval=false"])?;
    let (address, port) = (host_address()?.to_string(), free_port()?);
    let admin = up.admin();
    write_inventory(sandbox, &admin, &format!("n1: [{address}]\n"))?;
    let keys = format!(
        "  inventory: {{kind: configmap, ref: default/nodes}}\n  renewal: {{enabled: true, ca_file: {}, ports: [{port}]}}\n",
        up.path("pki/ca.crt").display()
    );
    let file = sandbox.write("policy.yaml", &policy("fleet", &keys))?;
    let approver = Approver::start(sandbox, &up, &file)?;
    approver
        .node
        .has(&[("InternalIP", &address), ("InternalIP", "10.1.0.9")])?;
    let endpoint =
        json!({ "status": { "daemonEndpoints": { "kubeletEndpoint": { "Port": port } } } });
    let patch = [
        "patch",
        "node",
        "n1",
        "--subresource=status",
        "--type=merge",
        "-p",
    ];
    admin.quiet(&[&patch[..], &[&endpoint.to_string()]].concat())?;
    let becomes = |name: &str, further: &str, kind: &str, message: &str| -> Result<()> {
        let names = format!("subjectAltName=DNS:n1,IP:{address}{further}");
        approver
            .node
            .files(&[approver.node.request(name, &names)?])?;
        has_condition(&admin, name, kind, message)
    };
    let denied = "Denied/EverleafPolicyDenied";
    let unknown = "rule S18 inventory: the inventory does not know the node \"n1\"; the kubelet";
    sandbox.point("what the inventory has is approved", || {
        becomes("first", "", "Approved/", "policy \"fleet\"")
    })?;
    sandbox.point("a node that is taken out of it is denied", || {
        write_inventory(sandbox, &admin, "n2: []\n")?;
        approver.logs("ConfigMap default/nodes", 2)?;
        becomes(
            "gone",
            "",
            denied,
            &format!("{unknown} could not be dialled"),
        )
    })?;
    let _kubelet = serve(sandbox, &admin, &format!("{address}:{port}"))?;
    sandbox.point("what its kubelet shows it may renew, and no more", || {
        becomes("renewal", "", "Approved/", "policy \"fleet\"")?;
        let other = format!("{unknown}'s present certificate is not for the same node");
        becomes("more", ",IP:10.1.0.9", denied, &other)
    })?;
    sandbox.point(
        "an inventory that cannot be read leaves the last one in force",
        || {
            write_inventory(sandbox, &admin, "[\n")?;
            approver.logs("cannot be used, and what was read before stays in use", 1)?;
            let other = format!("{unknown}'s present certificate is not for the same node");
            becomes("later", ",IP:10.1.0.9", denied, &other)
        },
    )?;
    Ok(Verdict::Passed)
}

/// A server with the first certificate, in a kubelet's place.
fn serve(sandbox: &Sandbox, admin: &Kubectl<'_>, at: &str) -> Result<Process> {
    let certificate = eventually("the certificate", 15, || {
        let request = admin.json(&["get", "csr", "first"])?;
        let text = request["status"]["certificate"].as_str().map(str::to_owned);
        text.context("none yet")
    })?;
    let pem = base64::engine::general_purpose::STANDARD.decode(certificate)?;
    let file = sandbox.write("first.crt", &String::from_utf8(pem)?)?;
    let key = sandbox.path("first.key");
    let mut command = sandbox.command(&sandbox.tools.openssl);
    command.args([
        "s_server",
        "-quiet",
        "-accept",
        at,
        "-cert",
        arg(&file),
        "-key",
        arg(&key),
    ]);
    let server = sandbox.start("kubelet", &mut command)?;
    eventually("the server", 10, || {
        std::net::TcpStream::connect(at)
            .map(drop)
            .context("not there yet")
    })?;
    Ok(server)
}
