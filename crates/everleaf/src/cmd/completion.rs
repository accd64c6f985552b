//! `everleaf completion`: a shell's completion script.

use crate::args::CompletionArgs;
use std::process::ExitCode;

/// Writes the script to stdout.
pub(crate) fn run(args: &CompletionArgs, command: &mut clap::Command) -> anyhow::Result<ExitCode> {
    clap_complete::generate(args.shell, command, "everleaf", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
