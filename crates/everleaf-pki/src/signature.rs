//! Signature algorithms: which one a key makes, and checking those that others made.

use crate::asn1::{self, oid};
use crate::key::{KeyAlgorithm, MlDsa, PublicKey, PublicKeyKind};
use aws_lc_rs::signature::{
    self as algorithms, RsaEncoding, UnparsedPublicKey, VerificationAlgorithm,
};
use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader};
use spki_types::AlgorithmIdentifierRef;
use std::fmt;
use x509_cert::spki as spki_types;

/// A signature algorithm that Everleaf makes or checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureAlgorithm {
    Ecdsa(Hash),
    Ed25519,
    MlDsa(MlDsa),
    RsaPkcs1(Hash),
    RsaPss(Hash),
}

/// Hash functions in signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    /// Only to check requests: Go's `CertificateRequest.CheckSignature` takes it, too.
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ecdsa(hash) => write!(f, "ECDSA with {hash}"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::MlDsa(set) => set.fmt(f),
            Self::RsaPkcs1(hash) => write!(f, "RSA with {hash}"),
            Self::RsaPss(hash) => write!(f, "RSA-PSS with {hash}"),
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        })
    }
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    #[error("signature algorithm {} is not supported", asn1::named(.0))]
    UnknownAlgorithm(ObjectIdentifier),
    #[error("signature algorithm {0} is broken and refused")]
    BrokenAlgorithm(&'static str),
    #[error("malformed signature algorithm")]
    Malformed,
    #[error("the signature algorithm {0} has no parameters, and some are given")]
    Parameters(MlDsa),
    #[error("the signature has {found} bytes, and one by {algorithm} has {wanted}")]
    Length {
        algorithm: SignatureAlgorithm,
        wanted: usize,
        found: usize,
    },
    #[error("a signature by {algorithm} cannot come from a key of kind {kind}")]
    KeyMismatch {
        algorithm: SignatureAlgorithm,
        kind: PublicKeyKind,
    },
    #[error("{algorithm} signatures of {kind} keys cannot be checked here: {hint}")]
    Unverifiable {
        algorithm: SignatureAlgorithm,
        kind: PublicKeyKind,
        hint: &'static str,
    },
    #[error("the signature does not fit the public key")]
    Wrong,
}

impl SignatureAlgorithm {
    /// For certificates: as Go and the Kubernetes signer choose by the CA's key (spec 4.4).
    pub(crate) fn for_certificate(key: KeyAlgorithm) -> Self {
        match key {
            KeyAlgorithm::EcdsaP256 => Self::Ecdsa(Hash::Sha256),
            KeyAlgorithm::EcdsaP384 => Self::Ecdsa(Hash::Sha384),
            KeyAlgorithm::EcdsaP521 => Self::Ecdsa(Hash::Sha512),
            KeyAlgorithm::Ed25519 => Self::Ed25519,
            KeyAlgorithm::Rsa(_) => Self::RsaPkcs1(Hash::Sha256),
            KeyAlgorithm::MlDsa(set) => Self::MlDsa(set),
        }
    }

    /// For requests: as client-go's `util/cert/csr.go`, where the hash grows with an RSA key.
    pub(crate) fn for_request(key: KeyAlgorithm) -> Self {
        match key {
            KeyAlgorithm::Rsa(bits) if bits >= 4096 => Self::RsaPkcs1(Hash::Sha512),
            KeyAlgorithm::Rsa(bits) if bits >= 3072 => Self::RsaPkcs1(Hash::Sha384),
            other => Self::for_certificate(other),
        }
    }

