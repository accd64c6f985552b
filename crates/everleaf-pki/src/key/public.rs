//! Public keys: reading SubjectPublicKeyInfo as Go does, and the strength rule.

use super::{KeyAlgorithm, KeyError, MlDsa, RSA_BITS_MAX, RSA_BITS_MIN, pss};
use crate::Fingerprint;
use crate::asn1::{self, oid};
use crate::signature::{self, Hash, SignatureAlgorithm};
use aws_lc_rs::signature::ParsedPublicKey;
use der::asn1::{BitStringRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, Tag};
use std::sync::Arc;

/// A public key as SubjectPublicKeyInfo DER. Cheap to clone.
#[derive(Clone)]
pub struct PublicKey {
    parts: Arc<Parts>,
}

struct Parts {
    spki_der: Vec<u8>,
    kind: PublicKeyKind,
    /// Content of the `subjectPublicKey` bit string: a curve point, 32 bytes, or `RSAPublicKey`.
    key_bytes: Vec<u8>,
}

/// What kind of key a public key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublicKeyKind {
    /// NIST P-224: read, as Go reads it, but nothing here can verify with it.
    EcdsaP224,
    /// NIST P-256.
    EcdsaP256,
    /// NIST P-384.
    EcdsaP384,
    /// NIST P-521.
    EcdsaP521,
    /// Ed25519.
    Ed25519,
    /// RSA.
    Rsa {
        /// Length of the modulus.
        bits: u32,
    },
    /// ML-DSA (FIPS 204).
    MlDsa(MlDsa),
    /// Anything else: readable in a certificate, not usable.
    Other {
        /// The algorithm's object identifier.
        algorithm: ObjectIdentifier,
    },
}

/// The numbers that make a public key, big-endian, as a JSON Web Key (RFC 7518 6) tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNumbers<'a> {
    /// A point of a curve; each coordinate as long as the curve's field.
    Point {
        /// x
        x: &'a [u8],
        /// y
        y: &'a [u8],
    },
    /// RSA.
    Rsa {
        /// Modulus, without leading zeros.
        modulus: &'a [u8],
        /// Public exponent.
        exponent: u64,
    },
}

impl std::fmt::Display for PublicKeyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EcdsaP224 => f.write_str("ECDSA P-224"),
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::EcdsaP521 => f.write_str("ECDSA P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Rsa { bits } => write!(f, "RSA {bits}"),
            Self::MlDsa(set) => set.fmt(f),
            Self::Other { algorithm } => write!(f, "algorithm {}", asn1::named(algorithm)),
        }
    }
}

impl PublicKey {
    /// Reads SubjectPublicKeyInfo DER (RFC 5280 4.1.2.7) with the rules of Go's `crypto/x509`: RSA
    /// parameters must be NULL, Ed25519 and ML-DSA have none, curves are named, points
    /// uncompressed and on their curve (of P-224 that is not known here).
    /// Algorithms that Go does not know are kept as [`PublicKeyKind::Other`].
    ///
    /// # Errors
    /// [`KeyError::Malformed`].
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let (algorithm, parameters, key_bytes) =
            read_spki(der).map_err(|error| KeyError::malformed_public(asn1::words(&error)))?;
        let kind = match algorithm {
            oid::RSA_ENCRYPTION => rsa_kind(parameters, key_bytes)?,
            oid::EC_PUBLIC_KEY => ec_kind(parameters, key_bytes)?,
            oid::ED25519 => ed25519_kind(parameters, key_bytes)?,
            other => match MlDsa::from_oid(other) {
                Some(set) => {
                    set.check_public(parameters, key_bytes)?;
                    PublicKeyKind::MlDsa(set)
                }
                None => PublicKeyKind::Other { algorithm: other },
            },
        };
        Ok(Self {
            parts: Arc::new(Parts {
                spki_der: der.to_vec(),
                kind,
                key_bytes: key_bytes.to_vec(),
            }),
        })
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn spki_der(&self) -> &[u8] {
        &self.parts.spki_der
    }

