//! Findings as they come together: one for each fault and section, whatever shows it.

use super::{Fault, Section, Severity};
use crate::why::{Context, Known};
use serde::Serialize;
use std::collections::BTreeMap;

/// Most lines of evidence of one finding.
const EVIDENCE_MAX: usize = 50;

/// A fault that was found, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Its name in the catalogue.
    #[serde(serialize_with = "name_of")]
    pub fault: Fault,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub what: &'static str,
    /// How many things show it.
    pub count: usize,
    /// What shows it, a line each, at most 50.
    pub evidence: Vec<String>,
    /// What follows.
    pub consequence: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// It as commands to paste, for the first thing that shows it.
    pub commands: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn name_of<S: serde::Serializer>(fault: &Fault, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(fault)
}

/// Why something was not looked at, which decides what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unseen {
    /// The API server did not show it to this user.
    Hidden,
    /// A file that this user may not read.
    File,
    /// Nobody could be asked.
    Unasked,
}

/// The findings of a section.
pub(super) struct Found {
    section: Section,
    context: Context,
    by_fault: BTreeMap<(Fault, Unseen), Finding>,
}

impl Found {
    pub(super) fn new(section: Section, context: Context) -> Self {
        Self {
            section,
            context,
            by_fault: BTreeMap::new(),
        }
    }

    /// Something shows this fault. `names` go into its commands, if nothing showed it before.
    pub(super) fn add(&mut self, fault: Fault, line: String, names: &[(&'static str, &str)]) {
        self.put((fault, Unseen::Hidden), line, names);
    }

    fn put(&mut self, key: (Fault, Unseen), line: String, names: &[(&'static str, &str)]) {
        let fault = key.0;
        let entry = fault.entry();
        debug_assert!(
            entry.section == self.section || fault == Fault::NotSeen,
            "{fault} is no finding of {}",
            self.section.name()
        );
        let finding = self.by_fault.entry(key).or_insert_with(|| {
            let mut context = self.context.clone();
            for (key, value) in names {
                context.set(key, value);
            }
            let commands = entry.commands.iter();
            let answered = commands.filter(|command| context.is_answered(command));
            let ca = context.name("ca").map(str::to_owned);
            let filled = answered.map(|command| match &ca {
                // The file that was named, in place of some file.
                Some(ca) => context.fill(command).replace("CA.crt", ca),
                None => context.fill(command),
            });
            Finding {
                fault,
                severity: entry.severity,
                what: entry.title,
                count: 0,
                evidence: Vec::new(),
                consequence: entry.consequence,
                remedy: entry.remedy,
                commands: filled.collect(),
            }
        });
        finding.count += 1;
        if finding.evidence.len() < EVIDENCE_MAX {
            finding.evidence.push(line);
        }
    }

    /// Something could not be looked at.
    pub(super) fn not_seen(&mut self, what: &str, why: &str) {
        self.add(Fault::NotSeen, format!("{what}: {why}"), &[]);
    }

    /// A file could not be read by this user.
    pub(super) fn unreadable(&mut self, path: &str, why: &str) {
        let key = (Fault::NotSeen, Unseen::File);
        self.put(key, format!("{path}: {why}"), &[]);
        self.say(
            key,
            "What is wrong there is not told.",
            "Run it as root, or as whoever may read that file.",
        );
    }

    /// There was nobody to ask about it.
    pub(super) fn unasked(&mut self, what: &str, why: &str) {
        let key = (Fault::NotSeen, Unseen::Unasked);
        self.put(key, format!("{what}: {why}"), &[]);
        self.say(
            key,
            "What is wrong there is not told.",
            "Mend that first, and ask again.",
        );
    }

    /// Other words than the catalogue's, and no commands.
    fn say(&mut self, key: (Fault, Unseen), consequence: &'static str, remedy: &'static str) {
        if let Some(finding) = self.by_fault.get_mut(&key) {
            finding.consequence = consequence;
            finding.remedy = remedy;
            finding.commands.clear();
        }
    }

    /// What was read; where it may not be seen, that is a finding.
    pub(super) fn read<'a, T>(&mut self, what: &str, known: &'a Known<T>) -> Option<&'a T> {
        if let Known::Hidden(why) = known {
            self.not_seen(what, why);
        }
        known.read()
    }

    /// The worst first; of equals, in the order of the catalogue.
    pub(super) fn into_findings(self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.by_fault.into_values().collect();
        findings.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.fault));
        findings
    }
}
