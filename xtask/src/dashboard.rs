//! `cargo xtask dashboard`: the dashboard of the built binary in a real browser. Playwright comes
//! from npm, pinned by `tests/dashboard/package-lock.json`; the browser is Debian's chromium.

use crate::e2e::build_release;
use crate::tidy::workspace_root;
use crate::tools::Tools;
use crate::{cache, say};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The suite, and what it needs of npm.
const HOME: &str = "tests/dashboard";
/// Where Debian puts them.
const CHROMIUM: &str = "/usr/bin/chromium";
const NPM: &str = "npm";

/// The variable EVERLEAF names another binary than a release build.
pub(crate) fn run(args: &[String]) -> Result<()> {
    ensure!(args.is_empty(), "nothing means anything here");
    let cache = cache::directory("tools")?;
    let chromium = chromium()?;
    let playwright = playwright(&cache)?;
    let tools = Tools::install()?;
    let everleaf = match std::env::var_os("EVERLEAF") {
        Some(path) => PathBuf::from(path),
        None => build_release("everleaf", "everleaf")?,
    };
    let status = Command::new("node")
        .current_dir(workspace_root().join(HOME))
        .arg("suite.mjs")
        .env("EVERLEAF", everleaf)
        .env("KUBECTL", tools.kubectl)
        .env("OPENSSL", tools.openssl)
        .env("CHROMIUM", chromium)
        .env("PLAYWRIGHT", playwright)
        .status()
        .context("node did not start")?;
    match status.success() {
        true => Ok(()),
        false => bail!("the dashboard's suite failed"),
    }
}

fn chromium() -> Result<PathBuf> {
    let program = PathBuf::from(CHROMIUM);
    if !program.is_file() {
        say("installing Debian's chromium");
        cache::apt_install(&["chromium"])?;
    }
    ensure!(program.is_file(), "apt-get installed no {CHROMIUM}");
    Ok(program)
}

/// A folder in the cache whose `node_modules` has what the suite imports.
fn playwright(cache: &Path) -> Result<PathBuf> {
    let names = ["package.json", "package-lock.json"];
    let home = workspace_root().join(HOME);
    let read =
        |name: &&str| fs::read(home.join(name)).with_context(|| format!("read {HOME}/{name}"));
    let contents: Vec<Vec<u8>> = names.iter().map(read).collect::<Result<_>>()?;
    let key = cache::key(contents.iter().map(Vec::as_slice));
    let directory = cache.join(format!("playwright-{key}"));
    if directory.is_dir() {
        return Ok(directory);
    }
    if cache::sh(cache, NPM, &["--version"]).is_err() {
        cache::apt_install(&["nodejs", NPM])?;
    }
    say("installing Playwright from npm");
    let scratch = cache::scratch(cache, "playwright")?;
    for (name, content) in names.iter().zip(&contents) {
        fs::write(scratch.join(name), content)?;
    }
    // No program of a package runs, so none fetches a browser.
    cache::sh(
        &scratch,
        NPM,
        &["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
    )?;
    cache::take_directory(&scratch, &directory)?;
    Ok(directory)
}
