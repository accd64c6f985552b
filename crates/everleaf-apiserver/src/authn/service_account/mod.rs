//! Tokens of service accounts: statements that the server signed itself (JWT, RFC 7519), about an
//! account that is looked up again each time (`pkg/serviceaccount/{jwt,claims}.go`).
//!
//! A token ends with its time, with its account, and with the object it is bound to. The older kind
//! without an end, kept in Secrets, is neither made nor believed.

mod claims;

#[cfg(test)]
mod tests;

use everleaf_api::meta;
use everleaf_pki::{PrivateKey, PublicKey};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

pub(crate) use self::claims::{Binding, Claims, Reference};
use super::ConfigError;
use super::jws::{SigningKey, Token, VerificationKey};
use crate::{
    objects::Objects,
    user::{SERVICE_ACCOUNT_PREFIX, User, service_account_groups},
};

/// How far clocks may differ, and for how long what is being deleted still counts (go-jose's
/// `DefaultLeeway`).
const LEEWAY: SignedDuration = SignedDuration::from_mins(1);
/// Prefix of the extra attributes that a token gives its user.
const EXTRA: &str = "authentication.kubernetes.io/";

/// Whose tokens are made and believed.
pub struct ServiceAccountConfig {
    /// `--service-account-issuer`: who signs, and whose signature counts.
    pub issuer: String,
    /// `--api-audiences`: as whom this server reads a token; empty = as its issuer.
    pub audiences: Vec<String>,
    /// `--service-account-signing-key-file`; None = no token is made.
    pub signing_key: Option<Arc<PrivateKey>>,
    /// `--service-account-key-file`: keys whose signatures count, besides the signing key's.
    pub verification_keys: Vec<PublicKey>,
}

/// The issuer of tokens, and their judge.
pub(super) struct ServiceAccounts {
    issuer: String,
    audiences: Vec<String>,
    signing_key: Option<SigningKey>,
    verification_keys: Vec<VerificationKey>,
}

/// Why a token is not accepted; never the token itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No JWT, or somebody else's: another method may know it.
    NotOurs,
    /// Ours by its words, but it does not count.
    Bad(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOurs => f.write_str("not a token of a service account"),
            Self::Bad(fault) => write!(f, "service account token: {fault}"),
        }
    }
}

fn bad<T>(fault: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Bad(fault.into()))
}

impl ServiceAccounts {
    pub(super) fn new(config: ServiceAccountConfig) -> Result<Self, ConfigError> {
        let unusable = |fault: String| ConfigError::BadServiceAccountKey { fault };
        let mut keys = config.verification_keys;
        keys.extend(
            config
                .signing_key
                .iter()
                .map(|key| key.public_key().clone()),
        );
        let verification_keys: Result<Vec<_>, _> = keys.iter().map(VerificationKey::new).collect();
        let signing_key = config.signing_key.as_deref().map(SigningKey::new);
        let audiences = match config.audiences {
            audiences if audiences.is_empty() => vec![config.issuer.clone()],
            audiences => audiences,
        };
        Ok(Self {
            audiences,
            issuer: config.issuer,
            signing_key: signing_key.transpose().map_err(unusable)?,
            verification_keys: verification_keys.map_err(unusable)?,
        })
    }

    /// As whom this server reads tokens.
    pub(super) fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// The OpenID provider document: who the issuer is, and where its keys are
    /// (`pkg/serviceaccount/openidmetadata.go`).
    pub(super) fn provider_document(&self, keys_url: &str) -> Value {
        let keys = self.verification_keys.iter();
        let algorithms: BTreeSet<&str> = keys.map(VerificationKey::algorithm).collect();
        json!({
            "issuer": self.issuer,
            "jwks_uri": keys_url,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        })
    }

