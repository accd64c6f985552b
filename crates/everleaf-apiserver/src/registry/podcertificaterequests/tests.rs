//! What may be asked for, and how a request ends. The recordings compare the same with
//! kube-apiserver; here is what they cannot reach.

use super::*;
use crate::registry::Context;
use crate::registry::gates::Gates;
use crate::user::User;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_api::fields::FieldError;
use everleaf_pki::{Issuer, KeyAlgorithm, MlDsa, PrivateKey, Template, Usage, pem};
use jiff::SignedDuration;
use serde_json::json;

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn at(minutes: i64) -> Timestamp {
    now() + SignedDuration::from_mins(minutes)
}

/// A key, and the empty request that a kubelet makes with it.
fn stub(algorithm: KeyAlgorithm) -> (PrivateKey, String) {
    let key = PrivateKey::generate(algorithm).unwrap();
    let text = Template::default().to_request_pem(&key).unwrap();
    let der = pem::blocks(text.as_bytes()).next().unwrap().der.to_vec();
    (key, STANDARD.encode(der))
}

fn request(stub: &str) -> Value {
    json!({
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {
            "signerName": "example.com/pods", "podName": "web", "podUID": "p", "serviceAccountName": "shop",
            "serviceAccountUID": "s", "nodeName": "n1", "nodeUID": "n", "maxExpirationSeconds": 7200,
            "stubPKCS10Request": stub,
        },
        "status": {},
    })
}

fn texts(errors: &[FieldError]) -> Vec<String> {
    let text = |error: &FieldError| format!("{} {}", error.path, error.reason);
    errors.iter().map(text).collect()
}

