//! TLS of the server: its own certificate, replaceable while it runs; and client certificates,
//! which are requested, not required, and of which only possession of the key is checked here.
//!
//! Whether a certificate is worth anything (authority, dates, usage) is the
//! [authenticator](crate::authn)'s question, asked again on each request: a client with an expired
//! certificate gets a 401 it can act on, never an alert.
//!
//! No session is resumed: a resumed one carries the certificates of its first handshake, so a
//! client that renewed its certificate would go on as the old one, and get 401 once that has ended,
//! although it holds a good one.

use crate::authn::Authenticator;
use arc_swap::ArcSwap;
use everleaf_pki::{KeyError, Leaf, PrivateKey, pem};
use everleaf_tls::PossessionOnly;
use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DistinguishedName, Error, ServerConfig, version};
use std::sync::Arc;

/// Protocols offered, best first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a serving certificate cannot be used. Whoever knows the files names them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The chain cannot be read, or holds no certificate.
    #[error("the serving certificate: {0}")]
    Chain(String),
    /// The key cannot be read, or is of a kind that cannot sign.
    #[error("the serving key: {0}")]
    Key(String),
    /// Each is good, and they do not belong together.
    #[error(
        "the key is not the one of the serving certificate {subject}; name the key that the certificate was issued \
         for, and put the server's own certificate before those of its authorities"
    )]
    Mismatch {
        /// Whose certificate it is.
        subject: String,
    },
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

    /// When the certificate that is served now ends.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let current = self.current.load();
        let leaf = Leaf::from_der(current.cert.first()?).ok()?;
        Some(leaf.not_after())
    }

    /// The TLS configuration that serves it, TLS 1.2 and 1.3. `client_ca_subjects` tells clients
    /// which of their certificates to present.
    pub(super) fn server_config(
        self: &Arc<Self>,
        client_ca_subjects: Vec<DistinguishedName>,
    ) -> Result<ServerConfig, TlsError> {
        let setup = |error: Error| TlsError::Setup(everleaf_tls::words(&error));
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

/// The TLS configuration of new connections: it tells clients whose certificates are believed, so
/// it is made anew when the client CA bundle is another one.
pub(super) struct Tls {
    certificate: Arc<ServingCertificate>,
    /// With the revision of the bundle that it was made of.
    current: ArcSwap<(u64, Arc<ServerConfig>)>,
}

impl Tls {
    pub(super) fn new(
        authenticator: &Authenticator,
        certificate: &Arc<ServingCertificate>,
    ) -> Result<Self, TlsError> {
        let revision = authenticator.client_ca_revision();
        let config = certificate.server_config(authenticator.client_ca_subjects())?;
        Ok(Self {
            certificate: Arc::clone(certificate),
            current: ArcSwap::from_pointee((revision, Arc::new(config))),
        })
    }

    /// For the connection that is about to begin.
    pub(super) fn config(&self, authenticator: &Authenticator) -> Arc<ServerConfig> {
        let current = self.current.load();
        let revision = authenticator.client_ca_revision();
        if current.0 == revision {
            return Arc::clone(&current.1);
        }
        let hints = authenticator.client_ca_subjects();
        match self.certificate.server_config(hints) {
            Ok(config) => {
                let config = Arc::new(config);
                self.current
                    .store(Arc::new((revision, Arc::clone(&config))));
                config
            }
            Err(error) => {
                tracing::warn!(%error, "clients are not told of the new client CAs");
                Arc::clone(&current.1)
            }
        }
    }
}

/// As Go's `tls.X509KeyPair`: the leaf has to be readable and the key its own, nothing more.
/// Whether its version, dates and extensions are any good is for clients to judge, so rustls, which
/// would read them, is not asked.
fn certified_key(
    chain: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let certificates = certificates(chain)?;
    let leaf =
        Leaf::from_der(&certificates[0]).map_err(|error| TlsError::Chain(error.to_string()))?;
    let key = private_key(key)?;
    if leaf.public_key() != key.public_key() {
        return Err(TlsError::Mismatch {
            subject: leaf.subject_text(),
        });
    }
    let der = key
        .to_pkcs8_der()
        .map_err(|error| TlsError::Key(error.to_string()))?;
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_slice()));
    let key = provider
        .key_provider
        .load_private_key(der.clone_key())
        .map_err(|error| TlsError::Key(everleaf_tls::words(&error)))?;
    Ok(CertifiedKey::new(certificates, key))
}

/// The certificates of a PEM text; at least one.
fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut certificates = Vec::new();
    let mut other = None;
    for block in pem::blocks(text) {
        if block.label == "CERTIFICATE" {
            certificates.push(CertificateDer::from(block.der));
        } else {
            other = Some(block.label);
        }
    }
    if !certificates.is_empty() {
        return Ok(certificates);
    }
    Err(TlsError::Chain(match other {
        Some(label) if label.ends_with("PRIVATE KEY") => {
            "it holds a private key and no certificate; were the two files swapped?".to_owned()
        }
        Some(label) => format!("it holds a PEM block `{label}` and none `CERTIFICATE`"),
        None => no_pem(text, "openssl x509"),
    }))
}

fn private_key(text: &[u8]) -> Result<PrivateKey, TlsError> {
    let first = pem::blocks(text).next().map(|block| block.label);
    let key = PrivateKey::from_pem(&String::from_utf8_lossy(text));
    key.map_err(|error| {
        TlsError::Key(match (error, first.as_deref()) {
            (KeyError::NotFound, Some("CERTIFICATE")) => {
                "it holds a certificate and no private key; were the two files swapped?".to_owned()
            }
            (KeyError::NotFound, None) => no_pem(text, "openssl pkey"),
            (error, _) => error.to_string(),
        })
    })
}

/// What a text is that has no PEM block, and what turns it into one.
fn no_pem(text: &[u8], converter: &str) -> String {
    match text {
        [] => "the file is empty".to_owned(),
        // A SEQUENCE: DER begins so.
        [0x30, ..] => format!("it is DER, not PEM; `{converter} -inform DER` writes it as PEM"),
        _ => "it is not PEM, or damaged: a PEM block begins with a line `-----BEGIN …-----` and ends with \
             `-----END …-----`"
            .to_owned(),
    }
}
