//! What a kubeconfig names by path is read again while the process runs: the authorities for each connection, the token
//! for each request. A file that cannot be read leaves what was read last (client-go `transport/token_source.go`).

use anyhow::{Context, Result};
use everleaf_agent::kubeconfig::Token;
use everleaf_pki::TrustBundle;
use everleaf_tls::ServerVerifier;
use http::header::{AUTHORIZATION, HeaderValue};
use kube::client::Body;
use kube::config::AuthInfo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A bearer token in a file.
pub(super) struct BearerFile {
    token: Token,
    /// `Bearer …`, as last read.
    last: Mutex<HeaderValue>,
}

impl BearerFile {
    /// The token file of `user`, which no longer names it then. An inline token given with it holds while
    /// the file cannot be read.
    pub(super) fn take(user: &mut AuthInfo) -> Result<Option<Self>> {
        let Some(path) = user.token_file.take().filter(|path| !path.is_empty()) else {
            return Ok(None);
        };
        let token = Token::File {
            path: PathBuf::from(&path),
            fallback: None,
        };
        match read(&token) {
            Ok(header) => {
                user.token = None;
                let last = Mutex::new(header);
                Ok(Some(Self { token, last }))
            }
            Err(error) if user.token.is_some() => {
                tracing::warn!(
                    "cannot use token file {path}: {error:#}; the token in the kubeconfig is used"
                );
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| format!("cannot use token file {path}")),
        }
    }

    /// The request with the token as the file has it now.
    pub(super) fn authorize(&self, mut request: http::Request<Body>) -> http::Request<Body> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(header) = read(&self.token) {
            *last = header;
        }
        request.headers_mut().insert(AUTHORIZATION, last.clone());
        request
    }
}

fn read(token: &Token) -> Result<HeaderValue> {
    let token = token.read()?;
    let mut header = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .context("it holds characters that no header may")?;
    header.set_sensitive(true);
    Ok(header)
}

/// Judges servers by the authorities that a file holds at that moment.
#[derive(Debug)]
pub(super) struct FreshVerifier {
    file: PathBuf,
    provider: Arc<CryptoProvider>,
    last: Mutex<Arc<ServerVerifier>>,
}

impl FreshVerifier {
    /// A verifier for the authorities in `file`, which held `bundle` a moment ago.
    pub(super) fn new(file: PathBuf, bundle: TrustBundle, provider: &Arc<CryptoProvider>) -> Self {
        let last = Arc::new(ServerVerifier::new(bundle, provider));
        Self {
            file,
            provider: Arc::clone(provider),
            last: Mutex::new(last),
        }
    }

    fn last(&self) -> Arc<ServerVerifier> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&last)
    }

    fn refresh(&self) {
        let source = everleaf_agent::kubeconfig::Source::File(self.file.clone());
        let read = source.read().map_err(|error| error.to_string());
        let bundle = read.and_then(|pem| {
            TrustBundle::from_pem_lenient(pem.expose().as_bytes())
                .map_err(|error| error.to_string())
        });
        match bundle {
            Ok(bundle) => {
                let fresh = Arc::new(ServerVerifier::new(bundle, &self.provider));
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
            }
            Err(error) => tracing::warn!(
                "certificate-authority {} cannot be used: {error}; what it held before is used until it can",
                self.file.display()
            ),
        }
    }
}

impl ServerCertVerifier for FreshVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.refresh();
        self.last()
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.last()
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.last()
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.last().supported_verify_schemes()
    }
}
