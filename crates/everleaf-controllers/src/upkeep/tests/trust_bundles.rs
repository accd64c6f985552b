//! The publisher of ClusterTrustBundles.

use super::*;
use crate::upkeep::trust_bundles::{API_SERVER, TrustBundlePublisher, bundle_name};
use std::collections::BTreeMap;

const V1: &str = "/apis/certificates.k8s.io/v1";
const BETA: &str = "/apis/certificates.k8s.io/v1beta1";
const KUBELETS: &str = "kubernetes.io/kubelet-serving";
/// SHA-256 of `CA`, by sha256sum.
const NAME: &str = "kubernetes.io:kube-apiserver-serving:4b650e5c4785025dee7bd65e";

fn bundle(name: &str, signer: &str, text: &str) -> Value {
    json!({
        "metadata": {"name": name, "uid": "u", "resourceVersion": "5", "labels": {"l": "kept"}},
        "spec": {"signerName": signer, "trustBundle": text},
    })
}

/// A publisher of `CA` on a server that has the API in this version, and these bundles.
fn publisher(api: &'static str, seen: &[Value]) -> Bench {
    let bundles = BTreeMap::from([(API_SERVER.to_owned(), Bundle::new("CA"))]);
    let seen: Vec<_> = seen
        .iter()
        .map(|one| (Watched::TrustBundles, one.clone()))
        .collect();
    let mut bench = Bench::new(TrustBundlePublisher::new(bundles), &seen);
    bench.take(Watched::TrustBundles, Delta::Served(api));
    bench
}

fn stored(object: &Value) -> Answer {
    Ok(Bytes::from(object.to_string()))
}

fn right() -> Value {
    bundle(NAME, API_SERVER, "CA")
}

#[test]
fn a_name_is_the_signer_and_the_text() {
    assert_eq!(bundle_name(API_SERVER, "CA"), NAME);
}

/// The right one is made before the others go; those of other signers stay.
#[test]
fn the_right_bundle_takes_the_place_of_the_others() {
    for (api, version) in [(V1, "v1"), (BETA, "v1beta1")] {
        let other = bundle("kubernetes.io:kubelet-serving:a", KUBELETS, "CA");
        let old = ["a", "b"].map(|end| {
            let name = format!("kubernetes.io:kube-apiserver-serving:{end}");
            bundle(&name, API_SERVER, "old")
        });
        let [a, b] = old.clone();
        let mut bench = publisher(api, &[other, a, b]);
        let call = bench.call().unwrap();
        assert_eq!(call.method, Method::POST);
        assert_eq!(call.path, format!("{api}/clustertrustbundles"));
        let body = call.body.unwrap();
        assert_eq!(body["apiVersion"], format!("certificates.k8s.io/{version}"));
        assert_eq!(body["kind"], "ClusterTrustBundle");
        assert_eq!(body["metadata"], json!({"name": NAME}));
        assert_eq!(body["spec"], right()["spec"]);
        bench.answer(&stored(&right()));
        for (end, answer) in [("a", done()), ("b", refused(404, None))] {
            let call = bench.call().unwrap();
            assert_eq!(call.method, Method::DELETE);
            let path =
                format!("{api}/clustertrustbundles/kubernetes.io:kube-apiserver-serving:{end}");
            assert_eq!(call.path, path);
            let body = call.body.unwrap();
            assert_eq!(
                body["preconditions"],
                json!({"uid": "u", "resourceVersion": "5"})
            );
            bench.answer(&answer);
        }
        assert_eq!(bench.waits(), None);
        assert!(matches!(
            bench.told[..],
            [Kept::TrustBundleSynced { code: 200, .. }]
        ));
    }
}

#[test]
fn one_that_was_changed_is_put_right() {
    let mut changed = right();
    changed["spec"]["trustBundle"] = "other".into();
    let mut bench = publisher(V1, &[changed]);
    let call = bench.call().unwrap();
    assert_eq!(call.method, Method::PUT);
    assert_eq!(call.path, format!("{V1}/clustertrustbundles/{NAME}"));
    let body = call.body.unwrap();
    assert_eq!(body["spec"], right()["spec"]);
    assert_eq!(body["metadata"], right()["metadata"]);
    assert_eq!(body["kind"], "ClusterTrustBundle");
}

/// Two that publish different ones never agree, and do not race for it.
#[test]
fn another_publisher_is_contradicted_only_so_often() {
    let mut bench = publisher(V1, &[right()]);
    assert_eq!(bench.line(), "");
    let name = "kubernetes.io:kube-apiserver-serving:x";
    for turn in 0..3 {
        let theirs = bundle(name, API_SERVER, "theirs");
        bench.take(Watched::TrustBundles, Delta::Put(theirs));
        if turn > 0 {
            assert_eq!(bench.waits(), Some(Duration::from_secs(10)), "turn {turn}");
            bench.pass(10 * SECOND);
        }
        let line = format!("DELETE {V1}/clustertrustbundles/{name}");
        assert_eq!(bench.line(), line, "turn {turn}");
        bench.answer(&done());
        assert_eq!(bench.waits(), None, "turn {turn}");
    }
}

#[test]
fn a_server_without_them_is_told_of_once_and_tried_when_it_has_them() {
    let mut bench = publisher("", &[]);
    assert_eq!(bench.waits(), None);
    bench.take(Watched::TrustBundles, Delta::Served(""));
    assert_eq!(bench.waits(), None);
    assert_eq!(bench.told, [Kept::TrustBundlesAbsent]);
    bench.take(Watched::TrustBundles, Delta::Served(BETA));
    assert_eq!(bench.line(), format!("POST {BETA}/clustertrustbundles"));
}

#[test]
fn a_failure_is_tried_again_and_told_with_its_cure() {
    for (code, is_told) in [(403, true), (409, false), (422, true)] {
        let mut bench = publisher(V1, &[]);
        bench.call().unwrap();
        bench.answer(&refused(code, None));
        assert!(bench.waits().is_some(), "{code}");
        assert!(
            matches!(bench.told[0], Kept::TrustBundleSynced { code: seen, .. } if seen == code)
        );
        assert_eq!(bench.told.len() == 2, is_told, "{code}");
    }
    let bundles = BTreeMap::from([(KUBELETS.to_owned(), Bundle::new("CA"))]);
    let mut bench = Bench::new(TrustBundlePublisher::new(bundles), &[]);
    bench.take(Watched::TrustBundles, Delta::Served(V1));
    let body = bench.call().unwrap().body.unwrap();
    let name = body["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("kubernetes.io:kubelet-serving:"), "{name}");
}
