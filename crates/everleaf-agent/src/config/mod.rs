//! What an agent is to do, as plain data.
//!
//! [`Options`] is what a command line says; [`Options::resolve`] adds the KubeletConfiguration
//! files and the facts of the host, checks everything at once and yields a [`Config`], which is
//! all that [`run()`](crate::run()) looks at. Flag names, field names and defaults are the
//! kubelet's.
//! Nothing here touches a certificate or a socket.

mod drop_ins;
mod gates;
mod kubelet;
pub(crate) mod nearest;

use crate::authorities::INTERVAL_DEFAULT;
use crate::endpoint::TlsEndpoint;
use crate::keys::KeyStore;
use crate::kubeconfig::Kubeconfig;
use crate::profile::ProfileFiles;
use everleaf_pki::KeyAlgorithm;
use everleaf_pki::signer::is_dns1123_subdomain;
use everleaf_rotation::Timing;
use gates::Gates;
use kubelet::KubeletConfiguration;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The kubelet's default of `--cert-dir`.
pub const CERT_DIR_DEFAULT: &str = "/var/lib/kubelet/pki";

/// Shortest lifetime that API servers let a request ask for, in seconds.
const REQUESTED_SECONDS_MIN: i32 = 600;

/// What the command line says; `None` where it says nothing.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--kubeconfig`
    pub kubeconfig: Option<PathBuf>,
    /// `--bootstrap-kubeconfig`
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// `--cert-dir`
    pub cert_dir: Option<PathBuf>,
    /// `--rotate-certificates`
    pub rotate_certificates: Option<bool>,
    /// `--rotate-server-certificates`
    pub rotate_server_certificates: Option<bool>,
    /// Each `--feature-gates`, as written: `A=true,B=false`.
    pub feature_gates: Vec<String>,
    /// `--hostname-override`
    pub hostname_override: Option<String>,
    /// `--node-ip`: one address, or an IPv4 and an IPv6 one.
    pub node_ip: Option<String>,
    /// `--client-certificate-key-algorithm`
    pub client_key: Option<KeyAlgorithm>,
    /// `--server-certificate-key-algorithm`
    pub serving_key: Option<KeyAlgorithm>,
    /// `--key-store`, as written.
    pub key_store: Option<String>,
    /// `--config`: a KubeletConfiguration file.
    pub config: Option<PathBuf>,
    /// `--config-dir`: files merged over it.
    pub config_dir: Option<PathBuf>,
    /// `--tls-min-version`
    pub tls_min_version: Option<String>,
    /// `--tls-cert-file` or `--tls-private-key-file` names a file.
    pub has_static_serving_pair: bool,
    /// `--metrics-bind-address`: `IP:PORT`, empty or absent for none.
    pub metrics_bind_address: Option<String>,
    /// `--tls-bind-address`: the same.
    pub tls_bind_address: Option<String>,
    /// `--tls-client-ca-file`
    pub tls_client_ca_file: Option<PathBuf>,
    /// Lifetime to ask for, in seconds; absent leaves it to the signer, as a kubelet does.
    pub requested_seconds: Option<i32>,
    /// `--ca-refresh-interval`; zero: never.
    pub ca_refresh_interval: Option<Duration>,
    /// `--first-renewal-spread`: percent of the lifetime.
    pub first_renewal_spread: Option<u8>,
    /// `--late-reissue`
    pub late_reissue: bool,
    /// Each `--profile`.
    pub profiles: Vec<PathBuf>,
    /// `--profile-dir`
    pub profile_dir: Option<PathBuf>,
    /// `--exit-on-expired-client-cert`
    pub exit_on_expired_client_cert: bool,
    /// `--once`
    pub once: bool,
}

/// Facts about the host, read once by the binary.
#[derive(Clone, Debug)]
pub struct Environment {
    /// As `uname -n` prints it.
    pub hostname: String,
    /// What relative paths on the command line start from.
    pub working_directory: PathBuf,
}

