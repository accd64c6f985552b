//! Possession of a certificate's key: the signature in a handshake.

use aws_lc_rs::signature::{self as algorithms, RsaParameters, UnparsedPublicKey};
use everleaf_pki::Leaf;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use webpki::{EndEntityCert, RawPublicKeyEntity};

/// Verification algorithms of the provider, and the two rules that it does not know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signatures {
    algorithms: WebPkiSupportedAlgorithms,
}

impl Signatures {
    pub(crate) fn new(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { algorithms }
    }

    /// TLS 1.2, where RSA keys from 1024 bits on may sign with PKCS #1, as for Go. (TLS 1.3 wants
    /// PSS, which the provider checks from 2048 bits on.)
    pub(crate) fn verify_tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
            .or_else(|error| self.verify_unread(message, certificate, signature, error))
            .or_else(|error| verify_short_rsa(message, certificate, signature).ok_or(error))
    }

    /// TLS 1.3.
    pub(crate) fn verify_tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
            .or_else(|error| self.verify_unread(message, certificate, signature, error))
    }

    /// What may be offered. PKCS #1 stands before PSS, so that a client of TLS 1.2 with a short RSA
    /// key, who takes the first that fits, takes one that can be checked.
    pub(crate) fn schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.algorithms.supported_schemes();
        schemes.sort_by_key(|scheme| {
            matches!(
                scheme,
                SignatureScheme::RSA_PSS_SHA256
                    | SignatureScheme::RSA_PSS_SHA384
                    | SignatureScheme::RSA_PSS_SHA512
            )
        });
        schemes
    }

    /// A certificate that rustls could not read, for `error`: of version 1, or with a critical
    /// extension that it does not know. Whether such a certificate counts is not asked here.
    fn verify_unread(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
        error: Error,
    ) -> Result<HandshakeSignatureValid, Error> {
        if EndEntityCert::try_from(certificate).is_ok() {
            return Err(error);
        }
        let Ok(leaf) = Leaf::from_der(certificate) else {
            return Err(error);
        };
        let key = SubjectPublicKeyInfoDer::from(leaf.public_key().spki_der());
        let key = RawPublicKeyEntity::try_from(&key).map_err(|_| error.clone())?;
        self.algorithms
            .mapping
            .iter()
            .filter(|(scheme, _)| *scheme == signature.scheme)
            .flat_map(|(_, algorithms)| algorithms.iter())
            .find(|algorithm| {
                key.verify_signature(**algorithm, message, signature.signature())
                    .is_ok()
            })
            .map(|_| HandshakeSignatureValid::assertion())
            .ok_or(error)
    }
}

fn verify_short_rsa(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Option<HandshakeSignatureValid> {
    let algorithm: &'static RsaParameters = match signature.scheme {
        SignatureScheme::RSA_PKCS1_SHA256 => {
            &algorithms::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY
        }
        SignatureScheme::RSA_PKCS1_SHA512 => {
            &algorithms::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY
        }
        _ => return None,
    };
    let leaf = Leaf::from_der(certificate).ok()?;
    UnparsedPublicKey::new(algorithm, leaf.public_key().spki_der())
        .verify(message, signature.signature())
        .ok()
        .map(|()| HandshakeSignatureValid::assertion())
}
