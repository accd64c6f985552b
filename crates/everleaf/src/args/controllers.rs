//! Flags of `everleaf controllers`: kube-controller-manager's.

use super::cleaning::CleaningArgs;
use super::election::ElectionArgs;
use super::ignored::{ControllerManager, IgnoredFlags};
use super::pods::PodArgs;
use super::serving::ServingArgs;
use super::signing::SigningDuration;
use clap::Args;
use std::path::PathBuf;

/// Flags of `controllers`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf controllers --kubeconfig controllers.conf \\\n      --cluster-signing-cert-file ca.crt --cluster-signing-key-file ca.key\n  everleaf controllers --kubeconfig controllers.conf --controllers=csrapproving,csrcleaner\n  everleaf controllers --kubeconfig controllers.conf --controllers=kubelet-serving-approver\n\nIn place of a kube-controller-manager, or as its stand-in, no flags are needed: one of them leads, the others wait.\nBeside one, switch its csr controllers off (--controllers=*,-csrsigning,-csrapproving,-csrcleaner there) and contend for another lease (--leader-elect-resource-name=everleaf-controllers here).\n\nOther flags of kube-controller-manager are accepted and have no effect."
)]
pub(crate) struct ControllersArgs {
    /// Kubeconfig of the API server to serve; without it, the service account of the pod that this
    /// runs in
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Controllers to run: '*' the usual ones, 'name' one, '-name' not this one; csrapproving,
    /// csrsigning, csrcleaner and their long names; kubelet-serving-approver, tokencleaner
    /// and bootstrapsigner, which '*' leaves out, as it does
    /// kube-apiserver-serving-clustertrustbundle-publisher-controller,
    /// revocation-list-publisher and podcertificaterequest-cleaner-controller;
    /// root-ca-cert-publisher, for which '*' stands with
    /// --root-ca-file; pod-certificate-signer, which --pod-certificate-signer-name switches on
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "*",
        allow_hyphen_values = true
    )]
    pub(crate) controllers: Vec<String>,
    /// CA certificate for every signer
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_signing_cert_file: Option<PathBuf>,
    /// CA key for every signer: PKCS#8 (encrypted, too), PKCS#1 or SEC1; or where it is in a token:
    /// pkcs11:token=NAME;object=LABEL?module-path=/LIBRARY.so&pin-source=file:/PIN
    #[arg(long, value_name = "FILE|URI")]
    pub(crate) cluster_signing_key_file: Option<PathBuf>,
    /// Certificates above that CA, nearest first: what is signed carries them along, and ends
    /// before any of them does [default: the certificate alone]
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_signing_chain_file: Option<PathBuf>,
    /// CA certificate for kubernetes.io/kubelet-serving; not together with the general pair
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_signing_kubelet_serving_cert_file: Option<PathBuf>,
    /// CA key for kubernetes.io/kubelet-serving
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_signing_kubelet_serving_key_file: Option<PathBuf>,
    /// Certificates above the CA for kubernetes.io/kubelet-serving
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_signing_kubelet_serving_chain_file: Option<PathBuf>,
    /// CA certificate for kubernetes.io/kube-apiserver-client-kubelet; not together with the
    /// general pair
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_signing_kubelet_client_cert_file: Option<PathBuf>,
    /// CA key for kubernetes.io/kube-apiserver-client-kubelet
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_signing_kubelet_client_key_file: Option<PathBuf>,
    /// Certificates above the CA for kubernetes.io/kube-apiserver-client-kubelet
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_signing_kubelet_client_chain_file: Option<PathBuf>,
    /// CA certificate for kubernetes.io/kube-apiserver-client; not together with the general pair
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_signing_kube_apiserver_client_cert_file: Option<PathBuf>,
    /// CA key for kubernetes.io/kube-apiserver-client
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_signing_kube_apiserver_client_key_file: Option<PathBuf>,
    /// Certificates above the CA for kubernetes.io/kube-apiserver-client
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_signing_kube_apiserver_client_chain_file: Option<PathBuf>,
    /// CA certificate for kubernetes.io/legacy-unknown; not together with the general pair
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_signing_legacy_unknown_cert_file: Option<PathBuf>,
    /// CA key for kubernetes.io/legacy-unknown
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_signing_legacy_unknown_key_file: Option<PathBuf>,
    /// Certificates above the CA for kubernetes.io/legacy-unknown
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_signing_legacy_unknown_chain_file: Option<PathBuf>,
    /// File with the password of CA keys that are encrypted (its first line)
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_signing_key_password_file: Option<PathBuf>,
    /// Certificates that the end of the CA cuts short end up to 30 days before it, each at a time
    /// of its own, not all in its last second
    #[arg(long)]
    pub(crate) spread_ca_end: bool,
    /// Publish the CA of these signers as ClusterTrustBundles, so that pods can verify what they
    /// sign, as in kubernetes.io/kubelet-serving [default: none]
    #[arg(long, value_name = "SIGNERS", value_delimiter = ',')]
    pub(crate) publish_signer_trust_bundles: Vec<String>,
    /// Certificates of the API server's CA, which every namespace gets as kube-root-ca.crt [default
    /// where a controller that publishes it is named: those of the kubeconfig]
    #[arg(long, value_name = "FILE")]
    pub(crate) root_ca_file: Option<PathBuf>,
    /// Lifetime of what is signed.
    #[command(flatten)]
    pub(crate) signing: SigningDuration,
    /// Whether and how serving requests are approved.
    #[command(flatten)]
    pub(crate) serving: ServingArgs,
    /// Whether and how certificates of pods are signed.
    #[command(flatten)]
    pub(crate) pods: PodArgs,
    /// Who of several processes acts.
    #[command(flatten)]
    pub(crate) election: ElectionArgs,
    /// Directory of the issuance log: every certificate is in it before anybody gets it; one
    /// directory per process [default: none]
    #[arg(long, value_name = "DIR")]
    pub(crate) issuance_log: Option<PathBuf>,
    /// Name of a new issuance log, in its checkpoints and its key [default:
    /// HOST/everleaf/issuance-log]
    #[arg(long, value_name = "NAME")]
    pub(crate) issuance_log_origin: Option<String>,
    /// Requests per second to the API server; 0 for no limit [default: 20, as
    /// kube-controller-manager; no limit against an everleaf server]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) kube_api_qps: Option<f64>,
    /// Requests that may be made at once before --kube-api-qps holds [default: 30]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) kube_api_burst: Option<i32>,
    /// Address for /metrics, /livez and /readyz [default: none]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) metrics_bind_address: Option<std::net::SocketAddr>,
    /// How old requests become.
    #[command(flatten)]
    pub(crate) cleaning: CleaningArgs,
    /// Flags of kube-controller-manager without an effect here.
    #[command(flatten)]
    pub(crate) ignored: IgnoredFlags<ControllerManager>,
}
