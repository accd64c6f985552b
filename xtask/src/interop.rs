//! `cargo xtask interop`: builds the release binary and the peers, runs the interop suite;
//! `cargo xtask record`, `cargo xtask bench-peers`.

use crate::e2e::{build_release, user_tools};
use crate::peers::Peers;
use crate::tidy::workspace_root;
use anyhow::{Context, Result, bail};
use std::process::Command;

/// `cargo xtask bench-peers`: the same program as a stage for loads. Arguments: the number of
/// nodes, an older binary.
pub(crate) fn bench_peers(args: &[String]) -> Result<()> {
    let peers = Peers::install()?;
    let status = Command::new(build_release("everleaf-interop", "everleaf-interop")?)
        .arg("bench")
        .args(args)
        .envs(user_tools()?)
        .envs(peers.environment())
        .status()
        .context("the program did not start")?;
    if status.success() {
        Ok(())
    } else {
        bail!("measuring failed")
    }
}

/// `cargo xtask record`: the same program as a recorder of the real kube-apiserver's answers.
pub(crate) fn record(names: &[String]) -> Result<()> {
    let peers = Peers::install()?;
    let status = Command::new(build_release("everleaf-interop", "everleaf-interop")?)
        .arg("record")
        .args(names)
        .envs(user_tools()?)
        .envs(peers.environment())
        .status()
        .context("the recorder did not start")?;
    if status.success() {
        Ok(())
    } else {
        bail!("recording failed")
    }
}

/// Arguments go to the suite: parts of names, `--ci`, `--list`, `--keep`, `--write-document`,
/// `--controls`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let peers = Peers::install()?;
    if args.iter().any(|arg| arg == "--ci") {
        stores_on_etcd(&peers)?;
    }
    let mut suite = Command::new(build_release("everleaf-interop", "everleaf-interop")?);
    suite
        .args(args)
        .envs(user_tools()?)
        .envs(peers.environment());
    suite.env(
        "COMPATIBILITY_DOCUMENT",
        workspace_root().join("docs/compatibility.md"),
    );
    suite.env("DEPLOY", workspace_root().join("deploy"));
    let status = suite.status().context("the suite did not start")?;
    if status.success() {
        Ok(())
    } else {
        bail!("the interop suite failed")
    }
}

/// The cases that every store has to pass, and those of this one, on real etcds.
fn stores_on_etcd(peers: &Peers) -> Result<()> {
    let status = Command::new("cargo")
        .args(["test", "--locked", "-p", "everleaf-apiserver", "--lib"])
        .args(["--features", "real-etcd", "etcd"])
        .envs(peers.environment())
        .status()
        .context("cargo did not start")?;
    if status.success() {
        Ok(())
    } else {
        bail!("the store on etcd failed")
    }
}
