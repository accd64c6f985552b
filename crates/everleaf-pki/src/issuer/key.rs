//! Where the key of a CA is: in this process, or behind somebody who signs with it.

use crate::asn1::{self, SEQUENCE, encoded};
use crate::key::{HeldKey, KeyError, PrivateKey, PublicKey, PublicKeyKind};
use crate::signature::{self, SignatureAlgorithm};
use aws_lc_rs::digest;
use der::asn1::UintRef;
use std::sync::Arc;

/// What an ECDSA key signs in place of `message`: its hash, that of the curve (RFC 5758 3.2).
/// `None` for other kinds of keys.
pub fn ecdsa_digest(key: &PublicKey, message: &[u8]) -> Option<Vec<u8>> {
    let algorithm = match key.kind() {
        PublicKeyKind::EcdsaP256 => &digest::SHA256,
        PublicKeyKind::EcdsaP384 => &digest::SHA384,
        PublicKeyKind::EcdsaP521 => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(algorithm, message).as_ref().to_vec())
}

/// An ECDSA signature as certificates hold it (RFC 3279 2.2.3), from its two numbers, each as long
/// as the other, as tokens answer them. `None` when it cannot be halved.
pub fn ecdsa_signature(numbers: &[u8]) -> Option<Vec<u8>> {
    let half = numbers.len() / 2;
    if half == 0 || numbers.len() % 2 == 1 {
        return None;
    }
    let number = |bytes| UintRef::new(bytes).ok().map(|number| encoded(&number));
    let members = [number(&numbers[..half])?, number(&numbers[half..])?].concat();
    Some(asn1::element(SEQUENCE, &members))
}

/// Whether the private half of `key` made this signature, as [`HeldKey::sign`] makes it.
pub fn has_signed(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    key.algorithm().is_ok_and(|algorithm| {
        let algorithm = SignatureAlgorithm::for_certificate(algorithm);
        signature::verify(key, algorithm, message, signature).is_ok()
    })
}

/// The key of an issuer.
pub(super) enum SigningKey {
    Elsewhere(Arc<dyn HeldKey>),
    Here(PrivateKey),
}

impl SigningKey {
    pub(super) fn public_key(&self) -> &PublicKey {
        match self {
            Self::Elsewhere(key) => key.public_key(),
            Self::Here(key) => key.public_key(),
        }
    }

    /// Whether what signs is not ours.
    pub(super) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Elsewhere(_))
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
