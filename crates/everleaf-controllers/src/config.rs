//! What the loops need to run: checked settings, and the seams to time and randomness.
//!
//! A [`Config`] comes out of [`Options::validate`](crate::Options::validate) (flags) or is written
//! by hand (`up`). It names files but has not read them: [`run()`](crate::run()) does.

use crate::breaker::EARLY_RENEWALS_DEFAULT;
use crate::bucket::Rate;
use crate::builtin::BuiltinSigner;
use crate::cleaner::Ages;
use crate::issuance::LogConfig;
use crate::issuers::SharedIssuer;
use crate::pods::PodSigner;
use crate::serving::{Claim, ServingConfig};
use crate::telemetry::Telemetry;
use crate::upkeep::RootCaSource;
use everleaf_pki::RecentRequests;
use everleaf_time::WallClock;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Workers per loop. Upstream runs 5 (1 before 1.21); more helps when the API server is far.
pub const WORKERS_DEFAULT: usize = 8;

/// `--cluster-signing-duration` when it is not given: 8760h, as upstream.
pub const SIGNING_DURATION_DEFAULT: Duration = Duration::from_secs(8760 * 3600);

/// Sixteen unpredictable bytes for the next serial number; `Err` says why there are none.
pub type SerialSource = Arc<dyn Fn() -> Result<[u8; 16], String> + Send + Sync>;

/// A loop, or a group of loops, that is switched on and off together by `--controllers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loop {
    /// Approves kubelet client requests (`csrapproving`).
    Approver,
    /// Signs cluster-info for bootstrap tokens (`bootstrapsigner`).
    BootstrapSigner,
    /// Deletes old requests (`csrcleaner`).
    Cleaner,
    /// Deletes old PodCertificateRequests (`podcertificaterequest-cleaner-controller`).
    PodCertificateCleaner,
    /// Signs PodCertificateRequests; Kubernetes has no such loop.
    PodCertificateSigner,
    /// Publishes the certificate revocation list; Kubernetes has no such loop.
    RevocationListPublisher,
    /// Publishes the API server's CA in every namespace (`root-ca-cert-publisher`).
    RootCaPublisher,
    /// Approves kubelet serving requests by a policy; Kubernetes has no such loop.
    ServingApprover,
    /// Signs approved requests, one loop per signer (`csrsigning`).
    Signer,
    /// Deletes expired bootstrap tokens (`tokencleaner`).
    TokenCleaner,
    /// Publishes the API server's CA as a ClusterTrustBundle
    /// (`kube-apiserver-serving-clustertrustbundle-publisher-controller`).
    TrustBundlePublisher,
}

impl Loop {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Approver,
        Self::Signer,
        Self::Cleaner,
        Self::ServingApprover,
        Self::BootstrapSigner,
        Self::TokenCleaner,
        Self::RootCaPublisher,
        Self::TrustBundlePublisher,
        Self::PodCertificateSigner,
        Self::PodCertificateCleaner,
        Self::RevocationListPublisher,
    ];
    /// Those that `*` stands for.
    pub const DEFAULT: [Self; 3] = [Self::Approver, Self::Signer, Self::Cleaner];

    /// Whether it works on signing requests.
    pub const fn is_about_requests(self) -> bool {
        !matches!(
            self,
            Self::BootstrapSigner
                | Self::PodCertificateCleaner
                | Self::PodCertificateSigner
                | Self::RevocationListPublisher
                | Self::RootCaPublisher
                | Self::TokenCleaner
                | Self::TrustBundlePublisher
        )
    }

    /// The short name in `--controllers`, known to every version of kube-controller-manager that
    /// has it.
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::Approver => "csrapproving",
            Self::BootstrapSigner => "bootstrapsigner",
            Self::Cleaner => "csrcleaner",
            Self::PodCertificateSigner => "pod-certificate-signer",
            Self::RevocationListPublisher => "revocation-list-publisher",
            Self::RootCaPublisher => "root-ca-cert-publisher",
            Self::ServingApprover => "kubelet-serving-approver",
            Self::Signer => "csrsigning",
            Self::TokenCleaner => "tokencleaner",
            // They never had another one.
            Self::PodCertificateCleaner | Self::TrustBundlePublisher => self.long_name(),
        }
    }

    /// The long name in `--controllers`, since 1.27.
    pub const fn long_name(self) -> &'static str {
        match self {
            Self::Approver => "certificatesigningrequest-approving-controller",
            Self::BootstrapSigner => "bootstrap-signer-controller",
            Self::Cleaner => "certificatesigningrequest-cleaner-controller",
            Self::PodCertificateCleaner => "podcertificaterequest-cleaner-controller",
            Self::PodCertificateSigner => "podcertificaterequest-signing-controller",
            Self::RevocationListPublisher => "certificate-revocation-list-publisher-controller",
            Self::RootCaPublisher => "root-ca-certificate-publisher-controller",
            Self::ServingApprover => "kubelet-serving-approving-controller",
            Self::Signer => "certificatesigningrequest-signing-controller",
            Self::TokenCleaner => "token-cleaner-controller",
            Self::TrustBundlePublisher => {
                "kube-apiserver-serving-clustertrustbundle-publisher-controller"
            }
        }
    }
}