    /// Reads an AlgorithmIdentifier as Go does: unknown ones are errors, PSS must use the same
    /// hash in both places and a salt of its length.
    pub(crate) fn from_identifier(
        identifier: &AlgorithmIdentifierRef<'_>,
    ) -> Result<Self, SignatureError> {
        match identifier.oid {
            oid::RSASSA_PSS => read_pss(identifier.parameters).map(Self::RsaPss),
            oid::ED25519 if identifier.parameters.is_some() => Err(SignatureError::Malformed),
            oid::ED25519 => Ok(Self::Ed25519),
            oid::ECDSA_WITH_SHA1 => Ok(Self::Ecdsa(Hash::Sha1)),
            oid::ECDSA_WITH_SHA256 => Ok(Self::Ecdsa(Hash::Sha256)),
            oid::ECDSA_WITH_SHA384 => Ok(Self::Ecdsa(Hash::Sha384)),
            oid::ECDSA_WITH_SHA512 => Ok(Self::Ecdsa(Hash::Sha512)),
            oid::SHA1_WITH_RSA | oid::SHA1_WITH_RSA_OIW => Ok(Self::RsaPkcs1(Hash::Sha1)),
            oid::SHA256_WITH_RSA => Ok(Self::RsaPkcs1(Hash::Sha256)),
            oid::SHA384_WITH_RSA => Ok(Self::RsaPkcs1(Hash::Sha384)),
            oid::SHA512_WITH_RSA => Ok(Self::RsaPkcs1(Hash::Sha512)),
            oid::MD2_WITH_RSA => Err(SignatureError::BrokenAlgorithm("MD2 with RSA")),
            oid::MD5_WITH_RSA => Err(SignatureError::BrokenAlgorithm("MD5 with RSA")),
            other => match MlDsa::from_oid(other) {
                Some(set) if identifier.parameters.is_some() => {
                    Err(SignatureError::Parameters(set))
                }
                Some(set) => Ok(Self::MlDsa(set)),
                None => Err(SignatureError::UnknownAlgorithm(other)),
            },
        }
    }

    /// The AlgorithmIdentifier of the algorithms that Everleaf signs with.
    pub(crate) fn identifier(self) -> AlgorithmIdentifierRef<'static> {
        let oid = match self {
            Self::Ed25519 => oid::ED25519,
            Self::MlDsa(set) => set.oid(),
            Self::Ecdsa(Hash::Sha1) => oid::ECDSA_WITH_SHA1,
            Self::Ecdsa(Hash::Sha256) => oid::ECDSA_WITH_SHA256,
            Self::Ecdsa(Hash::Sha384) => oid::ECDSA_WITH_SHA384,
            Self::Ecdsa(Hash::Sha512) => oid::ECDSA_WITH_SHA512,
            Self::RsaPkcs1(Hash::Sha1) => oid::SHA1_WITH_RSA,
            Self::RsaPkcs1(Hash::Sha256) => oid::SHA256_WITH_RSA,
            Self::RsaPkcs1(Hash::Sha384) => oid::SHA384_WITH_RSA,
            Self::RsaPkcs1(Hash::Sha512) => oid::SHA512_WITH_RSA,
            Self::RsaPss(_) => oid::RSASSA_PSS,
        };
        let parameters = matches!(self, Self::RsaPkcs1(_)).then_some(AnyRef::NULL);
        AlgorithmIdentifierRef { oid, parameters }
    }

    pub(crate) fn is_sha1(self) -> bool {
        matches!(
            self,
            Self::Ecdsa(Hash::Sha1) | Self::RsaPkcs1(Hash::Sha1) | Self::RsaPss(Hash::Sha1)
        )
    }

    pub(crate) fn rsa_encoding(self) -> Option<&'static dyn RsaEncoding> {
        match self {
            Self::RsaPkcs1(Hash::Sha256) => Some(&algorithms::RSA_PKCS1_SHA256),
            Self::RsaPkcs1(Hash::Sha384) => Some(&algorithms::RSA_PKCS1_SHA384),
            Self::RsaPkcs1(Hash::Sha512) => Some(&algorithms::RSA_PKCS1_SHA512),
            _ => None,
        }
    }
}

/// Checks that `key` signed `message`.
pub(crate) fn verify(
    key: &PublicKey,
    algorithm: SignatureAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let verification = verification_algorithm(*key.kind(), algorithm)?;
    if let SignatureAlgorithm::MlDsa(set) = algorithm {
        set.check_signature(signature)?;
    }
    UnparsedPublicKey::new(verification, key.key_bytes())
        .verify(message, signature)
        .map_err(|_| SignatureError::Wrong)
}

/// The usual verification algorithm of a curve.
pub(crate) fn ecdsa_for_curve(kind: &PublicKeyKind) -> Option<&'static dyn VerificationAlgorithm> {
    match kind {
        PublicKeyKind::EcdsaP256 => Some(&algorithms::ECDSA_P256_SHA256_ASN1),
        PublicKeyKind::EcdsaP384 => Some(&algorithms::ECDSA_P384_SHA384_ASN1),
        PublicKeyKind::EcdsaP521 => Some(&algorithms::ECDSA_P521_SHA512_ASN1),
        _ => None,
    }
}

