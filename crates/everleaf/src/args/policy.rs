//! `everleaf policy`.

use super::OutputFormat;
use clap::{Args, Subcommand};
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
    pub(crate) origin: Option<std::net::IpAddr>,
    /// How long the requests have been waiting, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = super::value::duration)]
    pub(crate) age: Option<std::time::Duration>,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
}
