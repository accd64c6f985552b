//! Two `everleaf controllers` on one Lease, and hundreds of requests while the leader changes.

use super::authority::apiserver;
use super::second_node::{CLIENT_USAGES, KUBELET_CLIENT};
use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Kubectl, Process, Sandbox, Up, arg, ensure_that, eventually, free_port, http_get, object, run,
    same,
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const TESTS: &[Test] = &[Test {
    name: "no_request_is_lost_or_signed_twice_when_the_leader_changes_in_a_storm",
    long: true,
    run: storms,
}];

/// Requests of one storm.
const REQUESTS: usize = 200;
/// Those that are issued when the leader goes.
const BEFORE: usize = 20;
/// Requests that one process may have in hand: as many as it has workers for a signer.
const IN_HAND_MAX: usize = 8;
const SECONDS_MAX: u64 = 60;
/// A short lease, and a rate at which a storm outlasts it.
const FLAGS: [&str; 5] = [
    "--leader-elect-lease-duration=6s",
    "--leader-elect-renew-deadline=4s",
    "--leader-elect-retry-period=1s",
    "--kube-api-qps=100",
    "--kube-api-burst=20",
];

/// One of the two.
struct Replica {
    process: Process,
    /// Where it answers `/metrics`.
    metrics: String,
    log: String,
}

impl Replica {
    fn start(sandbox: &Sandbox, up: &Up<'_>, number: usize) -> Result<Self> {
        let metrics = format!("127.0.0.1:{}", free_port()?);
        let log = format!("log-{number}");
        let mut command = sandbox.everleaf(&["controllers", "--kubeconfig"]);
        command.arg(up.path("admin.conf"));
        command
            .arg("--cluster-signing-cert-file")
            .arg(up.path("pki/ca.crt"));
        command
            .arg("--cluster-signing-key-file")
            .arg(up.path("pki/ca.key"));
        command.args(["--metrics-bind-address", &metrics, "--issuance-log", &log]);
        command.args(FLAGS);
        let process = sandbox.start(&format!("replica-{number}"), &mut command)?;
        Ok(Self {
            process,
            metrics,
            log,
        })
    }

    fn leads(&self) -> Result<()> {
        let wanted = "leader_election_master_status{name=\"kube-controller-manager\"} 1";
        eventually("it leads", SECONDS_MAX, || {
            let told = http_get(&self.metrics, "/metrics")?;
            ensure_that!(told.contains(wanted), "it does not");
            Ok(())
        })
    }

    fn stands_by(&self) -> Result<()> {
        eventually("it stands by", SECONDS_MAX, || {
            let told = http_get(&self.metrics, "/readyz")?;
            ensure_that!(told.contains("standing by"), "it says {told}");
            Ok(())
        })
    }

    /// The requests for which it logged a certificate, each with the serial numbers.
    fn logged(&self, sandbox: &Sandbox) -> Result<BTreeMap<String, Vec<String>>> {
        let log = sandbox.path(&self.log);
        let args = ["ca", "log", "--dir", arg(&log), "-o", "json"];
        let text = run(&mut sandbox.everleaf(&args))?.ok()?;
        let entries: Vec<Value> = serde_json::from_str(&text)?;
        let mut logged: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in entries {
            let text = |member: &str| entry[member].as_str().unwrap_or_default().to_owned();
            logged.entry(text("csr")).or_default().push(text("serial"));
        }
        Ok(logged)
    }
}

