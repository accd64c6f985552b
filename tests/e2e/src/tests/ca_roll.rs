//! The CA is replaced under nodes that go on: no request of theirs is refused, whatever happens to
//! the server meanwhile.

use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Agent, Answer, Certificate, HOST, Kubectl, Process, Sandbox, Up, arg, ensure_that, eventually,
    host_address, run, same,
};
use serde_json::Value;
use std::fs;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "a_ca_is_replaced_and_no_request_of_a_node_is_refused",
        long: false,
        run: whole_roll,
    },
    Test {
        name: "a_roll_survives_kill_9_in_each_phase_and_is_taken_back",
        long: false,
        run: killed,
    },
    Test {
        name: "a_roll_waits_for_whoever_does_not_speak",
        long: false,
        run: silent,
    },
    Test {
        name: "a_command_to_a_roll_is_taken_back_when_nobody_waits_for_its_answer",
        long: false,
        run: hindered,
    },
    Test {
        name: "a_ca_in_files_is_renewed_with_its_key_and_openssl_agrees",
        long: false,
        run: renewed_files,
    },
];

/// Nodes under the whole roll, that of `up` among them.
const NODES: usize = 20;
/// Of these, whose credentials a client asks with all the time.
const ASKING: usize = 4;

/// `everleaf ca …` as the admin.
fn ca(sandbox: &Sandbox, up: &Up<'_>, args: &[&str]) -> Result<Answer> {
    let admin = up.path("admin.conf");
    let mut command = sandbox.everleaf(&["ca"]);
    command.args(args).args(["--kubeconfig", arg(&admin)]);
    run(&mut command)
}

fn status(sandbox: &Sandbox, up: &Up<'_>) -> Result<Value> {
    let text = ca(sandbox, up, &["roll", "status", "-o", "json"])?.ok()?;
    Ok(serde_json::from_str(&text)?)
}

/// Waits until the roll is in this phase.
fn is_in(sandbox: &Sandbox, up: &Up<'_>, phase: &str) -> Result<()> {
    eventually(&format!("phase {phase}"), 60, || {
        let status = status(sandbox, up)?;
        ensure_that!(status["roll"]["phase"] == phase, "{status}");
        Ok(())
    })
}

/// Waits until nobody needs the old CA.
fn is_renewed(sandbox: &Sandbox, up: &Up<'_>) -> Result<()> {
    eventually("everybody has renewed", 90, || {
        let status = status(sandbox, up)?;
        ensure_that!(status["isReady"] == true, "{status}");
        Ok(())
    })
}

fn is_over(sandbox: &Sandbox, up: &Up<'_>) -> Result<()> {
    eventually("the roll is over", 30, || {
        let status = status(sandbox, up)?;
        ensure_that!(status["roll"].is_null(), "{status}");
        Ok(())
    })
}

/// A node that looks often.
fn node<'a>(sandbox: &'a Sandbox, up: &Up<'_>, name: &str, more: &[&str]) -> Result<Agent<'a>> {
    let mut agent = Agent::new(sandbox, up, name);
    let flags = ["--ca-refresh-interval=1s"].iter().chain(more);
    agent.args.extend(flags.map(ToString::to_string));
    agent.start()?;
    agent.certificate()?;
    Ok(agent)
}

/// A client that asks all the time with a kubeconfig, and writes down why it is refused. What goes
/// wrong because kubectl reads certificate and key one after another is no refusal.
fn asking(sandbox: &Sandbox, agent: &Agent<'_>) -> Result<Process> {
    let kubeconfig = agent.kubeconfig();
    let ask = [
        arg(&sandbox.tools.kubectl),
        "--kubeconfig",
        arg(&kubeconfig),
    ]
    .join(" ");
    let script = format!(
        "n=0; while :; do out=$({ask} get --raw /api/v1/services 2>&1) && n=$((n+1)) || case \"$out\" in \
         *Unauthorized*|*logged\\ in*|*x509*|*authority*) echo \"REFUSED $out\";; esac; echo \"asked $n\"; sleep 0.2; done"
    );
    let mut command = sandbox.command("sh".as_ref());
    command.args(["-c", &script]);
    sandbox.start(&format!("asking-{}", agent.name), &mut command)
}

