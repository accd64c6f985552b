//! Prometheus by the recipe of docs/monitor.md: it reads all that `everleaf up` and an agent of
//! another node tell, the alerts are sound, and every panel of the Grafana board shows something.

use super::Pairing;
use crate::stack::{deploy, peer};
use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Agent, Sandbox, Up, arg, ensure_that, eventually, free_port, run as run_program, same,
    signing_request,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "Prometheus 2.42, promtool",
    ours: "`everleaf up`, `everleaf agent`, alerts, Grafana board",
    test: Test {
        name: "prometheus_reads_everleaf",
        long: true,
        run,
    },
};

const SECONDS_MAX: u64 = 60;
const ALERTS: [&str; 2] = ["agent-alerts.yaml", "up-alerts.yaml"];
/// Panels that are empty as long as nothing goes wrong.
const EMPTY: [&str; 2] = ["Share of life used since due", "Failed attempts on nodes"];
/// A family of each part of `up`.
const PARTS: [&str; 5] = [
    "apiserver_request_total",
    "everleaf_agent_certificate_expiry_timestamp_seconds",
    "everleaf_ca_expiry_timestamp_seconds",
    "everleaf_csr_issued_total",
    "everleaf_up_certificate_expiry_timestamp_seconds",
];

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let folder = sandbox.path("prometheus");
    fs::create_dir_all(&folder)?;
    for name in ALERTS.iter().chain(&["prometheus.yaml"]) {
        fs::copy(deploy(&format!("prometheus/{name}"))?, folder.join(name))?;
    }
    sandbox.point(
        "promtool finds the alerts sound, and each fires on its fault alone",
        || alerts(sandbox, &folder),
    )?;
    let up = Up::start(sandbox, &[])?;
    let port = free_port()?;
    let mut agent = Agent::new(sandbox, &up, "there");
    let address = format!("127.0.0.1:{port}");
    agent.args.push(format!("--metrics-bind-address={address}"));
    agent.start()?;
    agent.certificate()?;
    decide(sandbox, &up)?;
    sandbox.point(
        "kubectl makes the token of the recipe, and /metrics is sound in promtool's eyes",
        || token(sandbox, &up, &folder),
    )?;
    configure(&up, &folder, &address)?;
    let listen = format!("127.0.0.1:{}", free_port()?);
    let mut prometheus = sandbox.command(&peer("PROMETHEUS")?);
    prometheus.current_dir(&folder).args([
        "--config.file=prometheus.yaml",
        "--storage.tsdb.path=data",
        &format!("--web.listen-address={listen}"),
    ]);
    let _prometheus = sandbox.start("prometheus", &mut prometheus)?;
    sandbox.point("it reads both, by the configuration as it stands", || {
        eventually("both targets are up", SECONDS_MAX, || {
            let both = query(sandbox, &listen, "sum(up) == 2")?;
            ensure_that!(both.len() == 1, "not both are up");
            Ok(())
        })
    })?;
    sandbox.point("what it reads has every part of up", || {
        for family in PARTS {
            let found = query(sandbox, &listen, &format!("{family}{{job=\"everleaf\"}}"))?;
            ensure_that!(!found.is_empty(), "no {family} in what up tells");
        }
        Ok(())
    })?;
    sandbox.point("every panel of the Grafana board shows something", || {
        panels(sandbox, &listen)
    })?;
    sandbox.point("no alert fires while all is well", || {
        let firing = query(sandbox, &listen, "ALERTS{alertstate=\"firing\"}")?;
        ensure_that!(firing.is_empty(), "{firing:?}");
        Ok(())
    })?;
    Ok(Verdict::Passed)
}

fn alerts(sandbox: &Sandbox, folder: &Path) -> Result<()> {
    let promtool = peer("PROMTOOL")?;
    for name in ALERTS {
        let rules = folder.join(name);
        let mut command = sandbox.command(&promtool);
        run_program(command.args(["check", "rules", arg(&rules)]))?.ok()?;
    }
    let tests = deploy("tests/prometheus-alerts.yaml")?;
    let mut command = sandbox.command(&promtool);
    let told = run_program(command.args(["test", "rules", arg(&tests)]))?;
    told.ok().map(drop)
}

