//! Runs the tests of a suite, a few at a time, and prints one table: name, verdict, seconds.

use crate::sandbox::{Point, Sandbox, State, Tools};
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// How a test ended, if it did not fail.
pub enum Verdict {
    /// Everything held.
    Passed,
    /// It could not be tried here.
    Skipped(String),
}

/// One test: its name says the behaviour.
pub struct Test {
    /// Behaviour, as a sentence in snake case.
    pub name: &'static str,
    /// Long ones start first.
    pub long: bool,
    /// The test.
    pub run: fn(&Sandbox) -> Result<Verdict>,
}

/// What a program of tests hands to [`run`].
pub struct Suite {
    /// The command that starts it, for messages: `cargo xtask e2e`.
    pub command: &'static str,
    /// Tests that run at the same time: they wait more than they work.
    pub parallel: usize,
    /// The tests, in the order of the story.
    pub tests: Vec<&'static Test>,
}

/// A test that has run.
pub struct Ended {
    /// The test.
    pub test: &'static Test,
    /// What it said.
    pub outcome: Result<Verdict>,
    /// What it saw on the way, in order.
    pub points: Vec<Point>,
    /// How long it took.
    pub took: Duration,
}

impl Ended {
    /// Everything held, and nothing was left out.
    pub fn is_green(&self) -> bool {
        matches!(self.outcome, Ok(Verdict::Passed))
            && self.points.iter().all(|point| point.state == State::Holds)
    }

    /// It failed, or a point of it did.
    pub fn is_red(&self) -> bool {
        self.outcome.is_err()
            || self
                .points
                .iter()
                .any(|point| matches!(point.state, State::Fails(_)))
    }

    /// One or a few words for a table.
    pub fn verdict(&self) -> &'static str {
        match &self.outcome {
            _ if self.is_red() => "FAILED",
            Ok(Verdict::Skipped(_)) => "skipped",
            _ if self.is_green() => "ok",
            _ => "not yet",
        }
    }
}

/// What a whole run gave.
pub struct Report {
    /// Every test that ran, in the order of the suite.
    pub ended: Vec<Ended>,
    /// Nothing failed, and with `--ci` nothing was skipped.
    pub good: bool,
    /// No filter left anything out.
    pub complete: bool,
}

/// Runs what `args` select (parts of names; `--ci` makes every skip a failure; `--list` only lists;
/// `--keep` leaves the directories). None when there was nothing to run.
///
/// # Errors
/// When a tool is missing.
pub fn run(suite: &Suite, args: &[String]) -> Result<Option<Report>> {
    let flag = |name: &str| args.iter().any(|arg| arg == name);
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let mut selected: Vec<&'static Test> = suite
        .tests
        .iter()
        .copied()
        .filter(|test| filters.is_empty() || filters.iter().any(|part| test.name.contains(*part)))
        .collect();
    selected.sort_by_key(|test| !test.long);
    if flag("--list") {
        selected.iter().for_each(|test| say(test.name));
        return Ok(None);
    }
    let tools =
        Tools::from_environment().with_context(|| format!("run this through {}", suite.command))?;
    let total = selected.len();
    let mut ended = run_parallel(selected, suite.parallel, &Arc::new(tools), flag("--keep"));
    ended.sort_by_key(|one| {
        suite
            .tests
            .iter()
            .position(|test| std::ptr::eq(*test, one.test))
    });
    let good = summarize(&ended, total, flag("--ci"));
    Ok(Some(Report {
        ended,
        good,
        complete: total == suite.tests.len(),
    }))
}

fn run_parallel(
    selected: Vec<&'static Test>,
    parallel: usize,
    tools: &Arc<Tools>,
    keep: bool,
) -> Vec<Ended> {
    let queue = Arc::new(Mutex::new(VecDeque::from(selected)));
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            let (queue, sender, tools) = (Arc::clone(&queue), sender.clone(), Arc::clone(tools));
            scope.spawn(move || {
                loop {
                    let next = queue.lock().ok().and_then(|mut queue| queue.pop_front());
                    let Some(test) = next else { break };
                    let _ = sender.send(run_one(test, &tools, keep));
                }
            });
        }
        drop(sender);
        receiver.iter().inspect(report).collect()
    })
}

fn run_one(test: &'static Test, tools: &Arc<Tools>, keep: bool) -> Ended {
    let started = now();
    let mut points = Vec::new();
    let outcome = Sandbox::new(test.name, Arc::clone(tools)).and_then(|sandbox| {
        let outcome = catch_unwind(AssertUnwindSafe(|| (test.run)(&sandbox)))
            .unwrap_or_else(|panic| Err(anyhow::anyhow!("panicked: {}", text_of(&panic))));
        points = sandbox.points();
        let failed = points
            .iter()
            .any(|point| matches!(point.state, State::Fails(_)));
        if outcome.is_err() || failed {
            eprintln!("{}", sandbox.evidence());
        }
        if keep {
            eprintln!("{}: {}", test.name, sandbox.keep().display());
        }
        outcome
    });
    Ended {
        test,
        outcome,
        points,
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
    let why = match &ended.outcome {
        Ok(Verdict::Passed) => String::new(),
        Ok(Verdict::Skipped(why)) => format!(": {why}"),
        Err(error) => format!(": {error:#}"),
    };
    say(&format!(
        "{:64} {:6.1} s  {}{why}",
        ended.test.name,
        ended.took.as_secs_f64(),
        ended.verdict(),
    ));
    for point in &ended.points {
        let (mark, reason) = match &point.state {
            State::Holds => ("ok", String::new()),
            State::NotYet(reason) => ("not yet", format!(": {reason}")),
            State::Fails(reason) => ("FAILED", format!(": {reason}")),
        };
        say(&format!(
            "    {:60} {:6.1} s  {mark}{reason}",
            point.name,
            point.took.as_secs_f64()
        ));
    }
}

fn summarize(ended: &[Ended], total: usize, in_ci: bool) -> bool {
    let count = |which: &dyn Fn(&Ended) -> bool| ended.iter().filter(|one| which(one)).count();
    let verdicts = |verdict: &str| count(&|one: &Ended| one.verdict() == verdict);
    for one in ended.iter().filter(|one| one.is_red()) {
        if let Err(error) = &one.outcome {
            say(&format!("\nFAILED {}: {error:#}", one.test.name));
        }
    }
    let skipped = verdicts("skipped");
    let not_yet = match verdicts("not yet") {
        0 => String::new(),
        number => format!(", {number} not yet"),
    };
    say(&format!(
        "\n{} passed, {} failed, {skipped} skipped{not_yet}",
        verdicts("ok"),
        count(&Ended::is_red),
    ));
    if in_ci && skipped > 0 {
        say(
            "a skip in CI is a failure: install what is missing, or say in the test why it cannot run there",
        );
    }
    let complete = ended.len() == total && total > 0;
    complete && !ended.iter().any(Ended::is_red) && (skipped == 0 || !in_ci)
}

/// The suite's only monotonic clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a test runner measures how long tests take"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// Prints a line of the answer.
#[expect(clippy::print_stdout, reason = "the table is this program's answer")]
pub fn say(line: &str) {
    println!("{line}");
}
