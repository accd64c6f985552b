//! `everleaf version`.

use crate::args::{OutputFormat, VersionArgs};
use crate::{print, server};
use serde::Serialize;
use std::process::ExitCode;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    /// Of a released build.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'static str>,
    /// When that commit was made: the same sources give the same program.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit_date: Option<&'static str>,
    platform: String,
    /// What it emulates, as `/version` says.
    kubernetes: String,
}

/// Prints the version.
pub(crate) fn run(args: &VersionArgs) -> anyhow::Result<ExitCode> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        commit: server::COMMIT,
        commit_date: server::COMMIT_DATE,
        platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        kubernetes: server::version().git_version,
    };
    match args.output {
        Some(OutputFormat::Json) => print::json(&version)?,
        Some(OutputFormat::Yaml) => print::yaml(&version)?,
        Some(OutputFormat::Wide) | None => {
            let source = match (version.commit, version.commit_date) {
                (Some(commit), Some(date)) => format!("commit {commit} of {date}"),
                (Some(commit), None) => format!("commit {commit}"),
                (None, _) => "built from source".to_owned(),
            };
            print::answer(&format!(
                "everleaf {} ({}), {source}",
                version.version, version.platform
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
