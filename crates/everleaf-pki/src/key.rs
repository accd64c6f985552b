//! Private and public keys: making, parsing, encoding, judging their strength.
//!
//! Keys are made and used by AWS-LC; this module owns their file formats and the rule which keys
//! are good enough (rule S4 of the approval policy, see [`PublicKey::check_strength`]). It knows
//! nothing of certificates, and reads no entropy but through [`PrivateKey::generate`].
//!
//! ```
//! use everleaf_pki::{KeyAlgorithm, PrivateKey};
//!
//! let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256)?;
//! let text = key.to_pem();
//! assert!(text.starts_with("-----BEGIN EC PRIVATE KEY-----"));
//! let again = PrivateKey::from_pem(&text)?;
//! assert_eq!(again.public_key(), key.public_key());
//! assert_eq!(format!("{key:?}"), "PrivateKey(EcdsaP256, …)");
//! # Ok::<(), everleaf_pki::KeyError>(())
//! ```

mod format;
mod held;
mod ml_dsa;
mod named;
mod protected;
mod pss;
mod public;

pub use held::HeldKey;
pub use ml_dsa::{FORBIDDEN_USAGES, MlDsa, REQUIRED_USAGES, listed, usage_faults};
pub use public::{KeyNumbers, PublicKey, PublicKeyKind};

use crate::asn1::{self, SEQUENCE, bit_string, encoded};
use crate::pem;
use crate::signature::SignatureAlgorithm;
use aws_lc_rs::encoding::{
    AsBigEndian, AsDer, EcPrivateKeyBin, EcPrivateKeyRfc5915Der, Pkcs8V1Der,
};
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use format::{Curve, Format, pkcs8_inner};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Kinds of keys that Everleaf can hold and sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// ECDSA on P-256, the default.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521.
    EcdsaP521,
    /// Ed25519.
    Ed25519,
    /// RSA with this modulus length in bits; 2048, 3072, 4096 and 8192 can be generated.
    Rsa(u32),
    /// ML-DSA (FIPS 204).
    MlDsa(MlDsa),
}

impl std::fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::EcdsaP521 => f.write_str("ECDSA P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::MlDsa(set) => set.fmt(f),
        }
    }
}

/// Why a key cannot be used. No variant carries key bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text holds no `… PRIVATE KEY` block.
    #[error(
        "no private key found: expected a PEM block `PRIVATE KEY`, `EC PRIVATE KEY` or `RSA PRIVATE KEY`"
    )]
    NotFound,
    /// The private key is encrypted with a passphrase.
    #[error("the private key is encrypted: decrypt it first, for example with `openssl pkey`")]
    Encrypted,
    /// The private key is encrypted in the way of old versions of OpenSSL (RFC 1421 headers), which
    /// makes a key of the password in one round of MD5.
    #[error(
        "the private key is encrypted in an old way (Proc-Type: 4,ENCRYPTED) that protects it badly: convert it with \
         `openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW`"
    )]
    EncryptedOldWay,
    /// The private key is encrypted by a method that is not supported.
    #[error(
        "the private key is encrypted with {0}: convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW`"
    )]
    EncryptedOtherwise(String),
    /// The password does not fit the encrypted private key.
    #[error("the password does not open the encrypted private key")]
    WrongPassword,
    /// The key is not readable, or its parts contradict each other.
    #[error("malformed {what}: {detail}")]
    Malformed {
        /// `private key` or `public key`.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A kind of key that cannot be used for this.
    #[error("unsupported key: {0}")]
    Unsupported(String),
    /// The key offers too little security.
    #[error("weak key: {0}")]
    Weak(String),
    /// The cryptographic library failed.
    #[error("{0} failed in the cryptographic library")]
    Crypto(&'static str),
    /// Whoever holds the key did not sign.
    #[error("{0}")]
    Elsewhere(String),
    /// The key is wanted here, and is in a token.
    #[error("the private key is not in the file, but in a token: {0}")]
    InToken(String),
}

impl KeyError {
    pub(crate) fn malformed_private(detail: impl Into<String>) -> Self {
        Self::Malformed {
            what: "private key",
            detail: detail.into(),
        }
    }

    pub(crate) fn malformed_public(detail: impl Into<String>) -> Self {
        Self::Malformed {
            what: "public key",
            detail: detail.into(),
        }
    }
}

/// A private key: wiped on drop, not `Clone`, redacted in `Debug`.
pub struct PrivateKey {
    pair: Pair,
    public_key: PublicKey,
    algorithm: KeyAlgorithm,
}

/// The key pair inside AWS-LC, which wipes its memory when it frees it.
enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
    MlDsa(ml_dsa::Pair),
    /// Not here: where it is, and who signs with it, if that is known.
    Held(held::Held),
}

