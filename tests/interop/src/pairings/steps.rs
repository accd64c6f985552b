//! Clients that are programs of their own: each prints a line of JSON per step, and each step is a
//! point.

use anyhow::{Context, Result, bail};
use everleaf_stage::{Sandbox, ensure_that, same};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

/// Longest that a client may take for all its steps.
const SECONDS_MAX: u64 = 120;

/// What one way of speaking gave: nothing, or why not.
type Outcome = Result<(), String>;

/// Runs a client to its end and makes a point of each of its steps, in order. A client plays its
/// steps in several `ways`, media types for example, and names them before a slash:
/// `{"step": "json/patch-merge", "ok": true}`. A step holds when it holds in each way.
pub(super) fn play(sandbox: &Sandbox, client: &mut Command, ways: &[&str]) -> Result<()> {
    let mut process = sandbox.start("client", client)?;
    let code = process.exit_code(Duration::from_secs(SECONDS_MAX));
    let told = process.stdout();
    let mut order: Vec<String> = Vec::new();
    let mut played: BTreeMap<(String, String), Outcome> = BTreeMap::new();
    for line in told.lines() {
        let (way, name, outcome) = read(line).with_context(|| format!("step {line:?}"))?;
        if !order.contains(&name) {
            order.push(name.clone());
        }
        played.insert((name, way), outcome);
    }
    ensure_that!(!order.is_empty(), "it played no step");
    for name in order {
        let claim = name.replace('-', " ");
        let check = || {
            for way in ways {
                match played.get(&(name.clone(), (*way).to_owned())) {
                    Some(Ok(())) => {}
                    Some(Err(why)) => bail!("{way}: {why}"),
                    None => bail!("{way}: not played"),
                }
            }
            Ok(())
        };
        // The table says why, and the test is red.
        let _ = sandbox.point(&claim, check);
    }
    same("exit code of the client", code?, 0)
}

/// The way, the name and the outcome of a step.
fn read(line: &str) -> Result<(String, String, Outcome)> {
    let step: Value = serde_json::from_str(line)?;
    let name = step["step"].as_str().context("no name")?;
    let (way, name) = name.split_once('/').context("no way")?;
    let outcome = match step["ok"].as_bool() {
        Some(true) => Ok(()),
        _ => Err(step["error"].as_str().unwrap_or("no reason").to_owned()),
    };
    Ok((way.to_owned(), name.to_owned(), outcome))
}
