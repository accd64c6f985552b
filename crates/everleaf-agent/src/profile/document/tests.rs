//! Profiles in, profiles or sentences out.

use super::*;
use crate::profile::{Account, Action, Form};
use everleaf_pki::{KeyAlgorithm, Usage};
use everleaf_rotation::Timing;
use rustix::process::Signal;
use std::time::Duration;

const WHOLE: &str = r#"
apiVersion: agent.everleaf.dev/v1alpha1
kind: CertificateProfile
metadata:
  name: etcd-peer
spec:
  signerName: example.com/etcd
  subject:
    commonName: etcd-{node}
    organizations: [etcd]
  dnsNames: ["{node}.example.com", localhost]
  ipAddresses: [10.0.0.5, "fd00::1"]
  uris: ["spiffe://example.com/{node}"]
  usages: [digital signature, server auth, client auth]
  keyAlgorithm: ECDSA-P384
  expirationSeconds: 86400
  renewalWindow: {opens: 50%, closes: 60%}
  firstRenewalSpread: 60%
  authoritiesFile: /etc/etcd/ca.crt
  outputs:
  - {certificate: /etc/etcd/peer.crt, key: /etc/etcd/peer.key, ca: /etc/etcd/peer-ca.crt, owner: etcd, group: 996, mode: "0640"}
  - pem: /etc/etcd/peer.pem
  - kubeconfig: /etc/etcd/kubeconfig
  - {pkcs12: /etc/etcd/peer.p12, passwordFile: /etc/etcd/password}
  afterRenewal: {command: [systemctl, kill, -s, HUP, etcd], timeout: 1m}
---
apiVersion: agent.everleaf.dev/v1alpha1
kind: CertificateProfile
metadata: {name: web}
spec:
  signerName: kubernetes.io/kubelet-serving
  subject: {commonName: "system:node:{node}"}
  usages: [digital signature]
  afterRenewal: {signal: SIGHUP, pidFile: /run/nginx.pid, processName: nginx}
---
apiVersion: agent.everleaf.dev/v1alpha1
kind: CertificateProfile
metadata: {name: proxy}
spec:
  signerName: example.com/web
  dnsNames: [web.example.com]
  usages: [server auth]
  firstRenewalSpread: 90%
  afterRenewal: {reloadUnit: haproxy.service}
"#;

fn files(paths: &[&Path]) -> ProfileFiles {
    ProfileFiles {
        files: paths.iter().map(|path| path.to_path_buf()).collect(),
        directory: None,
    }
}

fn in_directory(directory: &Path) -> ProfileFiles {
    ProfileFiles {
        files: Vec::new(),
        directory: Some(directory.to_owned()),
    }
}

fn read(text: &str) -> Result<Vec<Profile>, Vec<String>> {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("p.yaml");
    std::fs::write(&file, text).unwrap();
    let shown = file.display().to_string();
    read_profiles(&files(&[&file]), "n1").map_err(|problems| {
        let texts = problems.iter().map(ToString::to_string);
        texts.map(|text| text.replace(&shown, "F")).collect()
    })
}

#[test]
fn a_whole_profile() {
    let profiles = read(WHOLE).unwrap();
    let [etcd, web, proxy] = &profiles[..] else {
        panic!("three: {profiles:?}");
    };
    assert_eq!(etcd.name, "etcd-peer");
    assert_eq!(etcd.signer_name.as_str(), "example.com/etcd");
    assert_eq!(etcd.template.subject.common_name, "etcd-n1");
    assert_eq!(etcd.template.subject.organizations, ["etcd"]);
    assert_eq!(etcd.template.dns_names, ["n1.example.com", "localhost"]);
    assert_eq!(etcd.template.ip_addresses.len(), 2);
    assert_eq!(etcd.template.uris, ["spiffe://example.com/n1"]);
    let usages = [
        Usage::DigitalSignature,
        Usage::ServerAuth,
        Usage::ClientAuth,
    ];
    assert_eq!(etcd.usages, usages);
    assert_eq!(etcd.key, KeyAlgorithm::EcdsaP384);
    assert_eq!(etcd.expiration_seconds, Some(86400));
    assert_eq!(etcd.timing, Timing::new(50, 60, 60).unwrap());
    assert_eq!(etcd.authorities, Some("/etc/etcd/ca.crt".into()));
    let [files, pem, kubeconfig, store] = &etcd.outputs[..] else {
        panic!("four: {:?}", etcd.outputs);
    };
    assert_eq!(files.owner, Some(Account::Name("etcd".to_owned())));
    assert_eq!((&files.group, files.mode), (&Some(Account::Id(996)), 0o640));
    assert_eq!(files.form.paths().len(), 3);
    assert_eq!(pem.form, Form::Pem("/etc/etcd/peer.pem".into()));
    assert_eq!((&pem.owner, pem.mode), (&None, 0o600));
    assert_eq!(
        kubeconfig.form,
        Form::Kubeconfig("/etc/etcd/kubeconfig".into())
    );
    let pkcs12 = Form::Pkcs12 {
        path: "/etc/etcd/peer.p12".into(),
        password_file: "/etc/etcd/password".into(),
    };
    assert_eq!(store.form, pkcs12);
    let run = |words: &[&str], seconds| Action::Run {
        command: words.iter().map(ToString::to_string).collect(),
        timeout: Duration::from_secs(seconds),
    };
    let words = ["systemctl", "kill", "-s", "HUP", "etcd"];
    assert_eq!(etcd.after, Some(run(&words, 60)));
    let signal = Action::Signal {
        signal: Signal::HUP,
        pid_file: "/run/nginx.pid".into(),
        process_name: Some("nginx".to_owned()),
    };
    assert_eq!(web.after, Some(signal));
    assert_eq!(
        (web.timing, web.key),
        (Timing::default(), KeyAlgorithm::EcdsaP256)
    );
    assert_eq!(proxy.timing, Timing::new(70, 90, 90).unwrap());
    let words = ["systemctl", "reload", "--", "haproxy.service"];
    assert_eq!(proxy.after, Some(run(&words, 30)));
}

