//! `everleaf status` and `everleaf forecast`: what a fleet has, who lapses, and what is not known.

use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Agent, Answer, FakeClock, Process, Sandbox, Up, arg, ensure_that, eventually, free_port,
    object, run, same,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "status_and_forecast_tell_who_lapses_and_why",
        long: false,
        run: fleet,
    },
    Test {
        name: "a_forecast_by_the_log_when_certificates_are_due_and_when_they_have_ended",
        long: false,
        run: years,
    },
    Test {
        name: "a_forecast_asks_kubelets_what_they_show",
        long: false,
        run: probe,
    },
    Test {
        name: "a_node_that_a_change_of_ca_left_behind_is_out_and_the_others_are_fine",
        long: false,
        run: left_behind,
    },
];

const DAY: i64 = 24 * 60 * 60;

/// `everleaf …` with the credential of this file.
fn ask(sandbox: &Sandbox, kubeconfig: &Path, args: &[&str]) -> Result<Answer> {
    let mut command = sandbox.everleaf(args);
    run(command.args(["--kubeconfig", arg(kubeconfig)]))
}

/// Its answer in JSON, which has to end with this code.
fn told(sandbox: &Sandbox, kubeconfig: &Path, args: &[&str], code: i32) -> Result<Value> {
    let answer = ask(sandbox, kubeconfig, &[args, &["-o", "json"]].concat())?;
    let told = format!("code of {args:?}: {}", answer.stderr);
    same(&told, answer.code, Some(code))?;
    Ok(serde_json::from_str(&answer.stdout)?)
}

fn node<'v>(fleet: &'v Value, name: &str) -> Result<&'v Value> {
    let mut nodes = fleet["nodes"].as_array().into_iter().flatten();
    let found = nodes.find(|node| node["name"] == name);
    found.with_context(|| format!("no node {name}: {fleet}"))
}

/// A node that has its certificate, and an agent that has stopped.
fn joined<'a>(sandbox: &'a Sandbox, up: &Up<'_>, name: &str) -> Result<Agent<'a>> {
    let mut agent = Agent::new(sandbox, up, name);
    agent.start()?;
    agent.certificate()?;
    agent.stop()?;
    Ok(agent)
}

/// A request that waits for a person.
fn file_by_hand(sandbox: &Sandbox, up: &Up<'_>, name: &str) -> Result<()> {
    let (key, pem) = (sandbox.path("ann.key"), sandbox.path("ann.csr"));
    let make = [
        "ecparam",
        "-genkey",
        "-name",
        "prime256v1",
        "-noout",
        "-out",
    ];
    sandbox.openssl(&[&make[..], &[arg(&key)]].concat())?.ok()?;
    let make = ["req", "-new", "-key", arg(&key), "-subj", "/CN=ann", "-out"];
    sandbox.openssl(&[&make[..], &[arg(&pem)]].concat())?.ok()?;
    let signer = "kubernetes.io/kube-apiserver-client";
    let usages = ["digital signature", "client auth"];
    let object = object(name, &fs::read(&pem)?, signer, &usages);
    let written = sandbox.write(&format!("{name}.json"), &object.to_string())?;
    let create = ["create", "--validate=false", "-f", arg(&written)];
    up.admin().quiet(&create).map(drop)
}

