//! The authorities that sign, as far as they are known.

use crate::certificate::{Certificate, hex};
use crate::text;
use everleaf_pki::Leaf;
use jiff::Timestamp;
use serde::Serialize;

/// One certificate of an authority.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Authority {
    /// Its subject.
    pub subject: String,
    /// Its key identifier, lower hex; empty: it has none.
    pub key_id: String,
    /// Its beginning.
    #[serde(serialize_with = "text::time")]
    pub not_before: Timestamp,
    /// Its end: nothing that it signed is believed after that.
    #[serde(serialize_with = "text::time")]
    pub not_after: Timestamp,
    /// How much of its life is over, in percent.
    pub life_used_percent: i64,
    /// The API server takes clients for whom it says they are: nodes renew below it. Others are
    /// known as those of the API server itself.
    pub is_of_clients: bool,
}

impl Authority {
    pub(crate) fn of(leaf: &Leaf, is_of_clients: bool, now: Timestamp) -> Self {
        let age = now.duration_since(leaf.not_before()).as_secs();
        Self {
            subject: leaf.subject_text(),
            key_id: hex(leaf.subject_key_id().unwrap_or_default()),
            not_before: leaf.not_before(),
            not_after: leaf.not_after(),
            life_used_percent: age.saturating_mul(100) / leaf.lifetime().seconds.max(1),
            is_of_clients,
        }
    }
}

/// The authority that signed `certificate`, when no other that is known outlives it: then nothing
/// that replaces the certificate lasts longer either.
pub(crate) fn last<'a>(
    certificate: &Certificate,
    authorities: &'a [Authority],
) -> Option<&'a Authority> {
    let id = &certificate.authority_key_id;
    let of_clients = || {
        authorities
            .iter()
            .filter(|authority| authority.is_of_clients)
    };
    let signer = of_clients()
        .filter(|authority| !id.is_empty() && authority.key_id == *id)
        .max_by_key(|authority| authority.not_after)?;
    let is_outlived = of_clients().any(|other| other.not_after > signer.not_after);
    (!is_outlived).then_some(signer)
}
