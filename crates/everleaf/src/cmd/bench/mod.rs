//! `everleaf bench`: a load of nodes, and what it measured.

mod progress;

use crate::args::bench::{Asked, BenchArgs, Form, Key, WaitBy};
use crate::failure::UsageError;
use crate::kube_client::usual_kubeconfig;
use crate::print;
use crate::shutdown::Shutdown;
use crate::up::entropy;
use anyhow::{Context, Result, anyhow};
use everleaf_bench::plan::{Arrival, Prefix, Signer, Wait};
use everleaf_bench::{BenchError, Live, Plan, Report, Target, Targets};
use everleaf_pki::{KeyAlgorithm, MlDsa};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Nodes under way at once, unless a flag says otherwise.
const IN_FLIGHT: u32 = 64;
/// Pause between two looks, unless a flag says otherwise.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the load, until it is done or a signal comes, and prints what it measured.
pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let plan = plan(args, entropy::bytes()?)?;
    let targets = targets(args)?;
    super::runtime()?.block_on(async {
        let shutdown = Shutdown::on_signals()?;
        let live = Arc::new(Live::default());
        let shown = progress::show(Arc::clone(&live));
        let report = everleaf_bench::run(&plan, &targets, &args.pid, &live, shutdown.asked()).await;
        drop(shown);
        match report {
            Ok(report) => tell(&report, args),
            Err(error @ BenchError::NoProcess { .. }) => Err(UsageError(error.to_string()).into()),
            Err(error) => Err(error.into()),
        }
    })
}

/// What the flags ask for; chance comes from `entropy`.
fn plan(args: &BenchArgs, entropy: [u8; 32]) -> Result<Plan> {
    if args.poll_interval.is_some() && args.wait != WaitBy::Poll {
        let text = "--poll-interval is for --wait poll; without it nodes do not poll";
        return Err(UsageError(text.to_owned()).into());
    }
    let arrival = match (args.rate, args.herd) {
        (Some(per_second), _) => Arrival::Poisson { per_second },
        (None, Some(within)) => Arrival::Herd { within },
        (None, None) => Arrival::ClosedLoop {
            in_flight: args.concurrency.unwrap_or(IN_FLIGHT),
        },
    };
    let (seed, rest) = entropy.split_at(8);
    let prefix = match &args.name_prefix {
        Some(prefix) => prefix.clone(),
        None => by_chance(rest).map_err(anyhow::Error::msg)?,
    };
    Ok(Plan {
        nodes: args.nodes,
        arrival,
        connections: args.connections,
        wait: match args.wait {
            WaitBy::Watch => Wait::Watch,
            WaitBy::Informer => Wait::Informer,
            WaitBy::Poll => Wait::Poll {
                interval: args.poll_interval.unwrap_or(POLL_INTERVAL),
            },
        },
        signer: match args.signer {
            Asked::Client => Signer::Client,
            Asked::Serving => Signer::Serving,
        },
        renewals: args.renewals,
        key_algorithm: match args.key_algorithm {
            Key::EcdsaP256 => KeyAlgorithm::EcdsaP256,
            Key::EcdsaP384 => KeyAlgorithm::EcdsaP384,
            Key::Ed25519 => KeyAlgorithm::Ed25519,
            Key::MlDsa44 => KeyAlgorithm::MlDsa(MlDsa::MlDsa44),
            Key::MlDsa65 => KeyAlgorithm::MlDsa(MlDsa::MlDsa65),
            Key::MlDsa87 => KeyAlgorithm::MlDsa(MlDsa::MlDsa87),
            Key::Rsa2048 => KeyAlgorithm::Rsa(2048),
        },
        timeout: args.timeout,
        prefix,
        seed: seed
            .iter()
            .fold(0, |seed, byte| seed << 8 | u64::from(*byte)),
        cleans_up: args.cleanup,
    })
}

/// A prefix that no other run has.
fn by_chance(entropy: &[u8]) -> Result<Prefix, String> {
    let digits: String = entropy
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Prefix::new(format!("bench-{digits}"))
}

fn targets(args: &BenchArgs) -> Result<Targets> {
    let kubeconfig = usual_kubeconfig(args.kubeconfig.as_deref())?;
    let nodes = Target::from_kubeconfig(&kubeconfig, args.context.as_deref());
    let approver = args
        .approve_kubeconfig
        .as_deref()
        .map(|path| Target::from_kubeconfig(path, None).with_context(|| named(path)))
        .transpose()?;
    Ok(Targets {
        nodes: nodes.context("--kubeconfig")?,
        approver,
    })
}

fn named(path: &Path) -> String {
    format!("--approve-kubeconfig {}", path.display())
}

/// Prints the report and writes the page.
fn tell(report: &Report, args: &BenchArgs) -> Result<ExitCode> {
    if let Some(path) = &args.html {
        std::fs::write(path, report.html()).map_err(|error| {
            let path = path.display();
            anyhow!("--html {path}: cannot write the page: {error}")
        })?;
    }
    match args.output {
        Form::Json => print::json(report)?,
        Form::Text => print::answer(&print::harmless(&report.to_string()))?,
    }
    Ok(match report.is_complete() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    fn planned(flags: &str) -> Result<Plan> {
        let line = format!("everleaf bench {flags}");
        let Command::Bench(args) = Cli::try_parse_from(line.split_whitespace())?.command else {
            unreachable!("invariant: the line says bench");
        };
        plan(&args, [0x1f; 32])
    }

    #[test]
    fn flags_make_a_load() {
        let plain = planned("").unwrap();
        assert_eq!(plain.nodes, 1000);
        assert_eq!(plain.arrival, Arrival::ClosedLoop { in_flight: 64 });
        assert_eq!(plain.wait, Wait::Watch);
        assert_eq!(plain.prefix.to_string(), "bench-1f1f1f1f");
        assert_eq!(plain.certificates(), 1000);
        let rate = planned("-n 5 --rate 2.5 --renewals 2 --name-prefix x").unwrap();
        assert_eq!(rate.arrival, Arrival::Poisson { per_second: 2.5 });
        assert_eq!(
            (rate.certificates(), rate.prefix.to_string()),
            (15, "x".to_owned())
        );
        let within = Duration::from_secs(10);
        assert_eq!(
            planned("--herd 10s").unwrap().arrival,
            Arrival::Herd { within }
        );
        let interval = Duration::from_millis(250);
        let poll = planned("--wait poll --poll-interval 250ms").unwrap();
        assert_eq!(poll.wait, Wait::Poll { interval });
    }

    #[test]
    fn flags_that_exclude_each_other_are_refused() {
        for flags in [
            "--rate 5 --herd 10s",
            "--concurrency 5 --rate 5",
            "--poll-interval 1s",
            "--wait watch --poll-interval 1s",
            "--nodes 0",
            "--name-prefix A_b",
            "--pid x",
        ] {
            assert!(planned(flags).is_err(), "{flags}");
        }
    }
}
