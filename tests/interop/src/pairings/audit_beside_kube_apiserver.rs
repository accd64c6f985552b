//! The same requests before the real kube-apiserver and before `everleaf apiserver`, under the same
//! audit policy: what both tell of them in their audit logs is compared field by field, but for
//! times, uids and versions, and for what is random in an answer.

use super::Pairing;
use crate::recorder::Kube;
use crate::stack::{Part, Stack};
use anyhow::{Context, Result, bail, ensure};
use everleaf_recordings::{Scenario, Subjects, TOKENS_CSV, data_dir, play};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Sandbox, arg, eventually};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const PAIRING: Pairing = Pairing {
    real: "kube-apiserver 1.37",
    ours: "`everleaf apiserver`",
    test: Test {
        name: "audit_beside_kube_apiserver",
        long: false,
        run,
    },
};

/// Differences that a failure shows.
const SHOWN_MAX: usize = 40;
/// Members whose values belong to the server that wrote them.
const MASKED: &[&str] = &[
    "creationTimestamp",
    "requestReceivedTimestamp",
    "resourceVersion",
    "stageTimestamp",
    "time",
    "uid",
    "authentication.kubernetes.io/issued-credential-id",
];
/// Requests whose answers are worded otherwise here, as the recordings know.
const WORDED: &[&str] = &[
    "access-bad",
    "create-no-json",
    "create-other-kind",
    "impersonation-bad",
    "list-bad",
    "patch-no-json",
];
/// Requests of which the real server tells what it has and this one does not.
const SERVED: &[&str] = &["path-api", "path-apis-version"];

/// Events by request and stage.
type Events = BTreeMap<String, Vec<Value>>;

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let here =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/pairings/audit_beside_kube_apiserver");
    let mut scenario = Scenario::read(&here.join("requests.yaml"))?;
    for ask in &mut scenario.asks {
        ask.headers.push(("Audit-ID".to_owned(), ask.id.clone()));
    }
    let policy = format!("--audit-policy-file={}", here.join("policy.yaml").display());
    let tokens = sandbox.write("tokens.csv", TOKENS_CSV)?;
    let tokens = format!("--token-auth-file={}", arg(&tokens));
    let mut stack = Stack::start(sandbox, &[Part::Etcd])?;
    let theirs = sandbox.path("theirs.log");
    let log = format!("--audit-log-path={}", arg(&theirs));
    stack.add(&Part::KubeApiserver(&[&tokens, &policy, &log]))?;
    perform(&scenario, &stack)?;
    let theirs = events(&theirs, &scenario)?;
    stack.stop("kube-apiserver")?;
    let ours = sandbox.path("ours.log");
    let log = format!("--audit-log-path={}", arg(&ours));
    stack.add(&Part::EverleafApiserver(&[&tokens, &policy, &log]))?;
    perform(&scenario, &stack)?;
    let ours = events(&ours, &scenario)?;
    let claim = "every request is told in the same stages, with the same levels, users and codes";
    // The table says why, and the test is red.
    let _ = sandbox.point(claim, || same(&theirs, &ours, &head));
    let claim = "what was sent and answered is told in the same objects";
    let _ = sandbox.point(claim, || same(&theirs, &ours, &whole));
    Ok(Verdict::Passed)
}

fn perform(scenario: &Scenario, stack: &Stack<'_>) -> Result<()> {
    let mut kube = Kube::new(stack.port()?, stack.authority()?.certificate())?;
    let subjects = Subjects::read(&data_dir())?;
    for (id, answer) in play(scenario, &subjects, &data_dir(), &mut kube)? {
        answer.map_err(|why| anyhow::anyhow!("{id}: {why}"))?;
    }
    Ok(())
}

