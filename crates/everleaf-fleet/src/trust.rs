//! Whether the API server still takes clients for whom a certificate says they are: whether one
//! of its authorities of clients signed it.

use crate::certificate::{Certificate, Source, hex};
use everleaf_controllers::why::Evidence;
use everleaf_pki::trust::{Presented, Purpose, TrustBundle};
use everleaf_pki::{Chain, Leaf, SignerName};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// The authorities of clients, where they are known.
pub(crate) struct Clients {
    /// `None`: they are not known, and nothing is said of any certificate.
    bundle: Option<TrustBundle>,
    /// Key identifier and subject of each.
    names: BTreeSet<(String, String)>,
    /// Each has a key identifier.
    have_ids: bool,
    /// Beginning of the newest certificate that names one of them as its issuer's key.
    newest: Option<Timestamp>,
}

impl Clients {
    pub(crate) fn of(evidence: &Evidence) -> Self {
        let pem = evidence.client_ca.read();
        let bundle = pem.and_then(|pem| TrustBundle::from_pem_lenient(pem.as_bytes()).ok());
        let anchors = bundle.as_ref().map_or(&[][..], TrustBundle::anchors);
        let name = |anchor: &Leaf| Some((hex(anchor.subject_key_id()?), anchor.subject_text()));
        let names: BTreeSet<_> = anchors.iter().filter_map(name).collect();
        Self {
            have_ids: !anchors.is_empty() && anchors.iter().all(|one| name(one).is_some()),
            names,
            newest: None,
            bundle,
        }
    }

    /// Whether one of them vouches for what was issued, whatever its dates are. By key identifier
    /// and name where both fit, else by the signatures of the chain (RFC 5280 6.1).
    pub(crate) fn vouch(&self, chain: &Chain) -> Option<bool> {
        let bundle = self.bundle.as_ref()?;
        let leaf = chain.leaf();
        let id = hex(leaf.authority_key_id().unwrap_or_default());
        if !id.is_empty() && self.names.contains(&(id, leaf.issuer_text())) {
            return Some(true);
        }
        let mut anchors = bundle.anchors().iter();
        let issuer = anchors.find(|anchor| leaf.is_signed_by(anchor));
        // Certificates begin a little before they are issued, maybe before their authority.
        let moment = issuer.map_or(leaf.not_before(), |issuer| {
            leaf.not_before().max(issuer.not_before())
        });
        let judged = bundle.judge(&Presented::from(chain), Purpose::ClientAuth, moment);
        Some(judged.is_ok())
    }

    /// Takes note of a certificate of this signer, in any order.
    pub(crate) fn note_of(&mut self, signer: &str, certificate: &Certificate) {
        let is_for_clients = [
            SignerName::KUBE_APISERVER_CLIENT,
            SignerName::KUBE_APISERVER_CLIENT_KUBELET,
        ]
        .contains(&signer);
        if is_for_clients && self.has(&certificate.authority_key_id) {
            self.newest = self.newest.max(Some(certificate.not_before));
        }
    }

    fn has(&self, key_id: &str) -> bool {
        !key_id.is_empty() && self.names.iter().any(|(id, _)| id == key_id)
    }

    /// Whether an authority that is none of them signed what a log tells of. A log does not tell
    /// of authorities in between, so this is only said where their keys sign themselves since.
    pub(crate) fn have_dropped(&self, certificate: &Certificate) -> bool {
        let key_id = &certificate.authority_key_id;
        certificate.source == Source::Log
            && self.have_ids
            && !key_id.is_empty()
            && !self.has(key_id)
            && self.newest > Some(certificate.not_before)
    }
}
