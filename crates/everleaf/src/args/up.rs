//! Flags of `everleaf up`.

use super::audit::AuditArgs;
use super::authentication::AuthenticationArgs;
use super::cleaning::CleaningArgs;
use super::etcd::EtcdArgs;
use super::late_reissue::LateReissueArgs;
use super::pods::PodArgs;
use super::serving::ServingArgs;
use super::signing::SigningDuration;
use super::storage::StorageArgs;
use clap::Args;
use everleaf_pki::KeyAlgorithm;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Flags of `up`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf up                                             # everything, for this host\n  everleaf up --data-dir ./data --cluster-signing-duration 87600h0m0s\n  everleaf up --listen 0.0.0.0:6443 --tls-san ca.example.org,10.0.0.5 --no-node\n  everleaf up --key-algorithm ML-DSA-65                   # post-quantum, from the authority to the node\n\nFirst start makes the certificate authority, keys, access rules and a bootstrap token.\nStop with Ctrl-C or SIGTERM; start again with the same --data-dir to go on."
)]
pub(crate) struct UpArgs {
    /// Directory of everything that is kept [default: /var/lib/everleaf for root, else
    /// $XDG_DATA_HOME/everleaf]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Address of the API server (:6443 for all addresses); port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:6443", value_parser = super::value::listen_address)]
    pub(crate) listen: SocketAddr,
    /// Further names and addresses for the API server's certificate; the first is written into
    /// kubeconfigs
    #[arg(long, value_name = "NAME|IP", value_delimiter = ',')]
    pub(crate) tls_san: Vec<String>,
    /// Name of this host's node [default: the host name, lower-cased]
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// Kind of all keys that are made: this host's node's from its next renewal on, the API
    /// server's and admin.conf's now, the authority's if there is none yet. ECDSA-P256,
    /// ECDSA-P384, RSA-2048, RSA-3072, RSA-4096, ML-DSA-44, ML-DSA-65 or ML-DSA-87 [default:
    /// ECDSA-P256]
    #[arg(long, value_name = "KIND", value_parser = super::value::key_algorithm)]
    pub(crate) key_algorithm: Option<KeyAlgorithm>,
    /// The same for the authority, the API server and admin.conf alone: ECDSA-P256 lets programs in
    /// that do not know ML-DSA, such as kubectl up to 1.37 [default: as --key-algorithm]
    #[arg(long, value_name = "KIND", value_parser = super::value::key_algorithm)]
    pub(crate) control_plane_key_algorithm: Option<KeyAlgorithm>,
    /// Run no agent for this host
    #[arg(long)]
    pub(crate) no_node: bool,
    /// Serve no dashboard at /ui
    #[arg(long)]
    pub(crate) no_ui: bool,
    /// Controllers to run: '*' all that `up` has, 'name' one, '-name' not this one, as in
    /// *,-root-ca-certificate-publisher-controller; csrapproving, csrsigning, csrcleaner,
    /// kubelet-serving-approver, tokencleaner, bootstrapsigner,
    /// podcertificaterequest-cleaner-controller, root-ca-cert-publisher and their long names
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "*",
        allow_hyphen_values = true
    )]
    pub(crate) controllers: Vec<String>,
    /// Where the objects are.
    #[command(flatten)]
    pub(crate) etcd: EtcdArgs,
    /// How they are stored.
    #[command(flatten)]
    pub(crate) storage: StorageArgs,
    /// Whether and how serving requests are approved.
    #[command(flatten)]
    pub(crate) serving: ServingArgs,
    /// Lifetime of what is signed.
    #[command(flatten)]
    pub(crate) signing: SigningDuration,
    /// Whether and how certificates of pods are signed.
    #[command(flatten)]
    pub(crate) pods: PodArgs,
    /// Whose tokens are believed.
    #[command(flatten)]
    pub(crate) authentication: AuthenticationArgs,
    /// Who may come back late.
    #[command(flatten)]
    pub(crate) late_reissue: LateReissueArgs,
    /// What is told of requests.
    #[command(flatten)]
    pub(crate) audit: AuditArgs,
    /// How old requests become.
    #[command(flatten)]
    pub(crate) cleaning: CleaningArgs,
}