fn fleet(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let admin = up.path("admin.conf");
    let n2 = joined(sandbox, &up, "n2")?;
    joined(sandbox, &up, "n3")?;
    let certificate = n2.certificate_now()?;
    sandbox.point(
        "two fresh nodes: each is foreseen, and nobody lapses",
        || {
            let fleet = told(sandbox, &admin, &["status"], 0)?;
            same("nodes", fleet["counts"]["nodes"].clone(), json!(2))?;
            same(
                "fresh",
                fleet["counts"]["client"]["fresh"].clone(),
                json!(2),
            )?;
            same("not seen", fleet["unseen"].clone(), json!([]))?;
            let client = &node(&fleet, "n2")?["client"];
            same("keeper", client["keeper"].clone(), json!("everleafAgent"))?;
            let serial = client["certificate"]["serial"].as_str().unwrap_or_default();
            same("serial", serial, &*certificate.serial)?;
            let forecast = told(sandbox, &admin, &["forecast"], 0)?;
            same("renewing", forecast["renewing"].clone(), json!(2))?;
            let load = forecast["load"]["total"].as_u64();
            ensure_that!(load >= Some(2) && load <= Some(3), "{forecast}");
            let text = ask(sandbox, &admin, &["forecast", "--days", "30"])?.ok()?;
            ensure_that!(text.contains("No node lapses"), "{text}");
            ensure_that!(text.contains("No renewal is foreseen."), "{text}");
            // When the agent itself says that it will.
            let answer = run(sandbox
                .everleaf(&["certs", "-o", "json"])
                .arg(n2.path("pki")))?;
            let certs: Value = serde_json::from_str(&answer.stdout)?;
            let deadline = certs["certificates"][0]["rotationDeadline"].as_str();
            let deadline: Timestamp = deadline.context("no deadline")?.parse()?;
            let opens = client["renewal"]["opens"].as_str().unwrap_or_default();
            same(
                "deadline",
                opens.parse::<Timestamp>()?.as_second(),
                deadline.as_second(),
            )
        },
    )?;
    file_by_hand(sandbox, &up, "by-hand")?;
    live(sandbox, &up, &admin)?;
    sandbox.point(
        "a screen fits the terminal, also one that is made narrower",
        || narrowed(sandbox, &admin),
    )?;
    rights(sandbox, &up)?;
    Ok(Verdict::Passed)
}

/// A terminal that becomes narrower while it shows the fleet.
fn narrowed(sandbox: &Sandbox, admin: &Path) -> Result<()> {
    let everleaf = sandbox.everleaf(&[]);
    let program = Path::new(everleaf.get_program());
    let status = format!("{} status -w --kubeconfig {}", arg(program), arg(admin));
    let script = format!("stty cols 70; {status} & sleep 5; stty cols 40; sleep 5; kill $!");
    let mut terminal = sandbox.command("script".as_ref());
    terminal.args(["-qec", &script, "/dev/null"]);
    let shown = run(terminal.env("TERM", "xterm"))?.stdout;
    let frames: Vec<&str> = shown.split("\u{1b}[H\u{1b}[2J").skip(1).collect();
    let long = |frame: &&str| {
        frame
            .lines()
            .map(|line| line.trim_end().chars().count())
            .max()
    };
    let longest: Vec<_> = frames.iter().map(long).collect();
    let (first, last) = (longest.first(), longest.last());
    let is_fitted = |columns: Option<&Option<usize>>, from, to| {
        columns.is_some_and(|columns| columns.is_some_and(|longest| (from..=to).contains(&longest)))
    };
    ensure_that!(is_fitted(first, 41, 70), "{longest:?}: {shown}");
    ensure_that!(is_fitted(last, 20, 40), "{longest:?}: {shown}");
    Ok(())
}

/// Changes, as `status -w` shows them.
fn live(sandbox: &Sandbox, up: &Up<'_>, admin: &Path) -> Result<()> {
    let watch = |name: &str, more: &[&str]| -> Result<Process> {
        let mut command = sandbox.everleaf(&["status", "-w", "--kubeconfig", arg(admin)]);
        sandbox.start(name, command.args(more))
    };
    let mut text = watch("status", &[])?;
    let json = watch("status-json", &["-o", "json"])?;
    let sees = |process: &Process, part: &str| {
        eventually(part, 30, || {
            let seen = process.stdout();
            ensure_that!(seen.contains(part), "{seen}\n{}", process.stderr());
            Ok(())
        })
    };
    sandbox.point(
        "a request that waits for a person is told as `why` does",
        || {
            sees(&text, "by-hand")?;
            sees(&text, "manual-approval")
        },
    )?;
    sandbox.point("what is denied and what is revoked shows by itself", || {
        up.admin().quiet(&["certificate", "deny", "by-hand"])?;
        sees(&text, "0 pending, 0 approved, 1 denied")?;
        let revoke = ["ca", "revoke", "node/n3"];
        ask(sandbox, admin, &revoke)?.ok()?;
        sees(&text, "node/n3")?;
        sees(&json, "\"standing\":\"revoked\"")?;
        let lines = json.stdout();
        for line in lines.lines() {
            let one: Value = serde_json::from_str(line)?;
            same("nodes", one["counts"]["nodes"].clone(), json!(2))?;
        }
        ensure_that!(text.is_running(), "{}", text.stderr());
        let long = text.stdout().lines().map(|line| line.chars().count()).max();
        ensure_that!(long <= Some(80), "{}", text.stdout());
        Ok(())
    })?;
    sandbox.point(
        "a revoked node has lapsed: exit code 1, and it is named",
        || {
            let forecast = told(sandbox, admin, &["forecast"], 1)?;
            let first = &forecast["lapses"][0];
            same("node", first["node"].clone(), json!("n3"))?;
            same(
                "code",
                first["reasons"][0]["code"].clone(),
                json!("revoked"),
            )?;
            let why = ask(sandbox, admin, &["why", "node/n3"])?;
            same("code of why", why.code, Some(1))?;
            ensure_that!(why.stdout.contains("[node-revoked]"), "{}", why.stdout);
            let wide = ask(sandbox, admin, &["status", "-o", "wide"])?.ok()?;
            let row = wide.lines().find(|line| line.starts_with("n3 "));
            ensure_that!(
                row.is_some_and(|row| row.contains("client: revoked (")),
                "{wide}"
            );
            Ok(())
        },
    )
}

