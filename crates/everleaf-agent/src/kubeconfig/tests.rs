use super::*;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const TWO_CONTEXTS: &str = "
apiVersion: v1
kind: Config
clusters:
- name: cluster-a
  cluster: {server: 'https://cluster-a.example:6443', certificate-authority-data: VEVTVA==}
- name: cluster-b
  cluster:
    server: https://cluster-b.example/prefix/
    certificate-authority: ca.crt
    tls-server-name: kubernetes
    proxy-url: http://proxy.example:3128
contexts:
- name: context-a
  context: {cluster: cluster-a, namespace: ns, user: user-a}
- name: context-b
  context: {cluster: cluster-b, namespace: ns, user: user-b}
current-context: CURRENT
users:
- name: user-a
  user: {token: mytoken-a}
- name: user-b
  user: {client-certificate: pki/current.pem, client-key: /abs/current.pem}
";

fn parse(text: &str) -> Result<Kubeconfig, KubeconfigError> {
    Kubeconfig::parse(text, Path::new("/etc/everleaf/kubelet.conf"))
}

/// Upstream case 93: only the current context counts; inline CA bytes and token come through.
#[test]
fn the_current_context_is_what_counts() {
    let a = parse(&TWO_CONTEXTS.replace("CURRENT", "context-a")).unwrap();
    assert_eq!(
        a.cluster.server.to_string(),
        "https://cluster-a.example:6443"
    );
    assert_eq!(a.cluster.server.authority(), "cluster-a.example:6443");
    let Trust::Bundle(bundle) = &a.cluster.trust else {
        panic!("no bundle");
    };
    assert_eq!(bundle.read().unwrap().expose(), "TEST");
    let token = a.user.token.unwrap().read().unwrap();
    assert_eq!(token.expose(), "mytoken-a");
    assert_eq!(a.user.client_certificate, None);
}

#[test]
fn relative_paths_are_beside_the_file() {
    let b = parse(&TWO_CONTEXTS.replace("CURRENT", "context-b")).unwrap();
    let file = |path: &str| Source::File(path.into());
    assert_eq!(b.cluster.trust, Trust::Bundle(file("/etc/everleaf/ca.crt")));
    let pair = b.user.client_certificate.unwrap();
    assert_eq!(pair.certificate, file("/etc/everleaf/pki/current.pem"));
    assert_eq!(pair.key, file("/abs/current.pem"));
    assert_eq!(b.cluster.server.prefix(), "/prefix");
    assert_eq!(b.cluster.server.port(), 443);
    assert_eq!(b.cluster.tls_server_name.as_deref(), Some("kubernetes"));
    assert_eq!(b.cluster.proxy.unwrap().host(), "proxy.example");
}

fn one(cluster: &str, user: &str) -> String {
    format!(
        "clusters: [{{name: c, cluster: {{{cluster}}}}}]\n\
         users: [{{name: u, user: {{{user}}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
         current-context: x\n"
    )
}

const SOUND: &str = "server: 'https://h', certificate-authority: /ca";

#[test]
fn what_is_wrong_is_said() {
    let cases: &[(String, &[&str])] = &[
        (String::new(), &["it is empty"]),
        ("{}".into(), &["current-context is not set"]),
        ("current-context: gone".into(), &["\"gone\"", "no context"]),
        (
            "contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x".into(),
            &[
                "cluster \"c\", which does not exist",
                "user \"u\", which does not exist",
            ],
        ),
        (
            "contexts: [{name: x}]\ncurrent-context: x".into(),
            &["names no cluster", "names no user"],
        ),
        (one("", ""), &["has no server"]),
        (
            one("server: 'http://h'", "token: s3cr3t"),
            &["http://h is plain http"],
        ),
        (
            one("server: h, certificate-authority: /ca", ""),
            &["must start with https://"],
        ),
        (one("server: 'https://h:abc'", ""), &["has a port"]),
        (one("server: 'https://h:99999/p'", ""), &["has a port"]),
        (one("server: 'https://[::1]:0'", ""), &["has a port"]),
        (
            one(&format!("{SOUND}, insecure-skip-tls-verify: true"), ""),
            &["both certificate-authority and insecure-skip-tls-verify"],
        ),
        (
            one(
                &format!("{SOUND}, certificate-authority-data: VEVTVA=="),
                "",
            ),
            &["both certificate-authority and certificate-authority-data"],
        ),
        (
            one("server: 'https://h', certificate-authority-data: '%%'", ""),
            &["certificate-authority-data is not base64"],
        ),
        (
            one(&format!("{SOUND}, proxy-url: 'socks4://u:s3cr3t@p'"), ""),
            &["http://, https:// or socks5://"],
        ),
        (one(SOUND, "client-certificate: a"), &["no client-key"]),
        (one(SOUND, "client-key: a"), &["no client-certificate"]),
        (
            one(
                SOUND,
                "exec: {command: x}, auth-provider: {name: y}, as-uid: z, token: t, username: q",
            ),
            &[
                "exec has no apiVersion",
                "auth-provider",
                "as-groups or as-user-extra without a user",
                "both a token and username",
            ],
        ),
    ];
    for (text, expected) in cases {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains("/etc/everleaf/kubelet.conf"), "{error}");
        for part in *expected {
            assert!(error.contains(part), "{error:?} lacks {part:?} for\n{text}");
        }
    }
}