/// A request that is denied and one that is issued, so that the counters of decisions exist.
fn decide(sandbox: &Sandbox, up: &Up<'_>) -> Result<()> {
    let admin = up.admin();
    let signer = "kubernetes.io/kube-apiserver-client";
    for (name, verb) in [("granted", "approve"), ("refused", "deny")] {
        let file = signing_request(sandbox, name, "/CN=someone", signer, &["client auth"])?;
        admin.quiet(&["create", "-f", arg(&file)])?;
        admin.quiet(&["certificate", verb, name])?;
    }
    Ok(())
}

/// The commands of docs/monitor.md.
fn token(sandbox: &Sandbox, up: &Up<'_>, folder: &Path) -> Result<()> {
    let admin = up.admin();
    admin.quiet(&[
        "-n",
        "kube-system",
        "create",
        "serviceaccount",
        "prometheus",
    ])?;
    admin.quiet(&[
        "create",
        "clusterrolebinding",
        "prometheus",
        "--clusterrole=system:monitoring",
        "--serviceaccount=kube-system:prometheus",
    ])?;
    let create = [
        "-n",
        "kube-system",
        "create",
        "token",
        "prometheus",
        "--duration=8760h",
    ];
    let token = admin.quiet(&create)?;
    fs::write(folder.join("token"), token.trim())?;
    let text = admin.quiet(&["get", "--raw", "/metrics"])?;
    let mut seen = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        *seen.entry(line).or_insert(0) += 1;
    }
    seen.retain(|_, count| *count > 1);
    same("families that are there twice", seen, BTreeMap::new())?;
    let file = sandbox.write("metrics.txt", &text)?;
    let mut command = sandbox.command(&peer("PROMTOOL")?);
    command
        .args(["check", "metrics"])
        .stdin(fs::File::open(file)?);
    run_program(&mut command)?.ok().map(drop)
}

/// The CA's certificate, and the addresses of this run in place of those of the example.
fn configure(up: &Up<'_>, folder: &Path, agent: &str) -> Result<()> {
    fs::copy(up.path("pki/ca.crt"), folder.join("ca.crt"))?;
    let file = folder.join("prometheus.yaml");
    let text = fs::read_to_string(&file)?;
    let example = "127.0.0.1:6443";
    ensure_that!(text.contains(example), "{text}");
    let server = "jsonpath={.clusters[0].cluster.server}";
    let mine = up.admin().quiet(&["config", "view", "-o", server])?;
    let mine = mine.trim().trim_start_matches("https://");
    // Every 15 seconds is a person's pace.
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n{}",
        text.replace(example, mine)
    );
    fs::write(&file, text)?;
    fs::write(
        folder.join("agents.yaml"),
        format!("- targets: ['{agent}']\n"),
    )?;
    Ok(())
}

fn panels(sandbox: &Sandbox, listen: &str) -> Result<()> {
    let board: Value = serde_json::from_slice(&fs::read(deploy("grafana/everleaf.json")?)?)?;
    let panels = board["panels"].as_array().context("no panels")?;
    let mut count = 0;
    for panel in panels {
        let title = panel["title"].as_str().unwrap_or_default();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().context("a target without expr")?;
            let expression = expression
                .replace("$__rate_interval", "1m")
                .replace("$instance", ".*");
            count += 1;
            if EMPTY.contains(&title) {
                let found = query(sandbox, listen, &expression)?;
                ensure_that!(found.is_empty(), "{title}: {found:?}");
                continue;
            }
            // A rate needs two samples.
            eventually(title, SECONDS_MAX, || {
                let found = query(sandbox, listen, &expression)?;
                ensure_that!(!found.is_empty(), "nothing by {expression}");
                Ok(())
            })?;
        }
    }
    ensure_that!(count > 15, "the board has {count} expressions");
    Ok(())
}

/// The samples of an instant query.
fn query(sandbox: &Sandbox, listen: &str, expression: &str) -> Result<Vec<Value>> {
    let mut command = sandbox.command(&peer("PROMTOOL")?);
    let server = format!("http://{listen}");
    command.args(["query", "instant", "-o", "json", &server, expression]);
    let told = run_program(&mut command)?.ok()?;
    serde_json::from_str(&told).with_context(|| format!("{expression}: {told}"))
}
