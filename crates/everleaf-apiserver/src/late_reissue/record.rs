//! What is kept of a node: a Secret, since whoever may write it decides who comes back.

use crate::objects::{Objects, Stored};
use crate::read;
use aws_lc_rs::digest::SHA256;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_api::meta;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::sync::Arc;

/// Namespace of the Secrets.
const NAMESPACE: &str = "kube-system";
/// How their names begin; the node's follows.
const NAME_PREFIX: &str = "late-reissue.";
/// Type of the Secrets.
const TYPE: &str = "everleaf.io/late-reissue";
/// First word of a join state: its form.
const STATE_FORM: &str = "v1";

/// What is known of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Hex; signs join states of this node. No join state of another one is good for it.
    pub(crate) key: String,
    /// UID of the Node object that it is about: another of the same name is another node.
    pub(crate) node_uid: String,
    /// What the newest join state says.
    pub(crate) counter: u64,
    /// SHA-256 of the attempt that led to it.
    pub(crate) attempt: String,
    /// SHA-256 of the certificate that was shown with it.
    pub(crate) leaf: String,
    /// Since when that is good.
    pub(crate) not_before: Option<Timestamp>,
    /// The last step was a recovery, after which the node has not registered yet.
    pub(crate) is_recovering: bool,
    /// How often the node recovered.
    pub(crate) recoveries: u32,
    /// The counter with which it came to the last recovery.
    pub(crate) recovered_from: Option<u64>,
    /// SHA-256 of the token that was given, and until when it is good.
    pub(crate) token: String,
    /// See there.
    pub(crate) token_until: Option<Timestamp>,
    /// Why the node is locked; "": it is not.
    pub(crate) locked: String,
    /// Locked, and what the node was issued so far is to be revoked.
    pub(crate) must_revoke: bool,
}

impl Record {
    /// Name of the Secret.
    pub(crate) fn name(node: &str) -> String {
        format!("{NAME_PREFIX}{node}")
    }

    /// The Secret of a node as it is stored.
    pub(crate) fn stored(objects: &dyn Objects, node: &str) -> Option<Arc<Stored>> {
        objects.get("secrets", NAMESPACE, &Self::name(node))
    }

    /// The record of a node.
    pub(crate) fn find(objects: &dyn Objects, node: &str) -> Option<Self> {
        let stored = Self::stored(objects, node)?;
        Self::of_secret(&stored.object())
    }

    /// None when the Secret is of another kind, or nobody can read it: it is then as if there were
    /// none.
    pub(crate) fn of_secret(secret: &Value) -> Option<Self> {
        if read::text(secret, "/type") != TYPE {
            return None;
        }
        let text = |key: &str| {
            let datum = secret["data"][key].as_str().unwrap_or_default();
            let bytes = STANDARD.decode(datum).unwrap_or_default();
            String::from_utf8(bytes).unwrap_or_default()
        };
        let time = |key: &str| meta::parse_time(&text(key));
        Some(Self {
            key: Some(text("key")).filter(|key| !key.is_empty())?,
            node_uid: text("node-uid"),
            counter: text("counter").parse().ok()?,
            attempt: text("attempt"),
            leaf: text("certificate"),
            not_before: time("certificate-from"),
            is_recovering: text("recovering") == "true",
            // A count that nobody can read is used up.
            recoveries: text("recoveries").parse().unwrap_or(u32::MAX),
            recovered_from: text("recovered-from").parse().ok(),
            token: text("token"),
            token_until: time("token-until"),
            locked: text("locked"),
            must_revoke: text("revoke") == "true",
        })
    }

    /// The Secret of this node with this record; of `before`, what else is in it.
    pub(crate) fn to_secret(&self, node: &str, before: Option<&Value>) -> Value {
        let mut secret = before.cloned().unwrap_or_else(|| {
            json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": Self::name(node), "namespace": NAMESPACE},
                "type": TYPE,
            })
        });
        let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
        let time = |at: Option<Timestamp>| at.map(meta::format_time).unwrap_or_default();
        let data = [
            ("key", self.key.clone()),
            ("node-uid", self.node_uid.clone()),
            ("counter", self.counter.to_string()),
            ("attempt", self.attempt.clone()),
            ("certificate", self.leaf.clone()),
            ("certificate-from", time(self.not_before)),
            ("recovering", self.is_recovering.to_string()),
            ("recoveries", self.recoveries.to_string()),
            ("recovered-from", number(self.recovered_from)),
            ("token", self.token.clone()),
            ("token-until", time(self.token_until)),
            ("locked", self.locked.clone()),
            ("revoke", self.must_revoke.to_string()),
        ];
        let data: Map<String, Value> = data
            .into_iter()
            .map(|(key, text)| (key.to_owned(), STANDARD.encode(text).into()))
            .collect();
        secret["data"] = data.into();
        secret
    }

    /// The join state that the node is to hold.
    pub(crate) fn state(&self, node: &str) -> String {
        self.state_at(node, self.counter)
    }

    fn state_at(&self, node: &str, counter: u64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.as_bytes());
        let tag = hmac::sign(&key, said(node, counter).as_bytes());
        format!("{STATE_FORM}.{counter}.{}", hex(tag.as_ref()))
    }

    /// What a join state says that this server made for this node; None for any other text.
    pub(crate) fn counter_of(&self, node: &str, state: &str) -> Option<u64> {
        let mut words = state.split('.');
        let (form, counter, tag) = (words.next()?, words.next()?, words.next()?);
        if form != STATE_FORM || words.next().is_some() {
            return None;
        }
        let counter: u64 = counter.parse().ok()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.as_bytes());
        let tag = unhex(tag)?;
        hmac::verify(&key, said(node, counter).as_bytes(), &tag).ok()?;
        Some(counter)
    }
}

/// What is signed.
fn said(node: &str, counter: u64) -> String {
    format!("everleaf late re-issue {STATE_FORM}\n{node}\n{counter}")
}

/// SHA-256 of a text, lower hex.
pub(crate) fn digest(text: &str) -> String {
    hex(aws_lc_rs::digest::digest(&SHA256, text.as_bytes()).as_ref())
}

/// Lower hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}