fn verification_algorithm(
    kind: PublicKeyKind,
    algorithm: SignatureAlgorithm,
) -> Result<&'static dyn VerificationAlgorithm, SignatureError> {
    use PublicKeyKind::{EcdsaP224, EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, MlDsa, Rsa};
    use SignatureAlgorithm as Signature;
    let found: Option<&'static dyn VerificationAlgorithm> = match (kind, algorithm) {
        (Ed25519, Signature::Ed25519) => Some(&algorithms::ED25519),
        (MlDsa(key), Signature::MlDsa(set)) if key == set => Some(set.verification()),
        (EcdsaP256, Signature::Ecdsa(hash)) => Some(match hash {
            Hash::Sha1 => &algorithms::ECDSA_P256_SHA1_ASN1,
            Hash::Sha256 => &algorithms::ECDSA_P256_SHA256_ASN1,
            Hash::Sha384 => &algorithms::ECDSA_P256_SHA384_ASN1,
            Hash::Sha512 => &algorithms::ECDSA_P256_SHA512_ASN1,
        }),
        (EcdsaP384, Signature::Ecdsa(hash)) => match hash {
            Hash::Sha1 => None,
            Hash::Sha256 => Some(&algorithms::ECDSA_P384_SHA256_ASN1),
            Hash::Sha384 => Some(&algorithms::ECDSA_P384_SHA384_ASN1),
            Hash::Sha512 => Some(&algorithms::ECDSA_P384_SHA512_ASN1),
        },
        (EcdsaP521, Signature::Ecdsa(hash)) => Some(match hash {
            Hash::Sha1 => &algorithms::ECDSA_P521_SHA1_ASN1,
            Hash::Sha256 => &algorithms::ECDSA_P521_SHA256_ASN1,
            Hash::Sha384 => &algorithms::ECDSA_P521_SHA384_ASN1,
            Hash::Sha512 => &algorithms::ECDSA_P521_SHA512_ASN1,
        }),
        (EcdsaP224, Signature::Ecdsa(_)) => None,
        (Rsa { .. }, Signature::RsaPkcs1(hash)) => Some(match hash {
            Hash::Sha1 => &algorithms::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &algorithms::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
            Hash::Sha384 => &algorithms::RSA_PKCS1_2048_8192_SHA384,
            Hash::Sha512 => &algorithms::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        }),
        (Rsa { .. }, Signature::RsaPss(hash)) => match hash {
            Hash::Sha1 => None,
            Hash::Sha256 => Some(&algorithms::RSA_PSS_2048_8192_SHA256),
            Hash::Sha384 => Some(&algorithms::RSA_PSS_2048_8192_SHA384),
            Hash::Sha512 => Some(&algorithms::RSA_PSS_2048_8192_SHA512),
        },
        _ => return Err(SignatureError::KeyMismatch { algorithm, kind }),
    };
    let hint = "use P-256, P-384, P-521, Ed25519, ML-DSA or RSA of 2048 to 8192 bits with SHA-256 or better";
    let too_short_or_long = matches!(kind, Rsa { bits } if !(1024..=8192).contains(&bits));
    found
        .filter(|_| !too_short_or_long)
        .ok_or(SignatureError::Unverifiable {
            algorithm,
            kind,
            hint,
        })
}