/// The files of a CA: read at start and looked at again every minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaFiles {
    /// Exactly one CA certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM: PKCS#8 (encrypted or not), PKCS#1 or SEC1. Or a `pkcs11:` URI.
    pub key: PathBuf,
    /// The certificates above it, PEM, nearest first: they go along with what is signed.
    pub chain: Option<PathBuf>,
    /// The password of an encrypted key.
    pub password: Option<PathBuf>,
}

/// Where a signer's key and certificate come from.
#[derive(Clone)]
pub enum IssuerSource {
    /// Files.
    Files(CaFiles),
    /// In memory, where whoever put it there may replace it (`up`, tests).
    Memory(SharedIssuer),
}

impl fmt::Debug for IssuerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(files) => files.fmt(f),
            Self::Memory(_) => f.write_str("Memory(…)"),
        }
    }
}

/// How fast the loops may call the API server, over all of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ApiLimit {
    /// As the operator said (`--kube-api-qps`, `--kube-api-burst`).
    Fixed(Rate),
    /// No limit: the caller is in process, or the operator switched it off.
    Off,
    /// None against an Everleaf server, which shares its capacity itself, this one against others:
    /// what their priority and fairness is tuned for is kube-controller-manager's.
    UnlessEverleaf(Rate),
}

/// kube-controller-manager's (kubernetes 1.37 `pkg/controller/apis/config/v1alpha1/defaults.go`).
pub const RATE_DEFAULT: Rate = Rate {
    per_second: 20.0,
    burst: 30,
};

impl Default for ApiLimit {
    fn default() -> Self {
        Self::UnlessEverleaf(RATE_DEFAULT)
    }
}

