//! Bootstrap tokens as Secrets, in kubeadm's format
//! (`cmd/kubeadm/app/apis/bootstraptoken/v1/utils.go`).

use crate::failure::UsageError;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use everleaf_agent::Secret;
use everleaf_agent::join::BootstrapToken;
use everleaf_api::meta;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Type of the Secrets.
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// What their names begin with; the token's id follows.
const NAME_PREFIX: &str = "bootstrap-token-";
/// What the keys of usages begin with.
const USAGE_PREFIX: &str = "usage-bootstrap-";
/// What the groups of a token begin with, and the longest text after it, in bytes.
const GROUP_PREFIX: &str = "system:bootstrappers:";
const GROUP_SUFFIX_BYTES_MAX: usize = 256;
/// What a token may be good for.
const USAGES: [&str; 2] = ["signing", "authentication"];
/// Where they are.
pub(super) const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";

/// A token with what a server knows about it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) token: BootstrapToken,
    pub(super) description: String,
    /// None: never.
    pub(super) expires: Option<Timestamp>,
    pub(super) usages: Vec<String>,
    pub(super) groups: Vec<String>,
}

/// The path of a token's Secret.
pub(super) fn path_of(id: &str) -> String {
    format!("{SECRETS}/{NAME_PREFIX}{id}")
}

impl Known {
    /// What kubeadm would refuse, too.
    pub(super) fn check(&self) -> Result<(), UsageError> {
        let known = USAGES.join(", ");
        for usage in &self.usages {
            if !USAGES.contains(&usage.as_str()) {
                let what = format!("--usages: {usage:?} is none; there are {known}");
                return Err(UsageError(what));
            }
        }
        if let Some(group) = self.groups.iter().find(|group| !is_group(group)) {
            return Err(UsageError(format!(
                "--groups: {group:?} is not below {GROUP_PREFIX}, or has other characters than small letters, digits, ':' and '-'; such as \
                 {GROUP_PREFIX}kubeadm:default-node-token"
            )));
        }
        Ok(())
    }

    /// Whether it may be used so.
    pub(super) fn is_for(&self, usage: &str) -> bool {
        self.usages.iter().any(|own| own == usage)
    }

