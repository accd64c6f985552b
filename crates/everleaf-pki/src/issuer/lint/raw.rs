//! The bytes of a `TBSCertificate`, where the reader of certificates takes more than one form.

use crate::asn1::{self, encoded, oid};
use crate::signature::SignatureAlgorithm;
use der::{Decode, Reader, SliceReader, Tag};
use std::net::Ipv6Addr;

/// What is not as RFC 5280 has it: the form of dates (4.1.2.5), the signature algorithm inside
/// (4.1.1.2), addresses of IPv4 (4.2.1.6), an identifier of the issuer's key by more than the key
/// (4.2.1.1: after the CA was renewed, OpenSSL and Java find no issuer for such a certificate).
pub(super) fn check(tbs: &[u8], algorithm: SignatureAlgorithm) -> Result<(), String> {
    let unreadable = |error: der::Error| asn1::words(&error);
    let mut reader = SliceReader::new(tbs).map_err(unreadable)?;
    let content = asn1::read_content(&mut reader, Tag::Sequence).map_err(unreadable)?;
    let mut body = SliceReader::new(content).map_err(unreadable)?;
    let mut member = || body.tlv_bytes().map_err(unreadable);
    let (_version, _serial) = (member()?, member()?);
    if member()? != encoded(&algorithm.identifier()) {
        return Err("the signature algorithm is not that of the CA's key".into());
    }
    let _issuer = member()?;
    check_dates(member()?)?;
    let (_subject, _key) = (member()?, member()?);
    let extensions = SliceReader::new(member()?)
        .and_then(|mut outer| asn1::read_element(&mut outer))
        .and_then(|wrapper| {
            asn1::read_content(&mut SliceReader::new(wrapper.content)?, Tag::Sequence)
        })
        .map_err(unreadable)?;
    check_extensions(extensions)
}

/// UTCTime to the second with Z through 2049, GeneralizedTime likewise from 2050 on.
fn check_dates(validity: &[u8]) -> Result<(), String> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let unreadable = |error: der::Error| asn1::words(&error);
    let mut reader = SliceReader::new(validity).map_err(unreadable)?;
    let content = asn1::read_content(&mut reader, Tag::Sequence).map_err(unreadable)?;
    let mut dates = SliceReader::new(content).map_err(unreadable)?;
    while !dates.is_finished() {
        let date = asn1::read_element(&mut dates).map_err(unreadable)?;
        let is_well_formed = match (date.identifier, date.content) {
            (UTC_TIME, [digits @ .., b'Z']) => digits.len() == 12,
            // Four digits of the year: 2050 is the first that UTCTime cannot say.
            (GENERALIZED_TIME, [digits @ .., b'Z']) => {
                digits.len() == 14 && &digits[..4] >= b"2050"
            }
            _ => false,
        };
        if !is_well_formed {
            return Err("a date is not in the one form that RFC 5280 has for it".into());
        }
    }
    Ok(())
}

fn check_extensions(list: &[u8]) -> Result<(), String> {
    let unreadable = |error: der::Error| asn1::words(&error);
    let mut list = SliceReader::new(list).map_err(unreadable)?;
    while !list.is_finished() {
        let mut extension =
            SliceReader::new(asn1::read_content(&mut list, Tag::Sequence).map_err(unreadable)?)
                .map_err(unreadable)?;
        let id = asn1::read_oid(&mut extension).map_err(unreadable)?;
        if Tag::peek(&extension).map_err(unreadable)? == Tag::Boolean {
            bool::decode(&mut extension).map_err(unreadable)?;
        }
        let value = asn1::read_content(&mut extension, Tag::OctetString).map_err(unreadable)?;
        match id {
            oid::AUTHORITY_KEY_IDENTIFIER => check_members(value, |name| {
                const KEY_IDENTIFIER: u8 = 0x80;
                match name.identifier {
                    KEY_IDENTIFIER => Ok(()),
                    _ => Err("the authority key identifier names more than the key"),
                }
            })?,
            oid::SUBJECT_ALT_NAME => check_members(value, |name| {
                const IP: u8 = 0x87;
                let is_mapped = <[u8; 16]>::try_from(name.content)
                    .is_ok_and(|octets| Ipv6Addr::from(octets).to_ipv4_mapped().is_some());
                match name.identifier == IP && is_mapped {
                    true => Err("an IPv4 address is written as IPv6"),
                    false => Ok(()),
                }
            })?,
            _ => {}
        }
    }
    Ok(())
}

fn check_members(
    value: &[u8],
    check: impl Fn(asn1::Element<'_>) -> Result<(), &'static str>,
) -> Result<(), String> {
    let unreadable = |error: der::Error| asn1::words(&error);
    let mut reader = SliceReader::new(value).map_err(unreadable)?;
    let content = asn1::read_content(&mut reader, Tag::Sequence).map_err(unreadable)?;
    let mut members = SliceReader::new(content).map_err(unreadable)?;
    while !members.is_finished() {
        check(asn1::read_element(&mut members).map_err(unreadable)?)?;
    }
    Ok(())
}
