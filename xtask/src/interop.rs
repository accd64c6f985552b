//! `cargo xtask interop`: builds the release binary and the peers, runs the interop suite;
//! `cargo xtask record`, `cargo xtask bench-peers`.

use crate::e2e::{build_release, user_tools};
use crate::peers::Peers;
use crate::tidy::workspace_root;
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// `cargo xtask bench-peers`: the same program as a stage for loads. Arguments: the number of
/// nodes, an older binary.
pub(crate) fn bench_peers(args: &[String]) -> Result<()> {
    let peers = Peers::install()?;
    let mut program = program(&peers)?;
    succeeds(program.arg("bench").args(args), "measuring failed")
}

/// `cargo xtask record`: the same program as a recorder of the real kube-apiserver's answers.
pub(crate) fn record(names: &[String]) -> Result<()> {
    let peers = Peers::install()?;
    let mut program = program(&peers)?;
    succeeds(program.arg("record").args(names), "recording failed")
}

/// Arguments go to the suite: parts of names, `--ci`, `--list`, `--keep`, `--write-document`,
/// `--controls`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let peers = Peers::install()?;
    if args.iter().any(|arg| arg == "--ci") {
        stores_on_etcd(&peers)?;
    }
    let mut suite = program(&peers)?;
    suite.args(args).env(
        "COMPATIBILITY_DOCUMENT",
        workspace_root().join("docs/compatibility.md"),
    );
    suite.env("DEPLOY", workspace_root().join("deploy"));
    succeeds(&mut suite, "the interop suite failed")
}

/// The release build of the program, with what it starts.
fn program(peers: &Peers) -> Result<Command> {
    let mut program = Command::new(build_release("everleaf-interop", "everleaf-interop")?);
    program.envs(user_tools()?).envs(peers.environment());
    Ok(program)
}

/// Runs it to its end; `failure` says what its failure means.
fn succeeds(command: &mut Command, failure: &str) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status();
    let status = status.with_context(|| format!("{program} did not start"))?;
    ensure!(status.success(), "{failure}");
    Ok(())
}

/// The cases that every store has to pass, and those of this one, on real etcds.
fn stores_on_etcd(peers: &Peers) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["test", "--locked", "-p", "everleaf-apiserver", "--lib"])
        .args(["--features", "real-etcd", "etcd"])
        .envs(peers.environment());
    succeeds(&mut cargo, "the store on etcd failed")
}
