//! One issued certificate, as the log tells it: a compact JSON object.
//!
//! Owns the names of its members and its bounds. It holds nothing secret: no request, no key, no
//! certificate, and of the requestor's groups only a hash.

use super::merkle::{Hash, sha256};
use super::note::hex;
use crate::index::OpenRequest;
use crate::record::LeafFacts;
use everleaf_api::csr::APPROVED;
use everleaf_api::meta;
use everleaf_pki::{ApprovedRequest, Issued};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

/// Longest entry: its length has 16 bits in a bundle (C2SP `tlog-tiles`).
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;
/// Longest text in it; what is longer is cut, and ends in an ellipsis. Short enough that all texts
/// fit whatever is escaped in them.
const TEXT_BYTES_MAX: usize = 1024;

/// See the module documentation. Times are RFC 3339 in whole seconds, hashes lower hex.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Entry {
    /// When it was signed, by the signer's clock.
    pub time: String,
    /// `spec.signerName` of the request.
    pub signer: String,
    /// Name of the request.
    pub csr: String,
    /// Its UID.
    pub uid: String,
    /// Who filed it (`spec.username`).
    pub requester: String,
    /// SHA-256 of the requestor's groups, sorted, each followed by a newline.
    pub groups_sha256: String,
    /// Subject CN of the certificate.
    pub cn: String,
    /// DNS names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpAddr>,
    /// Email addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<String>,
    /// URIs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uris: Vec<String>,
    /// Alternative names that are left out, since the entry would be too long.
    #[serde(skip_serializing_if = "is_zero")]
    pub names_omitted: usize,
    /// `spec.usages` of the request.
    pub usages: Vec<String>,
    /// Serial number, upper hex.
    pub serial: String,
    /// SHA-256 of the certificate.
    pub cert_sha256: String,
    /// SHA-256 of its `SubjectPublicKeyInfo`.
    pub spki_sha256: String,
    /// Its beginning.
    pub not_before: String,
    /// Its end.
    pub not_after: String,
    /// It ends with its CA, earlier than asked.
    pub truncated: bool,
    /// Key identifier of the CA that signed it; empty when the CA has none.
    pub ca_ski: String,
    /// Reason of the request's Approved condition: who approved it.
    pub approved_by: String,
    /// Message of that condition: by which policy and rule.
    pub approval: String,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Entry {
    /// About a certificate for this request, signed at `now`.
    pub(crate) fn of(
        request: &OpenRequest,
        approved: &ApprovedRequest,
        issued: &Issued,
        now: Timestamp,
    ) -> Self {
        let csr = request.csr();
        let leaf = issued.chain.leaf();
        let facts = LeafFacts::of(leaf);
        let mut groups = csr.groups();
        groups.sort_unstable();
        let groups: String = groups.iter().map(|group| format!("{group}\n")).collect();
        let mut conditions = csr.conditions().into_iter();
        let condition = conditions.find(|condition| condition.kind == APPROVED);
        let (approved_by, approval) = condition
            .map(|condition| (condition.reason, condition.message))
            .unwrap_or_default();
        let asked = approved.request();
        let texts = |texts: &[String]| texts.iter().map(|text| cut(text)).collect();
        Self {
            time: meta::format_time(now),
            signer: cut(csr.signer_name()),
            csr: cut(csr.name()),
            uid: cut(csr.uid()),
            requester: cut(csr.username()),
            groups_sha256: hex(&sha256(&[groups.as_bytes()])),
            cn: cut(&facts.common_name),
            dns: texts(leaf.dns_names()),
            ips: leaf.ip_addresses().to_vec(),
            emails: texts(asked.email_addresses()),
            uris: texts(asked.uris()),
            names_omitted: 0,
            usages: texts(&csr.usages()),
            serial: facts.serial,
            cert_sha256: facts.fingerprint,
            spki_sha256: hex(&sha256(&[leaf.public_key().spki_der()])),
            not_before: meta::format_time(facts.not_before),
            not_after: meta::format_time(facts.not_after),
            truncated: issued.truncated,
            ca_ski: hex(leaf.authority_key_id().unwrap_or_default()),
            approved_by: cut(&approved_by),
            approval: cut(&approval),
        }
    }

    /// About a certificate for the PodCertificateRequest of this key, signed at `now`. Nobody is
    /// recorded to have filed one, and nobody approves it.
    pub(crate) fn of_pod(key: &str, object: &Value, issued: &Issued, now: Timestamp) -> Self {
        let leaf = issued.chain.leaf();
        let facts = LeafFacts::of(leaf);
        let spec = |member: &str| object["spec"][member].as_str().unwrap_or_default();
        let texts = |texts: &[String]| texts.iter().map(|text| cut(text)).collect();
        let whose = format!(
            "pod {} ({}) of service account {} ({}) on node {} ({})",
            spec("podName"),
            spec("podUID"),
            spec("serviceAccountName"),
            spec("serviceAccountUID"),
            spec("nodeName"),
            spec("nodeUID")
        );
        Self {
            time: meta::format_time(now),
            signer: cut(spec("signerName")),
            csr: cut(key),
            uid: cut(meta::uid(object)),
            dns: texts(leaf.dns_names()),
            uris: texts(leaf.uris()),
            serial: facts.serial,
            cert_sha256: facts.fingerprint,
            spki_sha256: hex(&sha256(&[leaf.public_key().spki_der()])),
            not_before: meta::format_time(facts.not_before),
            not_after: meta::format_time(facts.not_after),
            truncated: issued.truncated,
            ca_ski: hex(leaf.authority_key_id().unwrap_or_default()),
            approved_by: "PodCertificateRequest".to_owned(),
            approval: cut(&whose),
            ..Self::default()
        }
    }

    /// The bytes that are logged. Names are left out as far as it would be too long.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut entry = self.clone();
        loop {
            let bytes = serde_json::to_vec(&entry).unwrap_or_default();
            if bytes.len() <= ENTRY_BYTES_MAX {
                return bytes;
            }
            let halve = |length: usize| length / 2;
            let names = |entry: &Self| {
                entry.dns.len() + entry.ips.len() + entry.emails.len() + entry.uris.len()
            };
            let before = names(&entry);
            entry.dns.truncate(halve(entry.dns.len()));
            entry.ips.truncate(halve(entry.ips.len()));
            entry.emails.truncate(halve(entry.emails.len()));
            entry.uris.truncate(halve(entry.uris.len()));
            entry.names_omitted += before - names(&entry);
            if before == 0 {
                // A server takes no more than some dozens of usages; this one did.
                entry.usages.truncate(halve(entry.usages.len()));
            }
        }
    }

    /// Reads an entry. Members that a later version added are passed over.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// SHA-256 of the `SubjectPublicKeyInfo`, if it can be read.
    pub fn spki_hash(&self) -> Option<Hash> {
        let (pairs, rest) = self.spki_sha256.as_bytes().as_chunks::<2>();
        let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        bytes.filter(|_| rest.is_empty())?.try_into().ok()
    }

    /// The end of the certificate, if it can be read.
    pub fn ends_at(&self) -> Option<Timestamp> {
        meta::parse_time(&self.not_after)
    }
}

/// A text that is not too long.
fn cut(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(TEXT_BYTES_MAX)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_never_outgrows_a_bundle() {
        let name = |number: usize| format!("{number:0>200}.example");
        let entry = Entry {
            cn: cut(&"ä".repeat(100_000)),
            dns: (0..2_000).map(name).collect(),
            serial: "0A".to_owned(),
            ..Entry::default()
        };
        let bytes = entry.to_bytes();
        assert!(bytes.len() <= ENTRY_BYTES_MAX, "{}", bytes.len());
        let read = Entry::from_bytes(&bytes).unwrap();
        assert_eq!(read.dns.len() + read.names_omitted, 2_000);
        assert!(
            read.dns.len() > 200 && read.cn.ends_with("ä…"),
            "{}",
            read.dns.len()
        );
        assert_eq!(read.serial, "0A");
    }
}
