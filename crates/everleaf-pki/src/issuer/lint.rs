//! The lint: what must hold for every certificate before the CA key is used.
//!
//! It reads the encoded bytes back with the same reader as any certificate, so that it judges
//! what would be signed, not what was meant. That reader is as tolerant as Go's; where a
//! certificate of ours has to be stricter, the bytes themselves are looked at ([`raw`]).

mod raw;
#[cfg(test)]
mod tests;

use super::Warning;
use crate::asn1::oid;
use crate::certificate::CertificateBody;
use crate::extension::{AltNames, KeyUsageBits};
use crate::key::{KeyError, PublicKeyKind};
use crate::request::EMPTY_NAME;
use crate::signature::SignatureAlgorithm;
use crate::signer::Usage;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// What a certificate is held against.
pub(super) struct Frame<'a> {
    /// The certificate that signs.
    pub(super) issuer: &'a CertificateBody,
    /// The earliest end among it and its known parents.
    pub(super) limit: Timestamp,
    /// With what it signs.
    pub(super) algorithm: SignatureAlgorithm,
}

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
pub(super) fn check(tbs: &[u8], frame: &Frame<'_>) -> Result<Vec<Warning>, Finding> {
    let body = CertificateBody::read(tbs).map_err(|error| Finding::Issuer(error.to_string()))?;
    raw::check(tbs, frame.algorithm).map_err(Finding::Issuer)?;
    check_frame(&body, frame)?;
    check_usages(&body)?;
    check_names(&body)?;
    body.public_key.check_strength().map_err(Finding::Key)?;
    Ok(warnings(&body))
}

/// Version, serial number, dates, links to the issuer.
fn check_frame(body: &CertificateBody, frame: &Frame<'_>) -> Result<(), Finding> {
    let issuer = frame.issuer;
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
        body.not_after <= frame.limit,
        match frame.limit < issuer.not_after {
            true => "the certificate would outlive a parent of the CA certificate",
            false => "the certificate would outlive the CA certificate",
        },
    )?;
    require(
        body.authority_key_id == issuer.subject_key_id,
        "the authority key identifier is not the CA's subject key identifier",
    )?;
    require(
        body.basic_constraints
            .is_some_and(|limits| !limits.is_ca && limits.path_len.is_none()),
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
    match body.public_key.is_ml_dsa() {
        true => check_ml_dsa_usages(bits),
        false => Ok(()),
    }
}

/// RFC 9881 5, without the usages of a CA.
fn check_ml_dsa_usages(bits: KeyUsageBits) -> Result<(), Finding> {
    for (bit, usage) in [
        (KeyUsageBits::KEY_ENCIPHERMENT, Usage::KeyEncipherment),
        (KeyUsageBits::DATA_ENCIPHERMENT, Usage::DataEncipherment),
        (KeyUsageBits::KEY_AGREEMENT, Usage::KeyAgreement),
        (KeyUsageBits::ENCIPHER_ONLY, Usage::EncipherOnly),
        (KeyUsageBits::DECIPHER_ONLY, Usage::DecipherOnly),
    ] {
        if bits.contains(bit) {
            return Err(Finding::Request(format!(
                "usage \"{usage}\" is not for ML-DSA keys, which only sign"
            )));
        }
    }
    let signs = [
        KeyUsageBits::DIGITAL_SIGNATURE,
        KeyUsageBits::CONTENT_COMMITMENT,
    ];
    match signs.iter().any(|bit| bits.contains(*bit)) {
        true => Ok(()),
        false => Err(Finding::Request(
            "a certificate of an ML-DSA key needs usage \"digital signature\" or \"content commitment\""
                .to_owned(),
        )),
    }
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

/// What keeps clients from finding a server by this name. A warning only: Kubernetes signs whatever
/// a Node is called, and a kubelet whose certificate lacks a name that it asked for asks again at
/// once, for ever. So nothing is cut off here either.
fn doubt_about(name: &str) -> Option<&'static str> {
    const NAME_BYTES_MAX: usize = 253;
    const LABEL_BYTES_MAX: usize = 63;
    if name.len() > 1 && name.ends_with('.') {
        return Some("ends with a dot, and TLS clients match no such name");
    }
    // RFC 5280 4.2.1.6, RFC 1034 3.5; the first label may be `*` (RFC 6125 6.4.3).
    let is_ldh = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let below = name.strip_prefix("*.").unwrap_or(name);
    let is_sound = name.len() <= NAME_BYTES_MAX && below.split('.').all(is_ldh);
    (!is_sound).then_some(
        "is not made of letters, digits and hyphens between dots, which some TLS clients refuse",
    )
}

/// Sound, but an operator may want to know. Left out as always true here: CN not among the SANs,
/// reserved addresses, no subject key identifier.
fn warnings(body: &CertificateBody) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |rule, text| warnings.push(Warning { rule, text });
    let lifetime_s = body.not_after.as_second() - body.not_before.as_second();
    if lifetime_s > LIFETIME_NOTEWORTHY_S {
        warn(
            "long_lifetime",
            format!(
                "valid for {} days: nothing revokes it before its end",
                lifetime_s / (24 * 3600)
            ),
        );
    }
    for name in &body.names.dns_names {
        if let Some(doubt) = doubt_about(name) {
            // Shown in logs: short, and nothing that is not printable.
            let shown: String = name
                .chars()
                .take(80)
                .flat_map(char::escape_default)
                .collect();
            warn("dns_name", format!("DNS name \"{shown}\" {doubt}"));
        }
    }
    let is_rsa = matches!(body.public_key.kind(), PublicKeyKind::Rsa { .. });
    if body
        .key_usage
        .unwrap_or_default()
        .contains(KeyUsageBits::KEY_ENCIPHERMENT)
        && !is_rsa
    {
        warn(
            "key_encipherment",
            format!(
                "key encipherment means nothing for {} keys",
                body.public_key.kind()
            ),
        );
    }
    let purposes = body.purposes.as_deref().unwrap_or_default();
    if purposes.contains(&oid::ANY_EXTENDED_KEY_USAGE) {
        warn("any_usage", "usage \"any\" allows every purpose".into());
    }
    if purposes.contains(&oid::SERVER_AUTH) && purposes.contains(&oid::CLIENT_AUTH) {
        warn(
            "client_and_server",
            "one certificate for both client and server".into(),
        );
    }
    warnings
}
