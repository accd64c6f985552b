//! What is decided about one object or failure.

use super::*;
use crate::csr_api::conversation::{RESOURCE, facts, refusal, verdict};

/// The verdicts of client-go's `WaitForCertificate`.
#[test]
fn an_object_says_one_thing() {
    let ca = Ca::new("ca");
    let pem = ca.node("n1", 1).chain().to_pem();
    let (approved, denied, failed) = (csr::APPROVED, csr::DENIED, csr::FAILED);
    let cases: &[(&str, &[&str], &str, &str)] = &[
        ("u", &[], "", "wait"),
        ("u", &[approved], "", "wait"),
        ("u", &[approved], &pem, "issued"),
        ("u", &[], &pem, "wait"),
        ("u", &["Other"], &pem, "wait"),
        ("u", &[approved], "no certificate", "unreadable"),
        ("u", &[denied], "", "denied"),
        ("u", &[approved, failed], "", "failed"),
        ("u", &[approved, denied], &pem, "denied"),
        ("other", &[approved], &pem, "gone"),
    ];
    for (uid, conditions, pem, expected) in cases {
        let pending = pending(Some("u"));
        let object = object(&pending, uid, conditions, pem);
        let outcome = verdict(&object, &pending, None);
        assert_eq!(word(outcome.as_ref()), *expected, "{uid} {conditions:?}");
    }
    let pending = pending(None);
    let object = object(&pending, "any", &[approved], &pem);
    assert_eq!(word(verdict(&object, &pending, None).as_ref()), "issued");
}

#[test]
fn nonsense_objects_are_waited_on() {
    let pending = pending(None);
    for nonsense in [
        json!(null),
        json!([]),
        json!({"status": 5}),
        json!({"metadata": "x"}),
    ] {
        assert_eq!(word(verdict(&nonsense, &pending, None).as_ref()), "wait");
    }
}

/// What `ensureCompatible` looks at (client-go `util/certificate/csr/csr.go`): facts only, no
/// judgement.
#[test]
fn the_facts_about_an_existing_request() {
    let ca = Ca::new("ca");
    let ours = pending(None);
    let facts_of = |object: Value| {
        let answer = Answer {
            object,
            server_time: None,
        };
        facts(&answer, &ours)
    };
    let same = facts_of(object(&ours, "u", &[], ""));
    assert!(same.has_same_key && same.has_same_subject && same.has_same_signer);
    assert!(!same.is_refused);
    assert_eq!((same.uid.as_str(), same.certificate_not_after), ("u", None));

    let theirs = facts_of(object(&pending(None), "u", &[csr::DENIED], ""));
    assert!(!theirs.has_same_key && theirs.has_same_subject && theirs.is_refused);

    let mut other_signer = object(&ours, "u", &[], "");
    other_signer["spec"]["signerName"] = json!("example.com/other");
    assert!(!facts_of(other_signer).has_same_signer);
    let mut no_signer = object(&ours, "u", &[], "");
    no_signer["spec"]["signerName"] = json!("");
    assert!(facts_of(no_signer).has_same_signer);

    let credential = ca.node("n1", 1);
    let pem = credential.chain().to_pem();
    let issued = facts_of(object(&ours, "u", &[csr::APPROVED], &pem));
    assert_eq!(
        issued.certificate_not_after,
        Some(credential.leaf().not_after())
    );

    let nonsense = facts_of(json!({}));
    assert!(!nonsense.has_same_key && !nonsense.has_same_subject);
}

#[test]
fn failures_become_the_classes_that_rotation_acts_on() {
    let of = |class, message: &str, retry_after: Option<u64>| {
        let failure = Failure {
            class,
            message: message.to_owned(),
            retry_after: retry_after.map(Duration::from_secs),
            server_time: None,
        };
        refusal("create", RESOURCE, failure).class
    };
    let limited = |seconds: Option<u64>| RefusalClass::RateLimited {
        retry_after: seconds.map(Duration::from_secs),
    };
    let forbidden = RefusalClass::Forbidden {
        verb: "create",
        resource: "certificatesigningrequests",
    };
    for (class, message, retry_after, expected) in [
        (
            FailureClass::Unauthorized,
            "",
            None,
            RefusalClass::Unauthorized,
        ),
        (FailureClass::Forbidden, "", None, forbidden),
        (FailureClass::NotFound, "", None, RefusalClass::NotServed),
        (FailureClass::TooManyRequests, "", Some(7), limited(Some(7))),
        (FailureClass::TooManyRequests, "", None, limited(None)),
        (FailureClass::ServerError, "", Some(7), limited(Some(7))),
        (FailureClass::ServerError, "", None, RefusalClass::Other),
        (FailureClass::Conflict, "", None, RefusalClass::Other),
        (FailureClass::Invalid, "x", None, RefusalClass::Invalid),
        (FailureClass::Rejected, "x", None, RefusalClass::Invalid),
        (
            FailureClass::Invalid,
            "spec.usages: Unsupported value",
            None,
            RefusalClass::UsagesRejected,
        ),
        (FailureClass::NotAnApi, "", None, RefusalClass::Unexpected),
        (
            FailureClass::Unreachable,
            "",
            None,
            RefusalClass::Unreachable,
        ),
        (
            FailureClass::ServerCertificateDates,
            "",
            None,
            RefusalClass::Unreachable,
        ),
    ] {
        assert_eq!(
            of(class, message, retry_after),
            expected,
            "{class:?} {message}"
        );
    }
}

#[test]
fn pauses_double_up_to_a_limit_and_the_server_may_ask_for_more() {
    let mut failure = Failure {
        class: FailureClass::ServerError,
        message: String::new(),
        retry_after: None,
        server_time: None,
    };
    let mut pause = Patience::USUAL.pause_min;
    let mut pauses = Vec::new();
    for _ in 0..7 {
        pause = Patience::USUAL.after(&failure, pause);
        pauses.push(pause.as_secs());
    }
    assert_eq!(pauses, [2, 4, 8, 16, 30, 30, 30]);
    for (asked, expected) in [(0, 1), (17, 17), (9000, 30)] {
        failure.retry_after = Some(Duration::from_secs(asked));
        assert_eq!(Patience::USUAL.after(&failure, pause).as_secs(), expected);
    }
}
