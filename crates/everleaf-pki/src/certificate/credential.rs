//! A chain and its private key, as one unit.

use super::{CertificateError, Chain, Leaf};
use crate::key::{KeyError, PrivateKey};
use zeroize::Zeroizing;

/// A chain plus its private key, as one unit; the key is known to match the leaf.
pub struct Credential {
    chain: Chain,
    key: PrivateKey,
}

impl Credential {
    /// Joins a chain and its key.
    ///
    /// # Errors
    /// [`CertificateError::KeyMismatch`] when the leaf carries another public key.
    pub fn new(chain: Chain, key: PrivateKey) -> Result<Self, CertificateError> {
        if chain.leaf().public_key() != key.public_key() {
            return Err(CertificateError::KeyMismatch {
                subject: chain.leaf().subject_text(),
            });
        }
        Ok(Self { chain, key })
    }

    /// Reads one PEM text holding certificates and a key, in either order: the content of
    /// `kubelet-client-current.pem`. The key may be in a token (see
    /// [`PrivateKey::from_stored_pem`]).
    ///
    /// # Errors
    /// No certificate, no key, an unreadable one, or a key that does not match.
    pub fn from_pem(text: &[u8]) -> Result<Self, CertificateError> {
        let chain = Chain::from_pem(text)?;
        let text = std::str::from_utf8(text)
            .map_err(|_| CertificateError::Key(KeyError::malformed_private("not a text file")))?;
        Self::new(chain, PrivateKey::from_stored_pem(text)?)
    }

    /// Kubelet layout: certificates, leaf first, then exactly one key block.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let key = self.key.to_pem();
        let chain = self.chain.to_pem();
        // Reserved at once: growing would leave the key in a freed buffer.
        let mut text = Zeroizing::new(String::with_capacity(chain.len() + key.len()));
        text.push_str(&chain);
        text.push_str(&key);
        text
    }

    /// The chain.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The end-entity certificate.
    pub fn leaf(&self) -> &Leaf {
        self.chain.leaf()
    }

    /// The private key.
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Takes the credential apart.
    pub fn into_parts(self) -> (Chain, PrivateKey) {
        (self.chain, self.key)
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential({:?}, {:?})", self.leaf(), self.key)
    }
}
