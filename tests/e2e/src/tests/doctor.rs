//! `everleaf doctor`: a healthy server and a healthy node have no finding; what is spoilt through
//! kubectl, in files or on the clock is named.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Answer, FakeClock, Kubectl, Sandbox, Up, arg, ensure_that, eventually, free_port, run, same,
};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "doctor_names_what_is_wrong_with_a_cluster",
        long: false,
        run: cluster,
    },
    Test {
        name: "doctor_names_what_is_wrong_with_the_way_to_it",
        long: false,
        run: server,
    },
    Test {
        name: "doctor_names_what_is_wrong_with_a_node",
        long: false,
        run: node,
    },
];

const SECONDS_MAX: u64 = 60;

/// Somebody who asks.
struct Asker<'a> {
    sandbox: &'a Sandbox,
    args: Vec<String>,
    clock: Option<FakeClock>,
}

impl<'a> Asker<'a> {
    fn with(sandbox: &'a Sandbox, kubeconfig: &Path) -> Self {
        Self {
            sandbox,
            args: vec!["--kubeconfig".to_owned(), arg(kubeconfig).to_owned()],
            clock: None,
        }
    }

    fn ask(&self, args: &[&str]) -> Result<Answer> {
        let mut command = self.sandbox.everleaf(&["doctor"]);
        command.args(&self.args).args(args);
        if let Some(clock) = &self.clock {
            clock.apply(self.sandbox, &mut command);
        }
        run(&mut command)
    }

    /// Names of what is found, and the exit code that says so.
    fn found(&self, args: &[&str]) -> Result<Vec<String>> {
        let answer = self.ask(&[args, &["-o", "json"]].concat())?;
        let report: Value = serde_json::from_str(&answer.stdout)
            .with_context(|| format!("{}{}", answer.stdout, answer.stderr))?;
        let sections = report["sections"].as_array().context("no sections")?;
        let findings = sections.iter().flat_map(|one| one["findings"].as_array());
        let findings: Vec<&Value> = findings.flatten().collect();
        let is_bad = |finding: &&Value| finding["severity"] != "note";
        let is_unseen = |finding: &&Value| finding["fault"] == "not-seen";
        let code = match (findings.iter().any(is_bad), findings.iter().any(is_unseen)) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 0,
        };
        same("code", answer.code, Some(code))?;
        let names = findings.iter().filter_map(|one| one["fault"].as_str());
        // Where the tests run may lie in memory.
        let names = names.filter(|name| *name != "cert-dir-volatile");
        Ok(names.map(str::to_owned).collect())
    }

    /// Within seconds it is these, in any order.
    fn finds(&self, section: &str, wanted: &[&str]) -> Result<()> {
        let mut wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        wanted.sort();
        eventually(section, SECONDS_MAX, || {
            let mut found = self.found(&["--section", section])?;
            found.sort();
            same(section, found, wanted.clone())
        })
    }
}

fn cluster(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    let asker = Asker::with(sandbox, &up.path("admin.conf"));
    sandbox.point("a healthy server: no finding, code 0", || {
        eventually("no finding", SECONDS_MAX, || {
            same("findings", asker.found(&[])?, Vec::<String>::new())
        })?;
        let told = asker.ask(&[])?.ok()?;
        ensure_that!(told.trim_end().ends_with("nothing is wrong."), "{told}");
        ensure_that!(told.lines().count() == 12, "a line each: {told}");
        Ok(())
    })?;
    requests(sandbox, &up, &asker)?;
    tokens(sandbox, &up, &asker)?;
    rights(&up, &asker)?;
    nodes(sandbox, &up, &asker)?;
    sandbox.point(
        "revocations: an entry that means nothing; a token beside a revoked node",
        || {
            let map = [
                "-n",
                "kube-system",
                "create",
                "configmap",
                "everleaf-revocations",
            ];
            up.admin()
                .quiet(&[&map[..], &["--from-literal=n7=x"]].concat())?;
            asker.finds("revocations", &["revocation-unknown-entry"])?;
            let patch =
                json!({"data": {"n7": null, "node.n7": "{\"at\":\"2026-01-01T00:00:00Z\"}"}});
            let patch = [
                "-n",
                "kube-system",
                "patch",
                "configmap",
                "everleaf-revocations",
                "--type=merge",
                "-p",
                &patch.to_string(),
            ];
            up.admin().quiet(&patch)?;
            asker.finds("revocations", &["revoked-with-token"])
        },
    )?;
    sandbox.point(
        "who may not look is told so of each section, with code 2",
        || {
            let nobody = Asker::with(sandbox, &up.path("bootstrap-kubelet.conf"));
            let found = nobody.found(&["--section", "nodes,tokens,rbac"])?;
            same("findings", found, vec!["not-seen".to_owned(); 3])
        },
    )?;
    Ok(Verdict::Passed)
}