/// A change of the last document, and the one problem that it brings.
#[track_caller]
fn refused(from: &str, to: &str, expected: &str) {
    let text = WHOLE.replacen(from, to, 1);
    assert_ne!(text, WHOLE, "{from} is there");
    let problems = read(&text).expect_err(to);
    assert!(
        problems.len() == 1 && problems[0].contains(expected),
        "{to}: {problems:#?} instead of {expected:?}"
    );
}

/// What is written in place of what, and what is said of it.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "  usages: [digital signature, s",
        "  usage: []\n  usages: [digital signature, s",
        "F, document 1: spec.usage: there is no such field; did you mean usages?",
    ),
    (
        "owner: etcd,",
        "owner: etcd, key2: x,",
        "spec.outputs[0].key2: there is no such field",
    ),
    (
        "{opens: 50%,",
        "{open: 50%, opens: 50%,",
        "spec.renewalWindow.open: there is no such field; did you mean opens?",
    ),
    (
        "kind: CertificateProfile",
        "kind: Profile",
        "kind: must be CertificateProfile",
    ),
    (
        "agent.everleaf.dev/v1alpha1",
        "v1",
        "apiVersion: must be agent.everleaf.dev/v1alpha1",
    ),
    (
        "name: etcd-peer",
        "name: Etcd",
        "\"Etcd\" cannot name a profile",
    ),
    (
        "name: etcd-peer",
        "name: client",
        "is a certificate of the node itself",
    ),
    (
        "name: etcd-peer",
        "name: web",
        "two profiles have the name \"web\"",
    ),
    (
        "name: etcd-peer",
        "nam: x\n  name: etcd-peer",
        "metadata.nam: there is no such field; did you mean name?",
    ),
    (
        "commonName: etcd-{node}",
        "commonName: etcd-{host}",
        "{node} stands for the node's name",
    ),
    ("10.0.0.5", "10.0.0.500", "\"10.0.0.500\" is no IP address"),
    ("spiffe://example.com/{node}", "example", "is no URI"),
    ("localhost", "löcal", "punycode"),
    (
        "server auth, client auth",
        "server auth, client",
        "unrecognized usage values",
    ),
    (
        "server auth, client auth",
        "server auth, server auth",
        "names a usage twice",
    ),
    ("ECDSA-P384", "P384", "is no kind of key; there are"),
    ("86400", "60", "must be at least 600"),
    ("86400", "1d", "must be a whole number"),
    ("opens: 50%", "opens: 0.5", "must be a text"),
    (
        "opens: 50%, closes: 60%",
        "opens: 60%, closes: 50%",
        "must lie between 10% and 95%",
    ),
    (
        "firstRenewalSpread: 60%",
        "firstRenewalSpread: 61%",
        "at most what is over when the renewal window closes: 60%",
    ),
    ("/etc/etcd/peer.crt", "peer.crt", "is no absolute path"),
    ("/etc/etcd/peer.crt", "/etc/etcd/", "is no absolute path"),
    (
        "/etc/etcd/peer.crt",
        concat!(
            "/etc/",
            "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
            "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
        ),
        "outputs[0].certificate: is too long",
    ),
    (
        "passwordFile: /etc/etcd/password",
        "passwordFile: /etc/etcd/peer.p12",
        "/etc/etcd/peer.p12 is a passwordFile, and is written",
    ),
    (
        "authoritiesFile: /etc/etcd/ca.crt",
        "authoritiesFile: /etc/etcd/peer-ca.crt",
        "/etc/etcd/peer-ca.crt is written by this profile itself",
    ),
    (
        "example.com/etcd",
        "etcd",
        "\"etcd\" is no name of a signer",
    ),
    ("example.com/etcd", "local/etcd", "is no name of a signer"),
    (
        "example.com/etcd",
        "kubernetes.io/legacy-unknown",
        "is no name of a signer",
    ),
    ("{node}.example.com", "{node} example.com", "is no DNS name"),
    (
        "[digital signature, server auth, client auth]",
        "[]",
        "usages: is missing, or empty",
    ),
    (
        "[systemctl, kill, -s, HUP, etcd]",
        "[]",
        "command: names no program",
    ),
    (
        "/etc/etcd/peer.crt",
        "/etc/etcd/../x",
        "is no absolute path",
    ),
    (
        "/etc/etcd/peer.crt",
        "/etc/etcd/peer.pem",
        "/etc/etcd/peer.pem is written twice",
    ),
    (
        "key: /etc/etcd/peer.key, ",
        "",
        "certificate and key belong together",
    ),
    (
        ", passwordFile: /etc/etcd/password",
        "",
        "pkcs12 and passwordFile belong together",
    ),
    (
        "- pem: /etc/etcd/peer.pem",
        "- owner: root",
        "name one of: pem;",
    ),
    ("\"0640\"", "\"0644\"", "nothing for everybody"),
    ("\"0640\"", "640", "must be a text"),
    ("\"0640\"", "\"0240\"", "the owner at least"),
    (
        "timeout: 1m",
        "timeout: 11m",
        "is no duration such as 30s, up to 10m",
    ),
    (
        "command: [systemctl, kill, -s, HUP, etcd]",
        "reloadUnit: \"-x\"",
        "is no name of a systemd unit",
    ),
    ("SIGHUP", "KILL", "\"KILL\" is none of HUP,"),
    (
        "pidFile: /run/nginx.pid, ",
        "",
        "spec.afterRenewal.pidFile: is missing",
    ),
    (
        "{reloadUnit: haproxy.service}",
        "{pidFile: /x, reloadUnit: haproxy.service}",
        "pidFile: belongs to signal",
    ),
    (
        "{reloadUnit: haproxy.service}",
        "{}",
        "name one of: command;",
    ),
    (
        "  dnsNames: [web.example.com]\n",
        "",
        "a certificate needs a name",
    ),
    (
        "  signerName: example.com/web\n",
        "",
        "spec.signerName: is missing",
    ),
];