    /// SHA-256 of the SubjectPublicKeyInfo: what kubeadm's `--discovery-token-ca-cert-hash` pins.
    pub fn fingerprint(&self) -> Fingerprint {
        crate::certificate::fingerprint(self.spki_der())
    }

    /// What kind of key it is.
    pub fn kind(&self) -> &PublicKeyKind {
        &self.parts.kind
    }

    /// With what the private half signs.
    ///
    /// # Errors
    /// RSA below 2048 bits, and kinds that cannot sign here.
    pub fn algorithm(&self) -> Result<KeyAlgorithm, KeyError> {
        match self.kind() {
            PublicKeyKind::EcdsaP256 => Ok(KeyAlgorithm::EcdsaP256),
            PublicKeyKind::EcdsaP384 => Ok(KeyAlgorithm::EcdsaP384),
            PublicKeyKind::EcdsaP521 => Ok(KeyAlgorithm::EcdsaP521),
            PublicKeyKind::Ed25519 => Ok(KeyAlgorithm::Ed25519),
            PublicKeyKind::Rsa { bits } if *bits < RSA_BITS_MIN => Err(KeyError::Weak(format!(
                "RSA {bits}: at least {RSA_BITS_MIN} bits are needed"
            ))),
            PublicKeyKind::Rsa { bits } => Ok(KeyAlgorithm::Rsa(*bits)),
            PublicKeyKind::MlDsa(set) => Ok(KeyAlgorithm::MlDsa(*set)),
            PublicKeyKind::EcdsaP224 | PublicKeyKind::Other { .. } => {
                Err(KeyError::Unsupported(self.kind().to_string()))
            }
        }
    }