impl Environment {
    /// The facts of this host and process.
    pub fn of_this_host() -> std::io::Result<Self> {
        let hostname = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        Ok(Self {
            hostname,
            working_directory: std::path::absolute(".")?,
        })
    }
}

/// Something in options or files that must be repaired before the agent can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

/// Something worth a log line at start, but no obstacle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// True for what was probably not intended.
    pub is_warning: bool,
    /// For people.
    pub text: String,
}

/// What an agent is to do. All paths are absolute.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name: lower case, a DNS name.
    pub node_name: String,
    /// The kubeconfig used, and written when bootstrapping.
    pub kubeconfig: PathBuf,
    /// The credential for the first certificate, if there is one.
    pub bootstrap: Option<Bootstrap>,
    /// Directory of credentials, kubelet layout.
    pub cert_dir: PathBuf,
    /// Keep the client certificate renewed.
    pub client: bool,
    /// Whether the client certificate is renewed before it ends.
    pub renews: bool,
    /// Keep a serving certificate renewed.
    pub serving: bool,
    /// Kind of the client key.
    pub client_key: KeyAlgorithm,
    /// Kind of the serving key.
    pub serving_key: KeyAlgorithm,
    /// Where these keys are made.
    pub key_store: KeyStore,
    /// Addresses for the serving certificate while the Node object names none.
    pub node_ips: Vec<IpAddr>,
    /// Where `/metrics` and the health endpoints listen.
    pub metrics_bind_address: Option<SocketAddr>,
    /// Where they listen with the serving certificate; without one that is kept, with one that the
    /// agent makes itself.
    pub tls_endpoint: Option<TlsEndpoint>,
    /// `spec.expirationSeconds` of every request.
    pub requested_seconds: Option<i32>,
    /// How often it is looked whether the cluster's CA is being replaced; `None`: never.
    pub ca_refresh_interval: Option<Duration>,
    /// When the node's own certificates are renewed.
    pub timing: Timing,
    /// Further certificates, for programs of the node: read while the agent runs.
    pub profiles: ProfileFiles,
    /// Whether a node whose certificate has ended asks for another one by its old key.
    pub late_reissue: bool,
    /// Leave when no credential has worked for five minutes while the server answers.
    pub exit_on_expired_client_cert: bool,
    /// Do what is due, then leave.
    pub once: bool,
    /// Fields of the kubelet's configuration that concern no certificate.
    pub lets_be: Vec<String>,
    /// To be logged at start.
    pub remarks: Vec<Remark>,
}

/// Where the credential for the first certificate comes from.
#[derive(Clone, Debug)]
pub enum Bootstrap {
    /// `--bootstrap-kubeconfig`: read again each time it is needed.
    File(PathBuf),
    /// A kubeconfig that is on no disk (the agent of `everleaf up`), as its owner has it at the
    /// moment.
    InMemory(Arc<Mutex<Kubeconfig>>),
}

impl Bootstrap {
    /// Reads it now.
    pub fn read(&self) -> Result<Kubeconfig, crate::kubeconfig::KubeconfigError> {
        match self {
            Self::File(path) => Kubeconfig::read(path),
            Self::InMemory(kubeconfig) => {
                let kubeconfig = kubeconfig.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(kubeconfig.clone())
            }
        }
    }

    /// What to call it in messages.
    pub fn origin(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::InMemory(_) => Path::new("this process"),
        }
    }
}

impl Config {
    /// A config as `everleaf up` needs it for its own node: both certificates, everything else at
    /// its default. `kubeconfig` and `cert_dir` must be absolute.
    pub fn for_node(node_name: &str, kubeconfig: PathBuf, cert_dir: PathBuf) -> Self {
        Self {
            node_name: node_name.to_owned(),
            kubeconfig,
            bootstrap: None,
            cert_dir,
            client: true,
            renews: true,
            serving: true,
            client_key: KeyAlgorithm::EcdsaP256,
            serving_key: KeyAlgorithm::EcdsaP256,
            key_store: KeyStore::Unsaid,
            node_ips: Vec::new(),
            metrics_bind_address: None,
            tls_endpoint: None,
            requested_seconds: None,
            ca_refresh_interval: Some(INTERVAL_DEFAULT),
            timing: Timing::default(),
            profiles: ProfileFiles::default(),
            late_reissue: false,
            exit_on_expired_client_cert: false,
            once: false,
            lets_be: Vec::new(),
            remarks: Vec::new(),
        }
    }
}

