//! What a run leaves behind: counts, violations, and the trace.

use crate::scenario::Scenario;
use std::fmt;

/// The outcome of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One line per notice and fault, in order: virtual time, node, what.
    pub trace: Vec<String>,
    /// Credentials installed.
    pub installed: u64,
    /// Requests created on the server.
    pub created: u64,
    /// Times a node lost power.
    pub power_losses: u64,
    /// Calls whose answer was lost after the server had done what it was asked.
    pub responses_lost: u64,
    /// What the checkers found.
    pub violations: Vec<String>,
}

impl Report {
    /// `Ok` when every checker was content.
    ///
    /// # Errors
    /// The violations, the last lines of the trace, and the command that replays the run.
    pub fn verdict(&self, scenario: &Scenario) -> Result<(), Box<Failure>> {
        if self.violations.is_empty() {
            return Ok(());
        }
        let from = self.trace.len().saturating_sub(40);
        Err(Box::new(Failure {
            violations: self.violations.clone(),
            trace_tail: self.trace[from..].to_vec(),
            scenario: scenario.clone(),
        }))
    }
}

/// A run in which a checker found something.
#[derive(Clone, Debug)]
pub struct Failure {
    violations: Vec<String>,
    trace_tail: Vec<String>,
    scenario: Scenario,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in &self.violations {
            writeln!(f, "violated: {violation}")?;
        }
        for line in &self.trace_tail {
            writeln!(f, "  {line}")?;
        }
        let scenario = &self.scenario;
        write!(
            f,
            "replay: cargo run -p everleaf-sim --example replay -- '{scenario}'"
        )
    }
}

impl std::error::Error for Failure {}
