//! What a fleet is judged by.

use crate::certificate::{Certificate, hex};
use everleaf_api::csr::is_rehearsal;
use everleaf_controllers::issuance::Entry;
use everleaf_controllers::why::{Evidence, Known};
use everleaf_pki::Leaf;
use std::collections::{BTreeMap, BTreeSet};

/// `approvedBy` of what was issued for a pod: pods come and go, and keep their own.
const OF_PODS: &str = "PodCertificateRequest";

/// Everything that was seen. Only [`Facts::evidence`] has to be filled in.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// What the API told: its clock, requests, Nodes, Leases, revocations, and what requests are
    /// explained by.
    pub evidence: Evidence,
    /// What an issuance log holds; [`Known::Absent`]: there is none.
    pub log: Known<Logbook>,
    /// Certificates of authorities besides those of clients in [`Evidence::client_ca`].
    pub authorities: Vec<Leaf>,
    /// What the kubelets that were asked answered, by the name of their Node.
    pub probes: BTreeMap<String, Probe>,
}

/// What came of a look at the serving port of a kubelet.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// It shows this certificate, and has its key.
    Shown(Box<Leaf>),
    /// It shows none: why.
    Failed(String),
}

/// The newest certificate of each subject and signer in an issuance log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logbook {
    newest: BTreeMap<(String, String), Certificate>,
}

impl Logbook {
    /// Takes in an entry, in any order. Those of pods and of rehearsals are passed over.
    pub fn note(&mut self, entry: &Entry) {
        if entry.approved_by == OF_PODS || is_rehearsal(&entry.csr) {
            return;
        }
        let Some(certificate) = Certificate::logged(entry) else {
            return;
        };
        let key = (entry.cn.clone(), entry.signer.clone());
        match self.newest.get(&key) {
            Some(known) if known.not_before >= certificate.not_before => {}
            _ => drop(self.newest.insert(key, certificate)),
        }
    }

    /// Leaves only what these authorities signed, by their key identifiers.
    pub fn keep_of(&mut self, authorities: &[Leaf]) {
        let ids: BTreeSet<String> = authorities
            .iter()
            .filter_map(|authority| Some(hex(authority.subject_key_id()?)))
            .collect();
        self.newest
            .retain(|_, certificate| ids.contains(&certificate.authority_key_id));
    }

    /// Subjects and signers of which it knows a certificate.
    pub fn len(&self) -> usize {
        self.newest.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.newest.is_empty()
    }

    /// Signer and certificate, by subject.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Certificate)> {
        let entries = self.newest.iter();
        entries.map(|((_, signer), certificate)| (signer.as_str(), certificate))
    }
}
