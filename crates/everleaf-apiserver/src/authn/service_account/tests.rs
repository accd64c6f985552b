//! Tokens: made, read again, and refused for each of the reasons there are.

use super::*;
use crate::fixture::Shelf;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use everleaf_pki::KeyAlgorithm;
use serde_json::json;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn config(algorithm: KeyAlgorithm) -> ServiceAccountConfig {
    ServiceAccountConfig {
        issuer: ISSUER.to_owned(),
        audiences: Vec::new(),
        signing_key: Some(Arc::new(PrivateKey::generate(algorithm).unwrap())),
        verification_keys: Vec::new(),
    }
}

fn accounts() -> ServiceAccounts {
    ServiceAccounts::new(config(KeyAlgorithm::EcdsaP256)).unwrap()
}

fn reference(name: &str, uid: &str) -> Reference {
    Reference {
        name: name.to_owned(),
        uid: uid.to_owned(),
    }
}

fn claims() -> Claims {
    let issued_at = now().as_second();
    Claims {
        audiences: vec![ISSUER.to_owned()],
        issued_at,
        not_before: issued_at,
        expires: issued_at + 600,
        id: "j1".to_owned(),
        namespace: "team".to_owned(),
        account: reference("robot", "u1"),
        binding: None,
    }
}

fn shelf() -> Shelf {
    let shelf = Shelf::default();
    for (resource, namespace, name, uid) in [
        ("serviceaccounts", "team", "robot", "u1"),
        ("secrets", "team", "s", "u2"),
        ("nodes", "", "n1", "u3"),
    ] {
        shelf.put(
            resource,
            json!({"metadata": {"namespace": namespace, "name": name, "uid": uid}}),
        );
    }
    shelf
}

fn judge(
    accounts: &ServiceAccounts,
    token: &str,
    shelf: &Shelf,
    seconds: i64,
) -> Result<(User, Vec<String>), Refusal> {
    let at = now() + SignedDuration::from_secs(seconds);
    accounts.authenticate(token, accounts.audiences(), shelf, at)
}

#[test]
fn every_sort_of_key_signs_what_it_then_believes() {
    for algorithm in [
        KeyAlgorithm::EcdsaP256,
        KeyAlgorithm::EcdsaP384,
        KeyAlgorithm::EcdsaP521,
        KeyAlgorithm::Rsa(2048),
    ] {
        let accounts = ServiceAccounts::new(config(algorithm)).unwrap();
        let token = accounts.issue(&claims()).unwrap().unwrap();
        let (user, meant) = judge(&accounts, &token, &shelf(), 0).unwrap();
        assert_eq!(user.name, "system:serviceaccount:team:robot");
        assert_eq!(user.uid, "u1");
        assert_eq!(
            user.groups,
            ["system:serviceaccounts", "system:serviceaccounts:team"]
        );
        assert_eq!(
            user.extra["authentication.kubernetes.io/credential-id"],
            ["JTI=j1"]
        );
        assert_eq!(meant, [ISSUER]);
    }
    let Err(error) = ServiceAccounts::new(config(KeyAlgorithm::Ed25519)) else {
        panic!("Kubernetes knows no such tokens");
    };
    assert!(error.to_string().contains("use ECDSA"), "{error}");
}

#[test]
fn a_token_lasts_as_long_as_it_says_give_or_take_a_minute() {
    let accounts = accounts();
    let token = accounts.issue(&claims()).unwrap().unwrap();
    let check = |seconds: i64, expected: Result<(), &str>| {
        let found = judge(&accounts, &token, &shelf(), seconds).map(drop);
        let expected = expected.map_err(|fault| Refusal::Bad(fault.to_owned()));
        assert_eq!(found, expected, "{seconds}");
    };
    check(-61, Err("is not valid yet"));
    check(-60, Ok(()));
    check(660, Ok(()));
    check(661, Err("has expired"));
    let ahead = Claims {
        not_before: now().as_second(),
        issued_at: now().as_second() + 100,
        ..claims()
    };
    let token = accounts.issue(&ahead).unwrap().unwrap();
    let found = judge(&accounts, &token, &shelf(), 0);
    assert_eq!(found, bad("is issued in the future"));
}

