//! Interop suite: each part of Everleaf beside the real Kubernetes programs it must work with.
//!
//! `cargo xtask interop` builds the binaries and the peers and runs this program. A pairing is one
//! file of `pairings`: it starts a [`stack`] of real and Everleaf parts and tries its points one
//! after the other. What waits for something that is not built yet is shown as "not yet", with the
//! reason; never hidden, never green. `cargo xtask record` runs it, too: [`recorder`] makes the
//! answers of `tests/recordings` anew, [`certificates`] those about client certificates. And so
//! does `cargo xtask bench-peers`, which is [`mod@bench`]. Refuses to link any crate of the
//! product: it knows what a user knows.

mod bench;
mod certificates;
mod document;
mod pairings;
mod recorder;
mod stack;

use anyhow::Result;
use everleaf_stage::runner::{self, Suite};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("interop: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<bool> {
    if let Some((first, rest)) = args.split_first() {
        match first.as_str() {
            "record" => return recorder::record(rest).map(|()| true),
            "bench" => return bench::run(rest).map(|()| true),
            _ => {}
        }
    }
    let controls = args.iter().any(|arg| arg == "--controls");
    let suite = Suite {
        command: "cargo xtask interop",
        parallel: 2,
        tests: if controls {
            pairings::controls()
        } else {
            pairings::all()
                .iter()
                .map(|pairing| &pairing.test)
                .collect()
        },
    };
    let Some(report) = runner::run(&suite, args)? else {
        return Ok(true);
    };
    let documented = controls || document::check(&report, args)?;
    Ok(report.good && documented)
}
