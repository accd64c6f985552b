//! What is known of one issued certificate, wherever it was seen.

use crate::text;
use everleaf_api::meta;
use everleaf_controllers::issuance::Entry;
use everleaf_pki::{Fingerprint, Leaf};
use everleaf_rotation::{Window, deadline_of};
use jiff::Timestamp;
use serde::Serialize;

/// Where a certificate was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// In an issuance log.
    Log,
    /// In a request that the API server still has.
    Request,
    /// Shown by the kubelet itself.
    Probe,
}

/// One certificate. It is valid from `notBefore` to `notAfter`, both included (RFC 5280 4.1.2.5).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// Subject CN.
    pub common_name: String,
    /// Serial number, upper hex.
    pub serial: String,
    /// SHA-256 of its DER, lower hex.
    pub sha256: String,
    /// Its beginning.
    #[serde(serialize_with = "text::time")]
    pub not_before: Timestamp,
    /// Its end.
    #[serde(serialize_with = "text::time")]
    pub not_after: Timestamp,
    /// Where it was seen.
    pub source: Source,
    /// The request that it was issued for, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csr: Option<String>,
    /// Key identifier of the authority that signed it, lower hex; empty: it names none.
    pub authority_key_id: String,
    #[serde(skip)]
    fingerprint: Fingerprint,
}

impl Certificate {
    /// What a certificate says.
    pub fn of(leaf: &Leaf, source: Source, csr: Option<&str>) -> Self {
        let fingerprint = leaf.fingerprint();
        Self {
            common_name: leaf.subject().common_name.clone(),
            serial: leaf.serial().to_string(),
            sha256: fingerprint.to_string(),
            not_before: leaf.not_before(),
            not_after: leaf.not_after(),
            source,
            csr: csr.map(str::to_owned),
            authority_key_id: hex(leaf.authority_key_id().unwrap_or_default()),
            fingerprint,
        }
    }

    /// What a log says; `None` where it has no dates or no hash that can be read.
    pub fn logged(entry: &Entry) -> Option<Self> {
        let mut digest = [0; 32];
        let (pairs, rest) = entry.cert_sha256.as_bytes().as_chunks::<2>();
        if !rest.is_empty() || pairs.len() != digest.len() {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(pairs) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self {
            common_name: entry.cn.clone(),
            serial: entry.serial.clone(),
            sha256: entry.cert_sha256.clone(),
            not_before: meta::parse_time(&entry.not_before)?,
            not_after: entry.ends_at()?,
            source: Source::Log,
            csr: (!entry.csr.is_empty()).then(|| entry.csr.clone()),
            authority_key_id: entry.ca_ski.clone(),
            fingerprint: Fingerprint::new(digest),
        })
    }

    /// Between which instants it is renewed; `None`: its dates leave no time for it.
    pub fn window(&self) -> Option<Window> {
        Window::of(self.not_before, self.not_after)
    }

    /// When an agent of ours renews it.
    pub fn deadline(&self) -> Option<Timestamp> {
        deadline_of(self.not_before, self.not_after, &self.fingerprint)
    }

    /// How much of its life is over, in percent: 0 at its beginning, more than 100 after its end.
    pub fn life_used_percent(&self, now: Timestamp) -> i64 {
        let age = now.duration_since(self.not_before).as_secs();
        let whole = self.not_after.duration_since(self.not_before).as_secs();
        age.saturating_mul(100) / whole.max(1)
    }

    /// First bytes of its hash: what a forecast draws places from.
    pub(crate) fn seed(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.fingerprint.as_bytes()[8..16]);
        u64::from_be_bytes(first)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