/// Those who may not look, and those who may not see everything.
fn rights(sandbox: &Sandbox, up: &Up<'_>) -> Result<()> {
    let joining = up.path("bootstrap-kubelet.conf");
    sandbox.point(
        "what may not be read is said, and the rest is shown",
        || {
            let fleet = told(sandbox, &joining, &["status"], 0)?;
            same(
                "fresh",
                fleet["counts"]["client"]["fresh"].clone(),
                json!(2),
            )?;
            let unseen = fleet["unseen"].to_string();
            for part in ["nodes: ", "leases: ", "revocations: ", "forbidden"] {
                ensure_that!(unseen.contains(part), "{part} in {unseen}");
            }
            // Without Nodes, nobody can say that none lapses.
            told(sandbox, &joining, &["forecast"], 2).map(drop)
        },
    )?;
    sandbox.point(
        "who may see nothing is told whom to ask, with code 2",
        || {
            let conf = fs::read_to_string(&joining)?;
            let token = conf.lines().find(|line| line.trim().starts_with("token:"));
            let token = token.context("no token in bootstrap-kubelet.conf")?;
            let wrong = conf.replace(token, "    token: abcdef.0123456789abcdef");
            let wrong = sandbox.write("wrong.conf", &wrong)?;
            for command in ["status", "forecast"] {
                let stderr = ask(sandbox, &wrong, &[command])?.failed_with(2)?;
                ensure_that!(stderr.contains("credential"), "{stderr}");
            }
            let usage = ask(sandbox, &joining, &["forecast", "--days", "0"])?;
            usage.failed_with(2).map(drop)
        },
    )
}

/// `up` whose clock is so far ahead.
fn start_later(sandbox: &Sandbox, up: &mut Up<'_>, ahead: SignedDuration) -> Result<()> {
    up.process.stop()?;
    let args: Vec<&str> = up.args_mut().iter().map(String::as_str).collect();
    let mut command = sandbox.everleaf(&args);
    FakeClock::Offset(ahead.as_secs()).apply(sandbox, &mut command);
    up.process = sandbox.start("up", &mut command)?;
    eventually("up is ready", 30, || {
        let ready = up.admin().run(&["get", "--raw", "/readyz"])?;
        same("/readyz", ready.stdout.trim(), "ok")
    })
}

const fn days(days: i64) -> SignedDuration {
    SignedDuration::from_secs(days * DAY)
}

