//! The report on a screen: a line for each section, and below it what was found.

use crate::print::{answer, harmless_line, has_colour};
use anyhow::Result;
use everleaf_controllers::doctor::{Fault, Finding, Part, Report, Severity};
use std::collections::BTreeSet;

/// Lines of evidence of one finding.
const EVIDENCE_MAX: usize = 3;

/// Prints it for people; `wide`: with all evidence.
pub(super) fn show(report: &Report, wide: bool) -> Result<()> {
    let mut told = BTreeSet::new();
    for part in &report.sections {
        match again(part, &mut told) {
            Some(line) => answer(&line)?,
            None => show_part(part, wide)?,
        }
    }
    answer("")?;
    answer(&summary(report))
}

/// The line of a section of which nothing was looked at, for a reason that another has told.
fn again(part: &Part, told: &mut BTreeSet<&'static str>) -> Option<String> {
    let [finding] = &part.findings[..] else {
        return None;
    };
    let is_unasked = finding.fault == Fault::NotSeen && finding.commands.is_empty();
    if !is_unasked || told.insert(finding.remedy) || !part.looked_at.is_empty() {
        return None;
    }
    let mark = coloured(finding.severity.as_str(), Some(finding.severity));
    let name = part.section.name();
    let shown = harmless_line(&finding.evidence.join("; "));
    Some(format!("{mark} {name:<12} {shown}  [{}]", finding.fault))
}

fn show_part(part: &Part, wide: bool) -> Result<()> {
    let worst = part.findings.iter().map(|one| one.severity).max();
    let mark = worst.map_or("ok", Severity::as_str);
    let name = part.section.name();
    let looked_at = harmless_line(&part.looked_at);
    answer(format!("{} {name:<12} {looked_at}", coloured(mark, worst)).trim_end())?;
    for finding in &part.findings {
        show_finding(finding, wide)?;
    }
    Ok(())
}

fn show_finding(finding: &Finding, wide: bool) -> Result<()> {
    let mark = coloured(finding.severity.as_str(), Some(finding.severity));
    answer(&format!("  {mark} {}  [{}]", finding.what, finding.fault))?;
    let shown = match wide || finding.fault == Fault::NotSeen {
        true => finding.evidence.len(),
        false => EVIDENCE_MAX,
    };
    for line in finding.evidence.iter().take(shown) {
        answer(&format!("          seen: {}", harmless_line(line)))?;
    }
    let rest = finding.count - finding.evidence.len().min(shown);
    if rest > 0 {
        let hint = if wide { "" } else { " (-o wide shows more)" };
        answer(&format!("          and {rest} more{hint}"))?;
    }
    answer(&format!("          so:   {}", finding.consequence))?;
    answer(&format!("          do:   {}", finding.remedy))?;
    for command in &finding.commands {
        answer(&format!("                {command}"))?;
    }
    Ok(())
}

/// In a column of its own; a colour where a terminal has them.
fn coloured(mark: &str, severity: Option<Severity>) -> String {
    let padded = format!("{mark:<7}");
    let colour = match severity {
        None => "32",
        Some(Severity::Note) => "36",
        Some(Severity::Warning) => "33",
        Some(Severity::Error) => "31",
    };
    match has_colour() {
        true => format!("\u{1b}[{colour}m{padded}\u{1b}[0m"),
        false => padded,
    }
}

fn summary(report: &Report) -> String {
    let of = |severity: Severity| {
        let found = report.findings().filter(|one| one.fault != Fault::NotSeen);
        found.filter(|one| one.severity == severity).count()
    };
    let kinds = [
        (of(Severity::Error), "error"),
        (of(Severity::Warning), "warning"),
        (of(Severity::Note), "note"),
    ];
    let told = kinds.iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = told
        .map(|(count, what)| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        })
        .collect();
    let found = match told.is_empty() {
        true => "nothing is wrong".to_owned(),
        false => told.join(", "),
    };
    let rest = match report.is_complete() {
        true => "",
        false => "; not all of it was looked at",
    };
    format!("{found}{rest}.")
}
