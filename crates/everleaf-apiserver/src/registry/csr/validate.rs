//! Field errors of a CSR: `pkg/apis/certificates/validation/validation.go`. Errors are collected,
//! never cut short, except where a later one would only repeat an earlier.
//!
//! A stored object may break a rule that was made after it (or that another API version does not
//! have). Such an object must still be editable, so each [`Tolerance`] is keyed on what is stored.

use super::conditions;
use crate::{
    read,
    registry::{Context, gates::Gate, names},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use everleaf_api::{
    csr::{APPROVED, DENIED, FAILED},
    fields::{ERRORS_SHOWN_MAX, FieldError, quote},
    types::certificates::USAGES,
};
use everleaf_pki::key::{FORBIDDEN_USAGES, REQUIRED_USAGES, listed};
use everleaf_pki::{CertificateError, Leaf, SignerName, Usage, pem};
use serde_json::Value;
use std::collections::BTreeSet;

/// Shortest lifetime one may ask for, in seconds.
const EXPIRATION_SECONDS_MIN: i64 = 600;
/// Longest domain of a signer name, in bytes.
const DOMAIN_BYTES_MAX: usize = 253;
/// Longest signer name, in bytes: a domain, `/`, and a path of a label, `.` and a subdomain.
const SIGNER_NAME_BYTES_MAX: usize = DOMAIN_BYTES_MAX + 1 + 63 + 1 + 253;
/// Characters (of base64) of a refused request echoed in the error: more than any honest request
/// with an RSA or ECDSA key has; of one with an ML-DSA key, which has up to 13 KB, the start.
const REQUEST_CHARS_SHOWN_MAX: usize = 3 * 1024;

/// What is let pass because the stored object already has it, and what an endpoint may do.
#[derive(Default)]
struct Tolerance {
    legacy_signer: bool,
    unknown_usages: bool,
    duplicate_usages: bool,
    both_decisions: bool,
    duplicate_conditions: bool,
    empty_condition_type: bool,
}

/// Errors of a new object.
pub(super) fn create(object: &Value, context: &Context<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    object_rules(object, context, &Tolerance::default(), &mut errors);
    certificate_rules(&certificate(object), &mut errors);
    errors
}

/// Errors of a changed object. The request in it is the stored one: what was made of that on create
/// stands, whatever is switched on or off since.
pub(super) fn update(new: &Value, old: &Value, context: &Context<'_>) -> Vec<FieldError> {
    let endpoint = context.subresource;
    let mut errors = Vec::new();
    let (certificate, stored) = (certificate(new), certificate(old));
    object_rules(new, context, &Tolerance::of(old), &mut errors);
    // What was bad before may stay bad.
    if certificate != stored && check_certificate(&stored).is_ok() {
        certificate_rules(&certificate, &mut errors);
    }
    decision_rules(new, old, endpoint, &mut errors);
    certificate_change_rules(&certificate, &stored, endpoint, &mut errors);
    errors
}

impl Tolerance {
    fn of(old: &Value) -> Self {
        let usages = read::texts(old, "/spec/usages");
        let stored = read::items(old, "/status/conditions");
        let has = |kind: &str| stored.iter().any(|c| conditions::kind(c) == kind);
        let distinct: BTreeSet<&str> = stored.iter().map(conditions::kind).collect();
        Self {
            legacy_signer: read::text(old, "/spec/signerName") == SignerName::LEGACY_UNKNOWN,
            unknown_usages: usages.iter().any(|usage| Usage::parse(usage).is_none()),
            duplicate_usages: usages.iter().collect::<BTreeSet<_>>().len() != usages.len(),
            both_decisions: has(APPROVED) && has(DENIED),
            duplicate_conditions: distinct.len() != stored.len(),
            empty_condition_type: has(""),
        }
    }
}

fn object_rules(
    object: &Value,
    context: &Context<'_>,
    tolerance: &Tolerance,
    errors: &mut Vec<FieldError>,
) {
    if let Some(Err(error)) = context.request {
        let shown = shown_request(object);
        errors.push(FieldError::invalid(
            "spec.request",
            &shown,
            &error.to_string(),
        ));
    }
    usage_rules(object, tolerance, errors);
    if let Some(Ok(request)) = context.request
        && request.public_key().is_ml_dsa()
    {
        ml_dsa_rules(object, context, errors);
    }
    let signer = read::text(object, "/spec/signerName");
    if signer == SignerName::LEGACY_UNKNOWN {
        if !tolerance.legacy_signer {
            errors.push(FieldError::invalid(
                "spec.signerName",
                &quote(signer),
                "the legacy signerName is not allowed via this API version",
            ));
        }
    } else {
        signer_name_rules(signer, errors);
    }
    if let Some(seconds) = object
        .pointer("/spec/expirationSeconds")
        .and_then(Value::as_i64)
        && seconds < EXPIRATION_SECONDS_MIN
    {
        errors.push(FieldError::invalid(
            "spec.expirationSeconds",
            &seconds.to_string(),
            "may not specify a duration less than 600 seconds (10 minutes)",
        ));
    }
    condition_rules(object, tolerance, errors);
}

fn certificate_rules(certificate: &[u8], errors: &mut Vec<FieldError>) {
    if let Err(error) = check_certificate(certificate) {
        errors.push(FieldError::invalid(
            "status.certificate",
            &quote("<certificate data>"),
            &error,
        ));
    }
}

/// The refused bytes as upstream echoes them, cut to a length a person can use.
fn shown_request(object: &Value) -> String {
    let Some(text) = object.pointer("/spec/request").and_then(Value::as_str) else {
        return "null".to_owned();
    };
    let mut shown: String = text.chars().take(REQUEST_CHARS_SHOWN_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    quote(&shown)
}

fn usage_rules(object: &Value, tolerance: &Tolerance, errors: &mut Vec<FieldError>) {
    let usages = read::texts(object, "/spec/usages");
    if usages.is_empty() {
        errors.push(FieldError::required("spec.usages", ""));
    }
    let path = |index: usize| format!("spec.usages[{index}]");
    if !tolerance.unknown_usages {
        for (index, usage) in usages.iter().enumerate() {
            if errors.len() > ERRORS_SHOWN_MAX {
                break;
            }
            if Usage::parse(usage).is_none() {
                errors.push(FieldError::not_supported(
                    &path(index),
                    &quote(usage),
                    USAGES,
                ));
            }
        }
    }
    if !tolerance.duplicate_usages {
        let mut seen = BTreeSet::new();
        for (index, usage) in usages.iter().enumerate() {
            if errors.len() > ERRORS_SHOWN_MAX {
                break;
            }
            if !seen.insert(usage) {
                errors.push(FieldError::duplicate(&path(index), &quote(usage)));
            }
        }
    }
}

/// What a request with an ML-DSA key may ask for (RFC 9881 5), where such keys are taken at all.
fn ml_dsa_rules(object: &Value, context: &Context<'_>, errors: &mut Vec<FieldError>) {
    if !context.gates.has(Gate::CertificateSigningRequestMlDsa) {
        errors.push(FieldError::invalid(
            "spec.request",
            &shown_request(object),
            "ML-DSA keys cannot be used for requests",
        ));
        return;
    }
    let usages = read::texts(object, "/spec/usages");
    let is = |text: &str, usage: &Usage| text == usage.as_str();
    for (index, text) in usages.iter().enumerate() {
        if FORBIDDEN_USAGES.iter().any(|usage| is(text, usage)) {
            errors.push(FieldError::invalid(
                &format!("spec.usages[{index}]"),
                &quote(text),
                &format!(
                    "When using ML-DSA keys, the usages {} are not allowed",
                    listed(&FORBIDDEN_USAGES)
                ),
            ));
        }
    }
    let signs = |text: &String| REQUIRED_USAGES.iter().any(|usage| is(text, usage));
    if !usages.iter().any(signs) {
        let shown: Vec<String> = usages.iter().map(|text| quote(text)).collect();
        errors.push(FieldError::invalid(
            "spec.usages",
            &format!("[{}]", shown.join(",")),
            &format!(
                "When using ML-DSA keys, at least one of {} usages are required",
                listed(&REQUIRED_USAGES)
            ),
        ));
    }
}

/// `domain/path`: a domain of at least two labels, a path of DNS-1123 subdomains joined by dots.
/// The rules of a signer's name, which ClusterTrustBundles share.
pub(in crate::registry) fn signer_name_rules(signer: &str, errors: &mut Vec<FieldError>) {
    const PATH: &str = "spec.signerName";
    if signer.is_empty() {
        errors.push(FieldError::required(PATH, ""));
        return;
    }
    let (domain, path) = match signer.split_once('/') {
        Some((domain, path)) if !path.contains('/') => (domain, path),
        _ => {
            errors.push(FieldError::invalid(
                PATH,
                &quote(signer),
                "must be a fully qualified domain and path of the form 'example.com/signer-name'",
            ));
            return;
        }
    };
    if domain.len() > DOMAIN_BYTES_MAX {
        errors.push(FieldError::too_long(PATH, DOMAIN_BYTES_MAX));
    }
    let bad_label =
        |label: &str, error: &str| format!("validating label {}: {error}", quote(label));
    let first_error = domain.split('.').find_map(|label| {
        names::label(label)
            .err()
            .map(|error| bad_label(label, &error))
    });
    if let Some(error) = first_error {
        errors.push(FieldError::invalid(PATH, &quote(domain), &error));
    }
    if !domain.contains('.') {
        errors.push(FieldError::invalid(
            PATH,
            &quote(domain),
            "should be a domain with at least two segments separated by dots",
        ));
    }
    let first_error = path.split('.').find_map(|part| {
        names::subdomain(part)
            .err()
            .map(|error| bad_label(part, &error))
    });
    if let Some(error) = first_error {
        errors.push(FieldError::invalid(PATH, &quote(path), &error));
    }
    if signer.len() > SIGNER_NAME_BYTES_MAX {
        errors.push(FieldError::too_long(PATH, SIGNER_NAME_BYTES_MAX));
    }
}

fn condition_rules(object: &Value, tolerance: &Tolerance, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    let (mut decision, mut is_both) = (None::<&str>, false);
    for (index, condition) in read::items(object, "/status/conditions").iter().enumerate() {
        if errors.len() > ERRORS_SHOWN_MAX {
            break;
        }
        let path = |member: &str| format!("status.conditions[{index}].{member}");
        let kind = conditions::kind(condition);
        if kind.is_empty() && !tolerance.empty_condition_type {
            errors.push(FieldError::required(&path("type"), ""));
        }
        let supported: &[&str] = match kind {
            APPROVED | DENIED | FAILED => &["True"],
            _ => &["False", "True", "Unknown"],
        };
        let status = read::text(condition, "/status");
        if status.is_empty() {
            errors.push(FieldError::required(&path("status"), ""));
        } else if !supported.contains(&status) {
            errors.push(FieldError::not_supported(
                &path("status"),
                &quote(status),
                supported,
            ));
        }
        if matches!(kind, APPROVED | DENIED) {
            is_both |= decision.is_some_and(|earlier| earlier != kind);
            decision = Some(kind);
        }
        if !seen.insert(kind) && !tolerance.duplicate_conditions {
            errors.push(FieldError::duplicate(&path("type"), &quote(kind)));
        }
    }
    if is_both && !tolerance.both_decisions {
        errors.push(FieldError::invalid(
            "status.conditions",
            &quote(r#"{conditions[{"type": "Approved"}], conditions[{"type": "Denied"}]}"#),
            "must specify at most one of: `Approved`, `Denied`; a request has one decision",
        ));
    }
}

/// Approved, Denied and Failed stay once they are there; the two decisions are written through
/// `/approval` only.
fn decision_rules(new: &Value, old: &Value, endpoint: &str, errors: &mut Vec<FieldError>) {
    const PATH: &str = "status.conditions";
    let new = read::items(new, "/status/conditions");
    let old = read::items(old, "/status/conditions");
    for kind in [APPROVED, DENIED, FAILED] {
        if conditions::of_kind(new, kind).len() < conditions::of_kind(old, kind).len() {
            errors.push(FieldError::forbidden(
                PATH,
                &format!("updates may not remove a condition of type {}", quote(kind)),
            ));
        }
    }
    if endpoint == "approval" {
        return;
    }
    for kind in [APPROVED, DENIED] {
        let asked = conditions::of_kind(new, kind);
        let stored = conditions::of_kind(old, kind);
        let same = |(a, b): (&&Value, &&Value)| conditions::is_same(a, b);
        let verb = if asked.len() > stored.len() {
            "add"
        } else if asked.len() == stored.len() && !asked.iter().zip(&stored).all(same) {
            "modify"
        } else {
            continue;
        };
        errors.push(FieldError::forbidden(
            PATH,
            &format!("updates may not {verb} a condition of type {}", quote(kind)),
        ));
    }
}

/// A certificate is set once, through `/status`.
fn certificate_change_rules(new: &[u8], old: &[u8], endpoint: &str, errors: &mut Vec<FieldError>) {
    if new == old {
        return;
    }
    let text = if !old.is_empty() {
        "updates may not modify existing certificate content"
    } else if endpoint != "status" {
        "updates may not set certificate content"
    } else {
        return;
    };
    errors.push(FieldError::forbidden("status.certificate", text));
}

fn certificate(object: &Value) -> Vec<u8> {
    let text = read::text(object, "/status/certificate");
    // What is not base64 never was a certificate; kept as it is, it is refused as one.
    STANDARD.decode(text).unwrap_or_else(|_| text.into())
}

/// Nothing, or PEM: at least one block, every block labelled CERTIFICATE, without headers, holding
/// one or more certificates. Text between blocks is ignored.
fn check_certificate(pem: &[u8]) -> Result<(), String> {
    if pem.is_empty() {
        return Ok(());
    }
    let mut blocks = 0;
    for block in pem::blocks(pem) {
        blocks += 1;
        if block.label != "CERTIFICATE" {
            let label = quote(&block.label);
            return Err(format!(
                "only CERTIFICATE PEM blocks are allowed, found {label}"
            ));
        }
        if block.has_headers {
            return Err("no PEM block headers are permitted".to_owned());
        }
        if block.der.is_empty() {
            return Err("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        let mut rest = block.der.as_slice();
        while !rest.is_empty() {
            let (der, after) = first_element(rest)
                .ok_or_else(|| "malformed certificate: not a DER sequence".to_owned())?;
            match Leaf::from_der(der) {
                // Dates out of order are the signer's business.
                Ok(_) | Err(CertificateError::NeverValid { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
            rest = after;
        }
    }
    if blocks == 0 {
        return Err("must contain one or more CERTIFICATE PEM blocks".to_owned());
    }
    Ok(())
}

/// The DER SEQUENCE at the start of `der`, with its header, and what follows.
fn first_element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEQUENCE: u8 = 0x30;
    let (header, length) = match der {
        [SEQUENCE, short @ 0..=0x7f, ..] => (2, usize::from(*short)),
        [SEQUENCE, 0x81, length, ..] => (3, usize::from(*length)),
        [SEQUENCE, 0x82, high, low, ..] => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        [SEQUENCE, 0x83, a, b, c, ..] => {
            let length = u32::from_be_bytes([0, *a, *b, *c]);
            (5, usize::try_from(length).ok()?)
        }
        _ => return None,
    };
    der.split_at_checked(header + length)
}
