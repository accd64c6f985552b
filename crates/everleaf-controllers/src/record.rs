//! The few facts about a signing request that outlive its handling: a [`Record`].
//!
//! Once a request is decided and signed, denied or failed, nothing of it matters but its age and
//! what was issued. Ten thousand issued requests are kept as [`Packed`] records of some 160 bytes,
//! not as objects of several kilobytes.

mod packed;

use everleaf_api::csr::{APPROVED, Csr, DENIED, FAILED};
use everleaf_api::meta;
use everleaf_pki::{CertificateError, Chain, Leaf};
use jiff::Timestamp;

pub use packed::Packed;

/// A condition of one type: absent, or present with its `lastUpdateTime`, which may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// There is no such condition.
    #[default]
    Absent,
    /// There is; the stamp is its `lastUpdateTime`.
    At(Option<Timestamp>),
}

/// What `status.certificate` holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Certificate {
    /// Nothing.
    #[default]
    Absent,
    /// A certificate.
    Present(LeafFacts),
    /// Bytes that are no certificate, and why.
    Unreadable(String),
}

/// What is remembered of an issued leaf, for the audit line and the loop breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafFacts {
    /// Subject CN.
    pub common_name: String,
    /// SHA-256 of its DER, lower hex.
    pub fingerprint: String,
    /// Its end.
    pub not_after: Timestamp,
    /// Its beginning.
    pub not_before: Timestamp,
    /// Serial number, upper hex.
    pub serial: String,
}

impl LeafFacts {
    /// Reads a certificate.
    pub fn of(leaf: &Leaf) -> Self {
        Self {
            common_name: leaf.subject().common_name.clone(),
            fingerprint: leaf.fingerprint().to_string(),
            not_after: leaf.not_after(),
            not_before: leaf.not_before(),
            serial: leaf.serial().to_string(),
        }
    }
}

impl Default for LeafFacts {
    fn default() -> Self {
        Self {
            common_name: String::new(),
            fingerprint: String::new(),
            not_after: Timestamp::UNIX_EPOCH,
            not_before: Timestamp::UNIX_EPOCH,
            serial: String::new(),
        }
    }
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The `Approved` condition.
    pub approved: Mark,
    /// `status.certificate`.
    pub certificate: Certificate,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// The `Denied` condition.
    pub denied: Mark,
    /// The `Failed` condition.
    pub failed: Mark,
    /// Any condition at all, also of an unknown type.
    pub has_conditions: bool,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `spec.signerName`.
    pub signer_name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `spec.username`.
    pub username: String,
}

/// What `status.certificate` holds, read once for all who want to know.
#[derive(Debug)]
pub(crate) struct IssuedChain(Option<Result<Chain, CertificateError>>);

impl IssuedChain {
    /// Of a request.
    pub(crate) fn of(csr: Csr<'_>) -> Self {
        let pem = csr.certificate();
        Self((!pem.is_empty()).then(|| Chain::from_pem(&pem)))
    }

    /// The chain, if there is one that can be read.
    pub(crate) fn chain(&self) -> Option<&Chain> {
        self.0.as_ref()?.as_ref().ok()
    }

    fn facts(&self) -> Certificate {
        match &self.0 {
            None => Certificate::Absent,
            Some(Ok(chain)) => Certificate::Present(LeafFacts::of(chain.leaf())),
            Some(Err(error)) => Certificate::Unreadable(error.to_string()),
        }
    }
}

impl Record {
    /// Reads a request.
    pub fn of(csr: Csr<'_>) -> Self {
        Self::with(csr, &IssuedChain::of(csr))
    }

    /// The same of a request whose certificate was read.
    pub(crate) fn with(csr: Csr<'_>, issued: &IssuedChain) -> Self {
        let mut record = Self {
            certificate: issued.facts(),
            created: meta::creation_timestamp(csr.0),
            name: csr.name().to_owned(),
            resource_version: meta::resource_version(csr.0).to_owned(),
            signer_name: csr.signer_name().to_owned(),
            uid: csr.uid().to_owned(),
            username: csr.username().to_owned(),
            ..Self::default()
        };
        for condition in csr.conditions() {
            record.has_conditions = true;
            let mark = Mark::At(condition.last_update_time);
            match condition.kind.as_str() {
                APPROVED => record.approved = mark,
                DENIED => record.denied = mark,
                FAILED => record.failed = mark,
                _ => {}
            }
        }
        record
    }

    /// The issued leaf, if there is one that can be read.
    pub fn leaf(&self) -> Option<&LeafFacts> {
        match &self.certificate {
            Certificate::Present(leaf) => Some(leaf),
            Certificate::Absent | Certificate::Unreadable(_) => None,
        }
    }
}
