//! A certificate and the intermediates above it.

use super::{CertificateError, Leaf};
use crate::pem;
use jiff::Timestamp;

/// Leaf plus intermediates, in order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    certificates: Vec<Leaf>,
}

impl Chain {
    /// Every CERTIFICATE block of a PEM text; at least one. Other blocks, blocks with headers and
    /// text are skipped, as client-go does; a block may hold several certificates in a row, as the
    /// API allows.
    ///
    /// # Errors
    /// [`CertificateError::NotFound`], or the first certificate that cannot be read.
    pub fn from_pem(text: &[u8]) -> Result<Self, CertificateError> {
        let mut certificates = Vec::new();
        let is_certificate =
            |block: &pem::Block| block.label == CERTIFICATE_LABEL && !block.has_headers;
        for block in pem::blocks(text).filter(is_certificate) {
            let mut rest = &block.der[..];
            loop {
                let (leaf, after) = Leaf::read_first(rest)?;
                certificates.push(leaf);
                if after.is_empty() {
                    break;
                }
                rest = after;
            }
        }
        Self::new(certificates)
    }

    /// A chain of certificates, leaf first.
    ///
    /// # Errors
    /// [`CertificateError::NotFound`] when there is none.
    pub fn new(certificates: Vec<Leaf>) -> Result<Self, CertificateError> {
        if certificates.is_empty() {
            return Err(CertificateError::NotFound);
        }
        Ok(Self { certificates })
    }

    /// The end-entity certificate.
    pub fn leaf(&self) -> &Leaf {
        &self.certificates[0]
    }

    /// All certificates, leaf first.
    pub fn certificates(&self) -> &[Leaf] {
        &self.certificates
    }

    /// DER of each certificate, leaf first: what a TLS stack wants.
    pub fn ders(&self) -> impl Iterator<Item = &[u8]> {
        self.certificates.iter().map(Leaf::der)
    }

    /// The earliest `notAfter` of the chain: from then on it cannot be verified.
    pub fn not_after_earliest(&self) -> Timestamp {
        self.certificates
            .iter()
            .map(Leaf::not_after)
            .min()
            .expect("invariant: a chain is never empty")
    }

    /// Canonical PEM, leaf first.
    pub fn to_pem(&self) -> String {
        let mut text = String::new();
        for der in self.ders() {
            pem::encode_into(&mut text, CERTIFICATE_LABEL, der);
        }
        text
    }
}

impl From<Leaf> for Chain {
    fn from(leaf: Leaf) -> Self {
        Self {
            certificates: vec![leaf],
        }
    }
}

/// The label of a certificate's PEM block.
pub(crate) const CERTIFICATE_LABEL: &str = "CERTIFICATE";