fn years(sandbox: &Sandbox) -> Result<Verdict> {
    let year = ["--no-node", "--cluster-signing-duration", "8760h"];
    let mut up = Up::start(sandbox, &year)?;
    let admin = up.path("admin.conf");
    let agent = joined(sandbox, &up, "n2")?;
    sandbox.point(
        "a minute after its deadline: due, as the log tells; the API has forgotten it",
        || due(sandbox, &mut up),
    )?;
    sandbox.point("at 95 %: late, and nobody has asked for another", || {
        start_later(sandbox, &mut up, days(347))?;
        let forecast = told(sandbox, &admin, &["forecast"], 1)?;
        let lapse = &forecast["lapses"][0];
        let code = &lapse["reasons"][0]["code"];
        same("code", code.clone(), json!("no-request"))?;
        same("has lapsed", lapse["hasLapsed"].clone(), json!(false))?;
        told(sandbox, &admin, &["forecast", "--days", "7"], 0)?;
        let text = ask(sandbox, &admin, &["forecast"])?.stdout;
        ensure_that!(text.contains("no request for another is seen"), "{text}");
        Ok(())
    })?;
    sandbox.point(
        "a day after its end: lapsed; renewed, nobody lapses",
        || {
            start_later(sandbox, &mut up, days(366))?;
            let forecast = told(sandbox, &admin, &["forecast"], 1)?;
            let has_lapsed = &forecast["lapses"][0]["hasLapsed"];
            same("has lapsed", has_lapsed.clone(), json!(true))?;
            fs::remove_file(agent.path("pki/kubelet-client-current.pem"))?;
            let token = up.path("bootstrap-kubelet.conf");
            let mut again = Agent::bootstrapped_by(sandbox, token, "n2");
            again.start_at(&FakeClock::Offset(days(366).as_secs()))?;
            eventually("another certificate", 60, || {
                told(sandbox, &admin, &["forecast"], 0).map(drop)
            })
        },
    )?;
    Ok(Verdict::Passed)
}

/// The log is found beside the kubeconfig, and where it is named; without it nothing is known.
fn due(sandbox: &Sandbox, up: &mut Up<'_>) -> Result<()> {
    let (admin, log) = (up.path("admin.conf"), up.path("issuance-log"));
    let fleet = told(sandbox, &admin, &["status"], 0)?;
    let deadline = &node(&fleet, "n2")?["client"]["renewal"]["deadline"];
    let deadline: Timestamp = deadline.as_str().unwrap_or_default().parse()?;
    let now: Timestamp = fleet["now"].as_str().unwrap_or_default().parse()?;
    let minute = SignedDuration::from_mins(1);
    start_later(sandbox, up, deadline.duration_since(now) + minute)?;
    let other = sandbox.path("other.conf");
    fs::copy(&admin, &other)?;
    eventually("the cleaner", 30, || {
        let requests = up.admin().json(&["get", "csr"])?;
        same("requests", requests["items"].clone(), json!([]))
    })?;
    let nobody = told(sandbox, &other, &["status"], 0)?;
    same("nodes", nobody["nodes"].clone(), json!([]))?;
    let named = ["status", "--issuance-log", arg(&log)];
    for (conf, args) in [(&other, &named[..]), (&admin, &named[..1])] {
        let fleet = told(sandbox, conf, args, 0)?;
        let client = &node(&fleet, "n2")?["client"];
        same("standing", client["standing"].clone(), json!("due"))?;
        let source = &client["certificate"]["source"];
        same("source", source.clone(), json!("log"))?;
    }
    told(sandbox, &admin, &["forecast"], 0).map(drop)
}

