//! `everleaf bench`: loads of a few nodes, and what the report says of them.

use anyhow::{Context, Result, bail};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Answer, Process, Sandbox, Up, arg, ensure_that, eventually, free_port, run, same,
};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "bench_measures_however_nodes_wait_come_and_connect",
        long: false,
        run: every_load,
    },
    Test {
        name: "bench_renews_with_what_was_issued_and_asks_for_serving_certificates",
        long: false,
        run: own_certificates,
    },
    Test {
        name: "bench_says_what_went_wrong_and_what_was_measured_until_then",
        long: false,
        run: what_goes_wrong,
    },
    Test {
        name: "bench_obeys_a_server_that_says_when_to_come_back",
        long: false,
        run: asked_to_wait,
    },
];

/// Who runs loads.
struct Bench<'a> {
    sandbox: &'a Sandbox,
    kubeconfig: &'a Path,
}

impl Bench<'_> {
    fn run(&self, flags: &[&str]) -> Result<Answer> {
        let mut command = self.sandbox.everleaf(&["bench", "--kubeconfig"]);
        run(command.arg(self.kubeconfig).args(flags))
    }

    /// The report of a load that issued all.
    fn report(&self, flags: &[&str]) -> Result<Value> {
        let answer = self.run(&[flags, &["-o", "json"]].concat())?;
        let stderr = answer.stderr.clone();
        let text = answer.ok()?;
        // No bar where nobody sees it.
        same("stderr", stderr.as_str(), "")?;
        serde_json::from_str(&text).context("the report is not JSON")
    }
}

fn every_load(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let bench = Bench {
        sandbox,
        kubeconfig: &up.path("bootstrap-kubelet.conf"),
    };
    let pid = format!("up={}", up.process.id());
    for flags in [
        "--wait watch -c 4",
        "--wait informer -c 12",
        "--wait poll --poll-interval 50ms",
        "--connections per-node -c 4",
        "--connections 1 --rate 100",
        "--herd 300ms --connections per-node",
        "--key-algorithm ed25519",
    ] {
        sandbox.point(flags, || {
            let mut all = vec!["-n", "12", "--pid", &pid];
            all.extend(flags.split(' '));
            let report = bench.report(&all)?;
            same("issued", &report["certificates"]["issued"], &12.into())?;
            same("errors", &report["errors"], &Value::Array(Vec::new()))?;
            same(
                "latencies",
                &report["latency"]["certificate"]["count"],
                &12.into(),
            )?;
            let process = &report["processes"][0];
            same("process", &process["name"], &"up".into())?;
            let peak = process["memoryPeak"].as_u64().unwrap_or_default();
            ensure_that!(peak > 1 << 20, "peak memory {peak}");
            ensure_that!(
                report["generator"]["cpuSeconds"].as_f64() > Some(0.0),
                "the generator used nothing: {report}"
            );
            let prefix = report["load"]["prefix"].as_str().unwrap_or_default();
            let there = up.admin().quiet(&["get", "csr", "--no-headers"])?;
            let of_it = there.lines().filter(|line| line.starts_with(prefix));
            let issued = of_it.filter(|line| line.contains("Approved,Issued"));
            same("requests that are there", issued.count(), 12)
        })?;
    }
    sandbox.point("the report for people, and the page", || {
        let page = sandbox.path("report.html");
        let answer = bench.run(&["-n", "5", "--html", arg(&page)])?.ok()?;
        for words in [
            "5 nodes on https://",
            "issued               5 of 5",
            "p99.9",
            "the generator ",
        ] {
            ensure_that!(answer.contains(words), "{words}: {answer}");
        }
        let page = fs::read_to_string(page)?;
        same("plots", page.matches("<svg").count(), 3)?;
        ensure_that!(!page.contains("<script"), "the page has a script");
        Ok(())
    })?;
    sandbox.point("what it made is deleted on demand", || {
        let admin = up.path("admin.conf");
        let flags = ["-n", "5", "--cleanup", "--name-prefix", "gone"];
        let report =
            bench.report(&[&flags[..], &["--approve-kubeconfig", arg(&admin)]].concat())?;
        same("deleted", &report["cleanup"]["deleted"], &5.into())?;
        let there = up.admin().quiet(&["get", "csr", "--no-headers"])?;
        ensure_that!(!there.contains("gone-"), "{there}");
        Ok(())
    })?;
    Ok(Verdict::Passed)
}

/// Serving requests of nodes that nobody knows, as a load makes them.
const TRUSTING: &str = "version: everleaf.io/policy/v1\npolicy:\n\
    - name: bench\n  san: {require_node_addresses: false, allowed_cidrs: [10.0.0.0/8], unique_across_nodes: false}\n";