#[test]
fn insecure_is_honoured_and_named_for_what_it_is() {
    let text = one("server: 'https://h', insecure-skip-tls-verify: true", "");
    assert_eq!(
        parse(&text).unwrap().cluster.trust,
        Trust::DangerouslyAnybody
    );
}

#[test]
fn a_parse_error_does_not_quote_secrets() {
    let text = "current-context: x\nusers:\n- name: u\n  user:\n    token: s3cr3t\n   client-key-data: s3cr3t\n\t- {";
    let error = parse(text).expect_err("malformed");
    assert!(
        matches!(error, KubeconfigError::Malformed { .. }),
        "{error}"
    );
    assert!(!error.to_string().contains("s3cr3t"), "{error}");
    let folded = "clusters:\n- name: c\n  cluster:\n    server: https://h\n      s3cr3t\n\
                  contexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x";
    let error = parse(folded).expect_err("folded").to_string();
    assert!(error.contains("\"https://h\"…"), "{error}");
    assert!(!error.contains("s3cr3t"), "{error}");
    let debug = format!("{:?}", parse(&one(SOUND, "token: s3cr3t")).unwrap());
    assert!(!debug.contains("s3cr3t"), "{debug}");
}

#[test]
fn a_missing_file_is_told_from_a_broken_one() {
    let dir = tempfile::tempdir().unwrap();
    let absent = Kubeconfig::read(&dir.path().join("none")).unwrap_err();
    assert!(absent.is_absent(), "{absent}");
    assert!(!Kubeconfig::read(dir.path()).unwrap_err().is_absent());
    let huge = dir.path().join("huge");
    std::fs::write(&huge, vec![b' '; KUBECONFIG_BYTES_MAX as usize + 1]).unwrap();
    let error = Kubeconfig::read(&huge).unwrap_err().to_string();
    assert!(
        error.contains("too large: more than 1048576 bytes"),
        "{error}"
    );
}

#[test]
fn a_token_file_is_read_each_time_and_beats_a_stale_inline_token() {
    let dir = tempfile::tempdir().unwrap();
    let origin = dir.path().join("k.conf");
    let text = one(SOUND, "tokenFile: token, token: inline");
    let token = Kubeconfig::parse(&text, &origin)
        .unwrap()
        .user
        .token
        .unwrap();
    assert_eq!(token.read().unwrap().expose(), "inline");
    for content in ["one\n", "two"] {
        std::fs::write(dir.path().join("token"), content).unwrap();
        assert_eq!(token.read().unwrap().expose(), content.trim());
    }
}

#[test]
fn what_is_written_reads_back_equal() {
    for (cluster, user) in [
        (SOUND, "token: '0123456789'"),
        (
            "server: 'https://[::1]:6443/p', certificate-authority-data: VEVTVA==, tls-server-name: n, proxy-url: 'http://u:p%20@p:1/'",
            "client-certificate-data: VEVTVA==, client-key-data: VEVTVA==",
        ),
        (
            "server: 'https://h', insecure-skip-tls-verify: true",
            "client-certificate: '/with blank/: #x.pem', client-key: /k, tokenFile: /t",
        ),
    ] {
        let kubeconfig = parse(&one(cluster, user)).unwrap();
        let yaml = kubeconfig.to_yaml(&Names::BOOTSTRAP);
        assert_eq!(parse(&yaml).unwrap(), kubeconfig, "{}", &*yaml);
    }
}

