//! Flags of `everleaf apiserver`: kube-apiserver's.

use super::audit::AuditArgs;
use super::authentication::AuthenticationArgs;
use super::authorization::AuthorizationArgs;
use super::etcd::EtcdArgs;
use super::late_reissue::LateReissueArgs;
use super::offer::OfferArgs;
use super::storage::StorageArgs;
use super::value::Switch as _;
use crate::server::SERVICE_ACCOUNT_ISSUER;
use clap::{ArgAction, Args};
use std::net::IpAddr;
use std::path::PathBuf;

/// Flags of `apiserver`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf apiserver --data-dir /var/lib/everleaf        # the store and certificates that `up` made\n  everleaf apiserver --data-dir ./store --client-ca-file ca.crt \\\n      --tls-cert-file server.crt --tls-private-key-file server.key --token-auth-file tokens.csv"
)]
pub(crate) struct ApiserverArgs {
    /// Directory of the store; `up` may open the same one, at another time
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Address to listen on
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub(crate) bind_address: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    pub(crate) secure_port: u16,
    /// Serving certificate, leaf first [default: DATA-DIR/pki/apiserver.crt]
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub(crate) tls_cert_file: Option<PathBuf>,
    /// Key of the serving certificate [default: DATA-DIR/pki/apiserver.key]
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub(crate) tls_private_key_file: Option<PathBuf>,
    /// CA bundle that client certificates must chain to [default: DATA-DIR/pki/ca.crt]
    #[arg(long, value_name = "FILE")]
    pub(crate) client_ca_file: Option<PathBuf>,
    /// CA bundle of front proxies: whoever shows a client certificate of theirs says in headers for
    /// whom it asks. Never the CA of other clients
    #[arg(long, value_name = "FILE")]
    pub(crate) requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of front proxies [default: any]
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        requires = "requestheader_client_ca_file"
    )]
    pub(crate) requestheader_allowed_names: Vec<String>,
    /// Headers in which they tell the user's name; the first that is not empty counts
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "X-Remote-User"
    )]
    pub(crate) requestheader_username_headers: Vec<String>,
    /// Headers in which they tell the user's UID
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "X-Remote-Uid"
    )]
    pub(crate) requestheader_uid_headers: Vec<String>,
    /// Headers in which they tell the user's groups
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "X-Remote-Group"
    )]
    pub(crate) requestheader_group_headers: Vec<String>,
    /// How headers begin in which they tell further facts of the user
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "X-Remote-Extra-"
    )]
    pub(crate) requestheader_extra_headers_prefix: Vec<String>,
    /// Static tokens: lines of token,user,uid[,"group,group"]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_auth_file: Option<PathBuf>,
    /// Who signs the tokens of service accounts, and whose signature counts
    #[arg(
        long,
        value_name = "URL",
        default_value = SERVICE_ACCOUNT_ISSUER
    )]
    pub(crate) service_account_issuer: String,
    /// Key that signs the tokens of service accounts [default: DATA-DIR/pki/sa.key, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(crate) service_account_signing_key_file: Option<PathBuf>,
    /// Further keys, public or private, whose signatures of such tokens count; may be given several
    /// times
    #[arg(long, value_name = "FILE")]
    pub(crate) service_account_key_file: Vec<PathBuf>,
    /// As whom this server reads such tokens [default: the issuer]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) api_audiences: Vec<String>,
    /// Accept bootstrap tokens kept as Secrets in kube-system
    #[arg(long, action = ArgAction::Set, switch_or = "false")]
    pub(crate) enable_bootstrap_token_auth: bool,
    /// Let requests without a credential in as system:anonymous; what --authentication-config says
    /// of it goes before
    #[arg(long, action = ArgAction::Set, switch_or = "true")]
    pub(crate) anonymous_auth: bool,
    /// Where the objects are.
    #[command(flatten)]
    pub(crate) etcd: EtcdArgs,
    /// How they are stored.
    #[command(flatten)]
    pub(crate) storage: StorageArgs,
    /// Who says what a request may do.
    #[command(flatten)]
    pub(crate) authorization: AuthorizationArgs,
    /// Whose tokens are believed.
    #[command(flatten)]
    pub(crate) authentication: AuthenticationArgs,
    /// Who may come back late.
    #[command(flatten)]
    pub(crate) late_reissue: LateReissueArgs,
    /// What is told of requests.
    #[command(flatten)]
    pub(crate) audit: AuditArgs,
    /// What is served, and how much at once.
    #[command(flatten)]
    pub(crate) offer: OfferArgs,
}
