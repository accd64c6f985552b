//! `cargo xtask tidy`: what holds between crates and between files, checked in a second.
//!
//! Each check is a function from what was read to a list of findings; `run` reads, calls them all
//! and prints every finding, so that one run shows everything there is to mend.

mod documents;
mod graph;
mod licence;
mod sources;

use anyhow::{Context, Result, bail};
use cargo_metadata::{CargoOpt, MetadataCommand};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Platforms whose dependencies are judged: those that releases are made for.
const PLATFORMS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// Runs every check over the workspace.
pub(crate) fn run() -> Result<()> {
    let root = workspace_root();
    let mut findings = Vec::new();
    for platform in PLATFORMS {
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .features(CargoOpt::AllFeatures)
            .other_options(vec![
                "--locked".into(),
                "--filter-platform".into(),
                platform.into(),
            ])
            .exec()
            .context("cargo metadata failed; is Cargo.lock up to date?")?;
        findings.extend(graph::check(&metadata));
        findings.extend(graph::check_linked(&root, platform)?);
    }
    let files = tracked_files(&root)?;
    findings.extend(sources::check(&root, &files)?);
    findings.extend(documents::check(&root, &files)?);
    findings.extend(crate::bugs::stale(&root, &files));
    findings.sort();
    findings.dedup();
    if findings.is_empty() {
        crate::say(&format!(
            "tidy: {} files, dependency graph: nothing to mend",
            files.len()
        ));
        return Ok(());
    }
    for finding in &findings {
        crate::say(finding);
    }
    bail!("tidy: {} to mend", findings.len())
}

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn workspace_root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Files that git tracks, or would (new and not ignored), relative to the root, sorted.
fn tracked_files(root: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .current_dir(root)
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .output()
        .context("git ls-files failed to start; tidy needs git")?;
    if !output.status.success() {
        bail!(
            "git ls-files: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let mut files: Vec<PathBuf> = output
        .stdout
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()))
        .filter(|name| root.join(name).is_file())
        .collect();
    files.sort();
    Ok(files)
}
