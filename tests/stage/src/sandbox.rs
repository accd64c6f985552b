//! A test's own directory, and the tools.

use super::process::{Answer, Process, run, run_fed};
use crate::runner::now;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Lines of each log that a failed test shows.
const EVIDENCE_LINES: usize = 25;

/// The programs under test and those of a user; `cargo xtask e2e` installs them and sets the
/// variables.
pub struct Tools {
    /// `EVERLEAF`
    pub everleaf: PathBuf,
    /// `EVERLEAF_AGENT`: the agent as a program of its own
    pub everleaf_agent: Option<PathBuf>,
    /// `KUBECTL`, 1.37
    pub kubectl: PathBuf,
    /// `KUBECTL_OLD`, 1.20
    pub kubectl_old: PathBuf,
    /// `OPENSSL`
    pub openssl: PathBuf,
    /// `LIBFAKETIME`: the shared object
    pub libfaketime: PathBuf,
    /// `TLS_STACKS`: Debian packages, unpacked: SoftHSM, GnuTLS' and NSS' programs
    pub tls_stacks: Option<PathBuf>,
    /// `DAEMONS`: Debian packages, unpacked: nginx, etcd, Prometheus
    pub daemons: Option<PathBuf>,
    /// `LEAFCHECK`: Go's and zlint's opinion on certificates
    pub leafcheck: Option<PathBuf>,
}

impl Tools {
    /// Reads the variables; an error names the missing one.
    pub fn from_environment() -> Result<Self> {
        let tool = |name: &str| {
            let path = PathBuf::from(
                std::env::var_os(name).with_context(|| format!("{name} is not set"))?,
            );
            if !path.is_file() {
                bail!("{name}: no file {}", path.display());
            }
            Ok(path)
        };
        Ok(Self {
            everleaf: tool("EVERLEAF")?,
            everleaf_agent: std::env::var_os("EVERLEAF_AGENT").map(PathBuf::from),
            kubectl: tool("KUBECTL")?,
            kubectl_old: tool("KUBECTL_OLD")?,
            openssl: tool("OPENSSL")?,
            libfaketime: tool("LIBFAKETIME")?,
            tls_stacks: std::env::var_os("TLS_STACKS").map(PathBuf::from),
            daemons: std::env::var_os("DAEMONS").map(PathBuf::from),
            leafcheck: std::env::var_os("LEAFCHECK").map(PathBuf::from),
        })
    }
}

/// One claim of a longer test.
#[derive(Debug, Clone)]
pub struct Point {
    /// The claim, as a sentence.
    pub name: String,
    /// Whether it holds.
    pub state: State,
    /// How long it took to see.
    pub took: Duration,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Seen to hold.
    Holds,
    /// Not so, and why.
    Fails(String),
    /// Cannot hold before something else is built: what.
    NotYet(String),
}

/// What a claim of [`Sandbox::expected_later`] waits for.
#[derive(Debug, Clone, Copy)]
pub struct Later<'t> {
    /// What has to be built first, for the table: "no OpenAPI document is served yet".
    pub needs: &'t str,
    /// Words of the failure that this lack gives. Any other failure is one.
    pub fails_with: &'t str,
}

/// A directory for one test.
pub struct Sandbox {
    directory: tempfile::TempDir,
    /// The programs.
    pub tools: Arc<Tools>,
    logs: AtomicUsize,
    points: Mutex<Vec<Point>>,
}

impl Sandbox {
    /// Makes the directory.
    pub fn new(name: &str, tools: Arc<Tools>) -> Result<Self> {
        let short: String = name.chars().take(24).collect();
        let directory = tempfile::Builder::new()
            .prefix(&format!("everleaf-{short}-"))
            .tempdir()?;
        fs::create_dir(directory.path().join("home"))?;
        fs::create_dir(directory.path().join("logs"))?;
        Ok(Self {
            directory,
            tools,
            logs: AtomicUsize::new(0),
            points: Mutex::default(),
        })
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// A program with this sandbox as its home and nothing of the caller's environment that could
    /// leak in.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("TZ", "UTC")
            .env("LC_ALL", "C")
            .current_dir(self.directory.path());
        command
    }

    /// The binary under test with these arguments.
    pub fn everleaf(&self, args: &[&str]) -> Command {
        let mut command = self.command(&self.tools.everleaf);
        command.args(args);
        command
    }

    /// A program of the unpacked packages of [`Tools::tls_stacks`], with its libraries.
    pub fn unpacked(&self, stacks: &Path, program: &str) -> Command {
        let mut command = self.command(&stacks.join("usr/bin").join(program));
        command.env("LD_LIBRARY_PATH", stacks.join("usr/lib/x86_64-linux-gnu"));
        command
    }

    /// openssl with these arguments, run to its end.
    pub fn openssl(&self, args: &[&str]) -> Result<Answer> {
        run(self.command(&self.tools.openssl).args(args))
    }

