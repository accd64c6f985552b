//! Encodings of private keys: which one a text has, and which curve.

use super::{KeyAlgorithm, KeyError, MlDsa};
use crate::asn1::{self, oid};
use aws_lc_rs::signature::{self, EcdsaSigningAlgorithm};
use der::asn1::ObjectIdentifier;
use der::{Decode, Reader, SliceReader, Tag};

/// Named curves with which Everleaf signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    pub(super) fn of(algorithm: KeyAlgorithm) -> Option<Self> {
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

    pub(super) fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::P384 => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
            Self::P521 => &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
        }
    }
}

/// Private key encodings, told apart by their second element.
pub(super) enum Format {
    Pkcs1,
    Pkcs8Ec(Curve),
    Pkcs8Ed25519,
    Pkcs8MlDsa(MlDsa),
    Pkcs8Rsa,
    Sec1(Curve),
}

impl Format {
    pub(super) fn sniff(der: &[u8]) -> Result<Self, KeyError> {
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
pub(super) fn pkcs8_inner(der: &[u8]) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(der)?;
    let body = asn1::read_content(&mut reader, Tag::Sequence)?;
    let mut body = SliceReader::new(body)?;
    asn1::read_content(&mut body, Tag::Integer)?;
    asn1::read_content(&mut body, Tag::Sequence)?;
    asn1::read_content(&mut body, Tag::OctetString)
}