fn storms(sandbox: &Sandbox) -> Result<Verdict> {
    let (up, _server) = apiserver(sandbox)?;
    let admin = up.admin();
    // Every version of every request is a line: its name and its certificate.
    let form = "jsonpath={.metadata.name} {.status.certificate}{\"\\n\"}";
    let watch = admin.start("watch", &["get", "csr", "--watch", "-o", form])?;
    let mut first = Replica::start(sandbox, &up, 1)?;
    first.leads()?;
    let mut second = Replica::start(sandbox, &up, 2)?;
    second.stands_by()?;
    let _filing = file(sandbox, &admin, "killed")?;
    issued(&admin, "killed", BEFORE)?;
    first.process.kill();
    issued(&admin, "killed", REQUESTS)?;
    second.leads()?;
    let doubled = doubled(sandbox, [&first, &second], "killed")?;
    // It had logged these and could not write them any more.
    ensure_that!(doubled.len() <= IN_HAND_MAX, "signed twice: {doubled:?}");

    let third = Replica::start(sandbox, &up, 3)?;
    third.stands_by()?;
    let _filing = file(sandbox, &admin, "asked")?;
    issued(&admin, "asked", BEFORE)?;
    same("exit code", second.process.stop()?, 0)?;
    issued(&admin, "asked", REQUESTS)?;
    third.leads()?;
    let doubled = self::doubled(sandbox, [&second, &third], "asked")?;
    ensure_that!(doubled.is_empty(), "signed twice: {doubled:?}");
    never_changed(&watch)?;
    Ok(Verdict::Passed)
}

/// Requests of a storm that have more than one entry in the logs of the two; each has one, and both
/// took part.
fn doubled(sandbox: &Sandbox, two: [&Replica; 2], storm: &str) -> Result<Vec<String>> {
    let mut all: BTreeMap<String, usize> = BTreeMap::new();
    for replica in two {
        let mut logged = replica.logged(sandbox)?;
        logged.retain(|name, _| name.starts_with(storm));
        ensure_that!(!logged.is_empty(), "{} has nothing of {storm}", replica.log);
        for (name, serials) in logged {
            same(&name, serials.len(), 1)?;
            *all.entry(name).or_default() += 1;
        }
    }
    same("requests that are logged", all.len(), REQUESTS)?;
    all.retain(|_, count| *count > 1);
    Ok(all.into_keys().collect())
}

/// No certificate took the place of another one.
fn never_changed(watch: &Process) -> Result<()> {
    let said = watch.stdout();
    let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in said.lines() {
        if let Some((name, certificate)) = line.split_once(' ').filter(|line| !line.1.is_empty()) {
            seen.entry(name).or_default().insert(certificate);
        }
    }
    same("requests that were seen issued", seen.len(), 2 * REQUESTS)?;
    let changed: Vec<_> = seen.iter().filter(|(_, all)| all.len() > 1).collect();
    ensure_that!(changed.is_empty(), "issued anew: {changed:?}");
    Ok(())
}

/// Begins to file a storm of requests, each of a node of its own.
fn file(sandbox: &Sandbox, admin: &Kubectl<'_>, storm: &str) -> Result<Process> {
    let key = KeyPair::generate()?;
    let mut objects = Vec::new();
    for number in 0..REQUESTS {
        let name = format!("{storm}-{number}");
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let names = &mut params.distinguished_name;
        names.push(DnType::OrganizationName, "system:nodes");
        names.push(DnType::CommonName, format!("system:node:{name}"));
        let pem = params.serialize_request(&key)?.pem()?;
        objects.push(object(&name, pem.as_bytes(), KUBELET_CLIENT, CLIENT_USAGES));
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let path = sandbox.write(&format!("{storm}.json"), &list.to_string())?;
    admin.start(storm, &["create", "--validate=false", "-f", arg(&path)])
}

/// Waits until as many of a storm have their certificate.
fn issued(admin: &Kubectl<'_>, storm: &str, wanted: usize) -> Result<()> {
    eventually("certificates", SECONDS_MAX, || {
        let form = "jsonpath={range .items[?(@.status.certificate)]}{.metadata.name} {end}";
        let names = admin.quiet(&["get", "csr", "-o", form])?;
        let of_storm = names
            .split_whitespace()
            .filter(|name| name.starts_with(storm));
        let count = of_storm.count();
        ensure_that!(count >= wanted, "{count} of {wanted} are issued");
        Ok(())
    })
}