    /// The keys whose signatures count, as a JSON Web Key Set (RFC 7517).
    pub(super) fn key_set(&self) -> Value {
        let keys = self.verification_keys.iter();
        json!({"keys": keys.map(VerificationKey::to_jwk).collect::<Vec<_>>()})
    }

    /// Signs a token; None when there is no key to sign with.
    pub(super) fn issue(&self, claims: &Claims) -> Option<Result<String, String>> {
        let key = self.signing_key.as_ref()?;
        Some(key.sign(&claims.to_value(&self.issuer)))
    }

    /// The user behind a token, and as which of `audiences` it was meant for.
    pub(super) fn authenticate(
        &self,
        token: &str,
        audiences: &[String],
        objects: &dyn Objects,
        now: Timestamp,
    ) -> Result<(User, Vec<String>), Refusal> {
        let token = Token::parse(token).ok_or(Refusal::NotOurs)?;
        let claims = Claims::read(&token.payload).ok_or(Refusal::NotOurs)?;
        if token.payload["iss"].as_str() != Some(&self.issuer) {
            return Err(Refusal::NotOurs);
        }
        // Nothing above is to be believed before this.
        token
            .verify(&self.verification_keys)
            .map_err(Refusal::Bad)?;
        let meant: Vec<String> = claims
            .audiences
            .iter()
            .filter(|audience| audiences.contains(audience))
            .cloned()
            .collect();
        if meant.is_empty() {
            return bad(format!(
                "token audiences {:?} is invalid for the target audiences {audiences:?}",
                claims.audiences
            ));
        }
        check_time(&claims, now)?;
        check_objects(&claims, objects, now)?;
        Ok((user(&claims), meant))
    }
}

fn check_time(claims: &Claims, now: Timestamp) -> Result<(), Refusal> {
    let (early, late) = (
        now.as_second() + LEEWAY.as_secs(),
        now.as_second() - LEEWAY.as_secs(),
    );
    if claims.not_before > early {
        return bad("is not valid yet");
    }
    if claims.expires < late {
        return bad("has expired");
    }
    if claims.issued_at > early {
        return bad("is issued in the future");
    }
    Ok(())
}

/// The account, and what the token is bound to, are still the same.
fn check_objects(claims: &Claims, objects: &dyn Objects, now: Timestamp) -> Result<(), Refusal> {
    let namespace = claims.namespace.as_str();
    let check = |resource: &str, namespace: &str, reference: &Reference| {
        let name = &reference.name;
        let Some(stored) = objects.get(resource, namespace, name) else {
            return bad(format!("{resource} {name:?} is gone"));
        };
        let object = &*stored.object();
        if meta::uid(object) != reference.uid {
            return bad(format!("{resource} {name:?} is another one now"));
        }
        match meta::deletion_timestamp(object) {
            Some(deleted) if deleted < now - LEEWAY => {
                bad(format!("{resource} {name:?} has been deleted"))
            }
            _ => Ok(()),
        }
    };
    check("serviceaccounts", namespace, &claims.account)?;
    match &claims.binding {
        None => Ok(()),
        Some(Binding::Secret(secret)) => check("secrets", namespace, secret),
        Some(Binding::Node(node)) => check("nodes", "", node),
    }
}

fn user(claims: &Claims) -> User {
    let mut extra = BTreeMap::new();
    let mut add = |key: &str, value: String| extra.insert(format!("{EXTRA}{key}"), vec![value]);
    if !claims.id.is_empty() {
        add("credential-id", format!("JTI={}", claims.id));
    }
    if let Some(Binding::Node(node)) = &claims.binding {
        add("node-name", node.name.clone());
        add("node-uid", node.uid.clone());
    }
    User {
        name: format!(
            "{SERVICE_ACCOUNT_PREFIX}{}:{}",
            claims.namespace, claims.account.name
        ),
        uid: claims.account.uid.clone(),
        groups: service_account_groups(&claims.namespace),
        extra,
    }
}

/// What a claim that must be an object lacks reads as null.
fn member<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}
