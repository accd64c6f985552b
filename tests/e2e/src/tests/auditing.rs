//! What an operator reads in the audit log about what others did with kubectl.

use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Sandbox, Up, arg, ensure_that, eventually, run, same};
use serde_json::Value;
use std::fs;
use std::path::Path;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "the_audit_log_tells_who_did_what_and_no_secret",
        long: false,
        run: told,
    },
    Test {
        name: "an_audit_policy_that_cannot_be_meant_is_refused_at_the_start",
        long: false,
        run: refused,
    },
];

const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  userGroups: [\"system:serviceaccounts:kube-system\"]
- level: Metadata
  resources: [{group: \"\", resources: [secrets]}]
- level: RequestResponse
  verbs: [create, delete]
";

fn told(sandbox: &Sandbox) -> Result<Verdict> {
    let policy = sandbox.write("policy.yaml", POLICY)?;
    let log = sandbox.path("logs/audit.log");
    let flags = [
        "--no-node",
        "--audit-policy-file",
        arg(&policy),
        "--audit-log-path",
        arg(&log),
    ];
    let mut up = Up::start(sandbox, &flags)?;
    let admin = up.admin();
    admin.quiet(&["create", "configmap", "m", "--from-literal=a=b"])?;
    admin.quiet(&[
        "create",
        "secret",
        "generic",
        "s",
        "--from-literal=word=hush",
    ])?;
    admin.quiet(&["get", "configmaps"])?;
    let refused = admin.run(&["delete", "configmap", "m", "--as=eve"])?;
    ensure_that!(refused.code != Some(0), "eve may delete");
    admin.quiet(&["delete", "configmap", "m"])?;
    let mut events = Vec::new();
    eventually("the log tells of the last request", 10, || {
        events = read(&log)?;
        let last = find(&events, "delete", "configmaps", 200);
        last.map(|_| ())
    })?;
    let created = find(&events, "create", "configmaps", 201)?;
    same(
        "who",
        &created["user"]["groups"][0],
        &"system:masters".into(),
    )?;
    same("what", &created["requestObject"]["data"]["a"], &"b".into())?;
    same("which", &created["objectRef"]["name"], &"m".into())?;
    let agent = created["userAgent"].as_str().unwrap_or_default();
    ensure_that!(agent.starts_with("kubectl"), "{agent}");
    let secret = find(&events, "create", "secrets", 201)?;
    same("how much", &secret["level"], &"Metadata".into())?;
    let forbidden = find(&events, "delete", "configmaps", 403)?;
    same(
        "as whom",
        &forbidden["impersonatedUser"]["username"],
        &"eve".into(),
    )?;
    let decision = &forbidden["annotations"]["authorization.k8s.io/decision"];
    same("the decision", decision, &"forbid".into())?;
    let text = fs::read_to_string(&log)?;
    // "hush" in base64.
    ensure_that!(!text.contains("aHVzaA"), "a secret is told");
    ensure_that!(!text.contains("\"verb\":\"list\""), "a rule tells of lists");
    ensure_that!(
        !text.contains("system:serviceaccount:kube-system"),
        "controllers are told"
    );
    up.process.stop()?;
    Ok(Verdict::Passed)
}

fn read(log: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(log)?;
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

fn find<'a>(events: &'a [Value], verb: &str, resource: &str, code: u64) -> Result<&'a Value> {
    let is_it = |event: &&Value| {
        event["verb"] == verb
            && event["objectRef"]["resource"] == resource
            && event["responseStatus"]["code"] == code
    };
    let found = events.iter().find(is_it);
    found.with_context(|| format!("no {verb} of {resource} that ended in {code} is told"))
}

fn refused(sandbox: &Sandbox) -> Result<Verdict> {
    let policy =
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n  user: [eve]\n";
    let policy = sandbox.write("policy.yaml", policy)?;
    let flags = [
        "up",
        "--no-node",
        "--data-dir",
        "data",
        "--listen",
        "127.0.0.1:0",
    ];
    let audit = [
        "--audit-policy-file",
        arg(&policy),
        "--audit-log-path",
        "audit.log",
    ];
    let mut command = sandbox.everleaf(&[&flags[..], &audit].concat());
    let text = run(&mut command)?.failed_with(1)?;
    for part in ["--audit-policy-file", "policy.yaml", "user"] {
        ensure_that!(text.contains(part), "{part}: {text}");
    }
    ensure_that!(!sandbox.path("data").exists(), "something was made");
    ensure_that!(!sandbox.path("audit.log").exists(), "the log was made");
    Ok(Verdict::Passed)
}