fn create(sandbox: &Sandbox, admin: &Kubectl<'_>, object: &Value) -> Result<()> {
    let name = object["metadata"]["name"].as_str().unwrap_or("list");
    let file = sandbox.write(&format!("{name}.json"), &object.to_string())?;
    admin
        .quiet(&["create", "--validate=false", "-f", arg(&file)])
        .map(drop)
}

/// A request of somebody's, as the administrator files it.
fn request(sandbox: &Sandbox, name: &str, signer: &str) -> Result<Value> {
    let (key, pem) = (sandbox.path("ann.key"), sandbox.path("ann.csr"));
    let make = [
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        "/CN=ann",
    ];
    sandbox
        .openssl(&[&make[..], &["-keyout", arg(&key), "-out", arg(&pem)]].concat())?
        .ok()?;
    Ok(everleaf_stage::object(
        name,
        &fs::read(&pem)?,
        signer,
        &["client auth"],
    ))
}

fn requests(sandbox: &Sandbox, up: &Up<'_>, asker: &Asker<'_>) -> Result<()> {
    const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
    let admin = up.admin();
    sandbox.point("requests: for a person, misspelt, denied, a flood", || {
        create(sandbox, &admin, &request(sandbox, "by-hand", CLIENT)?)?;
        asker.finds("requests", &["requests-for-people"])?;
        let told = asker.ask(&["--section", "requests"])?.ok()?;
        ensure_that!(told.contains("certificate approve by-hand"), "{told}");
        let strict = ["--section", "requests", "--fail-on", "note"];
        same("code", asker.ask(&strict)?.code, Some(1))?;
        admin.quiet(&["certificate", "deny", "by-hand"])?;
        asker.finds("requests", &["requests-denied"])?;
        create(
            sandbox,
            &admin,
            &request(sandbox, "misspelt", "kubernetes.io/kubelet")?,
        )?;
        asker.finds("requests", &["requests-denied", "requests-misspelt"])?;
        let items: Result<Vec<Value>> = (0..16)
            .map(|index| request(sandbox, &format!("many-{index}"), CLIENT))
            .collect();
        create(
            sandbox,
            &admin,
            &json!({"apiVersion": "v1", "kind": "List", "items": items?}),
        )?;
        let all = [
            "requests-denied",
            "requests-misspelt",
            "requests-for-people",
            "requests-flood",
        ];
        asker.finds("requests", &all)?;
        admin.quiet(&["delete", "csr", "--all"])?;
        asker.finds("requests", &[])
    })
}

fn tokens(sandbox: &Sandbox, up: &Up<'_>, asker: &Asker<'_>) -> Result<()> {
    let admin = up.admin();
    let secret = |name: &str, data: Value| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": {"name": name, "namespace": "kube-system"}, "stringData": data,
        })
    };
    let whole = |id: &str| {
        json!({
            "token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true", "expiration": "2090-01-01T00:00:00Z",
        })
    };
    let spoilt = |id: &str, key: &str, value: &str| {
        let mut data = whole(id);
        data[key] = json!(value);
        secret(&format!("bootstrap-token-{id}"), data)
    };
    let mut idle = whole("aaaaa3");
    idle["usage-bootstrap-authentication"] = json!("false");
    idle["usage-bootstrap-signing"] = json!("false");
    for (fault, object) in [
        ("token-for-ever", spoilt("aaaaa1", "expiration", "")),
        (
            "token-usage-value",
            spoilt("aaaaa2", "usage-bootstrap-authentication", "True"),
        ),
        ("token-no-usage", secret("bootstrap-token-aaaaa3", idle)),
        (
            "token-groups",
            spoilt("aaaaa4", "auth-extra-groups", "system:masters"),
        ),
        (
            "token-malformed",
            secret("bootstrap-token-aaaaa5", whole("bbbbb5")),
        ),
    ] {
        sandbox.point(&format!("tokens: {fault}"), || {
            create(sandbox, &admin, &object)?;
            asker.finds("tokens", &[fault])?;
            let lenient = ["--section", "tokens", "--fail-on", "error"];
            same("code", asker.ask(&lenient)?.code, Some(0))?;
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            admin.quiet(&["-n", "kube-system", "delete", "secret", name])?;
            asker.finds("tokens", &[])
        })?;
    }
    Ok(())
}

