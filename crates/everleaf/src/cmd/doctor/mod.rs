//! `everleaf doctor`: what is broken in a cluster or on this node, and what will be. The rules are
//! [`everleaf_controllers::doctor`]'s; this reads what they judge by, and prints what they find.

mod gather;
mod host;
mod show;

use crate::args::OutputFormat;
use crate::args::doctor::DoctorArgs;
use crate::failure::{self, UsageError};
use crate::print;
use anyhow::Result;
use everleaf_controllers::doctor::{Report, Section, catalogue_table, examine};
use std::process::ExitCode;

/// Exit code when it could not look: 1 says that something is wrong.
const NOT_SEEN: u8 = 2;

/// Looks, and prints what is found.
pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    if args.catalogue {
        print::answer(catalogue_table().trim())?;
        return Ok(ExitCode::SUCCESS);
    }
    match look(args) {
        Ok(report) => {
            match args.output {
                Some(OutputFormat::Json) => print::json(&report)?,
                Some(OutputFormat::Yaml) => print::yaml(&report)?,
                Some(OutputFormat::Wide) => show::show(&report, true)?,
                None => show::show(&report, false)?,
            }
            Ok(code(&report, args))
        }
        Err(error) => {
            failure::report(&error);
            Ok(ExitCode::from(NOT_SEEN))
        }
    }
}

fn code(report: &Report, args: &DoctorArgs) -> ExitCode {
    let is_wrong = report
        .worst()
        .is_some_and(|worst| worst >= args.fail_on.severity());
    match (is_wrong, report.is_complete()) {
        (true, _) => ExitCode::FAILURE,
        (false, false) => ExitCode::from(NOT_SEEN),
        (false, true) => ExitCode::SUCCESS,
    }
}

fn look(args: &DoctorArgs) -> Result<Report> {
    let known: Vec<Section> = match args.node {
        true => Section::OF_NODE.to_vec(),
        false => Section::of_cluster().collect(),
    };
    if let Some(other) = args.section.iter().find(|one| !known.contains(one)) {
        let hint = match args.node {
            true => "belongs to a cluster: leave --node out",
            false => "belongs to a machine: add --node",
        };
        return Err(UsageError(format!("the section {} {hint}", other.name())).into());
    }
    let wanted = |one: &&Section| args.section.is_empty() || args.section.contains(one);
    let sections: Vec<Section> = known.iter().filter(wanted).copied().collect();
    let seen = super::runtime()?.block_on(async {
        match args.node {
            true => host::node(args).await,
            false => gather::cluster(args).await,
        }
    })?;
    let mut report = examine(&seen, &sections);
    if args.node {
        // A node's credential is not the one for these commands.
        return Ok(report);
    }
    let parts = report.sections.iter_mut();
    let findings = parts.flat_map(|part| &mut part.findings);
    let commands = findings.flat_map(|finding| &mut finding.commands);
    super::why::aim_commands(
        // Where another credential is needed, this kubeconfig is of no use.
        commands.filter(|command| !command.contains("# on an administrator's machine")),
        args.server.kubeconfig.as_deref(),
        args.server.context.as_deref(),
    );
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables of docs/doctor.md are what the command prints: `everleaf doctor --catalogue`.
    #[test]
    fn the_documentation_has_the_catalogue() {
        const HEADING: &str = "## What it can find\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/doctor.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        let tables = written.split_once(HEADING).map(|(_, tables)| tables.trim());
        assert!(
            tables == Some(catalogue_table().trim()),
            "write what `cargo run -p everleaf -- doctor --catalogue` prints below \"What it can find\" in docs/doctor.md"
        );
    }
}
