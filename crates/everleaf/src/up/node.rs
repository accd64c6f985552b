//! This host's node inside `up`: an ordinary agent over TLS, and the token it joins with.
//!
//! The token is in memory only. The server accepts it for an hour at a time, from when the node
//! needs it until its certificate is installed.

use super::authority::Authority;
use super::data_dir::DataDir;
use super::kubeconfigs::{self, NODE, NODE_CERT_DIR};
use super::token;
use crate::shutdown::Shutdown;
use crate::told::Told;
use anyhow::Result;
use everleaf_agent::join::BootstrapToken;
use everleaf_agent::kubeconfig::{Cluster, Source, Trust};
use everleaf_agent::{Bootstrap, Clock, Config, Kubeconfig, Secret};
use everleaf_apiserver::handler::Server;
use everleaf_pki::trust::{Presented, Purpose, TrustBundle};
use everleaf_pki::{Credential, KeyAlgorithm};
use everleaf_rotation::{CertificateId, Notice};
use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Hours for which the token is good each time.
const TOKEN_HOURS: i64 = 1;
/// How often the node looks whether the CA is being replaced: the server is in the same process.
const CA_REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// Until a change that failed is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// What the agent's notices mean for the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenChange {
    Grant,
    Revoke,
}

/// The node that is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// The kind of its keys.
    pub(crate) key: KeyAlgorithm,
}

/// The node, ready to run.
pub(crate) struct Node {
    config: Config,
    server: Arc<Server>,
    token: BootstrapToken,
    /// With that token; the agent reads it when it needs it.
    bootstrap: Arc<Mutex<Kubeconfig>>,
}

impl Node {
    /// Writes its kubeconfig, and lets its token in if it has no certificate yet.
    pub(crate) async fn prepare(
        dir: &DataDir,
        server: Arc<Server>,
        Whose { name, key }: Whose<'_>,
        cluster: Cluster,
        authority: &Authority,
        now: Timestamp,
    ) -> Result<Self> {
        kubeconfigs::ensure_node(dir, cluster.clone())?;
        let token = token::generate()?;
        let mut config = Config::for_node(name, dir.path(NODE), dir.path(NODE_CERT_DIR));
        // A serving certificate waits for a person's approval, and nothing on this host serves with
        // it.
        config.serving = false;
        config.client_key = key;
        config.serving_key = key;
        config.ca_refresh_interval = Some(CA_REFRESH_INTERVAL);
        let bootstrap = Arc::new(Mutex::new(kubeconfigs::with_token(cluster, &token)));
        config.bootstrap = Some(Bootstrap::InMemory(Arc::clone(&bootstrap)));
        if !has_usable_certificate(dir, authority, name, now) {
            grant(&token, &server, now).await?;
        }
        Ok(Self {
            config,
            server,
            token,
            bootstrap,
        })
    }

    /// Runs the agent, and lets the token in and out as it needs it.
    pub(crate) async fn run(self, clock: Arc<dyn Clock>, shutdown: Shutdown) -> Result<()> {
        let Self {
            config,
            server,
            token,
            bootstrap,
        } = self;
        let token = Arc::new(token);
        let (sender, changes) = watch::channel(None);
        let token_clock = Arc::clone(&clock);
        let granting = Arc::clone(&server);
        let watcher = tokio::spawn(follow(changes, move |change| {
            let (token, server) = (Arc::clone(&token), Arc::clone(&granting));
            let now = token_clock.wall();
            async move {
                match change {
                    TokenChange::Grant => grant(&token, &server, now).await,
                    TokenChange::Revoke => token::revoke(&token, &server).await,
                }
            }
        }));
        let sender = Arc::new(sender);
        let run = || {
            let sender = Arc::clone(&sender);
            let (authorities, bootstrap) = (Arc::clone(&server), Arc::clone(&bootstrap));
            let observe = move |id: &CertificateId, notice: &Notice| {
                // The CA may have been replaced since it was made.
                if matches!(notice, Notice::CredentialRefused { .. }) {
                    let pem = authorities.authenticator().client_ca_pem();
                    let mut bootstrap = bootstrap.lock().unwrap_or_else(PoisonError::into_inner);
                    bootstrap.cluster.trust = Trust::Bundle(Source::Inline(Secret::new(pem)));
                }
                if let Some(change) = token_change(id, notice) {
                    // The last one holds.
                    sender.send_replace(Some(change));
                }
            };
            let (clock, server) = (Arc::clone(&clock), Arc::clone(&server));
            let expose = move |observed| server.expose("node", observed);
            let shutdown = shutdown.clone().asked();
            everleaf_agent::run_with(config.clone(), clock, shutdown, observe, expose)
        };
        // The server is there for every node: it does not end with the trouble of this one.
        let mut told = Told::default();
        while let Err(error) = run().await {
            let error = crate::failure::chain(&error.into());
            if told.is_news(&error, Instant::now()) {
                tracing::warn!(
                    "this host's node has no agent: {error}; trying again every {} s",
                    RETRY_INTERVAL.as_secs()
                );
            }
            let wait = tokio::time::timeout(RETRY_INTERVAL, shutdown.clone().asked());
            if wait.await.is_ok() {
                break;
            }
        }
        drop(sender);
        watcher.await?;
        Ok(())
    }
}

