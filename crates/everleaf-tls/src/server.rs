//! A client's side: is this the server that was meant?

use crate::signature::Signatures;
use everleaf_pki::trust::{Presented, Refusal, TrustBundle};
use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use std::sync::Arc;

/// Believes a server whose chain and name [`TrustBundle::judge_server`] believes. What it refuses
/// comes back by [`refusal_of`].
#[derive(Debug)]
pub struct ServerVerifier {
    /// None: anybody who holds the key of what he shows.
    bundle: Option<TrustBundle>,
    signatures: Signatures,
}

impl ServerVerifier {
    /// A verifier for these anchors.
    pub fn new(bundle: TrustBundle, provider: &CryptoProvider) -> Self {
        Self {
            bundle: Some(bundle),
            ..Self::dangerously_anybody(provider)
        }
    }

    /// One that believes whoever holds a key, for who asks for it (`insecure-skip-tls-verify`).
    pub fn dangerously_anybody(provider: &CryptoProvider) -> Self {
        Self {
            bundle: None,
            signatures: Signatures::new(provider.signature_verification_algorithms),
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(bundle) = &self.bundle else {
            return Ok(ServerCertVerified::assertion());
        };
        let ders = std::iter::once(end_entity).chain(intermediates);
        let shown = Presented::from_ders(ders.map(|der| &der[..]))
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let now = i64::try_from(now.as_secs())
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .ok_or(Error::FailedToGetCurrentTime)?;
        bundle
            .judge_server(&shown, &server_name.to_str(), now)
            .map(|_| ServerCertVerified::assertion())
            .map_err(|refusal| {
                let refusal = OtherError(Arc::new(refusal));
                Error::InvalidCertificate(CertificateError::Other(refusal))
            })
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

/// Why a [`ServerVerifier`] refused, out of the error of a handshake.
pub fn refusal_of(error: &Error) -> Option<&Refusal> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(refusal))) => {
            refusal.downcast_ref::<Refusal>()
        }
        _ => None,
    }
}
