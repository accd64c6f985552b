//! `cargo xtask bugs`: plants each bug of `crates/everleaf-sim/bugs` into a copy of the tree, and
//! wants the simulator to find it.
//!
//! A bug is a patch; above its diff stand one sentence, and the named scenario that has to find
//! it within [`SEEDS_MAX`] seeds, or (`test: PACKAGE FILTER`) the test that has to.

use crate::{say, tidy::workspace_root};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Seeds that a scenario may take.
const SEEDS_MAX: u32 = 200;
/// Where the patches are.
const FOLDER: &str = "crates/everleaf-sim/bugs";

/// Arguments select bugs by parts of their names.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let root = workspace_root();
    let work = root.join("target/bugs");
    let tree = work.join("tree");
    copy_tree(&root, &tree)?;
    let folder = root.join(FOLDER);
    let mut patches: Vec<PathBuf> = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    patches.sort();
    let mut missed = Vec::new();
    for patch in patches {
        let name = patch.file_stem().unwrap_or_default().to_string_lossy();
        if !args.is_empty() && !args.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let text = fs::read_to_string(&patch)?;
        apply(&tree, &patch, &[]).with_context(|| format!("{name} does not apply any more"))?;
        let found = hunt(&tree, &work.join("target"), &text);
        apply(&tree, &patch, &["--reverse"])?;
        match found? {
            Some(found) => say(&format!("{name}: {found}")),
            None => {
                say(&format!("{name}: NOT FOUND"));
                missed.push(name.into_owned());
            }
        }
    }
    ensure!(missed.is_empty(), "not found: {}", missed.join(", "));
    Ok(())
}

/// The files that git knows of, or would.
fn copy_tree(root: &Path, tree: &Path) -> Result<()> {
    let listed = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("git did not start")?;
    ensure!(listed.status.success(), "git ls-files failed");
    for name in String::from_utf8(listed.stdout)?.lines() {
        let (from, to) = (root.join(name), tree.join(name));
        let Ok(bytes) = fs::read(&from) else { continue };
        // Files that are the same keep their times, so that they are not built again.
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            continue;
        }
        let parent = to.parent().context("a file lies in a directory")?;
        fs::create_dir_all(parent)?;
        fs::write(&to, bytes)?;
    }
    Ok(())
}

/// The planted bugs that do not fit the code any more.
pub(crate) fn stale(root: &Path, files: &[PathBuf]) -> Vec<String> {
    let patches = files.iter().filter(|file| file.starts_with(FOLDER));
    patches
        .filter_map(|patch| {
            let error = apply(root, &root.join(patch), &["--check"]).err()?;
            Some(format!("{}: {error}", patch.display()))
        })
        .collect()
}

fn apply(tree: &Path, patch: &Path, flags: &[&str]) -> Result<()> {
    // `patch`-like, wherever a repository begins: the copy is none.
    let output = Command::new("git")
        .current_dir(tree)
        .env("GIT_CEILING_DIRECTORIES", tree)
        .env("GIT_DIR", tree.join("no-repository"))
        .args(["apply", "-C1"])
        .args(flags)
        .arg(patch)
        .output()?;
    match output.status.success() {
        true => Ok(()),
        false => bail!("{}", String::from_utf8_lossy(&output.stderr).trim()),
    }
}

/// Who finds the bug, and how; `None`: nobody.
fn hunt(tree: &Path, target: &Path, patch: &str) -> Result<Option<String>> {
    let cargo = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.current_dir(tree).env("CARGO_TARGET_DIR", target);
        command.args(args).output().context("cargo did not start")
    };
    let header = |name: &str| {
        let mut lines = patch.lines();
        lines.find_map(|line| line.strip_prefix(name).map(str::trim))
    };
    if let Some(test) = header("test:") {
        let (package, filter) = test.split_once(' ').context("test: PACKAGE FILTER")?;
        built(&cargo(&["test", "-q", "-p", package, "--lib", "--no-run"])?)?;
        let output = cargo(&["test", "-q", "-p", package, "--lib", filter])?;
        let found = format!("test {package} {filter}");
        return Ok((!output.status.success()).then_some(found));
    }
    let scenario = header("scenario:").context("a bug names its scenario")?;
    let program = ["-p", "everleaf-sim", "--example", "replay"];
    built(&cargo(&[&["build", "-q"], &program[..]].concat())?)?;
    let seeds = format!("1..{SEEDS_MAX}");
    let output = cargo(&[&["run", "-q"], &program[..], &["--", scenario, &seeds]].concat())?;
    if output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let violated = text.lines().find(|line| line.starts_with("violated: "));
    let violated = violated.context("the simulator failed without a violation")?;
    let seed = text
        .lines()
        .filter(|line| line.starts_with("seed "))
        .count()
        + 1;
    Ok(Some(format!("{scenario}, seed {seed}: {violated}")))
}

fn built(output: &Output) -> Result<()> {
    match output.status.success() {
        true => Ok(()),
        false => bail!("{}", String::from_utf8_lossy(&output.stderr).trim()),
    }
}
