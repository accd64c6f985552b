//! After a storm: what was issued is deleted by itself, and the memory it took is given back.

use anyhow::{Context, Result};
use everleaf_stage::runner::{Test, Verdict};
use everleaf_stage::{Sandbox, Up, arg, ensure_that, eventually, run, same};
use std::fs;
use std::time::Duration;

pub(super) const TESTS: &[Test] = &[Test {
    name: "memory_of_a_storm_comes_back_once_its_requests_are_deleted",
    long: false,
    run: memory_comes_back,
}];

/// The metric with the number of stored requests.
const COUNT: &str = r#"apiserver_storage_objects{resource="certificatesigningrequests"}"#;
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(500);
/// Requests of a storm.
const REQUESTS: u64 = 8_000;
/// What each takes at the least while it is stored, in bytes: the encoding of an issued one.
const STORED_BYTES: u64 = 1_500;
/// What a second storm may leave beyond the first, in bytes: the few facts that controllers keep of
/// each certificate until it ends. That is a third less than if each request itself were kept.
const LEFT_BYTES_MAX: u64 = 8 << 20;

/// What a first storm leaves is history, which is full after it, and what threads keep at hand:
/// that is the same whatever comes after. So the second one is to leave nothing.
fn memory_comes_back(sandbox: &Sandbox) -> Result<Verdict> {
    let up = Up::start(sandbox, &["--no-node", "--csr-ttl-issued", "20s"])?;
    let memory = || resident(up.process.id());
    let idle = memory()?;
    let storm = || -> Result<()> {
        let mut bench = sandbox.everleaf(&["bench", "--kubeconfig"]);
        let kubeconfig = up.path("bootstrap-kubelet.conf");
        bench.args([arg(&kubeconfig), "-n", &REQUESTS.to_string()]);
        run(&mut bench)?.ok().map(drop)
    };
    storm()?;
    let grown = memory()?.saturating_sub(idle);
    ensure_that!(
        grown > REQUESTS * STORED_BYTES / 2,
        "the storm took {grown} bytes: too little to be measured"
    );
    empty(&up)?;
    let once = memory()?;
    storm()?;
    empty(&up)?;
    eventually("the memory comes back", 60, || {
        let left = memory()?.saturating_sub(once);
        std::thread::sleep(PAUSE);
        ensure_that!(
            left <= LEFT_BYTES_MAX,
            "{left} bytes more than after the first storm, which had taken {grown}"
        );
        Ok(())
    })?;
    Ok(Verdict::Passed)
}

/// Waits until the cleaner has deleted all requests.
fn empty(up: &Up<'_>) -> Result<()> {
    eventually("no request is left", 300, || {
        let metrics = up.admin().quiet(&["get", "--raw", "/metrics"])?;
        let left = metrics.lines().find(|line| line.starts_with(COUNT));
        let left = left.and_then(|line| line.split_whitespace().last());
        std::thread::sleep(PAUSE);
        same("requests that are left", left, Some("0"))
    })
}

/// The process' own resident memory, without pages of files, in bytes.
pub(super) fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .context("/proc shows no RssAnon")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1024)
}
