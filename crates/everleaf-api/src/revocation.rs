//! Which client certificates are refused although they are good: the ConfigMap
//! `kube-system/everleaf-revocations`, one entry of `data` for each.
//!
//! The key says what is refused, so that an entry whose value nobody can read still counts:
//!
//! | key | refuses |
//! |---|---|
//! | `serial.5B3651` | the certificate with this serial number, upper hex without leading zeros |
//! | `credential.5f3c…` | the one whose DER has this SHA-256, as in `authentication.kubernetes.io/credential-id` |
//! | `node.n1` | every certificate of `system:node:n1` that was issued no later than the entry |
//!
//! A value is a JSON object: `at` (RFC 3339), and where they are known `until` (the end of the
//! certificate, after which the entry means nothing), `reason`, `node` and `by`.
//!
//! No certificate says when it was issued: every Kubernetes signer dates its beginning five minutes
//! back. One of a signer that does not would count as issued later than it was; that is why
//! whoever revokes a node names the serial numbers that are known besides.

use crate::meta;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Namespace of the ConfigMap.
pub const NAMESPACE: &str = "kube-system";
/// Its name.
pub const NAME: &str = "everleaf-revocations";
/// Namespace of the ConfigMap with the certificate revocation list that is made of it.
pub const LIST_NAMESPACE: &str = "kube-public";
/// Its name.
pub const LIST_NAME: &str = "everleaf-revocation-list";
/// In that one's `data`: the list, PEM.
pub const LIST_PEM: &str = "ca.crl";
/// In its `binaryData`: the list, DER.
pub const LIST_DER: &str = "ca.crl.der";

/// How long before a certificate is issued it begins (Kubernetes:
/// `pkg/controller/certificates/authority/policies.go`).
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// What is refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A serial number: upper hex without leading zeros.
    Serial(String),
    /// SHA-256 of a certificate's DER, lower hex.
    Credential(String),
    /// What a node has been issued so far.
    Node(String),
}

impl Target {
    /// The key of its entry.
    pub fn key(&self) -> String {
        match self {
            Self::Serial(serial) => format!("serial.{serial}"),
            Self::Credential(digest) => format!("credential.{digest}"),
            Self::Node(name) => format!("node.{name}"),
        }
    }

    /// What a key stands for; none for one that is no entry's.
    pub fn of_key(key: &str) -> Option<Self> {
        let (kind, what) = key.split_once('.')?;
        match kind {
            "serial" => Some(Self::Serial(normal_serial(what))),
            "credential" => Some(Self::Credential(what.to_ascii_lowercase())),
            "node" => Some(Self::Node(what.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(serial) => write!(f, "serial {serial}"),
            Self::Credential(digest) => write!(f, "credential {digest}"),
            Self::Node(name) => write!(f, "node/{name}"),
        }
    }
}

/// Upper hex without leading zeros.
pub fn normal_serial(text: &str) -> String {
    text.trim_start_matches('0').to_ascii_uppercase()
}

/// Why a certificate is refused (RFC 5280 5.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is said.
    #[default]
    Unspecified,
    /// Somebody else has the key.
    KeyCompromise,
    /// Its holder is another one now.
    AffiliationChanged,
    /// Another one took its place.
    Superseded,
    /// It is not needed any more.
    CessationOfOperation,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
    ];

    /// The name in RFC 5280.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
        }
    }

    /// The number in RFC 5280.
    pub const fn number(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }

    /// By its name.
    pub fn parse(text: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|one| one.as_str().eq_ignore_ascii_case(text))
    }
}

/// What is known of one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// When it was made; none when nobody can read that.
    pub at: Option<Timestamp>,
    /// The end of the certificate, after which nothing is left to refuse.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Reason,
    /// Whose certificate it is; "" when that is not known.
    pub node: String,
    /// Who made it; "" when that is not known.
    pub by: String,
}

impl Entry {
    fn read(text: &str) -> Self {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let word = |key: &str| value[key].as_str().unwrap_or_default();
        Self {
            at: meta::parse_time(word("at")),
            until: meta::parse_time(word("until")),
            reason: Reason::parse(word("reason")).unwrap_or_default(),
            node: word("node").to_owned(),
            by: word("by").to_owned(),
        }
    }

    fn write(&self) -> String {
        let mut value = json!({"reason": self.reason.as_str()});
        let times = [("at", self.at), ("until", self.until)];
        for (key, time) in times {
            if let Some(time) = time {
                value[key] = meta::format_time(time).into();
            }
        }
        for (key, text) in [("node", &self.node), ("by", &self.by)] {
            if !text.is_empty() {
                value[key] = text.as_str().into();
            }
        }
        value.to_string()
    }

    /// Whether there is nothing left to refuse.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until < now)
    }
}

/// What a certificate says that is compared.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Serial number in hex.
    pub serial: &'a str,
    /// SHA-256 of its DER, lower hex.
    pub credential: &'a str,
    /// Common name of its subject.
    pub common_name: &'a str,
    /// When it begins.
    pub not_before: Timestamp,
}

/// All entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations(BTreeMap<Target, Entry>);

