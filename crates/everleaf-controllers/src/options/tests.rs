use super::*;

fn pair(certificate: &str, key: &str) -> FilePair {
    let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
    FilePair {
        certificate: path(certificate),
        chain: None,
        key: path(key),
    }
}

fn with_controllers(list: &str) -> Options {
    Options {
        controllers: list.split(',').map(str::to_owned).collect(),
        ..Options::default()
    }
}

/// `up` has others that `*` stands for; the list is read in the same way.
#[test]
fn what_the_star_stands_for_may_be_said() {
    let loops = |list: &str| {
        let standard = [Loop::Signer, Loop::RootCaPublisher, Loop::ServingApprover];
        let options = Options {
            standard: standard.into(),
            ..with_controllers(list)
        };
        options.validate().unwrap().config.loops
    };
    let all = [Loop::Signer, Loop::RootCaPublisher, Loop::ServingApprover];
    assert_eq!(loops("*"), all.into());
    let list = "*,-root-ca-certificate-publisher-controller,-kubelet-serving-approver";
    assert_eq!(loops(list), [Loop::Signer].into());
    assert_eq!(loops("*,csrcleaner").len(), 4);
    let error = with_controllers("nobody").validate().unwrap_err();
    let usual = "* for csrapproving, csrsigning, csrcleaner";
    assert!(error.to_string().contains(usual), "{error}");
}

#[test]
fn controllers_lists() {
    use Loop::{Approver, BootstrapSigner, Cleaner, Signer, TokenCleaner};
    let cases: &[(&str, &[Loop])] = &[
        ("*", &[Approver, Cleaner, Signer]),
        ("csrsigning", &[Signer]),
        ("*,-csrcleaner", &[Approver, Signer]),
        ("-csrcleaner,*", &[Approver, Signer]),
        ("-csrsigning", &[]),
        ("csrcleaner,-csrcleaner", &[Cleaner]),
        ("-csrcleaner,csrcleaner", &[]),
        (
            "*,-certificatesigningrequest-approving-controller",
            &[Cleaner, Signer],
        ),
        (
            "certificatesigningrequest-signing-controller,csrcleaner",
            &[Cleaner, Signer],
        ),
        ("*,-bootstrapsigner", &[Approver, Cleaner, Signer]),
        (
            "*,bootstrapsigner,tokencleaner",
            &[Approver, BootstrapSigner, Cleaner, Signer, TokenCleaner],
        ),
        ("token-cleaner-controller", &[TokenCleaner]),
        ("bootstrap-signer-controller", &[BootstrapSigner]),
        ("*,-tokencleaner", &[Approver, Cleaner, Signer]),
    ];
    for (list, expected) in cases {
        let validated = with_controllers(list).validate().unwrap();
        assert_eq!(
            validated.config.loops,
            BTreeSet::from_iter(expected.iter().copied()),
            "{list}"
        );
        let is_warned = validated
            .warnings
            .iter()
            .any(|text| text.contains("* stands for the usual ones"));
        assert_eq!(
            is_warned,
            expected.is_empty(),
            "{list}: {:?}",
            validated.warnings
        );
    }
}

/// `*` stands for it only where its file is given; its name always does.
#[test]
fn the_publisher_of_the_root_ca_is_asked_for() {
    for (list, file, expected) in [
        ("*", false, false),
        ("*", true, true),
        ("*,-root-ca-cert-publisher", true, false),
        ("csrsigning", true, false),
        ("*,root-ca-cert-publisher", false, true),
        ("root-ca-certificate-publisher-controller", false, true),
    ] {
        let options = Options {
            root_ca_file: file.then(|| PathBuf::from("ca.crt")),
            ..with_controllers(list)
        };
        let config = options.validate().unwrap().config;
        let runs = config.loops.contains(&Loop::RootCaPublisher);
        assert_eq!(runs, expected, "{list} {file}");
        assert_eq!(config.root_ca.is_some(), file, "{list} {file}");
    }
}

