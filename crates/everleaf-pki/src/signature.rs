//! Signature algorithms: which one a key makes, and checking those that others made.

use crate::asn1::{self, oid};
use crate::key::{KeyAlgorithm, PublicKey, PublicKeyKind};
use aws_lc_rs::signature::{
    self as algorithms, RsaEncoding, UnparsedPublicKey, VerificationAlgorithm,
};
use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader};
use spki_types::AlgorithmIdentifierRef;
use x509_cert::spki as spki_types;

/// A signature algorithm that Everleaf makes or checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureAlgorithm {
    Ecdsa(Hash),
    Ed25519,
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

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    #[error("signature algorithm {0} is not supported")]
    UnknownAlgorithm(ObjectIdentifier),
    #[error("signature algorithm {0} is broken and refused")]
    BrokenAlgorithm(&'static str),
    #[error("malformed signature algorithm")]
    Malformed,
    #[error("a signature by {algorithm:?} cannot come from a key of kind {kind}")]
    KeyMismatch {
        algorithm: SignatureAlgorithm,
        kind: PublicKeyKind,
    },
    #[error("{algorithm:?} signatures of {kind} keys cannot be checked here: {hint}")]
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
            other => Err(SignatureError::UnknownAlgorithm(other)),
        }
    }

    /// The AlgorithmIdentifier of the algorithms that Everleaf signs with.
    pub(crate) fn identifier(self) -> AlgorithmIdentifierRef<'static> {
        let oid = match self {
            Self::Ed25519 => oid::ED25519,
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
    use PublicKeyKind::{EcdsaP224, EcdsaP256, EcdsaP384, EcdsaP521, Ed25519, Rsa};
    use SignatureAlgorithm as Signature;
    let found: Option<&'static dyn VerificationAlgorithm> = match (kind, algorithm) {
        (Ed25519, Signature::Ed25519) => Some(&algorithms::ED25519),
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
    let hint =
        "use P-256, P-384, P-521, Ed25519 or RSA of 2048 to 8192 bits with SHA-256 or better";
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
