//! Tokens of other issuers: JSON Web Tokens (RFC 7519) by whoever the configuration names, judged
//! by the keys that the issuer publishes (OpenID Connect Discovery 1.0).
//!
//! A request never waits for an issuer. Its keys are fetched beside ([`keep_keys`]), kept while it
//! is away, and fetched anew from time to time and when a token names a key that is not known;
//! until then such a token is refused.

mod config;
mod fetch;
mod file;
mod keys;
mod rules;

#[cfg(test)]
mod tests;

use self::keys::{Algorithm, KeySet, Outcome};
use super::jws::Token;
use crate::user::User;
use arc_swap::ArcSwapOption;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use tokio::sync::Notify;

pub use self::config::{AnonymousConfig, IssuerConfig, IssuerSource, JwtConfig, OidcFlags};
pub use self::fetch::{Fetch, keep_keys};

/// How far ahead of ours an issuer's clock may be (go-oidc).
const NOT_BEFORE_LEEWAY: SignedDuration = SignedDuration::from_mins(5);

/// An issuer whose tokens are believed.
pub(super) struct Issuer {
    config: IssuerConfig,
    /// None: they have not come yet.
    keys: ArcSwapOption<KeySet>,
    /// A token named a key that is not among them.
    is_asked: Notify,
}

/// Why a token is not accepted; never the token itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No JWT, or of nobody that is known here: another method may know it.
    NotOurs,
    /// Of an issuer that is known here, but it does not count.
    Bad { issuer: String, fault: String },
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
        }
    }

    fn authenticate(&self, token: &Token<'_>, now: Timestamp) -> Result<User, String> {
        self.check_signature(token)?;
        let claims = &token.payload;
        self.check_claims(claims, now)?;
        rules::user(&self.config, claims)
    }

    fn check_signature(&self, token: &Token<'_>) -> Result<(), String> {
        if token.demands_extensions() {
            return Err("demands extensions that are not known here".to_owned());
        }
        let name = token.header("alg");
        let algorithm = Algorithm::named(name);
        let algorithm = algorithm.filter(|one| self.config.algorithms.contains(one));
        let Some(algorithm) = algorithm else {
            return Err(format!(
                "its signature algorithm {name:?} does not count here"
            ));
        };
        let Some(keys) = self.keys.load_full() else {
            self.is_asked.notify_one();
            return Err("the keys of its issuer have not come yet".to_owned());
        };
        match keys.judge(token, algorithm) {
            Outcome::Good => Ok(()),
            Outcome::Bad => Err("invalid signature".to_owned()),
            Outcome::NoSuchKey => {
                self.is_asked.notify_one();
                let id = token.header("kid");
                Err(format!(
                    "its issuer publishes no key {id:?} that fits; newer ones are fetched"
                ))
            }
        }
    }

    fn check_claims(&self, claims: &Value, now: Timestamp) -> Result<(), String> {
        let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
        let now = now.as_second() as f64;
        match seconds("exp") {
            None => return Err("it has no end (exp)".to_owned()),
            Some(end) if end < now => return Err("has expired".to_owned()),
            Some(_) => {}
        }
        if seconds("nbf").is_some_and(|begin| begin > now + NOT_BEFORE_LEEWAY.as_secs_f64()) {
            return Err("is not valid yet".to_owned());
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
            return Err(format!(
                "it is meant for none of {:?}",
                self.config.audiences
            ));
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
        if self.issuers.is_empty() {
            return Err(Refusal::NotOurs);
        }
        let token = Token::parse(token).ok_or(Refusal::NotOurs)?;
        let named = token.payload["iss"].as_str().unwrap_or("");
        let is_it = |issuer: &&Arc<Issuer>| issuer.config.source().url == named;
        let issuer = self.issuers.iter().find(is_it).ok_or(Refusal::NotOurs)?;
        issuer
            .authenticate(&token, now)
            .map_err(|fault| Refusal::Bad {
                issuer: named.to_owned(),
                fault,
            })
    }
}
