use super::*;
use everleaf_pki::{Fingerprint, Serial};
use everleaf_rotation::notice::Cause;
use everleaf_rotation::{RequestUid, Standing};
use jiff::{SignedDuration, Timestamp};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn leaf() -> LeafSummary {
    LeafSummary {
        serial: Serial::new(&[1]),
        fingerprint: Fingerprint::new([0; 32]),
        not_before: at(0),
        not_after: at(100),
        deadline: at(80),
    }
}

#[test]
fn what_is_said_is_so() {
    let name = || RequestName::new("r");
    let submitted = |existed| {
        let notice = Notice::RequestSubmitted {
            name: name(),
            uid: RequestUid::new("u"),
            credential: CredentialChoice::Bootstrap,
            existed,
        };
        of(&CertificateId::kubelet_client(), Manner::default(), &notice).text
    };
    assert!(submitted(true).starts_with("certificate signing request already exists, reusing it"));
    assert!(submitted(false).starts_with("certificate signing request created, "));
    // Whether the server has it is not known yet.
    let resumed = of(
        &CertificateId::kubelet_client(),
        Manner::default(),
        &Notice::RequestResumed { name: name() },
    )
    .text;
    assert!(!resumed.contains("already exists"), "{resumed}");
    let began = Notice::AttemptBegan {
        cause: Cause::Template,
        lack: Some("DNS name x is missing".to_owned()),
    };
    assert_eq!(
        of(&CertificateId::kubelet_serving(), Manner::default(), &began).text,
        "Rotating certificates: the certificate is not what is wanted: DNS name x is missing"
    );
}

#[test]
fn nothing_is_promised_that_does_not_come() {
    let once = Manner {
        is_once: true,
        ..Manner::default()
    };
    let wait = Duration::from_secs(2);
    let failed = Notice::Failed {
        step: FailedStep::Submit,
        class: None,
        message: "no".to_owned(),
        failures: 1,
        wait,
    };
    let stuck = Notice::Stuck {
        reason: StuckReason::NoCredential,
        leaf: None,
        wait,
    };
    for (notice, promise) in [
        (failed, ", next attempt in 2s"),
        (stuck, "; trying again in 2s"),
    ] {
        let text = of(&CertificateId::kubelet_client(), Manner::default(), &notice).text;
        let sober = of(&CertificateId::kubelet_client(), once, &notice).text;
        assert_eq!(text, format!("{sober}{promise}"));
    }
    let without_renewal = Manner {
        is_without_renewal: true,
        ..Manner::default()
    };
    let (off, on) = (
        without_renewal.undertaking(),
        Manner::default().undertaking(),
    );
    assert!(
        off.ends_with("certificate rotation is off") && on.ends_with("certificate rotation is on")
    );
    let installed = Notice::Installed {
        replaced: None,
        leaf: leaf(),
    };
    let text = of(
        &CertificateId::kubelet_client(),
        without_renewal,
        &installed,
    )
    .text;
    let expected = "; it is good until 1970-01-01T00:01:40Z, and is not renewed before";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn a_refused_name_is_told_with_who_refused_it() {
    let decided = |condition, names| {
        let notice = Notice::RequestDecided {
            name: RequestName::new("r"),
            condition,
            reason: "R".to_owned(),
            message: "a_b is bad".to_owned(),
            names,
            wait: Duration::from_secs(300),
        };
        of(
            &CertificateId::kubelet_serving(),
            Manner::default(),
            &notice,
        )
        .text
    };
    let left_out = || RefusedNames::LeftOut(vec!["a_b".to_owned()]);
    assert_eq!(
        decided("Denied", left_out()),
        "an approver denied the certificate signing request because of a_b, reason: \"R\", message: \"a_b is bad\"; \
         the next request leaves it out, until the node's addresses change or the agent is restarted"
    );
    assert!(decided("Failed", left_out()).starts_with("the signer failed the"));
    let all = decided("Denied", RefusedNames::All);
    assert!(
        all.contains("nothing to ask for without them; a new one may be made in 5m"),
        "{all}"
    );
}

/// What people search for in a kubelet's log is found in ours.
#[test]
fn the_kubelets_search_words_are_there() {
    let leaf = leaf();
    let name = RequestName::new("node-csr-x");
    let cases = [
        (
            Notice::AttemptBegan {
                cause: Cause::Deadline,
                lack: None,
            },
            "Rotating certificates",
        ),
        (
            Notice::RequestSubmitted {
                name: name.clone(),
                uid: RequestUid::new("u"),
                credential: CredentialChoice::Bootstrap,
                existed: false,
            },
            "request created",
        ),
        (
            Notice::Issued {
                name: name.clone(),
                leaf: leaf.clone(),
                after: SignedDuration::from_millis(61_500),
            },
            "is issued, after 62s",
        ),
        (
            Notice::RequestUndecided { name: name.clone() },
            "was not signed: timed out waiting",
        ),
        (
            Notice::RequestDecided {
                name,
                condition: "Denied",
                reason: "R".to_owned(),
                message: "no".to_owned(),
                names: RefusedNames::Unnamed,
                wait: Duration::from_secs(300),
            },
            "is denied, reason: \"R\", message: \"no\"; a new one may be made in 5m",
        ),
        (
            Notice::Installed {
                replaced: Some((leaf.clone(), SignedDuration::ZERO)),
                leaf: leaf.clone(),
            },
            "rotation detected, shutting down client connections",
        ),
        (
            Notice::Loaded {
                standing: Standing::Fresh,
                leaf: Some(leaf),
                pending: None,
            },
            "Loading cert/key pair",
        ),
        (
            Notice::Waiting {
                deadline: Some(at(80)),
            },
            "rotation deadline 1970-01-01T00:01:20Z",
        ),
    ];
    for (notice, words) in cases {
        let text = of(&CertificateId::kubelet_client(), Manner::default(), &notice).text;
        assert!(text.contains(words), "{text:?} lacks {words:?}");
    }
}
