//! Bad input gets an error that says what, where and what next, and changes nothing.

use super::second_node::{CLIENT, CLIENT_USAGES, KUBELET_CLIENT};
use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Agent, HOST, Sandbox, Up, arg, eventually, run, signing_request, write_request,
};
use everleaf_stage::{ensure_that, same};
use std::fs;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "wrong_flags_are_named_with_what_was_meant",
        long: false,
        run: flags,
    },
    Test {
        name: "wrong_files_are_named",
        long: false,
        run: files,
    },
    Test {
        name: "a_wrong_token_is_told_once_and_nothing_is_written",
        long: false,
        run: wrong_token,
    },
    Test {
        name: "bad_requests_are_refused_with_the_field",
        long: false,
        run: requests,
    },
    Test {
        name: "wrong_usages_are_marked_on_the_request",
        long: false,
        run: usages,
    },
    Test {
        name: "a_forbidden_subject_is_refused",
        long: false,
        run: subjects,
    },
    Test {
        name: "a_corrupt_pem_is_set_aside_and_replaced",
        long: false,
        run: corrupt_pem,
    },
    Test {
        name: "an_unwritable_cert_dir_is_named",
        long: false,
        run: unwritable,
    },
    Test {
        name: "a_start_that_fails_leaves_nothing_behind",
        long: false,
        run: nothing_left,
    },
    Test {
        name: "another_node_name_is_not_claimed",
        long: false,
        run: other_node,
    },
    Test {
        name: "a_data_directory_in_use_names_its_holder",
        long: false,
        run: in_use,
    },
];

/// Command lines without their program, and words of what must be said about them.
type WrongFlags = (Vec<&'static str>, Vec<&'static str>);

fn flags(sandbox: &Sandbox) -> Result<Verdict> {
    for (args, words) in wrong_flags().into_iter().chain(wrong_controllers()) {
        let said = run(&mut sandbox.everleaf(&args))?.failed_with(2)?;
        for word in words {
            ensure_that!(said.contains(word), "{args:?}: no {word:?} in {said}");
        }
    }
    ensure_that!(
        !sandbox.path("x").exists() && !sandbox.path("pki").exists(),
        "files were made"
    );
    Ok(Verdict::Passed)
}

fn wrong_flags() -> Vec<WrongFlags> {
    vec![
        (
            vec!["agent", "--rotate-certficates"],
            vec!["--rotate-certficates", "--rotate-certificates"],
        ),
        (
            vec!["up", "--cluster-signing-durration=1h"],
            vec!["--cluster-signing-duration"],
        ),
        (
            vec!["up", "--cluster-signing-duration", "ten years"],
            vec!["ten years", "--cluster-signing-duration", "8760h"],
        ),
        (
            vec!["up", "--cluster-signing-duration", "0s"],
            vec!["more than zero"],
        ),
        (vec!["up", "--listen", "localhost"], vec!["--listen"]),
        (vec!["upp"], vec!["upp", "up"]),
        (
            vec![
                "apiserver",
                "--data-dir",
                "x",
                "--authorization-mode",
                "AlwaysAllow",
            ],
            vec!["AlwaysAllow", "Node", "RBAC"],
        ),
        (
            vec!["apiserver", "--data-dir", "x", "--emulated-version=1.33"],
            vec!["--emulated-version", "1.33", "[1.34, 1.37]"],
        ),
        (
            vec!["apiserver", "--data-dir", "x", "--runtime-config=batch/v1"],
            vec!["--runtime-config", "unknown api groups batch/v1"],
        ),
        (
            vec!["apiserver", "--data-dir", "x", "--feature-gates=New=true"],
            vec!["--feature-gates", "unrecognized feature gate: New"],
        ),
        (
            vec!["agent", "--kubeconfig", "x", "--cert-dir", "pki"],
            vec!["--rotate-certificates"],
        ),
    ]
}

