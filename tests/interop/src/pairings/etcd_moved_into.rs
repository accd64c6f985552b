//! All objects of a data directory moved into a real etcd, interrupted once, and back.

use super::Pairing;
use super::requests::{CLIENT, CLIENT_USAGES, file};
use crate::stack::{Part, Stack};
use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{
    Answer, Kubectl, Sandbox, arg, ensure_that, eventually, http_post, run as run_command, same,
};
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};

pub(crate) const PAIRING: Pairing = Pairing {
    real: "etcd 3.7",
    ours: "`everleaf store migrate`, `everleaf apiserver`",
    test: Test {
        name: "objects_move_from_a_data_directory_into_etcd_and_back",
        long: true,
        run,
    },
};

/// ConfigMaps that are made, besides what a server has.
const COUNT: usize = 200;
/// Longest that a move is waited for before it is interrupted.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is compared.
const COMPARED: [&[&str]; 3] = [
    &["csr"],
    &["-A", "configmaps,secrets,serviceaccounts"],
    &["-A", "roles,rolebindings"],
];

fn run(sandbox: &Sandbox) -> Result<Verdict> {
    let mut stack = Stack::start(sandbox, &[Part::EverleafApiserver(&[])])?;
    let admin = stack.admin()?;
    write(&stack, &admin)?;
    let before = seen(&admin)?;
    let last = newest(&before)?;
    stack.stop("apiserver")?;
    stack.add(&Part::Etcd)?;
    let servers = stack.etcd_servers()?;
    sandbox.point(
        "an etcd with something else in it is refused, and left as it is",
        || {
            let foreign = [("key", "/registry/pods/default/foreign"), ("value", "x")];
            ask(&stack, "put", &foreign)?;
            let told = migrate(sandbox, "etcd", &servers)?.failed_with(1)?;
            ensure_that!(told.contains("/registry/pods/default/foreign"), "{told}");
            same("the objects in etcd", count(&stack)?, 1)?;
            ask(&stack, "deleterange", &foreign[..1]).map(drop)
        },
    )?;
    sandbox.point("a move that is killed goes on where it was", || {
        interrupted(&mut stack, &servers)?;
        let moved = migrate(sandbox, "etcd", &servers)?.ok()?;
        ensure_that!(moved.contains("by an earlier attempt"), "{moved}");
        // Once more: nothing is left to be done.
        let again = migrate(sandbox, "etcd", &servers)?.ok()?;
        let word = |text: &str| text.split(' ').next().map(str::to_owned);
        let all = format!(
            "{0} objects moved, {0} of them",
            word(&moved).unwrap_or_default()
        );
        ensure_that!(again.starts_with(&all), "{again}");
        Ok(())
    })?;
    sandbox.point(
        "a server on the etcd serves the same objects, in later versions",
        || {
            stack.add(&Part::EverleafApiserver(&[&servers]))?;
            moved(&admin, &before, last)
        },
    )?;
    back(&mut stack, &admin, &servers)?;
    Ok(Verdict::Passed)
}

/// And back, into a data directory without a store.
fn back(stack: &mut Stack<'_>, admin: &Kubectl<'_>, servers: &str) -> Result<()> {
    let sandbox = stack.sandbox;
    let there = [
        "-n",
        "default",
        "create",
        "configmap",
        "later",
        "--from-literal=a=b",
    ];
    admin.quiet(&there)?;
    let before = seen(admin)?;
    let last = newest(&before)?;
    sandbox.point("and back: the same objects, in no earlier versions", || {
        stack.stop("apiserver")?;
        fs::rename(
            sandbox.path("data/store"),
            sandbox.path("store-from-before"),
        )?;
        migrate(sandbox, "data-dir", servers)?.ok()?;
        let told = migrate(sandbox, "data-dir", servers)?.failed_with(1)?;
        ensure_that!(told.contains("holds a store already"), "{told}");
        stack.add(&Part::EverleafApiserver(&[]))?;
        compare(&before, &seen(admin)?)?;
        admin.quiet(&[
            "-n",
            "default",
            "create",
            "configmap",
            "last",
            "--from-literal=a=b",
        ])?;
        let now = newest(&seen(admin)?)?;
        ensure_that!(now > last, "{now} after {last}");
        Ok(())
    })?;
    Ok(())
}

