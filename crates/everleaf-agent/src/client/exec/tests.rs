use super::*;
use crate::kubeconfig::{Kubeconfig, Source};
use crate::testing::{Ca, hours, now};
use std::path::Path;
use std::sync::Arc;

const SOUND: &str = "apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never";

/// A kubeconfig whose user runs this with `sh -c`.
fn kubeconfig(script: &str, cluster: &str, members: &str) -> Kubeconfig {
    let script = Value::from(script);
    let text = format!(
        "current-context: x\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{{cluster}}}}}]\n\
         users: [{{name: u, user: {{exec: {{command: sh, args: [-c, {script}], {members}}}}}}}]\n"
    );
    Kubeconfig::parse(&text, Path::new("/etc/everleaf/k.conf")).unwrap()
}

fn access(script: &str) -> Access {
    of(&kubeconfig(script, "server: 'https://h'", SOUND))
}

fn of(kubeconfig: &Kubeconfig) -> Access {
    Access::from_kubeconfig(kubeconfig, Path::new("k")).unwrap()
}

/// A script that answers with these members of `status`.
fn answering(status: &str) -> String {
    format!(
        "cat <<'END'\n{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{status}}}\nEND\n"
    )
}

/// A script that answers with the number of its calls, counted in this directory, as token.
fn counting(directory: &Path, expiry: &str) -> String {
    format!(
        "cd {}; echo >> calls; n=$(wc -l < calls)\n\
         echo '{{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\
         \"status\":{{\"token\":\"token-'$n'\"{expiry}}}}}'\n",
        directory.display()
    )
}

fn token(access: &Access) -> &str {
    match &access.identity {
        Identity::Token(token) => token.expose(),
        other => panic!("no token: {other:?}"),
    }
}

async fn refusal(access: &Access) -> String {
    access.resolved(now()).await.expect_err("it fails")
}