fn wrong_controllers() -> impl Iterator<Item = WrongFlags> {
    let common = ["controllers", "--kubeconfig", "x"];
    let cases: [(&[&str], &[&str]); 3] = [
        (
            &["--controllers", "csrsinging"],
            &["csrsinging", "csrsigning"],
        ),
        (
            &["--cluster-signing-cert-file", "ca.crt"],
            &["cannot specify cert without key"],
        ),
        (
            &[
                "--leader-elect-resource-lock=endpoints",
                "--leader-elect-renew-deadline=15s",
            ],
            &[
                "\"leases\", not \"endpoints\"",
                "leaseDuration must be greater than renewDeadline",
            ],
        ),
    ];
    cases
        .into_iter()
        .map(move |(flags, words)| ([&common, flags].concat(), words.to_vec()))
}

fn files(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let no_ca: String = fs::read_to_string(up.path("admin.conf"))?
        .lines()
        .filter(|line| !line.contains("certificate-authority-data"))
        .map(|line| format!("{line}\n"))
        .collect();
    sandbox.write("no-ca.conf", &no_ca)?;
    sandbox.write("broken.conf", "clusters: [}\n")?;
    sandbox.write("broken.yaml", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nRotateCertificates: true\n")?;
    let agent = |kubeconfig: &'static str| {
        vec![
            "agent",
            "--rotate-certificates",
            "--cert-dir",
            "pki",
            "--kubeconfig",
            kubeconfig,
        ]
    };
    for (args, code, words) in [
        (agent("missing.conf"), 1, vec!["missing.conf"]),
        (agent("broken.conf"), 1, vec!["broken.conf"]),
        (
            vec!["controllers", "--kubeconfig", "missing.conf"],
            1,
            vec!["missing.conf"],
        ),
        (
            vec!["agent", "--kubeconfig", "k", "--config", "broken.yaml"],
            2,
            vec!["RotateCertificates", "rotateCertificates"],
        ),
        (
            vec![
                "controllers",
                "--kubeconfig",
                "data/admin.conf",
                "--cluster-signing-cert-file",
                "data/pki/ca.crt",
                "--cluster-signing-key-file",
                "missing.key",
            ],
            1,
            vec!["missing.key"],
        ),
    ] {
        let said = run(&mut sandbox.everleaf(&args))?.failed_with(code)?;
        for word in words {
            ensure_that!(said.contains(word), "{args:?}: no {word:?} in {said}");
        }
    }
    // Without a CA the host's own authorities are asked, and they do not know ours: said, and tried
    // again.
    let mut agent = sandbox.start("no-ca", &mut sandbox.everleaf(&agent("no-ca.conf")))?;
    eventually("it says what is wrong with the CA", 15, || {
        let log = agent.stderr().to_lowercase();
        ensure_that!(
            log.contains("certificate-authority")
                || log.contains("unknownissuer")
                || log.contains("unknown issuer")
                || log.contains("authority"),
            "{log}"
        );
        Ok(())
    })?;
    let _ = agent.is_running();
    Ok(Verdict::Passed)
}

fn wrong_token(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let text = fs::read_to_string(up.path("bootstrap-kubelet.conf"))?;
    let wrong: String = text
        .lines()
        .map(|line| match line.split_once("token:") {
            Some((before, _)) => format!("{before}token: abcdef.0123456789abcdef\n"),
            None => format!("{line}\n"),
        })
        .collect();
    let wrong = sandbox.write("wrong.conf", &wrong)?;
    let mut command = sandbox.everleaf(&[
        "agent",
        "--rotate-certificates",
        "--hostname-override",
        "n2",
        "--kubeconfig",
        "n2.conf",
        "--cert-dir",
        "pki",
        "--bootstrap-kubeconfig",
        arg(&wrong),
    ]);
    let mut agent = sandbox.start("agent", &mut command)?;
    eventually("it says 401", 15, || {
        let log = agent.stderr();
        ensure_that!(log.contains("401") || log.contains("Unauthorized"), "{log}");
        ensure_that!(!log.contains("0123456789abcdef"), "the token is in the log");
        Ok(())
    })?;
    std::thread::sleep(Duration::from_secs(2));
    ensure_that!(agent.is_running(), "the agent gave up: {}", agent.stderr());
    ensure_that!(
        !sandbox.path("pki/kubelet-client-current.pem").exists(),
        "a certificate from nowhere"
    );
    same(
        "requests",
        up.admin().run(&["get", "csr"])?.stderr.trim(),
        "No resources found",
    )?;
    Ok(Verdict::Passed)
}