impl PrivateKey {
    /// A fresh key from system entropy.
    ///
    /// # Errors
    /// When the RSA length is not one of 2048, 3072, 4096, 8192, or the system has no entropy.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        let failed = |_| KeyError::Crypto("generating a key");
        let pair = match algorithm {
            KeyAlgorithm::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
            KeyAlgorithm::Rsa(bits) => {
                Pair::Rsa(RsaKeyPair::generate(rsa_size(bits)?).map_err(failed)?)
            }
            KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 | KeyAlgorithm::EcdsaP521 => {
                let curve = Curve::of(algorithm).expect("invariant: the three curves are listed");
                Pair::Ecdsa(EcdsaKeyPair::generate(curve.signing()).map_err(failed)?)
            }
            KeyAlgorithm::MlDsa(set) => Pair::MlDsa(ml_dsa::Pair::generate(set)?),
        };
        Self::from_pair(pair)
    }

    /// Deterministic Ed25519 key (simulation, test vectors). `seed` must be secret and random
    /// wherever the key protects anything.
    ///
    /// # Errors
    /// Never for 32 bytes; the type leaves room for a failing library.
    pub fn from_ed25519_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed)
            .map_err(|_| KeyError::Crypto("reading an Ed25519 seed"))?;
        Self::from_pair(Pair::Ed25519(pair))
    }

    /// The ML-DSA key of a seed (FIPS 204 `ML-DSA.KeyGen_internal`), which must be secret and
    /// random wherever the key protects anything.
    ///
    /// # Errors
    /// Never for 32 bytes; the type leaves room for a failing library.
    pub fn from_ml_dsa_seed(set: MlDsa, seed: &[u8; 32]) -> Result<Self, KeyError> {
        Self::from_pair(Pair::MlDsa(ml_dsa::Pair::from_seed(set, seed)?))
    }

    /// First `… PRIVATE KEY` block of a PEM text: PKCS#8, PKCS#1 or SEC1 (with or without a leading
    /// EC PARAMETERS block). What the bytes are is read from the bytes; the label need not fit.
    ///
    /// # Errors
    /// No such block, an encrypted key, a malformed one, a kind that cannot sign here, RSA below
    /// 2048 bits.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        Self::from_protected_pem(text, None)
    }

    /// As [`Self::from_pem`]; an encrypted PKCS#8 block (RFC 5958 3, PBES2 of RFC 8018 with PBKDF2
    /// and AES in CBC mode) is opened with the password. Deriving its key takes as long as the
    /// iterations that the file asks for.
    ///
    /// # Errors
    /// As [`Self::from_pem`]; [`KeyError::Encrypted`] without a password,
    /// [`KeyError::WrongPassword`].
    pub fn from_protected_pem(text: &str, password: Option<&[u8]>) -> Result<Self, KeyError> {
        let mut block = pem::blocks(text.as_bytes())
            .find(|block| is_private_key_label(&block.label) || block.label == held::URI_LABEL)
            .ok_or(KeyError::NotFound)?;
        if block.label == held::URI_LABEL {
            return Err(KeyError::InToken(held::read_uri(&block.der)?));
        }
        let der = Zeroizing::new(std::mem::take(&mut block.der));
        if block.label == "ENCRYPTED PRIVATE KEY" {
            let clear = protected::open(&der, password.ok_or(KeyError::Encrypted)?)?;
            // One wrong password in 256 leaves a padding that looks right.
            return Self::from_der(&clear).map_err(|error| match error {
                KeyError::Malformed { .. } => KeyError::WrongPassword,
                other => other,
            });
        }
        // The old encryption (RFC 1421) keeps the label and announces itself in headers.
        Self::from_der(&der).map_err(|error| match error {
            KeyError::Malformed { .. } if block.has_headers => KeyError::EncryptedOldWay,
            other => other,
        })
    }

    /// A private key in PKCS#8, PKCS#1 or SEC1 DER.
    ///
    /// # Errors
    /// As [`Self::from_pem`].
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let rejected =
            |error: KeyRejected| KeyError::malformed_private(rejection(error.description_()));
        let pair = match Format::sniff(der)? {
            Format::Pkcs8Rsa => Pair::Rsa(RsaKeyPair::from_pkcs8(der).map_err(weak_rsa)?),
            Format::Pkcs1 => Pair::Rsa(RsaKeyPair::from_der(der).map_err(weak_rsa)?),
            Format::Pkcs8Ed25519 => {
                Pair::Ed25519(Ed25519KeyPair::from_pkcs8(der).map_err(rejected)?)
            }
            Format::Pkcs8Ec(curve) => {
                Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(curve.signing(), der).map_err(rejected)?)
            }
            Format::Pkcs8MlDsa(set) => Pair::MlDsa(ml_dsa::Pair::from_pkcs8(set, der)?),
            Format::Sec1(curve) => Pair::Ecdsa(
                EcdsaKeyPair::from_private_key_der(curve.signing(), der).map_err(rejected)?,
            ),
        };
        Self::from_pair(pair)
    }

    /// `EC PRIVATE KEY` (SEC1) for EC, `RSA PRIVATE KEY` (PKCS#1) for RSA, `PRIVATE KEY` (PKCS#8)
    /// for Ed25519 and ML-DSA (there with the seed, RFC 9881): what client-go writes. For a key in
    /// a token its URI, as OpenSSL's pkcs11-provider reads it, and its public half, as
    /// [`Self::from_stored_pem`] wants them.
    pub fn to_pem(&self) -> Zeroizing<String> {
        match &self.pair {
            Pair::Held(held) => Zeroizing::new(held.to_pem(&self.public_key)),
            Pair::Ecdsa(pair) => {
                let der: EcPrivateKeyRfc5915Der<'_> = pair
                    .private_key()
                    .as_der()
                    .expect("invariant: a key that was accepted can be encoded");
                pem::encode_secret("EC PRIVATE KEY", der.as_ref())
            }
            Pair::Ed25519(pair) => pem::encode_secret("PRIVATE KEY", &ed25519_pkcs8_der(pair)),
            Pair::MlDsa(pair) => pem::encode_secret("PRIVATE KEY", &pair.pkcs8_der()),
            Pair::Rsa(pair) => {
                let pkcs8 = rsa_pkcs8_der(pair);
                let inner = pkcs8_inner(&pkcs8).expect("invariant: our own PKCS#8 reads back");
                pem::encode_secret("RSA PRIVATE KEY", inner)
            }
        }
    }

    /// PKCS#8 DER (version 1), for the TLS stack.
    ///
    /// # Errors
    /// [`KeyError::InToken`]: a token shows its keys to nobody.
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        Ok(match &self.pair {
            Pair::Ecdsa(pair) => self.ec_pkcs8_der(pair),
            Pair::Ed25519(pair) => ed25519_pkcs8_der(pair),
            Pair::Rsa(pair) => rsa_pkcs8_der(pair),
            Pair::MlDsa(pair) => pair.pkcs8_der(),
            Pair::Held(held) => return Err(KeyError::InToken(held.uri.clone())),
        })
    }

    /// A key that is not in the memory of this process, with whoever signs with it.
    ///
    /// # Errors
    /// A kind of key that cannot sign here.
    pub fn held(signer: Arc<dyn HeldKey>) -> Result<Self, KeyError> {
        let public_key = signer.public_key().clone();
        let held = held::Held {
            uri: signer.uri().to_owned(),
            signer: Some(signer),
        };
        Ok(Self {
            algorithm: public_key.algorithm()?,
            pair: Pair::Held(held),
            public_key,
        })
    }

    /// As [`Self::from_pem`], and what [`Self::to_pem`] writes for a key in a token: such a key
    /// is known by [`Self::uri`] and its public half, and signs nothing by itself.
    ///
    /// # Errors
    /// As [`Self::from_pem`], and when the public half is missing.
    pub fn from_stored_pem(text: &str) -> Result<Self, KeyError> {
        let uri = match Self::from_pem(text) {
            Err(KeyError::InToken(uri)) => uri,
            other => return other,
        };
        let public_key = pem::blocks(text.as_bytes())
            .find(|block| block.label == held::PUBLIC_LABEL)
            .ok_or_else(|| {
                KeyError::malformed_private("a key in a token stands there without its PUBLIC KEY")
            })?;
        let public_key = PublicKey::from_spki_der(&public_key.der)?;
        Ok(Self {
            algorithm: public_key.algorithm()?,
            pair: Pair::Held(held::Held { uri, signer: None }),
            public_key,
        })
    }

    /// Where the key is, when it is in a token: a `pkcs11:` URI (RFC 7512).
    pub fn uri(&self) -> Option<&str> {
        match &self.pair {
            Pair::Held(held) => Some(&held.uri),
            _ => None,
        }
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// What kind of key it is.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// Signs `message`; the signature fits `algorithm`, which must be one for this kind of key.
    pub(crate) fn sign(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let failed = |_| KeyError::Crypto("signing");
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => Ok(pair
                .sign(&random, message)
                .map_err(failed)?
                .as_ref()
                .to_vec()),
            Pair::Ed25519(pair) => Ok(pair.try_sign(message).map_err(failed)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let encoding = algorithm
                    .rsa_encoding()
                    .ok_or(KeyError::Crypto("choosing an RSA signature"))?;
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            Pair::MlDsa(pair) => pair.sign(message),
            Pair::Held(held) => held.sign(message),
        }
    }

    /// `PrivateKeyInfo` around an `ECPrivateKey` that does not repeat the curve, as Go and OpenSSL
    /// write it. AWS-LC's own document would not be wiped.
    fn ec_pkcs8_der(&self, pair: &EcdsaKeyPair) -> Zeroizing<Vec<u8>> {
        const VERSION_0: &[u8] = &[0x02, 0x01, 0x00];
        const VERSION_1: &[u8] = &[0x02, 0x01, 0x01];
        const PUBLIC_KEY: u8 = 0xa1;
        const OCTET_STRING: u8 = 0x04;
        /// More than the longest of these keys (P-521) needs, so that no buffer is moved.
        const BYTES_MAX: usize = 512;
        let buffer = || Zeroizing::new(Vec::with_capacity(BYTES_MAX));
        let scalar: EcPrivateKeyBin<'_> = pair
            .private_key()
            .as_be_bytes()
            .expect("invariant: a key that was accepted can be encoded");
        let mut parts = buffer();
        parts.extend_from_slice(VERSION_1);
        asn1::write_element(&mut parts, OCTET_STRING, scalar.as_ref());
        let point = encoded(&bit_string(self.public_key.key_bytes()));
        asn1::write_element(&mut parts, PUBLIC_KEY, &point);
        let mut ec_key = buffer();
        asn1::write_element(&mut ec_key, SEQUENCE, &parts);
        let mut info = buffer();
        info.extend_from_slice(VERSION_0);
        info.extend_from_slice(self.public_key.algorithm_der());
        asn1::write_element(&mut info, OCTET_STRING, &ec_key);
        let mut der = buffer();
        asn1::write_element(&mut der, SEQUENCE, &info);
        der
    }

    fn from_pair(pair: Pair) -> Result<Self, KeyError> {
        let spki = match &pair {
            Pair::Ecdsa(pair) => pair.public_key().as_der(),
            Pair::Ed25519(pair) => pair.public_key().as_der(),
            Pair::Rsa(pair) => pair.public_key().as_der(),
            Pair::MlDsa(pair) => Ok(pair.public_der()?),
            Pair::Held(_) => return Err(KeyError::Crypto("reading a key that is not here")),
        }
        .map_err(|_| KeyError::Crypto("encoding a public key"))?;
        let public_key = PublicKey::from_spki_der(spki.as_ref())?;
        let algorithm = public_key.algorithm()?;
        Ok(Self {
            pair,
            public_key,
            algorithm,
        })
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({:?}, …)", self.algorithm)
    }
}

