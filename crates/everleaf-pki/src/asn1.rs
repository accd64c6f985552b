//! The small DER vocabulary under requests and certificates: object identifiers, raw elements,
//! writers.
//!
//! `der` reads and writes everything with a known shape. What stands here is what it has no
//! type for: elements of tags it does not know (a subject may hold any), and values that are
//! plain bytes under a context tag (the names of a subject alternative name).

use der::asn1::{BitStringRef, ObjectIdentifier};
use der::oid::db::DB;
use der::{Decode, Encode, ErrorKind, Header, Length, Reader, SliceReader, Tag};

/// One element: its identifier octet and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) identifier: u8,
    pub(crate) content: &'a [u8],
}

/// Reads one element with a one-octet tag, whatever the tag is, and moves `reader` past it.
pub(crate) fn read_element<'a>(reader: &mut SliceReader<'a>) -> der::Result<Element<'a>> {
    const LONG_TAG: u8 = 0x1f;
    let identifier = reader.read_byte()?;
    if identifier & LONG_TAG == LONG_TAG {
        return Err(reader.error(ErrorKind::TagNumberInvalid));
    }
    let length = Length::decode(reader)?;
    let content = reader.read_slice(length)?;
    Ok(Element {
        identifier,
        content,
    })
}

/// Reads one element that must carry `tag` and answers its content.
pub(crate) fn read_content<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> der::Result<&'a [u8]> {
    let header = Header::decode(reader)?;
    header.tag().assert_eq(tag)?;
    reader.read_slice(header.length())
}

/// Reads an object identifier whose arcs are written in the fewest octets (X.690 8.19.2): `der`
/// takes others too, and a known identifier in disguise would pass for an unknown one.
pub(crate) fn read_oid<'a>(reader: &mut impl Reader<'a>) -> der::Result<ObjectIdentifier> {
    let id = ObjectIdentifier::decode(reader)?;
    // Go's arcs are of 31 bits.
    if id.arcs().any(|arc| arc > i32::MAX as u32) {
        return Err(reader.error(Tag::ObjectIdentifier.value_error()));
    }
    let mut begins_arc = true;
    for &octet in id.as_bytes() {
        if begins_arc && octet == 0x80 {
            return Err(reader.error(Tag::ObjectIdentifier.value_error()));
        }
        begins_arc = octet & 0x80 == 0;
    }
    Ok(id)
}

/// A number that fits Go's `int`, from 0.
pub(crate) fn read_counter<'a>(reader: &mut impl Reader<'a>) -> der::Result<u64> {
    let number = u64::decode(reader)?;
    if i64::try_from(number).is_err() {
        return Err(reader.error(Tag::Integer.value_error()));
    }
    Ok(number)
}

/// What is wrong with an encoding, in words; `der`'s own are those of its implementation.
pub(crate) fn words(error: &der::Error) -> String {
    let what = match error.kind() {
        ErrorKind::Incomplete { .. } => "it ends too early".to_owned(),
        ErrorKind::TrailingData { .. } => "something follows its end".to_owned(),
        ErrorKind::TagUnexpected { expected, actual } => match expected {
            Some(expected) => format!("{actual} stands where {expected} belongs"),
            None => format!("{actual} stands where it does not belong"),
        },
        ErrorKind::Value { tag } => format!("a value of {tag} is not acceptable"),
        ErrorKind::Length { tag } => format!("a value of {tag} has the wrong length"),
        ErrorKind::OidMalformed => "an object identifier is malformed".to_owned(),
        _ => "it is not DER".to_owned(),
    };
    match error.position() {
        Some(position) => format!("{what}, at byte {position}"),
        None => what,
    }
}

/// An object identifier with the name that people know it by, where there is one.
pub(crate) fn named(id: &ObjectIdentifier) -> String {
    match DB.by_oid(id) {
        Some(name) => format!("{} ({id})", name.trim_start_matches("id-")),
        None => id.to_string(),
    }
}

/// Appends an element to `out`. `content` is bounded by the request or template it comes from.
pub(crate) fn write_element(out: &mut Vec<u8>, identifier: u8, content: &[u8]) {
    out.push(identifier);
    let length = u32::try_from(content.len())
        .ok()
        .map(Length::new)
        .and_then(|length| length.to_der().ok())
        .expect("invariant: contents stay far below der's length limit of 256 MiB");
    out.extend_from_slice(&length);
    out.extend_from_slice(content);
}