fn with_context<T>(subresource: &str, act: impl FnOnce(&Context<'_>) -> T) -> T {
    let user = User::default();
    act(&Context {
        user: &user,
        subresource,
        now: now(),
        request: None,
        gates: &crate::registry::gates::USUAL,
    })
}

fn create(edit: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut object = request(&stub(KeyAlgorithm::EcdsaP256).1);
    edit(&mut object);
    with_context("", |context| {
        let strategy = POD_CERTIFICATE_REQUESTS.strategy;
        texts(&strategy.validate_create(&object, context))
    })
}

#[test]
fn ml_dsa_keys_have_a_gate() {
    let gates = Gates::parse(37, ["PodCertificateMLDSA=false"]).unwrap();
    let object = request(&stub(KeyAlgorithm::MlDsa(MlDsa::MlDsa65)).1);
    with_context("", |usual| {
        let context = Context {
            gates: &gates,
            user: usual.user,
            ..*usual
        };
        let strategy = POD_CERTIFICATE_REQUESTS.strategy;
        let errors = strategy.validate_create(&object, &context);
        assert_eq!(texts(&errors), ["spec.stubPKCS10Request FieldValueInvalid"]);
    });
}

#[test]
fn the_proof_is_checked_and_the_kind_of_key() {
    for algorithm in [
        KeyAlgorithm::EcdsaP256,
        KeyAlgorithm::EcdsaP384,
        KeyAlgorithm::EcdsaP521,
        KeyAlgorithm::Ed25519,
        KeyAlgorithm::MlDsa(MlDsa::MlDsa44),
        KeyAlgorithm::MlDsa(MlDsa::MlDsa65),
        KeyAlgorithm::MlDsa(MlDsa::MlDsa87),
    ] {
        let (_, stub) = stub(algorithm);
        let set = |object: &mut Value| object["spec"]["stubPKCS10Request"] = stub.into();
        assert!(create(set).is_empty(), "{algorithm:?}");
    }
    let (_, good) = stub(KeyAlgorithm::Ed25519);
    let mut forged = STANDARD.decode(good).unwrap();
    *forged.last_mut().unwrap() ^= 1;
    let refused = ["spec.stubPKCS10Request FieldValueInvalid"];
    for bad in [STANDARD.encode(forged), stub(KeyAlgorithm::Rsa(2048)).1] {
        let set = |object: &mut Value| object["spec"]["stubPKCS10Request"] = bad.into();
        assert_eq!(create(set), refused);
    }
}

#[test]
fn errors_are_not_told_by_the_million() {
    let many: serde_json::Map<String, Value> = (0..5_000)
        .map(|number| (format!("key{number}"), json!("")))
        .collect();
    let set = |object: &mut Value| object["spec"]["unverifiedUserAnnotations"] = many.into();
    assert!(create(set).len() < 300);
    let condition = json!({"type": "x"});
    let mut new = request("");
    new["status"]["conditions"] = vec![condition; 5_000].into();
    let old = request("");
    let errors = with_context("status", |context| {
        let strategy = POD_CERTIFICATE_REQUESTS.strategy;
        strategy.validate_update(&new, &old, context).len()
    });
    assert!(errors < 1_000, "{errors}");
}

/// A request, and its status as a signer would write it.
fn issued(minutes: (i64, i64)) -> (Value, Value) {
    let (key, stub) = stub(KeyAlgorithm::EcdsaP256);
    let old = request(&stub);
    let authority = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let year = SignedDuration::from_hours(8760);
    let (from, to) = (now() - year, now() + year);
    let issuer = Issuer::self_signed("ca", authority, [7; 16], from, to).unwrap();
    let template = Template {
        dns_names: vec!["web.example.com".to_owned()],
        ..Template::default()
    };
    let (not_before, not_after) = (at(minutes.0), at(minutes.1));
    let usages = [Usage::DigitalSignature, Usage::ClientAuth];
    let chain = issuer
        .issue_own(
            &template,
            key.public_key(),
            &usages,
            [8; 16],
            not_before,
            not_after,
        )
        .unwrap();
    let status = json!({
        "conditions": [{"type": "Issued", "status": "True", "reason": "Issued", "message": "",
            "lastTransitionTime": meta::format_time(now())}],
        "certificateChain": chain.to_pem(),
        "notBefore": meta::format_time(not_before),
        "beginRefreshAt": meta::format_time(at(60)),
        "notAfter": meta::format_time(not_after),
    });
    (old, status)
}

fn end(old: &Value, status: &Value) -> Vec<String> {
    let mut new = old.clone();
    new["status"] = status.clone();
    with_context("status", |context| {
        let strategy = POD_CERTIFICATE_REQUESTS.strategy;
        strategy.prepare_update(&mut new, old, context);
        texts(&strategy.validate_update(&new, old, context))
    })
}

#[test]
fn a_request_ends_once() {
    let (old, status) = issued((-1, 119));
    assert!(end(&old, &status).is_empty());
    let mut ended = old.clone();
    ended["status"] = status.clone();
    assert!(end(&ended, &status).is_empty(), "nothing changes");
    let mut other = status;
    other["beginRefreshAt"] = meta::format_time(at(61)).into();
    assert_eq!(end(&ended, &other), ["status FieldValueInvalid"]);
    assert_eq!(end(&ended, &json!({})), ["status FieldValueInvalid"]);
    let denied = json!({"conditions": [{"type": "Denied", "status": "True", "reason": "R",
        "message": "", "lastTransitionTime": meta::format_time(now())}]});
    assert_eq!(end(&ended, &denied), ["status FieldValueInvalid"]);
    assert!(end(&old, &denied).is_empty());
    let mut both = denied;
    both["notAfter"] = meta::format_time(at(5)).into();
    assert_eq!(end(&old, &both), ["status FieldValueInvalid"]);
}

#[test]
fn dates_are_those_of_the_leaf_and_near_the_server() {
    for (minutes, expected) in [
        ((-4, 116), None),
        ((4, 124), None),
        ((-5, 115), Some("status.notBefore")),
        ((5, 125), Some("status.notBefore")),
        ((-1, 58), Some("status.certificateChain")),
        ((-1, 120), Some("status.certificateChain")),
        ((-1, 69), Some("status.beginRefreshAt")),
    ] {
        let (old, status) = issued(minutes);
        let expected: Vec<String> = expected
            .map(|path| format!("{path} FieldValueInvalid"))
            .into_iter()
            .collect();
        assert_eq!(end(&old, &status), expected, "{minutes:?}");
    }
    let (old, mut status) = issued((-1, 119));
    status["beginRefreshAt"] = meta::format_time(at(8)).into();
    assert_eq!(
        end(&old, &status),
        ["status.beginRefreshAt FieldValueInvalid"]
    );
}

#[test]
fn a_chain_is_for_the_key_that_asked() {
    let (_, status) = issued((-1, 119));
    let (other, _) = issued((-1, 119));
    assert_eq!(
        end(&other, &status),
        ["status.certificateChain FieldValueInvalid"]
    );
}

#[test]
fn columns() {
    let (mut object, status) = issued((-1, 119));
    let pending = cells(&object, now());
    assert_eq!(
        pending,
        [
            "a",
            "web",
            "shop",
            "n1",
            "example.com/pods",
            "Pending",
            "<none>"
        ]
    );
    object["status"] = status;
    assert_eq!(cells(&object, now())[5], "Issued");
    let field = |name: &str| (POD_CERTIFICATE_REQUESTS.field)(&object, name);
    assert_eq!(field("spec.nodeName"), "n1");
    assert_eq!(field("spec.signerName"), "example.com/pods");
}
