//! One certificate as the second judge reads it, and the rules that hold for it alone.

use crate::der::{self, Node};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm,
};
use std::collections::BTreeSet;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;

/// Where an issuer stands in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Intermediate,
    Anchor,
}

/// A certificate that could be read.
pub(crate) struct Member<'a> {
    pub(crate) der: &'a [u8],
    certificate: X509Certificate<'a>,
}

/// Extensions that may be critical, by the last number of their identifier below 2.5.29; when their
/// content is understood.
const UNDERSTOOD: [&str; 10] = [
    "2.5.29.15",
    "2.5.29.17",
    "2.5.29.19",
    "2.5.29.30",
    "2.5.29.31",
    "2.5.29.32",
    "2.5.29.33",
    "2.5.29.36",
    "2.5.29.37",
    "2.5.29.54",
];
/// Those that must not be critical: key identifiers, authority information access.
const NEVER_CRITICAL: [&str; 3] = ["2.5.29.14", "2.5.29.35", "1.3.6.1.5.5.7.1.1"];

const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";
const P521: &str = "1.3.132.0.35";

impl<'a> Member<'a> {
    /// Reads it, with what is true of no sound certificate as an error.
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, String> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|error| format!("unreadable: {error}"))?;
        if !rest.is_empty() {
            return Err("bytes after it".into());
        }
        let tbs = &certificate.tbs_certificate;
        if tbs.version.0 > 2 {
            return Err("of an unknown version".into());
        }
        if tbs.version.0 != 2 && !tbs.extensions().is_empty() {
            return Err("extensions before version 3".into());
        }
        if tbs
            .raw_serial()
            .first()
            .is_none_or(|first| first & 0x80 != 0)
        {
            return Err("serial number is negative or empty".into());
        }
        if tbs.signature != certificate.signature_algorithm {
            return Err("two signature algorithms".into());
        }
        let validity = tbs.validity();
        if validity.not_before.timestamp() >= validity.not_after.timestamp() {
            return Err("dates out of order".into());
        }
        if Node::read(der).is_some_and(|whole| has_padded_identifier(&whole)) {
            return Err("an object identifier in disguise".into());
        }
        check_point(&certificate)?;
        let mut seen = BTreeSet::new();
        for extension in tbs.extensions() {
            let id = extension.oid.to_id_string();
            check_extension(&id, extension)?;
            if !seen.insert(id.clone()) {
                return Err(format!("extension {id} twice"));
            }
        }
        Ok(Self { der, certificate })
    }

    pub(crate) fn subject(&self) -> &[u8] {
        self.certificate.subject().as_raw()
    }

    pub(crate) fn issuer(&self) -> &[u8] {
        self.certificate.issuer().as_raw()
    }

    /// Its alternative names.
    pub(crate) fn names(&self) -> &[GeneralName<'a>] {
        self.find(|parsed| match parsed {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names[..]),
            _ => None,
        })
        .unwrap_or_default()
    }

    /// Its name constraints: permitted, excluded.
    pub(crate) fn limits(&self) -> Option<[Vec<&GeneralName<'a>>; 2]> {
        self.find(|parsed| match parsed {
            ParsedExtension::NameConstraints(limits) => {
                let lists = [&limits.permitted_subtrees, &limits.excluded_subtrees];
                Some(lists.map(|list| list.iter().flatten().map(|tree| &tree.base).collect()))
            }
            _ => None,
        })
    }

    fn find<'b, T>(&'b self, pick: impl Fn(&'b ParsedExtension<'a>) -> Option<T>) -> Option<T> {
        let mut extensions = self.certificate.tbs_certificate.extensions().iter();
        extensions.find_map(|extension| pick(extension.parsed_extension()))
    }

    /// In force, and nothing critical in it that is not understood.
    pub(crate) fn check_alone(&self, now: i64) -> Result<(), String> {
        let validity = self.certificate.validity();
        if !(validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now) {
            return Err("not in force".into());
        }
        for extension in self.certificate.tbs_certificate.extensions() {
            let id = extension.oid.to_id_string();
            if extension.critical && !self.is_understood(&id) {
                return Err(format!("critical extension {id} is not understood"));
            }
        }
        Ok(())
    }

    fn is_understood(&self, id: &str) -> bool {
        let is_compared = |name: &GeneralName<'_>| form(name).is_some();
        match id {
            "2.5.29.17" => self.names().iter().any(is_compared),
            "2.5.29.30" => self
                .limits()
                .is_some_and(|lists| lists.iter().flatten().copied().all(is_compared)),
            id => UNDERSTOOD.contains(&id),
        }
    }

    /// It may issue, with so many CAs between it and the leaf.
    pub(crate) fn check_issuer(&self, role: Role, below: usize) -> Result<(), String> {
        let constraints = self.find(|parsed| match parsed {
            ParsedExtension::BasicConstraints(constraints) => Some(constraints),
            _ => None,
        });
        match constraints {
            Some(constraints) if !constraints.ca => return Err("no CA".into()),
            Some(constraints) => {
                let limit = constraints.path_len_constraint;
                if limit.is_some_and(|limit| below > limit as usize) {
                    return Err("too many CAs below".into());
                }
            }
            // Before version 3 nobody could say so; of anchors it is believed.
            None if role == Role::Anchor && self.certificate.version().0 < 2 => {}
            None => return Err("does not say that it is a CA".into()),
        }
        let usage = self.find(|parsed| match parsed {
            ParsedExtension::KeyUsage(usage) => Some(usage),
            _ => None,
        });
        // Go's liberty: a key usage without a bit is none.
        match usage {
            Some(usage) if usage.flags != 0 && !usage.key_cert_sign() => {
                Err("may not sign certificates".into())
            }
            _ => Ok(()),
        }
    }

    /// Its extended key usage allows clients. Go's liberty: an empty list is none.
    pub(crate) fn check_usage(&self) -> Result<(), String> {
        let allows = self.find(|parsed| match parsed {
            ParsedExtension::ExtendedKeyUsage(usage) => {
                let others = [
                    usage.server_auth,
                    usage.code_signing,
                    usage.email_protection,
                    usage.time_stamping,
                    usage.ocsp_signing,
                ];
                let is_empty = usage.other.is_empty() && others == [false; 5];
                Some(is_empty || usage.any || usage.client_auth)
            }
            _ => None,
        });
        match allows {
            Some(false) => Err("not for clients".into()),
            _ => Ok(()),
        }
    }

    /// `issuer`'s key signed it, not by way of a broken hash.
    pub(crate) fn check_signature(&self, issuer: &Self) -> Result<(), String> {
        let algorithm = self
            .certificate
            .signature_algorithm
            .algorithm
            .to_id_string();
        let key = issuer.certificate.public_key();
        let kind = key.algorithm.algorithm.to_id_string();
        let wanted = match algorithm.as_str() {
            // SHA-256, SHA-384, SHA-512, PSS.
            "1.2.840.113549.1.1.11"
            | "1.2.840.113549.1.1.12"
            | "1.2.840.113549.1.1.13"
            | "1.2.840.113549.1.1.10" => RSA,
            "1.2.840.10045.4.3.2" | "1.2.840.10045.4.3.3" | "1.2.840.10045.4.3.4" => EC,
            ED25519 => ED25519,
            other => return Err(format!("signature algorithm {other}")),
        };
        if kind != wanted {
            return Err("signature and key are of different kinds".into());
        }
        let parameters = key.algorithm.parameters.as_ref();
        let curve = parameters
            .and_then(|any| any.as_oid().ok())
            .map(|curve| curve.to_id_string());
        // What `x509-parser` cannot verify: P-521 and SHA-512 with another curve. Verified here.
        let ours: Option<&dyn VerificationAlgorithm> = match (curve.as_deref(), algorithm.as_str())
        {
            (Some(P521), "1.2.840.10045.4.3.2") => Some(&ECDSA_P521_SHA256_ASN1),
            (Some(P521), "1.2.840.10045.4.3.3") => Some(&ECDSA_P521_SHA384_ASN1),
            (Some(P521), _) => Some(&ECDSA_P521_SHA512_ASN1),
            _ => None,
        };
        match ours {
            Some(ours) => UnparsedPublicKey::new(ours, &key.subject_public_key.data)
                .verify(
                    self.certificate.tbs_certificate.as_ref(),
                    &self.certificate.signature_value.data,
                )
                .map_err(|_| "signature does not fit".into()),
            None => {
                let verified = self.certificate.verify_signature(Some(key));
                verified.map_err(|error| error.to_string())
            }
        }
    }
}