/// A whole element as bytes.
pub(crate) fn element(identifier: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 6);
    write_element(&mut out, identifier, content);
    out
}

/// DER of a value that we made ourselves.
pub(crate) fn encoded(value: &impl Encode) -> Vec<u8> {
    value
        .to_der()
        .expect("invariant: values of our own making are encodable")
}

pub(crate) fn bit_string(bytes: &[u8]) -> BitStringRef<'_> {
    BitStringRef::from_bytes(bytes).expect("invariant: signatures are short")
}

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

macro_rules! oids {
    ($($name:ident = $text:literal;)*) => {
        $(pub(crate) const $name: ObjectIdentifier = ObjectIdentifier::new_unwrap($text);)*
    };
}

/// Object identifiers, named as their RFCs name them.
pub(crate) mod oid {
    use super::ObjectIdentifier;

    // Subject attributes (X.520).
    oids! {
        COMMON_NAME = "2.5.4.3";
        SERIAL_NUMBER = "2.5.4.5";
        COUNTRY = "2.5.4.6";
        LOCALITY = "2.5.4.7";
        PROVINCE = "2.5.4.8";
        STREET_ADDRESS = "2.5.4.9";
        ORGANIZATION = "2.5.4.10";
        ORGANIZATIONAL_UNIT = "2.5.4.11";
        POSTAL_CODE = "2.5.4.17";
    }
    // Public keys and curves (RFC 3279, RFC 5480, RFC 8410).
    oids! {
        RSA_ENCRYPTION = "1.2.840.113549.1.1.1";
        EC_PUBLIC_KEY = "1.2.840.10045.2.1";
        SECP224R1 = "1.3.132.0.33";
        SECP256R1 = "1.2.840.10045.3.1.7";
        SECP384R1 = "1.3.132.0.34";
        SECP521R1 = "1.3.132.0.35";
        ED25519 = "1.3.101.112";
    }
    // Keys and signatures of ML-DSA (RFC 9881 2).
    oids! {
        ML_DSA_44 = "2.16.840.1.101.3.4.3.17";
        ML_DSA_65 = "2.16.840.1.101.3.4.3.18";
        ML_DSA_87 = "2.16.840.1.101.3.4.3.19";
    }
    // Signatures (RFC 4055, RFC 5758, RFC 8410).
    oids! {
        MD2_WITH_RSA = "1.2.840.113549.1.1.2";
        MD5_WITH_RSA = "1.2.840.113549.1.1.4";
        SHA1_WITH_RSA = "1.2.840.113549.1.1.5";
        SHA1_WITH_RSA_OIW = "1.3.14.3.2.29";
        RSASSA_PSS = "1.2.840.113549.1.1.10";
        SHA256_WITH_RSA = "1.2.840.113549.1.1.11";
        SHA384_WITH_RSA = "1.2.840.113549.1.1.12";
        SHA512_WITH_RSA = "1.2.840.113549.1.1.13";
        ECDSA_WITH_SHA1 = "1.2.840.10045.4.1";
        ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";
        ECDSA_WITH_SHA384 = "1.2.840.10045.4.3.3";
        ECDSA_WITH_SHA512 = "1.2.840.10045.4.3.4";
        SHA256 = "2.16.840.1.101.3.4.2.1";
        SHA384 = "2.16.840.1.101.3.4.2.2";
        SHA512 = "2.16.840.1.101.3.4.2.3";
        MGF1 = "1.2.840.113549.1.1.8";
    }
    // Extensions (RFC 5280 4.2) and the request attribute that carries them (RFC 2985 5.4.2).
    oids! {
        EXTENSION_REQUEST = "1.2.840.113549.1.9.14";
        SUBJECT_KEY_IDENTIFIER = "2.5.29.14";
        KEY_USAGE = "2.5.29.15";
        SUBJECT_ALT_NAME = "2.5.29.17";
        BASIC_CONSTRAINTS = "2.5.29.19";
        NAME_CONSTRAINTS = "2.5.29.30";
        CRL_DISTRIBUTION_POINTS = "2.5.29.31";
        CERTIFICATE_POLICIES = "2.5.29.32";
        POLICY_MAPPINGS = "2.5.29.33";
        AUTHORITY_KEY_IDENTIFIER = "2.5.29.35";
        POLICY_CONSTRAINTS = "2.5.29.36";
        EXTENDED_KEY_USAGE = "2.5.29.37";
        INHIBIT_ANY_POLICY = "2.5.29.54";
        AUTHORITY_INFO_ACCESS = "1.3.6.1.5.5.7.1.1";
    }
    // Extended key usages.
    oids! {
        ANY_EXTENDED_KEY_USAGE = "2.5.29.37.0";
        SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
        CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
        CODE_SIGNING = "1.3.6.1.5.5.7.3.3";
        EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4";
        IPSEC_END_SYSTEM = "1.3.6.1.5.5.7.3.5";
        IPSEC_TUNNEL = "1.3.6.1.5.5.7.3.6";
        IPSEC_USER = "1.3.6.1.5.5.7.3.7";
        TIME_STAMPING = "1.3.6.1.5.5.7.3.8";
        OCSP_SIGNING = "1.3.6.1.5.5.7.3.9";
        MICROSOFT_SGC = "1.3.6.1.4.1.311.10.3.3";
        NETSCAPE_SGC = "2.16.840.1.113730.4.1";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_without_the_librarys_words() {
        let said = |bytes: &[u8]| words(&bool::from_der(bytes).unwrap_err());
        assert_eq!(said(&[0x01, 0x01]), "it ends too early, at byte 2");
        assert_eq!(
            said(&[0x02, 0x01, 0x01]),
            "INTEGER stands where BOOLEAN belongs"
        );
        assert_eq!(
            said(&[0x01, 0x01, 0xff, 0x00]),
            "something follows its end, at byte 3"
        );
        for bytes in [&[0x01, 0x01, 0x07][..], &[0x01, 0x02, 0, 0], &[0x1f, 1, 0]] {
            assert!(!said(bytes).contains("ASN.1"), "{}", said(bytes));
        }
    }

    #[test]
    fn what_has_a_name_is_called_by_it() {
        let named = |id: &str| named(&ObjectIdentifier::new_unwrap(id));
        assert_eq!(named("1.3.101.113"), "Ed448 (1.3.101.113)");
        assert_eq!(
            named("2.16.840.1.101.3.4.3.18"),
            "ml-dsa-65 (2.16.840.1.101.3.4.3.18)"
        );
        assert_eq!(named("1.2.3.4.5"), "1.2.3.4.5");
    }

    #[test]
    fn elements_of_unknown_tags_are_read() {
        // UniversalString (28) is unknown to `der`, and allowed in a subject.
        let bytes = [0x1c, 0x04, 0, 0, 0, b'x', 0x05, 0x00];
        let mut reader = SliceReader::new(&bytes).unwrap();
        let first = read_element(&mut reader).unwrap();
        assert_eq!(
            (first.identifier, first.content),
            (0x1c, &[0, 0, 0, b'x'][..])
        );
        let second = read_element(&mut reader).unwrap();
        assert_eq!((second.identifier, second.content), (0x05, &[][..]));
        assert!(reader.is_finished());
    }

    #[test]
    fn truncated_and_indefinite_elements_are_refused() {
        for bytes in [
            &[0x04][..],
            &[0x04, 0x02, 0x00],
            &[0x30, 0x80, 0, 0],
            &[0x1f, 0x81, 0x00],
        ] {
            let mut reader = SliceReader::new(bytes).unwrap();
            assert!(read_element(&mut reader).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn identifiers_in_disguise_are_refused() {
        let read = |der: &[u8]| read_oid(&mut SliceReader::new(der).unwrap());
        assert_eq!(read(&[6, 3, 0x55, 0x1d, 19]), Ok(oid::BASIC_CONSTRAINTS));
        assert!(read(&[6, 4, 0x55, 0x80, 0x1d, 19]).is_err());
        assert!(read(&[6, 4, 0x55, 0x1d, 0x80, 19]).is_err());
        assert!(read(&[6, 4, 0x55, 0x1d, 0x81, 0x00]).is_ok());
        assert!(read(&[6, 6, 0x2a, 0x87, 0xff, 0xff, 0xff, 0x7f]).is_ok());
        assert!(read(&[6, 6, 0x2a, 0x88, 0x80, 0x80, 0x80, 0x00]).is_err());
    }

    #[test]
    fn written_elements_read_back_at_each_length_form() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![7; length];
            let bytes = element(0x82, &content);
            let mut reader = SliceReader::new(&bytes).unwrap();
            assert_eq!(read_element(&mut reader).unwrap().content, &content[..]);
        }
    }
}
