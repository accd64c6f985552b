//! Bootstrap tokens: what new nodes join with.
//!
//! A token is a Secret of the API server and a text that is shown to nobody: it is in
//! `bootstrap-kubelet.conf`, or, for this host's own node, in memory only.

use super::entropy;
use anyhow::{Context, Result, anyhow};
use everleaf_agent::Secret;
use everleaf_agent::join::BootstrapToken;
use everleaf_apiserver::bootstrap::bootstrap_token_secret;
use everleaf_apiserver::handler::Server;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Namespace of the Secrets.
const NAMESPACE: &str = "kube-system";
/// Prefix of their names.
const NAME_PREFIX: &str = "bootstrap-token-";

/// A fresh one.
pub(crate) fn generate() -> Result<BootstrapToken> {
    let id = entropy::letters(BootstrapToken::ID_LENGTH)?;
    let secret = Secret::new(entropy::letters(BootstrapToken::SECRET_LENGTH)?);
    let text = Secret::new(format!("{id}.{}", secret.expose()));
    BootstrapToken::parse(text.expose()).context("a token that was made has no token's form")
}

/// Makes the server accept it until `expires`.
pub(crate) async fn grant(
    token: &BootstrapToken,
    server: &Server,
    expires: Timestamp,
    description: &str,
    now: Timestamp,
) -> Result<()> {
    let secret = token.secret().expose();
    let secret = bootstrap_token_secret(token.id(), secret, Some(expires), description);
    server
        .put("secrets", secret, now)
        .await
        .map(drop)
        .map_err(|why| anyhow!(why))
        .context("cannot write a bootstrap token")
}

/// Makes the server refuse it from now on.
pub(crate) async fn revoke(token: &BootstrapToken, server: &Server) -> Result<()> {
    let name = format!("{NAME_PREFIX}{}", token.id());
    server
        .remove("secrets", NAMESPACE, &name)
        .await
        .map(drop)
        .map_err(|why| anyhow!(why))
        .context("cannot remove a bootstrap token")
}

/// Until when the server accepts it; none when it does not.
pub(crate) fn accepted_until(token: &BootstrapToken, server: &Server) -> Option<Timestamp> {
    let name = format!("{NAME_PREFIX}{}", token.id());
    let stored = server.objects().get("secrets", NAMESPACE, &name)?;
    let secret = datum(&stored.object(), "token-secret")?;
    if secret.expose() != token.secret().expose() {
        return None;
    }
    expiration(&stored.object())
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
        let token = generate().unwrap();
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