fn check_extension(id: &str, extension: &X509Extension<'_>) -> Result<(), String> {
    if extension.critical && NEVER_CRITICAL.contains(&id) {
        return Err(format!("extension {id} is critical"));
    }
    let parsed = extension.parsed_extension();
    if parsed.error().is_some() && !is_excused(id, extension.value) {
        return Err(format!("extension {id} is unreadable"));
    }
    if let ParsedExtension::SubjectAlternativeName(names) = parsed {
        names.general_names.iter().try_for_each(check_name)?;
    }
    Ok(())
}

/// Extensions that `x509-parser` cannot read and Go can, and why Go is followed.
fn is_excused(id: &str, value: &[u8]) -> bool {
    match id {
        // A path length above 2^32 is no limit; Go reads up to 2^63.
        "2.5.29.19" => {
            const BEFORE_LENGTH: &[u8] = &[0x01, 0x01, 0xff, 0x02];
            let content = der::split(value).map_or(&[][..], |(_, content, _)| content);
            let limit = content.strip_prefix(BEFORE_LENGTH);
            let Some((&length, octets)) = limit.and_then(<[u8]>::split_first) else {
                return false;
            };
            usize::from(length) == octets.len()
                && (5..=8).contains(&length)
                && octets[0] & 0x80 == 0
                && (octets[0] != 0 || octets[1] & 0x80 != 0)
        }
        // Nobody acts on the issuer's alternative names; critical, they are refused anyway.
        "2.5.29.18" => true,
        _ => false,
    }
}