/// Where fresh keys come from: system entropy in production, a seed in simulation.
pub trait KeySource: Send {
    /// A fresh private key.
    ///
    /// # Errors
    /// When the source is exhausted or the library fails.
    fn generate(&mut self) -> Result<PrivateKey, KeyError>;

    /// Deletes the keys that it made for this use and that none of these URIs names; returns how
    /// many. Where keys are in files, they go with their files.
    ///
    /// # Errors
    /// When a key may still be there.
    fn retain(&mut self, used: &[String]) -> Result<usize, KeyError> {
        let _ = used;
        Ok(0)
    }
}

/// System entropy, ECDSA P-256 unless another algorithm is named.
#[derive(Debug, Clone, Copy)]
pub struct SystemKeySource(pub KeyAlgorithm);

impl Default for SystemKeySource {
    fn default() -> Self {
        Self(KeyAlgorithm::EcdsaP256)
    }
}

impl KeySource for SystemKeySource {
    fn generate(&mut self) -> Result<PrivateKey, KeyError> {
        PrivateKey::generate(self.0)
    }
}

/// True for the labels client-go takes for a private key: `PRIVATE KEY` or `… PRIVATE KEY`.
pub(crate) fn is_private_key_label(label: &str) -> bool {
    label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY")
}

/// Smallest RSA modulus accepted anywhere, in bits.
pub(crate) const RSA_BITS_MIN: u32 = 2048;
/// Largest RSA modulus accepted anywhere, in bits: larger ones cost verifiers too much.
pub(crate) const RSA_BITS_MAX: u32 = 8192;

