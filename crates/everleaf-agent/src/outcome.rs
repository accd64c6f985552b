//! How an agent ends.

/// Why an agent ended in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It was asked to stop.
    Stopped,
    /// `--once`: everything due was done.
    Done,
    /// No credential has worked for five minutes while the server answered, and
    /// `--exit-on-expired-client-cert` is set: exit code 3.
    CredentialExpired,
}

/// Why an agent could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The kubeconfigs give nothing to work with.
    #[error("{0}")]
    Kubeconfig(String),
    /// The cert dir cannot be used.
    #[error(transparent)]
    Store(#[from] everleaf_rotation::StoreError),
    /// The node's keys are in a token, or should be, and that cannot go on.
    #[error("{0}")]
    KeyStore(String),
    /// An address for metrics cannot be bound.
    #[error("cannot listen on {address} ({flag})")]
    Metrics {
        /// `--metrics-bind-address` or `--tls-bind-address`.
        flag: &'static str,
        /// As the flag gives it; mostly another process has it.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The TLS endpoint cannot be made.
    #[error("--tls-client-ca-file cannot be used: {0}")]
    Tls(String),
    /// `--once`: everything else is done, and some profiles cannot be used.
    #[error("{0}")]
    Profiles(String),
    /// `--once`: what was due could not be done.
    #[error("the {name} certificate could not be renewed: {reason}")]
    NotDone {
        /// As metrics and log name it: `client`, `serving`.
        name: String,
        /// The last failure.
        reason: String,
    },
}
