//! `everleaf completion`: a shell's completion script.

use crate::args::CompletionArgs;
use crate::print;
use std::process::ExitCode;

/// Writes the script to stdout.
pub(crate) fn run(args: &CompletionArgs, command: &mut clap::Command) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "everleaf", &mut script);
    print::answer(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
