//! Flags about who says what a request may do: kube-apiserver's.

use super::value;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Who is asked.
#[derive(Debug, Clone, Args)]
pub(crate) struct AuthorizationArgs {
    /// Authorizers, in the order in which they are asked: Node, RBAC, and Webhook if you have one
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "Node,RBAC"
    )]
    pub(crate) authorization_mode: Vec<String>,
    /// Paths that need no authorization where a webhook is asked, as /livez or /debug/*: probes go
    /// on when it is away; empty: none
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "/healthz,/readyz,/livez"
    )]
    pub(crate) authorization_always_allow_paths: Vec<String>,
    /// AuthorizationConfiguration, in place of the flags about modes and webhook: authorizers in
    /// their order; read again when it changes
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = [
            "authorization_mode",
            "authorization_webhook_config_file",
            "authorization_webhook_version",
            "authorization_webhook_cache_authorized_ttl",
            "authorization_webhook_cache_unauthorized_ttl",
        ]
    )]
    pub(crate) authorization_config: Option<PathBuf>,
    /// Kubeconfig of the webhook
    #[arg(long, value_name = "FILE")]
    pub(crate) authorization_webhook_config_file: Option<PathBuf>,
    /// Version of the SubjectAccessReview that it is sent: v1 or v1beta1
    #[arg(long, value_name = "VERSION", default_value = "v1beta1")]
    pub(crate) authorization_webhook_version: String,
    /// How long its yes counts
    #[arg(long, value_name = "DURATION", value_parser = value::any_duration, default_value = "5m0s")]
    pub(crate) authorization_webhook_cache_authorized_ttl: Duration,
    /// How long its no counts
    #[arg(long, value_name = "DURATION", value_parser = value::any_duration, default_value = "30s")]
    pub(crate) authorization_webhook_cache_unauthorized_ttl: Duration,
}
