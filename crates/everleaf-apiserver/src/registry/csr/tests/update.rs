//! Changes through the three endpoints.

use super::*;

#[test]
fn cases_22_to_28_main_endpoint() {
    let all = with(&["Approved", "Failed"], &certificate_pem());
    assert_eq!(update("", &all, &all), NONE, "22");
    let mut odd = with(&["", "Approved", "Denied", "Denied"], "not PEM");
    odd["spec"]["usages"] = json!(["x", "x", "client auth"]);
    odd["spec"]["signerName"] = "kubernetes.io/legacy-unknown".into();
    let mut changed = odd.clone();
    changed["metadata"]["finalizers"] = json!(["example.com/x"]);
    assert_eq!(update("", &changed, &odd), NONE, "23, 24");
    for kind in ["Approved", "Denied"] {
        assert_eq!(
            update("", &with(&[kind], ""), &good()),
            FORBIDDEN,
            "25 {kind}"
        );
    }
    for kind in ["Approved", "Denied", "Failed"] {
        assert_eq!(
            update("", &good(), &with(&[kind], "")),
            FORBIDDEN,
            "26 {kind}"
        );
    }
    assert_eq!(update("", &with(&["Failed"], ""), &good()), NONE, "27");
    let (errors, stored) = put("", &with(&["Failed"], &certificate_pem()), &good());
    assert_eq!(
        (errors, read::is_empty(stored.get("status"))),
        (vec![], true),
        "27 over HTTP"
    );
    assert_eq!(
        update("", &with(&[], &certificate_pem()), &good()),
        ["status.certificate Forbidden"],
        "28"
    );
}

#[test]
fn the_main_endpoint_reverts_spec_and_status_and_keeps_metadata() {
    let old = with(&["Approved"], "");
    let mut new = with(&["Denied"], "x");
    new["spec"] = json!({"signerName": "evil.com/x", "username": "root"});
    new["metadata"]["labels"] = json!({"a": "b"});
    let (errors, stored) = put("", &new, &old);
    assert_eq!(errors, NONE);
    assert_eq!(stored["spec"], old["spec"]);
    assert_eq!(stored["status"], old["status"]);
    assert_eq!(stored["metadata"]["labels"], json!({"a": "b"}));
    for endpoint in ["approval", "status"] {
        assert_eq!(
            put(endpoint, &new, &old).1["spec"],
            old["spec"],
            "{endpoint}"
        );
    }
}

#[test]
fn cases_29_to_34_status_endpoint() {
    for kind in ["Approved", "Denied"] {
        assert_eq!(
            put("status", &with(&[kind], ""), &good()).0,
            FORBIDDEN,
            "29 {kind}"
        );
    }
    for kind in ["Approved", "Denied", "Failed"] {
        assert_eq!(
            put("status", &good(), &with(&[kind], "")).0,
            FORBIDDEN,
            "30 {kind}"
        );
    }
    assert_eq!(put("status", &with(&["Failed"], ""), &good()).0, NONE, "31");
    let certificate = certificate_pem();
    let (errors, stored) = put("status", &with(&[], &certificate), &good());
    assert_eq!(errors, NONE, "32");
    assert_eq!(
        stored["status"]["certificate"],
        STANDARD.encode(&certificate),
        "32"
    );
    let invalid = ["status.certificate Invalid"];
    assert_eq!(
        put("status", &with(&[], "invalid"), &good()).0,
        invalid,
        "33"
    );
    let issued = with(&[], &certificate);
    let forbidden = ["status.certificate Forbidden"];
    let other = format!("{certificate}{certificate}");
    assert_eq!(
        put("status", &with(&[], &other), &issued).0,
        forbidden,
        "34"
    );
    assert_eq!(put("status", &good(), &issued).0, forbidden, "34: clearing");
}

#[test]
fn cases_35_to_38_approval_endpoint() {
    for kind in ["Approved", "Denied"] {
        assert_eq!(
            put("approval", &with(&[kind], ""), &good()).0,
            NONE,
            "35 {kind}"
        );
    }
    for kind in ["Approved", "Denied", "Failed"] {
        assert_eq!(
            put("approval", &good(), &with(&[kind], "")).0,
            FORBIDDEN,
            "36 {kind}"
        );
    }
    assert_eq!(
        put("approval", &with(&["Failed"], ""), &good()).0,
        NONE,
        "37"
    );
    let new = with(&["Approved"], &certificate_pem());
    assert_eq!(
        update("approval", &new, &good()),
        ["status.certificate Forbidden"],
        "38"
    );
    let (errors, stored) = put("approval", &new, &good());
    assert_eq!(errors, NONE, "38 over HTTP");
    assert_eq!(stored["status"].get("certificate"), None, "38 over HTTP");
    let mut invented = with(&[], "");
    invented["status"]["conditions"] =
        json!([{"type": "ApprovalPatch", "status": "True", "reason": "e2e"}]);
    let (errors, stored) = put("approval", &invented, &good());
    assert_eq!(errors, NONE, "conformance step C12");
    assert_eq!(stored["status"]["conditions"][0]["lastUpdateTime"], NOW);
}

