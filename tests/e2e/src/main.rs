//! End-to-end suite: the built binary as a user meets it, through kubectl, openssl and faketime.
//!
//! `cargo xtask e2e` builds the binary, installs the tools and runs this program. Each test has its own directory, ports and home,
//! and kills what it started. Refuses to link any Everleaf crate: it knows what a user knows.

mod runner;
mod stage;
mod tests;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match runner::run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}
