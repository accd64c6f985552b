//! Bootstrap tokens: `id.secret`, kept as Secrets of kube-system
//! (`plugin/pkg/auth/authenticator/token/bootstrap/bootstrap.go`).

use crate::{objects::Objects, read, user::User};
use aws_lc_rs::constant_time;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use everleaf_api::meta;
use jiff::Timestamp;
use serde_json::Value;
use std::{collections::BTreeSet, fmt};

const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const BASE_GROUP: &str = "system:bootstrappers";
const ID_BYTES: usize = 6;
const SECRET_BYTES: usize = 16;
/// Longest text after `system:bootstrappers:`, in bytes.
const GROUP_SUFFIX_BYTES_MAX: usize = 256;

/// Why a token is not accepted. Names the token's Secret at most, never the token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NotOfThisForm,
    Secret { id: String, fault: &'static str },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOfThisForm => f.write_str("not a bootstrap token"),
            Self::Secret { id, fault } => {
                write!(f, "Secret kube-system/bootstrap-token-{id}: {fault}")
            }
        }
    }
}

/// The user behind `token`, checked in upstream's order.
pub(super) fn authenticate(
    token: &str,
    objects: &dyn Objects,
    now: Timestamp,
) -> Result<User, Refusal> {
    let (id, secret) = split(token).ok_or(Refusal::NotOfThisForm)?;
    let refuse = |fault| Refusal::Secret {
        id: id.to_owned(),
        fault,
    };
    let stored = objects
        .get("secrets", "kube-system", &format!("bootstrap-token-{id}"))
        .ok_or_else(|| refuse("does not exist"))?;
    let object = &*stored.object();
    if !read::text(object, "/metadata/deletionTimestamp").is_empty() {
        return Err(refuse("is being deleted"));
    }
    if read::text(object, "/type") != SECRET_TYPE || read::is_empty(object.get("data")) {
        return Err(refuse(
            "is not of type bootstrap.kubernetes.io/token or is empty",
        ));
    }
    if constant_time::verify_slices_are_equal(&datum(object, "token-secret"), secret.as_bytes())
        .is_err()
    {
        return Err(refuse("token-secret differs"));
    }
    if datum(object, "token-id") != id.as_bytes() {
        return Err(refuse("token-id differs from its name"));
    }
    let expiration = datum(object, "expiration");
    if !expiration.is_empty() {
        let expires = std::str::from_utf8(&expiration)
            .ok()
            .and_then(meta::parse_time);
        if expires.is_none_or(|expires| expires <= now) {
            return Err(refuse("has expired, or its expiration is not RFC 3339"));
        }
    }
    if datum(object, "usage-bootstrap-authentication") != b"true" {
        return Err(refuse("is not for authentication"));
    }
    let groups = groups(&datum(object, "auth-extra-groups"))
        .ok_or_else(|| refuse("an extra group is not below system:bootstrappers:"))?;
    Ok(User {
        name: format!("system:bootstrap:{id}"),
        groups,
        ..User::default()
    })
}

/// `[a-z0-9]{6}\.[a-z0-9]{16}` in full.
fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str, length: usize| {
        text.len() == length
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (plain(id, ID_BYTES) && plain(secret, SECRET_BYTES)).then_some((id, secret))
}

/// One decoded entry of `data`; empty when absent.
fn datum(secret: &Value, key: &str) -> Vec<u8> {
    secret
        .get("data")
        .and_then(|data| data.get(key))
        .and_then(Value::as_str)
        .and_then(|text| STANDARD.decode(text).ok())
        .unwrap_or_default()
}

/// `system:bootstrappers` and the extra groups, sorted, each once; None when one is not allowed.
fn groups(extra: &[u8]) -> Option<Vec<String>> {
    let extra = std::str::from_utf8(extra).ok()?;
    let mut groups = BTreeSet::from([BASE_GROUP.to_owned()]);
    if !extra.is_empty() {
        for group in extra.split(',') {
            if !is_bootstrap_group(group) {
                return None;
            }
            groups.insert(group.to_owned());
        }
    }
    Some(groups.into_iter().collect())
}

