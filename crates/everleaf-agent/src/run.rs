//! One task, one loop, one select.
//!
//! Waits for whichever comes first: an answer, the time for something, a clock that was set, or the
//! wish to stop. Everything else is in [`crate::node`].

use crate::clock::{Clock, nap};
use crate::config::Config;
use crate::metrics::Scraped;
use crate::node::{News, Node};
use crate::outcome::{AgentError, Outcome};
use everleaf_observe::{Observed, serve_apart};
use everleaf_rotation::{CertificateId, Notice};
use futures_util::StreamExt;
use std::sync::Arc;

/// Keeps the node's certificates renewed until `shutdown` resolves. Runs inside a tokio runtime.
///
/// # Errors
/// When it cannot start: no usable kubeconfig, a cert dir that cannot be written or is another's.
/// Once started, trouble with the server or the disk is told and retried, not returned.
pub async fn run(
    config: Config,
    clock: Arc<dyn Clock>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Outcome, AgentError> {
    run_with(config, clock, shutdown, |_, _| {}, |_| {}).await
}

/// Like [`run()`], and tells `observer` every notice of each certificate, after it was logged.
/// `expose` is called once, with what the agent counts, for whoever shows it besides the agent's
/// own listener.
///
/// # Errors
/// As [`run()`].
pub async fn run_with(
    config: Config,
    clock: Arc<dyn Clock>,
    shutdown: impl Future<Output = ()> + Send,
    observer: impl FnMut(&CertificateId, &Notice) + Send + 'static,
    expose: impl FnOnce(Arc<dyn Observed>) + Send,
) -> Result<Outcome, AgentError> {
    let bound = config.metrics_bind_address.map(|address| {
        std::net::TcpListener::bind(address)
            .map_err(|source| AgentError::Metrics { address, source })
    });
    let listener = bound.transpose()?;
    let mut node = Node::start(config, &clock, Box::new(observer))?;
    let scraped = Arc::new(Scraped {
        metrics: Arc::clone(&node.metrics),
        clock: Arc::clone(&clock),
    });
    expose(scraped.clone());
    let _listening = listener
        .map(|listener| {
            let address = listener.local_addr().ok();
            serve_apart(listener, scraped).map_err(|source| {
                let address = address.unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
                AgentError::Metrics { address, source }
            })
        })
        .transpose()?;
    let mut clock_set = clock.listen();
    tokio::pin!(shutdown);
    node.turn(clock.now(), News::Time);
    loop {
        if let Some(outcome) = node.outcome()? {
            return Ok(outcome);
        }
        let span = node.nap();
        let Node {
            answers,
            addresses,
            authorities,
            actions,
            ..
        } = &mut node;
        let news = tokio::select! {
            () = &mut shutdown => {
                tracing::debug!("requests under way are taken up again at the next start");
                return Ok(Outcome::Stopped);
            }
            Some(answer) = answers.next(), if !answers.is_empty() => {
                News::Answer(answer.map(Box::new))
            }
            Some(acted) = actions.next(), if !actions.is_empty() => News::Acted(acted),
            looked = addresses.looked() => News::Looked(looked),
            done = authorities.done() => News::Authorities(done),
            () = nap(span, &mut clock_set) => News::Time,
        };
        node.turn(clock.now(), news);
    }
}

#[cfg(test)]
mod tests;