/// RSASSA-PSS-params (RFC 4055 3.1): hash, MGF1 with the same hash, salt as long as the hash.
fn read_pss(parameters: Option<AnyRef<'_>>) -> Result<Hash, SignatureError> {
    let malformed = |_: der::Error| SignatureError::Malformed;
    let parameters = parameters.ok_or(SignatureError::Malformed)?;
    let mut reader = SliceReader::new(parameters.value()).map_err(malformed)?;
    let mut hash_bytes = None;
    let mut mask_bytes = None;
    let mut salt_bytes = None;
    while !reader.is_finished() {
        let element = asn1::read_element(&mut reader).map_err(malformed)?;
        match element.identifier {
            0xa0 => hash_bytes = Some(element.content),
            0xa1 => mask_bytes = Some(element.content),
            0xa2 => salt_bytes = Some(element.content),
            0xa3 if u32::from_der(element.content) == Ok(1) => {}
            _ => return Err(SignatureError::Malformed),
        }
    }
    let hash = AlgorithmIdentifierRef::from_der(hash_bytes.ok_or(SignatureError::Malformed)?)
        .map_err(malformed)?;
    let mask = AlgorithmIdentifierRef::from_der(mask_bytes.ok_or(SignatureError::Malformed)?)
        .map_err(malformed)?;
    let mask_hash = mask
        .parameters
        .filter(|_| mask.oid == oid::MGF1)
        .and_then(|parameters| parameters.decode_as::<AlgorithmIdentifierRef<'_>>().ok())
        .ok_or(SignatureError::Malformed)?;
    let salt_len =
        u32::from_der(salt_bytes.ok_or(SignatureError::Malformed)?).map_err(malformed)?;
    match (hash.oid, salt_len) {
        _ if mask_hash.oid != hash.oid => Err(SignatureError::Malformed),
        (oid::SHA256, 32) => Ok(Hash::Sha256),
        (oid::SHA384, 48) => Ok(Hash::Sha384),
        (oid::SHA512, 64) => Ok(Hash::Sha512),
        _ => Err(SignatureError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asn1::{SEQUENCE, element, encoded};

    /// As Go chooses for requests and for certificates.
    #[test]
    fn the_key_decides_the_algorithm() {
        use KeyAlgorithm::{EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, Rsa};
        for (key, certificate, request) in [
            (EcdsaP256, SignatureAlgorithm::Ecdsa(Hash::Sha256), None),
            (EcdsaP384, SignatureAlgorithm::Ecdsa(Hash::Sha384), None),
            (EcdsaP521, SignatureAlgorithm::Ecdsa(Hash::Sha512), None),
            (Ed25519, SignatureAlgorithm::Ed25519, None),
            (
                KeyAlgorithm::MlDsa(MlDsa::MlDsa65),
                SignatureAlgorithm::MlDsa(MlDsa::MlDsa65),
                None,
            ),
            (Rsa(2048), SignatureAlgorithm::RsaPkcs1(Hash::Sha256), None),
            (Rsa(3071), SignatureAlgorithm::RsaPkcs1(Hash::Sha256), None),
            (
                Rsa(3072),
                SignatureAlgorithm::RsaPkcs1(Hash::Sha256),
                Some(Hash::Sha384),
            ),
            (
                Rsa(4095),
                SignatureAlgorithm::RsaPkcs1(Hash::Sha256),
                Some(Hash::Sha384),
            ),
            (
                Rsa(4096),
                SignatureAlgorithm::RsaPkcs1(Hash::Sha256),
                Some(Hash::Sha512),
            ),
        ] {
            assert_eq!(
                SignatureAlgorithm::for_certificate(key),
                certificate,
                "{key}"
            );
            let request = request.map_or(certificate, SignatureAlgorithm::RsaPkcs1);
            assert_eq!(SignatureAlgorithm::for_request(key), request, "{key}");
            let identifier = request.identifier();
            assert_eq!(
                SignatureAlgorithm::from_identifier(&identifier),
                Ok(request),
                "{key}"
            );
        }
    }

    fn hash_identifier(hash: ObjectIdentifier) -> Vec<u8> {
        element(SEQUENCE, &[encoded(&hash), vec![5, 0]].concat())
    }

    /// The parts of RSASSA-PSS-params, each under its context tag.
    fn pss(parts: &[(u8, Vec<u8>)]) -> Result<Hash, SignatureError> {
        let body: Vec<u8> = parts
            .iter()
            .flat_map(|(tag, part)| element(*tag, part))
            .collect();
        let der = element(SEQUENCE, &body);
        read_pss(Some(AnyRef::from_der(&der).unwrap()))
    }

    #[test]
    fn pss_must_use_one_hash_throughout() {
        let mask = |hash| {
            element(
                SEQUENCE,
                &[encoded(&oid::MGF1), hash_identifier(hash)].concat(),
            )
        };
        let good = [
            (0xa0, hash_identifier(oid::SHA256)),
            (0xa1, mask(oid::SHA256)),
            (0xa2, encoded(&32_u32)),
        ];
        assert_eq!(pss(&good), Ok(Hash::Sha256));
        let changed = |index: usize, part: Vec<u8>| {
            let mut parts = good.clone();
            parts[index].1 = part;
            pss(&parts)
        };
        assert!(
            changed(0, hash_identifier(oid::SHA384)).is_err(),
            "other hash"
        );
        assert!(changed(1, mask(oid::SHA384)).is_err(), "other mask hash");
        assert!(changed(1, hash_identifier(oid::SHA256)).is_err(), "no MGF1");
        assert!(changed(2, encoded(&20_u32)).is_err(), "short salt");
        for missing in 0..3 {
            let mut parts = good.to_vec();
            parts.remove(missing);
            assert!(pss(&parts).is_err(), "without part {missing}");
        }
        assert!(read_pss(None).is_err());
        let trailer = |value: u32| pss(&[&good[..], &[(0xa3, encoded(&value))]].concat());
        assert_eq!(trailer(1), Ok(Hash::Sha256));
        assert!(trailer(2).is_err());
    }
}
