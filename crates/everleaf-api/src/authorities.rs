//! How a CA is replaced under a fleet that goes on: what the control plane announces, and what each
//! node says about itself.
//!
//! The ConfigMap `kube-public/everleaf-authorities` is announced to everybody who is known:
//!
//! | key | holds |
//! |---|---|
//! | `ca.crt` | the CAs to trust, PEM |
//! | `links.crt` | certificates by which one of them vouches for another, PEM (RFC 9810 4.4) |
//! | `signer` | pin of the CA that signs now |
//! | `epoch` | a text that is another one whenever the rest means something else |
//! | `retired` | pins of CAs that are not to be trusted any more, one a line |
//! | `renew-from`, `renew-until` | when certificates of other CAs are to be renewed; absent: at their own time |
//!
//! A node answers with the annotation [`WORD`] of its Lease in `kube-node-lease`, which nobody else
//! but an administrator may write. Its value is a JSON object: `trusts`, the pins of the CAs by
//! which it knows an API server, tried by a request; `certificates`, the pin of the CA of each
//! certificate that it uses, by what that is for (`client`, `serving`); and `epoch`, that of the
//! announcement it knows: what was said before that does not count any more.
//!
//! A pin is `sha256:` and the SHA-256 of a CA's public key in hex, as kubeadm writes it.

use crate::meta;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Namespace of the ConfigMap.
pub const NAMESPACE: &str = "kube-public";
/// Its name.
pub const NAME: &str = "everleaf-authorities";
/// Namespace of nodes' Leases.
pub const LEASE_NAMESPACE: &str = "kube-node-lease";
/// The annotation of a node's Lease.
pub const WORD: &str = "everleaf.io/authorities";

/// What is announced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    /// The CAs to trust, PEM.
    pub bundle: String,
    /// Links between them, PEM.
    pub links: String,
    /// Pin of the CA that signs.
    pub signer: String,
    /// Of what it is part.
    pub epoch: String,
    /// Pins of CAs that were trusted once.
    pub retired: BTreeSet<String>,
    /// When what others have signed is renewed.
    pub renewal: Option<Renewal>,
}

/// A time in which the certificates of a fleet are renewed, each at a moment of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The first.
    pub from: Timestamp,
    /// The last.
    pub until: Timestamp,
}

impl Renewal {
    /// The moment of the certificate whose place among all is `place`: any number that is spread
    /// evenly and stays, such as bytes of its fingerprint.
    pub fn moment(&self, place: u32) -> Timestamp {
        let window = self
            .until
            .duration_since(self.from)
            .max(SignedDuration::ZERO);
        let millis = window.as_millis() * i128::from(place) / (1 << 32);
        let wait = SignedDuration::from_millis(i64::try_from(millis).unwrap_or(i64::MAX));
        self.from.checked_add(wait).unwrap_or(self.until)
    }
}

impl Announcement {
    /// What a ConfigMap announces; none without CAs.
    pub fn of_config_map(object: &Value) -> Option<Self> {
        let word = |key: &str| object["data"][key].as_str().unwrap_or_default();
        let time = |key: &str| meta::parse_time(word(key));
        let renewal = time("renew-from").zip(time("renew-until"));
        let announcement = Self {
            bundle: word("ca.crt").to_owned(),
            links: word("links.crt").to_owned(),
            signer: word("signer").to_owned(),
            epoch: word("epoch").to_owned(),
            retired: word("retired").lines().map(str::to_owned).collect(),
            renewal: renewal.map(|(from, until)| Renewal { from, until }),
        };
        (!announcement.bundle.is_empty()).then_some(announcement)
    }

    /// The `data` of the ConfigMap.
    pub fn to_data(&self) -> Value {
        let mut data = Map::new();
        let mut put = |key: &str, text: String| data.insert(key.to_owned(), text.into());
        put("ca.crt", self.bundle.clone());
        put("signer", self.signer.clone());
        put("epoch", self.epoch.clone());
        if !self.links.is_empty() {
            put("links.crt", self.links.clone());
        }
        if !self.retired.is_empty() {
            let lines = self.retired.iter().map(|pin| format!("{pin}\n"));
            put("retired", lines.collect());
        }
        if let Some(renewal) = self.renewal {
            put("renew-from", meta::format_time(renewal.from));
            put("renew-until", meta::format_time(renewal.until));
        }
        Value::Object(data)
    }
}