/// Subjects of the certificates of a PEM text.
fn subjects(sandbox: &Sandbox, pem: &str) -> Result<Vec<String>> {
    let file = sandbox.write("bundle.pem", pem)?;
    let shown = sandbox
        .openssl(&["storeutl", "-noout", "-text", "-certs", arg(&file)])?
        .ok()?;
    let lines = shown
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Subject: "));
    Ok(lines.map(str::to_owned).collect())
}

fn ca_crt(sandbox: &Sandbox, up: &Up<'_>) -> Result<Vec<String>> {
    subjects(sandbox, &fs::read_to_string(up.path("pki/ca.crt"))?)
}

/// The CAs of a node's kubeconfig.
fn trusted_by(sandbox: &Sandbox, agent: &Agent<'_>) -> Result<Vec<String>> {
    let view = agent.kubectl().json(&["config", "view", "--raw"])?;
    let data = view["clusters"][0]["cluster"]["certificate-authority-data"].as_str();
    let file = sandbox.write("trusted.b64", data.context("no CA in the kubeconfig")?)?;
    let pem = sandbox
        .openssl(&["base64", "-d", "-A", "-in", arg(&file)])?
        .ok()?;
    subjects(sandbox, &pem)
}

/// Whether openssl believes a certificate, given only what `ca.crt` holds.
fn verifies(sandbox: &Sandbox, up: &Up<'_>, agent: &Agent<'_>, kind: &str) -> Result<()> {
    let (bundle, leaf) = (
        up.path("pki/ca.crt"),
        agent.path(&format!("pki/kubelet-{kind}-current.pem")),
    );
    let purpose = if kind == "client" {
        "sslclient"
    } else {
        "sslserver"
    };
    let args = [
        "verify",
        "-purpose",
        purpose,
        "-CAfile",
        arg(&bundle),
        arg(&leaf),
    ];
    let said = sandbox.openssl(&args)?.ok()?;
    ensure_that!(said.contains("OK"), "{said}");
    Ok(())
}

fn whole_roll(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    up.node_certificate()?;
    let address = host_address()?.to_string();
    let serving = ["--rotate-server-certificates", "--node-ip", &address];
    let mut agents = vec![node(sandbox, &up, "n2", &serving)?];
    for number in 3..=NODES {
        agents.push(node(sandbox, &up, &format!("n{number}"), &[])?);
    }
    let server = agents[0].path("pki/kubelet-server-current.pem");
    eventually("the serving certificate", 15, || {
        Certificate::read(sandbox, &server)
    })?;
    let clients: Vec<_> = agents
        .iter()
        .take(ASKING)
        .map(|agent| asking(sandbox, agent))
        .collect::<Result<_>>()?;
    // What the old CA signed, and will not renew: a copy of admin.conf.
    fs::copy(up.path("admin.conf"), sandbox.path("old-admin.conf"))?;
    let old_admin = Kubectl::new(sandbox, sandbox.path("old-admin.conf"));
    let old = ca_crt(sandbox, &up)?;
    let told = ca(sandbox, &up, &["roll", "start", "--per-minute", "480"])?.ok()?;
    ensure_that!(told.contains("has begun"), "{told}");
    is_in(sandbox, &up, "renew")?;
    let both = ca_crt(sandbox, &up)?;
    ensure_that!(both.len() == 2 && both[1..] == old[..], "{both:?}");
    ensure_that!(both[0] != both[1], "{both:?}");
    ensure_that!(both[0].contains("everleaf-ca-"), "{both:?}");
    for agent in &agents {
        same("CAs of a node", trusted_by(sandbox, agent)?.len(), 2)?;
    }
    // Served by the new CA, and believed by who knows the old one alone.
    old_admin.quiet(&["get", "csr"])?;
    is_renewed(sandbox, &up)?;
    let told = ca(sandbox, &up, &["status"])?.ok()?;
    ensure_that!(told.contains("signs") && told.contains("serves"), "{told}");
    let told = ca(sandbox, &up, &["status", "-o", "json"])?.ok()?;
    let told: Value = serde_json::from_str(&told)?;
    let phase = told["roll"]["roll"]["phase"].clone();
    same("the roll, as a value", phase, "renew".into())?;
    let words = ca(sandbox, &up, &["roll", "status"])?.ok()?;
    let all = "20 of 20 use nothing of the old CA";
    ensure_that!(words.contains(all), "{words}");
    ensure_that!(words.contains("everleaf ca roll finish"), "{words}");
    // The agent of `up` has a bootstrap kubeconfig of before the roll.
    let own = up.node_certificate()?;
    ca(sandbox, &up, &["revoke", &format!("node/{HOST}")])?.ok()?;
    ca(sandbox, &up, &["roll", "finish"])?.ok()?;
    is_over(sandbox, &up)?;
    says_what_stays(sandbox, &up, &both)?;
    is_dropped(sandbox, &up, &agents, &both[..1])?;
    let refused = old_admin.run(&["get", "csr"])?.failed_with(1)?;
    ensure_that!(
        refused.contains("x509") || refused.contains("authority"),
        "{refused}"
    );
    up.admin().quiet(&["get", "csr"])?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    nobody_was_refused(&clients, &agents)?;
    joins_again(sandbox, &up, &own)?;
    Ok(Verdict::Passed)
}

