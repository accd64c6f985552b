//! `everleaf doctor`.

use super::OutputFormat;
use super::token::ServerArgs;
use clap::{Args, ValueEnum};
use everleaf_controllers::doctor::{Section, Severity};
use std::path::PathBuf;

/// Flags of `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf doctor\n  everleaf doctor --kubeconfig ~/.kube/config --section ca,signers\n  everleaf doctor -o json --fail-on error     # for scripts\n  everleaf doctor -o wide                     # all that shows a finding\n  everleaf doctor --ca etcd-ca.crt            # look at this CA, too\n  everleaf doctor --node                      # this machine: cert dir, kubeconfig, clock, way to the server\n\nIt reads only, with the rights of the kubeconfig's user, and says what it may not look at. Exit code 0: nothing is wrong; 1: something is (a\nwarning or an error, see --fail-on); 2: it could not look, or not at all of it, or was called wrongly."
)]
pub(crate) struct DoctorArgs {
    /// Only these sections: server, ca, signers, rbac, controllers, requests, nodes, tokens,
    /// versions, revocations; with --node: cert-dir, kubeconfig, server, ca
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = section)]
    pub(crate) section: Vec<Section>,
    /// Further CA files to look at
    #[arg(long, value_name = "FILE,…", value_delimiter = ',')]
    pub(crate) ca: Vec<PathBuf>,
    /// The least that is worth exit code 1
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = FailOn::Warning)]
    pub(crate) fail_on: FailOn,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    /// Look this machine over, instead of a cluster
    #[arg(long)]
    pub(crate) node: bool,
    /// With --node: where its certificates are [default: where its agent or kubelet keeps them]
    #[arg(long, value_name = "DIR", requires = "node")]
    pub(crate) cert_dir: Option<PathBuf>,
    /// With --node: data directory of `agent join` or `up`, which says where both are
    #[arg(
        long,
        value_name = "DIR",
        requires = "node",
        conflicts_with = "cert_dir"
    )]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print everything that it can find, as the tables of docs/doctor.md
    #[arg(long, conflicts_with_all = ["section", "ca", "output", "node", "kubeconfig", "context"])]
    pub(crate) catalogue: bool,
    /// How to reach the API server.
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// The least that is worth exit code 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// Whatever is found.
    Note,
    /// Warnings and errors.
    Warning,
    /// Errors only.
    Error,
}

impl FailOn {
    /// As a severity.
    pub(crate) const fn severity(self) -> Severity {
        match self {
            Self::Note => Severity::Note,
            Self::Warning => Severity::Warning,
            Self::Error => Severity::Error,
        }
    }
}

fn section(text: &str) -> Result<Section, String> {
    Section::parse(text).ok_or_else(|| {
        let names: Vec<&str> = Section::ALL.iter().map(|one| one.name()).collect();
        format!("there is no section {text:?}: say {}", names.join(", "))
    })
}