/// Carries out the last change that was asked for, until it succeeds: the agent tells only once
/// that it is stuck, and a full disk must not keep the node out for good. Ends with the sender.
async fn follow<F: Future<Output = Result<()>>>(
    mut changes: watch::Receiver<Option<TokenChange>>,
    carry_out: impl Fn(TokenChange) -> F,
) {
    let mut owed: Option<TokenChange> = None;
    loop {
        let changed = match owed {
            None => Some(changes.changed().await),
            Some(_) => tokio::time::timeout(RETRY_INTERVAL, changes.changed())
                .await
                .ok(),
        };
        if let Some(Err(_)) = changed {
            return;
        }
        owed = match changed {
            Some(_) => *changes.borrow_and_update(),
            None => owed,
        };
        if let Some(change) = owed {
            match carry_out(change).await {
                Ok(()) => owed = None,
                Err(error) => {
                    tracing::warn!("{}; trying again", crate::failure::chain(&error));
                }
            }
        }
    }
}

fn token_change(id: &CertificateId, notice: &Notice) -> Option<TokenChange> {
    match notice {
        Notice::Installed { .. } if id.renews_itself() => Some(TokenChange::Revoke),
        // Before the agent turns to the token, which it does after some refusals: one that it finds
        // without rights keeps it out for another minute.
        Notice::CredentialRefused { .. } if id.renews_itself() => Some(TokenChange::Grant),
        // Every credential was refused, as after a sleep past the end of a short certificate: let
        // it join again.
        Notice::Stuck { .. } if id.renews_itself() => Some(TokenChange::Grant),
        _ => None,
    }
}

async fn grant(token: &BootstrapToken, server: &Server, now: Timestamp) -> Result<()> {
    let expires = token::lasting(TOKEN_HOURS, now);
    token::grant(token, server, expires, "for this host's node", now).await
}

/// Whose certificate the node's cert dir holds; none when there is none.
pub(crate) fn name_in_use(dir: &DataDir) -> Option<String> {
    let name = format!("{NODE_CERT_DIR}/kubelet-client-current.pem");
    let pem = dir.read(&name).ok()??;
    let credential = Credential::from_pem(pem.as_bytes()).ok()?;
    let subject = credential.leaf().subject();
    Some(subject.common_name.strip_prefix("system:node:")?.to_owned())
}

/// A certificate of this node on disk that this server will accept. The server's clock is this
/// process's.
fn has_usable_certificate(
    dir: &DataDir,
    authority: &Authority,
    node_name: &str,
    now: Timestamp,
) -> bool {
    if name_in_use(dir).is_none_or(|in_use| in_use != node_name) {
        return false;
    }
    let name = format!("{NODE_CERT_DIR}/kubelet-client-current.pem");
    let Ok(Some(pem)) = dir.read(&name) else {
        return false;
    };
    let anchors: TrustBundle = authority.anchors.iter().cloned().collect();
    Credential::from_pem(pem.as_bytes()).is_ok_and(|credential| {
        let shown = Presented::from(credential.chain());
        anchors.judge(&shown, Purpose::ClientAuth, now).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[tokio::test(start_paused = true)]
    async fn a_change_that_fails_is_tried_again_until_another_is_asked_for() {
        let (sender, changes) = watch::channel(None);
        let tried = Mutex::new(Vec::new());
        let carry_out = |change| {
            let mut tried = tried.lock().unwrap();
            tried.push(change);
            let full = || Err(anyhow::anyhow!("no space is left"));
            std::future::ready(match (change, tried.len()) {
                (TokenChange::Grant, ..3) => full(),
                (TokenChange::Grant, 3) | (TokenChange::Revoke, _) => Ok(()),
                (TokenChange::Grant, _) => {
                    sender.send_replace(Some(TokenChange::Revoke));
                    full()
                }
            })
        };
        sender.send_replace(Some(TokenChange::Grant));
        let following = follow(changes, carry_out);
        let asked = async {
            tokio::time::sleep(RETRY_INTERVAL * 10).await;
            assert_eq!(*tried.lock().unwrap(), [TokenChange::Grant; 3]);
            sender.send_replace(Some(TokenChange::Grant));
            tokio::time::sleep(RETRY_INTERVAL * 10).await;
        };
        tokio::select! {
            () = following => {}
            () = asked => {}
        }
        let all = tried.into_inner().unwrap();
        assert_eq!(all[3..], [TokenChange::Grant, TokenChange::Revoke]);
    }
}
