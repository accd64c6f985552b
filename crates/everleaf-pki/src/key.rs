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

mod ml_dsa;
mod named;
mod protected;
mod pss;
mod public;

pub use ml_dsa::{FORBIDDEN_USAGES, MlDsa, REQUIRED_USAGES, listed, usage_faults};
pub use public::{KeyNumbers, PublicKey, PublicKeyKind};

use crate::asn1::{self, SEQUENCE, bit_string, encoded, oid};
use crate::pem;
use crate::signature::SignatureAlgorithm;
use aws_lc_rs::encoding::{
    AsBigEndian, AsDer, EcPrivateKeyBin, EcPrivateKeyRfc5915Der, Pkcs8V1Der,
};
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use der::asn1::ObjectIdentifier;
use der::{Decode, Reader, SliceReader, Tag};
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
            .find(|block| is_private_key_label(&block.label))
            .ok_or(KeyError::NotFound)?;
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
    /// for Ed25519 and ML-DSA (there with the seed, RFC 9881): what client-go writes.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let (label, der) = self.to_traditional_der();
        pem::encode_secret(label, &der)
    }

    /// PKCS#8 DER (version 1), for the TLS stack.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        const ENCODES: &str = "invariant: a key that was accepted can be encoded";
        match &self.pair {
            Pair::Ecdsa(pair) => self.ec_pkcs8_der(pair),
            Pair::Ed25519(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().expect(ENCODES);
                Zeroizing::new(der.as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().expect(ENCODES);
                Zeroizing::new(der.as_ref().to_vec())
            }
            Pair::MlDsa(pair) => pair.pkcs8_der(),
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
        }
    }

    /// Label and DER of the format that client-go writes for this kind of key.
    fn to_traditional_der(&self) -> (&'static str, Zeroizing<Vec<u8>>) {
        match &self.pair {
            Pair::Ecdsa(pair) => {
                let der: EcPrivateKeyRfc5915Der<'_> = pair
                    .private_key()
                    .as_der()
                    .expect("invariant: a key that was accepted can be encoded");
                ("EC PRIVATE KEY", Zeroizing::new(der.as_ref().to_vec()))
            }
            Pair::Ed25519(_) | Pair::MlDsa(_) => ("PRIVATE KEY", self.to_pkcs8_der()),
            Pair::Rsa(_) => {
                let pkcs8 = self.to_pkcs8_der();
                let inner = pkcs8_inner(&pkcs8).expect("invariant: our own PKCS#8 reads back");
                ("RSA PRIVATE KEY", Zeroizing::new(inner.to_vec()))
            }
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

/// Named curves with which Everleaf signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    fn of(algorithm: KeyAlgorithm) -> Option<Self> {
        match algorithm {
            KeyAlgorithm::EcdsaP256 => Some(Self::P256),
            KeyAlgorithm::EcdsaP384 => Some(Self::P384),
            KeyAlgorithm::EcdsaP521 => Some(Self::P521),
            KeyAlgorithm::Ed25519 | KeyAlgorithm::Rsa(_) | KeyAlgorithm::MlDsa(_) => None,
        }
    }

    fn from_oid(curve: ObjectIdentifier) -> Result<Self, KeyError> {
        match curve {
            oid::SECP256R1 => Ok(Self::P256),
            oid::SECP384R1 => Ok(Self::P384),
            oid::SECP521R1 => Ok(Self::P521),
            other => Err(KeyError::Unsupported(format!(
                "elliptic curve {}",
                asn1::named(&other)
            ))),
        }
    }

    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::P384 => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
            Self::P521 => &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
        }
    }
}

/// Private key encodings, told apart by their second element.
enum Format {
    Pkcs1,
    Pkcs8Ec(Curve),
    Pkcs8Ed25519,
    Pkcs8MlDsa(MlDsa),
    Pkcs8Rsa,
    Sec1(Curve),
}

impl Format {
    fn sniff(der: &[u8]) -> Result<Self, KeyError> {
        let malformed = |error: der::Error| KeyError::malformed_private(asn1::words(&error));
        let mut reader = SliceReader::new(der).map_err(malformed)?;
        let body = asn1::read_content(&mut reader, Tag::Sequence).map_err(malformed)?;
        let mut body = SliceReader::new(body).map_err(malformed)?;
        asn1::read_content(&mut body, Tag::Integer).map_err(malformed)?;
        match Tag::peek(&body).map_err(malformed)? {
            Tag::Sequence => Self::pkcs8(&mut body),
            Tag::OctetString => Self::sec1(&mut body).map(Self::Sec1),
            Tag::Integer => Ok(Self::Pkcs1),
            other => Err(KeyError::malformed_private(format!("unexpected {other}"))),
        }
    }

    /// `PrivateKeyInfo` (RFC 5208) from its algorithm on.
    fn pkcs8(body: &mut SliceReader<'_>) -> Result<Self, KeyError> {
        let (algorithm, curve) = body
            .sequence(|reader| {
                let algorithm = ObjectIdentifier::decode(reader)?;
                let curve = (algorithm == oid::EC_PUBLIC_KEY)
                    .then(|| ObjectIdentifier::decode(reader))
                    .transpose()?;
                let rest = reader.remaining_len();
                reader.drain(rest)?;
                Ok((algorithm, curve))
            })
            .map_err(|error: der::Error| KeyError::malformed_private(asn1::words(&error)))?;
        match (algorithm, curve) {
            (oid::RSA_ENCRYPTION, _) => Ok(Self::Pkcs8Rsa),
            (oid::ED25519, _) => Ok(Self::Pkcs8Ed25519),
            (_, Some(curve)) => Curve::from_oid(curve).map(Self::Pkcs8Ec),
            (other, None) => match MlDsa::from_oid(other) {
                Some(set) => Ok(Self::Pkcs8MlDsa(set)),
                None => Err(KeyError::Unsupported(format!(
                    "private key algorithm {}",
                    asn1::named(&other)
                ))),
            },
        }
    }

    /// `ECPrivateKey` (RFC 5915) from its private key on; the curve must be named.
    fn sec1(body: &mut SliceReader<'_>) -> Result<Curve, KeyError> {
        const PARAMETERS: u8 = 0xa0;
        let malformed = |error: der::Error| KeyError::malformed_private(asn1::words(&error));
        asn1::read_content(body, Tag::OctetString).map_err(malformed)?;
        if body.peek_byte() != Some(PARAMETERS) {
            return Err(KeyError::malformed_private(
                "the EC key does not name its curve",
            ));
        }
        let parameters = asn1::read_element(body).map_err(malformed)?;
        let curve = ObjectIdentifier::from_der(parameters.content).map_err(malformed)?;
        Curve::from_oid(curve)
    }
}

/// The `privateKey` octets of a `PrivateKeyInfo`.
fn pkcs8_inner(der: &[u8]) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(der)?;
    let body = asn1::read_content(&mut reader, Tag::Sequence)?;
    let mut body = SliceReader::new(body)?;
    asn1::read_content(&mut body, Tag::Integer)?;
    asn1::read_content(&mut body, Tag::Sequence)?;
    asn1::read_content(&mut body, Tag::OctetString)
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