#[test]
fn approval_may_rewrite_a_decision_but_not_flip_it() {
    let old = with(&["Approved"], "");
    let mut forced = old.clone();
    forced["status"]["conditions"][0]["message"] = "again".into();
    let (errors, stored) = put("approval", &forced, &old);
    assert_eq!(errors, NONE);
    assert_eq!(stored["status"]["conditions"][0]["message"], "again");
    let mut flipped = old.clone();
    flipped["status"]["conditions"][0]["status"] = "False".into();
    assert_eq!(
        put("approval", &flipped, &old).0,
        ["status.conditions[0].status NotSupported"]
    );
    assert_eq!(
        update("", &forced, &old),
        FORBIDDEN,
        "elsewhere not even that"
    );
    let (errors, stored) = put("status", &flipped, &old);
    assert_eq!(
        (errors, &stored["status"]),
        (vec![], &old["status"]),
        "/status undoes it"
    );
}

#[test]
fn cases_39_to_43_conditions() {
    for kind in ["Approved", "Denied", "Failed"] {
        let same = with(&[kind], "");
        assert_eq!(update("", &same, &same), NONE, "39 {kind}");
    }
    let issued = with(&["Approved"], &certificate_pem());
    assert_eq!(update("", &issued, &issued), NONE, "40");
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("41", &[""], &["status.conditions[0].type Required"]),
        (
            "42",
            &["Approved", "Denied"],
            &["status.conditions Invalid"],
        ),
        (
            "42",
            &["Denied", "Approved"],
            &["status.conditions Invalid"],
        ),
        (
            "43",
            &["Approved", "Approved"],
            &["status.conditions[1].type Duplicate"],
        ),
        (
            "43",
            &["X", "Y", "X"],
            &["status.conditions[2].type Duplicate"],
        ),
    ];
    for (case, kinds, expected) in cases {
        let object = with(kinds, "");
        assert_eq!(
            put("approval", &object, &good()).0,
            *expected,
            "{case} {kinds:?}"
        );
        assert_eq!(
            put("approval", &object, &object).0,
            NONE,
            "{case} {kinds:?} when stored so"
        );
    }
    for (kind, status, expected) in [
        ("Approved", "", "Required"),
        ("Approved", "False", "NotSupported"),
        ("Failed", "Unknown", "NotSupported"),
        ("X", "false", "NotSupported"),
    ] {
        let mut object = good();
        object["status"]["conditions"] = json!([{"type": kind, "status": status}]);
        let expected = format!("status.conditions[0].status {expected}");
        assert_eq!(
            put("approval", &object, &good()).0,
            [expected],
            "{kind}={status}"
        );
    }
}

#[test]
fn case_44_certificates() {
    let good_pem = certificate_pem();
    let body: String = good_pem
        .lines()
        .filter(|line| !line.starts_with("---"))
        .collect();
    let der = STANDARD.decode(&body).expect("base64");
    let twice = everleaf_pki::pem::encode("CERTIFICATE", &[der.clone(), der.clone()].concat());
    let cut = everleaf_pki::pem::encode("CERTIFICATE", &der[..der.len() - 1]);
    let junk_after =
        everleaf_pki::pem::encode("CERTIFICATE", &[der.clone(), vec![0x30, 0x00]].concat());
    // UTCTime and GeneralizedTime start with their tag and length; the first is notBefore.
    let at = der
        .windows(2)
        .position(|pair| pair == [0x17, 13])
        .expect("a date");
    let mut backwards = der.clone();
    backwards[at + 2..at + 4].copy_from_slice(b"49");
    let backwards = everleaf_pki::pem::encode("CERTIFICATE", &backwards);
    for (what, pem, sound) in [
        ("one", good_pem.clone(), true),
        ("text around", format!("hello\n{good_pem}\nbye\n"), true),
        ("two blocks", format!("{good_pem}{good_pem}"), true),
        ("two in a block", twice, true),
        ("no PEM", "garbage".to_owned(), false),
        (
            "a key",
            everleaf_pki::pem::encode("PRIVATE KEY", &der),
            false,
        ),
        (
            "a key after",
            format!(
                "{good_pem}{}",
                everleaf_pki::pem::encode("PRIVATE KEY", &der)
            ),
            false,
        ),
        (
            "headers",
            good_pem.replace("CERTIFICATE-----\nM", "CERTIFICATE-----\nA: b\n\nM"),
            false,
        ),
        ("broken base64", good_pem.replacen('M', "*", 2), false),
        (
            "empty block",
            everleaf_pki::pem::encode("CERTIFICATE", b""),
            false,
        ),
        (
            "no ASN.1",
            everleaf_pki::pem::encode("CERTIFICATE", b"hello"),
            false,
        ),
        ("cut short", cut, false),
        ("junk after", junk_after, false),
        ("dates of no use", backwards, true),
    ] {
        let object = with(&[], &pem);
        let errors = put("status", &object, &good()).0;
        let expected: &[&str] = if sound {
            &[]
        } else {
            &["status.certificate Invalid"]
        };
        assert_eq!(errors, expected, "{what}");
        assert_eq!(put("status", &object, &object).0, NONE, "{what}, unchanged");
    }
}

#[test]
fn certificates_that_were_bad_when_stored() {
    let stored_bad = with(&[], "not PEM");
    let forbidden = ["status.certificate Forbidden"];
    assert_eq!(
        put("status", &with(&[], "nor this"), &stored_bad).0,
        forbidden,
        "only that it changes is told"
    );
    let mut raw = good();
    raw["status"]["certificate"] = "!not base64!".into();
    assert_eq!(
        put("status", &raw, &good()).0,
        ["status.certificate Invalid"]
    );
}
