use super::*;
use everleaf_pki::MlDsa;

const KUBELET: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";

fn environment() -> Environment {
    Environment {
        hostname: "Host.Example".to_owned(),
        working_directory: PathBuf::from("/start"),
    }
}

/// The least that is accepted.
fn options() -> Options {
    Options {
        kubeconfig: Some("kubelet.conf".into()),
        rotate_certificates: Some(true),
        ..Options::default()
    }
}

fn resolve(options: &Options) -> Result<Config, Vec<String>> {
    let problems = |list: Vec<Problem>| list.iter().map(ToString::to_string).collect();
    options.resolve(&environment()).map_err(problems)
}

/// Options with a `--config` file of this text (after kind and version).
fn with_file(text: &str, options: Options) -> Result<Config, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubelet.yaml");
    std::fs::write(&path, format!("{KUBELET}{text}")).unwrap();
    resolve(&Options {
        config: Some(path),
        ..options
    })
}

fn rejected(result: Result<Config, Vec<String>>, parts: &[&str]) {
    let problems = result.expect_err("should be rejected");
    let text = problems.join("\n");
    for part in parts {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
}

fn remarks(config: &Config) -> String {
    let lines = config.remarks.iter().map(|remark| remark.text.as_str());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn defaults_are_the_kubelets() {
    let config = resolve(&options()).unwrap();
    assert_eq!(config.kubeconfig, Path::new("/start/kubelet.conf"));
    assert_eq!(config.cert_dir, Path::new("/var/lib/kubelet/pki"));
    assert_eq!(config.node_name, "host.example");
    assert!(config.client && !config.serving);
    assert!(config.bootstrap.is_none() && config.node_ips.is_empty());
    assert_eq!(config.client_key, KeyAlgorithm::EcdsaP256);
    assert!(config.remarks.is_empty(), "{:?}", config.remarks);
}

#[test]
fn paths_become_absolute() {
    let config = resolve(&Options {
        cert_dir: Some("n/pki".into()),
        bootstrap_kubeconfig: Some("b.conf".into()),
        ..options()
    })
    .unwrap();
    assert_eq!(config.cert_dir, Path::new("/start/n/pki"));
    assert_eq!(
        config.bootstrap.unwrap().origin(),
        Path::new("/start/b.conf")
    );
}

#[test]
fn all_problems_are_reported_together() {
    rejected(
        resolve(&Options {
            hostname_override: Some("   ".to_owned()),
            node_ip: Some("1.2.3".to_owned()),
            metrics_bind_address: Some("everywhere".to_owned()),
            tls_bind_address: Some("10355".to_owned()),
            feature_gates: vec!["nonsense".to_owned()],
            requested_seconds: Some(59),
            ..Options::default()
        }),
        &[
            "--kubeconfig is required",
            "nothing to do",
            "--hostname-override is blank",
            "\"1.2.3\" is not an IP address",
            "--tls-bind-address: \"10355\" is not IP:PORT",
            "--metrics-bind-address: \"everywhere\" is not IP:PORT",
            "\"nonsense\" is not NAME=true",
            "at least 600 s",
        ],
    );
}

#[test]
fn the_tls_endpoint_needs_no_serving_certificate() {
    let with = |file: &str| {
        let address = Some("127.0.0.1:10355".to_owned());
        let options = Options {
            tls_bind_address: address,
            ..options()
        };
        with_file(file, options).unwrap()
    };
    let config = with("");
    assert!(config.tls_endpoint.is_some() && !config.serving);
    assert!(config.remarks.is_empty(), "{:?}", config.remarks);
    let config = with("tlsCertFile: /c\ntlsPrivateKeyFile: /k\n");
    assert!(
        remarks(&config).contains("makes itself"),
        "{:?}",
        config.remarks
    );
}

#[test]
fn node_names_are_trimmed_lowered_and_checked() {
    for (text, expected) in [
        ("  N2 ", Some("n2")),
        ("a.b-c.9", Some("a.b-c.9")),
        ("", Some("host.example")),
        (" ", None),
        ("a_b", None),
        ("-a", None),
        ("a..b", None),
    ] {
        let options = Options {
            hostname_override: Some(text.to_owned()),
            ..options()
        };
        let found = resolve(&options).ok().map(|config| config.node_name);
        assert_eq!(found.as_deref(), expected, "{text:?}");
    }
}

#[test]
fn node_ips_are_one_or_a_pair() {
    for (text, expected) in [
        ("127.0.0.1", Some("127.0.0.1")),
        ("10.0.0.1, fd00::1", Some("10.0.0.1 fd00::1")),
        ("fd00::1,10.0.0.1", Some("fd00::1 10.0.0.1")),
        ("0.0.0.0", Some("")),
        ("10.0.0.1,10.0.0.2", None),
        ("10.0.0.1,fd00::1,10.0.0.2", None),
        ("ten", None),
    ] {
        let options = Options {
            node_ip: Some(text.to_owned()),
            ..options()
        };
        let found = resolve(&options).ok().map(|config| {
            let ips = config.node_ips.iter().map(ToString::to_string);
            ips.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(found.as_deref(), expected, "{text:?}");
    }
}

#[test]
fn the_file_switches_both_certificates_on_and_flags_win() {
    let both = "rotateCertificates: true\nserverTLSBootstrap: true\n";
    let base = Options {
        kubeconfig: Some("k".into()),
        ..Options::default()
    };
    let config = with_file(both, base.clone()).unwrap();
    assert!(config.client && config.serving);
    let flags = Options {
        rotate_server_certificates: Some(false),
        ..base.clone()
    };
    let config = with_file(both, flags).unwrap();
    assert!(config.client && !config.serving);
    rejected(with_file("", base), &["nothing to do"]);
}

/// Upstream case 89a: the message names field and gate.
#[test]
fn the_server_gate_is_needed_for_a_serving_certificate() {
    let gate_off = "featureGates: {RotateKubeletServerCertificate: false}\n";
    let expected = ["serverTLSBootstrap", "RotateKubeletServerCertificate"];
    rejected(
        with_file(&format!("{gate_off}serverTLSBootstrap: true\n"), options()),
        &expected,
    );
    let flags = Options {
        rotate_server_certificates: Some(true),
        feature_gates: vec!["RotateKubeletServerCertificate=false".to_owned()],
        ..options()
    };
    rejected(resolve(&flags), &expected);
    let flags = Options {
        feature_gates: vec!["RotateKubeletServerCertificate=true".to_owned()],
        rotate_server_certificates: Some(true),
        ..options()
    };
    assert!(with_file(gate_off, flags).unwrap().serving, "the flag wins");
}

#[test]
fn the_client_gate_is_a_no_op_or_an_error() {
    let with = |value: &str| Options {
        feature_gates: vec![format!(
            "RotateKubeletServerCertificate=true,RotateKubeletClientCertificate={value}"
        )],
        ..options()
    };
    let config = resolve(&with("true")).unwrap();
    assert_eq!(config.remarks.len(), 1);
    assert!(!config.remarks[0].is_warning);
    assert!(remarks(&config).contains("has no effect"));
    rejected(
        resolve(&with("false")),
        &["RotateKubeletClientCertificate=false"],
    );
}

#[test]
fn gates_of_others_are_let_be_and_slips_are_not() {
    let with = |gates: &str| {
        resolve(&Options {
            feature_gates: vec![gates.to_owned()],
            ..options()
        })
    };
    assert!(remarks(&with("SomethingElse=true").unwrap()).contains("SomethingElse"));
    rejected(
        with("RotateKubeletServerCertificates=true"),
        &["did you mean RotateKubeletServerCertificate?"],
    );
    assert!(with("AllAlpha=false,").is_ok());
    rejected(with("AllAlpha=maybe"), &["AllAlpha=maybe"]);
}

#[test]
fn misspelt_fields_are_named_with_the_nearest() {
    rejected(
        with_file("RotateCertificates: true\n", options()),
        &["\"RotateCertificates\"", "did you mean rotateCertificates?"],
    );
    rejected(
        with_file("serverTlsBootstrap: true\n", options()),
        &["did you mean serverTLSBootstrap?"],
    );
    let config = with_file("evictionHart: {}\nbrandNew: 1\nclusterDNS: []\n", options()).unwrap();
    let text = remarks(&config);
    assert!(
        text.contains("\"evictionHart\"; did you mean evictionHard?"),
        "{text}"
    );
    assert!(text.contains("\"brandNew\""), "{text}");
    assert!(!text.contains("clusterDNS"), "{text}");
}

#[test]
fn wrong_types_and_wrong_files_are_said() {
    rejected(
        with_file(
            "rotateCertificates: 'yes'\nfeatureGates: {A: 1}\ntlsCertFile: 5\n",
            options(),
        ),
        &[
            "rotateCertificates must be true or false",
            "featureGates.A must be true or false",
            "tlsCertFile must be a text",
        ],
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.yaml");
    let from_file = || {
        resolve(&Options {
            config: Some(path.clone()),
            ..options()
        })
    };
    rejected(from_file(), &["cannot read --config", "c.yaml"]);
    std::fs::write(&path, "kind: Pod\napiVersion: v1\n").unwrap();
    rejected(from_file(), &["kind must be", "apiVersion must be"]);
    std::fs::write(&path, "a: [").unwrap();
    rejected(from_file(), &["is malformed"]);
}

#[test]
fn key_algorithms_are_those_of_the_kubelet() {
    let file =
        "clientCertificateKeyAlgorithm: RSA-3072\nserverCertificateKeyAlgorithm: ECDSA-P384\n";
    let config = with_file(file, options()).unwrap();
    assert_eq!(config.client_key, KeyAlgorithm::Rsa(3072));
    assert_eq!(config.serving_key, KeyAlgorithm::EcdsaP384);
    let file = "clientCertificateKeyAlgorithm: ML-DSA-65\n";
    let config = with_file(file, options()).unwrap();
    assert_eq!(config.client_key, KeyAlgorithm::MlDsa(MlDsa::MlDsa65));
    let by_flag = Options {
        client_key: Some(KeyAlgorithm::MlDsa(MlDsa::MlDsa87)),
        ..options()
    };
    let config = with_file(file, by_flag).unwrap();
    assert_eq!(config.client_key, KeyAlgorithm::MlDsa(MlDsa::MlDsa87));
    rejected(
        with_file("clientCertificateKeyAlgorithm: DSA\n", options()),
        &["unknown algorithm", "ECDSA-P256"],
    );
}

#[test]
fn serving_with_ml_dsa_needs_tls_13() {
    let file = "serverTLSBootstrap: true\nserverCertificateKeyAlgorithm: ML-DSA-44\n";
    rejected(with_file(file, options()), &["ML-DSA-44", "VersionTLS13"]);
    let old = format!("{file}tlsMinVersion: VersionTLS12\n");
    rejected(with_file(&old, options()), &["VersionTLS13"]);
    let new = format!("{file}tlsMinVersion: VersionTLS13\n");
    let config = with_file(&new, options()).unwrap();
    assert_eq!(config.serving_key, KeyAlgorithm::MlDsa(MlDsa::MlDsa44));
}

#[test]
fn what_does_not_go_together_is_said() {
    let alone = Options {
        rotate_certificates: Some(false),
        rotate_server_certificates: Some(true),
        bootstrap_kubeconfig: Some("b".into()),
        ..options()
    };
    let config = resolve(&alone).unwrap();
    assert!(config.client && !config.renews);
    assert!(remarks(&config).contains("one certificate is fetched"));
    let file = "serverTLSBootstrap: true\ntlsCertFile: /c\ntlsPrivateKeyFile: /k\n";
    let config = with_file(file, options()).unwrap();
    assert!(config.remarks.iter().any(|remark| remark.is_warning));
    assert!(remarks(&config).contains("tlsCertFile"));
}

/// Options with a `--config-dir` of these files (with kind and version before them), over
/// `--config` of this text.
fn with_drop_ins(config: &str, files: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{KUBELET}{text}")).unwrap();
    }
    let options = Options {
        rotate_certificates: None,
        config_dir: Some(dir.path().to_owned()),
        ..options()
    };
    with_file(config, options)
}

#[test]
fn drop_ins_are_merged_over_the_file_in_the_order_of_their_names() {
    let config = with_drop_ins(
        "rotateCertificates: false\nclientCertificateKeyAlgorithm: RSA-2048\nclusterDNS: [10.96.0.10]\n",
        &[
            ("20-late.conf", "serverCertificateKeyAlgorithm: ECDSA-P384\n"),
            ("10-early.conf", "rotateCertificates: true\nserverCertificateKeyAlgorithm: RSA-4096\n"),
            // Between the two, as the directory is.
            ("15/inner.conf", "serverTLSBootstrap: true\nserverCertificateKeyAlgorithm: RSA-3072\n"),
            ("30-not-read.yaml", "rotateCertificates: 7\n"),
            ("40-back.conf", "clientCertificateKeyAlgorithm: null\n"),
        ],
    )
    .unwrap();
    assert!(config.client && config.serving);
    assert_eq!(config.serving_key, KeyAlgorithm::EcdsaP384);
    assert_eq!(config.client_key, KeyAlgorithm::EcdsaP256);
    let told = remarks(&config);
    assert!(told.contains("30-not-read.yaml is not read"), "{told}");
    assert_eq!(config.remarks.len(), 1, "{told}");
}

#[test]
fn gates_of_drop_ins_are_merged_one_by_one() {
    let off = "featureGates: {RotateKubeletServerCertificate: false}\nserverTLSBootstrap: true\n";
    let other = (
        "10.conf",
        "featureGates: {InPlacePodVerticalScaling: true}\n",
    );
    rejected(
        with_drop_ins(off, &[other]),
        &["RotateKubeletServerCertificate"],
    );
    let back = "featureGates: {RotateKubeletServerCertificate: null}\n";
    let config = with_drop_ins(off, &[other, ("20.conf", back)]).unwrap();
    assert!(config.serving && !config.client);
}

#[test]
fn what_is_wrong_with_a_drop_in_is_said_of_its_file() {
    rejected(
        with_drop_ins(
            "rotateCertificates: true\n",
            &[
                ("10.conf", "RotateCertificates: true\n"),
                ("20.conf", "serverTLSBootstrap: 1\n"),
                ("30.conf", "a: [\n"),
                ("40.conf", "kind: Pod\n"),
            ],
        ),
        &[
            "/10.conf: there is no field \"RotateCertificates\"; did you mean rotateCertificates?",
            "/20.conf: serverTLSBootstrap must be true or false",
            "/30.conf is malformed",
            "/40.conf is malformed",
        ],
    );
    let home = tempfile::tempdir().unwrap();
    let dir = |name: &str| Options {
        config_dir: Some(home.path().join(name)),
        ..options()
    };
    rejected(
        resolve(&dir("none")),
        &["cannot read --config-dir", "/none:"],
    );
    std::os::unix::fs::symlink(home.path(), home.path().join("link")).unwrap();
    rejected(
        resolve(&dir("link")),
        &["/link is no directory", "name the directory itself"],
    );
    std::fs::create_dir(home.path().join("untyped")).unwrap();
    std::fs::write(
        home.path().join("untyped/1.conf"),
        "rotateCertificates: true\n",
    )
    .unwrap();
    rejected(
        resolve(&dir("untyped")),
        &["kind must be", "apiVersion must be"],
    );
    std::fs::create_dir(home.path().join("many")).unwrap();
    for number in 0..=1000 {
        std::fs::write(home.path().join(format!("many/{number}")), "").unwrap();
    }
    rejected(resolve(&dir("many")), &["more than 1000 files"]);
}

/// The files that kubeadm and kind write for a kubelet of 1.34, and the drop-in of k3s: taken as
/// they are, without a word but the list of what is let be.
#[test]
fn stock_configurations_are_taken() {
    let home = tempfile::tempdir().unwrap();
    for (name, text, renews) in [
        ("kubeadm", include_str!("stock/kubeadm.yaml"), true),
        ("kind", include_str!("stock/kind.yaml"), true),
        ("k3s", include_str!("stock/k3s.conf"), false),
    ] {
        let path = home.path().join(name).join("00-defaults.conf");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let as_file = Options {
            rotate_certificates: (!renews).then_some(true),
            config: Some(path.clone()),
            ..options()
        };
        let as_drop_in = Options {
            config_dir: path.parent().map(Path::to_owned),
            config: None,
            ..as_file.clone()
        };
        for options in [as_file, as_drop_in] {
            let config =
                resolve(&options).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
            assert!(config.client && config.renews && !config.serving, "{name}");
            assert!(config.remarks.is_empty(), "{name}: {:?}", config.remarks);
            let expected = text.lines().filter(|line| {
                let is_member = line.starts_with(|c: char| c.is_ascii_lowercase());
                let name = line.split(':').next().unwrap_or_default();
                let is_ours = ["apiVersion", "kind", "rotateCertificates"].contains(&name)
                    || name.starts_with("tls");
                is_member && !is_ours
            });
            assert_eq!(
                config.lets_be.len(),
                expected.count(),
                "{:?}",
                config.lets_be
            );
            assert!(config.lets_be.contains(&"clusterDNS".to_owned()));
        }
    }
}

#[test]
fn the_first_renewal_is_spread_over_what_the_window_allows() {
    let with = |first_renewal_spread| {
        resolve(&Options {
            first_renewal_spread,
            ..options()
        })
    };
    assert_eq!(with(None).unwrap().timing, Timing::default());
    let spread = Timing::new(70, 90, 90).unwrap();
    assert_eq!(with(Some(90)).unwrap().timing, spread);
    rejected(with(Some(91)), &["--first-renewal-spread", "90%"]);
}
