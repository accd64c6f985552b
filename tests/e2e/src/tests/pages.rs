//! Every command of README.md and docs/: typed by a shell as a reader would, block after block, or
//! marked with the reason why not ([`everleaf_stage::page`] says how).
//!
//! A page has a host of its own: namespaces of network, mounts, names and processes, in which
//! ports, `/var/lib`, `/var/log` and host names are the page's, and nothing of the machine's is
//! reached. Blocks run in one shell, in one directory, and share its variables. What does not run
//! is looked at all the same: the shell must be able to read it, and the help of `everleaf` must
//! know its subcommands and flags.

use anyhow::{Context as _, Result, bail};
use everleaf_stage::page::{self, Block, Mark, Page};
use everleaf_stage::runner::{Test, Verdict, say};
use everleaf_stage::{Sandbox, arg, ensure_that, run};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

macro_rules! pages {
    ($($test:ident: $page:literal,)*) => {
        /// Pages with commands that run.
        const PAGES: &[&str] = &[$($page),*];

        pub(super) const TESTS: &[Test] = &[
            Test {
                name: "every_command_of_a_page_runs_or_says_why_not",
                long: false,
                run: survey,
            },
            $(Test {
                name: stringify!($test),
                long: true,
                run: |sandbox| play(sandbox, $page),
            },)*
        ];
    };
}

pages! {
    page_readme: "README.md",
    page_quickstart: "docs/quickstart.md",
    page_add_nodes: "docs/add-nodes.md",
    page_approve: "docs/approve.md",
    page_operate: "docs/operate.md",
    page_backup: "docs/backup.md",
    page_monitor: "docs/monitor.md",
    page_ca: "docs/ca.md",
    page_own_ca: "docs/own-ca.md",
    page_revoke: "docs/revoke.md",
    page_reliability: "docs/reliability.md",
    page_audit: "docs/audit.md",
    page_authentication: "docs/authentication.md",
    page_authorization: "docs/authorization.md",
    page_bench: "docs/bench.md",
    page_dashboard: "docs/dashboard.md",
    page_doctor: "docs/doctor.md",
    page_encryption: "docs/encryption.md",
    page_forecast: "docs/forecast.md",
    page_issuance_log: "docs/issuance-log.md",
    page_late_reissue: "docs/late-reissue.md",
    page_pod_certificates: "docs/pod-certificates.md",
    page_profiles: "docs/profiles.md",
    page_versions: "docs/versions.md",
}

/// A page that a program prints, and cannot have marks; why its commands do not run.
const PRINTED: (&str, &str) = (
    "docs/troubleshoot.md",
    "one block per fault, with capital letters for names",
);

/// Before the first block: the host.
const HOST: &str = r#"
hostname host1
ip link set lo up
ip address add 192.0.2.1/32 dev lo
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /var/log
mount --bind "$PLAY/hosts" /etc/hosts
set -eE -o pipefail
"#;
const HOSTS: &str = "127.0.0.1 localhost\n127.0.1.1 host1\n192.0.2.1 ca.example.com\n";
/// Longest that a page may take.
const PAGE_MAX: Duration = Duration::from_secs(180);
/// Lines of a failed command's output that are shown.
const EVIDENCE_LINES: usize = 30;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(page: &str) -> Result<Page> {
    let text = fs::read_to_string(root().join(page)).with_context(|| format!("read {page}"))?;
    page::read(&text).with_context(|| page.to_owned())
}

/// README.md and all of docs/.
fn documents() -> Result<Vec<String>> {
    let mut pages = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root().join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            pages.push(format!("docs/{name}"));
        }
    }
    pages.sort();
    Ok(pages)
}

