use super::*;
use everleaf_pki::{Fingerprint, Serial};
use everleaf_rotation::notice::{Block, FailedStep};
use everleaf_rotation::{RequestName, RequestUid};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn leaf(not_before: i64, not_after: i64) -> LeafSummary {
    LeafSummary {
        serial: Serial::new(&[1]),
        fingerprint: Fingerprint::new([0; 32]),
        not_before: at(not_before),
        not_after: at(not_after),
        deadline: at(not_after - 10),
    }
}

fn installed(replaced_age: Option<i64>) -> Notice {
    Notice::Installed {
        replaced: replaced_age.map(|age| (leaf(0, 100), SignedDuration::from_secs(age))),
        leaf: leaf(0, 100),
    }
}

fn value(metrics: &Metrics, now: Timestamp, series: &str) -> Option<String> {
    let text = metrics.render(now);
    let line = text.lines().find_map(|line| line.strip_prefix(series))?;
    line.strip_prefix(' ').map(ToOwned::to_owned)
}

/// Before, at and after expiry (E13), and before there is anything.
fn of_kubelet() -> Metrics {
    Metrics::new([
        &CertificateId::kubelet_client(),
        &CertificateId::kubelet_serving(),
    ])
}

#[test]
fn the_ttl_is_infinite_then_counts_down_and_goes_on() {
    let metrics = of_kubelet();
    let ttl = |now| {
        value(
            &metrics,
            now,
            "kubelet_certificate_manager_client_ttl_seconds",
        )
    };
    assert_eq!(ttl(at(0)).as_deref(), Some("+Inf"));
    metrics.record(&CertificateId::kubelet_client(), &installed(None));
    for (now, expected) in [(0, "100"), (99, "1"), (100, "0"), (130, "-30")] {
        assert_eq!(ttl(at(now)).as_deref(), Some(expected), "at {now}");
    }
    let half = at(99) + SignedDuration::from_millis(500);
    assert_eq!(ttl(half).as_deref(), Some("0"), "truncated toward zero");
    metrics.record(
        &CertificateId::kubelet_client(),
        &Notice::Reverted { leaf: leaf(0, 50) },
    );
    assert_eq!(
        ttl(at(0)).as_deref(),
        Some("50"),
        "that of the certificate in use"
    );
    let server = "kubelet_certificate_manager_server_ttl_seconds";
    assert_eq!(value(&metrics, at(0), server).as_deref(), Some("+Inf"));
}

