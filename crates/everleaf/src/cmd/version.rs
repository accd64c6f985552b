//! `everleaf version`.

use crate::args::{OutputFormat, VersionArgs};
use crate::print;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    platform: String,
}

/// Prints the version.
pub(crate) fn run(args: &VersionArgs) -> anyhow::Result<ExitCode> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    };
    match args.output {
        Some(OutputFormat::Json) => print::json(&version)?,
        Some(OutputFormat::Yaml) => print::yaml(&version)?,
        Some(OutputFormat::Wide) | None => {
            print::answer(&format!(
                "everleaf {} ({})",
                version.version, version.platform
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