/// After a roll: which CA stays, and which was dropped.
fn says_what_stays(sandbox: &Sandbox, up: &Up<'_>, both: &[String]) -> Result<()> {
    let words = ca(sandbox, up, &["roll", "status"])?.ok()?;
    let of_name = |name: &str| format!("CN={}", name.rsplit('=').next().unwrap_or_default().trim());
    let (stays, dropped) = (of_name(&both[0]), of_name(&both[1]));
    let told = format!("{stays} stays alone, {dropped} was dropped");
    ensure_that!(words.contains(&told), "{words}");
    Ok(())
}

/// A node of `up` that was refused joins by the CA that is in force now.
fn joins_again(sandbox: &Sandbox, up: &Up<'_>, before: &Certificate) -> Result<()> {
    eventually("the node of `up` joins again", 45, || {
        let present = up.node_certificate()?;
        ensure_that!(present.serial != before.serial, "{present:?}");
        Ok(())
    })?;
    let node = Kubectl::new(sandbox, up.path("kubelet.conf"));
    node.quiet(&["auth", "whoami"]).map(drop)
}

/// The new CA is alone, and everything there is by it.
fn is_dropped(
    sandbox: &Sandbox,
    up: &Up<'_>,
    agents: &[Agent<'_>],
    alone: &[String],
) -> Result<()> {
    same("ca.crt", ca_crt(sandbox, up)?, alone.to_vec())?;
    ensure_that!(!up.path("pki/roll").exists(), "keys of the roll are left");
    verifies(sandbox, up, &agents[0], "server")?;
    for agent in agents {
        verifies(sandbox, up, agent, "client")?;
        eventually("the old CA is out of the node's kubeconfig", 20, || {
            same("CAs of a node", trusted_by(sandbox, agent)?, alone.to_vec())
        })?;
    }
    Ok(())
}

fn nobody_was_refused(clients: &[Process], agents: &[Agent<'_>]) -> Result<()> {
    for client in clients {
        let said = client.stdout();
        ensure_that!(!said.contains("REFUSED"), "{said}");
        let asked = said
            .lines()
            .filter(|line| line.starts_with("asked"))
            .count();
        ensure_that!(asked > 20, "only {asked} requests");
    }
    for agent in agents {
        let log = agent.log();
        ensure_that!(
            !log.contains("refuse") && !log.contains("UnknownIssuer"),
            "{log}"
        );
    }
    Ok(())
}

fn killed(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &[])?;
    up.node_certificate()?;
    let agent = node(sandbox, &up, "n2", &[])?;
    let old = ca_crt(sandbox, &up)?;
    // Begun and taken back, before anything was signed.
    ca(sandbox, &up, &["roll", "start"])?.ok()?;
    ca(sandbox, &up, &["roll", "pause"])?.ok()?;
    let refused = ca(sandbox, &up, &["roll", "start"])?.failed_with(1)?;
    ensure_that!(refused.contains("under way already"), "{refused}");
    up.process.kill();
    up.restart()?;
    let before = status(sandbox, &up)?;
    same("phase", before["roll"]["phase"].as_str(), Some("publish"))?;
    same("paused", &before["roll"]["paused"], &Value::Bool(true))?;
    let told = ca(sandbox, &up, &["roll", "back"])?.ok()?;
    ensure_that!(told.contains("taken back"), "{told}");
    same("ca.crt", ca_crt(sandbox, &up)?, old.clone())?;
    up.process.kill();
    up.restart()?;
    ensure_that!(
        status(sandbox, &up)?["roll"].is_null(),
        "it has begun again"
    );
    same("ca.crt", ca_crt(sandbox, &up)?, old.clone())?;
    killed_on_the_way(sandbox, &mut up, &agent, &old)?;
    verifies(sandbox, &up, &agent, "client")?;
    agent
        .kubectl()
        .quiet(&["get", "--raw", "/api/v1/services"])?;
    Ok(Verdict::Passed)
}

/// Again, killed again and again while it goes on, and back from its end.
fn killed_on_the_way<'a>(
    sandbox: &'a Sandbox,
    up: &mut Up<'a>,
    agent: &Agent<'_>,
    old: &[String],
) -> Result<()> {
    ca(sandbox, up, &["roll", "start", "--per-minute", "600"])?.ok()?;
    for pause in [0, 300, 700, 1500, 2500, 3500] {
        std::thread::sleep(std::time::Duration::from_millis(pause));
        up.process.kill();
        up.restart()?;
        agent
            .kubectl()
            .quiet(&["get", "--raw", "/api/v1/services"])?;
    }
    is_in(sandbox, up, "renew")?;
    is_renewed(sandbox, up)?;
    let new = ca_crt(sandbox, up)?;
    damaged(sandbox, up)?;
    // Everybody has the new CA's: and back, all the way.
    let by_new = agent.certificate()?;
    let told = ca(sandbox, up, &["roll", "back"])?.ok()?;
    ensure_that!(told.contains("turned round"), "{told}");
    up.process.kill();
    up.restart()?;
    agent.renewed(&by_new, 60)?;
    is_renewed(sandbox, up)?;
    ca(sandbox, up, &["roll", "finish"])?.ok()?;
    up.process.kill();
    up.restart()?;
    is_over(sandbox, up)?;
    same("ca.crt", ca_crt(sandbox, up)?, old.to_vec())?;
    ensure_that!(new.len() == 2, "{new:?}");
    verifies(sandbox, up, agent, "client")?;
    agent
        .kubectl()
        .quiet(&["get", "--raw", "/api/v1/services"])?;
    Ok(())
}

