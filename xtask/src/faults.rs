//! `cargo xtask faults`: kills, pauses and cuts off servers and the members of an etcd under load,
//! and checks what clients saw.

use crate::e2e::{build_release, user_tools};
use crate::peers::Peers;
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Arguments go to the program: `embedded` or `etcd`, `--rounds N`, `--seed N`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let mut program = Command::new(build_release("everleaf-faults", "everleaf-faults")?);
    program.args(args).envs(user_tools()?);
    let is_embedded_alone =
        args.iter().any(|arg| arg == "embedded") && !args.iter().any(|arg| arg == "etcd");
    if !is_embedded_alone {
        program.envs(Peers::install()?.environment());
    }
    let status = program.status();
    if !status.context("the program did not start")?.success() {
        bail!("the faults were not borne");
    }
    Ok(())
}