impl Options {
    /// Reads `--config` and `--config-dir`, applies the kubelet's defaults and rules, and checks
    /// everything. All problems are reported together.
    pub fn resolve(&self, environment: &Environment) -> Result<Config, Vec<Problem>> {
        let mut resolver = Resolver::default();
        let config = resolver.resolve(self, environment);
        match config {
            Some(config) if resolver.problems.is_empty() => Ok(config),
            _ => Err(resolver.problems),
        }
    }
}

/// Collects problems and remarks on the way from options to config.
#[derive(Default)]
struct Resolver {
    problems: Vec<Problem>,
    remarks: Vec<Remark>,
}

impl Resolver {
    fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(Problem(text.into()));
    }

    fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(Remark {
            is_warning: false,
            text: text.into(),
        });
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.remarks.push(Remark {
            is_warning: true,
            text: text.into(),
        });
    }

    fn check_client(&mut self, options: &Options, client: bool, renews: bool) {
        if client && !renews {
            self.warn(
                "--bootstrap-kubeconfig without --rotate-certificates: one certificate is fetched, and it is not renewed \
                 before it ends; give --rotate-certificates to renew it",
            );
        }
        if options.late_reissue && !client {
            self.warn(
                "--late-reissue has no effect: this agent keeps no client certificate; give --rotate-certificates, too",
            );
        }
    }

    fn resolve(&mut self, options: &Options, environment: &Environment) -> Option<Config> {
        let absolute = |path: &PathBuf| environment.working_directory.join(path);
        let [config, config_dir] = [&options.config, &options.config_dir].map(|path| {
            path.as_ref()
                .filter(|p| !p.as_os_str().is_empty())
                .map(absolute)
        });
        let file = KubeletConfiguration::read(config.as_deref(), config_dir.as_deref(), self);
        let gates = Gates::resolve(&file.feature_gates, &options.feature_gates, self);
        let renews = options.rotate_certificates;
        let renews = renews.unwrap_or(file.rotate_certificates);
        // As a kubelet: a bootstrap kubeconfig is used, whatever becomes of the certificate.
        let client = renews || bootstrap_path(options).is_some();
        self.check_client(options, client, renews);
        let serving = options
            .rotate_server_certificates
            .unwrap_or(file.server_tls_bootstrap);
        self.check_switches(client || has_profiles(options), serving, &gates);
        let serving_key = options.serving_key.unwrap_or(file.serving_key);
        let client_key = options.client_key.unwrap_or(file.client_key);
        let key_store = self.key_store(options, [(client, client_key), (serving, serving_key)]);
        self.check_serving_key(
            serving && (config.is_some() || config_dir.is_some()),
            serving_key,
            options
                .tls_min_version
                .as_ref()
                .unwrap_or(&file.tls_min_version),
        );
        let kubeconfig = self.kubeconfig(options);
        let node_name = self.node_name(options, environment);
        let node_ips = self.node_ips(options.node_ip.as_deref());
        let (metrics_bind_address, tls_endpoint) = self.listeners(options, environment);
        if file.has_static_serving_pair || options.has_static_serving_pair {
            self.warn_of_static_pair(serving, tls_endpoint.is_some());
        }
        let requested_seconds = self.lifetime(options.requested_seconds);
        let default_dir = PathBuf::from(CERT_DIR_DEFAULT);
        Some(Config {
            timing: self.timing(options.first_renewal_spread),
            lets_be: file.lets_be,
            profiles: ProfileFiles {
                files: options.profiles.iter().map(absolute).collect(),
                directory: options.profile_dir.as_ref().map(absolute),
            },
            node_name: node_name?,
            kubeconfig: absolute(kubeconfig?),
            bootstrap: bootstrap_path(options).map(|path| Bootstrap::File(absolute(path))),
            cert_dir: absolute(options.cert_dir.as_ref().unwrap_or(&default_dir)),
            client,
            renews,
            serving,
            client_key,
            serving_key,
            key_store,
            node_ips,
            metrics_bind_address,
            tls_endpoint,
            requested_seconds,
            ca_refresh_interval: Some(options.ca_refresh_interval.unwrap_or(INTERVAL_DEFAULT))
                .filter(|interval| !interval.is_zero() && !options.once),
            late_reissue: options.late_reissue,
            exit_on_expired_client_cert: options.exit_on_expired_client_cert,
            once: options.once,
            remarks: std::mem::take(&mut self.remarks),
        })
    }

    fn kubeconfig<'a>(&mut self, options: &'a Options) -> Option<&'a PathBuf> {
        let given = options.kubeconfig.as_ref();
        let given = given.filter(|path| !path.as_os_str().is_empty());
        if given.is_none() {
            self.problem(
                "--kubeconfig is required: it names the API server, and is written when \
                 bootstrapping",
            );
        }
        given
    }

    fn key_store(&mut self, options: &Options, kinds: [(bool, KeyAlgorithm); 2]) -> KeyStore {
        const FLAG: &str = "--key-store";
        let text = options.key_store.as_deref();
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return KeyStore::Unsaid;
        };
        let store = KeyStore::parse(text).unwrap_or_else(|error| {
            self.problem(format!("{FLAG}: {error}"));
            KeyStore::Unsaid
        });
        let wanted = kinds.into_iter().filter(|(is_wanted, _)| *is_wanted);
        let problem = wanted
            .filter_map(|(_, kind)| store.check(kind).err())
            .next();
        if let Some(problem) = problem {
            self.problem(format!("{FLAG}: {problem}"));
        }
        store
    }

    fn lifetime(&mut self, requested_seconds: Option<i32>) -> Option<i32> {
        if requested_seconds.is_some_and(|seconds| seconds < REQUESTED_SECONDS_MIN) {
            self.problem(format!(
                "the requested lifetime must be at least {REQUESTED_SECONDS_MIN} s; API servers \
                 refuse less"
            ));
        }
        requested_seconds
    }

    /// A serving pair that somebody else keeps is of no use here.
    fn warn_of_static_pair(&mut self, serving: bool, has_endpoint: bool) {
        if serving {
            self.warn(
                "tlsCertFile/tlsPrivateKeyFile are ignored: serverTLSBootstrap is on, the \
                 requested serving certificate is used",
            );
        } else if has_endpoint {
            self.warn(
                "--tls-bind-address shows a certificate that the agent makes itself: tlsCertFile/tlsPrivateKeyFile are the \
                 kubelet's; give --rotate-server-certificates for one that the cluster's clients can verify",
            );
        }
    }

    fn timing(&mut self, first_spread: Option<u8>) -> Timing {
        Timing::default()
            .with_first_spread(first_spread.unwrap_or(0))
            .unwrap_or_else(|error| {
                self.problem(format!("--first-renewal-spread: {error}"));
                Timing::default()
            })
    }

    fn check_switches(&mut self, client: bool, serving: bool, gates: &Gates) {
        if serving && !gates.rotate_kubelet_server_certificate {
            self.problem(
                "serverTLSBootstrap (--rotate-server-certificates) needs the feature gate \
                 RotateKubeletServerCertificate, which is off: turn the gate on, or the field off",
            );
        }
        if !client && !serving {
            self.problem(
                "nothing to do: give --rotate-certificates, --bootstrap-kubeconfig, \
                 --rotate-server-certificates, --profile, --profile-dir, or a --config or --config-dir with rotateCertificates or serverTLSBootstrap; \
                 to join a cluster, type the line that `everleaf token create --print-join-command` prints there \
                 (join https://HOST:6443 --token …)",
            );
        }
    }

    /// As the kubelet, which would not start: it serves with the certificate (Kubernetes 1.38,
    /// `pkg/kubelet/apis/config/validation/validation.go`).
    fn check_serving_key(&mut self, has_kubelet: bool, key: KeyAlgorithm, tls_min_version: &str) {
        const TLS_13: &str = "VersionTLS13";
        if has_kubelet && matches!(key, KeyAlgorithm::MlDsa(_)) && tls_min_version != TLS_13 {
            self.problem(format!(
                "serverCertificateKeyAlgorithm {key} needs tlsMinVersion: {TLS_13}: ML-DSA certificates work with TLS \
                 1.3 only, and a kubelet with this file does not start"
            ));
        }
    }

    /// Trimmed, lower-cased, and what a Node can be named (pkg/util/node `GetHostname`).
    fn node_name(&mut self, options: &Options, environment: &Environment) -> Option<String> {
        let (what, text) = match &options.hostname_override {
            Some(text) if !text.is_empty() => ("--hostname-override", text.as_str()),
            _ => ("the host's name", environment.hostname.as_str()),
        };
        let name = text.trim().to_lowercase();
        if name.is_empty() {
            self.problem(format!("{what} is blank; a node needs a name"));
            return None;
        }
        if !is_dns1123_subdomain(&name) {
            self.problem(format!(
                "{what} {name:?} cannot name a node: only lower-case letters, digits, '-' and \
                 '.', at most 253, each part beginning and ending with a letter or digit"
            ));
            return None;
        }
        Some(name)
    }

    fn node_ips(&mut self, text: Option<&str>) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for part in text.unwrap_or_default().split(',').map(str::trim) {
            if part.is_empty() {
                continue;
            }
            match crate::identity::parse_ip(part) {
                Some(address) if address.is_unspecified() => self.remark(format!(
                    "--node-ip {part} only says which family to prefer; no address is taken from it"
                )),
                Some(address) => addresses.push(address),
                None => self.problem(format!("--node-ip: {part:?} is not an IP address")),
            }
        }
        let families: Vec<_> = addresses.iter().map(IpAddr::is_ipv4).collect();
        if addresses.len() > 2 || matches!(families[..], [a, b] if a == b) {
            self.problem("--node-ip takes one address, or an IPv4 and an IPv6 one");
        }
        addresses
    }

    fn listeners(
        &mut self,
        options: &Options,
        environment: &Environment,
    ) -> (Option<SocketAddr>, Option<TlsEndpoint>) {
        let plain = options.metrics_bind_address.as_deref();
        let plain = self.address("--metrics-bind-address", plain);
        let client_ca_file = options.tls_client_ca_file.as_ref();
        let client_ca_file = client_ca_file.map(|path| environment.working_directory.join(path));
        (plain, self.tls_endpoint(options, client_ca_file))
    }

    fn tls_endpoint(
        &mut self,
        options: &Options,
        client_ca_file: Option<PathBuf>,
    ) -> Option<TlsEndpoint> {
        let flag = "--tls-bind-address";
        let text = options.tls_bind_address.as_deref();
        if text.is_none_or(str::is_empty) {
            if client_ca_file.is_some() {
                self.problem(format!(
                    "--tls-client-ca-file has no meaning without {flag}"
                ));
            }
            return None;
        }
        Some(TlsEndpoint {
            address: self.address(flag, text)?,
            client_ca_file,
        })
    }

    fn address(&mut self, flag: &str, text: Option<&str>) -> Option<SocketAddr> {
        let text = text.filter(|text| !text.is_empty())?;
        let address = text.parse().ok();
        if address.is_none() {
            self.problem(format!(
                "{flag}: {text:?} is not IP:PORT (such as 127.0.0.1:10355)"
            ));
        }
        address
    }
}

fn has_profiles(options: &Options) -> bool {
    !options.profiles.is_empty() || options.profile_dir.is_some()
}

fn bootstrap_path(options: &Options) -> Option<&PathBuf> {
    let path = options.bootstrap_kubeconfig.as_ref()?;
    (!path.as_os_str().is_empty()).then_some(path)
}

#[cfg(test)]
mod tests;
