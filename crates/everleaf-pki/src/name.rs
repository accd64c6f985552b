//! Distinguished names as Go's `crypto/x509/pkix` reads and writes them.
//!
//! The Kubernetes signer does not copy a request's subject: it writes what Go understood of it,
//! in Go's order and with Go's string types. So must we, byte by byte: the subject is who one is
//! to every API server. What Go does not understand is counted, so that the approver can refuse it.

use crate::asn1::{self, Element, SEQUENCE, SET, oid};
use der::asn1::{BitStringRef, GeneralizedTime, ObjectIdentifier, UtcTime};
use der::{Decode, Encode, Reader, SliceReader, Tag};

/// The parts of a distinguished name that Kubernetes uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// `CN`; of several, the last (as Go reads them). Empty when absent.
    pub common_name: String,
    /// Every `O`, in order.
    pub organizations: Vec<String>,
}

impl Subject {
    /// The subject of a node: `O=system:nodes, CN=system:node:<name>`.
    pub fn node(name: &str) -> Self {
        Self {
            common_name: format!("system:node:{name}"),
            organizations: vec!["system:nodes".into()],
        }
    }
}

/// The attributes of a name that Go knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name {
    /// `CN` (of several, the last) and all `O`.
    pub(crate) subject: Subject,
    country: Vec<String>,
    organizational_unit: Vec<String>,
    locality: Vec<String>,
    province: Vec<String>,
    street_address: Vec<String>,
    postal_code: Vec<String>,
    serial_number: String,
    /// True when there is anything besides one readable `CN` and readable `O` values.
    is_unusual: bool,
}

impl From<Subject> for Name {
    fn from(subject: Subject) -> Self {
        Self {
            subject,
            ..Self::default()
        }
    }
}

impl Name {
    /// Reads the `RDNSequence` (RFC 5280 4.1.2.4) of a certificate: every value must be of a string
    /// type that Go knows (`crypto/x509/parser.go`, parseName).
    pub(crate) fn from_certificate(der: &[u8]) -> der::Result<Self> {
        for_each_attribute(der, |_, value| match read_string(value)? {
            Some(_) => Ok(()),
            None => Err(Tag::Utf8String.value_error().into()),
        })?;
        Self::from_request(der)
    }

    /// Reads the `RDNSequence` of a request, for which Go uses another reader (`encoding/asn1`).
    ///
    /// Values of string types that Go skips are skipped; values whose bytes do not fit their
    /// string type make the name malformed, as in Go.
    pub(crate) fn from_request(der: &[u8]) -> der::Result<Self> {
        let mut name = Self::default();
        let mut common_names = 0;
        let mut reader = SliceReader::new(der)?;
        let mut sets = SliceReader::new(asn1::read_content(&mut reader, Tag::Sequence)?)?;
        reader.finish()?;
        while !sets.is_finished() {
            let mut set = SliceReader::new(asn1::read_content(&mut sets, Tag::Set)?)?;
            while !set.is_finished() {
                let (attribute, value) = read_attribute(&mut set)?;
                if attribute == oid::COMMON_NAME {
                    common_names += 1;
                }
                name.add(attribute, read_string(&value)?);
            }
        }
        name.is_unusual |= common_names != 1;
        Ok(name)
    }

    /// Writes the name as Go's `Name.ToRDNSequence` followed by `asn1.Marshal`: fixed order of
    /// attributes, all values of one attribute in one SET.
    pub(crate) fn to_der(&self) -> Vec<u8> {
        let one = |value: &String| -> Vec<String> {
            if value.is_empty() {
                Vec::new()
            } else {
                vec![value.clone()]
            }
        };
        let mut sets = Vec::new();
        write_set(&mut sets, oid::COUNTRY, &self.country);
        write_set(&mut sets, oid::PROVINCE, &self.province);
        write_set(&mut sets, oid::LOCALITY, &self.locality);
        write_set(&mut sets, oid::STREET_ADDRESS, &self.street_address);
        write_set(&mut sets, oid::POSTAL_CODE, &self.postal_code);
        write_set(&mut sets, oid::ORGANIZATION, &self.subject.organizations);
        write_set(
            &mut sets,
            oid::ORGANIZATIONAL_UNIT,
            &self.organizational_unit,
        );
        write_set(&mut sets, oid::COMMON_NAME, &one(&self.subject.common_name));
        write_set(&mut sets, oid::SERIAL_NUMBER, &one(&self.serial_number));
        asn1::element(SEQUENCE, &sets)
    }