fn ed25519_pkcs8_der(pair: &Ed25519KeyPair) -> Zeroizing<Vec<u8>> {
    let der: Pkcs8V1Der<'_> = pair
        .as_der()
        .expect("invariant: a key that was accepted can be encoded");
    Zeroizing::new(der.as_ref().to_vec())
}

fn rsa_pkcs8_der(pair: &RsaKeyPair) -> Zeroizing<Vec<u8>> {
    let der: Pkcs8V1Der<'_> = pair
        .as_der()
        .expect("invariant: a key that was accepted can be encoded");
    Zeroizing::new(der.as_ref().to_vec())
}

fn rsa_size(bits: u32) -> Result<rsa::KeySize, KeyError> {
    match bits {
        2048 => Ok(rsa::KeySize::Rsa2048),
        3072 => Ok(rsa::KeySize::Rsa3072),
        4096 => Ok(rsa::KeySize::Rsa4096),
        8192 => Ok(rsa::KeySize::Rsa8192),
        other => Err(KeyError::Unsupported(format!(
            "RSA {other}: a new key has 2048, 3072, 4096 or 8192 bits"
        ))),
    }
}

/// AWS-LC refuses RSA keys outside 2048 to 8192 bits, and says only a word about it.
fn weak_rsa(error: KeyRejected) -> KeyError {
    KeyError::malformed_private(format!(
        "the RSA key is refused, {}; it must be consistent and have {RSA_BITS_MIN} to {RSA_BITS_MAX} bits",
        rejection(error.description_())
    ))
}

/// What AWS-LC means by the word with which it refuses a key.
fn rejection(word: &str) -> &'static str {
    match word {
        "InconsistentComponents" => "its parts contradict each other",
        "InvalidComponent" => "one of its parts has no possible value",
        "InvalidEncoding" => "it is not encoded as a key of its kind",
        "PublicKeyIsMissing" => "its public half is missing",
        "TooLarge" => "it is too large",
        "TooSmall" => "it is too small",
        "VersionNotSupported" => "its format has a version that is not supported",
        "WrongAlgorithm" => "it is of another kind than it says",
        _ => "the cryptographic library does not take it",
    }
}
