//! `everleaf up` and `everleaf agent` as processes.

use super::certificate::Certificate;
use super::kubectl::Kubectl;
use super::process::Process;
use super::sandbox::{Sandbox, eventually};
use anyhow::{Context, Result, bail};
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;

/// Name of the node that `up` runs in the tests.
pub const HOST: &str = "host1";

/// A running `everleaf up`.
pub struct Up<'a> {
    sandbox: &'a Sandbox,
    args: Vec<String>,
    /// The process.
    pub process: Process,
}

impl<'a> Up<'a> {
    /// Starts it on an empty directory and a free port; returns when it is ready.
    pub fn start(sandbox: &'a Sandbox, args: &[&str]) -> Result<Self> {
        let mut up = Self::launch(sandbox, args)?;
        up.wait_until_ready()?;
        Ok(up)
    }

    /// Starts it and returns at once.
    pub fn launch(sandbox: &'a Sandbox, args: &[&str]) -> Result<Self> {
        let mut all: Vec<String> = ["up", "--data-dir", "data", "--node-name", HOST, "--listen"]
            .map(str::to_owned)
            .to_vec();
        all.push(format!("127.0.0.1:{}", free_port()?));
        all.extend(args.iter().map(ToString::to_string));
        Ok(Self {
            sandbox,
            process: spawn(sandbox, &all)?,
            args: all,
        })
    }

    /// What it is started with.
    pub fn args_mut(&mut self) -> &mut Vec<String> {
        &mut self.args
    }

    /// Starts it again with the same arguments.
    pub fn restart(&mut self) -> Result<()> {
        self.process = spawn(self.sandbox, &self.args)?;
        self.wait_until_ready()
    }

    /// Starts it again with further arguments.
    pub fn restart_with(&mut self, args: &[&str]) -> Result<()> {
        self.args.extend(args.iter().map(ToString::to_string));
        self.restart()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        eventually("everleaf up is ready", 20, || {
            if !self.process.is_running() {
                bail!("everleaf up ended: {}", self.process.stderr());
            }
            let answer = self
                .admin()
                .run(&["get", "--raw", "/readyz", "--request-timeout=2s"])?;
            if answer.stdout.trim() != "ok" {
                bail!("/readyz: {answer:?}");
            }
            Ok(())
        })
    }

    /// kubectl as admin.
    pub fn admin(&self) -> Kubectl<'a> {
        Kubectl::new(self.sandbox, self.path("admin.conf"))
    }

    /// kubectl with the bootstrap token.
    pub fn bootstrapper(&self) -> Kubectl<'a> {
        Kubectl::new(self.sandbox, self.path("bootstrap-kubelet.conf"))
    }

    /// A file of the data directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path("data").join(name)
    }

    /// The certificate of this host's node, once there is one.
    pub fn node_certificate(&self) -> Result<Certificate> {
        let path = self.path("node/pki/kubelet-client-current.pem");
        eventually("the host's certificate", 10, || {
            Certificate::read(self.sandbox, &path)
        })
    }
}

fn spawn(sandbox: &Sandbox, args: &[String]) -> Result<Process> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    sandbox.start("up", &mut sandbox.everleaf(&args))
}

/// A port that nobody listens on now.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port())
}

/// The address by which this machine would speak to others. Nothing is sent.
pub fn host_address() -> Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect("198.51.100.1:9")?;
    Ok(socket.local_addr()?.ip())
}

/// A node beside the host: `everleaf agent` and its files.
pub struct Agent<'a> {
    sandbox: &'a Sandbox,
    /// Node name; its files are in the directory of that name.
    pub name: String,
    bootstrap: Option<PathBuf>,
    /// Further arguments.
    pub args: Vec<String>,
    /// The process, when it runs.
    pub process: Option<Process>,
}

impl<'a> Agent<'a> {
    /// A node that will bootstrap with the token of `up`.
    pub fn new(sandbox: &'a Sandbox, up: &Up<'_>, name: &str) -> Self {
        Self::bootstrapped_by(sandbox, up.path("bootstrap-kubelet.conf"), name)
    }

