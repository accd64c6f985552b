//! A diagnosis on one screen.

use crate::print::{answer, harmless_line, table};
use anyhow::Result;
use everleaf_controllers::why::{Diagnosis, Finding};

/// Prints it for people; `wide`: with what each rule said.
pub(super) fn show(diagnosis: &Diagnosis, wide: bool) -> Result<()> {
    answer(&format!(
        "{}: {}",
        harmless_line(&diagnosis.subject),
        diagnosis.standing
    ))?;
    for fact in &diagnosis.facts {
        answer(&format!("  {}", harmless_line(fact)))?;
    }
    if diagnosis.findings.is_empty() {
        answer("")?;
        answer(&diagnosis.summary)?;
    }
    let is_one = diagnosis.findings.len() == 1;
    for (index, finding) in diagnosis.findings.iter().enumerate() {
        answer("")?;
        let number = if is_one {
            String::new()
        } else {
            format!("{}. ", index + 1)
        };
        show_finding(finding, &number)?;
    }
    if wide && !diagnosis.trace.is_empty() {
        answer("")?;
        let rows: Vec<Vec<String>> = diagnosis
            .trace
            .iter()
            .map(|row| {
                vec![
                    row.rule.clone(),
                    row.finding.to_owned(),
                    harmless_line(&row.why),
                ]
            })
            .collect();
        table(&["rule", "finding", "why"], &rows)?;
    }
    if !diagnosis.unseen.is_empty() {
        answer("")?;
        answer("Not seen:")?;
        for line in &diagnosis.unseen {
            answer(&format!("  {}", harmless_line(line)))?;
        }
    }
    Ok(())
}

fn show_finding(finding: &Finding, number: &str) -> Result<()> {
    let of = finding
        .csr
        .as_ref()
        .map_or(String::new(), |csr| format!("csr/{}: ", harmless_line(csr)));
    answer(&format!(
        "{number}{of}{}  [{}]",
        finding.title, finding.fault
    ))?;
    for line in &finding.evidence {
        answer(&format!("  seen: {}", harmless_line(line)))?;
    }
    answer(&format!("  why:  {}", finding.cause))?;
    answer(&format!("  do:   {}", finding.remedy))?;
    for command in &finding.commands {
        answer(&format!("        {command}"))?;
    }
    Ok(())
}
