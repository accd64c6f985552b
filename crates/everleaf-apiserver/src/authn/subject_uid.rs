//! The user's UID in a certificate subject: attribute 1.3.6.1.4.1.57683.2
//! (`staging/src/k8s.io/apiserver/pkg/authentication/request/x509`, on from Kubernetes 1.33).

/// DER content of the object identifier 1.3.6.1.4.1.57683.2.
const UID_OID: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xc2, 0x53, 0x02];

const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// The UID in a Name, DER: "" when there is none. Err = why the
/// certificate is refused: several, empty, or not readable as text.
pub(super) fn subject_uid(name: &[u8]) -> Result<String, &'static str> {
    const MALFORMED: &str = "its subject is not DER";
    let mut uid = None;
    let (mut rdns, rest) = element(name, SEQUENCE).ok_or(MALFORMED)?;
    if !rest.is_empty() {
        return Err(MALFORMED);
    }
    while !rdns.is_empty() {
        let (mut attributes, rest) = element(rdns, SET).ok_or(MALFORMED)?;
        rdns = rest;
        while !attributes.is_empty() {
            let (attribute, rest) = element(attributes, SEQUENCE).ok_or(MALFORMED)?;
            attributes = rest;
            let (oid, value) = element(attribute, OBJECT_IDENTIFIER).ok_or(MALFORMED)?;
            if oid != UID_OID {
                continue;
            }
            let text = [UTF8_STRING, PRINTABLE_STRING, IA5_STRING]
                .iter()
                .find_map(|&tag| element(value, tag))
                .and_then(|(text, _)| std::str::from_utf8(text).ok())
                .ok_or("its user UID attribute is not text")?;
            if text.is_empty() {
                return Err("its user UID attribute is empty");
            }
            if uid.replace(text).is_some() {
                return Err("it has several user UID attributes");
            }
        }
    }
    Ok(uid.unwrap_or_default().to_owned())
}

/// The content of the element with this tag at the start of `der`, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    if first != tag {
        return None;
    }
    let (length, rest) = length(rest)?;
    rest.split_at_checked(length)
}

fn length(der: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = der.split_first()?;
    if first < 0x80 {
        return Some((usize::from(first), rest));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return None;
    }
    let (bytes, rest) = rest.split_at_checked(count)?;
    let length = bytes
        .iter()
        .fold(0_usize, |length, &byte| (length << 8) | usize::from(byte));
    Some((length, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{OBJECT_IDENTIFIER, PRINTABLE_STRING, SEQUENCE, SET, UID_OID, UTF8_STRING};

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut der = vec![tag];
        match content.len() {
            short @ 0..=0x7f => der.push(u8::try_from(short).expect("short")),
            long => der.extend(
                [
                    &[0x82][..],
                    &u16::try_from(long).expect("long").to_be_bytes(),
                ]
                .concat(),
            ),
        }
        der.extend(content);
        der
    }
    fn rdn(oid: &[u8], tag: u8, text: &[u8]) -> Vec<u8> {
        let attribute = [tlv(OBJECT_IDENTIFIER, oid), tlv(tag, text)].concat();
        tlv(SET, &tlv(SEQUENCE, &attribute))
    }
    fn subject_uid(rdns: &[u8]) -> Result<String, &'static str> {
        super::subject_uid(&tlv(SEQUENCE, rdns))
    }
    const CN: &[u8] = &[0x55, 0x04, 0x03];

    #[test]
    fn one_none_several() {
        let cn = rdn(CN, UTF8_STRING, b"bob");
        let uid = rdn(UID_OID, UTF8_STRING, b"1234");
        assert_eq!(subject_uid(&[]), Ok(String::new()));
        assert_eq!(subject_uid(&cn), Ok(String::new()));
        assert_eq!(
            subject_uid(&[cn.clone(), uid.clone()].concat()),
            Ok("1234".to_owned())
        );
        let long = "x".repeat(300);
        assert_eq!(
            subject_uid(&rdn(UID_OID, PRINTABLE_STRING, long.as_bytes())),
            Ok(long)
        );
        assert!(subject_uid(&[uid.clone(), uid.clone()].concat()).is_err());
        assert!(subject_uid(&rdn(UID_OID, UTF8_STRING, b"")).is_err());
        assert!(
            subject_uid(&rdn(UID_OID, 0x02, b"1")).is_err(),
            "an INTEGER"
        );
        assert!(subject_uid(&rdn(UID_OID, UTF8_STRING, b"\xff")).is_err());
        assert!(subject_uid(&uid[..uid.len() - 1]).is_err(), "cut short");
        assert!(subject_uid(&[0x31, 0x84, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = subject_uid(&bytes);
            let _ = super::subject_uid(&bytes);
        }
    }
}
