//! `everleaf store` with what is not meant for it: nothing is lost, and nothing is left behind.

use anyhow::Result;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Answer, Sandbox, Up, arg, ensure_that, run, same};
use std::fs;
use std::path::Path;

pub(super) const TESTS: &[Test] = &[Test {
    name: "a_store_command_that_is_refused_changes_nothing",
    long: false,
    run: refused,
}];

fn store(sandbox: &Sandbox, args: &[&str]) -> Result<Answer> {
    run(sandbox.everleaf(&["store"]).args(args))
}

fn refused(sandbox: &Sandbox) -> Result<Verdict> {
    let mut up = Up::start(sandbox, &["--no-node"])?;
    let data = up.path("");
    let data = arg(&data);
    let snapshot = sandbox.path("snapshot");
    for _ in 0..2 {
        // The second time over the first one.
        store(sandbox, &["snapshot", arg(&snapshot), "--data-dir", data])?.ok()?;
    }
    snapshots_replace_snapshots_only(sandbox, &up, data)?;
    let whole = fs::read(&snapshot)?;
    let damaged = [
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("turned", {
            let mut turned = whole.clone();
            turned[whole.len() / 2] ^= 1;
            turned
        }),
        ("foreign", b"something else\n".to_vec()),
        ("empty", Vec::new()),
    ];
    for (name, bytes) in damaged {
        let file = sandbox.path(name);
        fs::write(&file, bytes)?;
        restore_leaves_nothing(sandbox, &file)?;
    }
    same("ends", up.process.stop()?, 0)?;
    // No store is made of an empty file.
    let log = up.path("store/log.db");
    fs::rename(&log, up.path("aside"))?;
    fs::write(&log, "")?;
    let said = store(sandbox, &["compact", "--data-dir", data])?.failed_with(1)?;
    ensure_that!(said.contains("an empty file"), "{said}");
    same("bytes", fs::metadata(&log)?.len(), 0)?;
    Ok(Verdict::Passed)
}

fn snapshots_replace_snapshots_only(sandbox: &Sandbox, up: &Up<'_>, data: &str) -> Result<()> {
    for name in ["store/log.db", "pki/ca.key", "admin.conf"] {
        let file = up.path(name);
        let before = fs::read(&file)?;
        let args = ["snapshot", arg(&file), "--data-dir", data];
        let said = store(sandbox, &args)?.failed_with(1)?;
        ensure_that!(said.contains("which is no snapshot"), "{name}: {said}");
        // The server may have written to its store meanwhile.
        let after = fs::read(&file)?;
        same(name, after.get(..16), before.get(..16))?;
    }
    Ok(())
}

/// Neither a data directory that was not there, nor anything in one that was.
fn restore_leaves_nothing(sandbox: &Sandbox, snapshot: &Path) -> Result<()> {
    let there = sandbox.path("there");
    fs::create_dir_all(there.join("pki"))?;
    for directory in [sandbox.path("a/b/new"), there.clone()] {
        let args = ["restore", arg(snapshot), "--data-dir", arg(&directory)];
        let said = store(sandbox, &args)?.failed_with(1)?;
        ensure_that!(said.contains("cannot restore"), "{said}");
    }
    ensure_that!(!sandbox.path("a").exists(), "directories are left");
    let names: Vec<_> = fs::read_dir(&there)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    same("names in the directory", names, vec!["pki".into()])
}
