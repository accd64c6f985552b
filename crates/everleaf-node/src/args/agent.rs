//! Flags of `everleaf agent`: the kubelet's certificate part.

use super::ignored::{IgnoredFlags, Kubelet};
use super::value::Switch as _;
use clap::{ArgAction, Args, Subcommand, ValueEnum};
use everleaf_agent::Secret;
use everleaf_pki::KeyAlgorithm;
use std::path::PathBuf;

/// Flags of `agent`.
#[derive(Debug, Clone, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  everleaf agent --bootstrap-kubeconfig bootstrap-kubelet.conf --kubeconfig /var/lib/kubelet/kubeconfig \\\n      --cert-dir /var/lib/kubelet/pki --rotate-certificates --rotate-server-certificates\n  everleaf agent --kubeconfig kubelet.conf --cert-dir ./pki --rotate-certificates --once\n  everleaf agent --config /var/lib/kubelet/config.yaml --kubeconfig /etc/kubernetes/kubelet.conf\n  everleaf agent join https://10.0.0.1:6443 --token abcdef.0123456789abcdef --ca-cert-hash sha256:…\n  everleaf agent --data-dir /var/lib/everleaf-agent      # go on where `agent join` began\n  everleaf agent --kubeconfig kubelet.conf --profile-dir /etc/everleaf/profiles   # certificates of other programs\n  everleaf agent rehearse --kubeconfig /etc/kubernetes/kubelet.conf\n  everleaf agent adopt --dry-run\n\nOther kubelet flags are accepted and have no effect: the agent keeps certificates and nothing else."
)]
pub struct AgentArgs {
    /// What to do instead of keeping certificates by flags.
    #[command(subcommand)]
    pub command: Option<AgentCommand>,
    /// Directory that `agent join` has made; it stands for --bootstrap-kubeconfig, --kubeconfig,
    /// --cert-dir, both rotations, and the node's name and addresses, where these are not given
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Kubeconfig used until there is a certificate of our own
    #[arg(long, value_name = "FILE", alias = "experimental-bootstrap-kubeconfig")]
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// Kubeconfig of this node; written at bootstrap
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Directory of the certificates [default: /var/lib/kubelet/pki]
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// Renew the client certificate before it ends [default: false]
    #[arg(long, switch())]
    pub rotate_certificates: Option<bool>,
    /// Ask for a serving certificate and renew it [default: false]
    #[arg(long, switch())]
    pub rotate_server_certificates: Option<bool>,
    /// Kind of the client certificate's key, from the next renewal on: ECDSA-P256, ECDSA-P384,
    /// RSA-2048, RSA-3072, RSA-4096, ML-DSA-44, ML-DSA-65 or ML-DSA-87 [default: ECDSA-P256]
    #[arg(long, value_name = "KIND", value_parser = super::value::key_algorithm)]
    pub client_certificate_key_algorithm: Option<KeyAlgorithm>,
    /// The same for the serving certificate
    #[arg(long, value_name = "KIND", value_parser = super::value::key_algorithm)]
    pub server_certificate_key_algorithm: Option<KeyAlgorithm>,
    /// Where the keys of these certificates are made: `file`, in the cert dir, or a PKCS#11 token,
    /// pkcs11:token=NAME?module-path=/LIBRARY.so&pin-source=file:/PIN [default: file]
    #[arg(long, value_name = "file|URI")]
    pub key_store: Option<String>,
    /// Feature gates: RotateKubeletClientCertificate and RotateKubeletServerCertificate turn the
    /// two on
    #[arg(long, value_name = "Gate=BOOL,…")]
    pub feature_gates: Vec<String>,
    /// Node name instead of the host name
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,
    /// Address of the node, or one of each family
    #[arg(long, value_name = "IP[,IP]")]
    pub node_ip: Option<String>,
    /// KubeletConfiguration file; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory whose *.conf files are merged over --config, in the order of their names
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// Spread the first renewal of each of the node's own certificates over this share of its
    /// lifetime, such as 90%: for a fleet that is enrolled within minutes [default: 0%]
    #[arg(long, value_name = "PERCENT", value_parser = super::value::percent)]
    pub first_renewal_spread: Option<u8>,
    /// Keep the certificate that this profile describes, too; may be given several times
    #[arg(long, value_name = "FILE")]
    pub profile: Vec<PathBuf>,
    /// The same for each .yaml, .yml and .json file in this directory
    #[arg(long, value_name = "DIR")]
    pub profile_dir: Option<PathBuf>,
    /// Say what the profiles mean, or what is wrong with them, and leave
    #[arg(long)]
    pub check_profiles: bool,
    /// Do what is due, then leave
    #[arg(long)]
    pub once: bool,
    /// How often to look whether the cluster's CA is being replaced; 0: never [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = super::value::any_duration)]
    pub ca_refresh_interval: Option<std::time::Duration>,
    /// If the certificate has ended and no bootstrap kubeconfig helps, ask for another one by proof
    /// of the old key; the API server must be Everleaf's, with --late-reissue-max-age
    #[arg(long, action = ArgAction::Set, switch_or = "false")]
    pub late_reissue: bool,
    /// Address for /metrics, /livez and /readyz [default: none]
    #[arg(long, value_name = "IP:PORT")]
    pub metrics_bind_address: Option<String>,
    /// Address for /livez, /readyz and /metrics over TLS, with the serving certificate
    /// [default: none]
    #[arg(long, value_name = "IP:PORT")]
    pub tls_bind_address: Option<String>,
    /// Authorities whose clients may read /metrics and the reasons of /readyz there
    /// [default: nobody may]
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca_file: Option<PathBuf>,
    /// Exit with 3 when the certificate has expired and nothing works for five minutes
    #[arg(long, action = ArgAction::Set, switch_or = "false")]
    pub exit_on_expired_client_cert: bool,
    /// The kubelet's, which with TLS 1.3 alone may have a serving key of kind ML-DSA.
    #[arg(long, value_name = "VERSION", hide = true)]
    pub tls_min_version: Option<String>,
    /// The kubelet's serving certificate of somebody else's making; only told to be in vain.
    #[arg(long, value_name = "FILE", hide = true)]
    pub tls_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", hide = true)]
    pub tls_private_key_file: Option<PathBuf>,
    /// Kubelet flags without an effect here.
    #[command(flatten)]
    pub ignored: IgnoredFlags<Kubelet>,
}

