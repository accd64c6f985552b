//! How a command ends when it fails: one message with its whole chain, and an exit code.

use std::process::ExitCode;

/// Wrong usage that the flag parser cannot see, such as two flags that exclude each other.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Exit code of a command that failed.
const FAILED: u8 = 1;
/// Exit code of wrong usage; the flag parser uses the same.
const USAGE: u8 = 2;

/// Prints the failure of `program` once, causes included, and says how to exit.
pub fn report(program: &str, error: &anyhow::Error) -> ExitCode {
    eprintln!("{program}: {}", crate::print::harmless(&chain(error)));
    let usage = error.chain().any(|cause| cause.is::<UsageError>());
    ExitCode::from(if usage { USAGE } else { FAILED })
}

/// `what: why: why`, without a cause whose text its parent already holds.
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.ends_with(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn causes_are_told_once() {
        let plain = anyhow!("disk full");
        let error = Err::<(), _>(plain)
            .context("write x: disk full")
            .context("start")
            .unwrap_err();
        assert_eq!(chain(&error), "start: write x: disk full");
    }
}