    /// The numbers of an ECDSA key on P-256, P-384 or P-521, or of an RSA key; None for other
    /// kinds.
    pub fn numbers(&self) -> Option<KeyNumbers<'_>> {
        match self.kind() {
            PublicKeyKind::EcdsaP256 | PublicKeyKind::EcdsaP384 | PublicKeyKind::EcdsaP521 => {
                // The point was read as an uncompressed one: 4, x, y.
                let (x, y) = self.key_bytes()[1..].split_at(self.key_bytes().len() / 2);
                Some(KeyNumbers::Point { x, y })
            }
            PublicKeyKind::Rsa { .. } => {
                let (modulus, exponent) = read_rsa(self.key_bytes()).ok()?;
                Some(KeyNumbers::Rsa { modulus, exponent })
            }
            PublicKeyKind::EcdsaP224
            | PublicKeyKind::Ed25519
            | PublicKeyKind::MlDsa(_)
            | PublicKeyKind::Other { .. } => None,
        }
    }

    /// Whether a signature over these bytes shows that its author holds the private half, as
    /// kubelets show it in a PodCertificateRequest (`k8s.io/api/certificates/v1beta1`): by ECDSA
    /// with SHA-256 (ASN.1), Ed25519, ML-DSA, or RSASSA-PSS with SHA-256 and a salt of any length.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm = match self.numbers() {
            Some(KeyNumbers::Rsa { modulus, exponent }) => {
                return pss::verify(modulus, exponent, message, signature);
            }
            Some(KeyNumbers::Point { .. }) => SignatureAlgorithm::Ecdsa(Hash::Sha256),
            None => match self.kind() {
                PublicKeyKind::MlDsa(set) => SignatureAlgorithm::MlDsa(*set),
                _ => SignatureAlgorithm::Ed25519,
            },
        };
        signature::verify(self, algorithm, message, signature).is_ok()
    }

    /// The AlgorithmIdentifier inside the SubjectPublicKeyInfo.
    pub(crate) fn algorithm_der(&self) -> &[u8] {
        let read = || {
            let mut reader = SliceReader::new(self.spki_der())?;
            SliceReader::new(asn1::read_content(&mut reader, Tag::Sequence)?)?.tlv_bytes()
        };
        read().expect("invariant: the SubjectPublicKeyInfo was read before")
    }

    /// The key inside the SubjectPublicKeyInfo, without its algorithm.
    pub(crate) fn key_bytes(&self) -> &[u8] {
        &self.parts.key_bytes
    }

    /// Refuses weak keys: rule S4 of the approval policy. RSA needs 2048 to 8192 bits, an odd
    /// modulus without the ROCA pattern (CVE-2017-15361) and an odd exponent from 65537 to 2^31-1;
    /// EC must be P-256, P-384 or P-521; Ed25519 must not be a point of small
    /// order, for which one signature fits every message. Upstream checks none of this.
    ///
    /// # Errors
    /// [`KeyError::Weak`], [`KeyError::Unsupported`] for other kinds.
    pub fn check_strength(&self) -> Result<(), KeyError> {
        match self.kind() {
            PublicKeyKind::Rsa { bits } => self.check_rsa(*bits),
            PublicKeyKind::Ed25519 => self.check_ed25519(),
            // Their points were seen to be on the curve when they were read, and ML-DSA keys to
            // have their length.
            PublicKeyKind::EcdsaP256
            | PublicKeyKind::EcdsaP384
            | PublicKeyKind::EcdsaP521
            | PublicKeyKind::MlDsa(_) => Ok(()),
            PublicKeyKind::EcdsaP224 => Err(KeyError::Weak(
                "ECDSA P-224: use P-256, P-384, P-521, Ed25519 or RSA 2048".into(),
            )),
            PublicKeyKind::Other { .. } => Err(KeyError::Unsupported(self.kind().to_string())),
        }
    }

    /// Whether a handshake can prove possession of such a key: ECDSA, Ed25519, ML-DSA, and RSA of
    /// 1024 to 8192 bits with an odd modulus and an odd exponent from 3 to 2^31-1, as Go's
    /// `crypto/tls` and `crypto/rsa` have it. Much weaker keys than [`PublicKey::check_strength`]
    /// takes: whether to issue for one is another question.
    pub fn can_prove_possession(&self) -> bool {
        match self.kind() {
            PublicKeyKind::Rsa { bits } => {
                let is_sound = |(modulus, exponent): (&[u8], u64)| {
                    modulus.last().is_some_and(|last| last & 1 == 1)
                        && exponent & 1 == 1
                        && (3..=i32::MAX as u64).contains(&exponent)
                };
                (1_024..=RSA_BITS_MAX).contains(bits)
                    && read_rsa(self.key_bytes()).is_ok_and(is_sound)
            }
            PublicKeyKind::EcdsaP224
            | PublicKeyKind::EcdsaP256
            | PublicKeyKind::EcdsaP384
            | PublicKeyKind::EcdsaP521
            | PublicKeyKind::Ed25519
            | PublicKeyKind::MlDsa(_) => true,
            PublicKeyKind::Other { .. } => false,
        }
    }

    fn check_rsa(&self, bits: u32) -> Result<(), KeyError> {
        let weak = |text: String| Err(KeyError::Weak(text));
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return weak(format!(
                "RSA {bits}: {RSA_BITS_MIN} to {RSA_BITS_MAX} bits are accepted"
            ));
        }
        let (modulus, exponent) = read_rsa(self.key_bytes())?;
        if modulus.last().is_none_or(|last| last & 1 == 0) {
            return weak("the RSA modulus is even".into());
        }
        if exponent & 1 == 0 || !(65_537..=i32::MAX as u64).contains(&exponent) {
            return weak(format!(
                "RSA exponent {exponent}: an odd number from 65537 to 2147483647 is accepted"
            ));
        }
        if has_roca_pattern(modulus) {
            return weak("the RSA modulus has the pattern of CVE-2017-15361 (ROCA)".into());
        }
        Ok(())
    }

    fn check_ed25519(&self) -> Result<(), KeyError> {
        let mut point: [u8; 32] = self
            .key_bytes()
            .try_into()
            .expect("invariant: Ed25519 keys were read with 32 bytes");
        // The sign of x does not matter for the order.
        point[31] &= 0x7f;
        if ED25519_SMALL_ORDER.contains(&point) {
            return Err(KeyError::Weak("the Ed25519 point has small order".into()));
        }
        Ok(())
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.parts.spki_der == other.parts.spki_der
    }
}