    /// True when the name holds anything besides exactly one `CN` and `O` values, or a value of a
    /// type that Go does not read.
    pub(crate) fn is_unusual(&self) -> bool {
        self.is_unusual
    }

    fn add(&mut self, attribute: ObjectIdentifier, value: Option<String>) {
        let Some(value) = value else {
            self.is_unusual = true;
            return;
        };
        match attribute {
            oid::COMMON_NAME => self.subject.common_name = value,
            oid::ORGANIZATION => self.subject.organizations.push(value),
            other => {
                self.is_unusual = true;
                match other {
                    oid::SERIAL_NUMBER => self.serial_number = value,
                    oid::COUNTRY => self.country.push(value),
                    oid::LOCALITY => self.locality.push(value),
                    oid::PROVINCE => self.province.push(value),
                    oid::STREET_ADDRESS => self.street_address.push(value),
                    oid::ORGANIZATIONAL_UNIT => self.organizational_unit.push(value),
                    oid::POSTAL_CODE => self.postal_code.push(value),
                    _ => {}
                }
            }
        }
    }
}

/// A name for people, in the order of RFC 4514 (last attribute first): `CN=…,O=…`.
pub(crate) fn text_of(der: &[u8]) -> String {
    let mut parts = Vec::new();
    // Only names that were read before come here; an unreadable one prints as far as it goes.
    let _ = for_each_attribute(der, |attribute, value| {
        let text = match read_string(value) {
            Ok(Some(text)) => escape(&text),
            _ => "#"
                .chars()
                .chain(value.content.iter().flat_map(|byte| hex(*byte)))
                .collect(),
        };
        parts.push(format!("{}={text}", short_name(attribute)));
        Ok(())
    });
    parts.reverse();
    parts.join(",")
}

/// The values of one attribute, in order; of values that are no text nothing is told.
pub(crate) fn values_of(der: &[u8], wanted: ObjectIdentifier) -> Vec<String> {
    let mut values = Vec::new();
    let _ = for_each_attribute(der, |attribute, value| {
        if attribute == wanted {
            values.extend(read_string(value)?);
        }
        Ok(())
    });
    values
}

fn for_each_attribute(
    der: &[u8],
    mut visit: impl FnMut(ObjectIdentifier, &Element<'_>) -> der::Result<()>,
) -> der::Result<()> {
    let mut reader = SliceReader::new(der)?;
    let mut sets = SliceReader::new(asn1::read_content(&mut reader, Tag::Sequence)?)?;
    while !sets.is_finished() {
        let mut set = SliceReader::new(asn1::read_content(&mut sets, Tag::Set)?)?;
        while !set.is_finished() {
            let (attribute, value) = read_attribute(&mut set)?;
            visit(attribute, &value)?;
        }
    }
    Ok(())
}

/// `AttributeTypeAndValue`.
fn read_attribute<'a>(set: &mut SliceReader<'a>) -> der::Result<(ObjectIdentifier, Element<'a>)> {
    let mut pair = SliceReader::new(asn1::read_content(set, Tag::Sequence)?)?;
    let attribute = asn1::read_oid(&mut pair)?;
    let value = asn1::read_element(&mut pair)?;
    pair.finish()?;
    Ok((attribute, value))
}

