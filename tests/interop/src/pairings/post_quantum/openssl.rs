//! OpenSSL 3.5.

use super::fleet::{Cluster, Kind, Node};
use super::{WHO_AM_I, says};
use crate::stack::peer;
use anyhow::{Context, Result, ensure};
use everleaf_stage::{Answer, arg, eventually, free_port, host_address, run, run_fed};
use std::path::Path;
use std::process::Command;

fn openssl(cluster: &Cluster<'_>, args: &[&str]) -> Result<Command> {
    let mut command = cluster.sandbox.command(&peer("OPENSSL_35")?);
    command.args(args);
    Ok(command)
}

/// How OpenSSL names a kind of key.
fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::P256 => "id-ecPublicKey",
        other => other.flag(),
    }
}

pub(super) fn chains(cluster: &Cluster<'_>) -> Result<()> {
    let (own, other) = (cluster.authority(), cluster.other_authority()?);
    for node in &cluster.nodes {
        let mut certificates = vec![("sslclient", node.client())];
        let serves = node.endpoint.is_some();
        certificates.extend(serves.then(|| ("sslserver", node.serving())));
        for (purpose, chain) in certificates {
            let verify = |authority: &Path| {
                let args = ["verify", "-x509_strict", "-purpose", purpose, "-CAfile"];
                let mut command = openssl(cluster, &args)?;
                run(command.arg(authority).arg(&chain))
            };
            says(&verify(&own)?.ok()?, ": OK")?;
            says(&verify(&other)?.failed_with(2)?, "verification failed")?;
            let args = ["x509", "-noout", "-text", "-in", arg(&chain)];
            let text = run(&mut openssl(cluster, &args)?)?.ok()?;
            says(&text, &format!("Public Key Algorithm: {}", name(node.kind)))?;
        }
    }
    Ok(())
}

pub(super) fn requests(cluster: &Cluster<'_>) -> Result<()> {
    let mut told = Vec::new();
    for (_, file) in cluster.requests()? {
        let args = ["req", "-verify", "-noout", "-text", "-in", arg(&file)];
        let answer = run(&mut openssl(cluster, &args)?)?;
        let said = format!("{}{}", answer.stdout, answer.stderr);
        says(&said, "self-signature verify OK")?;
        told.push(answer.ok()?);
    }
    for node in &cluster.nodes {
        let holder = format!("CN=system:node:{}\n", node.agent.name);
        let mut found = 0;
        for text in told.iter().filter(|text| text.contains(&holder)) {
            says(text, &format!("Public Key Algorithm: {}", name(node.kind)))?;
            found += 1;
        }
        let wanted = 1 + usize::from(node.endpoint.is_some());
        ensure!(found == wanted, "{found} requests of {holder}");
    }
    Ok(())
}

pub(super) fn asks(cluster: &Cluster<'_>) -> Result<()> {
    let make = |set: Kind, node: &str| {
        let subject = format!("/O=system:nodes/CN=system:node:{node}");
        let (key, request) = (format!("{node}.key"), format!("{node}.csr"));
        let args = ["req", "-new", "-nodes", "-newkey", set.flag()];
        let mut command = openssl(cluster, &args)?;
        command.args(["-subj", &subject, "-keyout", &key, "-out", &request]);
        run(&mut command)?.ok()?;
        Ok(())
    };
    let call = |credential: &Path| {
        let (path, body) = WHO_AM_I;
        let answer = ask(cluster, &cluster.address, credential, path, Some(body))?;
        session(&answer, cluster.kind)?;
        answer.ok()
    };
    super::asks(cluster, "openssl", make, call)
}

pub(super) fn calls(cluster: &Cluster<'_>) -> Result<()> {
    let (path, body) = WHO_AM_I;
    let server = server(cluster)?;
    let endpoint = server.endpoint.as_deref().unwrap_or_default();
    for node in &cluster.nodes {
        let answer = ask(cluster, &cluster.address, &node.client(), path, Some(body))?;
        session(&answer, cluster.kind)?;
        let user = format!("\"username\":\"system:node:{}\"", node.agent.name);
        says(&answer.ok()?, &user)?;
        // Only those see it whose certificate is believed.
        let answer = ask(cluster, endpoint, &node.client(), "/metrics", None)?;
        session(&answer, server.kind)?;
        says(&answer.ok()?, "# HELP ")?;
    }
    Ok(())
}

fn server<'c, 'a>(cluster: &'c Cluster<'a>) -> Result<&'c Node<'a>> {
    let mut nodes = cluster.nodes.iter();
    let found = nodes.find(|node| node.endpoint.is_some());
    found.context("no node serves")
}

/// Sends a request of HTTP over a session that OpenSSL makes with a client certificate.
fn ask(
    cluster: &Cluster<'_>,
    address: &str,
    credential: &Path,
    path: &str,
    body: Option<&str>,
) -> Result<Answer> {
    let (host, _) = address.split_once(':').context("no port")?;
    let method = body.map_or("GET", |_| "POST");
    let body = body.unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let authority = cluster.authority();
    let args = ["s_client", "-tls1_3", "-ign_eof", "-verify_return_error"];
    let mut command = openssl(cluster, &args)?;
    command.args(["-connect", address, "-verify_ip", host]);
    command.args(["-CAfile", arg(&authority), "-cert", arg(credential)]);
    command.args(["-key", arg(credential)]);
    let input = cluster.sandbox.write("request.http", &request)?;
    run_fed(&mut command, std::fs::File::open(input)?.into())
}

/// Whether the session was one of TLS 1.3 with hybrid key exchange, and the server's key of that
/// kind.
fn session(answer: &Answer, server: Kind) -> Result<()> {
    let signature = match server {
        Kind::P256 => "ecdsa_secp256r1_sha256",
        Kind::MlDsa44 => "mldsa44",
        Kind::MlDsa65 => "mldsa65",
        Kind::MlDsa87 => "mldsa87",
    };
    says(&answer.stdout, &format!("Peer signature type: {signature}"))?;
    says(&answer.stdout, "Negotiated TLS1.3 group: X25519MLKEM768")?;
    says(&answer.stdout, "Verify return code: 0 (ok)")
}

pub(super) fn serves(cluster: &Cluster<'_>) -> Result<()> {
    let own = server(cluster)?.serving();
    let address = format!("{}:{}", host_address()?, free_port()?);
    let authority = cluster.authority();
    let mut command = openssl(cluster, &["s_server", "-tls1_3", "-www"])?;
    command.args(["-accept", &address, "-Verify", "2", "-verify_return_error"]);
    command.args(["-CAfile", arg(&authority), "-cert", arg(&own)]);
    command.args(["-key", arg(&own)]);
    let process = cluster.sandbox.start("s_server", &mut command)?;
    for node in &cluster.nodes {
        let conf = cluster.elsewhere(node, &format!("https://{address}"))?;
        let seen = format!(
            "depth=0 O=system:nodes, CN=system:node:{}\nverify return:1",
            node.agent.name
        );
        eventually("OpenSSL's server has seen the node", 15, || {
            let args = ["status", "--kubeconfig", arg(&conf)];
            run(&mut cluster.sandbox.everleaf(&args))?.failed_with(2)?;
            says(&process.stderr(), &seen)
        })?;
    }
    Ok(())
}