/// Some arc of some identifier begins with an octet that says nothing (X.690 8.19.2).
fn has_padded_identifier(node: &Node) -> bool {
    const IDENTIFIER: u8 = 0x06;
    if node.tag != IDENTIFIER {
        return node.children().iter().any(has_padded_identifier);
    }
    let content = node.content();
    let ends = std::iter::once(0).chain(content.iter().copied());
    let is_padded = |(before, octet): (u8, &u8)| before & 0x80 == 0 && *octet == 0x80;
    ends.zip(&content).any(is_padded)
}

/// A point of one of the usual curves lies on it.
fn check_point(certificate: &X509Certificate<'_>) -> Result<(), String> {
    let key = certificate.public_key();
    let parameters = key.algorithm.parameters.as_ref();
    let curve = parameters.and_then(|any| any.as_oid().ok());
    let curve: &dyn VerificationAlgorithm = match curve.map(|id| id.to_id_string()).as_deref() {
        Some("1.2.840.10045.3.1.7") => &ECDSA_P256_SHA256_ASN1,
        Some("1.3.132.0.34") => &ECDSA_P384_SHA384_ASN1,
        Some(P521) => &ECDSA_P521_SHA512_ASN1,
        _ => return Ok(()),
    };
    let parsed = ParsedPublicKey::new(curve, &key.subject_public_key.data);
    parsed.map(drop).map_err(|_| "a point off its curve".into())
}

/// What stands between scheme and path (RFC 3986 3.2): no empty labels, ports of digits.
fn check_authority(uri: &str) -> Result<(), String> {
    let authority = uri.split_once("://").map_or("", |(_, rest)| {
        rest.split(['/', '?', '#']).next().unwrap_or_default()
    });
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.is_empty() || host.starts_with('[') {
        return Ok(());
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let is_sound = !name.split('.').any(str::is_empty) || name.is_empty();
    if is_sound && port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    Err(format!("host of {uri}"))
}

fn check_name(name: &GeneralName<'_>) -> Result<(), String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text)
            if !text.is_ascii() =>
        {
            Err("a name that is not ASCII".into())
        }
        GeneralName::URI(text) if !text.contains(':') => Err("a URI without scheme".into()),
        GeneralName::URI(text) => check_authority(text),
        GeneralName::IPAddress(octets) if octets.len() != 4 && octets.len() != 16 => {
            Err("an address of another length".into())
        }
        GeneralName::Invalid(tag, _) if [1, 2, 6].contains(&tag.0) => {
            Err("a malformed name".into())
        }
        _ => Ok(()),
    }
}

/// Of the forms that are compared, which a name has.
pub(crate) fn form(name: &GeneralName<'_>) -> Option<u8> {
    match name {
        GeneralName::RFC822Name(_) => Some(1),
        GeneralName::DNSName(_) => Some(2),
        GeneralName::URI(_) => Some(6),
        GeneralName::IPAddress(_) => Some(7),
        _ => None,
    }
}
