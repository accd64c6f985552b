//! `everleaf agent rehearse`: a renewal is tried out, and nothing comes of it.

use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Agent, Answer, Sandbox, Up, arg, ensure_that, run, same};
use serde_json::{Value, json};
use std::path::Path;

pub(super) const TESTS: &[Test] = &[Test {
    name: "a_renewal_is_rehearsed_and_nothing_comes_of_it",
    long: false,
    run: rehearsed,
}];

fn rehearse(sandbox: &Sandbox, kubeconfig: &Path, more: &[&str]) -> Result<Answer> {
    let mut command = sandbox.everleaf(&["agent", "rehearse", "--kubeconfig", arg(kubeconfig)]);
    run(command.args(more))
}

/// The step of that name in a document.
fn step<'v>(document: &'v Value, name: &str) -> Result<&'v Value> {
    let mut steps = document["steps"].as_array().into_iter().flatten();
    let found = steps.find(|step| step["step"] == name);
    found.with_context(|| format!("no step {name}: {document}"))
}

fn rehearsed(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    let mut n2 = Agent::new(sandbox, &up, "n2");
    n2.start()?;
    let certificate = n2.certificate()?;
    let kubeconfig = n2.kubeconfig();
    let admin = up.path("admin.conf");
    sandbox.point("the whole way, beside the agent that runs", || {
        let told = rehearse(sandbox, &kubeconfig, &["-o", "json"])?.ok()?;
        let told: Value = serde_json::from_str(&told)?;
        same("would renew", told["wouldRenew"].clone(), json!(true))?;
        for name in [
            "credential",
            "request",
            "submit",
            "certificate",
            "judge",
            "connect",
            "rights",
            "remove",
        ] {
            let step = step(&told, name)?;
            same(&format!("{step}"), step["ok"].clone(), json!(true))?;
        }
        let name = told["request"].as_str().context("no request")?;
        ensure_that!(name.starts_with("everleaf-rehearsal-"), "{name}");
        // A node may not remove requests.
        let csr = up.admin().json(&["get", "csr", name])?;
        same("life", csr["spec"]["expirationSeconds"].clone(), json!(600))?;
        same(
            "who asked",
            csr["spec"]["username"].clone(),
            json!("system:node:n2"),
        )
    })?;
    sandbox.point(
        "the node stands as before, in its files and in a forecast",
        || {
            same(
                "certificate",
                n2.certificate_now()?.serial,
                certificate.serial.clone(),
            )?;
            let mut command = sandbox.everleaf(&["status", "-o", "json", "--kubeconfig"]);
            let status: Value = serde_json::from_str(&run(command.arg(&admin))?.ok()?)?;
            let serial = &status["nodes"][0]["client"]["certificate"]["serial"];
            same("serial", serial.clone(), json!(certificate.serial))
        },
    )?;
    sandbox.point("lines for people", || {
        let told = rehearse(sandbox, &kubeconfig, &[])?.ok()?;
        ensure_that!(told.contains("Node n2 would renew"), "{told}");
        same("lines", told.trim().lines().count(), 9)
    })?;
    sandbox.point("an administrator is no node", || {
        let told = rehearse(sandbox, &admin, &[])?;
        same("code", told.code, Some(1))?;
        ensure_that!(told.stdout.contains("which is no node"), "{}", told.stdout);
        Ok(())
    })?;
    same("exit code on SIGTERM", up.process.stop()?, 0)?;
    sandbox.point("a server that is away", || {
        let told = rehearse(sandbox, &kubeconfig, &[])?;
        same("code", told.code, Some(1))?;
        ensure_that!(told.stdout.contains("would not renew"), "{}", told.stdout);
        Ok(())
    })?;
    Ok(Verdict::Passed)
}
