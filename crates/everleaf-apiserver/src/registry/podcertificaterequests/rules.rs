//! What may be asked for, and how a request ends.

use super::super::csr::signer_name_rules;
use super::super::gates::Gate;
use super::super::{Context, Strategy, names};
use super::{DENIED, FAILED, ISSUED, issued, state};
use crate::read;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_api::fields::{ERRORS_SHOWN_MAX, FieldError, quote};
use everleaf_pki::{PublicKey, PublicKeyKind, RequestError, VerifiedRequest, request};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Longest UID, in bytes.
const UID_BYTES_MAX: usize = 128;
/// Longest PKCS#10 request, key and signature, each in bytes.
const STUB_BYTES_MAX: usize = 10 * 1024;
/// Keys and values of all annotations together, in bytes.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// Shortest lifetime that may be the longest.
const EXPIRATION_SECONDS_MIN: i64 = 3_600;
/// Longest lifetime.
const EXPIRATION_SECONDS_MAX: i64 = 91 * 86_400;
/// The same for Kubernetes' own signers.
const EXPIRATION_SECONDS_MAX_OF_KUBERNETES: i64 = 86_400;
/// Sizes of RSA keys that are taken, in bits.
const RSA_BITS: [u32; 2] = [3_072, 4_096];
/// Longest reason of a condition, in bytes.
const REASON_BYTES_MAX: usize = 1_024;
/// Longest message of a condition, in bytes.
const MESSAGE_BYTES_MAX: usize = 32_768;

const STUB: &str = "spec.stubPKCS10Request";
const KEY: &str = "spec.pkixPublicKey";
const PROOF: &str = "spec.proofOfPossession";

pub(super) struct PodCertificateStrategy;

impl Strategy for PodCertificateStrategy {
    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        object["status"] = json!({});
    }

    fn validate_create(&self, object: &Value, context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        signer_name_rules(read::text(object, "/spec/signerName"), &mut errors);
        annotation_rules(object, &mut errors);
        whose_rules(object, &mut errors);
        expiration_rules(object, &mut errors);
        let kinds = Kinds {
            has_ml_dsa: context.gates.has(Gate::PodCertificateMlDsa),
        };
        proof_rules(object, kinds, &mut errors);
        errors
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, context: &Context<'_>) {
        let keep = |new: &mut Value, member: &str| {
            new[member] = match &old[member] {
                Value::Null => json!({}),
                present => present.clone(),
            };
        };
        if context.subresource != "status" {
            return keep(new, "status");
        }
        keep(new, "spec");
        let metadata = everleaf_api::meta::metadata_mut(new);
        for member in ["labels", "annotations", "finalizers", "ownerReferences"] {
            metadata.remove(member);
            if let Some(stored) = old["metadata"].get(member) {
                metadata.insert(member.to_owned(), stored.clone());
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if context.subresource == "status" {
            status_rules(new, old, context, &mut errors);
        } else if new["spec"] != old["spec"] {
            let value = new["spec"].to_string();
            errors.push(FieldError::invalid("spec", &value, "field is immutable"));
        }
        errors
    }
}

fn annotation_rules(object: &Value, errors: &mut Vec<FieldError>) {
    const PATH: &str = "spec.unverifiedUserAnnotations";
    let annotations = object.pointer("/spec/unverifiedUserAnnotations");
    let mut bytes = 0;
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        bytes += key.len() + value.as_str().map_or(0, str::len);
        if errors.len() > ERRORS_SHOWN_MAX {
            continue;
        }
        // Upper case does not matter.
        let key = key.to_ascii_lowercase();
        if key.is_empty() {
            errors.push(FieldError::required(PATH, ""));
        } else if let Err(text) = names::qualified(&key) {
            errors.push(FieldError::invalid(PATH, &quote(&key), &text));
        } else if !key.contains('/') {
            let text = "the key must begin with a domain, as example.com/role does";
            errors.push(FieldError::invalid(PATH, &quote(&key), text));
        }
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long(PATH, ANNOTATIONS_BYTES_MAX));
    }
}

/// The pod, its account and its node.
fn whose_rules(object: &Value, errors: &mut Vec<FieldError>) {
    let names_and_uids = [
        ("podName", "podUID"),
        ("serviceAccountName", "serviceAccountUID"),
        ("nodeName", "nodeUID"),
    ];
    for (name_member, uid_member) in names_and_uids {
        let text = |member: &str| read::text(&object["spec"], &format!("/{member}")).to_owned();
        let name = text(name_member);
        if let Err(text) = names::subdomain(&name) {
            let path = format!("spec.{name_member}");
            errors.push(FieldError::invalid(&path, &quote(&name), &text));
        }
        let path = format!("spec.{uid_member}");
        match text(uid_member) {
            uid if uid.is_empty() => {
                errors.push(FieldError::invalid(&path, "\"\"", "must not be empty"));
            }
            uid if uid.len() > UID_BYTES_MAX => {
                errors.push(FieldError::too_long(&path, UID_BYTES_MAX));
            }
            _ => {}
        }
    }
}

