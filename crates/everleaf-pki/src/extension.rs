//! X.509 extensions that Everleaf writes and reads: names, usages, constraints, key identifiers.

use crate::asn1::{self, SEQUENCE, oid};
use crate::trust::is_domain;
use der::asn1::{BitStringRef, ObjectIdentifier, OctetString};
use der::{Decode, Encode, Reader, SliceReader, Tag};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use x509_cert::ext::Extension;

/// An extension as read: identifier, critical flag, value bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawExtension<'a> {
    pub(crate) id: ObjectIdentifier,
    pub(crate) critical: bool,
    pub(crate) value: &'a [u8],
}

/// Why a list of extensions or one of them cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExtensionError {
    #[error("malformed extensions: {}", asn1::words(.0))]
    Malformed(der::Error),
    #[error("extension {} is repeated", asn1::named(.0))]
    Repeated(ObjectIdentifier),
    #[error("subject alternative name: {0}")]
    AltName(String),
    #[error("name constraints: {0}")]
    NameConstraints(String),
    #[error("the extension {0} is marked critical, which RFC 5280 forbids")]
    Critical(&'static str),
}

impl From<der::Error> for ExtensionError {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error)
    }
}

impl RawExtension<'_> {
    /// Go refuses a certificate in which an extension that must not be critical is.
    pub(crate) fn refuse_critical(&self, name: &'static str) -> Result<(), ExtensionError> {
        if self.critical {
            return Err(ExtensionError::Critical(name));
        }
        Ok(())
    }
}

/// Reads `SEQUENCE OF Extension`; `seen` refuses an identifier that came before.
pub(crate) fn read_extensions<'a>(
    reader: &mut SliceReader<'a>,
    seen: &mut Vec<RawExtension<'a>>,
) -> Result<(), ExtensionError> {
    let mut list = SliceReader::new(asn1::read_content(reader, Tag::Sequence)?)?;
    while !list.is_finished() {
        let extension = read_extension(&mut list)?;
        seen.push(extension);
        if seen.len() > EXTENSIONS_MAX {
            return Err(ExtensionError::AltName(format!(
                "more than {EXTENSIONS_MAX} extensions"
            )));
        }
    }
    let mut ids: Vec<_> = seen.iter().map(|extension| extension.id).collect();
    ids.sort();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(ExtensionError::Repeated(pair[0])),
        None => Ok(()),
    }
}

/// More extensions than this in one request or certificate are refused.
const EXTENSIONS_MAX: usize = 1_000;

fn read_extension<'a>(list: &mut SliceReader<'a>) -> der::Result<RawExtension<'a>> {
    let mut body = SliceReader::new(asn1::read_content(list, Tag::Sequence)?)?;
    let id = asn1::read_oid(&mut body)?;
    let critical = if Tag::peek(&body)? == Tag::Boolean {
        bool::decode(&mut body)?
    } else {
        false
    };
    let value = asn1::read_content(&mut body, Tag::OctetString)?;
    body.finish()?;
    Ok(RawExtension {
        id,
        critical,
        value,
    })
}

/// Subject alternative names, sorted by kind, each kind in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AltNames {
    pub(crate) dns_names: Vec<String>,
    pub(crate) email_addresses: Vec<String>,
    pub(crate) ip_addresses: Vec<IpAddr>,
    pub(crate) uris: Vec<String>,
    /// Names of kinds that Go does not see.
    pub(crate) other_count: usize,
}

const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

impl AltNames {
    /// Reads the extension's value as Go's `parseSANExtension`: IA5 text, addresses of 4 or 16
    /// octets; other kinds of names, which Go does not see, are only counted. IPv4-mapped IPv6
    /// addresses become IPv4, which is how Go compares, prints and writes them.
    pub(crate) fn from_der(value: &[u8]) -> Result<Self, ExtensionError> {
        let mut names = Self::default();
        let mut reader = SliceReader::new(value)?;
        let mut list = SliceReader::new(asn1::read_content(&mut reader, Tag::Sequence)?)?;
        reader.finish()?;
        while !list.is_finished() {
            let name = asn1::read_element(&mut list)?;
            match name.identifier {
                EMAIL => names.email_addresses.push(ia5("rfc822Name", name.content)?),
                DNS => names.dns_names.push(ia5("dNSName", name.content)?),
                URI => names.uris.push(uri(name.content)?),
                IP => names.ip_addresses.push(ip(name.content)?),
                _ => names.other_count += 1,
            }
        }
        Ok(names)
    }

