//! Reading an X.509 certificate (RFC 5280 4.1).

use super::CertificateError;
use crate::asn1::{self, oid};
use crate::extension::{
    self, AltNames, BasicConstraints, ExtensionError, KeyUsageBits, RawExtension,
};
use crate::key::PublicKey;
use crate::name::Name;
use crate::signature::{SignatureAlgorithm, SignatureError};
use crate::trust::{NameConstraints, Policies};
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
    /// `None` when the extension is absent, which is not the same as "no CA" in versions 1 and 2.
    pub(crate) basic_constraints: Option<BasicConstraints>,
    pub(crate) basic_constraints_critical: bool,
    pub(crate) key_usage: Option<KeyUsageBits>,
    /// Extended key usages; `None` when the extension is absent.
    pub(crate) purposes: Option<Vec<ObjectIdentifier>>,
    pub(crate) names: AltNames,
    pub(crate) names_critical: bool,
    /// The alternative names as they stand in the certificate.
    pub(crate) names_der: Option<Vec<u8>>,
    pub(crate) name_constraints: Option<NameConstraints>,
    pub(crate) policies: Policies,
    /// A critical extension, or critical part of one, that nothing here acts on: whoever judges the
    /// certificate has to refuse it (RFC 5280 4.2).
    pub(crate) unhandled_critical: Option<ObjectIdentifier>,
    /// Why two programs would read it differently: Go overlooks what no rule of X.509 allows,
    /// critical extensions among it.
    pub(crate) ambiguity: Option<&'static str>,
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
        let subject = Name::from_certificate(subject_der).map_err(malformed)?;
        Name::from_certificate(issuer_der).map_err(malformed)?;
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
            basic_constraints: None,
            basic_constraints_critical: false,
            key_usage: None,
            purposes: None,
            names: AltNames::default(),
            names_critical: false,
            names_der: None,
            name_constraints: None,
            policies: Policies::default(),
            unhandled_critical: None,
            ambiguity: None,
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
        if body.peek_byte() == Some(EXTENSIONS) {
            let wrapper = asn1::read_element(body)?;
            if self.version != 3 {
                self.ambiguity = Some("it holds extensions, which its version does not know");
            }
            let mut list = SliceReader::new(wrapper.content)?;
            let mut extensions = Vec::new();
            extension::read_extensions(&mut list, &mut extensions)?;
            if !list.is_finished() {
                self.ambiguity = Some("something stands behind its extensions");
            }
            for extension in &extensions {
                self.read_extension(extension)?;
            }
        }
        if !body.is_finished() {
            self.ambiguity = Some("something stands behind its last member");
        }
        Ok(())
    }

    fn read_extension(&mut self, extension: &RawExtension<'_>) -> Result<(), ExtensionError> {
        let value = extension.value;
        let mut is_handled = true;
        match extension.id {
            oid::BASIC_CONSTRAINTS => {
                self.basic_constraints = Some(extension::read_basic_constraints(value)?);
                self.basic_constraints_critical = extension.critical;
            }
            oid::KEY_USAGE => self.key_usage = Some(KeyUsageBits::from_der(value)?),
            oid::EXTENDED_KEY_USAGE => {
                self.purposes = Some(extension::read_extended_key_usage(value)?);
            }
            oid::SUBJECT_ALT_NAME => {
                self.names = AltNames::from_der(value)?;
                self.names_critical = extension.critical;
                self.names_der = Some(value.to_vec());
                is_handled = !self.names.is_empty();
            }
            oid::NAME_CONSTRAINTS => {
                let constraints = NameConstraints::from_der(value)?;
                is_handled = !constraints.has_other_forms();
                self.name_constraints = Some(constraints);
            }
            oid::SUBJECT_KEY_IDENTIFIER => {
                extension.refuse_critical("subject key identifier")?;
                let id = extension::read_subject_key_identifier(value)?;
                self.subject_key_id = Some(id.to_vec());
            }
            oid::AUTHORITY_KEY_IDENTIFIER => {
                extension.refuse_critical("authority key identifier")?;
                let id = extension::read_authority_key_identifier(value)?;
                self.authority_key_id = id.map(<[u8]>::to_vec);
            }
            oid::AUTHORITY_INFO_ACCESS => {
                extension.refuse_critical("authority information access")?;
                extension::check_authority_information(value)?;
            }
            oid::CRL_DISTRIBUTION_POINTS => extension::check_distribution_points(value)?,
            oid::CERTIFICATE_POLICIES => self.policies.read_policies(value)?,
            oid::POLICY_MAPPINGS => self.policies.read_mappings(value)?,
            oid::POLICY_CONSTRAINTS => self.policies.read_constraints(value)?,
            oid::INHIBIT_ANY_POLICY => self.policies.read_inhibit_any(value)?,
            _ => is_handled = false,
        }
        if extension.critical && !is_handled {
            self.unhandled_critical.get_or_insert(extension.id);
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

/// UTCTime or GeneralizedTime. RFC 5280 4.1.2.5 wants seconds and `Z`; old CAs also wrote UTCTime
/// without seconds and both with an offset, and Go reads these. Any year: Go's zero time is year 1,
/// "no end" is the year 9999, of which the last day lies past [`Timestamp::MAX`] and reads as that.
fn read_time(dates: &mut SliceReader<'_>) -> Result<Timestamp, CertificateError> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let bad = || CertificateError::Malformed("a date is not one of RFC 5280".into());
    let element = asn1::read_element(dates).map_err(malformed)?;
    let (clock, offset_seconds) = split_zone(element.content).ok_or_else(bad)?;
    let pair = |at: usize| two_digits(clock, at).map(i16::from).ok_or_else(bad);
    let (year, rest, has_seconds) = match (element.identifier, clock.len()) {
        (UTC_TIME, length @ (10 | 12)) => {
            let year = pair(0)?;
            (year + if year < 50 { 2000 } else { 1900 }, 2, length == 12)
        }
        (GENERALIZED_TIME, 14) => (pair(0)? * 100 + pair(2)?, 4, true),
        _ => return Err(bad()),
    };
    let part = |index: usize| two_digits(clock, rest + 2 * index).ok_or_else(bad);
    let second = if has_seconds { part(4)? } else { 0 };
    let civil = DateTime::new(year, part(0)?, part(1)?, part(2)?, part(3)?, second, 0)
        .map_err(|_| bad())?;
    let offset = Offset::from_seconds(offset_seconds).map_err(|_| bad())?;
    Ok(offset.to_timestamp(civil).unwrap_or(Timestamp::MAX))
}

fn two_digits(text: &[u8], at: usize) -> Option<i8> {
    let digit = |byte: u8| {
        byte.is_ascii_digit()
            .then(|| i8::try_from(byte - b'0').ok())?
    };
    Some(digit(*text.get(at)?)? * 10 + digit(*text.get(at + 1)?)?)
}

/// What stands before the zone, and the zone's offset: `Z`, or hours and minutes that are not zero.
fn split_zone(text: &[u8]) -> Option<(&[u8], i32)> {
    if let Some(clock) = text.strip_suffix(b"Z") {
        return Some((clock, 0));
    }
    let (clock, zone) = text.split_at_checked(text.len().checked_sub(5)?)?;
    let sign = match zone[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = (two_digits(zone, 1)?, two_digits(zone, 3)?);
    let seconds = i32::from(hours) * 3600 + i32::from(minutes) * 60;
    (hours < 24 && minutes < 60 && seconds != 0).then_some((clock, sign * seconds))
}

fn malformed(error: der::Error) -> CertificateError {
    CertificateError::Malformed(asn1::words(&error))
}