    /// A node that will bootstrap with this kubeconfig.
    pub fn bootstrapped_by(sandbox: &'a Sandbox, bootstrap: PathBuf, name: &str) -> Self {
        Self {
            sandbox,
            name: name.to_owned(),
            bootstrap: Some(bootstrap),
            args: vec!["--rotate-certificates".to_owned()],
            process: None,
        }
    }

    /// The same node without its bootstrap kubeconfig.
    pub fn forget_bootstrap(&mut self) {
        self.bootstrap = None;
    }

    /// The command line.
    pub fn command(&self) -> Command {
        let mut command = self
            .sandbox
            .everleaf(&["agent", "--hostname-override", &self.name]);
        command.arg("--kubeconfig").arg(self.kubeconfig());
        command.arg("--cert-dir").arg(self.path("pki"));
        if let Some(bootstrap) = &self.bootstrap {
            command.arg("--bootstrap-kubeconfig").arg(bootstrap);
        }
        command.args(&self.args);
        command
    }

    /// Starts it with the machine's clock.
    pub fn start(&mut self) -> Result<()> {
        self.process = Some(self.sandbox.start(&self.name, &mut self.command())?);
        Ok(())
    }

    /// Starts it with its clock at `FAKETIME`'s value; `file` instead moves it while it runs.
    pub fn start_at(&mut self, clock: &FakeClock) -> Result<()> {
        let mut command = self.command();
        clock.apply(self.sandbox, &mut command);
        self.process = Some(self.sandbox.start(&self.name, &mut command)?);
        Ok(())
    }

    /// Stops it as a service manager would; it must exit with 0.
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the agent does not run")?;
        match process.stop()? {
            0 => Ok(()),
            code => bail!("the agent exited with {code} on SIGTERM"),
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// What it logged since its last start.
    pub fn log(&self) -> String {
        self.process
            .as_ref()
            .map(Process::stderr)
            .unwrap_or_default()
    }

    /// A file of the node.
    pub fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path(&self.name).join(name)
    }

    /// Its kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("kubelet.conf")
    }

    /// kubectl as this node.
    pub fn kubectl(&self) -> Kubectl<'a> {
        Kubectl::new(self.sandbox, self.kubeconfig())
    }

    /// Its client certificate now.
    pub fn certificate_now(&self) -> Result<Certificate> {
        Certificate::read(self.sandbox, &self.path("pki/kubelet-client-current.pem"))
    }

    /// Its client certificate, once there is one.
    pub fn certificate(&self) -> Result<Certificate> {
        eventually("the node's certificate", 15, || self.certificate_now())
    }

    /// Its client certificate, once it is another one than `old`.
    pub fn renewed(&self, old: &Certificate, seconds_max: u64) -> Result<Certificate> {
        eventually("the renewed certificate", seconds_max, || {
            let present = self.certificate_now()?;
            if present.serial == old.serial {
                bail!("still serial {}", old.serial);
            }
            Ok(present)
        })
    }

    /// Dated files of the client certificate, oldest first.
    pub fn dated_files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("pki")).map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
        });
        let mut names: Vec<String> = entries
            .map(|names| {
                names
                    .filter(|name| name.starts_with("kubelet-client-2"))
                    .collect()
            })
            .unwrap_or_default();
        names.sort();
        names
    }
}

/// A process's clock under libfaketime.
pub enum FakeClock {
    /// Starts at this offset from now, in seconds.
    Offset(i64),
    /// Follows the offset that a file holds.
    File(PathBuf),
}

impl FakeClock {
    /// The text that libfaketime reads.
    pub fn text(offset_seconds: i64) -> String {
        format!("{offset_seconds:+}")
    }

    /// Puts a command under this clock.
    pub fn apply(&self, sandbox: &Sandbox, command: &mut Command) {
        command
            .env("LD_PRELOAD", &sandbox.tools.libfaketime)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
        match self {
            Self::Offset(seconds) => command.env("FAKETIME", Self::text(*seconds)),
            Self::File(path) => command
                .env("FAKETIME_TIMESTAMP_FILE", path)
                .env("FAKETIME_NO_CACHE", "1"),
        };
    }
}