const ABSTAINING: &str =
    "version: everleaf.io/policy/v1\npolicy:\n- {name: nobody, mode: abstain}\n";

fn own_certificates(sandbox: &Sandbox) -> Result<Verdict> {
    let policy = sandbox.write("policy.yaml", TRUSTING)?;
    let mut up = Up::start(
        sandbox,
        &["--no-node", "--serving-approval-policy", arg(&policy)],
    )?;
    let kubeconfig = up.path("bootstrap-kubelet.conf");
    let bench = Bench {
        sandbox,
        kubeconfig: &kubeconfig,
    };
    let who = |name: &str| -> Result<String> {
        let request = up.admin().json(&["get", "csr", name])?;
        Ok(request["spec"]["username"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    };
    sandbox.point("a renewal is asked for by the node itself", || {
        let flags = ["-n", "3", "--renewals", "2", "--name-prefix", "ren"];
        let report = bench.report(&flags)?;
        same("issued", &report["certificates"]["issued"], &9.into())?;
        same(
            "renewals",
            &report["latency"]["renewal"]["count"],
            &6.into(),
        )?;
        ensure_that!(
            who("ren-1")?.starts_with("system:bootstrap:"),
            "{}",
            who("ren-1")?
        );
        for name in ["ren-1-r1", "ren-1-r2"] {
            same("requestor", who(name)?, "system:node:ren-1".to_owned())?;
        }
        Ok(())
    })?;
    sandbox.point(
        "a serving certificate is asked for by the node, and the policy decides",
        || {
            // The policy wants to know a node before its request.
            for number in 0..3 {
                let node = serde_json::json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("srv-{number}")}});
                let file = sandbox.write("node.json", &node.to_string())?;
                up.admin().quiet(&["create", "--validate=false", "-f", arg(&file)])?;
            }
            let flags = ["-n", "3", "--signer", "serving", "--name-prefix", "srv"];
            let report = bench.report(&[&flags[..], &["--wait", "informer"]].concat())?;
            same(
                "measured",
                &report["latency"]["certificate"]["count"],
                &3.into(),
            )?;
            same("requestor", who("srv-2")?, "system:node:srv-2".to_owned())
        },
    )?;
    fs::write(&policy, ABSTAINING)?;
    up.process.stop()?;
    up.restart()?;
    nobody_approves(&bench, &up.path("admin.conf"))?;
    Ok(Verdict::Passed)
}

/// Serving certificates where no controller approves them.
fn nobody_approves(bench: &Bench<'_>, admin: &Path) -> Result<()> {
    let sandbox = bench.sandbox;
    sandbox.point("where nobody approves, the load can", || {
        let flags = ["-n", "3", "--signer", "serving", "--renewals", "1"];
        let approve = ["--approve-kubeconfig", arg(admin)];
        let report = bench.report(&[&flags[..], &approve].concat())?;
        same("issued", &report["certificates"]["issued"], &6.into())
    })?;
    sandbox.point("what nobody approves is an error with its example", || {
        let flags = [
            "-n",
            "2",
            "--signer",
            "serving",
            "--timeout",
            "2s",
            "--name-prefix",
            "late",
        ];
        let answer = bench.run(&[&flags[..], &["-o", "json"]].concat())?;
        same("exit code", answer.code, Some(1))?;
        let report: Value = serde_json::from_str(&answer.stdout)?;
        let error = &report["errors"][0];
        same("kind", &error["kind"], &"no-certificate".into())?;
        same("count", &error["count"], &2.into())?;
        let example = error["example"].as_str().unwrap_or_default();
        let hint = "no certificate within 2 s; the request is there: \"everleaf why csr/late-";
        ensure_that!(example.contains(hint), "{example}");
        Ok(())
    })
}

