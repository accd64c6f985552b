//! Processes: run to the end with a limit, or kept until dropped.

use crate::runner::now;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Longest that a command of a test may take.
const COMMAND_SECONDS_MAX: u64 = 60;

/// What a finished command said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Exit code; none when killed.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    what: String,
}

impl Answer {
    /// Its standard output, if it exited with 0.
    pub fn ok(self) -> Result<String> {
        if self.code == Some(0) {
            return Ok(self.stdout);
        }
        bail!(
            "{} exited with {:?}: {}{}",
            self.what,
            self.code,
            self.stdout,
            self.stderr
        )
    }

    /// Its standard error, if it exited with `code`.
    pub fn failed_with(self, code: i32) -> Result<String> {
        if self.code == Some(code) {
            return Ok(self.stderr);
        }
        bail!(
            "{} exited with {:?}, not {code}: {}{}",
            self.what,
            self.code,
            self.stdout,
            self.stderr
        )
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Result<Answer> {
    run_fed(command, Stdio::null())
}

/// Runs a command to its end with this standard input.
pub fn run_fed(command: &mut Command, input: Stdio) -> Result<Answer> {
    let what = describe(command);
    let mut child = command
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{what} did not start"))?;
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let code = wait(&mut child, Duration::from_secs(COMMAND_SECONDS_MAX));
    if code.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let stdout = stdout.join().unwrap_or_default();
    let stderr = stderr.join().unwrap_or_default();
    let Some(status) = code else {
        bail!("{what} did not end within {COMMAND_SECONDS_MAX} s: {stdout}{stderr}");
    };
    Ok(Answer {
        code: status.code(),
        stdout,
        stderr,
        what,
    })
}

/// The answer to a plain HTTP GET, if it is 200.
pub fn http_get(address: &str, path: &str) -> Result<String> {
    http(address, "GET", path, "")
}

/// The answer to a plain HTTP POST of JSON, if it is 200.
pub fn http_post(address: &str, path: &str, body: &str) -> Result<String> {
    http(address, "POST", path, body)
}

fn http(address: &str, method: &str, path: &str, body: &str) -> Result<String> {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200 ") {
        bail!("{method} {path}: {answer}");
    }
    Ok(answer)
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn describe(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut text = program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let started = now();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if started.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// A process in the background: its output goes to files, and it is killed when dropped.
pub struct Process {
    child: Child,
    what: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts it; `log` is the files' name without extension.
    pub fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let what = describe(command);
        let (stdout, stderr) = (log.with_extension("out"), log.with_extension("err"));
        let open = |path: &PathBuf| fs::File::options().create(true).append(true).open(path);
        let child = command
            .stdin(Stdio::null())
            .stdout(open(&stdout)?)
            .stderr(open(&stderr)?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{what} did not start"))?;
        Ok(Self {
            child,
            what,
            stdout,
            stderr,
        })
    }

    /// What it wrote to stdout so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Still there?
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and the end waited for.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and the exit code within ten seconds.
    pub fn stop(&mut self) -> Result<i32> {
        self.signal(rustix::process::Signal::TERM)?;
        self.exit_code(Duration::from_secs(10))
    }

    /// SIGHUP.
    pub fn hang_up(&self) -> Result<()> {
        self.signal(rustix::process::Signal::HUP)
    }

    /// SIGSTOP: it stands still until [`Process::resume`].
    pub fn pause(&self) -> Result<()> {
        self.signal(rustix::process::Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.signal(rustix::process::Signal::CONT)
    }

    fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        Ok(rustix::process::kill_process(
            pid.context("no such process")?,
            signal,
        )?)
    }

    /// The exit code, if it ends within the limit.
    pub fn exit_code(&mut self, limit: Duration) -> Result<i32> {
        match wait(&mut self.child, limit) {
            Some(status) => status
                .code()
                .with_context(|| format!("{} was killed", self.what)),
            None => bail!(
                "{} did not end within {limit:?}: {}",
                self.what,
                self.stderr()
            ),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