    /// True when nothing would be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.dns_names.is_empty()
            && self.email_addresses.is_empty()
            && self.ip_addresses.is_empty()
            && self.uris.is_empty()
    }

    /// The extension as Go's `marshalSANs` writes it: DNS, email, IP, URI; critical when the
    /// subject is empty.
    pub(crate) fn to_extension(&self, critical: bool) -> Extension {
        let mut list = Vec::new();
        for name in &self.dns_names {
            asn1::write_element(&mut list, DNS, name.as_bytes());
        }
        for address in &self.email_addresses {
            asn1::write_element(&mut list, EMAIL, address.as_bytes());
        }
        for address in &self.ip_addresses {
            match address.to_canonical() {
                IpAddr::V4(address) => asn1::write_element(&mut list, IP, &address.octets()),
                IpAddr::V6(address) => asn1::write_element(&mut list, IP, &address.octets()),
            }
        }
        for uri in &self.uris {
            asn1::write_element(&mut list, URI, uri.as_bytes());
        }
        extension(
            oid::SUBJECT_ALT_NAME,
            critical,
            asn1::element(SEQUENCE, &list),
        )
    }

    /// The names without repeats, order kept; an address that is written in two forms is one.
    pub(crate) fn without_repeats(&self) -> Self {
        let addresses: Vec<IpAddr> = self.ip_addresses.iter().map(IpAddr::to_canonical).collect();
        Self {
            dns_names: distinct(&self.dns_names),
            email_addresses: distinct(&self.email_addresses),
            ip_addresses: distinct(&addresses),
            uris: distinct(&self.uris),
            other_count: self.other_count,
        }
    }
}

fn distinct<T: Clone + Ord>(items: &[T]) -> Vec<T> {
    let mut seen = std::collections::BTreeSet::new();
    items
        .iter()
        .filter(|item| seen.insert(*item))
        .cloned()
        .collect()
}

fn ia5(kind: &str, content: &[u8]) -> Result<String, ExtensionError> {
    match std::str::from_utf8(content) {
        Ok(text) if text.is_ascii() => Ok(text.to_owned()),
        _ => Err(ExtensionError::AltName(format!("{kind} is not ASCII"))),
    }
}

/// An absolute URI by its characters (RFC 3986 2 and 3.1, RFC 5280 4.2.1.6). Go parses URIs, too;
/// it takes a little more (blanks, relative ones), and writes them differently from how they came.
fn uri(content: &[u8]) -> Result<String, ExtensionError> {
    let text = ia5("URI", content)?;
    let refused = || ExtensionError::AltName(format!("{text:?} is not an absolute URI"));
    let (scheme, rest) = text.split_once(':').ok_or_else(refused)?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let is_allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    let escapes_are_hex = rest.split('%').skip(1).all(|after| {
        after
            .as_bytes()
            .get(..2)
            .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    });
    if is_scheme && rest.bytes().all(is_allowed) && escapes_are_hex && has_sound_host(rest) {
        Ok(text)
    } else {
        Err(refused())
    }
}

/// Brackets stand around an IPv6 address in the host, and nowhere else; a name has no empty labels,
/// a port only digits. Go unescapes hosts; what could need that is refused.
fn has_sound_host(after_scheme: &str) -> bool {
    let has_bracket = |text: &str| text.contains(['[', ']']);
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(authority_on) = after_scheme.strip_prefix("//") else {
        return !has_bracket(after_scheme);
    };
    let end = authority_on
        .find(['/', '?', '#'])
        .unwrap_or(authority_on.len());
    let (authority, path) = authority_on.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    if !has_bracket(authority) {
        let port = host.split_once(':').map_or("", |(_, port)| port);
        let is_host = is_domain(host.as_bytes(), false) && !host.contains('%');
        return is_host && is_port(port) && !has_bracket(path);
    }
    let is_literal = host
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .is_some_and(|(address, port)| {
            let port = port.strip_prefix(':').unwrap_or(port);
            address.parse::<Ipv6Addr>().is_ok() && is_port(port)
        });
    is_literal && !has_bracket(path)
}

