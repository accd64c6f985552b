//! Tokens of other issuers: JSON Web Tokens (RFC 7519) by whoever the configuration names, judged
//! by the keys that the issuer publishes (OpenID Connect Discovery 1.0).
//!
//! Keys are fetched beside the requests ([`keep_keys`]), kept while their issuer is away, and
//! fetched anew from time to time and when a token is signed by none that is known. A request waits
//! for its issuer in one case: its token's signature is not good, the keys are some seconds old,
//! and the issuer answered when it was asked last (`Issuers::freshen`).

mod config;
mod fault;
mod fetch;
mod file;
mod keys;
mod reach;
mod rules;

#[cfg(test)]
mod tests;

use self::fault::{Fault, Reason};
use self::keys::{Algorithm, KeySet, Outcome};
use super::jws::Token;
use crate::user::User;
use arc_swap::ArcSwapOption;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

pub use self::config::{AnonymousConfig, IssuerConfig, IssuerSource, JwtConfig, OidcFlags};
pub use self::fetch::{Fetch, keep_keys};

/// How far ahead of ours an issuer's clock may be (go-oidc 2.5, which kube-apiserver has).
const NOT_BEFORE_LEEWAY: SignedDuration = SignedDuration::from_mins(1);
/// Longest wait of a request for newer keys.
const KEYS_WAIT_MAX: Duration = Duration::from_secs(5);
/// How Google's tokens may name their issuer, and how it is configured (go-oidc).
const GOOGLE: (&str, &str) = ("accounts.google.com", "https://accounts.google.com");

/// An issuer whose tokens are believed.
pub(super) struct Issuer {
    config: IssuerConfig,
    /// None: they have not come yet.
    keys: ArcSwapOption<KeySet>,
    /// A token was signed by none of them.
    is_asked: Notify,
    /// They are fetched as soon as somebody asks; sent after each fetch.
    is_ready: watch::Sender<bool>,
}

/// Why a token is not accepted; never the token itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No JWT, or of nobody that is known here: another method may know it.
    NotOurs,
    /// Of an issuer that is known here, but it does not count.
    Bad { issuer: String, fault: Fault },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOurs => f.write_str("not a token of a known issuer"),
            Self::Bad { issuer, fault } => write!(f, "a token of {issuer}: {fault}"),
        }
    }
}

impl Issuer {
    fn new(config: IssuerConfig) -> Self {
        Self {
            config,
            keys: ArcSwapOption::empty(),
            is_asked: Notify::new(),
            is_ready: watch::Sender::new(false),
        }
    }

    fn authenticate(&self, token: &Token<'_>, now: Timestamp) -> Result<User, Fault> {
        self.check_signature(token)?;
        let claims = &token.payload;
        self.check_claims(claims, now)?;
        rules::user(&self.config, claims)
    }

    fn check_signature(&self, token: &Token<'_>) -> Result<(), Fault> {
        let refuse = |reason, what: String| Err(Fault::new(reason, what));
        if token.demands_extensions() {
            let what = "demands extensions that are not known here";
            return refuse(Reason::Algorithm, what.to_owned());
        }
        let name = token.header("alg");
        let algorithm = Algorithm::named(name);
        let algorithm = algorithm.filter(|one| self.config.algorithms.contains(one));
        let Some(algorithm) = algorithm else {
            let what = format!("its signature algorithm {name:?} does not count here");
            return refuse(Reason::Algorithm, what);
        };
        let Some(keys) = self.keys.load_full() else {
            self.is_asked.notify_one();
            let what = "the keys of its issuer have not come yet";
            return refuse(Reason::NoKeys, what.to_owned());
        };
        match keys.judge(token, algorithm) {
            Outcome::Good => Ok(()),
            // A key may be replaced under the name that it had.
            Outcome::Bad => {
                self.is_asked.notify_one();
                refuse(Reason::Signature, "invalid signature".to_owned())
            }
            Outcome::NoSuchKey => {
                self.is_asked.notify_one();
                let id = token.header("kid");
                let what =
                    format!("its issuer publishes no key {id:?} that fits; newer ones are fetched");
                refuse(Reason::UnknownKey, what)
            }
        }
    }

