//! Where the key of a CA is: in this process, or behind somebody who signs with it.

use crate::key::{KeyError, PrivateKey, PublicKey};
use crate::signature::SignatureAlgorithm;
use std::sync::Arc;

/// The private key of a CA that is not in the memory of this process: in a token, an HSM, a
/// service. What it signs is verified with its public half before anybody sees it, so a faulty one
/// can stop the issuing of certificates, and nothing worse.
pub trait CaKey: Send + Sync {
    /// Its public half, by which it is matched with the CA certificate.
    fn public_key(&self) -> &PublicKey;

    /// Signs `message` as certificates are signed with such a key: ECDSA over the hash that fits the
    /// curve (SHA-256, SHA-384, SHA-512), as a DER `Ecdsa-Sig-Value` (RFC 3279 2.2.3); Ed25519; RSA
    /// PKCS#1 v1.5 with SHA-256. It may block, but not for ever.
    ///
    /// # Errors
    /// Why there is no signature, in a line for people. No PIN and no key in it.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String>;
}

/// The key of an issuer.
pub(super) enum SigningKey {
    Elsewhere(Arc<dyn CaKey>),
    Here(PrivateKey),
}

impl SigningKey {
    pub(super) fn public_key(&self) -> &PublicKey {
        match self {
            Self::Elsewhere(key) => key.public_key(),
            Self::Here(key) => key.public_key(),
        }
    }

    pub(super) fn sign(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        match self {
            Self::Elsewhere(key) => key.sign(message).map_err(KeyError::Elsewhere),
            Self::Here(key) => key.sign(algorithm, message),
        }
    }
}
