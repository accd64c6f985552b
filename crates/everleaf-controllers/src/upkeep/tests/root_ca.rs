//! root-ca-cert-publisher.

use super::*;

const CREATE: &str = "POST /api/v1/namespaces/n1/configmaps";
const UPDATE: &str = "PUT /api/v1/namespaces/n1/configmaps/kube-root-ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";

fn namespace(name: &str, phase: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {"phase": phase}})
}

fn config_map(namespace: &str, name: &str, data: &Value) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": namespace, "resourceVersion": "5",
            "labels": {"l": "kept"}, "annotations": {"a": "kept", DESCRIPTION: "text"},
        },
        "data": data,
        "binaryData": {"kept": "AA=="},
    })
}

fn right() -> Value {
    json!({"ca.crt": "CA"})
}

/// A publisher of `CA` that sees these.
fn publisher(seen: &[(Watched, Value)]) -> Bench {
    Bench::new(CaPublisher::new(Bundle::new("CA")), seen)
}

/// A publisher with an active namespace `n1` that has what it should have.
fn content() -> Bench {
    let map = config_map("n1", "kube-root-ca.crt", &right());
    let mut bench = publisher(&[
        (Watched::Namespaces, namespace("n1", "Active")),
        (Watched::RootCas, map),
    ]);
    assert_eq!(bench.line(), "");
    bench
}

/// Cases 85 to 90; and 91: what goes gets nothing any more.
#[test]
fn every_namespace_has_the_ca() {
    let put = |name: &str, data: Value| {
        let map = config_map("n1", name, &data);
        (Watched::RootCas, Delta::Put(map))
    };
    let deleted = |key: &str| (Watched::RootCas, Delta::Deleted(key.to_owned()));
    let ours = "kube-root-ca.crt";
    let extra = json!({"ca.crt": "CA", "foo": "bar"});
    for (case, (watched, delta), expected) in [
        ("86: another one deleted", deleted("n1/other"), ""),
        ("87: deleted", deleted("n1/kube-root-ca.crt"), CREATE),
        ("88: a key more", put(ours, extra), UPDATE),
        ("89: changed", put(ours, json!({"ca.crt": "old"})), UPDATE),
        ("its data gone", put(ours, Value::Null), UPDATE),
        (
            "90: another one updated",
            put("other", json!({"ca.crt": "old"})),
            "",
        ),
    ] {
        let mut bench = content();
        bench.take(watched, delta);
        assert_eq!(bench.line(), expected, "{case}");
    }
    for (case, phase, expected) in [("91", "Terminating", ""), ("active", "Active", CREATE)] {
        // An update of a namespace that has no ConfigMap, and the deletion of one that had.
        let mut bench = publisher(&[(Watched::Namespaces, namespace("n1", phase))]);
        bench.take(Watched::Namespaces, Delta::Put(namespace("n1", phase)));
        assert_eq!(bench.line(), expected, "{case}");
        let mut bench = content();
        bench.take(Watched::Namespaces, Delta::Put(namespace("n1", phase)));
        let gone = Delta::Deleted("n1/kube-root-ca.crt".to_owned());
        bench.take(Watched::RootCas, gone);
        assert_eq!(bench.line(), expected, "{case}");
    }
    let mut bench = content();
    let new = Delta::Put(namespace("n2", "Active"));
    bench.take(Watched::Namespaces, new);
    let call = bench.call().expect("85: a namespace is added");
    let line = format!("{} {}", call.method, call.path);
    assert_eq!(line, "POST /api/v1/namespaces/n2/configmaps");
    let body = call.body.unwrap();
    assert_eq!(body["data"], right());
    assert_eq!(body["metadata"]["name"], ours);
}

/// An update replaces the data whole, and leaves all else as it is.
#[test]
fn an_update_touches_only_the_data() {
    for (described, undescribed) in [("text", false), ("", true)] {
        let data = if undescribed { right() } else { json!({}) };
        let mut map = config_map("n1", "kube-root-ca.crt", &data);
        map["metadata"]["annotations"][DESCRIPTION] = described.into();
        let mut bench = content();
        bench.take(Watched::RootCas, Delta::Put(map.clone()));
        let body = bench.call().unwrap().body.unwrap();
        map["apiVersion"] = "v1".into();
        map["kind"] = "ConfigMap".into();
        map["data"] = right();
        let words = body["metadata"]["annotations"][DESCRIPTION].clone();
        assert!(words.as_str().unwrap().starts_with("Contains a CA bundle"));
        map["metadata"]["annotations"][DESCRIPTION] = words;
        assert_eq!(body, map);
    }
}