/// All pages without running them: what has no mark, what does not run and why, and whether it
/// could.
fn survey(sandbox: &Sandbox) -> Result<Verdict> {
    let mut told = String::from("commands of documents that do not run:\n");
    let mut findings = String::new();
    let mut help = Help {
        sandbox,
        known: BTreeMap::new(),
    };
    let (mut run, mut left_out) = (0, 0);
    for page in documents()? {
        let mut runs_here = 0;
        for block in read(&page)?.blocks {
            let at = format!("{page}:{}", block.line);
            let printed = (page == PRINTED.0).then(|| Mark::NotTested(PRINTED.1.to_owned()));
            match block.mark.as_ref().or(printed.as_ref()) {
                None => writeln!(
                    findings,
                    "{at}: nobody says whether this block runs: <!-- tested --> or <!-- not tested: REASON -->"
                )?,
                Some(Mark::NotTested(reason)) => {
                    left_out += 1;
                    if page != PRINTED.0 {
                        writeln!(told, "    {at}: {reason}")?;
                    }
                }
                Some(_) => runs_here += usize::from(!block.hidden),
            }
            if block.hidden {
                continue;
            }
            if let Err(error) = could_run(&mut help, &block) {
                writeln!(findings, "{at}: {error:#}")?;
            }
        }
        if (runs_here > 0) != PAGES.contains(&page.as_str()) {
            writeln!(
                findings,
                "{page}: {runs_here} blocks run: correct the list in pages.rs"
            )?;
        }
        run += runs_here;
    }
    writeln!(told, "    {}: {}", PRINTED.0, PRINTED.1)?;
    write!(told, "{run} blocks run, {left_out} do not")?;
    say(&told);
    ensure_that!(findings.is_empty(), "{}", findings.trim_end());
    Ok(Verdict::Passed)
}

/// What `everleaf` says about its subcommands.
struct Help<'a> {
    sandbox: &'a Sandbox,
    known: BTreeMap<String, Option<String>>,
}

impl Help<'_> {
    /// None: there is no such subcommand.
    fn of(&mut self, path: &[&str]) -> Result<Option<&str>> {
        let key = path.join(" ");
        if !self.known.contains_key(&key) {
            let mut args = path.to_vec();
            args.push("--help");
            let answer = run(&mut self.sandbox.everleaf(&args))?;
            let usage = format!("Usage: everleaf {key}");
            let is_one = answer.code == Some(0) && answer.stdout.contains(usage.trim_end());
            self.known
                .insert(key.clone(), is_one.then_some(answer.stdout));
        }
        Ok(self.known.get(&key).and_then(Option::as_deref))
    }
}

/// Whether a shell can read it, and `everleaf` knows what it is asked for.
fn could_run(help: &mut Help<'_>, block: &Block) -> Result<()> {
    let commands = block.commands();
    let mut shell = help.sandbox.command(Path::new("/bin/bash"));
    let answer = run(shell.args(["-n", "-c", &commands]))?;
    ensure_that!(answer.code == Some(0), "{}", answer.stderr.trim());
    for line in commands.replace("\\\n", " ").lines() {
        let line = line.split(" #").next().unwrap_or_default();
        for call in line.split(['|', ';', '&', '(', ')', '`']) {
            let words: Vec<&str> = call.split_whitespace().collect();
            if let Some((&"everleaf", words)) = words.split_first() {
                known(help, words).with_context(|| format!("everleaf {}", words.join(" ")))?;
            }
        }
    }
    Ok(())
}

fn known(help: &mut Help<'_>, words: &[&str]) -> Result<()> {
    let is_name = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let mut path: Vec<&str> = Vec::new();
    for word in words.iter().take_while(is_name) {
        path.push(word);
        if word.starts_with('-') || help.of(&path)?.is_none() {
            path.pop();
            break;
        }
    }
    if let Some(first) = words.first().filter(|first| !first.starts_with('-')) {
        ensure_that!(!path.is_empty(), "there is no subcommand {first}");
    }
    let text = help.of(&path)?.context("no help")?;
    for flag in words.iter().filter(|word| word.starts_with("--")) {
        let name = flag.split('=').next().unwrap_or_default();
        let is_there = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .any(|word| word == name);
        ensure_that!(is_there || name == "--", "its help does not know {name}");
    }
    Ok(())
}

