//! Go 1.27.

use super::fleet::{Cluster, Kind};
use super::{WHO_AM_I, says};
use crate::stack::peer;
use anyhow::{Context, Result, ensure};
use everleaf_stage::{arg, eventually, free_port, host_address, run};
use std::path::Path;
use std::process::Command;

const SESSION: &str = "TLS 1.3, X25519MLKEM768";

fn pqcheck(cluster: &Cluster<'_>, args: &[&str]) -> Result<Command> {
    let mut command = cluster.sandbox.command(&peer("PQCHECK")?);
    command.args(args);
    Ok(command)
}

/// What Go says of a chain.
pub(super) fn verify(cluster: &Cluster<'_>, purpose: &str, chain: &Path) -> Result<String> {
    let authority = cluster.authority();
    let args = ["verify", arg(&authority), purpose, arg(chain)];
    run(&mut pqcheck(cluster, &args)?)?.ok()
}

pub(super) fn chains(cluster: &Cluster<'_>) -> Result<()> {
    let other = cluster.other_authority()?;
    for node in &cluster.nodes {
        let mut certificates = vec![("client", node.client())];
        certificates.extend(node.endpoint.is_some().then(|| ("server", node.serving())));
        for (purpose, chain) in certificates {
            let key = format!("CN=system:node:{}", node.agent.name);
            let said = verify(cluster, purpose, &chain)?;
            says(&said, &key)?;
            says(&said, &format!("a key of {}, signed by", node.kind))?;
            if cluster.kind != Kind::P256 {
                says(&said, &format!("signed by {}", cluster.kind))?;
            }
            let args = ["verify", arg(&other), purpose, arg(&chain)];
            let said = run(&mut pqcheck(cluster, &args)?)?.failed_with(1)?;
            says(&said, "certificate signed by unknown authority")?;
        }
    }
    Ok(())
}

pub(super) fn requests(cluster: &Cluster<'_>) -> Result<()> {
    let requests = cluster.requests()?;
    for node in &cluster.nodes {
        let holder = format!("CN=system:node:{},", node.agent.name);
        let mut found = 0;
        for (_, file) in &requests {
            let said = run(&mut pqcheck(cluster, &["request", arg(file)])?)?.ok()?;
            if said.contains(&holder) {
                says(&said, &format!("a key of {}, signed by", node.kind))?;
                found += 1;
            }
        }
        let wanted = 1 + usize::from(node.endpoint.is_some());
        ensure!(found == wanted, "{} requests of {holder}", found);
    }
    Ok(())
}

pub(super) fn asks(cluster: &Cluster<'_>) -> Result<()> {
    let make = |set: Kind, node: &str| {
        let here = cluster.sandbox.path("");
        run(&mut pqcheck(
            cluster,
            &["new", set.flag(), node, arg(&here)],
        )?)?
        .ok()?;
        Ok(())
    };
    super::asks(cluster, "go", make, |credential| who(cluster, credential))
}

/// What the API server answers to the holder of a certificate; the session is looked at, too.
fn who(cluster: &Cluster<'_>, credential: &Path) -> Result<String> {
    let (path, body) = WHO_AM_I;
    let url = format!("{}{path}", cluster.url);
    let authority = cluster.authority();
    let args = ["call", &url, arg(&authority), arg(credential), body];
    let answer = run(&mut pqcheck(cluster, &args)?)?;
    says(
        &answer.stderr,
        &format!("server with a key of {}, {SESSION}", cluster.kind),
    )?;
    answer.ok()
}

pub(super) fn calls(cluster: &Cluster<'_>) -> Result<()> {
    for node in &cluster.nodes {
        let user = format!("\"username\":\"system:node:{}\"", node.agent.name);
        says(&who(cluster, &node.client())?, &user)?;
    }
    let server = cluster.nodes.iter().find(|node| node.endpoint.is_some());
    let server = server.context("no node serves")?;
    let endpoint = server.endpoint.as_deref().unwrap_or_default();
    // Only those see it whose certificate is believed.
    let url = format!("https://{endpoint}/metrics");
    let authority = cluster.authority();
    for node in &cluster.nodes {
        let client = node.client();
        let args = ["call", &url, arg(&authority), arg(&client)];
        let answer = run(&mut pqcheck(cluster, &args)?)?;
        let key = format!("server with a key of {}, {SESSION}", server.kind);
        says(&answer.stderr, &key)?;
        says(&answer.ok()?, "# HELP ")?;
    }
    Ok(())
}

pub(super) fn serves(cluster: &Cluster<'_>) -> Result<()> {
    let server = cluster.nodes.iter().find(|node| node.endpoint.is_some());
    let server = server.context("no node serves")?;
    let address = format!("{}:{}", host_address()?, free_port()?);
    let (authority, own) = (cluster.authority(), server.serving());
    let args = ["serve", &address, arg(&authority), arg(&own)];
    let process = cluster
        .sandbox
        .start("pqcheck", &mut pqcheck(cluster, &args)?)?;
    for node in &cluster.nodes {
        let conf = cluster.elsewhere(node, &format!("https://{address}"))?;
        let seen = format!(
            "CN=system:node:{},O=system:nodes, a key of {}, {SESSION}",
            node.agent.name, node.kind
        );
        eventually("Go's server has seen the node", 15, || {
            let args = ["status", "--kubeconfig", arg(&conf)];
            run(&mut cluster.sandbox.everleaf(&args))?.failed_with(2)?;
            says(&process.stdout(), &seen)
        })?;
    }
    Ok(())
}
