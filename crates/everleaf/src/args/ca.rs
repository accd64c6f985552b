//! `everleaf ca`.

use super::OutputFormat;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What to look at.
#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Show the issuance log, or check that nobody changed it
    Log(LogArgs),
}

/// Flags of `ca log`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf ca log --node n1\n  everleaf ca log --expiring-within 720h -o json\n  everleaf ca log --verify\n  everleaf ca log --verify --against /backup/checkpoint   # nothing that it covers was changed\n\nIt only reads, also while the log is written. Exit code of --verify: 0 all agrees, 1 something does not."
)]
pub(crate) struct LogArgs {
    /// Directory of the log [default: the one that `up` keeps on this host]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Only certificates of this node
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// Only those of this signer, such as kubelet-serving or kubernetes.io/kubelet-serving
    #[arg(long, value_name = "NAME")]
    pub(crate) signer: Option<String>,
    /// Only the one with this serial number, in hex, also as 0x5B36 or 5b:36
    #[arg(long, value_name = "HEX", value_parser = super::value::serial)]
    pub(crate) serial: Option<String>,
    /// Only those that are valid and end within this time, such as 720h
    #[arg(long, value_name = "DURATION", value_parser = super::value::duration)]
    pub(crate) expiring_within: Option<std::time::Duration>,
    /// Compute the tree anew from all entries, and compare it with the checkpoint
    #[arg(long, conflicts_with_all = ["node", "signer", "serial", "expiring_within"])]
    pub(crate) verify: bool,
    /// An older checkpoint of the log: show that it is its beginning
    #[arg(long, value_name = "FILE", requires = "verify")]
    pub(crate) against: Option<PathBuf>,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
}
