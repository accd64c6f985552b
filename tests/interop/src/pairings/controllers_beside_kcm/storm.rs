//! Hundreds of requests come in while the leader changes. What was written, by whom and when, is
//! read from the audit log of kube-apiserver.

use super::{Contest, holder};
use crate::pairings::requests::{CLIENT, CLIENT_USAGES};
use crate::stack::Part;
use anyhow::{Context, Result};
use everleaf_stage::{Kubectl, Process, Sandbox, arg, ensure_that, eventually, object, same};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Requests of one storm.
const REQUESTS: usize = 150;
/// How long a server may take to tell of a write that others see already.
const TOLD_SECONDS_MAX: u64 = 10;
/// Those that are issued when the leader changes.
const BEFORE: usize = 20;
/// A shorter lease than the default, and slow enough that a storm outlasts the change of leaders.
const FLAGS: [&str; 5] = [
    "--leader-elect-lease-duration=8s",
    "--leader-elect-renew-deadline=6s",
    "--leader-elect-retry-period=1s",
    "--kube-api-qps=40",
    "--kube-api-burst=40",
];
/// The lease, the look at it, and the work, on a busy machine.
const SECONDS_MAX: u64 = 90;

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  verbs: [get, list, watch]
- level: Metadata
  resources:
  - group: certificates.k8s.io
  - group: coordination.k8s.io
    resources: [leases]
";

/// Flags of a kube-apiserver that logs who writes.
pub(super) fn audited(sandbox: &Sandbox) -> Result<[String; 2]> {
    let policy = sandbox.write("audit-policy.yaml", POLICY)?;
    let log = sandbox.path("audit.log");
    Ok([
        format!("--audit-policy-file={}", arg(&policy)),
        format!("--audit-log-path={}", arg(&log)),
    ])
}

/// Who leads, changes in the midst of each storm; ours leads at the beginning and at the end.
pub(super) fn changes_of_leaders(contest: &mut Contest<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let sandbox = contest.stack.sandbox;
    make_key(sandbox)?;
    same("exit code", contest.stack.stop("controllers")?, 0)?;
    ours(contest)?;
    let leader = contest.new_holder(admin, "", SECONDS_MAX)?;
    real(contest)?;
    sandbox.point(
        "everleaf stands still (SIGSTOP) in a storm of requests: kube-controller-manager works on, and everleaf writes nothing when it wakes",
        || {
            let _filing = file(sandbox, admin, "stopped")?;
            issued(admin, "stopped", BEFORE)?;
            contest.stack.part("controllers")?.pause()?;
            let leader = contest.new_holder(admin, &leader, SECONDS_MAX)?;
            contest.stack.part("controllers")?.resume()?;
            let patience = Duration::from_secs(SECONDS_MAX);
            same("exit code", contest.stack.part("controllers")?.exit_code(patience)?, 1)?;
            issued(admin, "stopped", REQUESTS)?;
            same("leader", holder(admin)?, leader)?;
            let log = Audit::of_storm(sandbox, "stopped")?;
            log.nothing_after_the_lease_went("everleaf-controllers")
        },
    )?;
    sandbox.point(
        "kube-controller-manager is killed in a storm of requests: everleaf works on",
        || {
            ours(contest)?;
            let leader = holder(admin)?;
            contest.stands_by_for(&leader)?;
            let _filing = file(sandbox, admin, "killed")?;
            issued(admin, "killed", BEFORE)?;
            contest.stack.kill("kube-controller-manager")?;
            contest.new_holder(admin, &leader, SECONDS_MAX)?;
            issued(admin, "killed", REQUESTS)?;
            Audit::of_storm(sandbox, "killed").map(drop)
        },
    )?;
    sandbox.point(
        "everleaf is asked to stop in a storm of requests: kube-controller-manager works on",
        || {
            let leader = holder(admin)?;
            real(contest)?;
            let _filing = file(sandbox, admin, "asked")?;
            issued(admin, "asked", BEFORE)?;
            same("exit code", contest.stack.stop("controllers")?, 0)?;
            contest.new_holder(admin, &leader, SECONDS_MAX)?;
            issued(admin, "asked", REQUESTS)?;
            Audit::of_storm(sandbox, "asked").map(drop)
        },
    )?;
    let leader = holder(admin)?;
    contest.stack.kill("kube-controller-manager")?;
    contest.start_ours()?;
    contest.new_holder(admin, &leader, SECONDS_MAX).map(drop)
}

fn ours(contest: &mut Contest<'_>) -> Result<()> {
    let metrics = format!("--metrics-bind-address={}", contest.metrics);
    let flags = [&FLAGS[..], &[super::OURS, &metrics]].concat();
    contest.stack.add(&Part::EverleafControllers(&flags))
}

fn real(contest: &mut Contest<'_>) -> Result<()> {
    let flags = [&FLAGS[..], &[super::REAL]].concat();
    contest.stack.add(&Part::KubeControllerManager(&flags))
}