/// Other things that `agent` does.
#[derive(Debug, Clone, Subcommand)]
pub enum AgentCommand {
    /// Join a cluster by the line that `everleaf token create --print-join-command` prints, and
    /// keep this machine's certificates from then on
    Join(JoinArgs),
    /// Try out the whole way of a renewal on this node, by a certificate of ten minutes that is
    /// thrown away
    Rehearse(RehearseArgs),
    /// Take the client certificate of a kubeadm node over from its kubelet
    Adopt(AdoptArgs),
    /// Give it back to the kubelet, with the newest certificate
    HandBack(HandBackArgs),
}

/// Flags of `agent join`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  everleaf agent join https://10.0.0.1:6443 --token abcdef.0123456789abcdef --ca-cert-hash sha256:…\n  everleaf agent join 10.0.0.1:6443 --token-file - --ca-cert-hash sha256:… --no-start < token\n\nIt asks whoever answers there for kube-public/cluster-info, believes it when it is signed with the token and has an authority with that hash, asks\nagain over a connection that this authority vouches for, and only then writes anything: bootstrap-kubelet.conf and agent.yaml in --data-dir. Then it\nruns as `everleaf agent --data-dir DIR` does, until it is stopped; that command, or a service that has it, goes on after a restart. A machine that\nhas an identity there already keeps it, and the command fails, unless --replace puts it aside."
)]
pub struct JoinArgs {
    /// The API server
    #[arg(value_name = "URL")]
    pub url: String,
    /// The token to join with
    #[arg(
        long,
        value_name = "TOKEN",
        alias = "discovery-token",
        required_unless_present = "token_file",
        value_parser = super::value::secret
    )]
    pub token: Option<Secret>,
    /// File that holds the token, `-` for stdin: other users of this machine can read command lines
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Hash of the authority's public key; several where there are several authorities
    #[arg(
        long,
        value_name = "sha256:HEX",
        required = true,
        value_delimiter = ',',
        alias = "discovery-token-ca-cert-hash"
    )]
    pub ca_cert_hash: Vec<String>,
    /// Directory for everything that is kept [default: /var/lib/everleaf-agent for root, else
    /// $XDG_DATA_HOME/everleaf-agent]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Node name instead of the host name
    #[arg(long, value_name = "NAME", alias = "node-name")]
    pub hostname_override: Option<String>,
    /// Address of the node, or one of each family
    #[arg(long, value_name = "IP[,IP]")]
    pub node_ip: Option<String>,
    /// Ask for a serving certificate, too
    #[arg(long, action = ArgAction::Set, switch_or = "true")]
    pub rotate_server_certificates: bool,
    /// How often the agent is to look whether the cluster's CA is being replaced; 0: never
    /// [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = super::value::duration_text)]
    pub ca_refresh_interval: Option<String>,
    /// Put the identity that is there aside, and join anew
    #[arg(long)]
    pub replace: bool,
    /// Write the files and leave
    #[arg(long)]
    pub no_start: bool,
    /// How long to wait for an API server that does not answer yet, and for the token to be signed
    /// for
    #[arg(long, value_name = "DURATION", default_value = "2m0s", value_parser = super::value::duration)]
    pub timeout: std::time::Duration,
}