#[test]
fn a_token_ends_with_its_account_and_with_what_it_is_bound_to() {
    let accounts = accounts();
    let check = |binding: Option<Binding>, resource: &'static str, namespace: &str, name: &str| {
        let claims = Claims {
            binding,
            ..claims()
        };
        let token = accounts.issue(&claims).unwrap().unwrap();
        let shelf = shelf();
        let (user, _) = judge(&accounts, &token, &shelf, 0).unwrap();
        let object = |uid: &str, deleted: Option<&str>| {
            let mut object =
                json!({"metadata": {"namespace": namespace, "name": name, "uid": uid}});
            if let Some(deleted) = deleted {
                object["metadata"]["deletionTimestamp"] = deleted.into();
            }
            object
        };
        let uid = match resource {
            "serviceaccounts" => "u1",
            "secrets" => "u2",
            _ => "u3",
        };
        let ask = || {
            judge(&accounts, &token, &shelf, 0)
                .map(drop)
                .map_err(|refusal| refusal.to_string())
        };
        shelf.put(resource, object(uid, Some("2029-12-31T23:59:00Z")));
        assert_eq!(ask(), Ok(()), "deleted a minute ago");
        shelf.put(resource, object(uid, Some("2029-12-31T23:58:59Z")));
        assert!(ask().unwrap_err().contains("has been deleted"));
        shelf.put(resource, object("other", None));
        assert!(ask().unwrap_err().contains("another one"));
        shelf.remove(resource, namespace, name);
        assert!(ask().unwrap_err().contains("is gone"));
        user
    };
    check(None, "serviceaccounts", "team", "robot");
    let secret = || Some(Binding::Secret(reference("s", "u2")));
    check(secret(), "serviceaccounts", "team", "robot");
    check(secret(), "secrets", "team", "s");
    let user = check(
        Some(Binding::Node(reference("n1", "u3"))),
        "nodes",
        "",
        "n1",
    );
    assert_eq!(user.extra["authentication.kubernetes.io/node-name"], ["n1"]);
    assert_eq!(user.extra["authentication.kubernetes.io/node-uid"], ["u3"]);
}

#[test]
fn a_token_is_good_to_whom_it_is_meant_for() {
    let accounts = accounts();
    let two = Claims {
        audiences: vec!["vault".to_owned(), "other".to_owned()],
        ..claims()
    };
    let token = accounts.issue(&two).unwrap().unwrap();
    assert!(matches!(
        judge(&accounts, &token, &shelf(), 0),
        Err(Refusal::Bad(_))
    ));
    let asked = ["vault".to_owned(), "x".to_owned()];
    let (_, meant) = accounts
        .authenticate(&token, &asked, &shelf(), now())
        .unwrap();
    assert_eq!(meant, ["vault"]);
}

/// `token` with a part replaced.
fn with_part(token: &str, part: usize, text: &[u8]) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts[part] = URL_SAFE_NO_PAD.encode(text);
    parts.join(".")
}

#[test]
fn what_was_tampered_with_or_is_not_ours() {
    let ours = accounts();
    let shelf = shelf();
    let token = ours.issue(&claims()).unwrap().unwrap();
    let check = |token: &str, expected: Refusal| {
        assert_eq!(judge(&ours, token, &shelf, 0), Err(expected), "{token}");
    };
    let wrong = || Refusal::Bad("invalid signature".to_owned());
    let no_key = || Refusal::Bad("invalid signature, no keys found".to_owned());
    for text in [
        "",
        "a",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "abcdef.0123456789abcdef",
        &"x".repeat(20_000),
    ] {
        check(text, Refusal::NotOurs);
    }
    // Another payload under the same signature.
    let promoted = Claims {
        account: reference("admin", "u9"),
        ..claims()
    };
    let payload = promoted.to_value(ISSUER).to_string();
    check(&with_part(&token, 1, payload.as_bytes()), wrong());
    let mut signature = token.clone();
    let last = if signature.ends_with('A') { 'Q' } else { 'A' };
    signature.pop();
    signature.push(last);
    assert!(judge(&ours, &signature, &shelf, 0).is_err());
    // Another algorithm, none, and extensions.
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"ES384"}"#,
        "{}",
    ] {
        check(&with_part(&token, 0, header.as_bytes()), no_key());
    }
    let critical = br#"{"alg":"ES256","crit":["b64"],"b64":false}"#;
    let refused = judge(&ours, &with_part(&token, 0, critical), &shelf, 0);
    assert!(refused.unwrap_err().to_string().contains("extensions"));
    // A token of the same words, signed by somebody else; and of another issuer, whoever signed it.
    let theirs = accounts();
    check(&theirs.issue(&claims()).unwrap().unwrap(), no_key());
    let key = ours.signing_key.as_ref().unwrap();
    let elsewhere = key.sign(&claims().to_value("https://example.com")).unwrap();
    check(&elsewhere, Refusal::NotOurs);
    // Signed, but not what we sign.
    let mut pod = claims().to_value(ISSUER);
    pod["kubernetes.io"]["pod"] = json!({"name": "p", "uid": "u"});
    check(&key.sign(&pod).unwrap(), Refusal::NotOurs);
}

