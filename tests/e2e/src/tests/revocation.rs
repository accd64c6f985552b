//! A node's certificate is revoked: refused, its watches cut, listed for others; and taken back.

use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict, now};
use everleaf_stage::{
    Agent, Answer, Certificate, Kubectl, Sandbox, Up, arg, ensure_that, eventually, run, same,
};
use serde_json::Value;
use std::fs;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "a_revoked_node_is_refused_and_its_watches_are_cut",
        long: false,
        run: node,
    },
    Test {
        name: "a_revoked_node_that_is_wiped_joins_again_at_once",
        long: false,
        run: wiped,
    },
    Test {
        name: "a_revoked_agent_notices_when_it_looks_for_the_cas",
        long: false,
        run: notices,
    },
    Test {
        name: "a_revoked_certificate_is_in_a_list_that_openssl_goes_by",
        long: false,
        run: list,
    },
    Test {
        name: "nobody_revokes_himself_or_a_typo_by_accident",
        long: false,
        run: accidents,
    },
];

/// From the command to the end of an open watch.
const CUT_MAX: Duration = Duration::from_secs(5);

/// `everleaf ca …` as the admin.
fn ca(sandbox: &Sandbox, up: &Up<'_>, args: &[&str]) -> Result<Answer> {
    let admin = up.path("admin.conf");
    let mut command = sandbox.everleaf(&["ca"]);
    command.args(args).args(["--kubeconfig", arg(&admin)]);
    run(&mut command)
}

/// A node that has its certificate.
fn joined<'a>(sandbox: &'a Sandbox, up: &Up<'_>, name: &str) -> Result<(Agent<'a>, Certificate)> {
    let mut agent = Agent::new(sandbox, up, name);
    agent.start()?;
    let certificate = agent.certificate()?;
    agent.stop()?;
    Ok((agent, certificate))
}

fn is_refused(kubectl: &Kubectl<'_>) -> Result<()> {
    let answer = kubectl.run(&["get", "--raw", "/api/v1/nodes"])?;
    let told = answer.failed_with(1)?;
    let is_401 = told.contains("Unauthorized") || told.contains("logged in");
    ensure_that!(is_401, "{told}");
    Ok(())
}