fn requests(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let admin = up.admin();
    signing_request(sandbox, "good", "/CN=x", CLIENT, CLIENT_USAGES)?;
    let pem = fs::read_to_string(sandbox.path("good.csr"))?;
    let (broken, other) = (
        flip_signature(&pem)?,
        pem.replace("CERTIFICATE REQUEST", "X"),
    );
    let flying = &["client auth", "flying"][..];
    for (name, request, signer, usages, field) in [
        ("text", "no PEM", CLIENT, CLIENT_USAGES, "spec.request"),
        ("label", &other, CLIENT, CLIENT_USAGES, "spec.request"),
        ("signature", &broken, CLIENT, CLIENT_USAGES, "spec.request"),
        ("signer", &pem, "nonsense", CLIENT_USAGES, "spec.signerName"),
        ("usage", &pem, CLIENT, flying, "spec.usages"),
        ("none", &pem, CLIENT, &[], "spec.usages"),
    ] {
        let path = write_request(sandbox, name, request.as_bytes(), signer, usages)?;
        let answer = admin.run(&["create", "--validate=false", "-f", arg(&path)])?;
        let said = answer.failed_with(1)?;
        let names_field = said.contains("is invalid") && said.contains(field);
        ensure_that!(names_field, "{name}: {said}");
    }
    let none = admin.run(&["get", "csr"])?;
    same("requests", none.stderr.trim(), "No resources found")?;
    Ok(Verdict::Passed)
}

/// Wrong usages for the signer: accepted by the API, never issued, and the reason is on the object.
fn usages(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let admin = up.admin();
    let path = signing_request(sandbox, "server", "/CN=x", CLIENT, &["server auth"])?;
    admin.quiet(&["create", "--validate=false", "-f", arg(&path)])?;
    admin.quiet(&["certificate", "approve", "server"])?;
    eventually("it is marked as failed", 10, || {
        let row = admin.quiet(&["get", "csr", "server", "--no-headers"])?;
        ensure_that!(row.ends_with("Approved,Failed"), "{row}");
        Ok(())
    })?;
    let yaml = admin.quiet(&["get", "csr", "server", "-o", "yaml"])?;
    ensure_that!(yaml.contains("SignerValidationFailure"), "{yaml}");
    Ok(Verdict::Passed)
}

/// Changes the last byte of a PEM's DER.
fn flip_signature(pem: &str) -> Result<String> {
    use base64::Engine;
    let engine = base64::engine::general_purpose::STANDARD;
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let mut der = engine.decode(body)?;
    if let Some(last) = der.last_mut() {
        *last ^= 1;
    }
    Ok(format!(
        "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
        engine.encode(der)
    ))
}

fn subjects(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let masters = signing_request(
        sandbox,
        "masters",
        "/O=system:masters/CN=root",
        CLIENT,
        CLIENT_USAGES,
    )?;
    let said = up
        .admin()
        .run(&["create", "--validate=false", "-f", arg(&masters)])?
        .failed_with(1)?;
    ensure_that!(
        said.contains("forbidden") && said.contains("system:masters"),
        "{said}"
    );
    // A bootstrap token may ask for anything; only a node identity is approved by itself.
    let other = signing_request(
        sandbox,
        "other",
        "/O=system:nodes/CN=admin",
        KUBELET_CLIENT,
        CLIENT_USAGES,
    )?;
    up.bootstrapper()
        .run(&["create", "--validate=false", "-f", arg(&other)])?;
    std::thread::sleep(Duration::from_secs(1));
    let row = up.admin().run(&["get", "csr", "other", "--no-headers"])?;
    ensure_that!(!row.stdout.contains("Approved"), "{row:?}");
    Ok(Verdict::Passed)
}

fn corrupt_pem(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    agent.start()?;
    agent.certificate()?;
    agent.stop()?;
    let target = fs::read_link(agent.path("pki/kubelet-client-current.pem"))?;
    fs::write(&target, "-----BEGIN CERTIFICATE-----\nnonsense\n")?;
    agent.start()?;
    agent.certificate()?;
    let set_aside = fs::read_dir(agent.path("pki"))?
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().contains(".corrupt-"));
    ensure_that!(set_aside, "the corrupt file is not kept");
    ensure_that!(
        agent.log().contains("corrupt"),
        "nothing said: {}",
        agent.log()
    );
    agent.kubectl().quiet(&["get", "csr"])?;
    agent.stop()?;
    Ok(Verdict::Passed)
}

