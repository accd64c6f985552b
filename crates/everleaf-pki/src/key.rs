//! Private and public keys: making, parsing, encoding, judging their strength.
use zeroize::Zeroizing;

/// Kinds of keys that Everleaf can hold and sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// ECDSA on P-256, the default.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
    /// RSA with this modulus length in bits.
    Rsa(u32),
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// placeholder
    #[error("{0}")]
    Unusable(String),
}

/// A private key: zeroized on drop, not `Clone`, redacted in `Debug`.
pub struct PrivateKey(());
impl PrivateKey {
    /// A fresh key from system entropy.
    pub fn generate(_algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        unimplemented!()
    }
    /// Deterministic Ed25519 key (simulation, test vectors).
    pub fn from_ed25519_seed(_seed: &[u8; 32]) -> Result<Self, KeyError> {
        unimplemented!()
    }
    /// First `… PRIVATE KEY` block of a PEM text: PKCS#8, PKCS#1 or SEC1 (with or without a leading EC PARAMETERS block).
    pub fn from_pem(_pem: &str) -> Result<Self, KeyError> {
        unimplemented!()
    }
    /// `EC PRIVATE KEY` (SEC1) for EC, `RSA PRIVATE KEY` (PKCS#1) for RSA, `PRIVATE KEY` (PKCS#8) for Ed25519.
    pub fn to_pem(&self) -> Zeroizing<String> {
        unimplemented!()
    }
    /// PKCS#8 DER, for the TLS stack.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        unimplemented!()
    }
    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        unimplemented!()
    }
    /// What kind of key it is.
    pub fn algorithm(&self) -> KeyAlgorithm {
        unimplemented!()
    }
}
impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// A public key as SubjectPublicKeyInfo DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    spki_der: Vec<u8>,
}
impl PublicKey {
    /// SubjectPublicKeyInfo, DER.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }
    /// Refuses weak keys: rule S4 of the approval policy (RSA 2048–8192 with sound exponent, P-256/384/521, Ed25519, …).
    pub fn check_strength(&self) -> Result<(), KeyError> {
        unimplemented!()
    }
}

/// Where fresh keys come from: system entropy in production, a seed in simulation.
pub trait KeySource: Send {
    /// A fresh private key.
    fn generate(&mut self) -> Result<PrivateKey, KeyError>;
}
/// System entropy, ECDSA P-256 unless another algorithm is named.
#[derive(Debug, Clone, Copy)]
pub struct SystemKeySource(pub KeyAlgorithm);
impl KeySource for SystemKeySource {
    fn generate(&mut self) -> Result<PrivateKey, KeyError> {
        PrivateKey::generate(self.0)
    }
}