/// `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]` in full.
fn is_bootstrap_group(group: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    group
        .strip_prefix("system:bootstrappers:")
        .map(str::as_bytes)
        .is_some_and(|suffix| {
            suffix.len() <= GROUP_SUFFIX_BYTES_MAX
                && suffix.last().is_some_and(|&byte| plain(byte))
                && suffix
                    .iter()
                    .all(|&byte| plain(byte) || byte == b':' || byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Shelf;
    use serde_json::json;

    const TOKEN: &str = "foobar.0123456789abcdef";

    fn now() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().expect("a time")
    }

    /// The Secret of [`TOKEN`], changed by `edit`.
    fn check(edit: impl FnOnce(&mut Value)) -> Result<Vec<String>, &'static str> {
        check_token(TOKEN, edit)
    }

    fn check_token(
        token: &str,
        edit: impl FnOnce(&mut Value),
    ) -> Result<Vec<String>, &'static str> {
        let shelf = Shelf::default();
        let mut secret =
            crate::bootstrap::bootstrap_token_secret("foobar", "0123456789abcdef", None, "");
        secret["data"]
            .as_object_mut()
            .expect("data")
            .remove("auth-extra-groups");
        edit(&mut secret);
        shelf.put("secrets", secret);
        match authenticate(token, &shelf, now()) {
            Ok(user) => {
                assert_eq!(user.name, "system:bootstrap:foobar");
                assert!(user.uid.is_empty() && user.extra.is_empty());
                Ok(user.groups)
            }
            Err(Refusal::NotOfThisForm) => Err("form"),
            Err(Refusal::Secret { fault, .. }) => Err(fault),
        }
    }

    fn set<'a>(key: &'a str, text: &'a str) -> impl FnOnce(&mut Value) + 'a {
        move |secret| secret["data"][key] = STANDARD.encode(text).into()
    }

    fn remove(key: &str) -> impl FnOnce(&mut Value) {
        move |secret| {
            secret["data"].as_object_mut().expect("data").remove(key);
        }
    }

    /// As `plugin/pkg/auth/authenticator/token/bootstrap/bootstrap_test.go` has it.
    #[test]
    fn upstream_cases() {
        let groups = |groups: &[&str]| Ok(groups.iter().map(|&g| g.to_owned()).collect());
        assert_eq!(check(|_| ()), groups(&["system:bootstrappers"]), "66");
        assert_eq!(
            check(set("auth-extra-groups", "system:bootstrappers:foo")),
            groups(&["system:bootstrappers", "system:bootstrappers:foo"]),
            "67"
        );
        assert!(check(set("auth-extra-groups", "foo")).is_err(), "68");
        assert_eq!(
            check(|secret| secret["metadata"]["name"] = "bootstrap-token-other1".into()),
            Err("does not exist"),
            "69"
        );
        assert_eq!(
            check(set("token-id", "other1")),
            Err("token-id differs from its name"),
            "69"
        );
        assert_eq!(
            check(remove("usage-bootstrap-authentication")),
            Err("is not for authentication"),
            "70"
        );
        assert_eq!(
            check(set("token-secret", "0123456789abcdee")),
            Err("token-secret differs"),
            "71"
        );
        let deleted = |secret: &mut Value| {
            secret["metadata"]["deletionTimestamp"] = "2029-01-01T00:00:00Z".into();
        };
        assert_eq!(check(deleted), Err("is being deleted"), "72");
        let expired = "has expired, or its expiration is not RFC 3339";
        for (when, ok) in [
            ("2029-12-31T23:59:59Z", false),
            ("2030-01-01T00:00:00Z", false),
            ("2030-01-01T00:00:01Z", true),
            ("2030-01-01T01:30:00+02:00", false),
            ("tomorrow", false),
        ] {
            let expected = if ok {
                groups(&["system:bootstrappers"])
            } else {
                Err(expired)
            };
            assert_eq!(check(set("expiration", when)), expected, "73 {when}");
        }
        for token in [
            "fooba.0123456789abcdef",
            "foobar1.0123456789abcdef",
            "foobar.0123456789abcde",
            "foobar.0123456789abcdefg",
            "FOOBAR.0123456789abcdef",
            "foobar.0123456789abcdeF",
            "foobar.0123456789.bcdef",
            "foobar0123456789abcdef",
            "foobar.0123456789abcd\0f",
        ] {
            assert_eq!(check_token(token, |_| ()), Err("form"), "74 {token}");
        }
    }

    #[test]
    fn odd_secrets() {
        let not_a_token = "is not of type bootstrap.kubernetes.io/token or is empty";
        assert_eq!(check(|s| s["type"] = "Opaque".into()), Err(not_a_token));
        assert_eq!(check(|s| s["data"] = json!({})), Err(not_a_token));
        assert_eq!(check(|s| s["data"] = Value::Null), Err(not_a_token));
        assert_eq!(check(remove("token-secret")), Err("token-secret differs"));
        assert_eq!(
            check(|s| s["data"]["token-secret"] = "%%%".into()),
            Err("token-secret differs")
        );
        assert_eq!(
            check(set("usage-bootstrap-authentication", "True")),
            Err("is not for authentication")
        );
    }

    #[test]
    fn a_wrong_secret_hides_everything_else() {
        let other = "foobar.0000000000000000";
        let expired = set("expiration", "2000-01-01T00:00:00Z");
        assert_eq!(check_token(other, expired), Err("token-secret differs"));
    }

    #[test]
    fn extra_groups() {
        let longest = format!("system:bootstrappers:{}", "a".repeat(256));
        for good in [
            "system:bootstrappers:a",
            "system:bootstrappers:a:-b",
            &longest,
        ] {
            assert!(is_bootstrap_group(good), "{good}");
        }
        let too_long = format!("{longest}a");
        for bad in [
            "",
            "system:bootstrappers",
            "system:bootstrappers:",
            "system:bootstrappers:a-",
            "system:bootstrappers:A",
            " system:bootstrappers:a",
            "system:masters",
            "system:bootstrappers:a\n",
            &too_long,
        ] {
            assert!(!is_bootstrap_group(bad), "{bad}");
        }
        assert_eq!(
            groups(b"system:bootstrappers:z,system:bootstrappers:a,system:bootstrappers:z"),
            Some(vec![
                "system:bootstrappers".to_owned(),
                "system:bootstrappers:a".to_owned(),
                "system:bootstrappers:z".to_owned()
            ])
        );
        assert_eq!(groups(b"system:bootstrappers:a,"), None);
    }
}