/// A Node whose kubelet is said to listen there.
fn register(sandbox: &Sandbox, up: &Up<'_>, name: &str, port: u16) -> Result<()> {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
    let written = sandbox.write(&format!("{name}.json"), &node.to_string())?;
    up.admin().quiet(&["create", "-f", arg(&written)])?;
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "conditions": [{
            "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    }});
    let patch = status.to_string();
    let patch = [
        "patch",
        "node",
        name,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ];
    up.admin().quiet(&patch).map(drop)
}

fn probe(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let admin = up.path("admin.conf");
    let (port, nobody) = (free_port()?, free_port()?);
    let (key, certificate) = (sandbox.path("kubelet.key"), sandbox.path("kubelet.crt"));
    let make = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "3",
        "-subj",
        "/O=system:nodes/CN=system:node:n2",
        "-keyout",
        arg(&key),
        "-out",
        arg(&certificate),
    ];
    sandbox.openssl(&make)?.ok()?;
    let mut command = sandbox.command(&sandbox.tools.openssl);
    let accept = port.to_string();
    let serve = [
        "s_server", "-quiet", "-www", "-verify", "1", "-accept", &accept,
    ];
    command
        .args(serve)
        .args(["-cert", arg(&certificate), "-key", arg(&key)]);
    let _kubelet = sandbox.start("kubelet", &mut command)?;
    register(sandbox, &up, "n2", port)?;
    register(sandbox, &up, "n3", nobody)?;
    sandbox.point(
        "what a kubelet shows is known, and ends in three days",
        || {
            eventually("the probe", 10, || {
                let forecast = told(sandbox, &admin, &["forecast", "--probe", "--days", "5"], 1)?;
                let lapse = &forecast["lapses"][0];
                same("node", lapse["node"].clone(), json!("n2"))?;
                same("kind", lapse["kind"].clone(), json!("serving"))?;
                // Nobody reports for it.
                same("code", lapse["reasons"][0]["code"].clone(), json!("silent"))?;
                let unknown = forecast["unknown"].to_string();
                ensure_that!(unknown.contains("not-shown"), "{unknown}");
                ensure_that!(unknown.contains("onnection refused"), "{unknown}");
                Ok(())
            })?;
            let fleet = told(sandbox, &admin, &["status", "--probe"], 0)?;
            let serving = &node(&fleet, "n2")?["serving"];
            same(
                "source",
                serving["certificate"]["source"].clone(),
                json!("probe"),
            )?;
            same(
                "without it",
                {
                    let fleet = told(sandbox, &admin, &["status"], 0)?;
                    node(&fleet, "n2")?["serving"]["standing"].clone()
                },
                json!("unknown"),
            )
        },
    )?;
    Ok(Verdict::Passed)
}

/// Replaces the CA while the agent of `n2` does not run, and drops the old one.
fn replace_ca(sandbox: &Sandbox, admin: &Path) -> Result<()> {
    let roll = |args: &[&str]| ask(sandbox, admin, &[&["ca", "roll"], args].concat());
    roll(&["start", "--per-minute", "120"])?.ok()?;
    for phase in ["publish", "renew"] {
        eventually(&format!("n2 is let go in {phase}"), 90, || {
            let status = told(sandbox, admin, &["ca", "roll", "status"], 0)?;
            let is_past = status["roll"]["phase"] != phase || status["isReady"] == true;
            if !is_past {
                // Refused while it is not waited for by name.
                roll(&["assume", "n2"])?;
            }
            ensure_that!(is_past, "{status}");
            Ok(())
        })?;
    }
    roll(&["finish"])?.ok()?;
    eventually("the old CA is dropped", 60, || {
        let status = told(sandbox, admin, &["ca", "roll", "status"], 0)?;
        ensure_that!(status["roll"].is_null(), "{status}");
        Ok(())
    })
}

fn left_behind(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &[])?;
    up.node_certificate()?;
    let admin = up.path("admin.conf");
    joined(sandbox, &up, "n2")?;
    let old = up.admin().run(&["get", "csr", "-o", "name"])?.ok()?;
    replace_ca(sandbox, &admin)?;
    sandbox.point("n2 is refused now; status and forecast say so", || {
        let fleet = told(sandbox, &admin, &["status"], 0)?;
        let client = &fleet["counts"]["client"];
        same("untrusted", client["untrusted"].clone(), json!(1))?;
        same("fresh", client["fresh"].clone(), json!(1))?;
        let standing = &node(&fleet, "n2")?["client"]["standing"];
        same("n2", standing.clone(), json!("untrusted"))?;
        let forecast = told(sandbox, &admin, &["forecast"], 1)?;
        let code = &forecast["lapses"][0]["reasons"][0]["code"];
        same("why", code.clone(), json!("authority-gone"))
    })?;
    sandbox.point("doctor names it, and not what has a successor", || {
        let report = told(sandbox, &admin, &["doctor", "--section", "signers"], 1)?;
        let findings = report["sections"][0]["findings"].as_array();
        let finding = findings.and_then(|all| all.first()).context("no finding")?;
        same("fault", finding["fault"].clone(), json!("issued-other-ca"))?;
        same("count", finding["count"].clone(), json!(1))?;
        let shown = finding["evidence"][0].as_str().unwrap_or_default();
        ensure_that!(shown.contains("system:node:n2"), "{finding}");
        Ok(())
    })?;
    sandbox.point("why sends n2 to join again, and nobody else", || {
        let mut out = 0;
        for name in old.lines() {
            let name = name.rsplit('/').next().unwrap_or_default();
            let why = ask(sandbox, &admin, &["why", &format!("csr/{name}")])?.stdout;
            ensure_that!(!why.contains(">>"), "{why}");
            if why.contains("[certificate-other-ca]") {
                ensure_that!(why.contains("system:node:n2"), "{why}");
                ensure_that!(why.contains("--replace"), "{why}");
                out += 1;
            }
        }
        same("left behind", out, 1)
    })?;
    Ok(Verdict::Passed)
}