fn ip(content: &[u8]) -> Result<IpAddr, ExtensionError> {
    if let Ok(octets) = <[u8; 4]>::try_from(content) {
        return Ok(Ipv4Addr::from(octets).into());
    }
    if let Ok(octets) = <[u8; 16]>::try_from(content) {
        return Ok(IpAddr::from(Ipv6Addr::from(octets)).to_canonical());
    }
    Err(ExtensionError::AltName(format!(
        "an IP address has 4 or 16 octets, not {}",
        content.len()
    )))
}

/// Wraps a value.
pub(crate) fn extension(id: ObjectIdentifier, critical: bool, value: Vec<u8>) -> Extension {
    let extn_value =
        OctetString::new(value).expect("invariant: extension values stay below 256 MiB");
    Extension {
        extn_id: id,
        critical,
        extn_value,
    }
}

/// Key usage bits, numbered as in RFC 5280 4.2.1.3 (bit 0 is digitalSignature).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyUsageBits(pub(crate) u16);

impl KeyUsageBits {
    pub(crate) const DIGITAL_SIGNATURE: u16 = 1 << 0;
    pub(crate) const CONTENT_COMMITMENT: u16 = 1 << 1;
    pub(crate) const KEY_ENCIPHERMENT: u16 = 1 << 2;
    pub(crate) const DATA_ENCIPHERMENT: u16 = 1 << 3;
    pub(crate) const KEY_AGREEMENT: u16 = 1 << 4;
    pub(crate) const CERT_SIGN: u16 = 1 << 5;
    pub(crate) const CRL_SIGN: u16 = 1 << 6;
    pub(crate) const ENCIPHER_ONLY: u16 = 1 << 7;
    pub(crate) const DECIPHER_ONLY: u16 = 1 << 8;

    pub(crate) fn contains(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    pub(crate) fn from_der(value: &[u8]) -> der::Result<Self> {
        let bits = BitStringRef::from_der(value)?;
        // What pads the last octet is zero (X.690 11.2.1).
        let padding = bits.raw_bytes().last().unwrap_or(&0) & !(0xff << bits.unused_bits());
        if padding != 0 {
            return Err(Tag::BitString.value_error().into());
        }
        let set = (0..9).filter(|&index| bits.get(index) == Some(true));
        Ok(Self(set.fold(0, |sum, index| sum | 1 << index)))
    }

    /// As a critical extension; the bit string is cut after its last set bit (X.690 11.2.2).
    pub(crate) fn to_extension(self) -> Extension {
        let bytes = [
            (self.0 as u8).reverse_bits(),
            ((self.0 >> 8) as u8).reverse_bits(),
        ];
        let used = if bytes[1] != 0 {
            &bytes[..]
        } else {
            &bytes[..1]
        };
        let unused = used.last().map_or(0, |last| last.trailing_zeros().min(7));
        let value = BitStringRef::new(unused as u8, used)
            .and_then(|bits| bits.to_der())
            .expect("invariant: at most nine bits");
        extension(oid::KEY_USAGE, true, value)
    }
}

/// `SEQUENCE OF` key purpose identifiers.
pub(crate) fn extended_key_usage(purposes: &[ObjectIdentifier]) -> Extension {
    let list: Vec<u8> = purposes
        .iter()
        .flat_map(|purpose| {
            purpose
                .to_der()
                .expect("invariant: purposes are short constants")
        })
        .collect();
    extension(
        oid::EXTENDED_KEY_USAGE,
        false,
        asn1::element(SEQUENCE, &list),
    )
}

pub(crate) fn read_extended_key_usage(value: &[u8]) -> der::Result<Vec<ObjectIdentifier>> {
    let mut reader = SliceReader::new(value)?;
    let mut list = SliceReader::new(asn1::read_content(&mut reader, Tag::Sequence)?)?;
    reader.finish()?;
    let mut purposes = Vec::new();
    while !list.is_finished() {
        purposes.push(asn1::read_oid(&mut list)?);
    }
    Ok(purposes)
}

/// Critical; an empty sequence for end entities, as Go writes it.
pub(crate) fn basic_constraints(is_ca: bool) -> Extension {
    const TRUE: &[u8] = &[0x01, 0x01, 0xff];
    let body = if is_ca { TRUE } else { &[] };
    extension(oid::BASIC_CONSTRAINTS, true, asn1::element(SEQUENCE, body))
}

/// CA flag and path length (RFC 5280 4.2.1.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BasicConstraints {
    pub(crate) is_ca: bool,
    pub(crate) path_len: Option<u64>,
}

