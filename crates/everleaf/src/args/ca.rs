//! `everleaf ca`.

use super::OutputFormat;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What to look at.
#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Show the issuance log, or check that nobody changed it
    Log(LogArgs),
    /// Have certificates refused that are still good: a node's, or single ones
    Revoke(RevokeArgs),
    /// Take a revocation back
    Unrevoke(UnrevokeArgs),
    /// Show what is revoked, and the list that is published of it
    Revocations(RevocationsArgs),
}

/// Whose certificate, or which.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetArgs {
    /// Every certificate that the node has been issued so far
    #[arg(value_name = "node/NAME")]
    pub(crate) node: Option<String>,
    /// The certificate with this serial number, in hex, also as 0x5B36 or 5b:36
    #[arg(long, value_name = "HEX", value_parser = super::value::serial)]
    pub(crate) serial: Option<String>,
    /// The one with this SHA-256, as in authentication.kubernetes.io/credential-id of audit events
    /// and `kubectl auth whoami`: X509SHA256=…
    #[arg(long, value_name = "ID")]
    pub(crate) credential_id: Option<String>,
}

/// Flags of `ca revoke`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf ca revoke node/n1 --reason keyCompromise\n  everleaf ca revoke --serial 5B3651061E0C77B3\n  everleaf ca revoke --credential-id X509SHA256=84472b61…\n\nEvery Everleaf API server on the same store refuses it with 401 from the next request on, and cuts its open connections within 5 seconds. Others\nlearn of it by the certificate revocation list: https://SERVER/pki/ca.crl, and the ConfigMap kube-public/everleaf-revocation-list. Whoever has a\nbootstrap token can still ask for a new certificate: see `everleaf token list`."
)]
pub(crate) struct RevokeArgs {
    /// Whose certificate, or which.
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Why, for the list: unspecified, keyCompromise, affiliationChanged, superseded or
    /// cessationOfOperation
    #[arg(long, value_name = "REASON", default_value = "unspecified")]
    pub(crate) reason: String,
    /// Also a node that nobody here knows, or the certificate with which this command itself asks
    #[arg(long)]
    pub(crate) yes: bool,
    /// Issuance log in which the node's serial numbers are looked up, besides the requests that the
    /// server still has [default: the one that `up` keeps on this host, where there is one]
    #[arg(long, value_name = "DIR")]
    pub(crate) issuance_log: Option<PathBuf>,
    /// How to reach the API server.
    #[command(flatten)]
    pub(crate) server: super::token::ServerArgs,
}

/// Flags of `ca unrevoke`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf ca unrevoke node/n1\n  everleaf ca unrevoke --serial 5B3651061E0C77B3"
)]
pub(crate) struct UnrevokeArgs {
    /// Whose certificate, or which.
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// How to reach the API server.
    #[command(flatten)]
    pub(crate) server: super::token::ServerArgs,
}

/// Flags of `ca revocations`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  everleaf ca revocations\n  everleaf ca revocations -o json")]
pub(crate) struct RevocationsArgs {
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    /// How to reach the API server.
    #[command(flatten)]
    pub(crate) server: super::token::ServerArgs,
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
