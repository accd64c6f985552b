//! Good certificates that are refused, and how the list is followed.

use super::*;
use everleaf_api::revocation::{Entry, NAME, NAMESPACE, Revocations, Target};
use serde_json::json;

const NODE: &[(DnType, &str)] = &[
    (DnType::OrganizationName, "system:nodes"),
    (DnType::CommonName, "system:node:n1"),
];

fn list(target: Target, since: &str) -> serde_json::Value {
    let mut revocations = Revocations::default();
    let entry = Entry {
        at: Some(at(since)),
        ..Entry::default()
    };
    revocations.put(target, entry);
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": revocations.to_data(),
    })
}

#[test]
fn whoever_is_revoked_is_nobody_from_the_next_request_on() {
    let ca = Authority::root("ca");
    let authenticator = trusting(&ca.pem());
    let (shelf, leaf) = (Shelf::default(), ca.leaf(NODE, |_| ()));
    let other = ca.leaf(NODE, |_| ());
    let read = everleaf_pki::Leaf::from_der(&leaf).expect("a certificate");
    let ask = |leaf: &[u8], authorization: Option<&str>| {
        let mut headers = HeaderMap::new();
        if let Some(text) = authorization {
            headers.insert(AUTHORIZATION, HeaderValue::from_str(text).expect("a value"));
        }
        let peer = Peer {
            certificates: Arc::new(vec![leaf.to_vec()]),
            ..Peer::default()
        };
        let answer = authenticator.authenticate(&headers, "/", &peer, &shelf, at(MIDYEAR));
        let is_revoked = authenticator.has_revoked(&peer, &shelf);
        let answer = answer.map(|user| user.name).map_err(|status| status.code);
        assert_eq!(is_revoked, answer.as_deref() != Ok("system:node:n1"));
        answer
    };
    let good = || Ok("system:node:n1".to_owned());
    assert_eq!(ask(&leaf, None), good());
    assert_eq!(authenticator.revocations_revision(&shelf, at(MIDYEAR)), 0);
    let mut seen = 0;
    let serial = Target::Serial(read.serial().to_string());
    let credential = Target::Credential(read.fingerprint().to_string());
    for target in [serial, credential] {
        shelf.put("configmaps", list(target, MIDYEAR));
        let revision = authenticator.revocations_revision(&shelf, at(MIDYEAR));
        assert_ne!(std::mem::replace(&mut seen, revision), revision);
        assert_eq!(ask(&leaf, None), Err(401));
        assert_eq!(ask(&leaf, None), Err(401), "also when it is remembered");
        assert_eq!(
            ask(&other, None),
            good(),
            "another certificate of that node"
        );
        // A token proves something else.
        assert_eq!(ask(&leaf, Some("Bearer letmein")), Ok("carol".to_owned()));
    }
    // They begin on the first of January, and so were issued five minutes later.
    for (since, expected) in [
        ("2030-01-01T00:04:59Z", good()),
        ("2030-01-01T00:05:00Z", Err(401)),
    ] {
        shelf.put("configmaps", list(Target::Node("n1".to_owned()), since));
        assert_eq!(ask(&leaf, None), expected);
        assert_eq!(ask(&other, None), expected);
    }
    shelf.remove("configmaps", NAMESPACE, NAME);
    assert_eq!(ask(&leaf, None), good());
}
