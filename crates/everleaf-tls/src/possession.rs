//! The API server's side: client certificates are asked for, not required, and judged later.

use crate::signature::Signatures;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// Accepts any client certificate whose key the client can prove to hold. Whoever uses it has to
/// judge the certificate itself, each time it counts.
#[derive(Debug)]
pub struct PossessionOnly {
    subjects: Vec<DistinguishedName>,
    signatures: Signatures,
}

/// Largest list of authorities in a CertificateRequest: it is counted in 16 bits, with the rest of
/// the message beside it.
const SUBJECTS_BYTES_MAX: usize = 48 << 10;

impl PossessionOnly {
    /// `subjects` tells clients which of their certificates to present (Go clients pick by it); of
    /// a list that does not fit into the message nothing is told, which to every client means
    /// "any".
    pub fn new(mut subjects: Vec<DistinguishedName>, provider: &CryptoProvider) -> Self {
        let bytes: usize = subjects
            .iter()
            .map(|subject| subject.as_ref().len() + 2)
            .sum();
        if bytes > SUBJECTS_BYTES_MAX {
            subjects.clear();
        }
        Self {
            subjects,
            signatures: Signatures::new(provider.signature_verification_algorithms),
        }
    }
}

impl ClientCertVerifier for PossessionOnly {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // On purpose: see the type.
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures
            .verify_tls12(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures
            .verify_tls13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes()
    }
}
