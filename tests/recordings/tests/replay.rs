//! Plays the recorded requests against our server, in process, and compares with what
//! kube-apiserver answered.

mod ours;

use anyhow::{Context as _, Result, ensure};
use everleaf_recordings::difference::compare;
use everleaf_recordings::matrix::{self, Matrix};
use everleaf_recordings::{
    Difference, Ledger, Scenario, Subjects, answers, data_dir, openapi, play,
};
use ours::Ours;
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;

/// Differences that are shown before the rest is only counted.
const SHOWN_MAX: usize = 4000;

/// Sorts differences into accepted, open and unknown.
struct Judge {
    accepted: Ledger,
    open: Ledger,
    unknown: Vec<Difference>,
}

impl Judge {
    fn new(suffix: &str) -> Result<Self> {
        let read = |name: &str| Ledger::read(&data_dir().join(format!("{name}{suffix}.yaml")));
        Ok(Self {
            accepted: read("accepted")?,
            open: read("open")?,
            unknown: Vec::new(),
        })
    }

    fn take(&mut self, differences: Vec<Difference>) {
        for difference in differences {
            if !self.accepted.explains(&difference) && !self.open.explains(&difference) {
                self.unknown.push(difference);
            }
        }
    }

    /// Says how much is known, and fails on what is not.
    fn verdict(self, what: &str) -> Result<()> {
        let counts = format!(
            "{what}, {} accepted differences ({} entries), open: {} ({} entries)\n",
            self.accepted.hits(),
            self.accepted.entries().len(),
            self.open.hits(),
            self.open.entries().len(),
        );
        // Past the harness's capture: a plain `cargo test` shows the counts.
        std::io::stderr().lock().write_all(counts.as_bytes())?;
        let mut report = String::new();
        for (reason, count) in self.accepted.reasons() {
            writeln!(report, "  accepted {count:4}: {reason}")?;
        }
        for (reason, count) in self.open.reasons() {
            writeln!(report, "  open     {count:4}: {reason}")?;
        }
        for difference in self.unknown.iter().take(SHOWN_MAX) {
            writeln!(report, "{difference}")?;
        }
        let mut idle = self.accepted.idle();
        idle.extend(self.open.idle());
        for pattern in &idle {
            writeln!(report, "explains nothing any more: {pattern}")?;
        }
        ensure!(
            self.unknown.is_empty() && idle.is_empty(),
            "{} unknown differences, {} idle entries (accepted*.yaml and open*.yaml say what is known)\n{report}",
            self.unknown.len(),
            idle.len()
        );
        Ok(())
    }
}

#[test]
fn answers_are_kubernetes_answers() -> Result<()> {
    let dir = data_dir();
    let subjects = Subjects::read(&dir)?;
    let mut judge = Judge::new("")?;
    let mut count = 0;
    for scenario in Scenario::read_all(&dir)? {
        let name = &scenario.name;
        let recorded =
            answers::read(&dir, name)?.with_context(|| format!("{name} was never recorded"))?;
        let ours = play(
            &scenario,
            &subjects,
            &dir,
            &mut Ours::serving(&scenario.runtime_config)?,
        )?;
        for ask in &scenario.asks {
            let theirs = recorded.get(&ask.id);
            let theirs = theirs.with_context(|| format!("{name}/{}: not recorded", ask.id))?;
            count += 1;
            judge.take(match &ours[&ask.id] {
                Ok(ours) => compare(name, &ask.id, theirs, ours),
                Err(why) => vec![Difference {
                    scenario: name.clone(),
                    request: ask.id.clone(),
                    at: "request".to_owned(),
                    theirs: None,
                    ours: Some(json!(why)),
                }],
            });
        }
        ensure!(
            recorded.len() == scenario.asks.len(),
            "{name}: answers without requests; record again"
        );
    }
    judge.verdict(&format!("{count} recordings"))
}

#[test]
fn authorization_is_kubernetes_authorization() -> Result<()> {
    let dir = data_dir();
    let subjects = Subjects::read(&dir)?;
    let matrix = Matrix::read(&dir)?;
    let recorded = matrix::read(&dir, &matrix)?.context("the matrix was never recorded")?;
    let ours = matrix.play(&subjects, &mut Ours::new()?)?;
    let mut judge = Judge::new("-matrix")?;
    for (subject, row) in &recorded {
        for (action, theirs) in row {
            let ours = ours.get(subject).and_then(|row| row.get(action));
            if ours != Some(theirs) {
                judge.take(vec![Difference {
                    scenario: "matrix".to_owned(),
                    request: subject.clone(),
                    at: action.clone(),
                    theirs: Some(json!(theirs)),
                    ours: ours.map(|verdict| json!(verdict)),
                }]);
            }
        }
    }
    judge.verdict(&format!("{} cells", matrix.len()))
}

#[test]
fn documents_are_kubernetes_documents() -> Result<()> {
    let theirs = openapi::recorded(&data_dir())?;
    let ours = openapi::play(&mut Ours::new()?)?;
    let differences = openapi::differences(&theirs, &ours);
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}
