//! Writing a certificate (RFC 5280 4.1).

use super::key::SigningKey;
use crate::asn1::{self, bit_string, encoded};
use crate::certificate::{CertificateError, Leaf};
use crate::extension::{self, AltNames, KeyUsageBits};
use crate::key::PublicKey;
use crate::request::EMPTY_NAME;
use crate::signature::SignatureAlgorithm;
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef};
use der::{DateTime, Decode, Sequence};
use jiff::Timestamp;
use std::time::Duration;
use x509_cert::certificate::Version;
use x509_cert::ext::Extension;
use x509_cert::spki::AlgorithmIdentifierRef;
use x509_cert::time::{Time, Validity};

/// What a certificate says, before it is encoded.
pub(super) struct Content<'a> {
    /// Big-endian.
    pub(super) serial: [u8; 16],
    /// The issuer's subject, byte for byte: chains are built by comparing bytes.
    pub(super) issuer_der: &'a [u8],
    /// Cut to whole seconds.
    pub(super) not_before: Timestamp,
    /// Cut to whole seconds.
    pub(super) not_after: Timestamp,
    pub(super) subject_der: Vec<u8>,
    pub(super) public_key: PublicKey,
    pub(super) extensions: Vec<Extension>,
}

#[derive(Sequence)]
struct TbsCertificate<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: Version,
    serial_number: UintRef<'a>,
    signature: AlgorithmIdentifierRef<'a>,
    issuer: AnyRef<'a>,
    validity: Validity,
    subject: AnyRef<'a>,
    subject_public_key_info: AnyRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

#[derive(Sequence)]
struct Certificate<'a> {
    tbs_certificate: AnyRef<'a>,
    signature_algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

impl Content<'_> {
    /// `TBSCertificate` DER, to be signed with `algorithm`; the error says what cannot be encoded.
    pub(super) fn to_tbs(&self, algorithm: SignatureAlgorithm) -> Result<Vec<u8>, String> {
        let encode = |error: der::Error| {
            format!("the certificate cannot be encoded: {}", asn1::words(&error))
        };
        let tbs = TbsCertificate {
            version: Version::V3,
            serial_number: UintRef::new(&self.serial).map_err(encode)?,
            signature: algorithm.identifier(),
            issuer: AnyRef::from_der(self.issuer_der).map_err(encode)?,
            validity: Validity::new(time(self.not_before)?, time(self.not_after)?),
            subject: AnyRef::from_der(&self.subject_der).map_err(encode)?,
            subject_public_key_info: AnyRef::from_der(self.public_key.spki_der())
                .map_err(encode)?,
            extensions: self.extensions.clone(),
        };
        Ok(encoded(&tbs))
    }
}

/// The extensions of an end entity, in Go's order; absent ones are left out.
pub(super) fn leaf_extensions(
    (key_usage, purposes): (KeyUsageBits, Vec<ObjectIdentifier>),
    names: &AltNames,
    subject_der: &[u8],
    authority_key_id: Option<&[u8]>,
) -> Vec<Extension> {
    let mut extensions = Vec::with_capacity(5);
    if key_usage != KeyUsageBits::default() {
        extensions.push(key_usage.to_extension());
    }
    if !purposes.is_empty() {
        extensions.push(extension::extended_key_usage(&purposes));
    }
    extensions.push(extension::basic_constraints(false));
    if let Some(id) = authority_key_id {
        extensions.push(extension::authority_key_identifier(id));
    }
    if !names.is_empty() {
        extensions.push(
            names
                .without_repeats()
                .to_extension(subject_der == EMPTY_NAME),
        );
    }
    extensions
}

/// Signs a `TBSCertificate` and reads the result back. What a key elsewhere has signed is verified:
/// a token may be faulty, or have another key behind the same name by now.
pub(super) fn sign(
    tbs: &[u8],
    algorithm: SignatureAlgorithm,
    key: &SigningKey,
) -> Result<Leaf, CertificateError> {
    let signature = key.sign(algorithm, tbs)?;
    let certificate = Certificate {
        tbs_certificate: AnyRef::from_der(tbs)
            .map_err(|error| CertificateError::Malformed(asn1::words(&error)))?,
        signature_algorithm: algorithm.identifier(),
        signature: bit_string(&signature),
    };
    let leaf = Leaf::from_der(&encoded(&certificate))?;
    if key.is_elsewhere() {
        leaf.verify_signature(key.public_key())?;
    }
    Ok(leaf)
}

/// UTCTime through 2049, GeneralizedTime after (RFC 5280 4.1.2.5).
pub(super) fn time(instant: Timestamp) -> Result<Time, String> {
    // `as_second` truncates towards zero; certificates before 1970 are refused here anyway.
    u64::try_from(instant.as_second())
        .ok()
        .and_then(|seconds| DateTime::from_unix_duration(Duration::from_secs(seconds)).ok())
        .map(Time::from)
        .ok_or_else(|| format!("{instant} is no date for a certificate"))
}
