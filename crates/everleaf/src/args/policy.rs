//! `everleaf policy`.

use super::OutputFormat;
use clap::{Args, Subcommand};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

/// What to do with a policy.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Judge requests from files, and show what every rule found
    Test(PolicyTestArgs),
}

/// Flags of `policy test`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl get csr csr-abcde -o yaml > csr.yaml; kubectl get nodes,services -A -o yaml > cluster.yaml\n  everleaf policy test --csr csr.yaml --node cluster.yaml                    # the built-in policy\n  everleaf policy test -f policy.yaml --csr csr.yaml --node cluster.yaml -o json\n\nThe rules are those of `everleaf controllers`. Exit code 0: every request would be approved; 1: one would not; 2: they could not be judged."
)]
pub(crate) struct PolicyTestArgs {
    /// Policy file; without it, the policy that holds where there is none
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Certificate signing requests, as kubectl prints them (YAML or JSON, also a list); `-` for
    /// stdin
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) csr: Vec<PathBuf>,
    /// Nodes of the cluster, and any Services, Endpoints and ConfigMaps (inventories) that matter
    #[arg(long, value_name = "FILE")]
    pub(crate) node: Vec<PathBuf>,
    /// Address from which the requests are made, where the API server is everleaf's own
    #[arg(long, value_name = "IP")]
    pub(crate) origin: Option<IpAddr>,
    /// What DNS says of a name, for a policy that asks it (rule S19); without addresses: there is
    /// no such name. Repeat it for every name
    #[arg(long, value_name = "NAME=[IP[,IP...]]", value_parser = dns_answer)]
    pub(crate) dns: Vec<(String, BTreeSet<IpAddr>)>,
    /// How long the requests have been waiting, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = super::value::duration)]
    pub(crate) age: Option<std::time::Duration>,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
}

/// A name and its addresses, canonical.
fn dns_answer(text: &str) -> Result<(String, BTreeSet<IpAddr>), String> {
    let (name, addresses) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("write NAME=IP, or NAME= for a name that does not exist")?;
    let addresses = addresses.split(',').filter(|address| !address.is_empty());
    let addresses = addresses.map(|address| {
        let parsed = address.parse::<IpAddr>();
        parsed
            .map(|address| address.to_canonical())
            .map_err(|_| format!("\"{address}\" is not an IP address"))
    });
    Ok((
        name.to_ascii_lowercase(),
        addresses.collect::<Result<_, _>>()?,
    ))
}