pub(crate) fn read_basic_constraints(value: &[u8]) -> der::Result<BasicConstraints> {
    let mut reader = SliceReader::new(value)?;
    let mut body = SliceReader::new(asn1::read_content(&mut reader, Tag::Sequence)?)?;
    reader.finish()?;
    let is_ca = if body.peek_byte() == Some(0x01) {
        bool::decode(&mut body)?
    } else {
        false
    };
    let path_len = if body.is_finished() {
        None
    } else {
        Some(asn1::read_counter(&mut body)?)
    };
    body.finish()?;
    Ok(BasicConstraints { is_ca, path_len })
}

/// Authority information access: Go checks its form, nobody acts on it.
pub(crate) fn check_authority_information(value: &[u8]) -> der::Result<()> {
    for_each_sequence(value, |access| {
        asn1::read_oid(access)?;
        match access.is_finished() {
            true => Ok(()),
            false => asn1::read_element(access).map(drop),
        }
    })
}

/// CRL distribution points: Go checks their form, nobody acts on them.
pub(crate) fn check_distribution_points(value: &[u8]) -> der::Result<()> {
    const FULL_NAME: u8 = 0xa0;
    for_each_sequence(value, |point| {
        if point.peek_byte() != Some(FULL_NAME) {
            return Ok(());
        }
        let mut name = SliceReader::new(asn1::read_element(point)?.content)?;
        let names = asn1::read_element(&mut name)?;
        if names.identifier != FULL_NAME {
            return Err(name.error(Tag::Sequence.value_error()));
        }
        let mut names = SliceReader::new(names.content)?;
        while names.peek_byte() == Some(URI) {
            asn1::read_element(&mut names)?;
        }
        Ok(())
    })
}

/// `SEQUENCE OF SEQUENCE`.
pub(crate) fn for_each_sequence(
    value: &[u8],
    mut visit: impl FnMut(&mut SliceReader<'_>) -> der::Result<()>,
) -> der::Result<()> {
    let mut reader = SliceReader::new(value)?;
    let mut list = SliceReader::new(asn1::read_content(&mut reader, Tag::Sequence)?)?;
    reader.finish()?;
    while !list.is_finished() {
        let mut member = SliceReader::new(asn1::read_content(&mut list, Tag::Sequence)?)?;
        visit(&mut member)?;
    }
    Ok(())
}

pub(crate) fn subject_key_identifier(id: &[u8]) -> Extension {
    const OCTET_STRING: u8 = 0x04;
    extension(
        oid::SUBJECT_KEY_IDENTIFIER,
        false,
        asn1::element(OCTET_STRING, id),
    )
}

pub(crate) fn read_subject_key_identifier(value: &[u8]) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(value)?;
    let id = asn1::read_content(&mut reader, Tag::OctetString)?;
    reader.finish()?;
    Ok(id)
}

const KEY_IDENTIFIER: u8 = 0x80;

pub(crate) fn authority_key_identifier(id: &[u8]) -> Extension {
    let body = asn1::element(KEY_IDENTIFIER, id);
    extension(
        oid::AUTHORITY_KEY_IDENTIFIER,
        false,
        asn1::element(SEQUENCE, &body),
    )
}

