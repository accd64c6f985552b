//! Fetches the keys of issuers, beside the requests: what is asked when. How, is the caller's.

use super::Issuer;
use super::config::IssuerSource;
use super::keys::KeySet;
use crate::authn::Authenticator;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Fetches what is at a URL from whom these authorities (PEM; "": the host's) vouch for.
pub type Fetch =
    Arc<dyn Fn(String, String) -> BoxFuture<'static, Result<Bytes, String>> + Send + Sync>;

/// How old keys may become before they are fetched again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);
/// Least time between two fetches: tokens with made-up keys are no way to trouble an issuer.
const INTERVAL_MIN: Duration = Duration::from_secs(5);
/// Waits after a failure: the first, and the longest.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How often a failure that stays the same is told again.
const TOLD_INTERVAL: Duration = Duration::from_secs(600);

/// Keeps the keys of all issuers of `authenticator` fresh, for ever, also those that a later
/// configuration names.
pub async fn keep_keys(authenticator: &Authenticator, fetch: Fetch) {
    loop {
        let mut keepers = JoinSet::new();
        for issuer in &authenticator.issuers().issuers {
            keepers.spawn(keep(Arc::clone(issuer), Arc::clone(&fetch)));
        }
        authenticator.issuers_change().await;
    }
}

async fn keep(issuer: Arc<Issuer>, fetch: Fetch) {
    let mut retry = RETRY_FIRST;
    let mut told: Option<(String, Instant)> = None;
    let source = issuer.config.source();
    loop {
        let begun = Instant::now();
        let outcome = match timeout(ANSWER_MAX, keys(source, &fetch)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("it did not answer within {ANSWER_MAX:?}")),
        };
        match outcome {
            Ok(keys) => {
                if told.take().is_some() {
                    tracing::info!("the keys of the issuer {} are there", source.url);
                }
                issuer.keys.store(Some(Arc::new(keys)));
                issuer.is_ready.send_replace(false);
                retry = RETRY_FIRST;
                sleep_until(begun + INTERVAL_MIN).await;
                issuer.is_ready.send_replace(true);
                tokio::select! {
                    () = sleep_until(begun + REFRESH_INTERVAL) => {}
                    () = issuer.is_asked.notified() => {}
                }
            }
            Err(fault) => {
                issuer.is_ready.send_replace(false);
                let is_old =
                    |(text, at): &(String, Instant)| *text == fault && begun < *at + TOLD_INTERVAL;
                if !told.as_ref().is_some_and(is_old) {
                    let meanwhile = match issuer.keys.load().is_some() {
                        true => "those that it had count meanwhile",
                        false => "its tokens are refused until they come",
                    };
                    tracing::warn!(
                        "cannot fetch the keys of the issuer {}: {fault}; {meanwhile}",
                        source.url
                    );
                    told = Some((fault, begun));
                }
                sleep(retry).await;
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
    }
}

async fn keys(source: &IssuerSource, fetch: &Fetch) -> Result<KeySet, String> {
    let get = async |url: &str| fetch(url.to_owned(), source.authority_pem.clone()).await;
    let url = &source.discovery_url;
    let document = get(url).await.map_err(|fault| format!("{url}: {fault}"))?;
    let document: Value =
        serde_json::from_slice(&document).map_err(|_| format!("{url}: it is not JSON"))?;
    let named = document["issuer"].as_str().unwrap_or("");
    if named != source.url {
        return Err(format!(
            "{url}: it is of the issuer {named:?}, not of this one"
        ));
    }
    let Some(url) = document["jwks_uri"].as_str() else {
        return Err(format!(
            "{url}: it does not say where the keys are (jwks_uri)"
        ));
    };
    if !url.starts_with("https://") {
        return Err(format!("its keys are at {url:?}, which is not https://"));
    }
    let set = get(url).await.map_err(|fault| format!("{url}: {fault}"))?;
    KeySet::parse(&set).map_err(|fault| format!("{url}: {fault}"))
}
