//! Reading an X.509 certificate (RFC 5280 4.1).

use super::CertificateError;
use crate::asn1::{self, Element, oid};
use crate::extension::{self, AltNames, ExtensionError, KeyUsageBits, RawExtension};
use crate::key::PublicKey;
use crate::name::Name;
use crate::signature::{SignatureAlgorithm, SignatureError};
use der::asn1::{BitStringRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, Tag};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use std::ops::Range;
use x509_cert::spki::AlgorithmIdentifierRef;

/// Where the signed part and the signature stand in a certificate.
#[derive(Debug)]
pub(crate) struct Outer {
    pub(crate) tbs: Range<usize>,
    pub(crate) signature: Range<usize>,
    /// Unknown algorithms are no error until somebody wants to verify.
    pub(crate) algorithm: Result<SignatureAlgorithm, SignatureError>,
}

impl Outer {
    /// Splits the certificate at the start of `der`: its parts, its bytes, the bytes after it.
    pub(crate) fn read(der: &[u8]) -> Result<(Self, &[u8], &[u8]), CertificateError> {
        let mut reader = SliceReader::new(der).map_err(malformed)?;
        let whole = reader.tlv_bytes().map_err(malformed)?;
        let outer = Self::read_whole(whole)?;
        Ok((outer, whole, &der[whole.len()..]))
    }

    fn read_whole(whole: &[u8]) -> Result<Self, CertificateError> {
        let mut reader = SliceReader::new(whole).map_err(malformed)?;
        let content = asn1::read_content(&mut reader, Tag::Sequence).map_err(malformed)?;
        let header_len = whole.len() - content.len();
        let mut body = SliceReader::new(content).map_err(malformed)?;
        let tbs = body.tlv_bytes().map_err(malformed)?;
        let identifier = body.tlv_bytes().map_err(malformed)?;
        let signature = BitStringRef::decode(&mut body)
            .ok()
            .and_then(|bits| bits.as_bytes())
            .ok_or_else(|| CertificateError::Malformed("signature is not a byte string".into()))?;
        body.finish().map_err(malformed)?;
        if tbs_algorithm(tbs).map_err(malformed)? != identifier {
            return Err(CertificateError::Malformed(
                "inner and outer signature algorithm differ".into(),
            ));
        }
        let identifier = AlgorithmIdentifierRef::from_der(identifier).map_err(malformed)?;
        Ok(Self {
            tbs: header_len..header_len + tbs.len(),
            signature: whole.len() - signature.len()..whole.len(),
            algorithm: SignatureAlgorithm::from_identifier(&identifier),
        })
    }
}

/// The `signature` field inside a `TBSCertificate`.
fn tbs_algorithm(tbs: &[u8]) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(tbs)?;
    let mut body = SliceReader::new(asn1::read_content(&mut reader, Tag::Sequence)?)?;
    if body.peek_byte() == Some(VERSION) {
        asn1::read_element(&mut body)?;
    }
    asn1::read_content(&mut body, Tag::Integer)?;
    body.tlv_bytes()
}

const VERSION: u8 = 0xa0;
const ISSUER_UNIQUE_ID: u8 = 0x81;
const SUBJECT_UNIQUE_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;

/// A `TBSCertificate`, read.
#[derive(Clone, Debug)]
pub(crate) struct TbsView {
    /// 1 to 3.
    pub(crate) version: u8,
    /// Big-endian, minimal; empty never: zero is one zero byte.
    pub(crate) serial: Vec<u8>,
    pub(crate) issuer_der: Vec<u8>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) subject_der: Vec<u8>,
    pub(crate) subject: Name,
    pub(crate) public_key: PublicKey,
    pub(crate) is_ca: bool,
    pub(crate) path_len: Option<u32>,
    pub(crate) key_usage: Option<KeyUsageBits>,
    /// Extended key usages; `None` when the extension is absent.
    pub(crate) purposes: Option<Vec<ObjectIdentifier>>,
    pub(crate) names: AltNames,
    pub(crate) names_critical: bool,
    pub(crate) subject_key_id: Option<Vec<u8>>,
    pub(crate) authority_key_id: Option<Vec<u8>>,
}

impl TbsView {
    /// Reads a `TBSCertificate`. Extensions that Everleaf does not act on are skipped.
    pub(crate) fn read(tbs: &[u8]) -> Result<Self, CertificateError> {
        let mut reader = SliceReader::new(tbs).map_err(malformed)?;
        let content = asn1::read_content(&mut reader, Tag::Sequence).map_err(malformed)?;
        reader.finish().map_err(malformed)?;
        let mut body = SliceReader::new(content).map_err(malformed)?;
        let version = read_version(&mut body).map_err(malformed)?;
        let serial = read_serial(&mut body)?;
        AlgorithmIdentifierRef::decode(&mut body).map_err(malformed)?;
        let issuer_der = body.tlv_bytes().map_err(malformed)?;
        let (not_before, not_after) = read_validity(&mut body)?;
        let subject_der = body.tlv_bytes().map_err(malformed)?;
        let spki = body.tlv_bytes().map_err(malformed)?;
        let subject = Name::from_der(subject_der).map_err(malformed)?;
        Name::from_der(issuer_der).map_err(malformed)?;
        let public_key = PublicKey::from_spki_der(spki)
            .map_err(|error| CertificateError::Malformed(error.to_string()))?;
        let mut view = Self {
            version,
            serial,
            issuer_der: issuer_der.to_vec(),
            not_before,
            not_after,
            subject_der: subject_der.to_vec(),
            subject,
            public_key,
            is_ca: false,
            path_len: None,
            key_usage: None,
            purposes: None,
            names: AltNames::default(),
            names_critical: false,
            subject_key_id: None,
            authority_key_id: None,
        };
        view.read_tail(&mut body)
            .map_err(|error| CertificateError::Malformed(error.to_string()))?;
        Ok(view)
    }

