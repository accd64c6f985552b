//! End-to-end suite: the built binary as a user meets it, through kubectl, openssl and faketime.
//!
//! `cargo xtask e2e` builds the binary, installs the tools and runs this program. Each test has its
//! own directory, ports and home, and kills what it started. Refuses to link any Everleaf crate: it
//! knows what a user knows.

mod tests;

use everleaf_stage::runner::{self, Suite};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let suite = Suite {
        command: "cargo xtask e2e",
        parallel: 3,
        tests: tests::all(),
    };
    match runner::run(&suite, &args) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(report)) if report.good => ExitCode::SUCCESS,
        Ok(Some(_)) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}
