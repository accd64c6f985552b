//! What is made of a request, and the controller against scripted answers.

use super::*;
use crate::builtin::BuiltinSigner;
use crate::call::{Answer, Call, CallError, read_answer};
use crate::config::{Config, SerialSource};
use crate::fixture::{authority, now};
use crate::follower::Delta;
use crate::issuers::{Issuers, Terms};
use crate::upkeep::{Machine, Moment, Step, Watched};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use everleaf_api::meta;
use everleaf_pki::{Chain, Issuer, KeyAlgorithm, PrivateKey, Template, pem};
use everleaf_time::{Monotonic, Now};
use http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};
use rcgen::{PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const SIGNER: &str = "example.com/pods";
const KEY: &str = "shop/web-abcde";

fn policy() -> Policy {
    let names = ["{service-account}.{namespace}.svc.cluster.local".to_owned()];
    let policy = Policy::new(SIGNER, "example.org").unwrap();
    policy.with_dns_names(&names).unwrap()
}

fn stub(algorithm: KeyAlgorithm) -> String {
    let key = PrivateKey::generate(algorithm).unwrap();
    let text = Template::default().to_request_pem(&key).unwrap();
    STANDARD.encode(&pem::blocks(text.as_bytes()).next().unwrap().der)
}

fn request(edit: impl FnOnce(&mut Value)) -> Value {
    let mut object = json!({
        "metadata": {"name": "web-abcde", "namespace": "shop", "uid": "u", "resourceVersion": "7",
            "creationTimestamp": meta::format_time(now())},
        "spec": {"signerName": SIGNER, "podName": "web", "podUID": "pu", "serviceAccountName": "till",
            "serviceAccountUID": "su", "nodeName": "n1", "nodeUID": "nu", "maxExpirationSeconds": 7200,
            "stubPKCS10Request": stub(KeyAlgorithm::EcdsaP256)},
        "status": {},
    });
    edit(&mut object);
    object
}

fn plan(edit: impl FnOnce(&mut Value)) -> Plan {
    match decide(&request(edit), Older::Unread, &policy()) {
        Action::Sign(plan) => *plan,
        other => panic!("{other:?}"),
    }
}

fn refusal(edit: impl FnOnce(&mut Value)) -> (&'static str, &'static str) {
    match decide(
        &request(edit),
        Older::Unserved,
        &policy().with_namespaces(&["shop".to_owned()]).unwrap(),
    ) {
        Action::Refuse(refusal) => (refusal.condition(), refusal.reason()),
        other => panic!("{other:?}"),
    }
}

fn ca(hours: i64) -> Issuer {
    authority(SignedDuration::from_hours(hours))
}

#[test]
fn a_pod_gets_the_names_of_its_service_account() {
    let made = plan(|_| ()).issue(&ca(1000), [9; 16], now()).unwrap();
    let leaf = made.issued.chain.leaf();
    assert_eq!(leaf.uris(), ["spiffe://example.org/ns/shop/sa/till"]);
    assert_eq!(leaf.dns_names(), ["till.shop.svc.cluster.local"]);
    assert_eq!(leaf.subject_text(), "");
    assert!(leaf.allows_client_auth() && leaf.allows_server_auth());
    assert_eq!(leaf.lifetime().seconds, 7200);
    let begun = leaf.not_before().duration_until(now());
    assert!(begun.is_positive() && begun < SignedDuration::from_mins(5));
}

#[test]
fn what_is_not_granted_says_why_in_kubernetes_words() {
    let annotated =
        |object: &mut Value| object["spec"]["unverifiedUserAnnotations"] = json!({"a.b/c": "d"});
    assert_eq!(
        refusal(annotated),
        ("Denied", "InvalidUnverifiedUserAnnotations")
    );
    let weak = |object: &mut Value| object["spec"]["stubPKCS10Request"] = WEAK.into();
    assert_eq!(refusal(weak), ("Denied", "UnsupportedKeyType"));
    let elsewhere = |object: &mut Value| object["metadata"]["namespace"] = "other".into();
    assert_eq!(refusal(elsewhere), ("Denied", "NamespaceNotAllowed"));
    let forged = |object: &mut Value| {
        let stub = object["spec"]["stubPKCS10Request"].as_str().unwrap();
        let mut der = STANDARD.decode(stub).unwrap();
        *der.last_mut().unwrap() ^= 1;
        object["spec"]["stubPKCS10Request"] = STANDARD.encode(der).into();
    };
    assert_eq!(refusal(forged), ("Failed", "ProofOfPossessionFailed"));
    for (bad, reason) in [
        ("", "NoPKCS10Request"),
        ("%", "ProofOfPossessionFailed"),
        ("aGk=", "ProofOfPossessionFailed"),
    ] {
        let set = |object: &mut Value| object["spec"]["stubPKCS10Request"] = bad.into();
        assert_eq!(refusal(set), ("Failed", reason), "{bad}");
    }
    for bad in ["", "../admin", "A", "a/b"] {
        let set = |object: &mut Value| object["spec"]["serviceAccountName"] = bad.into();
        assert_eq!(refusal(set), ("Failed", "NameNotPossible"), "{bad}");
    }
    let long = |object: &mut Value| object["spec"]["serviceAccountName"] = "a".repeat(64).into();
    assert_eq!(refusal(long), ("Failed", "NameNotPossible"));
}

/// RSA of 1024 bits, signed well.
const WEAK: &str = "MIIBUTCBuwIBADASMRAwDgYDVQQDDAdyc2ExMDI0MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC3Zgjr9Q5f5Hob8BvBaYCa3l3FRbA0/KvT9fLxonZdxGW04oHR3cDLSt8V5LJmpHvsL9foSIYbMmm3asmr6UUT1efU6j6GxYEGq3XareZ6tLF9/OE6GuX+iHsoSaTuTSZ4fYX8q/Bpk6AHuKfgvRu3QotHZIkIxJnmqgJKg8pjXQIDAQABoAAwDQYJKoZIhvcNAQELBQADgYEADiRD36iLpxpzG+M2WKKmArWm2r/FMa0KVze41DA/z7fpWTKDmOPlOgGonYHchhrA+j+CaRsOHCQY3/lYnEOi/iG+QVSknRYbDIgu9EZt0HZi5PanJC1dnbb2WjBQ/zPWQNdd51/nfiGdcJcv4l7M5nzTxDKtjI4v22NN5qICPI8=";

#[test]
fn others_and_what_has_ended_are_left_alone() {
    let other = |object: &mut Value| object["spec"]["signerName"] = "example.com/other".into();
    assert!(matches!(
        decide(&request(other), Older::Unread, &policy()),
        Action::Leave
    ));
    for kind in ["Issued", "Denied", "Failed"] {
        let ended = |object: &mut Value| {
            object["status"]["conditions"] = json!([{"type": kind, "status": "True"}]);
        };
        assert!(matches!(
            decide(&request(ended), Older::Unread, &policy()),
            Action::Leave
        ));
    }
}

/// Every lifetime that is asked for gives dates that the API server takes.
#[test]
fn dates_are_within_the_rules() {
    for seconds in [3_600, 3_601, 7_200, 86_400, 100_000, 7_862_400] {
        for random in [0, 127, 255] {
            let asked =
                |object: &mut Value| object["spec"]["maxExpirationSeconds"] = seconds.into();
            let made = plan(asked).issue(&ca(10_000), [random; 16], now()).unwrap();
            let leaf = made.issued.chain.leaf();
            let lifetime = leaf.lifetime().seconds;
            assert_eq!(lifetime, seconds.min(86_400), "the policy's day");
            let after = leaf
                .not_before()
                .duration_until(made.begin_refresh_at)
                .as_secs();
            assert!(after >= 600 && after <= lifetime - 600, "{after}");
            assert!((lifetime * 60 / 100..=lifetime * 70 / 100).contains(&after));
        }
    }
}

#[test]
fn a_ca_that_ends_cuts_and_then_keeps_waiting() {
    let day = |object: &mut Value| object["spec"]["maxExpirationSeconds"] = 86_400.into();
    let made = plan(day).issue(&ca(5), [1; 16], now()).unwrap();
    assert!(made.issued.truncated);
    assert_eq!(made.issued.chain.leaf().not_after(), ca(5).limit());
    let late = now() + SignedDuration::from_mins(4 * 60 + 3);
    let error = plan(day).issue(&ca(5), [1; 16], late).unwrap_err();
    assert!(error.contains("ends too soon"), "{error}");
    let early = now() - SignedDuration::from_hours(24 * 365 * 40);
    let error = plan(day).issue(&ca(5), [1; 16], early).unwrap_err();
    assert!(error.contains("has not begun"), "{error}");
}

#[test]
fn names_that_two_namespaces_could_share_are_no_policy() {
    let names = |name: &str| policy().with_dns_names(&[name.to_owned()]);
    for good in [
        "{namespace}.x",
        "{service-account}.{namespace}",
        "a.{namespace}.b",
    ] {
        assert!(names(good).is_ok(), "{good}");
    }
    for bad in [
        "{service-account}.x",
        "{service-account}-{namespace}.x",
        "*.{namespace}",
        "{namespace}..x",
        "{other}.{namespace}",
        "{namespace}.X",
    ] {
        assert!(names(bad).is_err(), "{bad}");
    }
    for bad in [
        "example.com",
        "example/x",
        "kubernetes.io/x",
        "a.kubernetes.io/x",
        "a.b/c/d",
    ] {
        assert!(Policy::new(bad, "example.org").is_err(), "{bad}");
    }
    for bad in ["", "Example.org", "example.org/x"] {
        assert!(Policy::new(SIGNER, bad).is_err(), "{bad}");
    }
}

/// A machine that has seen these requests.
fn machine(is_logging: bool, seen: &[Value]) -> Machine {
    let issuer = IssuerSource::Memory(Arc::new(ca(1000)).into());
    let sources = BTreeMap::from([(SIGNER.to_owned(), issuer)]);
    let terms = Terms::of(&Config::new());
    let (issuers, _) = Issuers::load(&sources, terms).unwrap();
    let issuer = issuers.by_signer()[SIGNER].clone();
    let serials: SerialSource = Arc::new(|| Ok([3; 16]));
    let rules = PodCertificateSigner::new(policy(), issuer, serials, is_logging);
    let mut machine = Machine::new(rules);
    let watched = Watched::PodCertificateRequests;
    machine.take(watched, Delta::ListBegins, Monotonic::default());
    for object in seen {
        machine.take(watched, Delta::Put(object.clone()), Monotonic::default());
    }
    machine.take(watched, Delta::ListEnds, Monotonic::default());
    machine
}

fn moment(seconds: u64) -> Moment {
    Moment {
        now: Now {
            wall: now(),
            monotonic: Monotonic::from_origin(Duration::from_secs(seconds)),
        },
        offset: Some(SignedDuration::from_secs(30)),
    }
}

fn call(machine: &mut Machine, at: Moment) -> Call {
    match machine.step(at) {
        Step::Call(call) => call,
        other => panic!("{other:?}"),
    }
}

fn refused(code: u16) -> CallError {
    let body = format!(r#"{{"kind":"Status","code":{code},"message":"no"}}"#);
    let code = StatusCode::from_u16(code).unwrap();
    read_answer(code, &HeaderMap::new(), body.into()).unwrap_err()
}

/// The order that counts: signed, logged, and only then written; once.
#[test]
fn nothing_is_written_before_it_is_logged() {
    let mut machine = machine(true, &[request(|_| ())]);
    let Step::Log(entry) = machine.step(moment(0)) else {
        panic!("not logged");
    };
    assert_eq!((entry.csr.as_str(), entry.signer.as_str()), (KEY, SIGNER));
    assert_eq!(entry.uris, ["spiffe://example.org/ns/shop/sa/till"]);
    assert!(
        entry.approval.contains("pod web (pu)"),
        "{}",
        entry.approval
    );
    machine.logged(Ok(()), moment(0));
    let call = call(&mut machine, moment(0));
    assert_eq!(
        call.path,
        "/apis/certificates.k8s.io/v1/namespaces/shop/podcertificaterequests/web-abcde/status"
    );
    let object = call.body.unwrap();
    let status = &object["status"];
    assert_eq!(object["metadata"]["resourceVersion"], "7");
    assert_eq!(status["conditions"][0]["type"], "Issued");
    let text = status["certificateChain"].as_str().unwrap();
    let leaf = Chain::from_pem(text.as_bytes()).unwrap().leaf().clone();
    assert_eq!(entry.serial, leaf.serial().to_string());
    // The API server compares the dates with its own clock, which is ahead.
    let told: Timestamp = status["notBefore"].as_str().unwrap().parse().unwrap();
    assert_eq!(told, leaf.not_before());
    assert_eq!(told, now() + SignedDuration::from_secs(30 - 120));
    machine.answer(&Ok(Bytes::new()), moment(0));
    let Step::Tell(_) = machine.step(moment(0)) else {
        panic!("not told");
    };
    // The watch says so later than the answer does.
    machine.look_again(Monotonic::default());
    assert!(
        matches!(machine.step(moment(1)), Step::Wait(_)),
        "not signed twice"
    );
}

#[test]
fn without_the_log_nobody_gets_a_certificate() {
    let mut machine = machine(true, &[request(|_| ())]);
    assert!(matches!(machine.step(moment(0)), Step::Log(_)));
    machine.logged(Err("disk full".to_owned()), moment(0));
    let Step::Tell(notice) = machine.step(moment(0)) else {
        panic!("not told");
    };
    assert!(format!("{notice:?}").contains("disk full"));
    assert!(matches!(machine.step(moment(0)), Step::Wait(Some(_))));
    assert!(
        matches!(machine.step(moment(15)), Step::Log(_)),
        "tried again"
    );
}

#[test]
fn a_refusal_is_written_and_trouble_is_tried_again() {
    let annotated =
        |object: &mut Value| object["spec"]["unverifiedUserAnnotations"] = json!({"a.b/c": "d"});
    let mut machine = machine(false, &[request(annotated)]);
    for (turn, code) in [409, 500].into_iter().enumerate() {
        let at = moment(turn as u64 * 60);
        let status = call(&mut machine, at).body.unwrap()["status"].clone();
        assert_eq!(status["conditions"][0]["type"], "Denied");
        assert_eq!(
            status.as_object().unwrap().len(),
            1,
            "conditions and nothing else"
        );
        machine.answer(&Err(refused(code)), at);
        while let Step::Tell(_) = machine.step(at) {}
    }
    call(&mut machine, moment(180));
    machine.answer(&Ok(Bytes::new()), moment(180));
    assert!(matches!(machine.step(moment(180)), Step::Tell(_)));
    assert!(matches!(machine.step(moment(999)), Step::Wait(None)));
}

/// What a kubelet of 1.36 makes, as v1 shows it, and as v1beta1 does.
fn older(edit: impl FnOnce(&mut Value)) -> (Value, Value) {
    let shown = request(|object| object["spec"]["stubPKCS10Request"] = Value::Null);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut older = shown.clone();
    older["spec"]["pkixPublicKey"] = STANDARD.encode(key.subject_public_key_info()).into();
    let proof = key.sign(b"pu").unwrap();
    older["spec"]["proofOfPossession"] = STANDARD.encode(proof).into();
    edit(&mut older);
    (shown, older)
}

/// The key is read where it stands, and what is written is v1.
#[test]
fn a_key_beside_its_proof_is_signed() {
    let (shown, older) = older(|_| ());
    let mut machine = machine(false, &[shown]);
    let read = call(&mut machine, moment(0));
    assert_eq!(
        (read.method.as_str(), read.path.as_str()),
        (
            "GET",
            "/apis/certificates.k8s.io/v1beta1/namespaces/shop/podcertificaterequests?fieldSelector=metadata.name%3Dweb-abcde"
        )
    );
    let list = json!({"items": [older]}).to_string();
    machine.answer(&Ok(list.into()), moment(0));
    let write = call(&mut machine, moment(0));
    assert!(write.path.starts_with("/apis/certificates.k8s.io/v1/"));
    let object = write.body.unwrap();
    assert_eq!(object["apiVersion"], "certificates.k8s.io/v1");
    let text = object["status"]["certificateChain"].as_str().unwrap();
    let leaf = Chain::from_pem(text.as_bytes()).unwrap().leaf().clone();
    let key = STANDARD.encode(leaf.public_key().spki_der());
    assert_eq!(older["spec"]["pkixPublicKey"], key);
}

#[test]
fn a_key_is_signed_by_nothing_but_its_proof() {
    let refused_as = |answer: Answer, shown: Value| {
        let mut machine = machine(false, &[shown]);
        call(&mut machine, moment(0));
        machine.answer(&answer, moment(0));
        let object = call(&mut machine, moment(0)).body.unwrap();
        let condition = object["status"]["conditions"][0].clone();
        assert_eq!(condition["type"], "Failed", "{object}");
        condition["reason"].as_str().unwrap().to_owned()
    };
    let list = |object: &Value| Ok(json!({"items": [object]}).to_string().into());
    let (shown, forged) = older(|object| object["spec"]["podUID"] = "other".into());
    assert_eq!(refused_as(list(&forged), shown), "ProofOfPossessionFailed");
    let (shown, bare) = older(|object| object["spec"]["proofOfPossession"] = Value::Null);
    assert_eq!(
        refused_as(list(&bare), shown.clone()),
        "ProofOfPossessionFailed"
    );
    assert_eq!(refused_as(list(&shown), shown.clone()), "NoPKCS10Request");
    // Nobody serves v1beta1.
    assert_eq!(refused_as(Err(refused(404)), shown), "NoPKCS10Request");
}

/// Another object of the name is another request; trouble is tried again.
#[test]
fn an_older_form_that_is_not_to_be_had_changes_nothing() {
    let (shown, another) = older(|object| object["metadata"]["uid"] = "v".into());
    let mut gone = machine(false, std::slice::from_ref(&shown));
    call(&mut gone, moment(0));
    let list = json!({"items": [another]}).to_string();
    gone.answer(&Ok(list.into()), moment(0));
    assert!(matches!(gone.step(moment(0)), Step::Wait(_)));
    let mut troubled = machine(false, &[shown]);
    call(&mut troubled, moment(0));
    troubled.answer(&Err(refused(500)), moment(0));
    while let Step::Tell(_) = troubled.step(moment(0)) {}
    let again = call(&mut troubled, moment(60));
    assert_eq!(again.method.as_str(), "GET");
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut machine = machine(false, &[request(|_| ())]);
    call(&mut machine, moment(0));
    machine.answer(&Err(refused(404)), moment(0));
    assert!(matches!(machine.step(moment(99)), Step::Wait(None)));
}

#[test]
fn no_builtin_signer_has_such_a_name() {
    for signer in BuiltinSigner::ALL {
        assert!(Policy::new(signer.name(), "example.org").is_err());
    }
}
