//! Flags about tokens of other issuers: kube-apiserver's.

use clap::Args;
use std::path::PathBuf;

/// Whose tokens are believed, besides those of this server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tokens of other issuers")]
pub(crate) struct AuthenticationArgs {
    /// AuthenticationConfiguration: issuers of tokens, and who needs no credential; read again when
    /// it changes
    #[arg(long, value_name = "FILE", conflicts_with = "oidc_issuer_url")]
    pub(crate) authentication_config: Option<PathBuf>,
    /// Issuer whose tokens are believed, https://…
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    pub(crate) oidc_issuer_url: Option<String>,
    /// Audience that its tokens must be meant for
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    pub(crate) oidc_client_id: Option<String>,
    /// Claim with the user's name
    #[arg(long, value_name = "CLAIM", default_value = "sub")]
    pub(crate) oidc_username_claim: String,
    /// Put before it; - for nothing [default: the issuer and #, for the claim email nothing]
    #[arg(long, value_name = "TEXT", requires = "oidc_issuer_url")]
    pub(crate) oidc_username_prefix: Option<String>,
    /// Claim with the user's groups
    #[arg(long, value_name = "CLAIM", requires = "oidc_issuer_url")]
    pub(crate) oidc_groups_claim: Option<String>,
    /// Put before each of them
    #[arg(long, value_name = "TEXT", requires = "oidc_issuer_url")]
    pub(crate) oidc_groups_prefix: Option<String>,
    /// Authorities of the issuer's certificate [default: those that this host trusts]
    #[arg(long, value_name = "FILE", requires = "oidc_issuer_url")]
    pub(crate) oidc_ca_file: Option<PathBuf>,
    /// Claim that a token must have, with this value; may be given several times
    #[arg(
        long,
        value_name = "CLAIM=VALUE",
        value_delimiter = ',',
        requires = "oidc_issuer_url"
    )]
    pub(crate) oidc_required_claim: Vec<String>,
    /// Signature algorithms that count
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "RS256"
    )]
    pub(crate) oidc_signing_algs: Vec<String>,
}
