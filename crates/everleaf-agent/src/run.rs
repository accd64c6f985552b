//! One task, one loop, one select.
//!
//! Waits for whichever comes first: an answer, the time for something, a clock that was set, or the
//! wish to stop. Everything else is in [`crate::node`].

use crate::clock::{Clock, nap};
use crate::config::Config;
use crate::endpoint::door;
use crate::late_reissue::Door;
use crate::metrics::Scraped;
use crate::node::{News, Node};
use crate::outcome::{AgentError, Outcome};
use everleaf_observe::{Observed, serve_apart, serve_tls_apart};
use everleaf_rotation::{CertificateId, Notice};
use futures_util::StreamExt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::sync::Notify;

const PLAIN_FLAG: &str = "--metrics-bind-address";
const TLS_FLAG: &str = "--tls-bind-address";

/// A wish that a running agent reads its profiles again now. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Reload(Arc<Notify>);

impl Reload {
    /// Makes the agent do so; several wishes at once are one.
    pub fn ask(&self) {
        self.0.notify_one();
    }
}

/// Keeps the node's certificates renewed until `shutdown` resolves. Runs inside a tokio runtime.
/// The files of profiles are looked at every minute, and when `reload` is asked for.
///
/// # Errors
/// When it cannot start: no usable kubeconfig, a cert dir that cannot be written or is another's.
/// Once started, trouble with the server or the disk is told and retried, not returned.
pub async fn run(
    config: Config,
    clock: Arc<dyn Clock>,
    shutdown: impl Future<Output = ()> + Send,
    reload: Reload,
) -> Result<Outcome, AgentError> {
    run_reloadable(config, clock, shutdown, reload, |_, _| {}, |_| {}).await
}

/// Like [`run()`] without a `reload`, and tells `observer` every notice of each certificate, after
/// it was logged. `expose` is called once, with what the agent counts, for whoever shows it besides
/// the agent's own listener.
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
    let reload = Reload::default();
    run_reloadable(config, clock, shutdown, reload, observer, expose).await
}

async fn run_reloadable(
    config: Config,
    clock: Arc<dyn Clock>,
    shutdown: impl Future<Output = ()> + Send,
    reload: Reload,
    observer: impl FnMut(&CertificateId, &Notice) + Send + 'static,
    expose: impl FnOnce(Arc<dyn Observed>) + Send,
) -> Result<Outcome, AgentError> {
    let plain = config.metrics_bind_address;
    let plain = plain.map(|address| bind(PLAIN_FLAG, address)).transpose()?;
    let endpoint = config.tls_endpoint.clone();
    let tls = endpoint
        .as_ref()
        .map(|endpoint| bind(TLS_FLAG, endpoint.address));
    let tls = tls.transpose()?;
    let mut node = Node::start(config, &clock, Box::new(observer))?;
    let scraped = Arc::new(Scraped {
        metrics: Arc::clone(&node.metrics),
        clock: Arc::clone(&clock),
    });
    expose(scraped.clone());
    let _listening = plain
        .map(|(listener, address)| {
            let listening = serve_apart(listener, scraped.clone());
            listening.map_err(cannot_listen(PLAIN_FLAG, address))
        })
        .transpose()?;
    let _listening_tls = match (tls, &endpoint) {
        (Some((listener, address)), Some(endpoint)) => {
            let shown = Arc::clone(&node.shown);
            let door = door(endpoint, shown, Arc::clone(&clock)).map_err(AgentError::Tls)?;
            let listening = serve_tls_apart(listener, scraped, door);
            Some(listening.map_err(cannot_listen(TLS_FLAG, address))?)
        }
        _ => None,
    };
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
            late,
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
            () = reload.0.notified() => News::ReloadAsked,
            answered = Door::answered(late) => News::Late(answered),
            () = nap(span, &mut clock_set) => News::Time,
        };
        node.turn(clock.now(), news);
    }
}

fn bind(flag: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), AgentError> {
    let listener = TcpListener::bind(address).map_err(cannot_listen(flag, address))?;
    Ok((listener, address))
}

fn cannot_listen(flag: &'static str, address: SocketAddr) -> impl Fn(io::Error) -> AgentError {
    move |source| AgentError::Metrics {
        flag,
        address,
        source,
    }
}

#[cfg(test)]
mod tests;
