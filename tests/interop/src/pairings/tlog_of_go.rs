//! The issuance log of `everleaf up` under the packages of Go's own checksum database: the program
//! of `tests/interop/go-tlog/tlogcheck`.

use super::Pairing;
use super::server::{CLIENT, CLIENT_USAGES};
use crate::stack::{Part, Stack, peer};
use anyhow::{Context, Result, ensure};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Sandbox, arg, eventually, object, run, signing_request};
use serde_json::{Value, json};
use std::fs;
use std::ops::Range;

pub(crate) const PAIRING: Pairing = Pairing {
    real: "golang.org/x/mod/sumdb/tlog and note 0.41",
    ours: "the issuance log of `everleaf up`",
    test: Test {
        name: "tlog_of_go",
        long: false,
        run: play,
    },
};

/// Certificates before and after the checkpoint that is kept: few, since kubectl makes five calls a
/// second.
const BEFORE: usize = 10;
const AFTER: usize = 20;

fn play(sandbox: &Sandbox) -> Result<Verdict> {
    let stack = Stack::start(sandbox, &[Part::EverleafUp(&[])])?;
    let log = sandbox.path("data/issuance-log");
    issue(sandbox, &stack, 0..BEFORE)?;
    let older = sandbox.path("older-checkpoint");
    sandbox.point("a checkpoint while it runs", || {
        check(sandbox, &[arg(&log)], BEFORE)?;
        fs::copy(log.join("checkpoint"), &older).context("keep the checkpoint")
    })?;
    issue(sandbox, &stack, BEFORE..BEFORE + AFTER)?;
    let all = BEFORE + AFTER;
    sandbox.point(
        "signed, each entry included, the older one its beginning",
        || {
            let said = check(sandbox, &[arg(&log), arg(&older)], all)?;
            let claim = format!("consistent: the first {BEFORE} entries");
            ensure!(said.contains(&claim), "it said {said}");
            Ok(())
        },
    )?;
    sandbox.point("a changed entry is found, by Go and by us", || {
        let path = log.join(format!("tile/entries/000.p/{all}"));
        let mut bytes = fs::read(&path)?;
        let at = bytes.windows(9).position(|window| window == b"\"serial\":");
        let at = at.context("no serial number in the first bundle")? + 10;
        bytes[at] ^= 1;
        fs::write(&path, bytes)?;
        let answer = run(sandbox.command(&peer("TLOGCHECK")?).arg(&log))?;
        let by_go = answer.failed_with(1)?;
        ensure!(by_go.contains("entry 0"), "Go: {by_go}");
        let args = ["ca", "log", "--dir", arg(&log), "--verify"];
        let by_us = run(&mut sandbox.everleaf(&args))?.failed_with(1)?;
        ensure!(by_us.contains("entry 0 is not what was logged"), "{by_us}");
        Ok(())
    })?;
    Ok(Verdict::Passed)
}

/// Has Go check the log; what it said.
fn check(sandbox: &Sandbox, args: &[&str], entries: usize) -> Result<String> {
    let said = run(sandbox.command(&peer("TLOGCHECK")?).args(args))?.ok()?;
    let claim = format!("included: {entries} entries");
    ensure!(said.contains(&claim), "it said {said}");
    Ok(said)
}

/// Has certificates issued, and waits until a checkpoint covers them.
fn issue(sandbox: &Sandbox, stack: &Stack<'_>, numbers: Range<usize>) -> Result<()> {
    let admin = stack.admin()?;
    let all = numbers.end;
    let names: Vec<String> = numbers.map(|number| format!("logged-{number}")).collect();
    signing_request(sandbox, "logged", "/CN=logged", CLIENT, CLIENT_USAGES)?;
    let request = fs::read(sandbox.path("logged.csr"))?;
    let items = names
        .iter()
        .map(|name| object(name, &request, CLIENT, CLIENT_USAGES));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items.collect::<Value>()});
    let list = sandbox.write("logged.json", &list.to_string())?;
    admin.quiet(&["create", "--validate=false", "-f", arg(&list)])?;
    let approve = ["certificate", "approve"].into_iter();
    let approve: Vec<&str> = approve.chain(names.iter().map(String::as_str)).collect();
    admin.quiet(&approve)?;
    let log = sandbox.path("data/issuance-log");
    let args = ["ca", "log", "--dir", arg(&log), "--verify", "-o", "json"];
    eventually("a checkpoint over all certificates", 60, || {
        let said: Value = serde_json::from_str(&run(&mut sandbox.everleaf(&args))?.ok()?)?;
        ensure!(said["size"] == json!(all), "{said}");
        Ok(())
    })
}