/// Whether the kept TLS session of a client is worth anything to it.
fn resumed_is_refused(sandbox: &Sandbox, up: &Up<'_>, agent: &Agent<'_>) -> Result<()> {
    let admin = fs::read_to_string(up.path("admin.conf"))?;
    let server = admin
        .lines()
        .find_map(|line| line.trim().strip_prefix("server: https://"));
    let server = server
        .context("no server in admin.conf")?
        .trim_matches('"')
        .to_owned();
    let current = agent.path("pki/kubelet-client-current.pem");
    let request = sandbox.write(
        "request.http",
        "GET /api/v1/nodes HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )?;
    let session = sandbox.path("session.pem");
    let connect = |kind: &str| {
        let args = [
            "s_client",
            "-connect",
            &server,
            "-cert",
            arg(&current),
            "-key",
            arg(&current),
            "-tls1_2",
            "-ign_eof",
            kind,
            arg(&session),
        ];
        sandbox.openssl_fed(&args, &request)
    };
    let first = connect("-sess_out")?;
    ensure_that!(first.stdout.contains("HTTP/1.1 401"), "{first:?}");
    if session.exists() {
        let again = connect("-sess_in")?;
        ensure_that!(again.stdout.contains("HTTP/1.1 401"), "{again:?}");
    }
    Ok(())
}

fn node(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let (agent, first) = joined(sandbox, &up, "n2")?;
    let (other, _) = joined(sandbox, &up, "n3")?;
    let watch = [
        "get",
        "--raw",
        "/api/v1/services?watch=true&timeoutSeconds=600",
    ];
    let mut watching = agent.kubectl().start("watch", &watch)?;
    let mut bystander = other.kubectl().start("bystander", &watch)?;
    std::thread::sleep(Duration::from_secs(1));
    ensure_that!(watching.is_running(), "no watch: {}", watching.stderr());
    let revoke = ["revoke", "node/n2", "--reason", "keyCompromise"];
    let log = up.path("issuance-log");
    let told = ca(
        sandbox,
        &up,
        &[&revoke[..], &["--issuance-log", arg(&log)]].concat(),
    )?;
    ensure_that!(
        told.stderr.contains("bootstrap tokens are still good"),
        "{told:?}"
    );
    let told = told.ok()?;
    ensure_that!(told.contains("node/n2 revoked"), "{told}");
    let begun = now();
    is_refused(&agent.kubectl())?;
    watching.exit_code(CUT_MAX)?;
    ensure_that!(begun.elapsed() <= CUT_MAX, "the watch went on");
    ensure_that!(bystander.is_running(), "another node's watch is cut, too");
    resumed_is_refused(sandbox, &up, &agent)?;
    let log = up.process.stderr();
    ensure_that!(log.contains("it has been revoked (serial "), "{log}");
    let services = ["get", "--raw", "/api/v1/services"];
    other.kubectl().quiet(&services)?;
    let shown = ca(sandbox, &up, &["revocations", "-o", "json"])?.ok()?;
    let shown: Value = serde_json::from_str(&shown)?;
    let targets = shown["revocations"].as_array().context("no list")?;
    let targets: Vec<_> = targets
        .iter()
        .filter_map(|one| one["target"].as_str())
        .collect();
    let serial = format!("serial {}", first.serial.trim_start_matches('0'));
    ensure_that!(targets.contains(&"node/n2"), "{targets:?}");
    ensure_that!(
        targets.contains(&serial.as_str()),
        "{targets:?} lacks {serial}"
    );
    ca(sandbox, &up, &["unrevoke", "node/n2"])?.ok()?;
    eventually("it is believed again", 5, || {
        let whoami = agent.kubectl().json(&["auth", "whoami"])?;
        let name = &whoami["status"]["userInfo"]["username"];
        same("who it is", name.as_str(), Some("system:node:n2"))
    })?;
    let absent = ca(sandbox, &up, &["unrevoke", "node/n2"])?.failed_with(1)?;
    ensure_that!(absent.contains("node/n2 is not revoked"), "{absent}");
    bystander.kill();
    Ok(Verdict::Passed)
}

/// What it gets after the revocation is believed; what was taken from it before is not.
fn wiped(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let (mut agent, _) = joined(sandbox, &up, "n2")?;
    let current = agent.path("pki/kubelet-client-current.pem");
    let stolen = sandbox.path("stolen.pem");
    fs::copy(&current, &stolen)?;
    let text = fs::read_to_string(agent.kubeconfig())?;
    ensure_that!(text.contains(arg(&current)), "{text}");
    let text = text.replace(arg(&current), arg(&stolen));
    let thief = Kubectl::new(sandbox, sandbox.write("stolen.conf", &text)?);
    thief.quiet(&["auth", "whoami"])?;
    ca(sandbox, &up, &["revoke", "node/n2"])?.ok()?;
    is_refused(&thief)?;
    fs::remove_dir_all(agent.path("pki"))?;
    fs::remove_file(agent.kubeconfig())?;
    // The second in which it was revoked is the last that counts as before.
    std::thread::sleep(Duration::from_secs(2));
    agent.start()?;
    agent.certificate()?;
    let whoami = agent.kubectl().json(&["auth", "whoami"])?;
    let name = &whoami["status"]["userInfo"]["username"];
    same("who it is", name.as_str(), Some("system:node:n2"))?;
    is_refused(&thief)?;
    Ok(Verdict::Passed)
}

/// Its certificate renews in months, and it has nothing else to ask for until then. What is left of
/// its token lets it in again.
fn notices(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let mut agent = Agent::new(sandbox, &up, "n2");
    agent.args.push("--ca-refresh-interval=1s".to_owned());
    agent.start()?;
    let before = agent.certificate()?;
    ca(sandbox, &up, &["revoke", "node/n2"])?.ok()?;
    eventually("the agent says that it is refused", 40, || {
        let log = agent.log();
        ensure_that!(
            log.contains("the server refuses the current credential (401)"),
            "{log}"
        );
        Ok(())
    })?;
    eventually("it has another certificate", 60, || {
        let now = agent.certificate_now()?;
        ensure_that!(now.serial != before.serial, "{}", now.serial);
        let whoami = agent.kubectl().json(&["auth", "whoami"])?;
        let name = &whoami["status"]["userInfo"]["username"];
        same("who it is", name.as_str(), Some("system:node:n2"))
    })?;
    Ok(Verdict::Passed)
}

/// One certificate by its serial number, one by its digest; and who reads the list.
fn list(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    let (agent, certificate) = joined(sandbox, &up, "n2")?;
    let (other, second) = joined(sandbox, &up, "n3")?;
    let verify = |leaf: &std::path::Path| -> Result<Answer> {
        let pem = up.admin().run(&["get", "--raw", "/pki/ca.crl.pem"])?.ok()?;
        let list = sandbox.write("ca.crl.pem", &pem)?;
        let authority = up.path("pki/ca.crt");
        let args = [
            "verify",
            "-crl_check",
            "-CAfile",
            arg(&authority),
            "-CRLfile",
            arg(&list),
            arg(leaf),
        ];
        sandbox.openssl(&args)
    };
    let [leaf, other_leaf] =
        [&agent, &other].map(|agent| agent.path("pki/kubelet-client-current.pem"));
    eventually("a list at the start", 10, || verify(&leaf)?.ok().map(drop))?;
    let serial = [
        "revoke",
        "--serial",
        &certificate.serial,
        "--reason",
        "superseded",
    ];
    ca(sandbox, &up, &serial)?.ok()?;
    is_refused(&agent.kubectl())?;
    eventually("openssl refuses it", 10, || {
        let told = verify(&leaf)?;
        ensure_that!(told.stderr.contains("certificate revoked"), "{told:?}");
        Ok(())
    })?;
    verify(&other_leaf)?.ok()?;
    says(sandbox)?;
    is_fetched_by_anybody(sandbox, &up)?;
    let id = format!("X509SHA256={}", second.sha256);
    ca(sandbox, &up, &["revoke", "--credential-id", &id])?.ok()?;
    is_refused(&other.kubectl())?;
    // It outlives the server.
    same("exit code on SIGTERM", up.process.stop()?, 0)?;
    up.restart()?;
    is_refused(&agent.kubectl())?;
    is_refused(&other.kubectl())?;
    for wrong in [
        &["revoke"][..],
        &["revoke", "n2"],
        &["revoke", "--credential-id", "5f"],
        &["revoke", "node/n2", "--serial", "5B"],
        &["revoke", "node/n2", "--reason", "because"],
    ] {
        ca(sandbox, &up, wrong)?.failed_with(2)?;
    }
    ca(sandbox, &up, &["unrevoke", "--serial", &certificate.serial])?.ok()?;
    eventually("the server's log tells of it", 10, || {
        let log = up.process.stderr();
        ensure_that!(log.contains("revocations were taken back"), "{log}");
        Ok(())
    })?;
    let whoami = agent.kubectl().json(&["auth", "whoami"])?;
    let name = &whoami["status"]["userInfo"]["username"];
    same("who it is", name.as_str(), Some("system:node:n2"))?;
    Ok(Verdict::Passed)
}

fn accidents(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let admin = up.path("admin.conf");
    let certs = run(&mut sandbox.everleaf(&["certs", "-o", "json", arg(&admin)]))?.ok()?;
    let certs: Value = serde_json::from_str(&certs)?;
    let own = &certs["certificates"][0];
    let word = |key: &str| own[key].as_str().unwrap_or_default();
    let own_id = format!("X509SHA256={}", word("sha256"));
    for (how, expected) in [
        (&["--serial", word("serialNumber")][..], "lock yourself out"),
        (&["--credential-id", &own_id], "lock yourself out"),
        (&["node/typo"], "check the spelling"),
    ] {
        let told = ca(sandbox, &up, &[&["revoke"][..], how].concat())?.failed_with(1)?;
        ensure_that!(told.contains(expected), "{how:?}: {told}");
    }
    let none = ca(sandbox, &up, &["revocations", "-o", "json"])?.ok()?;
    let none: Value = serde_json::from_str(&none)?;
    same(
        "what is revoked",
        &none["revocations"],
        &serde_json::json!([]),
    )?;
    ca(sandbox, &up, &["revoke", "node/typo", "--yes"])?.ok()?;
    ca(sandbox, &up, &["unrevoke", "node/typo"])?.ok()?;
    for serial in ["0", &"5B".repeat(21)] {
        ca(sandbox, &up, &["revoke", "--serial", serial])?.failed_with(2)?;
    }
    ca(
        sandbox,
        &up,
        &["revoke", "--serial", word("serialNumber"), "--yes"],
    )?
    .ok()?;
    is_refused(&up.admin())?;
    Ok(Verdict::Passed)
}

/// What openssl reads in it.
fn says(sandbox: &Sandbox) -> Result<()> {
    let text = [
        "crl",
        "-in",
        "ca.crl.pem",
        "-noout",
        "-text",
        "-CAfile",
        "data/pki/ca.crt",
    ];
    let text = sandbox.openssl(&text)?;
    for expected in ["verify OK", "Superseded", "X509v3 CRL Number"] {
        let both = format!("{}{}", text.stdout, text.stderr);
        ensure_that!(both.contains(expected), "{both} lacks {expected:?}");
    }
    Ok(())
}

/// As DER, without a credential.
fn is_fetched_by_anybody(sandbox: &Sandbox, up: &Up<'_>) -> Result<()> {
    let url = fs::read_to_string(up.path("admin.conf"))?;
    let url = url
        .lines()
        .find_map(|line| line.trim().strip_prefix("server: "));
    let url = format!("{}/pki/ca.crl", url.context("no server")?.trim_matches('"'));
    let mut curl = sandbox.command("curl".as_ref());
    let authority = up.path("pki/ca.crt");
    curl.args(["-sSf", "--cacert", arg(&authority), "-o", "ca.crl", &url]);
    run(&mut curl)?.ok()?;
    let der = [
        "crl",
        "-inform",
        "DER",
        "-in",
        "ca.crl",
        "-noout",
        "-nextupdate",
    ];
    sandbox.openssl(&der)?.ok()?;
    Ok(())
}