/// The value as Go's `encoding/asn1` reads it into an `any`: a string for the seven string types
/// it knows, nothing for others, an error when the bytes do not fit the type.
fn read_string(value: &Element<'_>) -> der::Result<Option<String>> {
    let refused = |tag: Tag| Err(tag.value_error().into());
    let bytes = value.content;
    let ascii = |allowed: fn(u8) -> bool, tag: Tag| {
        if bytes.iter().all(|&byte| allowed(byte)) {
            Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
        } else {
            refused(tag)
        }
    };
    match value.identifier {
        0x0c => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => refused(Tag::Utf8String),
        },
        0x12 => ascii(
            |byte| byte.is_ascii_digit() || byte == b' ',
            Tag::NumericString,
        ),
        0x13 => ascii(
            // Go tolerates '*' and '&' on reading.
            |byte| is_printable(byte) || byte == b'*' || byte == b'&',
            Tag::PrintableString,
        ),
        // T61String: taken as Latin-1.
        0x14 => Ok(Some(bytes.iter().map(|&byte| char::from(byte)).collect())),
        0x16 => ascii(|byte| byte.is_ascii(), Tag::Ia5String),
        0x1e => read_bmp(bytes).map_or_else(|| refused(Tag::BmpString), |text| Ok(Some(text))),
        _ => check_other(value).map(|()| None),
    }
}

/// Values that are no strings are skipped, but Go refuses the whole name when one of a type it
/// knows is malformed, and so do we.
fn check_other(value: &Element<'_>) -> der::Result<()> {
    let whole = asn1::element(value.identifier, value.content);
    match value.identifier {
        0x01 => bool::from_der(&whole).map(drop),
        0x02 => i64::from_der(&whole).map(drop),
        0x03 => BitStringRef::from_der(&whole).map(drop),
        0x06 => <ObjectIdentifier>::from_der(&whole).map(drop),
        0x17 => UtcTime::from_der(&whole).map(drop),
        0x18 => GeneralizedTime::from_der(&whole).map(drop),
        _ => Ok(()),
    }
}

/// BMPString: two bytes per character, no surrogates, no non-characters; one trailing NUL is cut.
fn read_bmp(bytes: &[u8]) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let pairs = pairs.strip_suffix(&[[0, 0]]).unwrap_or(pairs);
    pairs
        .iter()
        .map(|&pair| {
            let point = u16::from_be_bytes(pair);
            let is_noncharacter = matches!(point, 0xfdd0..=0xfdef | 0xfffe | 0xffff);
            char::from_u32(u32::from(point)).filter(|_| !is_noncharacter)
        })
        .collect()
}

/// Appends the SET of all values of one attribute, DER-sorted; nothing when there are none.
fn write_set(out: &mut Vec<u8>, attribute: ObjectIdentifier, values: &[String]) {
    if values.is_empty() {
        return;
    }
    let mut members: Vec<Vec<u8>> = values
        .iter()
        .map(|value| {
            let mut pair = attribute
                .to_der()
                .expect("invariant: attribute identifiers are short constants");
            asn1::write_element(&mut pair, string_tag(value), value.as_bytes());
            asn1::element(SEQUENCE, &pair)
        })
        .collect();
    members.sort();
    asn1::write_element(out, SET, &members.concat());
}

/// PrintableString when every character allows it, else UTF8String.
fn string_tag(value: &str) -> u8 {
    if value.bytes().all(is_printable) {
        0x13
    } else {
        0x0c
    }
}

fn is_printable(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte)
}

fn short_name(attribute: ObjectIdentifier) -> String {
    match attribute {
        oid::COMMON_NAME => "CN".into(),
        oid::SERIAL_NUMBER => "SERIALNUMBER".into(),
        oid::COUNTRY => "C".into(),
        oid::LOCALITY => "L".into(),
        oid::PROVINCE => "ST".into(),
        oid::STREET_ADDRESS => "STREET".into(),
        oid::ORGANIZATION => "O".into(),
        oid::ORGANIZATIONAL_UNIT => "OU".into(),
        oid::POSTAL_CODE => "POSTALCODE".into(),
        other => other.to_string(),
    }
}

/// RFC 4514 2.4, with control characters in hex so that a name cannot forge log lines.
fn escape(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(text.len());
    for (index, character) in text.chars().enumerate() {
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => out.extend(['\\', character]),
            '#' if index == 0 => out.push_str("\\#"),
            ' ' if index == 0 || index == last => out.push_str("\\ "),
            character if character.is_control() => {
                let mut buffer = [0; 4];
                for byte in character.encode_utf8(&mut buffer).bytes() {
                    out.push('\\');
                    out.extend(hex(byte));
                }
            }
            character => out.push(character),
        }
    }
    out
}

