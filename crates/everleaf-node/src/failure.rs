//! How a command ends when it fails: one message with its whole chain, and an exit code.

use crate::print::Unwritten;
use std::process::ExitCode;

/// Wrong usage that the flag parser cannot see, such as two flags that exclude each other.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Exit code of a command that failed.
const FAILED: u8 = 1;
/// Exit code of wrong usage; the flag parser uses the same.
const USAGE: u8 = 2;
/// Exit code when the answer could not be written: what 1 says of a command with an answer (that
/// something is wrong, that somebody lapses) is not said.
const UNWRITTEN: u8 = 4;

/// Prints the failure of `program` once, causes included, and says how to exit.
pub fn report(program: &str, error: &anyhow::Error) -> ExitCode {
    eprintln!("{program}: {}", crate::print::harmless(&chain(error)));
    ExitCode::from(code(error))
}

/// The exit code of a failure.
fn code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<UsageError>() {
            return USAGE;
        }
        if cause.is::<Unwritten>() {
            return UNWRITTEN;
        }
    }
    FAILED
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
    fn what_failed_is_the_exit_code() {
        let full = || Unwritten(std::io::ErrorKind::StorageFull.into());
        for (error, wanted) in [
            (anyhow!("anything"), FAILED),
            (UsageError("a flag".to_owned()).into(), USAGE),
            (full().into(), UNWRITTEN),
            (anyhow::Error::from(full()).context("show"), UNWRITTEN),
        ] {
            assert_eq!(code(&error), wanted, "{error:#}");
        }
    }

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