#[test]
fn what_is_not_understood_is_refused_by_name() {
    for (from, to, expected) in REFUSED.iter().copied() {
        if expected == "must be a text" {
            // Said of the type, and once more of what is wanted.
            let problems = read(&WHOLE.replacen(from, to, 1)).unwrap_err();
            assert!(problems[0].contains(expected), "{problems:?}");
        } else {
            refused(from, to, expected);
        }
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let text = WHOLE.replace("10.0.0.5", "x").replace("SIGHUP", "1");
    assert_eq!(read(&text).unwrap_err().len(), 2);
}

#[test]
fn hostile_files_are_refused() {
    for text in [
        "",
        "---\n",
        "[]",
        "a: 1",
        "spec: {spec: {}}",
        "\u{0}",
        "- x",
        "apiVersion: [",
        "metadata: []",
    ] {
        assert!(read(text).is_err(), "{text:?}");
    }
    let missing = read_profiles(&files(&[Path::new("/nowhere/p.yaml")]), "n1").unwrap_err();
    assert!(
        missing[0]
            .to_string()
            .starts_with("cannot read the profile /nowhere/p.yaml: ")
    );
    let long = WHOLE.replace("etcd-{node}", &"x".repeat(65));
    assert!(read(&long).unwrap_err()[0].contains("longer than 64"));
}

#[test]
fn a_directory_is_read_by_its_endings() {
    let home = tempfile::tempdir().unwrap();
    for name in ["a.yaml", ".b.yaml", "c.txt", "d.yaml~"] {
        let text = if name == "a.yaml" { WHOLE } else { "nonsense" };
        std::fs::write(home.path().join(name), text).unwrap();
    }
    assert_eq!(
        read_profiles(&in_directory(home.path()), "n1")
            .unwrap()
            .len(),
        3
    );
    let nowhere = home.path().join("nowhere");
    assert!(read_profiles(&in_directory(&nowhere), "n1").is_err());
    // No profile yet is no mistake: the directory may be filled later.
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(
        read_profiles(&in_directory(empty.path()), "n1"),
        Ok(Vec::new())
    );
}