impl Revocations {
    /// Those of a ConfigMap.
    ///
    /// ```
    /// use everleaf_api::revocation::{Facts, Revocations, Target};
    ///
    /// let map = serde_json::json!({"data": {"node.n1": r#"{"at": "2030-01-01T00:00:00Z"}"#}});
    /// let revocations = Revocations::of_config_map(&map);
    /// let facts = |common_name, not_before: &str| Facts {
    ///     serial: "5B36",
    ///     credential: "",
    ///     common_name,
    ///     not_before: not_before.parse().unwrap(),
    /// };
    /// let node = "system:node:n1";
    /// let refused = |facts| revocations.refuses(facts).is_some();
    /// assert!(refused(facts(node, "2029-12-31T23:55:00Z")));
    /// assert!(!refused(facts(node, "2029-12-31T23:55:01Z")), "issued later");
    /// assert!(!refused(facts(node, "2030-01-01T00:00:01Z")), "issued later");
    /// assert!(!refused(facts("system:node:n2", "2029-12-31T23:55:00Z")));
    /// ```
    pub fn of_config_map(object: &Value) -> Self {
        let data = object["data"].as_object().into_iter().flatten();
        let entries = data.filter_map(|(key, value)| {
            let entry = Entry::read(value.as_str().unwrap_or_default());
            Some((Target::of_key(key)?, entry))
        });
        Self(entries.collect())
    }

    /// `data` of the ConfigMap.
    pub fn to_data(&self) -> Map<String, Value> {
        let entries = self.0.iter();
        entries
            .map(|(target, entry)| (target.key(), entry.write().into()))
            .collect()
    }

    /// Whether nothing is refused.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is an entry of it.
    pub fn has(&self, target: &Target) -> bool {
        self.0.contains_key(target)
    }

    /// Each entry.
    pub fn iter(&self) -> impl Iterator<Item = (&Target, &Entry)> {
        self.0.iter()
    }

    /// Adds one, or replaces it.
    pub fn put(&mut self, target: Target, entry: Entry) {
        self.0.insert(target, entry);
    }

    /// Takes away those that are `unwanted`; how many that were.
    pub fn remove(&mut self, unwanted: impl Fn(&Target, &Entry) -> bool) -> usize {
        let before = self.0.len();
        self.0.retain(|target, entry| !unwanted(target, entry));
        before - self.0.len()
    }

    /// By which entry a certificate is refused, if it is.
    pub fn refuses(&self, facts: Facts<'_>) -> Option<&Target> {
        let serial = Target::Serial(normal_serial(facts.serial));
        let credential = Target::Credential(facts.credential.to_owned());
        for target in [serial, credential] {
            if let Some((own, _)) = self.0.get_key_value(&target) {
                return Some(own);
            }
        }
        let name = facts.common_name.strip_prefix("system:node:")?;
        let node = Target::Node(name.to_owned());
        let (own, entry) = self.0.get_key_value(&node)?;
        // An entry that nobody can date refuses everything.
        let issued = facts.not_before.checked_add(BACKDATE);
        let issued = issued.unwrap_or(Timestamp::MAX);
        let is_before = entry.at.is_none_or(|at| issued <= at);
        is_before.then_some(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn facts(serial: &'static str) -> Facts<'static> {
        Facts {
            serial,
            credential: "5f",
            common_name: "system:node:n1",
            not_before: at("2030-01-01T00:00:00Z"),
        }
    }

    #[test]
    fn an_entry_survives_being_written_down() {
        let mut revocations = Revocations::default();
        let entry = Entry {
            at: Some(at("2030-01-01T00:00:00Z")),
            until: Some(at("2031-01-01T00:00:00Z")),
            reason: Reason::KeyCompromise,
            node: "n1".to_owned(),
            by: "admin".to_owned(),
        };
        for target in [
            Target::Serial("5B36".to_owned()),
            Target::Credential("5f".to_owned()),
            Target::Node("n1.example".to_owned()),
        ] {
            revocations.put(target, entry.clone());
        }
        let object = json!({"data": revocations.to_data()});
        assert_eq!(Revocations::of_config_map(&object), revocations);
        assert!(!entry.is_over(at("2031-01-01T00:00:00Z")));
        assert!(entry.is_over(at("2031-01-01T00:00:01Z")));
    }

    #[test]
    fn what_nobody_can_read_refuses_all_the_same() {
        for (data, refused) in [
            (json!({"serial.0A5b36": "no JSON"}), Some("serial A5B36")),
            (json!({"credential.5F": "{}"}), Some("credential 5f")),
            (json!({"node.n1": "[]"}), Some("node/n1")),
            (json!({"node.n1": r#"{"at": "soon"}"#}), Some("node/n1")),
            (
                json!({"node.n1": r#"{"at": "2029-01-01T00:00:00Z"}"#}),
                None,
            ),
            (
                json!({"serial.5B37": "{}", "other": "x", "node.n2": "{}"}),
                None,
            ),
            (Value::Null, None),
        ] {
            let revocations = Revocations::of_config_map(&json!({"data": data}));
            let by = revocations.refuses(facts("0A5B36"));
            assert_eq!(by.map(ToString::to_string).as_deref(), refused);
        }
    }
}