fn rights(up: &Up<'_>, asker: &Asker<'_>) -> Result<()> {
    const ROLE: &str = "system:certificates.k8s.io:certificatesigningrequests";
    let admin = up.admin();
    asker.sandbox.point(
        "rights: anybody joins, nobody renews, a role is gone",
        || {
            let role = format!("--clusterrole={ROLE}:nodeclient");
            let wide = ["create", "clusterrolebinding", "wide", &role];
            admin.quiet(&[&wide[..], &["--group=system:unauthenticated"]].concat())?;
            asker.finds("rbac", &["anybody-joins"])?;
            admin.quiet(&["delete", "clusterrolebinding", "wide"])?;
            admin.quiet(&[&wide[..], &["--group=system:authenticated"]].concat())?;
            asker.finds("rbac", &["everybody-joins"])?;
            admin.quiet(&["delete", "clusterrolebinding", "wide"])?;
            admin.quiet(&["delete", "clusterrole", &format!("{ROLE}:selfnodeclient")])?;
            asker.finds("rbac", &["renewal-right-absent", "role-absent"])
        },
    )
}

fn nodes(sandbox: &Sandbox, up: &Up<'_>, asker: &Asker<'_>) -> Result<()> {
    let admin = up.admin();
    sandbox.point("nodes: one is silent, one has a wrong clock, one is too new", || {
        create(sandbox, &admin, &json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n7"}}))?;
        let status = json!({"status": {
            "nodeInfo": {"kubeletVersion": "v1.99.0"},
            "conditions": [{"type": "Ready", "status": "Unknown", "message": "stopped posting"}],
        }});
        let patch = ["patch", "node", "n7", "--subresource=status", "--type=merge", "-p", &status.to_string()];
        admin.quiet(&patch)?;
        asker.finds("nodes", &["node-silent"])?;
        asker.finds("versions", &["versions-kubelet-newer"])?;
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "n7", "namespace": "kube-node-lease"},
            "spec": {"holderIdentity": "n7", "renewTime": "2090-01-01T00:00:00.000000Z", "leaseDurationSeconds": 40},
        });
        create(sandbox, &admin, &lease)?;
        asker.finds("nodes", &["node-silent", "node-clock"])
    })
}

/// A CA that OpenSSL makes with these arguments.
fn authority(sandbox: &Sandbox, name: &str, args: &[&str]) -> Result<PathBuf> {
    let path = sandbox.path(&format!("{name}.crt"));
    let key = sandbox.path(&format!("{name}.key"));
    let subject = format!("/CN={name}");
    let make = [
        "req",
        "-x509",
        "-nodes",
        "-subj",
        &subject,
        "-keyout",
        arg(&key),
        "-out",
        arg(&path),
    ];
    sandbox.openssl(&[&make[..], args].concat())?.ok()?;
    Ok(path)
}

const EC: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];

fn server(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    let asker = Asker::with(sandbox, &up.path("admin.conf"));
    ca_files(sandbox, &asker)?;
    let admin = Admin {
        sandbox,
        text: fs::read_to_string(up.path("admin.conf"))?,
    };
    certificates(&admin)?;
    sandbox.point(
        "a credential that is not taken; a clock that is wrong",
        || {
            let text = fs::read_to_string(up.path("bootstrap-kubelet.conf"))?;
            let text = text.replacen("token: ", "token: aaaaaa.0123456789abcdef # ", 1);
            let token = sandbox.write("token.conf", &text)?;
            Asker::with(sandbox, &token).finds("server", &["credential-refused"])?;
            let late = Asker {
                clock: Some(FakeClock::Offset(3600)),
                ..Asker::with(sandbox, &up.path("admin.conf"))
            };
            late.finds("server", &["clock-skew"])
        },
    )?;
    sandbox.point(
        "nobody there: one error, the rest was not looked at",
        || {
            let away = format!("    server: https://127.0.0.1:{}", free_port()?);
            let away = admin.changed("away.conf", admin.line("server:")?, &away)?;
            let found = away.found(&["--section", "server,nodes"])?;
            same(
                "findings",
                found,
                vec!["server-unreachable".to_owned(), "not-seen".to_owned()],
            )?;
            let nothing = Asker::with(sandbox, Path::new("none.conf"));
            let told = nothing.ask(&[])?.failed_with(2)?;
            ensure_that!(told.contains("none.conf"), "{told}");
            let told = away.ask(&["--section", "cert-dir"])?.failed_with(2)?;
            ensure_that!(told.contains("add --node"), "{told}");
            Ok(())
        },
    )?;
    Ok(Verdict::Passed)
}

