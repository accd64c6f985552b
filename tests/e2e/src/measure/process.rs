//! A process under measurement, and what the kernel says of it.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a file.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running `everleaf`; killed when dropped.
pub(crate) struct Server {
    child: Child,
    started: Instant,
}

impl Server {
    /// `everleaf up` on `dir`, ready when `admin.conf` is there and the port answers: the callers
    /// wait for what they need.
    pub(crate) fn start(everleaf: &Path, dir: &Path, args: &[&str]) -> Result<Self> {
        Self::start_at(everleaf, dir, 0, args)
    }

    /// The same on a port of one's choice.
    pub(crate) fn start_at(everleaf: &Path, dir: &Path, port: u16, args: &[&str]) -> Result<Self> {
        let server = spawn(
            Command::new(everleaf)
                .args(["up", "--listen", &format!("127.0.0.1:{port}")])
                .args(["--node-name", "host1", "--data-dir"])
                .arg(dir)
                .args(args),
        )?;
        server.wait_for(&dir.join("bootstrap-kubelet.conf"))?;
        Ok(server)
    }

    /// `everleaf apiserver` on a directory that `up` has made.
    pub(crate) fn api(everleaf: &Path, dir: &Path, tokens: &Path, port: u16) -> Result<Self> {
        spawn(
            Command::new(everleaf)
                .args(["apiserver", "--bind-address", "127.0.0.1"])
                .args(["--secure-port", &port.to_string()])
                .arg("--data-dir")
                .arg(dir)
                .arg("--token-auth-file")
                .arg(tokens),
        )
    }

    /// `everleaf controllers` for the server on a directory that `up` has made.
    pub(crate) fn controllers(everleaf: &Path, dir: &Path) -> Result<Self> {
        spawn(
            Command::new(everleaf)
                .args(["controllers", "--leader-elect-resource-name=measured"])
                .arg("--kubeconfig")
                .arg(dir.join("admin.conf"))
                .arg("--cluster-signing-cert-file")
                .arg(dir.join("pki/ca.crt"))
                .arg("--cluster-signing-key-file")
                .arg(dir.join("pki/ca.key")),
        )
    }

    /// An agent of both certificates, with its files in `dir/NAME`.
    pub(crate) fn agent(
        program: &mut Command,
        dir: &Path,
        bootstrap: &Path,
        name: &str,
    ) -> Result<Self> {
        spawn(
            program
                .args(["--rotate-certificates", "--rotate-server-certificates"])
                .args(["--hostname-override", name, "--node-ip"])
                .arg(everleaf_stage::host_address()?.to_string())
                .arg("--bootstrap-kubeconfig")
                .arg(bootstrap)
                .arg("--kubeconfig")
                .arg(dir.join(name).join("kubelet.conf"))
                .arg("--cert-dir")
                .arg(dir.join(name).join("pki")),
        )
    }

    /// Time from the start until the file is there.
    pub(crate) fn wait_for(&self, file: &Path) -> Result<Duration> {
        while !file.exists() {
            if self.started.elapsed() > PATIENCE {
                bail!("no {} after {PATIENCE:?}", file.display());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(self.started.elapsed())
    }

    /// Stops it as a service manager does, and waits until it has ended.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id())?;
        let pid = rustix::process::Pid::from_raw(pid).context("a process has a number")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }

    /// Time since it was started.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.child.id().to_string())
            .join(name)
    }

    /// A field of `/proc/PID/status`, in bytes.
    pub(crate) fn memory(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(self.proc("status"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .with_context(|| format!("/proc shows no {field}"))?;
        let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kibibytes * 1024)
    }

    /// Open file descriptors.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        Ok(std::fs::read_dir(self.proc("fd"))?.count())
    }

    /// Processor time used so far, user and system.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        ticks(&self.proc("stat"), 11)
    }
}

/// Processor time of all children that have ended.
pub(crate) fn children_cpu() -> Result<Duration> {
    ticks(Path::new("/proc/self/stat"), 13)
}

/// Two fields of `/proc/PID/stat` together, user and system time. They are counted from after the
/// command, which may contain anything (proc(5)).
fn ticks(stat: &Path, first: usize) -> Result<Duration> {
    let stat = std::fs::read_to_string(stat)?;
    let after = stat
        .rsplit_once(')')
        .context("/proc/PID/stat is malformed")?
        .1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let two = fields
        .get(first..first + 2)
        .context("/proc/PID/stat is short")?;
    let ticks = two[0].parse::<u64>()? + two[1].parse::<u64>()?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_millis(ticks * 1000 / per_second.max(1)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a measuring program reads the clock"
)]
fn spawn(command: &mut Command) -> Result<Server> {
    let started = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("everleaf did not start")?;
    Ok(Server { child, started })
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