#[test]
fn the_document_has_the_shape_that_the_kubelet_writes() {
    let mut kubeconfig = parse(&one(SOUND, "")).unwrap();
    let current = Source::File("/d/kubelet-client-current.pem".into());
    kubeconfig.user.client_certificate = Some(ClientCertificate {
        certificate: current.clone(),
        key: current,
    });
    // Whatever its length, a value stands on its key's line.
    let token = "x".repeat(4000);
    let long = parse(&one(SOUND, &format!("token: {token}"))).unwrap();
    let yaml = long.to_yaml(&Names::BOOTSTRAP);
    assert!(
        yaml.contains(&format!("    token: {token}\n")),
        "{}",
        &*yaml
    );
    insta::assert_snapshot!(&*kubeconfig.to_yaml(&Names::BOOTSTRAP), @r"
    apiVersion: v1
    kind: Config
    clusters:
    - name: default-cluster
      cluster:
        server: https://h
        certificate-authority: /ca
    contexts:
    - name: default-context
      context:
        cluster: default-cluster
        namespace: default
        user: default-auth
    current-context: default-context
    users:
    - name: default-auth
      user:
        client-certificate: /d/kubelet-client-current.pem
        client-key: /d/kubelet-client-current.pem
    ");
}

#[test]
fn writing_replaces_the_whole_file_privately() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/kubelet.conf");
    let kubeconfig = parse(&one(SOUND, "token: t")).unwrap();
    kubeconfig.write(&path, &Names::BOOTSTRAP).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(path.with_file_name(".kubelet.conf.tmp"), "left over").unwrap();
    kubeconfig.write(&path, &Names::BOOTSTRAP).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(Kubeconfig::read(&path).unwrap(), kubeconfig);
    let names: Vec<_> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["kubelet.conf"]);
}