    /// The Secret.
    pub(super) fn to_secret(&self) -> Value {
        let mut data = Map::new();
        let mut put = |key: &str, text: &str| {
            data.insert(key.to_owned(), BASE64_STANDARD.encode(text).into());
        };
        put("token-id", self.token.id());
        put("token-secret", self.token.secret().expose());
        if !self.description.is_empty() {
            put("description", &self.description);
        }
        if let Some(expires) = self.expires {
            put("expiration", &meta::format_time(expires));
        }
        for usage in &self.usages {
            put(&format!("{USAGE_PREFIX}{usage}"), "true");
        }
        if !self.groups.is_empty() {
            put("auth-extra-groups", &self.groups.join(","));
        }
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": format!("{NAME_PREFIX}{}", self.token.id()), "namespace": "kube-system"},
            "type": SECRET_TYPE,
            "data": data,
        })
    }

    /// Reads one; the error says what is wrong with it, and nothing that is secret.
    pub(super) fn of_secret(object: &Value) -> Result<Self, &'static str> {
        let datum = |key: &str| {
            let bytes = BASE64_STANDARD.decode(object["data"][key].as_str()?).ok()?;
            String::from_utf8(bytes).ok().map(Secret::new)
        };
        let (id, secret) = (datum("token-id"), datum("token-secret"));
        let id = id.ok_or("it has no token-id")?;
        let secret = secret.ok_or("it has no token-secret")?;
        if meta::name(object).strip_prefix(NAME_PREFIX) != Some(id.expose()) {
            return Err("its token-id is not that of its name");
        }
        let text = Secret::new(format!("{}.{}", id.expose(), secret.expose()));
        let token = BootstrapToken::parse(text.expose());
        let public = |key: &str| datum(key).map_or_else(String::new, |text| text.expose().into());
        let expires = match public("expiration") {
            text if text.is_empty() => None,
            text => Some(meta::parse_time(&text).ok_or("its expiration is no RFC 3339 time")?),
        };
        let keys = object["data"].as_object().into_iter().flatten();
        let usages = keys.filter_map(|(key, _)| key.strip_prefix(USAGE_PREFIX));
        let usages = usages.filter(|usage| public(&format!("{USAGE_PREFIX}{usage}")) == "true");
        let groups = public("auth-extra-groups");
        Ok(Self {
            token: token.ok_or("its token-id or token-secret has not the form of a token's")?,
            description: public("description"),
            expires,
            usages: usages.map(str::to_owned).collect(),
            groups: groups
                .split(',')
                .filter(|group| !group.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }
}

/// As kube-apiserver has it, `BootstrapGroupPattern`.
fn is_group(group: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let Some(suffix) = group.strip_prefix(GROUP_PREFIX).map(str::as_bytes) else {
        return false;
    };
    suffix.len() <= GROUP_SUFFIX_BYTES_MAX
        && suffix.last().is_some_and(|byte| is_plain(*byte))
        && suffix
            .iter()
            .all(|byte| is_plain(*byte) || b":-".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known {
            token: BootstrapToken::parse("abcdef.0123456789abcdef").unwrap(),
            description: "rack 7".to_owned(),
            expires: Some("2030-01-01T00:00:00Z".parse().unwrap()),
            usages: vec!["authentication".to_owned(), "signing".to_owned()],
            groups: vec![
                "system:bootstrappers:a".to_owned(),
                "system:bootstrappers:b".to_owned(),
            ],
        }
    }

    /// Key by key what kubeadm writes.
    #[test]
    fn a_secret_is_kubeadms_and_is_read_back() {
        let secret = known().to_secret();
        let plain: Vec<(String, String)> = secret["data"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| {
                let bytes = BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
                (key.clone(), String::from_utf8(bytes).unwrap())
            })
            .collect();
        let wanted = [
            (
                "auth-extra-groups",
                "system:bootstrappers:a,system:bootstrappers:b",
            ),
            ("description", "rack 7"),
            ("expiration", "2030-01-01T00:00:00Z"),
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("usage-bootstrap-signing", "true"),
        ];
        let wanted: Vec<(String, String)> = wanted
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(plain, wanted);
        assert_eq!(secret["metadata"]["name"], "bootstrap-token-abcdef");
        assert_eq!(secret["type"], "bootstrap.kubernetes.io/token");
        let again = Known::of_secret(&secret).unwrap();
        assert_eq!(again.to_secret(), secret);
        let bare = Known {
            description: String::new(),
            expires: None,
            usages: Vec::new(),
            groups: Vec::new(),
            ..known()
        };
        assert_eq!(bare.to_secret()["data"].as_object().unwrap().len(), 2);
        assert_eq!(
            Known::of_secret(&bare.to_secret()).unwrap().to_secret(),
            bare.to_secret()
        );
    }

    #[test]
    fn what_is_no_token_is_told_without_its_secret() {
        for (key, value, expected) in [
            ("token-id", "ghijkl", "not that of its name"),
            ("token-secret", "0123", "form"),
            ("expiration", "tomorrow", "RFC 3339"),
        ] {
            let mut secret = known().to_secret();
            secret["data"][key] = BASE64_STANDARD.encode(value).into();
            let why = Known::of_secret(&secret).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn usages_and_groups_are_checked_before_a_server_is_asked() {
        let check = |usage: &str, group: &str| {
            let usages = vec![usage.to_owned()];
            let groups = vec![group.to_owned()];
            let known = Known {
                usages,
                groups,
                ..known()
            };
            known.check().map_err(|error| error.to_string())
        };
        assert_eq!(check("signing", "system:bootstrappers:a:-b"), Ok(()));
        assert!(check("sign", "system:bootstrappers:a").is_err());
        for group in [
            "system:masters",
            "system:bootstrappers:",
            "system:bootstrappers:A",
            "system:bootstrappers:a-",
            "",
        ] {
            assert!(check("signing", group).is_err(), "{group}");
        }
    }
}
