//! Runs a scenario and says what the checkers found.
//!
//! ```text
//! cargo run -p everleaf-sim --example replay -- 'seed=7 nodes=3 for=7d grant=1d; 2d clock n0 +20h'
//! cargo run -p everleaf-sim --example replay -- storm 1..20
//! ```
//!
//! A scenario is given as a line, or by its name with the seeds to try; the first seed that fails
//! ends it. With `--trace` the whole trace is printed.

use everleaf_sim::{Scenario, World, stories};
use std::process::ExitCode;

#[expect(clippy::print_stdout, reason = "an example talks to a person")]
fn main() -> ExitCode {
    let (flags, words): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|word| word == "--trace");
    let scenarios = match scenarios(&words) {
        Ok(scenarios) => scenarios,
        Err(error) => {
            println!("{error}; known names: {}", stories::NAMES.join(" "));
            return ExitCode::from(2);
        }
    };
    for scenario in scenarios {
        let report = match World::new(scenario.clone()) {
            Ok(world) => world.run(),
            Err(error) => {
                println!("{error}");
                return ExitCode::from(2);
            }
        };
        if !flags.is_empty() {
            println!("{}", report.trace.join("\n"));
        }
        if let Err(failure) = report.verdict(&scenario) {
            println!("{failure}");
            return ExitCode::FAILURE;
        }
        println!(
            "seed {}: {} requests, {} certificates, {} power losses, {} answers lost",
            scenario.seed,
            report.created,
            report.installed,
            report.power_losses,
            report.responses_lost
        );
    }
    ExitCode::SUCCESS
}

fn scenarios(words: &[String]) -> Result<Vec<Scenario>, String> {
    let [first, rest @ ..] = words else {
        return Err("which scenario?".to_owned());
    };
    if first.contains('=') {
        let scenario = first.parse().map_err(|error| format!("{error}"))?;
        return Ok(vec![scenario]);
    }
    let seeds = rest.first().map_or("1", String::as_str);
    let (from, to) = seeds.split_once("..").unwrap_or((seeds, seeds));
    let number = |text: &str| {
        text.parse::<u64>()
            .map_err(|_| format!("{text:?}: no seed"))
    };
    let seeds = number(from)?..=number(to)?;
    seeds
        .map(|seed| stories::named(first, seed).ok_or_else(|| format!("{first:?}: no scenario")))
        .collect()
}