fn write(stack: &Stack<'_>, admin: &Kubectl<'_>) -> Result<()> {
    let items: Vec<Value> = (0..COUNT)
        .map(|number| {
            let name = format!("moved-{number}");
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"},
                "data": {"number": number.to_string()}})
        })
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let path = stack.sandbox.write("many.json", &list.to_string())?;
    admin.quiet(&["create", "-f", arg(&path)])?;
    let by = Kubectl::new(stack.sandbox, stack.bootstrap_kubeconfig()?);
    let subject = ("/O=system:nodes/CN=system:node:r", "");
    file(stack.sandbox, &by, "r", subject, (CLIENT, CLIENT_USAGES)).map(drop)
}

fn migrate(sandbox: &Sandbox, to: &str, servers: &str) -> Result<Answer> {
    let args = [
        "store",
        "migrate",
        "--to",
        to,
        "--data-dir",
        "data",
        servers,
    ];
    run_command(&mut sandbox.everleaf(&args))
}

/// Kills a move once its first objects are in etcd, while etcd stands still.
#[expect(
    clippy::disallowed_methods,
    reason = "etcd is asked as fast as it answers, or the move has ended"
)]
fn interrupted(stack: &mut Stack<'_>, servers: &str) -> Result<()> {
    let sandbox = stack.sandbox;
    let args = [
        "store",
        "migrate",
        "--to",
        "etcd",
        "--data-dir",
        "data",
        servers,
    ];
    let mut process = sandbox.start("migrate", &mut sandbox.everleaf(&args))?;
    let begun = Instant::now();
    // The first key is that of the move itself.
    while count(stack)? < 2 {
        ensure_that!(
            begun.elapsed() < PATIENCE,
            "nothing comes: {}",
            process.stderr()
        );
    }
    stack.part("etcd")?.pause()?;
    process.kill();
    stack.part("etcd")?.resume()?;
    eventually("etcd answers again", 20, || count(stack)).map(drop)
}

/// The keys under the prefix.
fn count(stack: &Stack<'_>) -> Result<u64> {
    let range = [("key", "/registry/"), ("range_end", "/registry0")];
    let answer = ask(stack, "range", &range)?;
    let count = answer["count"].as_str().unwrap_or("0");
    Ok(count.parse()?)
}

/// Asks etcd in JSON; texts are sent as base64.
fn ask(stack: &Stack<'_>, what: &str, members: &[(&str, &str)]) -> Result<Value> {
    let servers = stack.etcd_servers()?;
    let (_, address) = servers.split_once("http://").context("etcd's address")?;
    let mut body = json!({});
    for (name, text) in members {
        body[*name] = STANDARD.encode(text).into();
    }
    if what == "range" {
        body["count_only"] = true.into();
    }
    let answer = http_post(address, &format!("/v3/kv/{what}"), &body.to_string())?;
    let begin = answer.find('{').context("no answer")?;
    let end = answer.rfind('}').context("half an answer")?;
    Ok(serde_json::from_str(&answer[begin..=end])?)
}

fn seen(admin: &Kubectl<'_>) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for what in COMPARED {
        let mut found = admin.json(&[&["get", "-o", "json"], what].concat())?;
        all.append(found["items"].as_array_mut().context("no list")?);
    }
    Ok(all)
}

fn version(object: &Value) -> Result<u64> {
    let version = object["metadata"]["resourceVersion"].as_str();
    Ok(version.context("no version")?.parse()?)
}

fn newest(objects: &[Value]) -> Result<u64> {
    let versions: Vec<u64> = objects.iter().map(version).collect::<Result<_>>()?;
    versions.into_iter().max().context("nothing is there")
}

fn compare(before: &[Value], after: &[Value]) -> Result<()> {
    let without = |objects: &[Value]| -> Vec<Value> {
        let mut objects = objects.to_vec();
        for object in &mut objects {
            object["metadata"]["resourceVersion"] = Value::Null;
        }
        objects
    };
    ensure_that!(before.len() > COUNT, "only {} objects", before.len());
    same("the objects", without(after), without(before))
}

/// The same, later; whoever goes on from before is told to list anew.
fn moved(admin: &Kubectl<'_>, before: &[Value], last: u64) -> Result<()> {
    let after = seen(admin)?;
    compare(before, &after)?;
    for object in &after {
        let version = version(object)?;
        ensure_that!(version > last, "{version} after {last}");
    }
    let path = format!("/api/v1/configmaps?watch=true&timeoutSeconds=5&resourceVersion={last}");
    let told = admin.run(&["get", "--raw", &path])?;
    let told = format!("{}{}", told.stdout, told.stderr);
    ensure_that!(
        told.contains("Expired") || told.contains("too old resource version"),
        "{told}"
    );
    Ok(())
}