/// Settings of [`run()`](crate::run()). Fill it with [`Config::new`] and change what differs.
#[derive(Clone)]
pub struct Config {
    /// Ages at which the cleaner deletes.
    pub ages: Ages,
    /// Client-side limit of API calls.
    pub api_limit: ApiLimit,
    /// Wall clock; the dates in certificates are its.
    pub clock: WallClock,
    /// Renewals of one subject within ten minutes that nothing required, before the loop breaker
    /// delays further ones.
    pub early_renewals: usize,
    /// Where issued certificates are logged before anybody has them; `None`: nowhere.
    pub issuance_log: Option<LogConfig>,
    /// The signers to run and their issuers. Requests for other signers stay as they are.
    pub issuers: BTreeMap<BuiltinSigner, IssuerSource>,
    /// The loops to run.
    pub loops: BTreeSet<Loop>,
    /// Who signs PodCertificateRequests, when [`Loop::PodCertificateSigner`] runs.
    pub pod_signer: Option<PodSigner>,
    /// The signers whose CA is published as a ClusterTrustBundle; those without one are left out.
    pub published_signers: BTreeSet<BuiltinSigner>,
    /// Requests that others in this process have verified: those of an API server that is in it.
    pub recent_requests: RecentRequests,
    /// The CA that [`Loop::RootCaPublisher`] and [`Loop::TrustBundlePublisher`] publish; they
    /// cannot run without one.
    pub root_ca: Option<RootCaSource>,
    /// Randomness of serial numbers.
    pub serials: SerialSource,
    /// Name of the API server in metrics, `host:port`.
    pub server_host: String,
    /// How serving requests are approved, when [`Loop::ServingApprover`] runs.
    pub serving_approval: ServingConfig,
    /// Longest validity that is granted (`--cluster-signing-duration`).
    pub signing_duration: Duration,
    /// Whether certificates that the end of a CA from files cuts short end at different times
    /// (`--spread-ca-end`).
    pub spread_ca_end: bool,
    /// Receives what happens: logs, metrics, readiness.
    pub telemetry: Arc<Telemetry>,
    /// Workers per loop; at least 1.
    pub workers: usize,
}

impl Config {
    /// The loops that are on by default, no issuer, defaults otherwise, real time and system
    /// entropy.
    pub fn new() -> Self {
        Self {
            ages: Ages::default(),
            api_limit: ApiLimit::default(),
            clock: system_clock(),
            early_renewals: EARLY_RENEWALS_DEFAULT,
            issuance_log: None,
            issuers: BTreeMap::new(),
            loops: BTreeSet::from(Loop::DEFAULT),
            pod_signer: None,
            published_signers: BTreeSet::new(),
            recent_requests: RecentRequests::default(),
            root_ca: None,
            serials: system_serials(),
            server_host: String::new(),
            serving_approval: ServingConfig::default(),
            signing_duration: SIGNING_DURATION_DEFAULT,
            spread_ca_end: false,
            telemetry: Arc::new(Telemetry::default()),
            workers: WORKERS_DEFAULT,
        }
    }

    /// The approver of serving requests, if it runs.
    pub(crate) fn serving(&self) -> Option<&ServingConfig> {
        let runs = self.loops.contains(&Loop::ServingApprover);
        runs.then_some(&self.serving_approval)
    }

    /// Where the API server is known to be reached: no node may have that.
    pub(crate) fn api_server(&self) -> Vec<Claim> {
        let known = self.serving_approval.api_server.iter().cloned();
        known.chain(self.api_server_host()).collect()
    }

    fn api_server_host(&self) -> Option<Claim> {
        Claim::of_host(&self.server_host)
    }

    /// For a server in the same process (`up`): one CA in memory signs for every built-in signer,
    /// and calls are not limited.
    pub fn in_process(issuer: impl Into<SharedIssuer>) -> Self {
        let issuer = issuer.into();
        let issuers = BuiltinSigner::ALL
            .into_iter()
            .map(|signer| (signer, IssuerSource::Memory(issuer.clone())))
            .collect();
        Self {
            api_limit: ApiLimit::Off,
            issuers,
            server_host: "in-process".to_owned(),
            ..Self::new()
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("ages", &self.ages)
            .field("api_limit", &self.api_limit)
            .field("issuance_log", &self.issuance_log)
            .field("issuers", &self.issuers)
            .field("loops", &self.loops)
            .field("serving_approval", &self.serving_approval)
            .field("signing_duration", &self.signing_duration)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// The machine's wall clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that reads wall time"
)]
pub fn system_clock() -> WallClock {
    // Through `SystemTime` and nothing lower, so that clock-faking tools reach it.
    Arc::new(|| Timestamp::try_from(std::time::SystemTime::now()).unwrap_or(Timestamp::MIN))
}

/// The system's entropy.
pub fn system_serials() -> SerialSource {
    Arc::new(|| {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .map_err(|error| format!("the system gives no random bytes: {error}"))?;
        Ok(bytes)
    })
}