/// Case 92: the codes of the metric, and what is tried again.
#[test]
fn syncs_are_counted_by_their_code() {
    let away = Err(CallError::Unreachable("away".to_owned()));
    let cause = json!({"causes": [{"reason": "NamespaceTerminating"}]});
    for (answer, code, is_retried) in [
        (done(), 200, false),
        (refused(409, None), 409, true),
        (away, 500, true),
        (refused(500, None), 500, true),
        (refused(403, None), 403, true),
        // Nothing can be created in a namespace that goes.
        (refused(404, None), 200, false),
        (refused(403, Some(cause)), 200, false),
    ] {
        let active = (Watched::Namespaces, namespace("n1", "Active"));
        let mut bench = publisher(&[active]);
        assert_eq!(bench.line(), CREATE);
        bench.pass(SECOND);
        bench.answer(&answer);
        let waits = bench.waits();
        assert_eq!(waits.is_some(), is_retried, "{answer:?}");
        let took = Duration::from_secs(1);
        let namespace = "n1".to_owned();
        let synced = Kept::RootCaSynced {
            namespace,
            code,
            took,
        };
        assert_eq!(bench.told[0], synced, "{answer:?}");
        let metrics = crate::metrics::Metrics::default();
        bench.told[0].record(&metrics);
        let line = format!("root_ca_cert_publisher_sync_total{{code=\"{code}\"}} 1\n");
        assert!(metrics.text().contains(&line), "{}", metrics.text());
    }
}

/// An update that meets nothing is a failure: what is there now will be seen.
#[test]
fn an_update_of_what_is_gone_is_tried_again() {
    let mut bench = content();
    let map = config_map("n1", "kube-root-ca.crt", &json!({}));
    bench.take(Watched::RootCas, Delta::Put(map));
    assert_eq!(bench.line(), UPDATE);
    bench.answer(&refused(404, None));
    assert_eq!(bench.waits(), Some(Duration::from_millis(5)));
    assert!(
        matches!(bench.told[1], Kept::RootCaSynced { code: 404, .. }),
        "{:?}",
        bench.told
    );
    let gone = Delta::Deleted("n1/kube-root-ca.crt".to_owned());
    bench.take(Watched::RootCas, gone);
    assert_eq!(bench.line(), CREATE);
}

/// Another publisher with another CA is contradicted once in ten seconds, not without end.
#[test]
fn two_publishers_do_not_fight() {
    let mut bench = content();
    let others = || config_map("n1", "kube-root-ca.crt", &json!({"ca.crt": "other"}));
    bench.take(Watched::RootCas, Delta::Put(others()));
    assert_eq!(bench.line(), UPDATE);
    bench.answer(&done());
    bench.pass(SECOND);
    bench.take(Watched::RootCas, Delta::Put(others()));
    assert_eq!(bench.waits(), Some(Duration::from_secs(9)));
    bench.pass(SECOND * 9);
    assert_eq!(bench.line(), UPDATE);
}

/// A new CA reaches every namespace, ten a second; a new namespace does not wait for that.
#[test]
fn a_new_ca_is_published_in_waves() {
    let bundle = Bundle::new("CA");
    let mut seen = Vec::new();
    for name in (0..25).map(|index| format!("n{index}")) {
        let map = config_map(&name, "kube-root-ca.crt", &right());
        seen.push((Watched::Namespaces, namespace(&name, "Active")));
        seen.push((Watched::RootCas, map));
    }
    let mut bench = Bench::new(CaPublisher::new(bundle.clone()), &seen);
    assert_eq!(bench.line(), "");
    bundle.replace("NEW");
    bench.machine.look_again(bench.moment.now.monotonic);
    let mut updated = Vec::new();
    for second in 1..4 {
        while let Some(call) = bench.call() {
            let body = call.body.unwrap();
            assert_eq!(body["data"]["ca.crt"], "NEW");
            updated.push(call.path);
            bench.answer(&Ok(Bytes::from(body.to_string())));
        }
        assert_eq!(updated.len(), 25.min(second * 10));
        if second == 1 {
            let new = Delta::Put(namespace("new", "Active"));
            bench.take(Watched::Namespaces, new);
            assert_eq!(bench.line(), "POST /api/v1/namespaces/new/configmaps");
            bench.answer(&refused(404, None));
        }
        bench.pass(SECOND);
    }
    updated.sort();
    updated.dedup();
    assert_eq!(updated.len(), 25, "each once");
    assert_eq!(bench.waits(), None);
}

/// A file that changes is published when it can be; what cannot is said once.
#[test]
fn the_file_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.crt");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    let certificate = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        (made.pem(), key.serialize_pem())
    };
    let ((one, key), (two, _)) = (certificate(), certificate());
    let load = || RootCa::load(&RootCaSource::File(path.clone()));
    assert!(load().is_err(), "there is none");
    for text in ["", "garbage", &format!("{one}{key}")] {
        write(text);
        let error = load().unwrap_err().to_string();
        assert!(!error.contains("BEGIN"), "{error}");
    }
    write(&one);
    let ca = load().unwrap();
    assert_eq!(ca.look(), None);
    for text in ["", "garbage", &format!("{two}{key}")] {
        write(text);
        assert!(
            matches!(ca.look(), Some(Kept::RootCaRefused { .. })),
            "{text}"
        );
        assert_eq!(ca.look(), None, "said once");
        write(&one);
        assert_eq!(ca.look(), None, "it is the one in use");
        assert_eq!(*ca.bundle().current(), *one);
    }
    let both = format!("# text is published, too\n{one}{two}");
    write(&both);
    assert!(matches!(ca.look(), Some(Kept::RootCaLoaded { .. })));
    assert_eq!(*ca.bundle().current(), *both);
    assert!(RootCa::load(&RootCaSource::Memory("x".to_owned())).is_err());
}