/// What was lost of a roll in phase 2 is made anew where it can be, and named where it cannot.
fn damaged(sandbox: &Sandbox, up: &mut Up<'_>) -> Result<()> {
    let (crt, key) = (up.path("pki/ca.crt"), up.path("pki/ca.key"));
    let files = ["renew", "--cert-file", arg(&crt), "--key-file", arg(&key)];
    let mut renew = sandbox.everleaf(&["ca"]);
    let refused = run(renew.args(files))?.failed_with(1)?;
    ensure_that!(refused.contains("is the CA of `everleaf up`"), "{refused}");
    up.process.kill();
    let (links, ledger) = (up.path("pki/roll/links.crt"), up.path("pki/roll.json"));
    fs::remove_file(&links)?;
    let aside = up.path("roll.json.aside");
    fs::rename(&ledger, &aside)?;
    let again = up.args_mut().clone();
    let again: Vec<&str> = again.iter().map(String::as_str).collect();
    let refused = run(&mut sandbox.everleaf(&again))?.failed_with(1)?;
    ensure_that!(
        refused.contains("roll.json is missing, although the CA was being replaced"),
        "{refused}"
    );
    fs::rename(&aside, &ledger)?;
    up.restart()?;
    let made = subjects(sandbox, &fs::read_to_string(&links)?)?;
    same("links", made.len(), 2)
}

