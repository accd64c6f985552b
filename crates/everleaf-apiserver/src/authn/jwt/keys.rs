//! The keys of an issuer, as it publishes them (JSON Web Key Set, RFC 7517), and what they signed
//! (RFC 7518 3.3 to 3.5, RFC 8037 3.1).

use super::super::jws::Token;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    UnparsedPublicKey, VerificationAlgorithm,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

/// Keys of a set that are looked at.
const KEYS_MAX: usize = 128;

/// A signature algorithm of JSON Web Tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Algorithm(&'static str);

impl Algorithm {
    /// All that count.
    pub(super) const ALL: [Self; 10] = [
        Self("RS256"),
        Self("RS384"),
        Self("RS512"),
        Self("PS256"),
        Self("PS384"),
        Self("PS512"),
        Self("ES256"),
        Self("ES384"),
        Self("ES512"),
        Self("EdDSA"),
    ];

    /// The one that is called so.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.0 == name)
    }

    /// As a token spells it.
    pub(super) fn name(self) -> &'static str {
        self.0
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self.0 {
            "RS256" => &RSA_PKCS1_2048_8192_SHA256,
            "RS384" => &RSA_PKCS1_2048_8192_SHA384,
            "RS512" => &RSA_PKCS1_2048_8192_SHA512,
            "PS256" => &RSA_PSS_2048_8192_SHA256,
            "PS384" => &RSA_PSS_2048_8192_SHA384,
            "PS512" => &RSA_PSS_2048_8192_SHA512,
            _ => return None,
        })
    }
}

/// A key that its issuer publishes.
struct Key {
    id: String,
    /// The one algorithm it is for, if it says so.
    algorithm: String,
    numbers: Numbers,
}

enum Numbers {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point, and the algorithm that its curve has.
    Point {
        algorithm: &'static str,
        bytes: Vec<u8>,
    },
}

/// What an issuer publishes.
pub(super) struct KeySet(Vec<Key>);

/// How a signature fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A key of the set made it.
    Good,
    /// None of the set's keys is meant: there may be newer ones.
    NoSuchKey,
    /// A key that is meant did not make it.
    Bad,
}

impl KeySet {
    /// Reads a set; keys of kinds that are not known here are left out.
    ///
    /// # Errors
    /// It is no set, or has no key that could have signed a token.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let set: Value = serde_json::from_slice(text).map_err(|_| "it is not JSON".to_owned())?;
        let keys = set["keys"].as_array().ok_or("it has no list of keys")?;
        let keys: Vec<Key> = keys.iter().take(KEYS_MAX).filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err("it has no key that can be used for signatures".to_owned());
        }
        Ok(Self(keys))
    }

    /// Judges the signature of a token.
    pub(super) fn judge(&self, token: &Token<'_>, algorithm: Algorithm) -> Outcome {
        let id = token.header("kid");
        let fits = |key: &&Key| (id.is_empty() || key.id == id) && key.is_for(algorithm);
        let mut candidates = self.0.iter().filter(fits).peekable();
        if candidates.peek().is_none() {
            return Outcome::NoSuchKey;
        }
        let (signed, signature) = token.signed();
        if candidates.any(|key| key.made(algorithm, signed, signature)) {
            return Outcome::Good;
        }
        // A token that names no key may be of one that is newer.
        match id {
            "" => Outcome::NoSuchKey,
            _ => Outcome::Bad,
        }
    }
}

impl Key {
    fn read(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk[name].as_str().unwrap_or("");
        let bytes = |name: &str| {
            URL_SAFE_NO_PAD
                .decode(text(name).trim_end_matches('='))
                .ok()
        };
        if !matches!(text("use"), "" | "sig") {
            return None;
        }
        let numbers = match (text("kty"), text("crv")) {
            ("RSA", _) => Numbers::Rsa {
                modulus: bytes("n")?,
                exponent: bytes("e")?,
            },
            ("EC", "P-256") => point("ES256", 32, &bytes("x")?, &bytes("y")?)?,
            ("EC", "P-384") => point("ES384", 48, &bytes("x")?, &bytes("y")?)?,
            ("EC", "P-521") => point("ES512", 66, &bytes("x")?, &bytes("y")?)?,
            ("OKP", "Ed25519") => Numbers::Point {
                algorithm: "EdDSA",
                bytes: bytes("x")?,
            },
            _ => return None,
        };
        Some(Self {
            id: text("kid").to_owned(),
            algorithm: text("alg").to_owned(),
            numbers,
        })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        if !(self.algorithm.is_empty() || self.algorithm == algorithm.name()) {
            return false;
        }
        match &self.numbers {
            Numbers::Rsa { .. } => algorithm.rsa().is_some(),
            Numbers::Point { algorithm: own, .. } => *own == algorithm.name(),
        }
    }

    fn made(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        match &self.numbers {
            Numbers::Rsa { modulus, exponent } => {
                let key = PublicKeyComponents {
                    n: modulus.as_slice(),
                    e: exponent.as_slice(),
                };
                let parameters = algorithm.rsa();
                parameters.is_some_and(|rsa| key.verify(rsa, signed, signature).is_ok())
            }
            Numbers::Point { algorithm, bytes } => {
                let verification: &'static dyn VerificationAlgorithm = match *algorithm {
                    "ES256" => &ECDSA_P256_SHA256_FIXED,
                    "ES384" => &ECDSA_P384_SHA384_FIXED,
                    "ES512" => &ECDSA_P521_SHA512_FIXED,
                    _ => &ED25519,
                };
                let key = UnparsedPublicKey::new(verification, bytes);
                key.verify(signed, signature).is_ok()
            }
        }
    }
}

/// Coordinates as one uncompressed point (SEC 1 2.3.3), each in its full length.
fn point(algorithm: &'static str, length: usize, x: &[u8], y: &[u8]) -> Option<Numbers> {
    let mut bytes = vec![4];
    for number in [x, y] {
        let number = match number.len() {
            longer if longer > length => return None,
            _ => number,
        };
        bytes.extend(std::iter::repeat_n(0, length - number.len()));
        bytes.extend(number);
    }
    Some(Numbers::Point { algorithm, bytes })
}