fn unwritable(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    // A file where the directory should be is unwritable for root, too.
    sandbox.write("blocked", "a file")?;
    let bootstrap = up.path("bootstrap-kubelet.conf");
    let mut command = sandbox.everleaf(&[
        "agent",
        "--rotate-certificates",
        "--hostname-override",
        "n2",
        "--kubeconfig",
        "n2.conf",
        "--cert-dir",
        "blocked/pki",
        "--bootstrap-kubeconfig",
        arg(&bootstrap),
    ]);
    let mut agent = sandbox.start("agent", &mut command)?;
    eventually("it names the directory", 10, || {
        let log = agent.stderr();
        ensure_that!(
            log.contains("blocked/pki") || log.contains("blocked"),
            "{log}"
        );
        Ok(())
    })?;
    agent.kill();
    same(
        "the file",
        fs::read_to_string(sandbox.path("blocked"))?.as_str(),
        "a file",
    )?;
    Ok(Verdict::Passed)
}

fn in_use(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    for command in ["up", "apiserver"] {
        let mut args = vec![command, "--data-dir", "data"];
        if command == "up" {
            args.extend(["--listen", "127.0.0.1:0", "--node-name", HOST]);
        } else {
            args.extend(["--secure-port", "0"]);
        }
        let said = run(&mut sandbox.everleaf(&args))?.failed_with(1)?;
        let pid = up.process.id().to_string();
        ensure_that!(
            said.contains(&pid) && said.contains("in use"),
            "{command}: {said}"
        );
    }
    up.admin().quiet(&["get", "--raw", "/readyz"])?;
    Ok(Verdict::Passed)
}

/// Somebody else's files, and a port that somebody else has: the reason, and not a file more than
/// before.
fn nothing_left(sandbox: &Sandbox) -> Result<Verdict> {
    sandbox.write("theirs/notes", "mine")?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let port = taken.local_addr()?.port().to_string();
    let ports = ["--bind-address", "127.0.0.1", "--secure-port", &port];
    for (command, flags) in [("up", &["--listen", &address][..]), ("apiserver", &ports)] {
        let args = [&[command, "--data-dir", "theirs"][..], flags].concat();
        let said = run(&mut sandbox.everleaf(&args))?.failed_with(1)?;
        for words in ["theirs", "notes", "choose an empty directory"] {
            ensure_that!(said.contains(words), "{command}: no {words:?} in {said}");
        }
        let left: Vec<_> = fs::read_dir(sandbox.path("theirs"))?.collect();
        ensure_that!(left.len() == 1, "{command}: {left:?}");
    }
    let args = [
        "up",
        "--data-dir",
        "new",
        "--node-name",
        HOST,
        "--listen",
        &address,
    ];
    let said = run(&mut sandbox.everleaf(&args))?.failed_with(1)?;
    ensure_that!(
        said.contains("cannot listen") && said.contains(&address),
        "{said}"
    );
    ensure_that!(!sandbox.path("new").exists(), "a directory is left behind");
    Ok(Verdict::Passed)
}

/// A certificate stays its node's: with another --node-name the host joins anew, and says so.
fn other_node(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &[])?;
    up.node_certificate()?;
    up.process.stop()?;
    let args = [
        "up",
        "--data-dir",
        "data",
        "--node-name",
        "other",
        "--listen",
        "127.0.0.1:0",
    ];
    let process = sandbox.start("up", &mut sandbox.everleaf(&args))?;
    eventually("it is ready", 15, || {
        let said = process.stdout();
        ensure_that!(
            said.contains("other, in ") && said.contains(&format!("it was {HOST}")),
            "{said}"
        );
        Ok(())
    })?;
    eventually("it has joined as the other node", 15, || {
        let current = sandbox.path("data/node/pki/kubelet-client-current.pem");
        let current = current.to_string_lossy();
        let subject = sandbox
            .openssl(&["x509", "-noout", "-subject", "-in", &current])?
            .ok()?;
        ensure_that!(subject.contains("system:node:other"), "{subject}");
        Ok(())
    })?;
    let log = process.stderr();
    ensure_that!(!log.contains(" ERROR "), "{log}");
    Ok(Verdict::Passed)
}
