//! A store without room for more refuses to become larger, says why, and damages nothing.

use anyhow::Result;
use everleaf_stage::ensure_that;
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{HOST, Sandbox, eventually, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

pub(super) const TESTS: &[Test] = &[
    Test {
        name: "a_full_disk_is_an_error_and_no_damage",
        long: false,
        run: full_disk,
    },
    Test {
        name: "a_store_at_its_quota_takes_what_makes_room",
        long: false,
        run: quota,
    },
];

/// A tmpfs of one MiB: the start fails with the reason, and with room the next one completes.
fn full_disk(sandbox: &Sandbox) -> Result<Verdict> {
    let directory = sandbox.path("small");
    fs::create_dir(&directory)?;
    let mounted = run(Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&directory));
    let mounted = mounted.is_ok_and(|answer| answer.code == Some(0));
    if !mounted {
        return Ok(Verdict::Skipped(
            "mount -t tmpfs is refused here (it needs root)".into(),
        ));
    }
    let outcome = on_small_disk(sandbox, &directory);
    let _ = run(Command::new("umount").arg("-l").arg(&directory));
    outcome
}

fn on_small_disk(sandbox: &Sandbox, directory: &std::path::Path) -> Result<Verdict> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    let filler = directory.join("filler");
    let data = directory.join("data");
    // Fails when the disk is full, as it should.
    let _ = fs::write(&filler, vec![0; 2 << 20]);
    let args = [
        "up",
        "--data-dir",
        "small/data",
        "--listen",
        "127.0.0.1:0",
        "--node-name",
        HOST,
    ];
    let said = run(&mut sandbox.everleaf(&args))?.failed_with(1)?;
    ensure_that!(
        said.contains("small") && said.to_lowercase().contains("space"),
        "{said}"
    );
    fs::remove_file(&filler)?;
    // Now it starts; then the disk fills while it runs: writes are refused, and what was
    // acknowledged stays.
    let mut process = sandbox.start("up", &mut sandbox.everleaf(&args))?;
    let admin = everleaf_stage::Kubectl::new(sandbox, data.join("admin.conf"));
    eventually("ready", 15, || admin.quiet(&["get", "--raw", "/readyz"]))?;
    let blob = "x".repeat(100_000);
    let mut kept = Vec::new();
    let mut refused = None;
    for number in 0..30 {
        let name = format!("blob-{number}");
        let literal = format!("--from-literal=blob={blob}");
        let answer = admin.run(&["create", "configmap", &name, &literal, "--validate=false"])?;
        if answer.code == Some(0) {
            kept.push(name);
        } else {
            refused = Some(answer.stderr);
            break;
        }
    }
    ensure_that!(refused.is_some(), "three megabytes fit on a disk of one");
    ensure_that!(
        process.is_running(),
        "the server died: {}",
        process.stderr()
    );
    for name in &kept {
        admin.quiet(&["get", "configmap", name, "-o", "name"])?;
    }
    Ok(Verdict::Passed)
}

/// Creates are refused with the reason, a restart included; deletes make room for others.
fn quota(sandbox: &Sandbox) -> Result<Verdict> {
    let args = [
        "up",
        "--data-dir",
        "data",
        "--listen",
        "127.0.0.1:0",
        "--node-name",
        HOST,
        "--storage-quota-bytes",
        "2000000",
    ];
    let mut process = sandbox.start("up", &mut sandbox.everleaf(&args))?;
    let admin = everleaf_stage::Kubectl::new(sandbox, sandbox.path("data/admin.conf"));
    eventually("ready", 15, || admin.quiet(&["get", "--raw", "/readyz"]))?;
    let literal = format!("--from-literal=blob={}", "x".repeat(100_000));
    let create = |name: &str| admin.run(&["create", "configmap", name, &literal]);
    let mut created = 0;
    let refused = loop {
        let answer = create(&format!("blob-{created}"))?;
        if answer.code != Some(0) {
            break answer.stderr;
        }
        created += 1;
        ensure_that!(created < 30, "three megabytes fit into two");
    };
    ensure_that!(
        created > 3 && refused.contains("--storage-quota-bytes allows 2000000"),
        "after {created}: {refused}"
    );
    let said = process.stderr();
    ensure_that!(said.contains("refuses to become larger"), "{said}");
    // It is the same after a restart, which begins with no more than it has to write.
    process.stop()?;
    let mut process = sandbox.start("up", &mut sandbox.everleaf(&args))?;
    eventually("ready", 15, || admin.quiet(&["get", "--raw", "/readyz"]))?;
    ensure_that!(create("more")?.code != Some(0), "created after a restart");
    admin.quiet(&["label", "configmap", "blob-0", "small=change"])?;
    for number in 0..3 {
        admin.quiet(&["delete", "configmap", &format!("blob-{number}")])?;
    }
    eventually("a create has room again", 15, || {
        admin.quiet(&["create", "configmap", "new", &literal])
    })?;
    ensure_that!(process.is_running(), "{}", process.stderr());
    Ok(Verdict::Passed)
}