fn what_goes_wrong(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node"])?;
    let kubeconfig = up.path("bootstrap-kubelet.conf");
    let bench = Bench {
        sandbox,
        kubeconfig: &kubeconfig,
    };
    for (flags, words) in [
        ("--rate 5 --herd 10s", "cannot be used with"),
        ("--poll-interval 1s", "--poll-interval is for --wait poll"),
        ("--nodes 0", "0 is not in 1.."),
        (
            "--connections none",
            "write a number from 1 to 10000, or per-node",
        ),
        ("--rate fast", "write nodes per second"),
        ("--name-prefix A_b", "write lower-case letters"),
        ("--pid up", "write NAME=PID"),
        ("--pid up=999999999", "there is no such process"),
    ] {
        sandbox.point(flags, || {
            let flags: Vec<&str> = flags.split(' ').collect();
            let said = bench.run(&flags)?.failed_with(2)?;
            ensure_that!(said.contains(words), "{said}");
            Ok(())
        })?;
    }
    sandbox.point("a server that is away", || {
        let away = away(sandbox, &kubeconfig)?;
        let flags = ["bench", "--kubeconfig", arg(&away)];
        let said = run(&mut sandbox.everleaf(&flags))?.failed_with(1)?;
        for words in [
            "cannot be measured",
            "cannot connect to 127.0.0.1:",
            "refused",
        ] {
            ensure_that!(said.contains(words), "{said}");
        }
        Ok(())
    })?;
    sandbox.point("names that are there already", || {
        let flags = ["-n", "3", "--name-prefix", "twice", "-o", "json"];
        bench.run(&flags)?.ok()?;
        let answer = bench.run(&flags)?;
        same("exit code", answer.code, Some(1))?;
        let report: Value = serde_json::from_str(&answer.stdout)?;
        same(
            "kind",
            &report["errors"][0]["kind"],
            &"already-exists".into(),
        )?;
        same("failed", &report["certificates"]["failed"], &3.into())
    })?;
    sandbox.point("stopped, it tells what it measured until then", || {
        stopped(sandbox, &kubeconfig)
    })?;
    Ok(Verdict::Passed)
}

/// The kubeconfig with a port on which nobody listens.
fn away(sandbox: &Sandbox, kubeconfig: &Path) -> Result<std::path::PathBuf> {
    let text = fs::read_to_string(kubeconfig)?;
    let (before, after) = text.split_once("https://127.0.0.1:").context("no server")?;
    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    sandbox.write(
        "away.conf",
        &format!("{before}https://127.0.0.1:{}{rest}", free_port()?),
    )
}

fn stopped(sandbox: &Sandbox, kubeconfig: &Path) -> Result<()> {
    let flags = [
        "bench",
        "-n",
        "1000",
        "--rate",
        "5",
        "--name-prefix",
        "stop",
        "--kubeconfig",
    ];
    let mut command = sandbox.everleaf(&flags);
    let mut process: Process = sandbox.start("bench", command.arg(kubeconfig))?;
    // It listens for signals by the time that a request is there.
    std::thread::sleep(Duration::from_secs(3));
    same("exit code", process.stop()?, 1)?;
    let said = eventually("the report", 5, || {
        let said = process.stdout();
        ensure_that!(said.contains("the generator "), "{said}");
        Ok(said)
    })?;
    for words in [
        "(stopped before the end)",
        "of 1,000, ",
        "not finished",
        "p50 ",
    ] {
        ensure_that!(said.contains(words), "{words}: {said}");
    }
    Ok(())
}

/// A server of another make, without TLS: it wants the first create to be made again later, and
/// issues what is watched.
fn asked_to_wait(sandbox: &Sandbox) -> Result<Verdict> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let server = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || serve(&listener));
    let document = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    let kubeconfig = sandbox.write("other.conf", &document.to_string())?;
    let bench = Bench {
        sandbox,
        kubeconfig: &kubeconfig,
    };
    let report = bench.report(&["-n", "1", "--connections", "1"])?;
    same("issued", &report["certificates"]["issued"], &1.into())?;
    let retry = &report["retries"][0];
    same("kind", &retry["kind"], &"too-many-requests".into())?;
    same("count", &retry["count"], &1.into())?;
    let took = report["latency"]["certificate"]["p50"]
        .as_f64()
        .unwrap_or_default();
    ensure_that!(
        (1000.0..9000.0).contains(&took),
        "it took {took} ms, not the second that it was to wait"
    );
    Ok(Verdict::Passed)
}

fn serve(listener: &TcpListener) {
    let mut creates = 0;
    for stream in listener.incoming() {
        let served = stream.map_err(anyhow::Error::from);
        // Who went away wants no answer.
        let _ = served.and_then(|stream| answer(stream, &mut creates));
    }
}

/// Answers one request, and closes.
fn answer(mut stream: TcpStream, creates: &mut u32) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            bail!("no request");
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (code, headers, text) = if head.starts_with("POST") {
        *creates += 1;
        match creates {
            1 => ("429 Too Many Requests", "Retry-After: 1\r\n", TOO_MANY),
            _ => (
                "201 Created",
                "",
                r#"{"metadata":{"resourceVersion":"1"},"status":{}}"#,
            ),
        }
    } else if head.contains("watch=true") {
        ("200 OK", "", ISSUED)
    } else {
        ("200 OK", "", r#"{"kind":"APIResourceList"}"#)
    };
    write!(
        stream,
        "HTTP/1.1 {code}\r\n{headers}Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )?;
    Ok(())
}

const TOO_MANY: &str = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"later","reason":"TooManyRequests","code":429}"#;
const ISSUED: &str =
    "{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{},\"status\":{\"certificate\":\"eA==\"}}}\n";