fn expiration_rules(object: &Value, errors: &mut Vec<FieldError>) {
    const PATH: &str = "spec.maxExpirationSeconds";
    // Its default was filled in.
    let seconds = object["spec"]["maxExpirationSeconds"].as_i64().unwrap_or(0);
    let signer = read::text(object, "/spec/signerName");
    let max = match is_of_kubernetes(signer) {
        true => EXPIRATION_SECONDS_MAX_OF_KUBERNETES,
        false => EXPIRATION_SECONDS_MAX,
    };
    if !(EXPIRATION_SECONDS_MIN..=max).contains(&seconds) {
        let text = format!("must be from {EXPIRATION_SECONDS_MIN} to {max} seconds");
        errors.push(FieldError::invalid(PATH, &seconds.to_string(), &text));
    }
}

/// Signers of the domain `kubernetes.io`, and of those below it.
fn is_of_kubernetes(signer: &str) -> bool {
    let (domain, _) = signer.split_once('/').unwrap_or((signer, ""));
    domain == "kubernetes.io" || domain.ends_with(".kubernetes.io")
}

/// Which kinds of keys are taken beside those that always are.
#[derive(Clone, Copy)]
struct Kinds {
    has_ml_dsa: bool,
}

/// Proof that whoever asks holds the private key.
fn proof_rules(object: &Value, kinds: Kinds, errors: &mut Vec<FieldError>) {
    let [stub, key, proof] = ["stubPKCS10Request", "pkixPublicKey", "proofOfPossession"]
        .map(|member| bytes(object, member));
    let proven = match (&stub[..], &key[..], &proof[..]) {
        ([_, ..], [], []) => prove(&stub, kinds),
        ([], [_, ..], [_, ..]) => {
            let pod = read::text(object, "/spec/podUID");
            prove_apart(&key, pod.as_bytes(), &proof, kinds)
        }
        _ => Err(FieldError::invalid_without_value(
            "spec",
            "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set",
        )),
    };
    errors.extend(proven.err());
}

/// What a member of the spec holds.
fn bytes(object: &Value, member: &str) -> Vec<u8> {
    let text = read::text(&object["spec"], &format!("/{member}"));
    STANDARD.decode(text).unwrap_or_default()
}

/// The key that a certificate is asked for; None where none can be read.
pub(super) fn key(object: &Value) -> Option<PublicKey> {
    let stub = bytes(object, "stubPKCS10Request");
    match stub.is_empty() {
        false => request::unverified_key(&stub).ok(),
        true => PublicKey::from_spki_der(&bytes(object, "pkixPublicKey")).ok(),
    }
}

fn prove(stub: &[u8], kinds: Kinds) -> Result<(), FieldError> {
    let unreadable =
        |error: RequestError| FieldError::invalid_without_value(STUB, &error.to_string());
    if stub.len() > STUB_BYTES_MAX {
        return Err(FieldError::too_long(STUB, STUB_BYTES_MAX));
    }
    let key = request::unverified_key(stub).map_err(unreadable)?;
    check_kind(&key, STUB, kinds)?;
    VerifiedRequest::from_der(stub).map_err(unreadable)?;
    Ok(())
}

/// The older way, which v1 has not: the key, and beside it a signature over the pod's UID.
fn prove_apart(key: &[u8], pod_uid: &[u8], proof: &[u8], kinds: Kinds) -> Result<(), FieldError> {
    for (path, bytes) in [(KEY, key), (PROOF, proof)] {
        if bytes.len() > STUB_BYTES_MAX {
            return Err(FieldError::too_long(path, STUB_BYTES_MAX));
        }
    }
    let key = PublicKey::from_spki_der(key).map_err(|_| {
        let text = "must be a valid PKIX-serialized public key";
        FieldError::invalid(KEY, &quote(&STANDARD.encode(key)), text)
    })?;
    check_kind(&key, KEY, kinds)?;
    if key.has_signed(pod_uid, proof) {
        return Ok(());
    }
    let text = "could not verify proof-of-possession signature";
    Err(FieldError::invalid_without_value(PROOF, text))
}

fn check_kind(key: &PublicKey, path: &str, kinds: Kinds) -> Result<(), FieldError> {
    let refuse = |value: String, text: &str| Err(FieldError::invalid(path, &quote(&value), text));
    match key.kind() {
        PublicKeyKind::Ed25519
        | PublicKeyKind::EcdsaP256
        | PublicKeyKind::EcdsaP384
        | PublicKeyKind::EcdsaP521 => Ok(()),
        PublicKeyKind::MlDsa(_) if kinds.has_ml_dsa => Ok(()),
        // Go counts the bytes of a modulus: one of 3071 bits has as many as one of 3072.
        PublicKeyKind::Rsa { bits } if RSA_BITS.contains(&bits.next_multiple_of(8)) => Ok(()),
        PublicKeyKind::Rsa { bits } => {
            let text = "RSA keys must have a modulus of 3072 or 4096 bits";
            refuse(format!("{bits}-bit modulus"), text)
        }
        PublicKeyKind::EcdsaP224 => {
            let text = "elliptic curves are P-256, P-384 and P-521";
            refuse("curve P-224".to_owned(), text)
        }
        _ => {
            let text = "unknown type of key: RSA, ECDSA, Ed25519 and ML-DSA are known";
            Err(FieldError::invalid_without_value(path, text))
        }
    }
}

