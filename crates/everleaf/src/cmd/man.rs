//! `everleaf man`: manual pages, one per command.

use crate::args::ManArgs;
use crate::print;
use anyhow::{Context, Result};
use std::process::ExitCode;

/// Writes the pages.
pub(crate) fn run(args: &ManArgs, command: clap::Command) -> Result<ExitCode> {
    let directory = &args.directory;
    clap_mangen::generate_to(command, directory)
        .with_context(|| format!("cannot write manual pages to {}", directory.display()))?;
    print::line(&format!("Manual pages are in {}.", directory.display()));
    Ok(ExitCode::SUCCESS)
}
