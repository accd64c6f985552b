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
    /// Show the cluster's CAs: who trusts them, which one signs, how long they last
    Status(StatusArgs),
    /// Give a CA in files a later end, with its key and name
    Renew(RenewArgs),
    /// Replace the CA by another one while nodes go on
    #[command(subcommand)]
    Roll(RollCommand),
}

/// Flags of `ca status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf ca status\n  everleaf ca status -o wide\n  everleaf ca status --kubeconfig admin.conf -o json\n\nIt works with any Kubernetes API server, and shows what this kubeconfig may read; what is hidden from it is said on stderr."
)]
pub(crate) struct StatusArgs {
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    /// How to reach the API server.
    #[command(flatten)]
    pub(crate) server: super::token::ServerArgs,
}

/// Flags of `ca renew`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf ca renew --cert-file ca.crt --key-file ca.key\n  everleaf ca renew --cert-file /etc/kubernetes/pki/ca.crt --key-file /etc/kubernetes/pki/ca.key --days 3650\n\nName, key and extensions stay byte for byte; serial number and dates are new. What the CA has signed is believed below either certificate. It does\nnot help against a key that was stolen: `everleaf ca roll`. The old certificate is kept beside the new one, as .old."
)]
pub(crate) struct RenewArgs {
    /// The CA certificate, PEM; the new one takes its place
    #[arg(long, value_name = "FILE")]
    pub(crate) cert_file: PathBuf,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: PathBuf,
    /// How long the new certificate is good from now on
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
    pub(crate) days: u32,
}

/// What to do with a roll.
#[derive(Debug, Subcommand)]
pub(crate) enum RollCommand {
    /// Make another CA, publish it beside the old one, and go on from phase to phase
    Start(RollStartArgs),
    /// Show how far it has come, and for whom it waits
    Status(RollStatusArgs),
    /// Let nothing go on by itself, have nothing renewed early, and take `finish` back
    Pause(RollServerArgs),
    /// Go on
    Resume(RollServerArgs),
    /// Take it back: the old CA signs again
    Back(RollServerArgs),
    /// In phase 2: drop the old CA as soon as nobody needs it
    Finish(RollServerArgs),
    /// Say of these that they need no proof in this phase
    Assume(RollAssumeArgs),
    /// Carry out rolls of a CA that no `everleaf up` keeps, such as kubeadm's
    Run(RollRunArgs),
}

/// Flags of `ca roll run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf ca roll run --data-dir /var/lib/everleaf-roll --cert-file /etc/kubernetes/pki/ca.crt --key-file /etc/kubernetes/pki/ca.key\n  everleaf ca roll run --data-dir /var/lib/everleaf-roll          # go on\n  everleaf ca roll start                                          # in another terminal, with the same kubeconfig\n  everleaf ca roll status                                         # what is to put where, and for whom it waits\n\nFor kube-apiserver with kube-controller-manager or `everleaf controllers`. It makes the new CA and every file that is needed in --data-dir, and reads\nand writes a few ConfigMaps; it changes no file of a server. Whoever puts one in place need not say so: it looks at the API servers' handshakes,\nthe ConfigMaps and what is signed, and goes on when it has seen that it has happened."
)]
pub(crate) struct RollRunArgs {
    /// Directory for the keys of both CAs and all files that are to be put in place; made when it
    /// is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// The CA that signs now, PEM; copied into --data-dir the first time
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub(crate) cert_file: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub(crate) key_file: Option<PathBuf>,
    /// Each API server of several; may be repeated [default: the one of the kubeconfig]
    #[arg(long = "apiserver", value_name = "HOST:PORT", value_parser = crate::cmd::roll_run::place_of)]
    pub(crate) apiservers: Vec<(String, u16)>,
    /// How long the new CA is good
    #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(365..=27000))]
    pub(crate) days: u32,
    /// Kind of the keys that are made
    #[arg(long, value_name = "KIND", value_parser = super::value::key_algorithm, default_value = "ECDSA-P256")]
    pub(crate) key_algorithm: everleaf_pki::KeyAlgorithm,
    /// How to reach the API server.
    #[command(flatten)]
    pub(crate) server: super::token::ServerArgs,
}

/// Flags of `ca roll start`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf ca roll start\n  everleaf ca roll start --per-minute 10\n  everleaf ca roll status\n\nThe new CA has another name and another key. It signs nothing before every node has shown that it trusts it, and the old one is dropped only\nafter `everleaf ca roll finish`, when nothing that it has signed is in use. Until then `everleaf ca roll back` takes everything back."
)]
pub(crate) struct RollStartArgs {
    /// Certificates that are renewed in a minute, once the new CA signs
    #[arg(long, value_name = "NUMBER", default_value_t = everleaf_controllers::roll::PER_MINUTE_DEFAULT, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) per_minute: u32,
    /// Drop the old CA as soon as nobody needs it, without `everleaf ca roll finish`
    #[arg(long)]
    pub(crate) finish: bool,
    /// How to reach the API server.
    #[command(flatten)]
    pub(crate) server: super::token::ServerArgs,
}

/// Flags of `ca roll status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  everleaf ca roll status\n  everleaf ca roll status -o json")]
pub(crate) struct RollStatusArgs {
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    /// How to reach the API server.
    #[command(flatten)]
    pub(crate) server: super::token::ServerArgs,
}

/// Flags of what takes no others.
#[derive(Debug, Args)]
pub(crate) struct RollServerArgs {
    /// How to reach the API server.
    #[command(flatten)]
    pub(crate) server: super::token::ServerArgs,
}

/// Flags of `ca roll assume`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf ca roll assume n7            # its kubelet was restarted with the new CA in its kubeconfig\n  everleaf ca roll assume n8 user/alice # nobody uses these certificates any more\n\nWhat is assumed and is not so is refused later: a node that does not trust the new CA cannot reach the API server. It holds for one phase."
)]
pub(crate) struct RollAssumeArgs {
    /// Nodes, or what `everleaf ca roll status` names
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// How to reach the API server.
    #[command(flatten)]
    pub(crate) server: super::token::ServerArgs,
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