fn make_key(sandbox: &Sandbox) -> Result<()> {
    let key = sandbox.path("storm.key");
    let args = [
        "genpkey",
        "-algorithm",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        arg(&key),
    ];
    sandbox.openssl(&args)?.ok().map(drop)
}

/// Begins to file a storm of requests, each of a node of its own.
fn file(sandbox: &Sandbox, admin: &Kubectl<'_>, storm: &str) -> Result<Process> {
    let (key, request) = (sandbox.path("storm.key"), sandbox.path("storm.csr"));
    let mut objects = Vec::new();
    for number in 0..REQUESTS {
        let subject = format!("/O=system:nodes/CN=system:node:{storm}-{number}");
        let args = [
            "req",
            "-new",
            "-key",
            arg(&key),
            "-subj",
            &subject,
            "-out",
            arg(&request),
        ];
        sandbox.openssl(&args)?.ok()?;
        let name = format!("{storm}-{number}");
        objects.push(object(&name, &fs::read(&request)?, CLIENT, CLIENT_USAGES));
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let path = sandbox.write(&format!("{storm}.json"), &list.to_string())?;
    admin.start(storm, &["create", "--validate=false", "-f", arg(&path)])
}

/// Waits until as many of a storm have their certificate.
fn issued(admin: &Kubectl<'_>, storm: &str, wanted: usize) -> Result<()> {
    eventually("certificates", SECONDS_MAX, || {
        let list = admin.json(&["get", "csr"])?;
        let items = list["items"].as_array().context("no list")?;
        let of_storm = items
            .iter()
            .filter(|item| is_of(storm, &item["metadata"]["name"]));
        let count = of_storm
            .filter(|item| item["status"]["certificate"].is_string())
            .count();
        ensure_that!(count >= wanted, "{count} of {wanted} are issued");
        Ok(())
    })
}

fn is_of(storm: &str, name: &Value) -> bool {
    let name = name.as_str().unwrap_or_default();
    name.strip_prefix(storm)
        .is_some_and(|rest| rest.starts_with('-'))
}

/// Writes that were tried, as the server logs them.
struct Audit(Vec<Value>);

impl Audit {
    fn read(sandbox: &Sandbox) -> Result<Self> {
        let text = fs::read_to_string(sandbox.path("audit.log"))?;
        let events: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        Ok(Self(events?))
    }

    /// The log once it tells of each write of a storm: a certificate can be read before its write
    /// is told.
    fn of_storm(sandbox: &Sandbox, storm: &str) -> Result<Self> {
        eventually("the audit log", TOLD_SECONDS_MAX, || {
            let log = Self::read(sandbox)?;
            log.each_written_once(storm).map(|()| log)
        })
    }

    /// No request of a storm was lost, and none approved or signed twice; both signed.
    fn each_written_once(&self, storm: &str) -> Result<()> {
        for subresource in ["approval", "status"] {
            let mut writes: BTreeMap<&str, usize> = BTreeMap::new();
            let mut writers: BTreeMap<&str, usize> = BTreeMap::new();
            let of_storm = self.0.iter().filter(|event| {
                let about = &event["objectRef"];
                let is_taken = event["responseStatus"]["code"].as_i64() < Some(300);
                is_taken && about["subresource"] == subresource && is_of(storm, &about["name"])
            });
            for event in of_storm {
                *writes.entry(text(&event["objectRef"]["name"])).or_default() += 1;
                *writers.entry(text(&event["user"]["username"])).or_default() += 1;
            }
            let twice: Vec<_> = writes.iter().filter(|(_, count)| **count != 1).collect();
            ensure_that!(
                twice.is_empty(),
                "{subresource} was written more than once: {twice:?}"
            );
            same("requests", writes.len(), REQUESTS)?;
            // The first one may have approved all of them.
            ensure_that!(
                writers.len() == 2 || subresource == "approval",
                "{subresource} was written by {writers:?}"
            );
        }
        Ok(())
    }

    /// Who lost the lease to another tried no write after that one had it.
    fn nothing_after_the_lease_went(&self, user: &str) -> Result<()> {
        let when = |event: &Value| text(&event["requestReceivedTimestamp"]).to_owned();
        let is_by = |event: &&Value| event["user"]["username"] == user;
        // Whoever waits for its turn reads the lease all the time.
        let is_lease = |event: &&Value| {
            event["objectRef"]["resource"] == "leases" && event["verb"] == "update"
        };
        let leases = self.0.iter().filter(is_lease);
        let held = leases.clone().filter(is_by).map(when).max();
        let held = held.context("it never had the lease")?;
        let others = leases.filter(|event| !is_by(event)).map(when);
        let taken = others.filter(|at| *at > held).min();
        let taken = taken.context("nobody took the lease")?;
        let late = self
            .0
            .iter()
            .filter(is_by)
            .filter(|event| when(event) > taken);
        let late: Vec<_> = late.map(|event| &event["objectRef"]).collect();
        ensure_that!(late.is_empty(), "written after {taken}: {late:?}");
        Ok(())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