fn status_rules(new: &Value, old: &Value, context: &Context<'_>, errors: &mut Vec<FieldError>) {
    condition_rules(new, errors);
    // The conditions say what the rest has to be.
    if !errors.is_empty() {
        return;
    }
    let differs = |a: &Value, b: &Value| read_status(a) != read_status(b);
    let refuse = |text: &str| FieldError::invalid_without_value("status", text);
    if state(old).is_some() {
        if differs(new, old) {
            let text = "nothing changes any more once a request is issued, denied or failed";
            errors.push(refuse(text));
        }
        return;
    }
    match state(new) {
        Some(DENIED | FAILED) => {
            let members = new["status"].as_object().into_iter().flatten();
            let mut others = members.filter(|(member, _)| *member != "conditions");
            if others.any(|(_, value)| !read::is_empty(Some(value))) {
                let text = "a request that is denied or failed has conditions and nothing else";
                errors.push(refuse(text));
            }
        }
        Some(_) => errors.extend(
            issued::check(new, key(old).as_ref(), context.now)
                .err()
                .unwrap_or_default(),
        ),
        None if differs(new, old) => {
            let text = "the status changes only by which the request is issued, denied or failed";
            errors.push(refuse(text));
        }
        None => {}
    }
}

/// A status whose absence and emptiness are one.
fn read_status(object: &Value) -> Option<&Value> {
    object
        .get("status")
        .filter(|status| !read::is_empty(Some(status)))
}

/// The rules of this type, then those of every Condition
/// (`apimachinery/pkg/apis/meta/v1/validation`, `ValidateConditions`).
fn condition_rules(object: &Value, errors: &mut Vec<FieldError>) {
    let conditions = read::items(object, "/status/conditions");
    let mut ends = 0;
    for (index, condition) in conditions.iter().enumerate() {
        if errors.len() > ERRORS_SHOWN_MAX {
            return;
        }
        let path = |member: &str| format!("status.conditions.[{index}].{member}");
        let (kind, status) = (
            read::text(condition, "/type"),
            read::text(condition, "/status"),
        );
        if ![ISSUED, DENIED, FAILED].contains(&kind) {
            let known = [ISSUED, DENIED, FAILED];
            errors.push(FieldError::not_supported(
                &path("type"),
                &quote(kind),
                &known,
            ));
            continue;
        }
        ends += 1;
        if ends > 1 {
            let text = "there is at most one condition, Issued, Denied or Failed";
            errors.push(FieldError::invalid(&path("type"), &quote(kind), text));
        }
        if status != "True" {
            errors.push(FieldError::not_supported(
                &path("status"),
                &quote(status),
                &["True"],
            ));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        if errors.len() > ERRORS_SHOWN_MAX {
            return;
        }
        let kind = read::text(condition, "/type");
        if !seen.insert(kind) {
            let path = format!("status.conditions[{index}]");
            errors.push(FieldError::duplicate(&path, &quote(kind)));
        }
        one_condition(condition, &format!("status.conditions[{index}]"), errors);
    }
}

fn one_condition(condition: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let path = |member: &str| format!("{path}.{member}");
    match read::text(condition, "/type") {
        "" => errors.push(FieldError::required(&path("type"), "")),
        kind => {
            if let Err(text) = names::qualified(kind) {
                errors.push(FieldError::invalid(&path("type"), &quote(kind), &text));
            }
        }
    }
    match read::text(condition, "/status") {
        "" => errors.push(FieldError::required(&path("status"), "")),
        "True" | "False" | "Unknown" => {}
        status => {
            let known = ["False", "True", "Unknown"];
            errors.push(FieldError::not_supported(
                &path("status"),
                &quote(status),
                &known,
            ));
        }
    }
    if let Some(number) = condition["observedGeneration"]
        .as_i64()
        .filter(|number| *number < 0)
    {
        let path = path("observedGeneration");
        let text = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(&path, &number.to_string(), text));
    }
    if read::time(condition, "/lastTransitionTime").is_none() {
        errors.push(FieldError::required(&path("lastTransitionTime"), ""));
    }
    match read::text(condition, "/reason") {
        "" => errors.push(FieldError::required(&path("reason"), "")),
        reason => {
            if !is_reason(reason) {
                let text = "begins with a letter, goes on with letters, digits, `_`, `,` and `:`, \
                            and ends with a letter, a digit or `_`";
                errors.push(FieldError::invalid(&path("reason"), &quote(reason), text));
            }
            if reason.len() > REASON_BYTES_MAX {
                errors.push(FieldError::too_long(&path("reason"), REASON_BYTES_MAX));
            }
        }
    }
    if read::text(condition, "/message").len() > MESSAGE_BYTES_MAX {
        errors.push(FieldError::too_long(&path("message"), MESSAGE_BYTES_MAX));
    }
}

fn is_reason(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"_,:".contains(byte);
    let ends = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(ends)
        && bytes.iter().all(inner)
}
