//! How a command of this program ends when it fails.

pub(crate) use everleaf_node::failure::{UsageError, chain};
use std::process::ExitCode;

/// Prints the failure once, causes included, and says how to exit.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    everleaf_node::failure::report("everleaf", error)
}