#[test]
fn a_failed_write_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("is-a-directory");
    std::fs::create_dir(&path).unwrap();
    let kubeconfig = parse(&one(SOUND, "token: t")).unwrap();
    let error = kubeconfig.write(&path, &Names::BOOTSTRAP).unwrap_err();
    assert!(error.to_string().contains("is-a-directory"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// kubectl's answer, and ours.
enum Both {
    Take,
    Refuse,
    /// kubectl takes it; we say that it is not supported.
    WeRefuse,
}

use Both::{Refuse, Take, WeRefuse};

/// What kubectl 1.37 makes of these (tried with `kubectl --kubeconfig FILE get --raw /version`),
/// and where we refuse what it takes.
const MEMBERS: &[(&str, &str, Both)] = &[
    (SOUND, "", Take),
    ("server: 'https://h'", "", Take),
    // Present and empty is absent.
    (
        "server: 'https://h', certificate-authority: /ca, certificate-authority-data: '', tls-server-name: '', proxy-url: ''",
        "token: '', tokenFile: '', username: '', password: '', client-certificate: '', client-key: '', \
             client-certificate-data: '', client-key-data: '', as: ''",
        Take,
    ),
    (
        "server: 'https://h', certificate-authority: /ca, certificate-authority-data: null, tls-server-name: ~, \
             proxy-url: null, insecure-skip-tls-verify: null, disable-compression: null, extensions: null",
        "token: null, tokenFile: ~, username: null, password:, client-certificate: null, client-key: null, \
             client-certificate-data: null, client-key-data: null, exec: null, auth-provider: ~, as: null, \
             as-uid: '', as-groups: null, as-user-extra: null",
        Take,
    ),
    ("server: 'http://h'", "", Take),
    ("server: 'http://h'", "token: a", WeRefuse),
    (SOUND, "as-groups: [], as-user-extra: {}", Take),
    (SOUND, "unknown: 1", Take),
    (SOUND, "exec: {}", Refuse),
    (SOUND, "auth-provider: {}", Refuse),
    (SOUND, "token: a, username: b", Refuse),
    (
        "server: 'https://h', certificate-authority: /ca, certificate-authority-data: VEVTVA==",
        "",
        Refuse,
    ),
    (SOUND, "as-groups: [a]", Refuse),
    (SOUND, "as-uid: a", Refuse),
    (SOUND, "as-user-extra: {a: [b]}", Refuse),
    (
        SOUND,
        "as: a, as-uid: b, as-groups: [c, d], as-user-extra: {e: [f], g: null}",
        Take,
    ),
    (
        SOUND,
        "exec: {command: x, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never}",
        Take,
    ),
    (
        SOUND,
        "exec: {command: x, apiVersion: client.authentication.k8s.io/v1beta1, args: null, env: null, installHint: null, \
             provideClusterInfo: null, interactiveMode: null, unknown: 1}",
        Take,
    ),
    (
        SOUND,
        "exec: {command: x, apiVersion: client.authentication.k8s.io/v1}",
        Refuse,
    ),
    (
        SOUND,
        "exec: {command: x, apiVersion: client.authentication.k8s.io/v1alpha1, interactiveMode: Never}",
        Refuse,
    ),
    (
        SOUND,
        "exec: {command: x, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Sometimes}",
        Refuse,
    ),
    (
        SOUND,
        "exec: {command: x, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, env: [{value: a}]}",
        Refuse,
    ),
    (
        SOUND,
        "exec: {command: x, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, env: [{name: A}]}",
        Take,
    ),
    (
        SOUND,
        "exec: {command: '', apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never}",
        Refuse,
    ),
    (
        SOUND,
        "token: t, exec: {command: x, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never}",
        Take,
    ),
    (
        SOUND,
        "exec: {command: x, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Always}",
        WeRefuse,
    ),
    (SOUND, "username: a, password: b", Take),
    (SOUND, "password: b", Take),
    (SOUND, "as: somebody", Take),
    (SOUND, "client-key: /k", WeRefuse),
    ("server: 'h:6443', certificate-authority: /ca", "", WeRefuse),
    (
        "server: 'https://h', certificate-authority: /ca, proxy-url: 'socks5://u:p@p:1'",
        "",
        Take,
    ),
    (
        "server: 'https://h', certificate-authority: /ca, certificate-authority: /ca",
        "",
        WeRefuse,
    ),
];

#[test]
fn members_mean_what_they_mean_to_kubectl() {
    for (cluster, user, expected) in MEMBERS {
        let ours = parse(&one(cluster, user));
        let is_taken = matches!(expected, Take);
        assert_eq!(ours.is_ok(), is_taken, "{cluster} | {user}: {ours:?}");
        if let (Refuse | WeRefuse, Err(error)) = (expected, ours) {
            assert!(error.to_string().contains("kubelet.conf"), "{error}");
        }
    }
}

#[test]
fn the_file_around_the_members_means_what_it_means_to_kubectl() {
    // kubectl reads the first of several documents and says nothing of the others.
    parse(&format!("{}---\nsecond: document\n", one(SOUND, ""))).unwrap_err();
    // The file around them.
    for text in [
        format!("\u{feff}{}", one(SOUND, "")),
        format!("---\n{}", one(SOUND, "")),
        one(SOUND, "").replace("}}]", "}}, null, {name: null}, {}]"),
        one(SOUND, "").replace(", user: {}", ", user: null"),
        one(SOUND, "").replace(", user: {}", ""),
    ] {
        let ours = parse(&text);
        assert!(ours.is_ok(), "{ours:?} for\n{text}");
    }
}

#[test]
fn what_stands_behind_a_link_is_written_and_the_link_stays() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real");
    std::fs::create_dir(&real).unwrap();
    let kubeconfig = parse(&one(SOUND, "token: t")).unwrap();
    let link = dir.path().join("link.conf");
    std::os::unix::fs::symlink("second.conf", &link).unwrap();
    std::os::unix::fs::symlink("real/kubelet.conf", dir.path().join("second.conf")).unwrap();
    // The first time it leads nowhere yet.
    for _ in 0..2 {
        kubeconfig.write(&link, &Names::BOOTSTRAP).unwrap();
        assert!(link.is_symlink());
        assert_eq!(
            Kubeconfig::read(&real.join("kubelet.conf")).unwrap(),
            kubeconfig
        );
    }
    let circle = dir.path().join("circle");
    std::os::unix::fs::symlink("circle", &circle).unwrap();
    let error = kubeconfig.write(&circle, &Names::BOOTSTRAP).unwrap_err();
    assert!(error.to_string().contains("circle"), "{error}");
}

#[test]
fn without_an_authority_it_is_the_hosts() {
    for cluster in [
        "server: 'https://h'",
        "server: 'https://h', certificate-authority: ''",
    ] {
        let kubeconfig = parse(&one(cluster, "")).unwrap();
        assert_eq!(kubeconfig.cluster.trust, Trust::System);
        let yaml = kubeconfig.to_yaml(&Names::BOOTSTRAP);
        assert_eq!(parse(&yaml).unwrap(), kubeconfig, "{}", &*yaml);
    }
}

#[test]
fn what_is_no_file_is_named_and_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let error = Kubeconfig::read(&fifo).unwrap_err().to_string();
    assert!(error.contains("it is a FIFO, not a file"), "{error}");
    let error = Source::File(fifo.clone()).read().unwrap_err().to_string();
    assert!(error.contains("FIFO"), "{error}");
    let error = Source::File("/dev/null".into()).read().unwrap_err();
    assert!(error.to_string().contains("device"), "{error}");
    let token = Token::File {
        path: fifo,
        fallback: None,
    };
    token.read().unwrap_err();
}

