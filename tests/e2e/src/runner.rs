//! Runs the tests, a few at a time, and prints one table: name, verdict, seconds.

use crate::stage::{Sandbox, Tools};
use crate::tests;
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// Tests that run at the same time: they wait more than they work.
const PARALLEL: usize = 3;

/// How a test ended, if it did not fail.
pub(crate) enum Verdict {
    /// Everything held.
    Passed,
    /// It could not be tried here.
    Skipped(String),
}

/// One test: its name says the behaviour.
pub(crate) struct Test {
    /// Behaviour, as a sentence in snake case.
    pub(crate) name: &'static str,
    /// Long ones start first.
    pub(crate) long: bool,
    /// The test.
    pub(crate) run: fn(&Sandbox) -> Result<Verdict>,
}

struct Ended {
    name: &'static str,
    outcome: Result<Verdict>,
    took: Duration,
}

/// Runs what `args` select (substrings of names; `--ci` makes every skip a failure; `--list` only lists). True when all is well.
pub(crate) fn run(args: &[String]) -> Result<bool> {
    let in_ci = args.iter().any(|arg| arg == "--ci");
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let mut selected: Vec<&'static Test> = tests::all()
        .into_iter()
        .filter(|test| filters.is_empty() || filters.iter().any(|part| test.name.contains(*part)))
        .collect();
    selected.sort_by_key(|test| !test.long);
    if args.iter().any(|arg| arg == "--list") {
        selected.iter().for_each(|test| say(test.name));
        return Ok(true);
    }
    let tools = Arc::new(Tools::from_environment().context("run this through cargo xtask e2e")?);
    let total = selected.len();
    let ended = run_parallel(selected, &tools);
    Ok(summarize(&ended, total, in_ci))
}

fn run_parallel(selected: Vec<&'static Test>, tools: &Arc<Tools>) -> Vec<Ended> {
    let queue = Arc::new(Mutex::new(VecDeque::from(selected)));
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            let (queue, sender, tools) = (Arc::clone(&queue), sender.clone(), Arc::clone(tools));
            scope.spawn(move || {
                loop {
                    let next = queue.lock().ok().and_then(|mut queue| queue.pop_front());
                    let Some(test) = next else { break };
                    let _ = sender.send(run_one(test, &tools));
                }
            });
        }
        drop(sender);
        receiver.iter().inspect(report).collect()
    })
}

fn run_one(test: &'static Test, tools: &Arc<Tools>) -> Ended {
    let started = now();
    let outcome = Sandbox::new(test.name, Arc::clone(tools)).and_then(|sandbox| {
        let outcome = catch_unwind(AssertUnwindSafe(|| (test.run)(&sandbox)))
            .unwrap_or_else(|panic| Err(anyhow::anyhow!("panicked: {}", text_of(&panic))));
        if outcome.is_err() {
            eprintln!("{}", sandbox.evidence());
        }
        outcome
    });
    Ended {
        name: test.name,
        outcome,
        took: started.elapsed(),
    }
}

fn text_of(panic: &Box<dyn std::any::Any + Send>) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "no message".to_owned())
}

fn report(ended: &Ended) {
    let verdict = match &ended.outcome {
        Ok(Verdict::Passed) => "ok".to_owned(),
        Ok(Verdict::Skipped(why)) => format!("skipped: {why}"),
        Err(error) => format!("FAILED: {error:#}"),
    };
    say(&format!(
        "{:64} {:6.1} s  {verdict}",
        ended.name,
        ended.took.as_secs_f64()
    ));
}

fn summarize(ended: &[Ended], total: usize, in_ci: bool) -> bool {
    let count = |which: fn(&Ended) -> bool| ended.iter().filter(|one| which(one)).count();
    let passed = count(|one| matches!(one.outcome, Ok(Verdict::Passed)));
    let skipped = count(|one| matches!(one.outcome, Ok(Verdict::Skipped(_))));
    let failed = count(|one| one.outcome.is_err());
    for one in ended {
        if let Err(error) = &one.outcome {
            say(&format!("\nFAILED {}: {error:#}", one.name));
        }
    }
    say(&format!(
        "\n{passed} passed, {failed} failed, {skipped} skipped"
    ));
    if in_ci && skipped > 0 {
        say(
            "a skip in CI is a failure: install what is missing, or say in the test why it cannot run there",
        );
    }
    let complete = ended.len() == total && total > 0;
    complete && failed == 0 && (skipped == 0 || !in_ci)
}

/// The suite's only monotonic clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a test runner measures how long tests take"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Prints a line of the answer.
#[expect(clippy::print_stdout, reason = "the table is this program's answer")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