/// `*` never stands for it; a signer's CA is published where it signs.
#[test]
fn the_publisher_of_trust_bundles_is_asked_for() {
    let name = "kube-apiserver-serving-clustertrustbundle-publisher-controller";
    for (list, expected) in [
        ("*", false),
        (name, true),
        (&*format!("*,{name}"), true),
        (&*format!("-{name},*"), false),
    ] {
        let options = Options {
            root_ca_file: Some(PathBuf::from("ca.crt")),
            ..with_controllers(list)
        };
        let config = options.validate().unwrap().config;
        let runs = config.loops.contains(&Loop::TrustBundlePublisher);
        assert_eq!(runs, expected, "{list}");
    }
    let check = |list: &str, signer: &str| {
        let pair = FilePair {
            certificate: Some(PathBuf::from("ca.crt")),
            key: Some(PathBuf::from("ca.key")),
            chain: None,
        };
        let options = Options {
            per_signer: BTreeMap::from([(BuiltinSigner::KubeletServing, pair)]),
            publish_signer_trust_bundles: vec![signer.to_owned()],
            ..with_controllers(list)
        };
        let checked = options.validate();
        checked.map(|ok| ok.config.published_signers)
    };
    let serving = "kubernetes.io/kubelet-serving";
    let published = check("*", serving).unwrap();
    assert_eq!(published, BTreeSet::from([BuiltinSigner::KubeletServing]));
    for (list, signer, expected) in [
        (
            "*",
            "kubernetes.io/kube-apiserver-client",
            "no CA to publish",
        ),
        ("csrapproving", serving, "no CA to publish"),
        ("*", "example.com/x", "is not a built-in signer"),
    ] {
        let error = check(list, signer).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn foreign_and_unknown_controllers() {
    let foreign = with_controllers("*,ttl,bootstrapsigner,namespace")
        .validate()
        .unwrap();
    let expected = "--controllers: not part of everleaf, so they do not run here: ttl, namespace";
    assert_eq!(foreign.warnings, [expected]);
    assert_eq!(foreign.config.loops.len(), 4);
    let error = with_controllers("*,csrsinging")
        .validate()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("\"csrsinging\" is not in the list of known controllers"),
        "{error}"
    );
    assert!(
        error.contains("csrapproving, csrsigning, csrcleaner"),
        "{error}"
    );
}

/// As `cmd/kube-controller-manager/app/certificates_test.go`, and the empty one.
#[test]
fn signing_files() {
    let check = |general: FilePair, kubelet_client: FilePair| {
        let mut options = Options {
            cluster_signing: general,
            ..Options::default()
        };
        options
            .per_signer
            .insert(BuiltinSigner::KubeApiserverClientKubelet, kubelet_client);
        options
            .validate()
            .map(|ok| ok.config.issuers.into_keys().collect::<Vec<_>>())
    };
    let none = FilePair::default();
    let refused = |text: &str| Err(OptionsError(vec![text.to_owned()]));

    assert_eq!(check(none.clone(), none.clone()).unwrap(), []);
    assert_eq!(
        check(pair("ca.crt", "ca.key"), none.clone()).unwrap().len(),
        4
    );
    assert_eq!(
        check(none.clone(), pair("kc.crt", "kc.key")).unwrap(),
        [BuiltinSigner::KubeApiserverClientKubelet]
    );
    assert_eq!(
        check(pair("ca.crt", "ca.key"), pair("kc.crt", "kc.key")),
        refused(
            "cannot specify --cluster-signing-{cert,key}-file and other \
             --cluster-signing-*-file flags at the same time"
        )
    );
    assert_eq!(
        check(none.clone(), pair("kc.crt", "")),
        refused("cluster-signing-kubelet-client: cannot specify cert without key")
    );
    assert_eq!(
        check(pair("", "ca.key"), none.clone()),
        refused("cluster-signing: cannot specify key without cert")
    );
    let chain = FilePair {
        chain: Some(PathBuf::from("chain.crt")),
        ..none.clone()
    };
    assert_eq!(
        check(none, chain),
        refused("cluster-signing-kubelet-client: cannot specify chain without cert and key")
    );
}

#[test]
fn election() {
    let mut options = Options::default();
    let expected = ElectionOptions::default();
    assert_eq!(options.validate().unwrap().election, expected);
    options.election.renew_deadline = Duration::from_secs(20);
    options.election.resource_lock = "configmaps".to_owned();
    assert_eq!(options.validate().unwrap_err().0.len(), 2);
}

#[test]
fn durations() {
    let check = |secs| {
        Options {
            cluster_signing_duration: Duration::from_secs(secs),
            ..Options::default()
        }
        .validate()
        .map(|ok| ok.warnings.len())
    };
    assert!(check(0).is_err());
    assert_eq!(check(599), Ok(1));
    assert_eq!(check(600), Ok(0));
    assert_eq!(check(398 * 86_400), Ok(0));
    assert_eq!(check(87_600 * 3600), Ok(1));
}

#[test]
fn api_limits() {
    let check = |qps, burst| {
        Options {
            kube_api_qps: qps,
            kube_api_burst: burst,
            ..Options::default()
        }
        .validate()
        .map(|ok| ok.config.api_limit)
    };
    let rate = |per_second, burst| Rate { per_second, burst };
    assert_eq!(
        check(None, None),
        Ok(ApiLimit::UnlessEverleaf(rate(20.0, 30)))
    );
    assert_eq!(
        check(Some(20.0), Some(30)),
        Ok(ApiLimit::Fixed(rate(20.0, 30)))
    );
    assert_eq!(check(None, Some(90)), Ok(ApiLimit::Fixed(rate(20.0, 90))));
    assert_eq!(check(Some(50.0), None), Ok(ApiLimit::Fixed(rate(50.0, 30))));
    assert_eq!(check(Some(0.0), None), Ok(ApiLimit::Off));
    assert_eq!(check(Some(-1.0), Some(30)), Ok(ApiLimit::Off));
    assert_eq!(check(Some(5.0), Some(0)), Ok(ApiLimit::Off));
    assert!(check(Some(f64::NAN), None).is_err());
}
