//! Signed texts: JWS in compact form (RFC 7515) with the keys that Kubernetes uses (RFC 7518 3.3
//! and 3.4).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use everleaf_pki::{KeyNumbers, PrivateKey, PublicKey, PublicKeyKind};
use serde_json::{Value, json};

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// An algorithm, by the kind of key: one each, so that a token has no say in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Es256,
    Es384,
    Es512,
    Rs256,
}

impl Algorithm {
    fn of(key: &PublicKey) -> Result<Self, String> {
        match key.kind() {
            PublicKeyKind::EcdsaP256 => Ok(Self::Es256),
            PublicKeyKind::EcdsaP384 => Ok(Self::Es384),
            PublicKeyKind::EcdsaP521 => Ok(Self::Es512),
            PublicKeyKind::Rsa { .. } => Ok(Self::Rs256),
            other => Err(format!(
                "{other} keys cannot sign tokens; use ECDSA P-256, P-384 or P-521, or RSA"
            )),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Rs256 => "RS256",
        }
    }

    fn curve(self) -> &'static str {
        match self {
            Self::Es256 => "P-256",
            Self::Es384 => "P-384",
            Self::Es512 => "P-521",
            Self::Rs256 => "",
        }
    }

    fn verification(self) -> &'static dyn signature::VerificationAlgorithm {
        match self {
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &ECDSA_P521_SHA512_FIXED,
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        }
    }
}

/// The name of a key in a token: the SHA-256 of its SubjectPublicKeyInfo.
fn key_id(key: &PublicKey) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, key.spki_der()))
}

/// A key that signs tokens.
pub(super) struct SigningKey {
    pair: Pair,
    /// The encoded header of every token.
    header: String,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    pub(super) fn new(key: &PrivateKey) -> Result<Self, String> {
        let algorithm = Algorithm::of(key.public_key())?;
        let der = key.to_pkcs8_der().map_err(|error| error.to_string())?;
        let ecdsa = |signing| EcdsaKeyPair::from_pkcs8(signing, &der).map(Pair::Ecdsa);
        let pair = match algorithm {
            Algorithm::Es256 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::Es384 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::Es512 => ecdsa(&ECDSA_P521_SHA512_FIXED_SIGNING),
            Algorithm::Rs256 => RsaKeyPair::from_pkcs8(&der).map(Pair::Rsa),
        };
        let header = json!({"alg": algorithm.name(), "kid": key_id(key.public_key())});
        Ok(Self {
            pair: pair.map_err(|_| "the cryptographic library does not take it".to_owned())?,
            header: URL_SAFE_NO_PAD.encode(header.to_string()),
        })
    }

    /// `header.payload.signature`.
    pub(super) fn sign(&self, payload: &Value) -> Result<String, String> {
        let mut text = format!(
            "{}.{}",
            self.header,
            URL_SAFE_NO_PAD.encode(payload.to_string())
        );
        let random = SystemRandom::new();
        let failed = |_| "signing failed in the cryptographic library".to_owned();
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => pair
                .sign(&random, text.as_bytes())
                .map_err(failed)?
                .as_ref()
                .to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
                    .map_err(failed)?;
                signature
            }
        };
        text.push('.');
        text.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(text)
    }
}

/// A key whose signatures count.
pub(super) struct VerificationKey {
    algorithm: Algorithm,
    id: String,
    key: PublicKey,
}

impl VerificationKey {
    pub(super) fn new(key: &PublicKey) -> Result<Self, String> {
        key.check_strength().map_err(|error| error.to_string())?;
        Ok(Self {
            algorithm: Algorithm::of(key)?,
            id: key_id(key),
            key: key.clone(),
        })
    }

    /// Name of the algorithm.
    pub(super) fn algorithm(&self) -> &'static str {
        self.algorithm.name()
    }

    /// The key as a JSON Web Key (RFC 7517).
    pub(super) fn to_jwk(&self) -> Value {
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = json!({"use": "sig", "kid": self.id, "alg": self.algorithm.name()});
        let mut put = |member: &str, text: String| jwk[member] = text.into();
        match self.key.numbers() {
            Some(KeyNumbers::Point { x, y }) => {
                put("kty", "EC".to_owned());
                put("crv", self.algorithm.curve().to_owned());
                put("x", number(x));
                put("y", number(y));
            }
            Some(KeyNumbers::Rsa { modulus, exponent }) => {
                let bytes = exponent.to_be_bytes();
                let zeros = exponent.leading_zeros() as usize / 8;
                put("kty", "RSA".to_owned());
                put("n", number(modulus));
                put("e", number(&bytes[zeros..]));
            }
            None => {}
        }
        jwk
    }
}

/// A token taken apart, not yet believed.
pub(super) struct Token<'a> {
    /// What it says.
    pub(super) payload: Value,
    header: Value,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// None for what is no compact JWS with JSON objects in it.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let object = |part: &str| -> Option<Value> {
            let value: Value = serde_json::from_slice(&decode(part)?).ok()?;
            value.is_object().then_some(value)
        };
        Some(Self {
            payload: object(payload)?,
            header: object(header)?,
            signed,
            signature: decode(signature)?,
        })
    }

    /// A member of the header; "" for one that is not there or no text.
    pub(super) fn header(&self, name: &str) -> &str {
        self.header[name].as_str().unwrap_or("")
    }

    /// The sender says that whoever does not know certain members must refuse it.
    pub(super) fn demands_extensions(&self) -> bool {
        self.header.get("crit").is_some()
    }

    /// What was signed, and the signature.
    pub(super) fn signed(&self) -> (&[u8], &[u8]) {
        (self.signed.as_bytes(), &self.signature)
    }

    /// One of `keys` made the signature: the one the token names, or any when it names none.
    pub(super) fn verify(&self, keys: &[VerificationKey]) -> Result<(), String> {
        if self.demands_extensions() {
            return Err("demands extensions that are not known here".to_owned());
        }
        let algorithm = self.header["alg"].as_str();
        let id = self.header["kid"].as_str().unwrap_or("");
        let fits = |key: &&VerificationKey| {
            (id.is_empty() || key.id == id) && algorithm == Some(key.algorithm.name())
        };
        let mut candidates = keys.iter().filter(fits).peekable();
        if candidates.peek().is_none() {
            return Err("invalid signature, no keys found".to_owned());
        }
        let signs = |key: &VerificationKey| {
            UnparsedPublicKey::new(key.algorithm.verification(), key.key.spki_der())
                .verify(self.signed.as_bytes(), &self.signature)
                .is_ok()
        };
        if candidates.any(signs) {
            return Ok(());
        }
        Err("invalid signature".to_owned())
    }
}