fn ca_files(sandbox: &Sandbox, asker: &Asker<'_>) -> Result<()> {
    let no_ca = "basicConstraints=critical,CA:FALSE";
    let no_signing = "keyUsage=critical,cRLSign";
    sandbox.point(
        "a CA file: it ends soon, its key is weak, it is no CA",
        || {
            for (name, key, more, fault) in [
                ("soon", &EC[..], &["-days", "20"][..], "ca-ends-soon"),
                ("months", &EC, &["-days", "100"], "ca-ends"),
                (
                    "weak",
                    &["-newkey", "rsa:1024"],
                    &["-days", "4000"],
                    "ca-weak-key",
                ),
                (
                    "leaf",
                    &EC,
                    &["-days", "4000", "-addext", no_ca],
                    "ca-not-an-authority",
                ),
                (
                    "silent",
                    &EC,
                    &["-days", "4000", "-addext", no_signing],
                    "ca-no-cert-sign",
                ),
            ] {
                let path = authority(sandbox, name, &[key, more].concat())?;
                let found = asker.found(&["--section", "ca", "--ca", arg(&path)])?;
                same(name, found, vec![fault.to_owned()])?;
            }
            Ok(())
        },
    )
}

/// The administrator's kubeconfig, to be changed.
struct Admin<'a> {
    sandbox: &'a Sandbox,
    text: String,
}

impl<'a> Admin<'a> {
    fn line(&self, part: &str) -> Result<&str> {
        let mut lines = self.text.lines();
        let line = lines.find(|line| line.contains(part));
        line.with_context(|| format!("no {part} in admin.conf"))
    }

    /// Whoever asks with it when `to` stands for `from`.
    fn changed(&self, name: &str, from: &str, to: &str) -> Result<Asker<'a>> {
        let path = self.sandbox.write(name, &self.text.replacen(from, to, 1))?;
        Ok(Asker::with(self.sandbox, &path))
    }
}

fn certificates(admin: &Admin<'_>) -> Result<()> {
    let sandbox = admin.sandbox;
    sandbox.point(
        "a server of another name, of another CA, of no name at all",
        || {
            let line = admin.line("server:")?;
            let named = format!("{line}\n    tls-server-name: other.test");
            let other = admin.changed("name.conf", line, &named)?;
            other.finds("server", &["server-certificate-name"])?;
            let made = [&EC[..], &["-days", "4000"]].concat();
            let ca = STANDARD.encode(fs::read(authority(sandbox, "other", &made)?)?);
            let line = admin.line("certificate-authority-data")?;
            let (key, _) = line.split_once(": ").context("no value")?;
            let stranger = admin.changed("ca.conf", line, &format!("{key}: {ca}"))?;
            stranger.finds("server", &["server-certificate-untrusted"])?;
            let skipped = "    insecure-skip-tls-verify: true";
            let anybody = admin.changed("skip.conf", line, skipped)?;
            anybody.finds("server", &["server-unverified"])
        },
    )
}

fn node(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &[])?;
    up.node_certificate()?;
    let data = arg(&sandbox.path("data")).to_owned();
    let asker = Asker {
        sandbox,
        args: vec!["--node".to_owned(), "--data-dir".to_owned(), data],
        clock: None,
    };
    let all = "cert-dir,kubeconfig,server,ca";
    sandbox.point("a healthy node has no finding", || asker.finds(all, &[]))?;
    let dir = up.path("node/pki");
    let current = dir.join("kubelet-client-current.pem");
    let kubeconfig = up.path("kubelet.conf");
    sandbox.point("others may read the key, or write to the directory", || {
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        set(&current, 0o644)?;
        asker.finds(all, &["cert-readable"])?;
        set(&current, 0o600)?;
        set(&dir, 0o777)?;
        asker.finds(all, &["cert-dir-writable"])?;
        set(&dir, 0o755)?;
        Ok(())
    })?;
    sandbox.point(
        "without its server: one finding, and the rest is fine",
        || {
            up.process.stop()?;
            asker.finds(all, &["server-unreachable"])
        },
    )?;
    sandbox.point("a certificate of another key, torn, and gone", || {
        let whole = fs::read_to_string(&current)?;
        let key = sandbox.path("other.key");
        sandbox
            .openssl(&[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-out",
                arg(&key),
            ])?
            .ok()?;
        let at = whole.rfind("-----BEGIN").context("no key")?;
        let certificate = &whole[..at];
        fs::write(
            &current,
            certificate.to_owned() + &fs::read_to_string(&key)?,
        )?;
        asker.finds("cert-dir", &["cert-other-key"])?;
        fs::write(&current, &whole[..whole.len() / 4])?;
        asker.finds("cert-dir", &["cert-torn"])?;
        fs::remove_file(&current)?;
        asker.finds("cert-dir", &["cert-absent"])
    })?;
    sandbox.point("a kubeconfig that is no kubeconfig, and none", || {
        fs::write(&kubeconfig, "clusters: 7\n")?;
        asker.finds("kubeconfig", &["kubeconfig-unusable"])?;
        fs::remove_file(&kubeconfig)?;
        asker.finds("kubeconfig", &["kubeconfig-absent"])?;
        fs::remove_dir_all(&dir)?;
        asker.finds("cert-dir", &["cert-dir-absent"])
    })?;
    Ok(Verdict::Passed)
}