    /// Waits for newer keys when those that are known did not sign `token` and others can be had:
    /// not when they were fetched a moment ago, nor when the issuer did not answer.
    async fn freshen(&self, token: &Token<'_>) {
        let mut fetched = self.is_ready.subscribe();
        let is_stale = self
            .check_signature(token)
            .is_err_and(|fault| fault.may_be_of_newer_keys());
        if is_stale && *fetched.borrow_and_update() {
            // Too late is as if there were none.
            let _ = timeout(KEYS_WAIT_MAX, fetched.changed()).await;
        }
    }

    fn check_claims(&self, claims: &Value, now: Timestamp) -> Result<(), Fault> {
        let refuse = |reason, what: &str| Err(Fault::new(reason, what));
        let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
        let now = now.as_second() as f64;
        match seconds("exp") {
            None => return refuse(Reason::Claims, "it has no end (exp)"),
            Some(end) if end < now => return refuse(Reason::Expired, "has expired"),
            Some(_) => {}
        }
        if seconds("nbf").is_some_and(|begin| begin > now + NOT_BEFORE_LEEWAY.as_secs_f64()) {
            return refuse(Reason::NotYetValid, "is not valid yet");
        }
        let is_meant = |audience: &Value| {
            let known = &self.config.audiences;
            audience
                .as_str()
                .is_some_and(|audience| known.iter().any(|one| one == audience))
        };
        let is_meant = match claims.get("aud") {
            Some(Value::Array(audiences)) => audiences.iter().any(is_meant),
            Some(audience) => is_meant(audience),
            None => false,
        };
        if !is_meant {
            let what = format!("it is meant for none of {:?}", self.config.audiences);
            return refuse(Reason::Audience, &what);
        }
        Ok(())
    }
}

/// Issuers, and who needs no credential, as the configuration has them now.
#[derive(Default)]
pub(super) struct Issuers {
    issuers: Vec<Arc<Issuer>>,
    pub(super) anonymous: Option<AnonymousConfig>,
}

impl Issuers {
    /// The keys of those that stay the same are kept.
    pub(super) fn new(config: JwtConfig, before: &Self) -> Self {
        let issuers = config.issuers.into_iter().map(|config| {
            let source = config.source().clone();
            let issuer = Issuer::new(config);
            let known = before
                .issuers
                .iter()
                .find(|known| *known.config.source() == source);
            if let Some(known) = known {
                issuer.keys.store(known.keys.load_full());
            }
            Arc::new(issuer)
        });
        Self {
            issuers: issuers.collect(),
            anonymous: config.anonymous,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// The user behind a token.
    pub(super) fn authenticate(&self, token: &str, now: Timestamp) -> Result<User, Refusal> {
        let (issuer, token) = self.issuer_of(token).ok_or(Refusal::NotOurs)?;
        issuer
            .authenticate(&token, now)
            .map_err(|fault| Refusal::Bad {
                issuer: issuer.config.source().url.clone(),
                fault,
            })
    }

    /// To be awaited before a token is judged: see [`Issuer::freshen`].
    pub(super) async fn freshen(&self, token: &str) {
        if let Some((issuer, token)) = self.issuer_of(token) {
            issuer.freshen(&token).await;
        }
    }

    /// Whose token it says that it is.
    fn issuer_of<'a>(&self, token: &'a str) -> Option<(&Arc<Issuer>, Token<'a>)> {
        if self.issuers.is_empty() {
            return None;
        }
        let token = Token::parse(token)?;
        let named = match token.payload["iss"].as_str()? {
            named if named == GOOGLE.0 => GOOGLE.1,
            named => named,
        };
        let mut issuers = self.issuers.iter();
        let issuer = issuers.find(|issuer| issuer.config.source().url == named)?;
        Some((issuer, token))
    }
}
