//! `cargo xtask instructions`: how many instructions a request of each kind takes, beside what it
//! took when somebody last looked.
//!
//! Time depends on what else the machine does; the number of instructions does not. So a change
//! that makes a request dearer is seen when it is made. What is counted is
//! `crates/everleaf-apiserver/benches/requests.rs` under callgrind, without the cryptographic
//! library; docs/performance.md says why.

mod callgrind;

use crate::peers::debian;
use crate::tidy::workspace_root;
use crate::{cache, say};
use anyhow::{Context, Result, bail, ensure};
use callgrind::Count;
use cargo_metadata::Message;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Kinds of requests, as the program names them, each with the one that it does as often before,
/// and whose count is taken off.
const KINDS: [(&str, Option<&str>); 6] = [
    ("create", None),
    ("own", None),
    ("approve", Some("create")),
    ("issue", Some("approve")),
    ("get", Some("create")),
    ("watch", Some("create")),
];
/// Requests of two runs: what one takes is their difference, in which the start falls out.
const FEW: u64 = 100;
const MANY: u64 = 400;
/// By how much a count may differ from the file, in percent.
const BOUND_PERCENT: f64 = 3.0;
const FILE: &str = "crates/everleaf-apiserver/benches/instructions.txt";

/// `--renew` writes the file; `--ci` makes it a failure that nothing can be counted.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let (mut renews, mut is_ci) = (false, false);
    for arg in args {
        match arg.as_str() {
            "--renew" => renews = true,
            "--ci" => is_ci = true,
            other => bail!("cargo xtask instructions takes --renew and --ci, not {other}"),
        }
    }
    let valgrind = match valgrind() {
        Ok(valgrind) => valgrind,
        Err(why) if is_ci => return Err(why.context("instructions cannot be counted")),
        Err(why) => {
            say(&format!("skipped: instructions cannot be counted: {why:#}"));
            return Ok(());
        }
    };
    let program = build()?;
    let mut all = BTreeMap::new();
    for (kind, _) in KINDS {
        all.insert(kind, per_request(&valgrind, &program, kind)?);
    }
    let counted = KINDS.map(|(kind, before)| (kind, beyond(all[kind], before.map(|b| all[b]))));
    let file = workspace_root().join(FILE);
    if renews {
        fs::write(&file, text(&counted)).with_context(|| format!("write {FILE}"))?;
    }
    let known = fs::read_to_string(&file).with_context(|| format!("read {FILE}"))?;
    let (table, is_within) = compare(&counted, &known)?;
    say(&table);
    ensure!(
        is_within,
        "instructions per request differ from {FILE} by more than {BOUND_PERCENT} %. If that is meant, or the \
         compiler is another one ({}): cargo xtask instructions --renew",
        made_with(&known)
    );
    Ok(())
}

/// Instructions of one request.
fn per_request(valgrind: &Valgrind, program: &Path, kind: &str) -> Result<Count> {
    let few = valgrind.count(program, kind, FEW)?;
    let many = valgrind.count(program, kind, MANY)?;
    let each = |few: u64, many: u64| many.saturating_sub(few) / (MANY - FEW);
    Ok(Count {
        crypto: each(few.crypto, many.crypto),
        rest: each(few.rest, many.rest),
    })
}

/// What is left of a count without that of what was done before.
fn beyond(count: Count, before: Option<Count>) -> Count {
    let before = before.unwrap_or(Count { crypto: 0, rest: 0 });
    Count {
        crypto: count.crypto.saturating_sub(before.crypto),
        rest: count.rest.saturating_sub(before.rest),
    }
}

/// The table for people, and whether all is within the bound.
fn compare(counted: &[(&str, Count)], file: &str) -> Result<(String, bool)> {
    let mut table =
        "| request | instructions | in the file | difference | cryptography, not compared |\n\
                     |---|---|---|---|---|\n"
            .to_owned();
    let mut is_within = true;
    for (kind, count) in counted {
        let known = known(file, kind)?;
        let difference = percent(count.rest, known);
        let is_far = difference.abs() > BOUND_PERCENT;
        is_within &= !is_far;
        let mark = if is_far { ", beyond the bound" } else { "" };
        writeln!(
            table,
            "| {kind} | {} | {known} | {difference:+.1} %{mark} | {} |",
            count.rest, count.crypto
        )?;
    }
    Ok((table, is_within))
}

/// The count of a kind in the file.
fn known(file: &str, kind: &str) -> Result<u64> {
    let line = file
        .lines()
        .find_map(|line| line.strip_prefix(kind)?.strip_prefix(':'))
        .with_context(|| format!("{FILE} has no {kind}: cargo xtask instructions --renew"))?;
    let count = line.trim().parse();
    count.with_context(|| format!("{FILE}: {kind} has no count, but {line}"))
}