    /// openssl with these arguments and a file as its standard input, run to its end.
    pub fn openssl_fed(&self, args: &[&str], input: &Path) -> Result<Answer> {
        let input = fs::File::open(input).with_context(|| format!("open {}", input.display()))?;
        run_fed(self.command(&self.tools.openssl).args(args), input.into())
    }

    /// Starts a process in the background.
    pub fn start(&self, name: &str, command: &mut Command) -> Result<Process> {
        let number = self.logs.fetch_add(1, Ordering::Relaxed);
        Process::start(command, self.path(&format!("logs/{number:02}-{name}")))
    }

    /// Tries one claim of a longer test; it gets a line of its own in the table.
    ///
    /// # Errors
    /// When it does not hold; the test may go on to its next claim.
    pub fn point<T>(&self, name: &str, claim: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = now();
        let outcome = claim();
        let state = match &outcome {
            Ok(_) => State::Holds,
            Err(error) => State::Fails(format!("{error:#}")),
        };
        self.add(name, state, started.elapsed());
        outcome.with_context(|| name.to_owned())
    }

    /// A claim that cannot hold before something else is built: shown as "not yet", never as green.
    pub fn not_yet(&self, name: &str, reason: &str) {
        self.add(name, State::NotYet(reason.to_owned()), Duration::ZERO);
    }

    /// Tries a claim that should hold once something else is built. It is green when it holds
    /// (docs/compatibility.md then disagrees with the run, and whoever reads that makes a
    /// [`Sandbox::point`] of it), "not yet" when it fails in the way that is expected of the lack,
    /// and failed when it fails otherwise.
    pub fn expected_later<T>(
        &self,
        name: &str,
        later: Later<'_>,
        claim: impl FnOnce() -> Result<T>,
    ) -> Option<T> {
        let started = now();
        let outcome = claim();
        let state = match &outcome {
            Ok(_) => State::Holds,
            Err(error) => {
                let why = format!("{error:#}");
                if why.contains(later.fails_with) {
                    State::NotYet(later.needs.to_owned())
                } else {
                    let wanted = later.fails_with;
                    State::Fails(format!("it fails, but not with {wanted:?}: {why}"))
                }
            }
        };
        self.add(name, state, started.elapsed());
        outcome.ok()
    }

    fn add(&self, name: &str, state: State, took: Duration) {
        let point = Point {
            name: name.to_owned(),
            state,
            took,
        };
        self.points
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(point);
    }

    /// The claims so far.
    pub(crate) fn points(&self) -> Vec<Point> {
        self.points
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Leaves the directory on disk; where it is.
    pub fn keep(mut self) -> PathBuf {
        self.directory.disable_cleanup(true);
        self.directory.path().to_path_buf()
    }

    /// The ends of all logs, for a failed test.
    pub fn evidence(&self) -> String {
        let mut files: Vec<PathBuf> = fs::read_dir(self.path("logs"))
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        files.sort();
        let mut text = String::new();
        for file in files {
            let log = fs::read_to_string(&file).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            if lines.is_empty() {
                continue;
            }
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            text.push_str(&format!("--- {name}\n"));
            for line in &lines[lines.len().saturating_sub(EVIDENCE_LINES)..] {
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }
}

/// Asks again and again until it holds; the last reason why not, if it never does.
pub fn eventually<T>(
    what: &str,
    seconds_max: u64,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let started = now();
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if started.elapsed() > Duration::from_secs(seconds_max) => {
                return Err(error.context(format!("{what}: not within {seconds_max} s")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(30)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_claim_is_green_when_it_holds_and_red_when_it_fails_otherwise() -> Result<()> {
        let nothing = PathBuf::new();
        let tools = Tools {
            everleaf: nothing.clone(),
            everleaf_agent: None,
            kubectl: nothing.clone(),
            kubectl_old: nothing.clone(),
            openssl: nothing.clone(),
            libfaketime: nothing,
            tls_stacks: None,
            daemons: None,
            leafcheck: None,
        };
        let sandbox = Sandbox::new("later", Arc::new(tools))?;
        let later = Later {
            needs: "no moon yet",
            fails_with: "too dark",
        };
        sandbox.expected_later("a", later, || Ok(()));
        sandbox.expected_later("b", later, || -> Result<()> {
            bail!("it is too dark here")
        });
        sandbox.expected_later("c", later, || -> Result<()> { bail!("it rains") });
        let states: Vec<State> = sandbox.points().into_iter().map(|p| p.state).collect();
        let wet = "it fails, but not with \"too dark\": it rains".to_owned();
        let wanted = [
            State::Holds,
            State::NotYet("no moon yet".to_owned()),
            State::Fails(wet),
        ];
        assert_eq!(states, wanted);
        Ok(())
    }
}
