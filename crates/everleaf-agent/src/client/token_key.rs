//! A key in a token, as the TLS stack signs with it.

use crate::token::TokenKey;
use everleaf_pki::{HeldKey, PublicKey, PublicKeyKind};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The key at `uri`. A token that is away, or refuses, is told when it has to sign.
///
/// # Errors
/// The key is gone for good, or none that can be used.
pub(super) fn open(uri: &str, public_key: &PublicKey) -> Result<Arc<dyn SigningKey>, String> {
    let scheme = match public_key.kind() {
        PublicKeyKind::EcdsaP256 => SignatureScheme::ECDSA_NISTP256_SHA256,
        PublicKeyKind::EcdsaP384 => SignatureScheme::ECDSA_NISTP384_SHA384,
        other => {
            return Err(format!(
                "{uri}: {other} keys in a token cannot be used for TLS"
            ));
        }
    };
    let key = Arc::new(TokenKey::find(uri, public_key.clone())?);
    let has_failed = Arc::new(AtomicBool::new(false));
    Ok(Arc::new(TlsKey {
        key,
        scheme,
        has_failed,
    }))
}

#[derive(Clone)]
struct TlsKey {
    key: Arc<dyn HeldKey>,
    scheme: SignatureScheme,
    /// The last signature failed: told once, until one succeeds.
    has_failed: Arc<AtomicBool>,
}

impl SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&self.scheme)
            .then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for TlsKey {
    /// Waits for the token, as long as [`HeldKey::sign`] may: the handshake is the only thing that
    /// could go on, and cannot.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        match self.key.sign(message) {
            Ok(signature) => {
                if self.has_failed.swap(false, Ordering::Relaxed) {
                    tracing::info!("the token signs again");
                }
                Ok(signature)
            }
            Err(error) => {
                if !self.has_failed.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the token does not sign, so that no connection can be made with its key");
                }
                Err(Error::General(format!("the token does not sign: {error}")))
            }
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsKey").field(&self.key.uri()).finish()
    }
}
