//! docs/compatibility.md: the matrix that the suite saw, written by the suite and by nobody else.

use crate::pairings::{self, Pairing};
use anyhow::{Context, Result};
use everleaf_stage::State;
use everleaf_stage::runner::{Ended, Report, say};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// Set by `cargo xtask interop`: the document's path.
const VARIABLE: &str = "COMPATIBILITY_DOCUMENT";

const HEAD: &str = "# Compatibility

Written by `cargo xtask interop --write-document` after a run of every pairing; CI fails when a run no longer agrees with it.
Each line was seen with the real programs named, not with imitations. \"works, except\" names what is missing; why, stands below.

";

/// Compares the document with what a complete run saw, or with `--write-document` writes it. True
/// when they agree, or when the run was not complete.
pub(crate) fn check(report: &Report, args: &[String]) -> Result<bool> {
    if !report.complete {
        return Ok(true);
    }
    let path = PathBuf::from(
        std::env::var_os(VARIABLE).with_context(|| format!("{VARIABLE} is not set"))?,
    );
    let text = render(report);
    if args.iter().any(|arg| arg == "--write-document") {
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        return Ok(true);
    }
    let agrees = fs::read_to_string(&path).is_ok_and(|present| present == text);
    if !agrees {
        say(
            "docs/compatibility.md does not say what this run saw: look at the table, then cargo xtask interop --write-document",
        );
    }
    Ok(agrees)
}

fn render(report: &Report) -> String {
    let mut text = HEAD.to_owned();
    text.push_str("| pairing | real | Everleaf | verdict |\n|---|---|---|---|\n");
    for (pairing, ended) in rows(report) {
        let title = title(pairing);
        let _ = writeln!(
            text,
            "| {title} | {} | {} | {} |",
            pairing.real,
            pairing.ours,
            verdict(ended)
        );
    }
    for (pairing, ended) in rows(report) {
        let _ = writeln!(text, "\n## {}\n", title(pairing));
        for point in &ended.points {
            let verdict = match &point.state {
                State::Holds => "ok".to_owned(),
                State::NotYet(reason) => format!("not yet: {reason}"),
                State::Fails(_) => "FAILED".to_owned(),
            };
            let _ = writeln!(text, "- {}: {verdict}", point.name);
        }
    }
    text
}

/// Of a pairing that lacks something, what: the rest works.
fn verdict(ended: &Ended) -> String {
    let is_missing = |state: &State| matches!(state, State::NotYet(_));
    let points = ended.points.iter();
    let missing: Vec<&str> = points
        .filter(|point| is_missing(&point.state))
        .map(|point| point.name.as_str())
        .collect();
    if missing.is_empty() || ended.is_red() {
        return ended.verdict().to_owned();
    }
    format!("works, except: {}", missing.join("; "))
}

fn rows(report: &Report) -> impl Iterator<Item = (&'static Pairing, &Ended)> {
    report.ended.iter().filter_map(|ended| {
        let pairing = pairings::all()
            .iter()
            .find(|one| std::ptr::eq(&raw const one.test, ended.test))?;
        Some((*pairing, ended))
    })
}

fn title(pairing: &Pairing) -> String {
    pairing.test.name.replace('_', " ")
}
