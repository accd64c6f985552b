//! Bootstrap tokens: what new nodes join with.
//!
//! A token is a Secret of the API server and a text that is shown to nobody: it is in
//! `bootstrap-kubelet.conf`, or, for this host's own node, in memory only.

use super::entropy;
use anyhow::{Context, Result, anyhow};
use everleaf_agent::Secret;
use everleaf_apiserver::bootstrap::bootstrap_token_secret;
use everleaf_apiserver::handler::Server;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Namespace of the Secrets.
const NAMESPACE: &str = "kube-system";
/// Prefix of their names.
const NAME_PREFIX: &str = "bootstrap-token-";
/// Letters of the public part.
const ID_LENGTH: usize = 6;
/// Letters of the secret part.
const SECRET_LENGTH: usize = 16;

/// `id.secret`
pub(crate) struct BootstrapToken {
    id: String,
    secret: Secret,
}

impl BootstrapToken {
    /// A fresh one.
    pub(crate) fn generate() -> Result<Self> {
        Ok(Self {
            id: entropy::letters(ID_LENGTH)?,
            secret: Secret::new(entropy::letters(SECRET_LENGTH)?),
        })
    }

    /// One that was written down.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        let fits = |part: &str, length| {
            part.len() == length
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        (fits(id, ID_LENGTH) && fits(secret, SECRET_LENGTH)).then(|| Self {
            id: id.to_owned(),
            secret: Secret::new(secret.to_owned()),
        })
    }

    /// The bearer token.
    pub(crate) fn bearer(&self) -> Secret {
        Secret::new(format!("{}.{}", self.id, self.secret.expose()))
    }

    /// Makes the server accept it until `expires`.
    pub(crate) async fn grant(
        &self,
        server: &Server,
        expires: Timestamp,
        description: &str,
        now: Timestamp,
    ) -> Result<()> {
        let secret =
            bootstrap_token_secret(&self.id, self.secret.expose(), Some(expires), description);
        server
            .put("secrets", secret, now)
            .await
            .map(drop)
            .map_err(|why| anyhow!(why))
            .context("cannot write a bootstrap token")
    }

    /// Makes the server refuse it from now on.
    pub(crate) async fn revoke(&self, server: &Server) -> Result<()> {
        let name = format!("{NAME_PREFIX}{}", self.id);
        server
            .remove("secrets", NAMESPACE, &name)
            .await
            .map(drop)
            .map_err(|why| anyhow!(why))
            .context("cannot remove a bootstrap token")
    }

    /// Until when the server accepts it; none when it does not.
    pub(crate) fn accepted_until(&self, server: &Server) -> Option<Timestamp> {
        let name = format!("{NAME_PREFIX}{}", self.id);
        let stored = server.objects().get("secrets", NAMESPACE, &name)?;
        let secret = datum(&stored.object(), "token-secret")?;
        if secret.expose() != self.secret.expose() {
            return None;
        }
        expiration(&stored.object())
    }
}

/// When a token ends, in whole seconds.
pub(crate) fn lasting(hours: i64, now: Timestamp) -> Timestamp {
    let until = now.checked_add(SignedDuration::from_hours(hours));
    until
        .and_then(|until| Timestamp::from_second(until.as_second()))
        .unwrap_or(Timestamp::MAX)
}

fn expiration(secret: &Value) -> Option<Timestamp> {
    datum(secret, "expiration")?.expose().parse().ok()
}

fn datum(secret: &Value, key: &str) -> Option<Secret> {
    use base64::Engine;
    let text = secret["data"][key].as_str()?;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .ok()?;
    String::from_utf8(bytes).ok().map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_being_written_down() {
        let token = BootstrapToken::generate().unwrap();
        let again = BootstrapToken::parse(token.bearer().expose()).unwrap();
        assert_eq!(again.bearer(), token.bearer());
        for text in [
            "",
            "abcdef",
            "abcdef.",
            "abcdef.0123456789ABCDEF",
            "abcdeg.0123456789abcdef0",
        ] {
            assert!(BootstrapToken::parse(text).is_none(), "{text}");
        }
    }
}