fn made_with(file: &str) -> String {
    let made = file
        .lines()
        .find_map(|line| line.strip_prefix("# Made with "));
    format!(
        "the file was made with {}, this is {}",
        made.unwrap_or("an unknown one"),
        compiler()
    )
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn percent(now: u64, then: u64) -> f64 {
    (now as f64 - then as f64) * 100.0 / then.max(1) as f64
}

fn text(counted: &[(&str, Count)]) -> String {
    let mut text = format!(
        "# Instructions per request on x86-64, without the cryptographic library.\n\
         # Written by: cargo xtask instructions --renew\n\
         # Made with {}\n",
        compiler()
    );
    for (kind, count) in counted {
        let _ = writeln!(text, "{kind}: {}", count.rest);
    }
    text
}

fn compiler() -> String {
    let version = cache::read(&workspace_root(), "rustc", &["--version"], &[]);
    version.map_or_else(
        |_| "an unknown rustc".to_owned(),
        |text| text.trim().to_owned(),
    )
}

/// Builds the program with its functions' names, which the profile strips; all below it is built as
/// for any benchmark.
fn build() -> Result<PathBuf> {
    say("building the benchmark of everleaf-apiserver");
    let mut cargo = Command::new(env!("CARGO"))
        .current_dir(workspace_root())
        .args(["rustc", "--locked", "--quiet", "--profile", "bench"])
        .args(["--package", "everleaf-apiserver", "--bench", "requests"])
        .args(["--message-format", "json-render-diagnostics"])
        .args(["--", "-C", "strip=none"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo did not start")?;
    let stdout = cargo.stdout.take().context("cargo has no output")?;
    let mut program = None;
    for message in Message::parse_stream(std::io::BufReader::new(stdout)) {
        if let Message::CompilerArtifact(artifact) = message? {
            program = artifact.executable.or(program);
        }
    }
    ensure!(cargo.wait()?.success(), "the benchmark cannot be built");
    let program = program.context("cargo built no benchmark")?;
    Ok(program.into_std_path_buf())
}

/// How to start it.
struct Valgrind {
    program: PathBuf,
    /// Where its tools are, if it is not installed.
    tools: Option<PathBuf>,
    cache: PathBuf,
}

/// That of the system, or Debian's in the cache.
fn valgrind() -> Result<Valgrind> {
    ensure!(
        std::env::consts::ARCH == "x86_64",
        "the counts in {FILE} are those of x86-64, and this is {}",
        std::env::consts::ARCH
    );
    let cache = cache::directory("tools")?;
    let installed = Command::new("valgrind").arg("--version").output();
    if installed.is_ok_and(|output| output.status.success()) {
        return Ok(Valgrind {
            program: "valgrind".into(),
            tools: None,
            cache,
        });
    }
    let home = debian::valgrind(&cache)?;
    Ok(Valgrind {
        program: home.join("usr/bin/valgrind.bin"),
        tools: Some(home.join("usr/libexec/valgrind")),
        cache,
    })
}

impl Valgrind {
    /// Instructions of a whole run with so many requests of a kind.
    fn count(&self, program: &Path, kind: &str, count: u64) -> Result<Count> {
        let scratch = cache::scratch(&self.cache, "callgrind")?;
        let profile = scratch.join("profile");
        let mut valgrind = Command::new(&self.program);
        if let Some(tools) = &self.tools {
            valgrind.env("VALGRIND_LIB", tools);
        }
        let output = valgrind
            .args(["--tool=callgrind", "--compress-strings=no"])
            .arg(format!("--callgrind-out-file={}", profile.display()))
            .arg(program)
            .args([kind, &count.to_string()])
            .output()
            .context("valgrind did not start")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{kind} under valgrind failed: {}", said.trim());
        }
        let text = fs::read_to_string(&profile).context("callgrind wrote no profile")?;
        callgrind::count(&text, &program.to_string_lossy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rest: u64) -> [(&'static str, Count); 1] {
        [("get", Count { crypto: 9, rest })]
    }

    #[test]
    fn dearer_and_cheaper_than_the_bound_are_both_seen() {
        let file = text(&counts(1000));
        for (now, is_within) in [
            (1000, true),
            (1030, true),
            (970, true),
            (1031, false),
            (969, false),
        ] {
            assert_eq!(compare(&counts(now), &file).unwrap().1, is_within, "{now}");
        }
    }

    #[test]
    fn a_kind_that_the_file_does_not_have_is_an_error() {
        for file in ["", "# get: 7\n", "gets: 7\n", "get: many\n"] {
            assert!(compare(&counts(1000), file).is_err(), "{file}");
        }
    }
}