/// Flags of `agent rehearse`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  everleaf agent rehearse --kubeconfig /etc/kubernetes/kubelet.conf\n  everleaf agent rehearse --data-dir /var/lib/everleaf-agent -o json\n\nIt makes a key in memory, asks for a certificate as a renewal does, waits for it, judges it, and connects to the API server with it; then it\nsays what the node may do, and removes the request where nodes may. No file is written, so a kubelet or an agent may run meanwhile.\nExit code 0: the node would renew; 1: it would not."
)]
pub struct RehearseArgs {
    /// Kubeconfig of this node, with its certificate
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "data_dir",
        conflicts_with = "data_dir"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// Directory that `agent join` has made; its kubelet.conf is used
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Kind of the key, as the agent is given it [default: ECDSA-P256]
    #[arg(long, value_name = "KIND", value_parser = super::value::key_algorithm)]
    pub client_certificate_key_algorithm: Option<KeyAlgorithm>,
    /// How long to wait for the certificate
    #[arg(long, value_name = "DURATION", default_value = "2m0s", value_parser = super::value::duration)]
    pub timeout: std::time::Duration,
    /// Form of the answer instead of lines for people
    #[arg(short, long, value_enum, value_name = "FORM")]
    pub output: Option<DocumentForm>,
}

/// Flags of `agent adopt`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  everleaf agent adopt --dry-run\n  systemctl stop kubelet && everleaf agent adopt\n\nIt looks at kubeconfig, certificate and configuration, refuses where something is wrong or another program writes to them, switches the\nkubelet's renewal off, and makes the kubeconfig name the certificate of the cert dir. It prints how to start the agent; start that, then the\nkubelet. Interrupted, it goes on when it is run again; `everleaf agent hand-back` undoes it at any time."
)]
pub struct AdoptArgs {
    /// Which node.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Flags of `agent hand-back`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  everleaf agent hand-back --dry-run\n  everleaf agent hand-back && systemctl restart kubelet\n\nStop the agent first. It switches the kubelet's renewal on if `everleaf agent adopt` had switched it off; the kubelet goes on with the newest\ncertificate, without a bootstrap."
)]
pub struct HandBackArgs {
    /// Which node.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Where a kubelet keeps its files.
#[derive(Debug, Clone, Args)]
pub struct PlaceArgs {
    /// The kubelet's kubeconfig
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/kubernetes/kubelet.conf"
    )]
    pub kubeconfig: PathBuf,
    /// The kubelet's directory
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet")]
    pub kubelet_root: PathBuf,
    /// Directory of the certificates [default: pki in --kubelet-root]
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// The kubelet's configuration [default: config.yaml in --kubelet-root]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Say what would be changed, file by file, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Forms of an answer for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DocumentForm {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}
