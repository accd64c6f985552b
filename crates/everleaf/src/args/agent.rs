//! Flags of `everleaf agent`: the kubelet's certificate part.

use super::ignored::{IgnoredFlags, Kubelet};
use super::value::Switch as _;
use clap::{ArgAction, Args};
use std::path::PathBuf;

/// Flags of `agent`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everleaf agent --bootstrap-kubeconfig bootstrap-kubelet.conf --kubeconfig /var/lib/kubelet/kubeconfig \\\n      --cert-dir /var/lib/kubelet/pki --rotate-certificates --rotate-server-certificates\n  everleaf agent --kubeconfig kubelet.conf --cert-dir ./pki --rotate-certificates --once\n  everleaf agent --config /var/lib/kubelet/config.yaml --kubeconfig /etc/kubernetes/kubelet.conf\n\nOther kubelet flags are accepted and have no effect: the agent keeps certificates and nothing else."
)]
pub(crate) struct AgentArgs {
    /// Kubeconfig used until there is a certificate of our own
    #[arg(long, value_name = "FILE", alias = "experimental-bootstrap-kubeconfig")]
    pub(crate) bootstrap_kubeconfig: Option<PathBuf>,
    /// Kubeconfig of this node; written at bootstrap
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Directory of the certificates
    #[arg(long, value_name = "DIR", default_value = everleaf_agent::config::CERT_DIR_DEFAULT)]
    pub(crate) cert_dir: PathBuf,
    /// Renew the client certificate before it ends [default: false]
    #[arg(long, switch())]
    pub(crate) rotate_certificates: Option<bool>,
    /// Ask for a serving certificate and renew it [default: false]
    #[arg(long, switch())]
    pub(crate) rotate_server_certificates: Option<bool>,
    /// Feature gates: RotateKubeletClientCertificate and RotateKubeletServerCertificate turn the
    /// two on
    #[arg(long, value_name = "Gate=BOOL,…")]
    pub(crate) feature_gates: Vec<String>,
    /// Node name instead of the host name
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname_override: Option<String>,
    /// Address of the node, or one of each family
    #[arg(long, value_name = "IP[,IP]")]
    pub(crate) node_ip: Option<String>,
    /// KubeletConfiguration file; flags win over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Do what is due, then leave
    #[arg(long)]
    pub(crate) once: bool,
    /// Address for /metrics, /livez and /readyz [default: none]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) metrics_bind_address: Option<String>,
    /// Exit with 3 when the certificate has expired and nothing works for five minutes
    #[arg(long, action = ArgAction::Set, switch_or = "false")]
    pub(crate) exit_on_expired_client_cert: bool,
    /// Kubelet flags without an effect here.
    #[command(flatten)]
    pub(crate) ignored: IgnoredFlags<Kubelet>,
}