fn silent(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let mut away = node(sandbox, &up, "n2", &[])?;
    away.stop()?;
    let kubelet = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"k1"}}"#;
    let kubelet = sandbox.write("node.json", kubelet)?;
    up.admin()
        .quiet(&["create", "--validate=false", "-f", arg(&kubelet)])?;
    let info = r#"{"status":{"nodeInfo":{"kubeletVersion":"v1.37.0"}}}"#;
    let patch = [
        "patch",
        "node",
        "k1",
        "--subresource=status",
        "--type=merge",
        "-p",
        info,
    ];
    up.admin().quiet(&patch)?;
    ca(sandbox, &up, &["roll", "start"])?.ok()?;
    eventually("two are waited for", 20, || {
        let words = ca(sandbox, &up, &["roll", "status"])?.ok()?;
        ensure_that!(words.contains("0 of 2 trust both"), "{words}");
        ensure_that!(
            words.contains("node/n2  does not say which CAs it trusts"),
            "{words}"
        );
        ensure_that!(words.contains("everleaf ca roll assume k1"), "{words}");
        Ok(())
    })?;
    let early = ca(sandbox, &up, &["roll", "finish"])?.failed_with(1)?;
    ensure_that!(early.contains("stands at publish"), "{early}");
    for name in ["n9", "node/k1x", "k1 n2", ""] {
        let refused = ca(sandbox, &up, &["roll", "assume", "k1", name])?.failed_with(1)?;
        ensure_that!(
            refused.contains("it waits for node/k1, node/n2"),
            "{refused}"
        );
    }
    let told = ca(sandbox, &up, &["roll", "assume", "k1"])?.ok()?;
    ensure_that!(
        told.contains("nothing is waited for from node/k1"),
        "{told}"
    );
    announcement_is_restored(&up)?;
    std::thread::sleep(std::time::Duration::from_secs(6));
    let words = ca(sandbox, &up, &["roll", "status"])?.ok()?;
    ensure_that!(
        words.contains("0 of 2 trust both: 0 proven, 1 assumed: node/k1"),
        "{words}"
    );
    same(
        "phase",
        status(sandbox, &up)?["roll"]["phase"].as_str(),
        Some("publish"),
    )?;
    away.start()?;
    is_in(sandbox, &up, "renew")?;
    let told = ca(sandbox, &up, &["roll", "finish"])?.ok()?;
    ensure_that!(
        told.contains("by itself") || told.contains("ended at"),
        "{told}"
    );
    Ok(Verdict::Passed)
}

/// Deleted, and replaced by nonsense: within seconds agents find it as it was, and the log has said
/// so once.
fn announcement_is_restored(up: &Up<'_>) -> Result<()> {
    let name = ["-n", "kube-public", "configmap", "everleaf-authorities"];
    let data = || {
        let object = up.admin().json(&[&["get"][..], &name].concat())?;
        anyhow::Ok(object["data"].clone())
    };
    let before = data()?;
    let nonsense = r#"{"data":{"ca.crt":"garbage","epoch":"9999"}}"#;
    let spoil = ["patch", "--type=merge", "-p", nonsense];
    for harm in [&["delete"][..], &spoil[..]] {
        up.admin().quiet(&[harm, &name].concat())?;
        eventually("the announcement is restored", 15, || {
            same("announcement", data()?, before.clone())
        })?;
    }
    let log = up.process.stderr();
    let told = log.matches("from which agents learn the CAs, was deleted by somebody");
    same("times it was told", told.count(), 1)?;
    Ok(())
}

/// The ledger cannot be written: the command that waits is nobody else's to overwrite, is gone when
/// its sender is, and its sender is told what keeps `up`.
fn hindered(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    fs::create_dir(up.path("pki/roll.json"))?;
    let admin = up.path("admin.conf");
    let words = ["ca", "roll", "start", "--kubeconfig", arg(&admin)];
    let mut waiting = sandbox.start("roll", &mut sandbox.everleaf(&words))?;
    let command = ["-n", "kube-system", "get", "configmap", "everleaf-ca-roll"];
    eventually("the command is there", 10, || up.admin().quiet(&command))?;
    let refused = ca(sandbox, &up, &["roll", "pause"])?.failed_with(1)?;
    ensure_that!(
        refused.contains("another command, `everleaf ca roll start`, is being carried out"),
        "{refused}"
    );
    waiting.stop()?;
    eventually("the command is taken back", 10, || {
        let gone = up.admin().run(&command)?.failed_with(1)?;
        ensure_that!(gone.contains("NotFound"), "{gone}");
        Ok(())
    })?;
    let refused = ca(sandbox, &up, &["roll", "start"])?.failed_with(1)?;
    ensure_that!(refused.contains("cannot be carried out"), "{refused}");
    ensure_that!(refused.contains("roll.json"), "{refused}");
    up.admin().run(&command)?.failed_with(1)?;
    fs::remove_dir(up.path("pki/roll.json"))?;
    eventually("the trouble is over", 10, || {
        let words = ca(sandbox, &up, &["roll", "status"])?.ok()?;
        same("status", words.trim(), "no roll of the CA is under way")
    })?;
    let told = ca(sandbox, &up, &["roll", "start"])?.ok()?;
    ensure_that!(told.contains("has begun"), "{told}");
    Ok(Verdict::Passed)
}

