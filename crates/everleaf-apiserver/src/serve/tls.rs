//! TLS of the server: its own certificate, replaceable while it runs; and client certificates, which
//! are requested, not required, and of which only possession of the key is checked here.
//!
//! Whether a certificate is worth anything (authority, dates, usage) is the
//! [authenticator](crate::authn)'s question, asked again on each request: a client with an expired
//! certificate gets a 401 it can act on, never an alert.
//!
//! No session is resumed: a resumed one carries the certificates of its first handshake, so a client that renewed its
//! certificate would go on as the old one, and get 401 once that has ended, although it holds a good one.

use std::sync::Arc;

use arc_swap::ArcSwap;
use everleaf_tls::PossessionOnly;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DistinguishedName, Error, ServerConfig, version};

/// Protocols offered, best first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a serving certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The chain is not PEM, or holds no certificate.
    #[error("the serving certificate chain cannot be read: {0}")]
    Chain(String),
    /// The key is not PEM, of a kind that cannot sign, or not the chain's.
    #[error("the serving key cannot be used: {0}")]
    Key(String),
    /// The cryptographic provider refuses.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// The server's certificate and key, as one unit that can be replaced under running connections.
pub struct ServingCertificate {
    current: ArcSwap<CertifiedKey>,
    provider: Arc<CryptoProvider>,
}

impl ServingCertificate {
    /// From PEM: the chain, leaf first, and its key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = certified_key(chain, key, &provider)?;
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(current),
            provider,
        }))
    }

    /// Serves another certificate from the next handshake on. On an error the old one stays.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let next = certified_key(chain, key, &self.provider)?;
        self.current.store(Arc::new(next));
        Ok(())
    }

    /// The TLS configuration that serves it, TLS 1.2 and 1.3. `client_ca_subjects` tells clients which of
    /// their certificates to present.
    pub(super) fn server_config(
        self: &Arc<Self>,
        client_ca_subjects: Vec<DistinguishedName>,
    ) -> Result<ServerConfig, TlsError> {
        let setup = |error: Error| TlsError::Setup(error.to_string());
        let verifier = PossessionOnly::new(client_ca_subjects, &self.provider);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(setup)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl std::fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServingCertificate(…)")
    }
}

fn certified_key(
    chain: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Chain(error.to_string()))?;
    if chain.is_empty() {
        return Err(TlsError::Chain("it holds no certificate".to_owned()));
    }
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Key(error.to_string()))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| TlsError::Key(error.to_string()))
}