#[test]
fn failed_attempts_count_under_the_kubelets_names_and_ours() {
    let metrics = of_kubelet();
    let failed = |class| Notice::Failed {
        step: FailedStep::Submit,
        class,
        message: String::new(),
        failures: 1,
        wait: std::time::Duration::ZERO,
    };
    metrics.record(
        &CertificateId::kubelet_client(),
        &failed(Some(RefusalClass::Unreachable)),
    );
    metrics.record(&CertificateId::kubelet_client(), &failed(None));
    metrics.record(&CertificateId::kubelet_serving(), &failed(None));
    let count = |series: &str| value(&metrics, at(0), series).unwrap();
    assert_eq!(
        count("kubelet_certificate_manager_client_expiration_renew_errors"),
        "2"
    );
    assert_eq!(count("kubelet_server_expiration_renew_errors"), "1");
    let name = "everleaf_agent_rotation_attempt_errors_total";
    for (labels, expected) in [
        (r#"{kind="client",step="submit",reason="unreachable"}"#, "1"),
        (r#"{kind="client",step="submit",reason="local"}"#, "1"),
    ] {
        assert_eq!(count(&format!("{name}{labels}")), expected);
    }
}

/// Upstream case 44: the age of what was replaced, once per replacement, never for the first.
#[test]
fn replaced_serving_certificates_are_aged() {
    let metrics = of_kubelet();
    let name = "kubelet_certificate_manager_server_rotation_seconds";
    let count = |series: &str| value(&metrics, at(0), &format!("{name}{series}")).unwrap();
    metrics.record(&CertificateId::kubelet_serving(), &installed(None));
    assert_eq!(count("_count"), "0");
    metrics.record(&CertificateId::kubelet_serving(), &installed(Some(60)));
    metrics.record(&CertificateId::kubelet_serving(), &installed(Some(90_000)));
    metrics.record(
        &CertificateId::kubelet_serving(),
        &installed(Some(200_000_000)),
    );
    metrics.record(&CertificateId::kubelet_client(), &installed(Some(60)));
    for (series, expected) in [
        (r#"_bucket{le="60"}"#, "1"),
        (r#"_bucket{le="86400"}"#, "1"),
        (r#"_bucket{le="604800"}"#, "2"),
        (r#"_bucket{le="124416000"}"#, "2"),
        (r#"_bucket{le="+Inf"}"#, "3"),
        ("_sum", "200090060"),
        ("_count", "3"),
    ] {
        assert_eq!(count(series), expected, "{series}");
    }
}

#[test]
fn what_blocks_a_request_is_visible_while_it_does() {
    let metrics = of_kubelet();
    let series = |reason: &str| {
        let labels = format!(r#"{{kind="serving",reason="{reason}"}}"#);
        value(
            &metrics,
            at(0),
            &format!("everleaf_agent_request_blocked{labels}"),
        )
    };
    assert_eq!(series("no_template"), None);
    let block = Block::NoTemplate;
    metrics.record(
        &CertificateId::kubelet_serving(),
        &Notice::Blocked { block, wait: None },
    );
    assert_eq!(series("no_template").as_deref(), Some("1"));
    metrics.record(
        &CertificateId::kubelet_serving(),
        &Notice::Unblocked { block },
    );
    assert_eq!(series("no_template").as_deref(), Some("0"));
    let name = RequestName::new("r");
    metrics.record(
        &CertificateId::kubelet_serving(),
        &Notice::RequestUndecided { name: name.clone() },
    );
    assert_eq!(series("unapproved").as_deref(), Some("1"));
    let after = SignedDuration::from_secs(3);
    let leaf = leaf(0, 100);
    metrics.record(
        &CertificateId::kubelet_serving(),
        &Notice::Issued { name, leaf, after },
    );
    assert_eq!(series("unapproved").as_deref(), Some("0"));
}

#[test]
fn readiness_follows_the_client_certificate() {
    let metrics = of_kubelet();
    assert!(metrics.check_ready(at(0)).is_err());
    metrics.record(&CertificateId::kubelet_client(), &installed(None));
    assert_eq!(metrics.check_ready(at(100)), Ok(()));
    assert!(metrics.check_ready(at(101)).is_err());
}

fn waiting(name: &str, since: i64) -> Option<Waiting> {
    Some(Waiting {
        name: RequestName::new(name),
        since: at(since),
    })
}

#[test]
fn a_serving_certificate_that_ends_while_its_request_waits_is_not_ready() {
    let metrics = Metrics::new([&CertificateId::kubelet_serving()]);
    assert_eq!(metrics.check_ready(at(0)), Ok(()), "somebody else's client");
    let overdue = |now, reason: &str| {
        let labels = format!(r#"{{kind="serving",reason="{reason}"}}"#);
        let series = format!("everleaf_agent_certificate_overdue{labels}");
        value(&metrics, at(now), &series).unwrap()
    };
    // None yet: a person's turn, and the node works.
    metrics.set_request(&CertificateId::kubelet_serving(), waiting("first", 0));
    assert_eq!(metrics.remark(at(299)), None);
    assert_eq!(metrics.check_ready(at(300)), Ok(()));
    let remark = metrics.remark(at(300)).unwrap();
    assert!(
        remark.contains("kubectl certificate approve first"),
        "{remark}"
    );
    assert_eq!(overdue(300, "first_request_pending"), "1");
    // One that is due, and one that has ended.
    let leaf = leaf(300, 1000);
    let installed = Notice::Installed {
        replaced: None,
        leaf,
    };
    metrics.record(&CertificateId::kubelet_serving(), &installed);
    metrics.set_request(&CertificateId::kubelet_serving(), waiting("next", 690));
    assert_eq!(metrics.check_ready(at(989)), Ok(()));
    let error = metrics.check_ready(at(990)).unwrap_err();
    assert!(
        error.contains("the next serving certificate waits"),
        "{error}"
    );
    assert!(
        error.contains("kubectl certificate approve next"),
        "{error}"
    );
    assert_eq!(overdue(990, "renewal_pending"), "1");
    assert_eq!(overdue(990, "ended"), "0");
    let error = metrics.check_ready(at(1001)).unwrap_err();
    assert!(
        error.starts_with("the serving certificate ended at"),
        "{error}"
    );
    assert!(
        error.contains("kubectl certificate approve next"),
        "{error}"
    );
    assert_eq!(overdue(1001, "ended"), "1");
}

#[test]
fn a_client_certificate_whose_renewal_waits_is_not_ready() {
    let metrics = of_kubelet();
    let leaf = leaf(0, 1000);
    let installed = Notice::Installed {
        replaced: None,
        leaf,
    };
    metrics.record(&CertificateId::kubelet_client(), &installed);
    metrics.set_request(&CertificateId::kubelet_client(), waiting("next", 600));
    assert_eq!(metrics.check_ready(at(989)), Ok(()));
    let error = metrics.check_ready(at(990)).unwrap_err();
    assert!(
        error.contains("the next client certificate waits"),
        "{error}"
    );
    metrics.set_request(&CertificateId::kubelet_client(), None);
    assert_eq!(metrics.check_ready(at(990)), Ok(()));
}

#[test]
fn the_text_has_one_type_per_family_and_no_object_names() {
    let metrics = of_kubelet();
    metrics.record(&CertificateId::kubelet_client(), &installed(Some(60)));
    metrics.record(
        &CertificateId::kubelet_client(),
        &Notice::RequestSubmitted {
            name: RequestName::new("node-csr-secretive"),
            uid: RequestUid::new("uid"),
            credential: everleaf_rotation::CredentialChoice::Current,
            existed: false,
        },
    );
    metrics.record_clock_step();
    metrics.record_closed("rotation", 2);
    let text = metrics.render(at(0));
    assert!(!text.contains("secretive"), "{text}");
    let mut types: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("# TYPE"))
        .collect();
    let count = types.len();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), count);
    for line in [
        "# TYPE kubelet_certificate_manager_client_ttl_seconds gauge",
        "# TYPE kubelet_certificate_manager_server_ttl_seconds gauge",
        "# TYPE kubelet_certificate_manager_client_expiration_renew_errors counter",
        "# TYPE kubelet_server_expiration_renew_errors counter",
        "# TYPE kubelet_certificate_manager_server_rotation_seconds histogram",
        "everleaf_agent_clock_steps_total 1",
        r#"everleaf_agent_connections_closed_total{cause="rotation"} 2"#,
        r#"everleaf_agent_certificate_rotations_total{kind="client",result="installed"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{text}\nlacks {line}");
    }
}

/// Names, labels, order and numbers are what dashboards are written against.
#[test]
fn the_text_word_for_word() {
    let (client, serving) = (
        CertificateId::kubelet_client(),
        CertificateId::kubelet_serving(),
    );
    let metrics = of_kubelet();
    metrics.record(&client, &installed(Some(60)));
    metrics.record(&serving, &installed(Some(90_000)));
    let issued = Notice::Issued {
        name: RequestName::new("r"),
        leaf: leaf(0, 100),
        after: SignedDuration::from_millis(2_500),
    };
    metrics.record(&client, &issued);
    metrics.record(&client, &Notice::Reverted { leaf: leaf(0, 50) });
    for class in [None, Some(RefusalClass::Unreachable)] {
        let failed = Notice::Failed {
            step: FailedStep::Submit,
            class,
            message: String::new(),
            failures: 1,
            wait: std::time::Duration::ZERO,
        };
        metrics.record(&client, &failed);
    }
    let block = Block::NoTemplate;
    metrics.record(&serving, &Notice::Blocked { block, wait: None });
    metrics.set_server_healthy(&client, true);
    metrics.record_clock_step();
    metrics.record_closed("rotation", 2);
    assert_eq!(metrics.render(at(55)), include_str!("text.txt"));
}
