//! One task, one loop, one select. (Sketch; the loop follows.)

use std::sync::Arc;

use everleaf_rotation::{Kind, Notice};

use crate::clock::Clock;
use crate::config::Config;

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
    /// The metrics address cannot be bound.
    #[error("cannot listen on {address} (--metrics-bind-address): {source}")]
    Metrics {
        /// Where.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// Keeps the node's certificates renewed until `shutdown` resolves. Runs inside a tokio runtime.
pub async fn run(
    config: Config,
    clock: Arc<dyn Clock>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Outcome, AgentError> {
    run_with(config, clock, shutdown, |_, _| {}).await
}

/// Like [`run()`], and tells `observer` every notice of either machine, after it was logged.
pub async fn run_with(
    _config: Config,
    _clock: Arc<dyn Clock>,
    _shutdown: impl Future<Output = ()> + Send,
    _observer: impl FnMut(Kind, &Notice) + Send,
) -> Result<Outcome, AgentError> {
    unimplemented!()
}
