//! The lint: what must hold for every certificate before the CA key is used.
//!
//! It reads the encoded bytes back with the same reader as any certificate, so that it judges
//! what would be signed, not what was meant.

use crate::asn1::oid;
use crate::certificate::CertificateBody;
use crate::extension::{AltNames, KeyUsageBits};
use crate::key::{KeyError, PublicKeyKind};
use crate::request::EMPTY_NAME;
use std::collections::BTreeSet;

/// Why a certificate must not be signed, by who is at fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The requestor's key is weak or of a kind that nobody can check.
    Key(KeyError),
    /// The request asks for it: trying again does not help.
    Request(String),
    /// We built it so.
    Issuer(String),
}

/// Longest lifetime that is not worth a warning: 398 days.
const LIFETIME_NOTEWORTHY_S: i64 = 398 * 24 * 3600;

/// Refuses an unsound certificate; answers warnings about a sound one.
pub(super) fn check(tbs: &[u8], issuer: &CertificateBody) -> Result<Vec<String>, Finding> {
    let body = CertificateBody::read(tbs).map_err(|error| Finding::Issuer(error.to_string()))?;
    check_frame(&body, issuer)?;
    check_usages(&body)?;
    check_names(&body)?;
    body.public_key.check_strength().map_err(Finding::Key)?;
    Ok(warnings(&body))
}

/// Version, serial number, dates, links to the issuer.
fn check_frame(body: &CertificateBody, issuer: &CertificateBody) -> Result<(), Finding> {
    let require = |holds: bool, otherwise: &str| {
        if holds {
            Ok(())
        } else {
            Err(Finding::Issuer(otherwise.to_owned()))
        }
    };
    require(body.version == 3, "the certificate is not version 3")?;
    // [2^64, 2^127): minimal bytes, so 9 to 16 of them.
    let serial = &body.serial;
    require(
        (9..=16).contains(&serial.len()) && (serial.len() < 16 || serial[0] < 0x80),
        "the serial number is not in [2^64, 2^127)",
    )?;
    require(
        body.issuer_der == issuer.subject_der,
        "the issuer is not the CA's subject",
    )?;
    require(
        body.not_after <= issuer.not_after,
        "the certificate would outlive the CA certificate",
    )?;
    let expected = issuer
        .subject_key_id
        .as_ref()
        .filter(|_| body.subject_der != issuer.subject_der);
    require(
        body.authority_key_id.as_ref() == expected,
        "the authority key identifier is not the CA's subject key identifier",
    )?;
    require(
        body.basic_constraints
            .is_none_or(|limits| !limits.is_ca && limits.path_len.is_none()),
        "the certificate would be a CA",
    )
}

fn check_usages(body: &CertificateBody) -> Result<(), Finding> {
    let bits = body.key_usage.unwrap_or_default();
    for (bit, name) in [
        (KeyUsageBits::CERT_SIGN, "cert sign"),
        (KeyUsageBits::CRL_SIGN, "crl sign"),
    ] {
        if bits.contains(bit) {
            return Err(Finding::Request(format!(
                "usage {name:?} is not for end-entity certificates"
            )));
        }
    }
    Ok(())
}

fn check_names(body: &CertificateBody) -> Result<(), Finding> {
    let names = &body.names;
    if has_repeats(names) {
        return Err(Finding::Issuer(
            "a subject alternative name is repeated".into(),
        ));
    }
    let subject_is_empty = body.subject_der == EMPTY_NAME;
    if !names.is_empty() && body.names_critical != subject_is_empty {
        return Err(Finding::Issuer(
            "subject alternative names must be critical exactly if the subject is empty".into(),
        ));
    }
    Ok(())
}

fn has_repeats(names: &AltNames) -> bool {
    fn repeats<T: Ord>(items: &[T]) -> bool {
        items.iter().collect::<BTreeSet<_>>().len() != items.len()
    }
    repeats(&names.dns_names)
        || repeats(&names.email_addresses)
        || repeats(&names.ip_addresses)
        || repeats(&names.uris)
}

/// Sound, but an operator may want to know. Left out as always true here: CN not among the SANs,
/// reserved addresses, no subject key identifier. DNS names are whatever a Node says: Kubernetes
/// signs any ASCII text, and a client that looks for just that text finds it.
fn warnings(body: &CertificateBody) -> Vec<String> {
    let mut warnings = Vec::new();
    let lifetime_s = body.not_after.as_second() - body.not_before.as_second();
    if lifetime_s > LIFETIME_NOTEWORTHY_S {
        warnings.push(format!(
            "valid for {} days: nothing revokes it before its end",
            lifetime_s / (24 * 3600)
        ));
    }
    let is_rsa = matches!(body.public_key.kind(), PublicKeyKind::Rsa { .. });
    if body
        .key_usage
        .unwrap_or_default()
        .contains(KeyUsageBits::KEY_ENCIPHERMENT)
        && !is_rsa
    {
        warnings.push(format!(
            "key encipherment means nothing for {} keys",
            body.public_key.kind()
        ));
    }
    let purposes = body.purposes.as_deref().unwrap_or_default();
    if purposes.contains(&oid::ANY_EXTENDED_KEY_USAGE) {
        warnings.push("usage \"any\" allows every purpose".into());
    }
    if purposes.contains(&oid::SERVER_AUTH) && purposes.contains(&oid::CLIENT_AUTH) {
        warnings.push("one certificate for both client and server".into());
    }
    warnings
}