/// What a node says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Pins of the CAs by which it knows an API server.
    pub trusts: BTreeSet<String>,
    /// Pin of the CA of each of its certificates; empty text where it is none of those it trusts.
    pub certificates: BTreeMap<String, String>,
    /// Of the announcement that it knows.
    pub epoch: String,
}

impl Word {
    /// What a Lease says; none where the node says nothing that can be read.
    pub fn of_lease(lease: &Value) -> Option<Self> {
        let text = lease["metadata"]["annotations"][WORD].as_str()?;
        let said: Value = serde_json::from_str(text).ok()?;
        let pins = said["trusts"].as_array()?.iter();
        let certificates = said["certificates"].as_object()?.iter();
        Some(Self {
            epoch: said["epoch"].as_str().unwrap_or_default().to_owned(),
            trusts: pins
                .filter_map(|pin| Some(pin.as_str()?.to_owned()))
                .collect(),
            certificates: certificates
                .filter_map(|(name, pin)| Some((name.clone(), pin.as_str()?.to_owned())))
                .collect(),
        })
    }

    /// The value of the annotation.
    pub fn to_text(&self) -> String {
        json!({"trusts": self.trusts, "certificates": self.certificates, "epoch": self.epoch})
            .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_announcement_survives_its_config_map() {
        let mut announcement = Announcement {
            bundle: "A\nB\n".to_owned(),
            links: String::new(),
            signer: "sha256:00".to_owned(),
            epoch: "7".to_owned(),
            retired: ["sha256:01".to_owned(), "sha256:02".to_owned()].into(),
            renewal: None,
        };
        for links in ["", "L\n"] {
            announcement.links = links.to_owned();
            let object = json!({"data": announcement.to_data()});
            assert_eq!(
                Announcement::of_config_map(&object).as_ref(),
                Some(&announcement)
            );
            let (from, until) = (at("2030-01-01T00:00:00Z"), at("2030-01-01T01:00:00Z"));
            announcement.renewal = Some(Renewal { from, until });
        }
        let data = announcement.to_data();
        assert_eq!(data["renew-until"], "2030-01-01T01:00:00Z");
        for nothing in [
            json!({}),
            json!({"data": {"ca.crt": ""}}),
            json!({"data": {"ca.crt": 5}}),
        ] {
            assert_eq!(Announcement::of_config_map(&nothing), None);
        }
    }

    #[test]
    fn a_fleet_is_spread_over_the_whole_window() {
        let renewal = Renewal {
            from: at("2030-01-01T00:00:00Z"),
            until: at("2030-01-01T01:00:00Z"),
        };
        assert_eq!(renewal.moment(0), renewal.from);
        assert_eq!(renewal.moment(1 << 31), at("2030-01-01T00:30:00Z"));
        assert!(renewal.moment(u32::MAX) < renewal.until);
        let backwards = Renewal {
            from: renewal.until,
            until: renewal.from,
        };
        assert_eq!(backwards.moment(u32::MAX), renewal.until);
    }

    #[test]
    fn a_word_survives_its_lease_and_nonsense_is_none() {
        let word = Word {
            trusts: ["sha256:01".to_owned(), "sha256:02".to_owned()].into(),
            certificates: [("client".to_owned(), "sha256:01".to_owned())].into(),
            epoch: "7".to_owned(),
        };
        let lease = |text: Value| json!({"metadata": {"annotations": {WORD: text}}});
        assert_eq!(Word::of_lease(&lease(word.to_text().into())), Some(word));
        for nonsense in [
            "",
            "{}",
            "[]",
            "{\"trusts\":[]}",
            "{\"trusts\":1,\"certificates\":{}}",
        ] {
            assert_eq!(Word::of_lease(&lease(nonsense.into())), None, "{nonsense}");
        }
        assert_eq!(Word::of_lease(&json!({})), None);
        assert_eq!(Word::of_lease(&lease(json!(5))), None);
    }
}
