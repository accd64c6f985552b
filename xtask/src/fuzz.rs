//! `cargo xtask fuzz`: cargo-fuzz from crates.io, seeds from the recorded requests, and each target
//! of `fuzz/` for some minutes. What it needs besides cargo is a C++ compiler.

use crate::minutes::Minutes;
use crate::tidy::workspace_root;
use crate::{cache, say};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

const CARGO_FUZZ: &str = "0.13.2";
const MINUTES: u32 = 10;
/// Longest input, in bytes.
const INPUT_BYTES_MAX: u32 = 8192;
/// An input that takes longer is a finding.
const INPUT_SECONDS_MAX: u32 = 5;
const MEMORY_MIB_MAX: u32 = 4096;
/// Its seeds are certificates; the others' are requests.
const X509: &str = "x509_authenticator";

/// `[--minutes N] [TARGET…]`; all targets, when none is named.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let Minutes { minutes, rest } = Minutes::read(args, MINUTES)?;
    let root = workspace_root();
    let tool = CargoFuzz::install(&root)?;
    let all = tool.targets()?;
    for name in &rest {
        let known = all.join(", ");
        ensure!(
            all.contains(name),
            "there is no target {name}; there are: {known}"
        );
    }
    let chosen = if rest.is_empty() { all } else { rest };
    seeds(&root, &chosen)?;
    let mut failed = Vec::new();
    for target in &chosen {
        say(&format!("{target}: {minutes} minutes"));
        if !tool.fuzz(target, minutes)? {
            failed.push(target.as_str());
        }
    }
    ensure!(
        failed.is_empty(),
        "found something: {}. The inputs are in fuzz/artifacts; `RUSTC_BOOTSTRAP=1 cargo fuzz run \
         TARGET FILE` plays one again",
        failed.join(", ")
    );
    Ok(())
}

/// The program, in the cache.
struct CargoFuzz {
    program: PathBuf,
    root: PathBuf,
}

impl CargoFuzz {
    fn install(root: &Path) -> Result<Self> {
        Ok(Self {
            program: cache::cargo_program("cargo-fuzz", CARGO_FUZZ, &[])?,
            root: root.to_owned(),
        })
    }

    fn command(&self, task: &str) -> Command {
        let mut command = Command::new(&self.program);
        // Sanitizers are no part of a stable compiler, unless it is told that it may.
        command.current_dir(&self.root).env("RUSTC_BOOTSTRAP", "1");
        command.args(["fuzz", task]);
        command
    }

    fn targets(&self) -> Result<Vec<String>> {
        let output = self.command("list").output();
        let output = output.context("cargo-fuzz did not start")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Builds and runs one target; false when it found something.
    fn fuzz(&self, target: &str, minutes: u32) -> Result<bool> {
        let built = self.command("build").arg(target).status()?;
        ensure!(built.success(), "{target} does not build");
        let mut command = self.command("run");
        command.args([target, "--"]);
        command.arg(format!("-max_total_time={}", minutes * 60));
        command.arg(format!("-max_len={INPUT_BYTES_MAX}"));
        command.arg(format!("-timeout={INPUT_SECONDS_MAX}"));
        command.arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
        command.arg("-print_final_stats=1");
        let status = command.status().context("cargo-fuzz did not start")?;
        Ok(status.success())
    }
}

/// Fills the corpora of these targets.
fn seeds(root: &Path, targets: &[String]) -> Result<()> {
    let corpus = root.join("fuzz/corpus");
    let seed = |package: &str, example: &str, directory: &Path| -> Result<()> {
        say(&format!("{package}: writing seeds"));
        let directory = directory.to_string_lossy();
        let args = [
            "run",
            "--quiet",
            "--locked",
            "-p",
            package,
            "--example",
            example,
            "--",
            &directory,
        ];
        cache::sh(root, env!("CARGO"), &args)
    };
    if targets.iter().any(|target| target == X509) {
        seed("everleaf-second-judge", "seeds", &corpus.join(X509))?;
    }
    if targets.iter().any(|target| target != X509) {
        seed("everleaf-recordings", "recorded_seeds", &corpus)?;
    }
    Ok(())
}
