//! `cargo xtask faults`: builds the programs, finds the tools, and starts this one.

use anyhow::{Context, Result, bail};
use everleaf_faults::{Plan, Store, run};
use everleaf_stage::runner::{now, say};
use everleaf_stage::{Sandbox, Tools};
use std::process::ExitCode;
use std::sync::Arc;

/// Rounds, unless an argument says otherwise.
const ROUNDS: u32 = 25;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match faults(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("faults: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Arguments: `embedded` or `etcd` (both), `--rounds N`, `--seed N`.
fn faults(args: &[String]) -> Result<()> {
    let (mut stores, mut rounds, mut seed) = (Vec::new(), ROUNDS, None);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut number = || {
            let number = rest
                .next()
                .with_context(|| format!("{arg} needs a number"))?;
            let number = number.parse::<u64>();
            number.with_context(|| format!("{arg} needs a number"))
        };
        match arg.as_str() {
            "embedded" => stores.push(Store::Embedded),
            "etcd" => stores.push(Store::Etcd),
            "--rounds" => rounds = u32::try_from(number()?)?,
            "--seed" => seed = Some(number()?),
            _ => bail!("no argument {arg}: embedded, etcd, --rounds N and --seed N are known"),
        }
    }
    if stores.is_empty() {
        stores = vec![Store::Embedded, Store::Etcd];
    }
    let seed = seed.unwrap_or(u64::from(std::process::id()));
    let tools = Arc::new(Tools::from_environment().context("run this by cargo xtask faults")?);
    for store in stores {
        say(&format!("{store:?}: {rounds} rounds, seed {seed}"));
        let began = now();
        let sandbox = Sandbox::new("faults", Arc::clone(&tools))?;
        let plan = Plan {
            store,
            rounds,
            seed,
            is_told: true,
        };
        let outcome = run(&sandbox, plan);
        if outcome.is_err() {
            say(&format!("the logs are in {}", sandbox.keep().display()));
        }
        let report = outcome?;
        let took = began.elapsed().as_secs();
        say(&format!("{store:?}: {rounds} rounds in {took} s; {report}"));
    }
    Ok(())
}