/// What the log tells of the scenario, once it has told of all of it.
fn events(log: &Path, scenario: &Scenario) -> Result<Events> {
    let last = scenario.asks.last().context("no requests")?;
    let mut found = Events::new();
    eventually("the audit log tells of the last request", 10, || {
        found.clear();
        for line in fs::read_to_string(log)?.lines() {
            let event: Value = serde_json::from_str(line)?;
            let id = event["auditID"].as_str().unwrap_or_default();
            if scenario.asks.iter().any(|ask| ask.id == id) {
                found.entry(id.to_owned()).or_default().push(event);
            }
        }
        ensure!(found.contains_key(&last.id), "not yet");
        Ok(())
    })?;
    Ok(found)
}

/// Everything but the objects, and how a refusal is worded.
fn head(id: &str, event: &Value) -> Value {
    let mut event = whole(id, event);
    if let Some(members) = event.as_object_mut() {
        members.remove("requestObject");
        members.remove("responseObject");
    }
    event
}

fn whole(id: &str, event: &Value) -> Value {
    let mut event = event.clone();
    mask(&mut event);
    if WORDED.contains(&id) {
        for place in ["responseStatus", "responseObject"] {
            if let Some(status) = event.get_mut(place).and_then(Value::as_object_mut) {
                status.remove("message");
                status.remove("details");
            }
        }
    }
    if SERVED.contains(&id)
        && let Some(members) = event.as_object_mut()
    {
        members.remove("responseObject");
    }
    event
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                // The last one is an age.
                if let ("cells", Some(cells)) = (name.as_str(), value.as_array_mut()) {
                    cells.pop();
                }
                if MASKED.contains(&name.as_str()) && !value.is_object() {
                    *value = "…".into();
                } else {
                    mask(value);
                }
            }
            // Columns are explained in our own words.
            if members.contains_key("format") && members.contains_key("priority") {
                members.remove("description");
            }
            // The real server tells of options under the name of a version that nobody can send.
            if members
                .get("kind")
                .is_some_and(|kind| kind == "DeleteOptions")
            {
                members.remove("apiVersion");
            }
            // How long parts of a slow request took.
            members.retain(|name, _| !name.starts_with("apiserver.latency.k8s.io/"));
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

fn same(theirs: &Events, ours: &Events, form: &dyn Fn(&str, &Value) -> Value) -> Result<()> {
    let mut found = Vec::new();
    let nothing = Vec::new();
    let ids: std::collections::BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    for id in ids {
        let theirs = theirs.get(id).unwrap_or(&nothing);
        let ours = ours.get(id).unwrap_or(&nothing);
        let stages = |events: &[Value]| -> Vec<String> {
            let stage = |event: &Value| event["stage"].as_str().unwrap_or_default().to_owned();
            events.iter().map(stage).collect()
        };
        if stages(theirs) != stages(ours) {
            let (theirs, ours) = (stages(theirs), stages(ours));
            found.push(format!(
                "{id}: stages\n    kubernetes: {theirs:?}\n    everleaf:   {ours:?}"
            ));
            continue;
        }
        for (a, b) in theirs.iter().zip(ours) {
            let stage = a["stage"].as_str().unwrap_or_default();
            differ(
                &format!("{id} {stage}"),
                &form(id, a),
                &form(id, b),
                &mut found,
            );
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = found.iter().take(SHOWN_MAX).cloned().collect();
    bail!("{} differences:\n{}", found.len(), shown.join("\n"))
}

fn differ(place: &str, theirs: &Value, ours: &Value, found: &mut Vec<String>) {
    let empty = Map::new();
    match (theirs, ours) {
        (a, b) if a == b => {}
        (Value::Object(_), Value::Object(_)) => {
            let (a, b) = (
                theirs.as_object().unwrap_or(&empty),
                ours.as_object().unwrap_or(&empty),
            );
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let member = |members: &Map<String, Value>| members.get(name).cloned();
                let (a, b) = (member(a), member(b));
                let place = format!("{place}.{name}");
                differ(
                    &place,
                    &a.unwrap_or_default(),
                    &b.unwrap_or_default(),
                    found,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                differ(&format!("{place}[{at}]"), a, b, found);
            }
        }
        _ => found.push(format!(
            "{place}\n    kubernetes: {theirs}\n    everleaf:   {ours}"
        )),
    }
}