impl Eq for PublicKey {}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", self.kind())
    }
}

/// Algorithm, parameters as an element (empty when absent), key bytes.
fn read_spki(der: &[u8]) -> der::Result<(ObjectIdentifier, &[u8], &[u8])> {
    let mut reader = SliceReader::new(der)?;
    let parts = reader.sequence(|reader| {
        let (algorithm, parameters) = reader.sequence(|reader| {
            let algorithm = asn1::read_oid(reader)?;
            let parameters = match reader.is_finished() {
                true => &[],
                false => reader.tlv_bytes()?,
            };
            Ok::<_, der::Error>((algorithm, parameters))
        })?;
        let bits = BitStringRef::decode(reader)?;
        let bytes = bits
            .as_bytes()
            .ok_or_else(|| reader.error(Tag::BitString.value_error()))?;
        Ok::<_, der::Error>((algorithm, parameters, bytes))
    })?;
    reader.finish()?;
    Ok(parts)
}

fn rsa_kind(parameters: &[u8], key: &[u8]) -> Result<PublicKeyKind, KeyError> {
    const NULL: &[u8] = &[0x05, 0x00];
    if parameters != NULL {
        return Err(KeyError::malformed_public(
            "an RSA key needs NULL parameters",
        ));
    }
    let (modulus, _) = read_rsa(key)?;
    let bits = modulus.first().map_or(0, |first| {
        8 * u32::try_from(modulus.len()).unwrap_or(u32::MAX / 8) - first.leading_zeros()
    });
    Ok(PublicKeyKind::Rsa { bits })
}

/// Modulus (big-endian, without leading zeros) and exponent of an `RSAPublicKey` (RFC 8017 A.1.1).
fn read_rsa(key: &[u8]) -> Result<(&[u8], u64), KeyError> {
    let read = || -> der::Result<_> {
        let mut reader = SliceReader::new(key)?;
        let parts = reader.sequence(|reader| {
            let modulus = der::asn1::UintRef::decode(reader)?;
            let exponent = u64::decode(reader)?;
            Ok::<_, der::Error>((modulus, exponent))
        })?;
        reader.finish()?;
        Ok(parts)
    };
    let (modulus, exponent) = read()
        .map_err(|error| KeyError::malformed_public(format!("RSA key: {}", asn1::words(&error))))?;
    if modulus.as_bytes().iter().all(|&byte| byte == 0) || exponent == 0 {
        return Err(KeyError::malformed_public(
            "RSA modulus or exponent is zero",
        ));
    }
    Ok((modulus.as_bytes(), exponent))
}

fn ec_kind(parameters: &[u8], point: &[u8]) -> Result<PublicKeyKind, KeyError> {
    let curve = ObjectIdentifier::from_der(parameters)
        .map_err(|_| KeyError::malformed_public("an EC key must name its curve"))?;
    let (kind, field_len) = match curve {
        oid::SECP224R1 => (PublicKeyKind::EcdsaP224, 28),
        oid::SECP256R1 => (PublicKeyKind::EcdsaP256, 32),
        oid::SECP384R1 => (PublicKeyKind::EcdsaP384, 48),
        oid::SECP521R1 => (PublicKeyKind::EcdsaP521, 66),
        other => {
            return Err(KeyError::Unsupported(format!(
                "elliptic curve {}",
                asn1::named(&other)
            )));
        }
    };
    const UNCOMPRESSED: u8 = 4;
    if point.len() != 1 + 2 * field_len || point.first() != Some(&UNCOMPRESSED) {
        return Err(KeyError::malformed_public(
            "the EC point is not an uncompressed point of its curve",
        ));
    }
    if let Some(verification) = signature::ecdsa_for_curve(&kind)
        && ParsedPublicKey::new(verification, point).is_err()
    {
        return Err(KeyError::malformed_public(
            "the EC point is not on its curve",
        ));
    }
    Ok(kind)
}