#[test]
fn a_key_that_was_replaced_still_counts() {
    let old = config(KeyAlgorithm::EcdsaP256);
    let public = old.signing_key.as_ref().unwrap().public_key().clone();
    let token = ServiceAccounts::new(old)
        .unwrap()
        .issue(&claims())
        .unwrap()
        .unwrap();
    let new = ServiceAccounts::new(ServiceAccountConfig {
        verification_keys: vec![public],
        ..config(KeyAlgorithm::Rsa(2048))
    })
    .unwrap();
    judge(&new, &token, &shelf(), 0).unwrap();
    let only_reads = ServiceAccounts::new(ServiceAccountConfig {
        signing_key: None,
        ..config(KeyAlgorithm::EcdsaP256)
    })
    .unwrap();
    assert!(only_reads.issue(&claims()).is_none());
}

#[test]
fn claims_are_what_kubernetes_writes() {
    let bound = Claims {
        binding: Some(Binding::Node(reference("n1", "u3"))),
        ..claims()
    };
    let payload = bound.to_value(ISSUER);
    assert_eq!(
        payload,
        json!({"iss": ISSUER, "sub": "system:serviceaccount:team:robot", "aud": [ISSUER], "jti": "j1",
            "iat": 1_893_456_000, "nbf": 1_893_456_000, "exp": 1_893_456_600,
            "kubernetes.io": {"namespace": "team", "serviceaccount": {"name": "robot", "uid": "u1"},
                "node": {"name": "n1", "uid": "u3"}}})
    );
    assert_eq!(Claims::read(&payload), Some(bound));
    let mut loose = claims().to_value(ISSUER);
    loose["aud"] = json!("one");
    loose["exp"] = json!(1_893_456_600.9);
    loose["kubernetes.io"]["warnafter"] = json!(1);
    let read = Claims::read(&loose).unwrap();
    assert_eq!(
        (read.audiences, read.expires),
        (vec!["one".to_owned()], 1_893_456_600)
    );
    for (pointer, member) in [
        ("", "aud"),
        ("", "exp"),
        ("/kubernetes.io", "serviceaccount"),
    ] {
        let mut lacking = claims().to_value(ISSUER);
        lacking
            .pointer_mut(pointer)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(member);
        assert_eq!(Claims::read(&lacking), None, "{member}");
    }
}

#[test]
fn keys_are_told_as_json_web_keys() {
    let rsa = PrivateKey::generate(KeyAlgorithm::Rsa(2048)).unwrap();
    let accounts = ServiceAccounts::new(ServiceAccountConfig {
        verification_keys: vec![rsa.public_key().clone()],
        ..config(KeyAlgorithm::EcdsaP521)
    })
    .unwrap();
    let set = accounts.key_set();
    let lengths = |index: usize, members: [&str; 2]| {
        members.map(|member| {
            let text = set["keys"][index][member].as_str().unwrap();
            URL_SAFE_NO_PAD.decode(text).unwrap().len()
        })
    };
    assert_eq!(set["keys"][0]["kty"], "RSA");
    assert_eq!(set["keys"][0]["e"], "AQAB");
    assert_eq!(lengths(0, ["n", "e"]), [256, 3]);
    assert_eq!(set["keys"][1]["crv"], "P-521");
    assert_eq!(lengths(1, ["x", "y"]), [66, 66]);
    let token = accounts.issue(&claims()).unwrap().unwrap();
    let header = URL_SAFE_NO_PAD
        .decode(token.split('.').next().unwrap())
        .unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header["kid"], set["keys"][1]["kid"]);
    let provider = accounts.provider_document("https://h/openid/v1/jwks");
    assert_eq!(provider["issuer"], ISSUER);
    assert_eq!(
        provider["id_token_signing_alg_values_supported"],
        json!(["ES512", "RS256"])
    );
}
