//! The shell (in progress).

use crate::config::Config;

/// Why the controllers could not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A signer's CA files cannot be used; one line per pair.
    #[error("{0}")]
    Issuer(String),
    /// A loop ended by a bug.
    #[error("the loop {0} ended unexpectedly: {1}")]
    LoopDied(&'static str, String),
}

/// Runs the configured loops until `shutdown` completes.
///
/// # Errors
/// At start, when CA files cannot be used. Later only when a loop dies of a bug: an API server that
/// is away, refuses or lacks the API is waited for.
pub async fn run(
    client: kube::Client,
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    let _ = (client, config);
    shutdown.await;
    unimplemented!()
}
