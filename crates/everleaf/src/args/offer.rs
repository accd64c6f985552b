//! Flags about what a server serves, and how much at once: kube-apiserver's.

use super::value::Switch as _;
use clap::Args;

/// What is served.
#[derive(Debug, Clone, Args)]
pub(crate) struct OfferArgs {
    /// Reads served at once; 0 is any number. Watches do not count, members of system:masters are
    /// never turned away, a quarter is kept for nodes and the control plane
    #[arg(
        long,
        value_name = "N",
        default_value_t = 400,
        allow_negative_numbers = true
    )]
    pub(crate) max_requests_inflight: i64,
    /// Writes served at once; 0 is any number
    #[arg(
        long,
        value_name = "N",
        default_value_t = 200,
        allow_negative_numbers = true
    )]
    pub(crate) max_mutating_requests_inflight: i64,
    /// Share of requests over HTTP/2 after which the client is sent away to connect anew (GOAWAY),
    /// for several servers behind a load balancer: 0 to 0.02; 0.001 is a good one to begin with
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    pub(crate) goaway_chance: f64,
    /// Release of Kubernetes to act as, 1.34 to 1.37, as 1.36 or kube=1.36: which versions are
    /// served, which gates are on [default: kube=1.37]
    #[arg(long, value_name = "[kube=]1.N", value_delimiter = ',')]
    pub(crate) emulated_version: Vec<String>,
    /// Oldest release of other servers of the control plane to get on with, as 1.36 or kube=1.36,
    /// 1.34 up to the one of --emulated-version [default: the one before that]
    #[arg(long, value_name = "[kube=]1.N", value_delimiter = ',')]
    pub(crate) min_compatibility_version: Vec<String>,
    /// Serve what is served in a version (none that is alpha) in its later versions, too, also
    /// those that the release of --emulated-version does not have
    #[arg(long, switch())]
    pub(crate) emulation_forward_compatible: Option<bool>,
    /// Serve what --runtime-config names even if the release of --emulated-version does not have it
    #[arg(long, switch())]
    pub(crate) runtime_config_emulation_forward_compatible: Option<bool>,
    /// Switches of Kubernetes, as NAME=true: ClusterTrustBundle, ConstrainedImpersonation,
    /// PodCertificateRequest, WatchListCompression, AllAlpha, AllBeta
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) feature_gates: Vec<String>,
    /// Versions to serve or not, as certificates.k8s.io/v1beta1=true,
    /// certificates.k8s.io/v1/clustertrustbundles=false, api/all=true, api/ga, api/beta, api/alpha
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) runtime_config: Vec<String>,
}