/// A CA as OpenSSL makes it, whose authority key identifier names its own serial number, and a
/// node's certificate of it: `ca.key`, `ca.crt`, `n1.crt`.
fn authority_of_openssl(sandbox: &Sandbox) -> Result<()> {
    let place = |name: &str| sandbox.path(name);
    let (key, crt) = (place("ca.key"), place("ca.crt"));
    let config = sandbox.write(
        "ca.cnf",
        "[req]\ndistinguished_name=dn\nprompt=no\nx509_extensions=v3\n[dn]\nCN=kubernetes\n[v3]\nbasicConstraints=critical,CA:TRUE\n\
         keyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always,issuer:always\n",
    )?;
    let made = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "30",
        "-config",
        arg(&config),
    ];
    let files = ["-keyout", arg(&key), "-out", arg(&crt)];
    sandbox.openssl(&[&made[..], &files].concat())?.ok()?;
    let (leaf_key, request, leaf) = (place("n1.key"), place("n1.csr"), place("n1.crt"));
    let asked = [
        "req",
        "-new",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/O=system:nodes/CN=system:node:n1",
    ];
    let files = ["-keyout", arg(&leaf_key), "-out", arg(&request)];
    sandbox.openssl(&[&asked[..], &files].concat())?.ok()?;
    let signed = [
        "x509",
        "-req",
        "-in",
        arg(&request),
        "-CA",
        arg(&crt),
        "-CAkey",
        arg(&key),
    ];
    let files = ["-CAcreateserial", "-days", "20", "-out", arg(&leaf)];
    sandbox.openssl(&[&signed[..], &files].concat())?.ok()?;
    Ok(())
}

fn renewed_files(sandbox: &Sandbox) -> Result<Verdict> {
    authority_of_openssl(sandbox)?;
    let place = |name: &str| sandbox.path(name);
    let (key, crt, leaf) = (place("ca.key"), place("ca.crt"), place("n1.crt"));
    // As the documents have it: names alone, of the working directory.
    let renew_files = |cert: &str, key: &str, days: &str| {
        let mut command = sandbox.everleaf(&["ca", "renew", "--days", days]);
        run(command.args(["--cert-file", cert, "--key-file", key]))
    };
    let renew = |days: &str| renew_files("ca.crt", "ca.key", days);
    let both = [fs::read(&crt)?, fs::read(&key)?].concat();
    fs::write(place("both.pem"), &both)?;
    let refused = renew_files("both.pem", "both.pem", "400")?.failed_with(1)?;
    ensure_that!(refused.contains("its key perhaps"), "{refused}");
    same("both.pem", fs::read(place("both.pem"))?, both)?;
    let refused = renew("29")?.failed_with(1)?;
    ensure_that!(refused.contains("is good until"), "{refused}");
    let before = fs::read(&crt)?;
    let told = renew("400")?.ok()?;
    ensure_that!(told.contains("CN=kubernetes: until"), "{told}");
    same("ca.crt.old", fs::read(place("ca.crt.old"))?, before)?;
    for bundle in [&crt, &place("ca.crt.old")] {
        let said = sandbox
            .openssl(&["verify", "-CAfile", arg(bundle), arg(&leaf)])?
            .ok()?;
        ensure_that!(said.contains("OK"), "{said}");
    }
    let strict = ["verify", "-x509_strict", "-CAfile", arg(&crt), arg(&crt)];
    sandbox.openssl(&strict)?.ok()?;
    let shown = sandbox
        .openssl(&["x509", "-in", arg(&crt), "-noout", "-text"])?
        .ok()?;
    ensure_that!(!shown.contains("DirName:"), "{shown}");
    ensure_that!(
        shown.contains("CA:TRUE") && shown.contains("Subject Key Identifier"),
        "{shown}"
    );
    Ok(Verdict::Passed)
}
