//! `everleaf token`.

use super::OutputFormat;
use clap::{Args, Subcommand};
use everleaf_agent::Secret;
use std::path::PathBuf;

/// What to do with bootstrap tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, and print it
    Create(CreateArgs),
    /// Show the tokens that there are
    List(ListArgs),
    /// Make tokens worthless
    Delete(DeleteArgs),
    /// Print a random token that no server knows, for `token create`
    Generate,
}

/// How to reach the API server.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// How to reach the API server [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
}

/// Flags of `token create`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf token create --print-join-command\n  everleaf token create --ttl 2h --description 'rack 7'\n  everleaf token create --usages signing,authentication --groups system:bootstrappers:edge\n\nA token is a Secret of kube-system in kubeadm's format: kubeadm, k3s and kube-apiserver know it as well. Whoever has it can ask for a node's\ncertificate until it ends."
)]
pub(crate) struct CreateArgs {
    /// The token, such as abcdef.0123456789abcdef [default: a random one]
    #[arg(value_name = "TOKEN", value_parser = super::value::secret)]
    pub(crate) token: Option<Secret>,
    /// How long it is good; 0 for ever
    #[arg(long, value_name = "DURATION", default_value = "24h0m0s", value_parser = super::value::any_duration)]
    pub(crate) ttl: std::time::Duration,
    /// What it is good for: `authentication` to ask for a certificate, `signing` to tell new nodes
    /// whom to trust
    #[arg(
        long,
        value_name = "USAGE,…",
        value_delimiter = ',',
        default_value = "signing,authentication"
    )]
    pub(crate) usages: Vec<String>,
    /// Groups of whoever authenticates with it, each below system:bootstrappers:
    #[arg(
        long,
        value_name = "GROUP,…",
        value_delimiter = ',',
        default_value = "system:bootstrappers:kubeadm:default-node-token"
    )]
    pub(crate) groups: Vec<String>,
    /// What it is for, for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) description: String,
    /// Print the line that joins another machine, instead of the token
    #[arg(long)]
    pub(crate) print_join_command: bool,
    /// How to reach the API server.
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Flags of `token list`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf token list\n  everleaf token list -o json\n  everleaf token list --show-secrets     # whole tokens, as kubeadm prints them"
)]
pub(crate) struct ListArgs {
    /// Print whole tokens, not their public parts alone
    #[arg(long)]
    pub(crate) show_secrets: bool,
    /// Form of the answer
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<OutputFormat>,
    /// How to reach the API server.
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Flags of `token delete`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf token delete abcdef\n  everleaf token delete abcdef ghijkl.0123456789abcdef\n\nNodes that have joined with it keep their certificates."
)]
pub(crate) struct DeleteArgs {
    /// Public parts of tokens, or whole tokens
    #[arg(value_name = "ID", required = true, value_parser = super::value::secret)]
    pub(crate) tokens: Vec<Secret>,
    /// How to reach the API server.
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}