fn hex(byte: u8) -> [char; 2] {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    [digit(byte >> 4), digit(byte & 0xf)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    fn subject(common_name: &str, organizations: &[&str]) -> Name {
        Name::from(Subject {
            common_name: common_name.into(),
            organizations: organizations.iter().map(|&text| text.to_owned()).collect(),
        })
    }

    /// Names as Go marshals them (testdata/README.md).
    #[test]
    fn names_are_written_as_go_does() {
        let go = include_str!("../testdata/go/names.txt");
        let mut expected = go.lines().map(|line| line.split_once('\t').unwrap());
        for (label, name) in [
            ("empty", subject("", &[])),
            ("node", subject("system:node:n1", &["system:nodes"])),
            (
                "sorted set",
                subject("x", &["zeta", "alpha", "alpha", "beta-longer", "Ω", ""]),
            ),
            (
                "utf8",
                subject("pr'()+,-./:=? 09", &["a*b", "a&b", "a@b", "a_b", "ü"]),
            ),
            ("nul", subject("a\0b\n", &[])),
            ("long", subject(&"a".repeat(300), &[])),
        ] {
            let (go_label, hex) = expected.next().unwrap();
            assert_eq!(go_label, label);
            assert_eq!(name.to_der(), bytes(hex), "{label}");
        }
        assert_eq!(expected.next(), None);
    }

    /// Subjects as Go reads and rewrites them: each string type, repeats, attributes that it drops.
    #[test]
    fn subjects_are_read_as_go_does() {
        for line in include_str!("../testdata/go/subjects.txt").lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let name = Name::from_request(&bytes(fields[1]));
            // Go ignores what follows inside a SEQUENCE; no decent encoder writes it.
            if fields[0] == "trailing in attribute" {
                assert!(name.is_err());
                continue;
            }
            let [label, _, common_name, organizations, rewritten] = fields[..] else {
                assert!(name.is_err(), "{}: {name:?}", fields[0]);
                continue;
            };
            let name = name.unwrap();
            assert_eq!(
                name.subject.common_name.as_bytes(),
                bytes(common_name),
                "{label}"
            );
            let joined: Vec<String> = name
                .subject
                .organizations
                .iter()
                .map(|text| text.bytes().flat_map(hex).collect())
                .collect();
            assert_eq!(joined.join(","), organizations, "{label}");
            assert_eq!(name.to_der(), bytes(rewritten), "{label}");
        }
    }

    #[test]
    fn what_a_node_would_not_write_is_unusual() {
        let usual = [
            "utf8",
            "two organizations",
            "multi valued",
            "t61",
            "bmp",
            "ia5",
        ];
        let unusual = [
            "videotex",
            "graphic",
            "visible",
            "general",
            "universal",
            "integer",
            "octets",
            "null",
            "sequence",
            "context",
            "two common names",
            "email dropped",
            "kept attributes",
            "no attributes",
        ];
        let mut seen = 0;
        for line in include_str!("../testdata/go/subjects.txt").lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let expected = match fields[0] {
                label if usual.contains(&label) => false,
                label if unusual.contains(&label) => true,
                _ => continue,
            };
            seen += 1;
            let name = Name::from_request(&bytes(fields[1])).unwrap();
            assert_eq!(name.is_unusual(), expected, "{}", fields[0]);
        }
        assert_eq!(seen, usual.len() + unusual.len());
    }

    #[test]
    fn names_for_people_cannot_forge_lines() {
        let text = |name: Name| text_of(&name.to_der());
        assert_eq!(text(subject("n1", &["a", "b"])), "CN=n1,O=b,O=a");
        assert_eq!(text(subject("a,b+c=\"d\"", &[])), "CN=a\\,b\\+c=\\\"d\\\"");
        assert_eq!(text(subject(" #x ", &[])), "CN=\\ #x\\ ");
        assert_eq!(text(subject("#x", &[])), "CN=\\#x");
        assert_eq!(text(subject("a\nb\0", &[])), "CN=a\\0ab\\00");
        assert_eq!(text(Name::default()), "");
    }
}