    /// Unique identifiers (skipped) and extensions.
    fn read_tail(&mut self, body: &mut SliceReader<'_>) -> Result<(), ExtensionError> {
        for identifier in [ISSUER_UNIQUE_ID, SUBJECT_UNIQUE_ID] {
            if body.peek_byte() == Some(identifier) {
                asn1::read_element(body)?;
            }
        }
        if !body.is_finished() {
            let wrapper = asn1::read_element(body)?;
            if wrapper.identifier != EXTENSIONS || self.version != 3 {
                return Err(body.error(Tag::Sequence.value_error()).into());
            }
            let mut list = SliceReader::new(wrapper.content)?;
            let mut extensions = Vec::new();
            extension::read_extensions(&mut list, &mut extensions)?;
            if !list.is_finished() || !body.is_finished() {
                return Err(body.error(Tag::Sequence.value_error()).into());
            }
            for extension in &extensions {
                self.read_extension(extension)?;
            }
        }
        Ok(())
    }

    fn read_extension(&mut self, extension: &RawExtension<'_>) -> Result<(), ExtensionError> {
        let value = extension.value;
        match extension.id {
            oid::BASIC_CONSTRAINTS => {
                (self.is_ca, self.path_len) = extension::read_basic_constraints(value)?;
            }
            oid::KEY_USAGE => self.key_usage = Some(KeyUsageBits::from_der(value)?),
            oid::EXTENDED_KEY_USAGE => {
                self.purposes = Some(extension::read_extended_key_usage(value)?);
            }
            oid::SUBJECT_ALT_NAME => {
                self.names = AltNames::from_der(value)?;
                self.names_critical = extension.critical;
            }
            oid::SUBJECT_KEY_IDENTIFIER => {
                let id = extension::read_subject_key_identifier(value)?;
                self.subject_key_id = Some(id.to_vec());
            }
            oid::AUTHORITY_KEY_IDENTIFIER => {
                let id = extension::read_authority_key_identifier(value)?;
                self.authority_key_id = id.map(<[u8]>::to_vec);
            }
            _ => {}
        }
        Ok(())
    }
}

fn read_version(body: &mut SliceReader<'_>) -> der::Result<u8> {
    if body.peek_byte() != Some(VERSION) {
        return Ok(1);
    }
    let wrapper = asn1::read_element(body)?;
    match u8::from_der(wrapper.content)? {
        number @ 0..=2 => Ok(number + 1),
        _ => Err(body.error(Tag::Integer.value_error())),
    }
}

/// Go refuses negative serial numbers since 1.23; longer ones than RFC 5280's 20 octets are read.
fn read_serial(body: &mut SliceReader<'_>) -> Result<Vec<u8>, CertificateError> {
    let integer = body.tlv_bytes().map_err(malformed)?;
    let number = der::asn1::UintRef::from_der(integer).map_err(|_| {
        CertificateError::Malformed("serial number is negative or not minimal".into())
    })?;
    Ok(number.as_bytes().to_vec())
}

fn read_validity(body: &mut SliceReader<'_>) -> Result<(Timestamp, Timestamp), CertificateError> {
    let content = asn1::read_content(body, Tag::Sequence).map_err(malformed)?;
    let mut dates = SliceReader::new(content).map_err(malformed)?;
    let not_before = read_time(&mut dates)?;
    let not_after = read_time(&mut dates)?;
    dates.finish().map_err(malformed)?;
    if not_before >= not_after {
        return Err(CertificateError::NeverValid {
            not_before,
            not_after,
        });
    }
    Ok((not_before, not_after))
}

/// UTCTime or GeneralizedTime as RFC 5280 4.1.2.5 writes them: seconds, and `Z`. Any year: Go's zero
/// time is year 1, "no end" is the year 9999, of which the last day lies past [`Timestamp::MAX`] and
/// reads as that.
fn read_time(dates: &mut SliceReader<'_>) -> Result<Timestamp, CertificateError> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let bad = || CertificateError::Malformed("a date is not one of RFC 5280".into());
    let Element {
        identifier,
        content,
    } = asn1::read_element(dates).map_err(malformed)?;
    let pair = |at: usize| -> Option<i8> {
        let digit = |byte: u8| {
            byte.is_ascii_digit()
                .then(|| i8::try_from(byte - b'0').ok())
        };
        let (tens, ones) = (digit(*content.get(at)?)??, digit(*content.get(at + 1)?)??);
        Some(tens * 10 + ones)
    };
    let (year, rest) = match (identifier, content.len()) {
        (UTC_TIME, 13) => {
            let year = i16::from(pair(0).ok_or_else(bad)?);
            (year + if year < 50 { 2000 } else { 1900 }, 2)
        }
        (GENERALIZED_TIME, 15) => {
            let (high, low) = (pair(0).ok_or_else(bad)?, pair(2).ok_or_else(bad)?);
            (i16::from(high) * 100 + i16::from(low), 4)
        }
        _ => return Err(bad()),
    };
    let part = |index: usize| pair(rest + 2 * index).ok_or_else(bad);
    let (month, day, hour, minute, second) = (part(0)?, part(1)?, part(2)?, part(3)?, part(4)?);
    if content.last() != Some(&b'Z') {
        return Err(bad());
    }
    let civil = DateTime::new(year, month, day, hour, minute, second, 0).map_err(|_| bad())?;
    Ok(Offset::UTC.to_timestamp(civil).unwrap_or(Timestamp::MAX))
}

fn malformed(error: der::Error) -> CertificateError {
    CertificateError::Malformed(error.to_string())
}