/// The `keyIdentifier`, when there is one.
pub(crate) fn read_authority_key_identifier(value: &[u8]) -> der::Result<Option<&[u8]>> {
    let mut reader = SliceReader::new(value)?;
    let mut body = SliceReader::new(asn1::read_content(&mut reader, Tag::Sequence)?)?;
    reader.finish()?;
    if body.peek_byte() != Some(KEY_IDENTIFIER) {
        return Ok(None);
    }
    asn1::read_element(&mut body).map(|element| Some(element.content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_usage_is_cut_after_its_last_bit() {
        let value = |bits: u16| {
            KeyUsageBits(bits)
                .to_extension()
                .extn_value
                .as_bytes()
                .to_vec()
        };
        assert_eq!(value(1), [0x03, 2, 7, 0x80]);
        assert_eq!(value(0b101), [0x03, 2, 5, 0xa0]);
        assert_eq!(value(1 << 7), [0x03, 2, 0, 0x01]);
        assert_eq!(value(1 << 8), [0x03, 3, 7, 0x00, 0x80]);
        for bits in 1..0x200 {
            assert_eq!(KeyUsageBits::from_der(&value(bits)), Ok(KeyUsageBits(bits)));
        }
        assert_eq!(KeyUsageBits::from_der(&[3, 1, 0]), Ok(KeyUsageBits(0)));
        assert!(
            KeyUsageBits::from_der(&[3, 2, 7, 0xc0]).is_err(),
            "padded with ones"
        );
    }

    #[test]
    fn alternative_names_must_have_the_form_go_wants() {
        let read = |name: &[u8]| AltNames::from_der(&asn1::element(SEQUENCE, name));
        assert!(read(&[DNS, 1, b'a']).is_ok());
        assert!(read(&[DNS, 1, 0x80]).is_err(), "not ASCII");
        assert!(read(&[EMAIL, 1, 0x80]).is_err(), "not ASCII");
        let read_uri = |text: &str| read(&asn1::element(URI, text.as_bytes())).is_ok();
        for good in [
            "spiffe://example/n1",
            "https://u@[fd00::1]:8443/a%20b?c#d",
            "urn:uuid:0",
            "a:",
        ] {
            assert!(read_uri(good), "{good}");
        }
        for bad in [
            "",
            "n1",
            ":x",
            "1a:b",
            "a b:c",
            "a:b c",
            "a:\n",
            "a:\0",
            "a:%zz",
            "a:%2",
            "a:|",
            "http://[::1",
            "http://[n1]/",
            "http://a/[b]",
            "a:[b]",
            "https://a..b/",
            "https://a./",
            "https://a:b/",
            "https://a:1:2/",
            "https://[::1]1a/",
            "https://a%2eb/",
        ] {
            assert!(!read_uri(bad), "{bad:?}");
        }
        for length in 0..=20 {
            let octets = asn1::element(IP, &vec![1; length]);
            assert_eq!(
                read(&octets).is_ok(),
                length == 4 || length == 16,
                "{length}"
            );
        }
        assert_eq!(
            read(&[0xa0, 0, 0xa4, 0, 0x88, 0]).map(|names| names.other_count),
            Ok(3)
        );
        assert!(AltNames::from_der(&[0x30, 0, 0]).is_err(), "trailing byte");
        assert!(AltNames::from_der(&[]).is_err());
    }

    #[test]
    fn constraints_read_back() {
        let read = |is_ca| {
            let extension = basic_constraints(is_ca);
            read_basic_constraints(extension.extn_value.as_bytes())
        };
        let constraints = |is_ca, path_len| Ok(BasicConstraints { is_ca, path_len });
        assert_eq!(read(true), constraints(true, None));
        assert_eq!(read(false), constraints(false, None));
        assert_eq!(
            read_basic_constraints(&[0x30, 6, 1, 1, 0xff, 2, 1, 3]),
            constraints(true, Some(3))
        );
        let largest = [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        let limited = |limit: &[u8]| {
            let limit = asn1::element(0x02, limit);
            read_basic_constraints(&asn1::element(
                SEQUENCE,
                &[&[1, 1, 0xff], &limit[..]].concat(),
            ))
        };
        assert_eq!(limited(&largest), constraints(true, Some(i64::MAX as u64)));
        assert!(
            limited(&[0, 0x80, 0, 0, 0, 0, 0, 0, 0]).is_err(),
            "no int of Go's"
        );
        assert!(limited(&[0xff]).is_err(), "negative");
        assert!(
            read_basic_constraints(&[0x30, 3, 1, 1, 1]).is_err(),
            "BER truth"
        );
    }
}