fn ed25519_kind(parameters: &[u8], key: &[u8]) -> Result<PublicKeyKind, KeyError> {
    if !parameters.is_empty() {
        return Err(KeyError::malformed_public(
            "an Ed25519 key has no parameters",
        ));
    }
    if key.len() != 32 {
        return Err(KeyError::malformed_public("an Ed25519 key has 32 bytes"));
    }
    Ok(PublicKeyKind::Ed25519)
}

/// Keys of the ROCA generator are powers of 65537 modulo each of these primes; a sound modulus
/// has about one chance in 2^27 to look so. (Nemec et al., "The Return of Coppersmith's Attack".)
const ROCA_PRIMES: [u32; 17] = [
    11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157,
];

fn has_roca_pattern(modulus: &[u8]) -> bool {
    ROCA_PRIMES.iter().all(|&prime| {
        let residue = modulus
            .iter()
            .fold(0, |rest, &byte| (rest * 256 + u32::from(byte)) % prime);
        let mut power = 1;
        (0..prime).any(|_| {
            power = power * 65_537 % prime;
            power == residue
        })
    })
}

/// y coordinates (little-endian) of the points of order 1, 2, 4 and 8, with their
/// non-canonical forms.
const ED25519_SMALL_ORDER: [[u8; 32]; 7] = {
    const fn filled(first: u8, middle: u8, last: u8) -> [u8; 32] {
        let mut bytes = [middle; 32];
        bytes[0] = first;
        bytes[31] = last;
        bytes
    }
    [
        filled(0, 0, 0),
        filled(1, 0, 0),
        filled(0xec, 0xff, 0x7f),
        filled(0xed, 0xff, 0x7f),
        filled(0xee, 0xff, 0x7f),
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ]
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asn1::{SEQUENCE, bit_string, element, encoded};
    use crate::key::{KeyAlgorithm, PrivateKey};

    fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
        let body = [element(SEQUENCE, algorithm), encoded(&bit_string(key))].concat();
        element(SEQUENCE, &body)
    }

    fn rsa(modulus: &[u8], exponent: u64) -> PublicKey {
        let modulus = encoded(&der::asn1::UintRef::new(modulus).unwrap());
        let key = element(SEQUENCE, &[modulus, encoded(&exponent)].concat());
        let algorithm = [encoded(&oid::RSA_ENCRYPTION), vec![5, 0]].concat();
        PublicKey::from_spki_der(&spki(&algorithm, &key)).unwrap()
    }

    fn ed25519(point: [u8; 32]) -> PublicKey {
        PublicKey::from_spki_der(&spki(&encoded(&oid::ED25519), &point)).unwrap()
    }

    /// An odd modulus of `bytes` bytes with its top bit set.
    fn modulus(bytes: usize) -> Vec<u8> {
        let mut modulus: Vec<u8> = (0..bytes).map(|byte| (byte * 7 + 3) as u8).collect();
        modulus[0] |= 0x80;
        modulus[bytes - 1] |= 1;
        modulus
    }

    #[track_caller]
    fn check_weak(key: &PublicKey, expected: &str) {
        let error = key.check_strength().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn keys_of_ours_are_strong() {
        for algorithm in [
            KeyAlgorithm::EcdsaP256,
            KeyAlgorithm::EcdsaP384,
            KeyAlgorithm::EcdsaP521,
            KeyAlgorithm::Ed25519,
            KeyAlgorithm::Rsa(2048),
        ] {
            let key = PrivateKey::generate(algorithm).unwrap();
            assert_eq!(key.public_key().check_strength(), Ok(()), "{algorithm}");
        }
    }

    #[test]
    fn weak_rsa_is_refused() {
        assert_eq!(rsa(&modulus(256), 65_537).check_strength(), Ok(()));
        assert_eq!(rsa(&modulus(1024), 65_539).check_strength(), Ok(()));
        assert_eq!(rsa(&modulus(256), 2_147_483_647).check_strength(), Ok(()));
        check_weak(&rsa(&modulus(64), 65_537), "RSA 512");
        check_weak(&rsa(&modulus(255), 65_537), "RSA 2040");
        check_weak(&rsa(&modulus(1025), 65_537), "RSA 8200");
        for exponent in [1, 2, 3, 17, 65_535, 65_538, 2_147_483_649, u64::MAX] {
            check_weak(
                &rsa(&modulus(256), exponent),
                &format!("RSA exponent {exponent}"),
            );
        }
        let mut even = modulus(256);
        even[255] = 2;
        check_weak(&rsa(&even, 65_537), "even");
    }

    /// 65537^128 is a power of 65537 modulo every prime, as moduli of the flawed generator are.
    #[test]
    fn the_roca_pattern_is_refused() {
        let mut power = vec![1_u8];
        for _ in 0..128 {
            // Times 65537: the number plus itself shifted by two bytes.
            let mut sum = vec![0_u8; power.len() + 3];
            let mut carry = 0;
            for (index, byte) in sum.iter_mut().enumerate() {
                let low = power.get(index).copied().unwrap_or(0);
                let high = index
                    .checked_sub(2)
                    .and_then(|index| power.get(index))
                    .copied();
                let total = u16::from(low) + u16::from(high.unwrap_or(0)) + carry;
                *byte = total as u8;
                carry = total >> 8;
            }
            while sum.last() == Some(&0) {
                sum.pop();
            }
            power = sum;
        }
        power.reverse();
        check_weak(&rsa(&power, 65_537), "ROCA");
    }

    #[test]
    fn small_ed25519_points_are_refused() {
        for point in ED25519_SMALL_ORDER {
            check_weak(&ed25519(point), "small order");
            let mut negative = point;
            negative[31] |= 0x80;
            check_weak(&ed25519(negative), "small order");
        }
        let mut other = ED25519_SMALL_ORDER[5];
        other[0] ^= 1;
        assert_eq!(ed25519(other).check_strength(), Ok(()));
    }

    #[test]
    fn points_off_the_curve_are_refused() {
        let curve = [encoded(&oid::EC_PUBLIC_KEY), encoded(&oid::SECP256R1)].concat();
        let mut point = [1; 65];
        point[0] = 4;
        assert!(PublicKey::from_spki_der(&spki(&curve, &point)).is_err());
        let off_224 = [encoded(&oid::EC_PUBLIC_KEY), encoded(&oid::SECP224R1)].concat();
        let key = PublicKey::from_spki_der(&spki(&off_224, &[4; 57])).unwrap();
        check_weak(&key, "P-224");
        for length in [0, 33, 64, 66] {
            assert!(PublicKey::from_spki_der(&spki(&curve, &vec![4; length])).is_err());
        }
        let compressed = [&[2][..], &[1; 32]].concat();
        assert!(PublicKey::from_spki_der(&spki(&curve, &compressed)).is_err());
    }

    #[test]
    fn parameters_must_be_those_of_the_algorithm() {
        let key = PrivateKey::generate(KeyAlgorithm::Rsa(2048)).unwrap();
        let bytes = key.public_key().key_bytes();
        let bare = encoded(&oid::RSA_ENCRYPTION);
        assert!(PublicKey::from_spki_der(&spki(&bare, bytes)).is_err());
        let ed25519 = [encoded(&oid::ED25519), vec![5, 0]].concat();
        assert!(PublicKey::from_spki_der(&spki(&ed25519, &[2; 32])).is_err());
        assert!(PublicKey::from_spki_der(&spki(&encoded(&oid::ED25519), &[2; 31])).is_err());
        let unknown = PublicKey::from_spki_der(&spki(&encoded(&oid::SHA256), &[1])).unwrap();
        assert!(matches!(unknown.kind(), PublicKeyKind::Other { .. }));
        assert!(matches!(
            unknown.check_strength(),
            Err(KeyError::Unsupported(_))
        ));
    }
}