#[test]
fn pem_files_are_read_in_whatever_encoding() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.crt");
    std::fs::write(
        &path,
        b"\xef\xbb\xbf-----BEGIN A-----\nAAAA\n-----END A----------BEGIN B-----\xfc",
    )
    .unwrap();
    let text = Source::File(path).read().unwrap();
    assert!(
        text.expose().starts_with("-----BEGIN A"),
        "{}",
        text.expose()
    );
    assert!(
        text.expose().contains("-----\n-----BEGIN B"),
        "{}",
        text.expose()
    );
}

#[test]
fn a_command_with_a_separator_is_a_path_seen_from_the_kubeconfig() {
    for (command, expected) in [
        ("plugin", "plugin"),
        ("./plugin", "/etc/everleaf/./plugin"),
        ("bin/plugin", "/etc/everleaf/bin/plugin"),
        ("/usr/bin/plugin", "/usr/bin/plugin"),
    ] {
        let exec = format!(
            "exec: {{command: {command}, apiVersion: client.authentication.k8s.io/v1beta1, args: [a, s3cret]}}"
        );
        let user = parse(&one(SOUND, &exec)).unwrap().user;
        assert!(!format!("{user:?}").contains("s3cret"));
        let plugin = user.exec.unwrap();
        assert_eq!(plugin.command, Path::new(expected));
        assert_eq!(plugin.version, ExecVersion::V1Beta1);
        assert_eq!(plugin.args.len(), 2);
        assert_eq!(plugin.cluster_config, None);
    }
}

/// Other authorities go where the old ones stood; all else stays, byte for byte.
#[test]
fn the_authorities_are_replaced_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("kubelet.conf");
    let text = "# ours\napiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: \"VEVTVA==\"\n    server: https://a:6443\n  name: a\n\
                - cluster:\n    certificate-authority-data: T1RIRVI=\n    server: https://b:6443\n  name: b\n\
                contexts:\n- context: {cluster: a, user: u}\n  name: c\ncurrent-context: c\nusers:\n- name: u\n  user: {token: t}\n";
    std::fs::write(&path, text).unwrap();
    Kubeconfig::replace_bundle(&path, "ONE\nTWO\n").unwrap();
    let after = std::fs::read_to_string(&path).unwrap();
    assert_eq!(after, text.replace("VEVTVA==", "T05FClRXTwo="));
    let Trust::Bundle(bundle) = Kubeconfig::read(&path).unwrap().cluster.trust else {
        panic!("no bundle");
    };
    assert_eq!(bundle.read().unwrap().expose(), "ONE\nTWO\n");
    // Written in another way, and in a file of its own: left alone, with what to do.
    let flow = TWO_CONTEXTS.replace("CURRENT", "context-a");
    let file = TWO_CONTEXTS.replace("CURRENT", "context-b");
    for (text, expected) in [
        (flow, "put the authorities of"),
        (file, "holds no authorities itself"),
    ] {
        std::fs::write(&path, &text).unwrap();
        let refused = Kubeconfig::replace_bundle(&path, "ONE\n").unwrap_err();
        assert!(refused.contains(expected), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