/// Runs what a page's marks say.
fn play(sandbox: &Sandbox, page: &str) -> Result<Verdict> {
    let Page { blocks, files } = read(page)?;
    let play = sandbox.path("play");
    let bin = sandbox.path("bin");
    for directory in [&play, &bin, &sandbox.path("work")] {
        fs::create_dir(directory)?;
    }
    symlink(&sandbox.tools.everleaf, bin.join("everleaf"))?;
    symlink(&sandbox.tools.kubectl, bin.join("kubectl"))?;
    symlink(&sandbox.tools.openssl, bin.join("openssl"))?;
    sandbox.write("play/hosts", HOSTS)?;
    for (name, text) in &files {
        sandbox.write(&format!("work/{name}"), text)?;
    }
    let (script, steps) = script(sandbox, &blocks)?;
    let mut shell = sandbox.command(Path::new("unshare"));
    if !rustix::process::geteuid().is_root() {
        shell.args(["--user", "--map-root-user"]);
    }
    shell
        .args(["--fork", "--pid", "--kill-child", "--mount-proc"])
        .args(["--net", "--mount", "--uts", "bash"])
        .arg(&script)
        .current_dir(sandbox.path("work"))
        .env("PLAY", &play)
        .env("DOCUMENTS", root().canonicalize()?)
        .env("PATH", format!("{}:{}", arg(&bin), std::env::var("PATH")?));
    let mut shell = sandbox.start("page", &mut shell)?;
    let ended = shell.exit_code(PAGE_MAX).with_context(|| page.to_owned());
    for (number, step) in steps.iter().enumerate() {
        let read = |kind: &str| fs::read_to_string(play.join(format!("{number}.{kind}")));
        let seen = read("out").unwrap_or_default();
        if read("done").is_err() {
            let told = format!(
                "{seen}{}{}",
                read("err").unwrap_or_default(),
                shell.stderr()
            );
            let lines: Vec<&str> = told.lines().collect();
            let last = lines[lines.len().saturating_sub(EVIDENCE_LINES)..].join("\n");
            bail!("{page}:{}: {}\n{last}", step.line, step.failed);
        }
        if let Some(shown) = &step.shown {
            ensure_that!(
                page::shows(shown, &seen),
                "{page}:{}: the page shows\n{shown}but this is seen:\n{seen}",
                step.line
            );
        }
    }
    ensure_that!(ended? == 0, "{page}: {}", shell.stderr());
    Ok(Verdict::Passed)
}

/// One thing that is typed.
struct Step {
    line: usize,
    /// What the page shows of its output
    shown: Option<String>,
    /// What to say when it does not end as it should
    failed: String,
}

/// The page as a script, whose steps leave `N.out`, `N.err` and, when they end well, `N.done`.
fn script(sandbox: &Sandbox, blocks: &[Block]) -> Result<(PathBuf, Vec<Step>)> {
    let mut script = HOST.to_owned();
    let mut steps = Vec::new();
    for block in blocks {
        for (commands, shown) in &block.typed {
            let number = steps.len();
            let typed = format!(". \"$PLAY/{number}.sh\"");
            let to = format!("</dev/null >\"$PLAY/{number}.out\" 2>\"$PLAY/{number}.err\"");
            let mut failed = format!("these do not end well:\n{commands}\n");
            match &block.mark {
                None | Some(Mark::NotTested(_)) => continue,
                Some(Mark::Tested { code: 0, .. }) => writeln!(script, "{typed} {to}")?,
                Some(Mark::Tested { code, .. }) => {
                    failed = format!("not exit code {code}:\n{commands}\n");
                    writeln!(
                        script,
                        "code=0; ( {typed} ) {to} || code=$?; [ $code = {code} ]"
                    )?;
                }
                Some(Mark::Background(until)) => {
                    failed = format!("within 20 s there is no {until}:\n{commands}\n");
                    sandbox.write(&format!("play/{number}.until"), until)?;
                    writeln!(script, "( {typed} ) {to} &\nfor try in $(seq 200); do")?;
                    writeln!(
                        script,
                        "  if ( . \"$PLAY/{number}.until\" ) >/dev/null 2>&1; then break; fi"
                    )?;
                    writeln!(script, "  [ $try != 200 ]; sleep 0.1\ndone")?;
                }
            }
            writeln!(script, ": >\"$PLAY/{number}.done\"")?;
            sandbox.write(&format!("play/{number}.sh"), &format!("{commands}\n"))?;
            steps.push(Step {
                line: block.line,
                shown: shown.clone(),
                failed,
            });
        }
    }
    Ok((sandbox.write("play/page.sh", &script)?, steps))
}