#[tokio::test]
async fn the_command_is_told_what_is_wanted() {
    let home = tempfile::tempdir().unwrap();
    let told = home.path().join("told");
    let script = format!(
        "echo \"$MINE $KUBERNETES_EXEC_INFO\" > {}; cat; {}",
        told.display(),
        answering(r#"{"token":"t0p-s3cret"}"#)
    );
    let ca = Ca::new("ca");
    let cluster = "server: 'https://h:6443/x', certificate-authority: /nowhere, tls-server-name: n, proxy-url: 'http://p:1', \
                   extensions: [{name: client.authentication.k8s.io/exec, extension: {audience: a}}, {name: other}]";
    let members =
        format!("{SOUND}, env: [{{name: MINE, value: my-s3cret}}], provideClusterInfo: true");
    let mut kubeconfig = kubeconfig(&script, cluster, &members);
    kubeconfig.cluster.trust = ca.trust();
    let access = of(&kubeconfig);
    let resolved = access.resolved(now()).await.unwrap();
    assert_eq!(token(&resolved), "t0p-s3cret");
    let text = std::fs::read_to_string(told).unwrap();
    let (mine, info) = text.split_once(' ').unwrap();
    assert_eq!(mine, "my-s3cret");
    let Trust::Bundle(Source::Inline(pem)) = ca.trust() else {
        unreachable!()
    };
    let expected = json!({
        "kind": "ExecCredential",
        "apiVersion": "client.authentication.k8s.io/v1",
        "spec": {"interactive": false, "cluster": {
            "server": "https://h:6443/x",
            "certificate-authority-data": BASE64_STANDARD.encode(pem.expose()),
            "tls-server-name": "n",
            "proxy-url": "http://p:1",
            "config": {"audience": "a"},
        }},
    });
    assert_eq!(serde_json::from_str::<Value>(info).unwrap(), expected);
    let shown = format!("{access:?} {resolved:?} {kubeconfig:?} {KEPT:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[tokio::test]
async fn what_it_gave_out_is_kept_until_it_ends_or_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let script = counting(
        home.path(),
        r#","expirationTimestamp":"2030-01-01T00:00:00Z""#,
    );
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let good = at("2029-12-31T23:59:59Z");
    let first = access(&script).resolved(good).await.unwrap().into_owned();
    assert_eq!(token(&first), "token-1");
    // Another reading of the same file is the same plugin; another file is not.
    assert_eq!(
        token(&access(&script).resolved(good).await.unwrap()),
        "token-1"
    );
    let other = access(&format!("{script}# other"));
    assert_eq!(token(&other.resolved(good).await.unwrap()), "token-2");
    let ended = at("2030-01-01T00:00:00Z");
    let access = access(&script);
    let second = access.resolved(ended).await.unwrap();
    assert_eq!(token(&second), "token-3");
    // Refused: once for all who used it.
    let third = access.renewed(&second).await.unwrap().unwrap();
    assert_eq!(token(&third), "token-4");
    assert_eq!(
        token(&access.renewed(&second).await.unwrap().unwrap()),
        "token-4"
    );
}

#[tokio::test]
async fn the_same_credential_again_is_no_other() {
    let access = access(&answering(r#"{"token":"always-this"}"#));
    let used = access.resolved(now()).await.unwrap();
    assert_eq!(access.renewed(&used).await, Ok(None));
}

#[tokio::test]
async fn a_certificate_goes_before_a_token() {
    let ca = Ca::new("ca");
    let credential = ca.node("n1", 100);
    let status = json!({
        "token": "t",
        "clientCertificateData": credential.chain().to_pem(),
        "clientKeyData": credential.key().to_pem().as_str(),
    });
    let access = access(&answering(&status.to_string()));
    let resolved = access.resolved(now() + hours(1)).await.unwrap();
    let Identity::Certificate(presented) = &resolved.identity else {
        panic!("{resolved:?}")
    };
    assert_eq!(presented.fingerprint(), credential.leaf().fingerprint());
}

#[tokio::test]
async fn what_goes_wrong_is_said_without_the_credential() {
    for (script, expected) in [
        (
            "echo one >&2; echo two >&2; echo >&2; exit 3",
            "it exited with 3: two",
        ),
        (
            "printf 'a\\033[31mb' >&2; exit 1",
            "it exited with 1: a [31mb",
        ),
        ("exit 1", "it exited with 1"),
        ("kill -9 $$", "signal 9 ended it"),
        (
            "echo s3cret-token; echo have s3cret-token >&2; exit 1",
            "not shown",
        ),
        ("echo s3cret-token", "no ExecCredential (line 1)"),
        (
            "echo '{\"status\":{\"token\":[\"s3cret-token\"]}}'",
            "no ExecCredential (line 1)",
        ),
        ("echo '{}'", "no ExecCredential (kind)"),
        (
            "echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1beta1\"}'",
            "another apiVersion",
        ),
        (
            "echo '{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\"}'",
            "no status",
        ),
        ("head -c 2000000 /dev/zero; sleep 1000", "more than 1 MiB"),
    ] {
        let error = refusal(&access(script)).await;
        assert!(
            error.starts_with("credential plugin sh (exec): "),
            "{error}"
        );
        assert!(error.contains(expected), "{script}: {error}");
        assert!(!error.contains("s3cret"), "{script}: {error}");
    }
    for (status, expected) in [
        ("{}", "neither a token nor a certificate"),
        (r#"{"token":""}"#, "neither a token nor a certificate"),
        (r#"{"clientCertificateData":"x"}"#, "without a key"),
        (r#"{"clientKeyData":"s3cret"}"#, "without a certificate"),
        (
            r#"{"clientCertificateData":"x","clientKeyData":"s3cret"}"#,
            "clientCertificateData",
        ),
        (
            r#"{"token":"s3cret","expirationTimestamp":"soon"}"#,
            "no date",
        ),
    ] {
        let error = refusal(&access(&answering(status))).await;
        assert!(error.contains(expected), "{status}: {error}");
        assert!(!error.contains("s3cret"), "{status}: {error}");
    }
}

#[tokio::test]
async fn a_command_that_is_not_there_comes_with_its_hint() {
    let Identity::Exec(plugin) = access("").identity else {
        unreachable!()
    };
    for (command, expected) in [
        ("no-such-plugin", "it is not in PATH; get it\u{20}from x"),
        ("/no/such/plugin", "it cannot be started"),
    ] {
        let plugin = ExecPlugin {
            command: command.into(),
            install_hint: Some("get it\nfrom x\n".to_owned()),
            ..(*plugin).clone()
        };
        let error = run(&plugin, "").await.unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert!(error.ends_with("get it from x"), "{error}");
    }
}

/// As a command that starts an agent of its own, which inherits its output.
#[tokio::test]
async fn what_it_has_started_holds_nobody_up() {
    let limit = Duration::from_secs(20);
    let script = format!("sleep 1000 & {}", answering(r#"{"token":"t"}"#));
    let access = access(&script);
    let resolved = tokio::time::timeout(limit, access.resolved(now())).await;
    assert_eq!(token(&resolved.expect("it has ended").unwrap()), "t");
    let broken = refusal(&self::access("sleep 1000 & echo no >&2; exit 3")).await;
    assert!(broken.ends_with("it exited with 3: no"), "{broken}");
}

#[tokio::test]
async fn a_token_that_no_header_may_hold_is_its_fault() {
    let error = refusal(&access(&answering(r#"{"token":"a\nb"}"#))).await;
    let expected = "(exec): the token that it gave out holds line breaks";
    assert!(error.contains(expected), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_does_not_end_is_given_up() {
    let error = refusal(&access("sleep 1000")).await;
    assert!(error.contains("did not end within 60 s"), "{error}");
}

#[tokio::test]
async fn one_call_at_a_time() {
    let home = tempfile::tempdir().unwrap();
    let script = format!(
        "cd {}; mkdir busy || exit 7; sleep 0.05; rmdir busy; {}",
        home.path().display(),
        answering(r#"{"token":"t","expirationTimestamp":"2000-01-01T00:00:00Z"}"#)
    );
    let access = Arc::new(access(&script));
    let calls = (0..4).map(|_| {
        let access = Arc::clone(&access);
        tokio::spawn(async move {
            access
                .resolved(now())
                .await
                .map(|found| token(&found).to_owned())
        })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap().as_deref(), Ok("t"));
    }
}

#[tokio::test]
async fn one_that_failed_is_not_run_again_at_once() {
    let home = tempfile::tempdir().unwrap();
    let runs = home.path().join("runs");
    let access = access(&format!("echo x >> {}; exit 3", runs.display()));
    let count = || std::fs::read_to_string(&runs).unwrap().lines().count();
    access.resolved(now()).await.unwrap_err();
    // The clock stands still while no command runs, so that a slow machine does not matter.
    tokio::time::pause();
    let error = access.resolved(now()).await.unwrap_err();
    assert!(error.contains("it exited with 3"), "{error}");
    assert_eq!(count(), 1);
    tokio::time::advance(FAILED_REST).await;
    tokio::time::resume();
    access.resolved(now()).await.unwrap_err();
    assert_eq!(count(), 2);
}
