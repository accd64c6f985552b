//! When the certificate revocation list is made, and of what.

use super::*;
use crate::builtin::BuiltinSigner;
use crate::config::{Config, IssuerSource};
use crate::issuers::{Issuers, SharedIssuer, Terms};
use crate::upkeep::RevocationListPublisher;
use everleaf_api::revocation::{Entry, Reason, Revocations, Target};
use everleaf_pki::{Issuer, KeyAlgorithm, PrivateKey};
use std::sync::Arc;

const LIST: &str = "/api/v1/namespaces/kube-public/configmaps";
const DAY: SignedDuration = SignedDuration::from_hours(24);

fn issuer() -> SharedIssuer {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let issuer = Issuer::self_signed("ca", key, [1; 16], now() - DAY, now() + DAY * 999).unwrap();
    let signer = BuiltinSigner::KubeApiserverClientKubelet;
    let sources = [(signer, IssuerSource::Memory(Arc::new(issuer).into()))].into();
    let (issuers, _) = Issuers::load(&sources, Terms::of(&Config::new())).unwrap();
    issuers.by_signer()[&signer].clone()
}

fn revocations(entries: &[(Target, Option<Timestamp>)]) -> Value {
    let mut all = Revocations::default();
    for (target, until) in entries {
        let entry = Entry {
            at: Some(now()),
            until: *until,
            reason: Reason::KeyCompromise,
            ..Entry::default()
        };
        all.put(target.clone(), entry);
    }
    json!({
        "metadata": {"name": "everleaf-revocations", "namespace": "kube-system", "resourceVersion": "1"},
        "data": all.to_data(),
    })
}

/// The object of the next call, whose answer is the same with a resource version.
fn written(bench: &mut Bench, method: Method) -> Value {
    let call = bench.call().expect("a call");
    assert_eq!(call.method, method);
    let mut object = call.body.clone().expect("an object");
    object["metadata"]["resourceVersion"] = "7".into();
    bench.answer(&Ok(Bytes::from(object.to_string())));
    object
}

#[test]
fn a_list_is_made_at_once_and_for_each_change() {
    let serial = |text: &str| Target::Serial(text.to_owned());
    let mut bench = Bench::new(RevocationListPublisher::new(issuer()), &[]);
    let first = written(&mut bench, Method::POST);
    let seconds = u64::try_from(now().as_second()).unwrap();
    let number = |object: &Value| {
        object["data"]["number"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    assert_eq!(number(&first), seconds, "also where there has been one");
    let pem = first["data"]["ca.crl"].as_str().unwrap();
    assert!(pem.starts_with("-----BEGIN X509 CRL-----"), "{pem}");
    assert_eq!(bench.line(), "", "nothing has changed");
    let entries = [
        (serial("5B36"), None),
        (Target::Node("n1".to_owned()), None),
    ];
    let put = |entries: &[_]| Delta::Put(revocations(entries));
    bench.take(Watched::Revocations, put(&entries));
    let second = written(&mut bench, Method::PUT);
    assert_eq!(number(&second), seconds + 1);
    assert_eq!(bench.line(), "");
    assert!(matches!(
        bench.told[..],
        [.., Kept::RevocationListPublished { revoked: 1 }]
    ));
    // What has ended long ago is left out, which makes it the list of before.
    let ended = [(serial("5B36"), Some(now() - DAY * 8))];
    bench.take(Watched::Revocations, put(&ended));
    let third = written(&mut bench, Method::PUT);
    assert_eq!(third["data"]["digest"], first["data"]["digest"]);
    let fresh = [(serial("5B36"), Some(now() - DAY * 6))];
    bench.take(Watched::Revocations, put(&fresh));
    let fourth = written(&mut bench, Method::PUT);
    assert_eq!(fourth["data"]["digest"], second["data"]["digest"]);
}

#[test]
fn a_list_is_renewed_long_before_it_ends() {
    let mut bench = Bench::new(RevocationListPublisher::new(issuer()), &[]);
    let first = written(&mut bench, Method::POST);
    let end = meta::parse_time(first["data"]["nextUpdate"].as_str().unwrap());
    assert_eq!(end, Some(now() + DAY * 7));
    bench.pass(DAY - SECOND);
    assert_eq!(bench.line(), "");
    bench.pass(HOUR);
    let number = |object: &Value| {
        object["data"]["number"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let second = written(&mut bench, Method::PUT);
    assert!(number(&second) > number(&first));
    // Made by a clock that was ahead and is set right: nobody would take it yet.
    bench.pass(-DAY * 20);
    bench.machine.look_again(bench.moment.now.monotonic);
    assert!(number(&written(&mut bench, Method::PUT)) > number(&second));
}

#[test]
fn what_could_not_be_written_is_tried_again() {
    let mut bench = Bench::new(RevocationListPublisher::new(issuer()), &[]);
    assert_eq!(bench.line(), format!("POST {LIST}"));
    bench.answer(&refused(403, None));
    assert!(bench.waits().is_some());
    let Some(Kept::RevocationListFailed { error }) = bench.told.last() else {
        panic!("{:?}", bench.told);
    };
    assert!(error.contains("docs/revoke.md"), "{error}");
    bench.pass(SECOND);
    assert_eq!(bench.line(), format!("POST {LIST}"));
}

#[test]
fn a_list_that_somebody_changed_is_made_again() {
    for (section, key) in [
        ("data", "ca.crl"),
        ("binaryData", "ca.crl.der"),
        ("data", "contentDigest"),
    ] {
        let mut bench = Bench::new(RevocationListPublisher::new(issuer()), &[]);
        let mut list = written(&mut bench, Method::POST);
        assert_eq!(bench.line(), "");
        assert!(list[section][key].is_string(), "{section} {key}");
        list[section][key] = "x".into();
        list["metadata"]["resourceVersion"] = "8".into();
        bench.take(Watched::RevocationList, Delta::Put(list));
        let repaired = written(&mut bench, Method::PUT);
        assert_ne!(repaired[section][key], "x", "{section} {key}");
        assert_eq!(bench.line(), "", "once");
    }
}
