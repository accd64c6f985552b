//! `everleaf bench` as the load: what it is told, and what its report says.

use super::process::Server;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A load on the server of a directory that `up` has made.
pub(crate) struct Load<'a> {
    /// Which generator: the present build, whatever it measures.
    pub(crate) everleaf: &'a Path,
    /// The server's directory.
    pub(crate) dir: &'a Path,
    /// Nodes that ask for a certificate each.
    pub(crate) nodes: usize,
    /// What else it is told.
    pub(crate) args: &'a [&'a str],
}

/// What it reported.
pub(crate) struct Report(Value);

impl Load<'_> {
    /// Runs it to its end; all must have been issued.
    pub(crate) fn run(&self, server: &Server) -> Result<Report> {
        let report = self.try_run(server)?;
        let issued = report.number("/certificates/issued")?;
        #[expect(clippy::cast_precision_loss, reason = "a number of nodes")]
        let wanted = self.nodes as f64;
        if issued < wanted {
            bail!("not all were issued: {}", report.0);
        }
        Ok(report)
    }

    /// Runs it to its end, however that is.
    pub(crate) fn try_run(&self, server: &Server) -> Result<Report> {
        let answer = self
            .command()
            .args(["-o", "json", "--pid", &format!("up={}", server.pid())])
            .stderr(Stdio::inherit())
            .output()
            .context("everleaf bench did not start")?;
        let said = || String::from_utf8_lossy(&answer.stdout).into_owned();
        let report = serde_json::from_slice(&answer.stdout);
        Ok(Report(report.with_context(|| {
            format!("everleaf bench made no report: {}", said())
        })?))
    }

    /// Starts it, to be ended by whoever asked for it.
    pub(crate) fn start(&self) -> Result<Running> {
        let mut command = self.command();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("everleaf bench did not start")?;
        Ok(Running(child))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.everleaf);
        command
            .args(["bench", "--nodes", &self.nodes.to_string()])
            .arg("--kubeconfig")
            .arg(self.dir.join("bootstrap-kubelet.conf"))
            .args(self.args)
            .stdin(Stdio::null());
        command
    }
}

impl Report {
    /// The number at a JSON pointer.
    pub(crate) fn number(&self, pointer: &str) -> Result<f64> {
        let value = self.0.pointer(pointer).and_then(Value::as_f64);
        value.with_context(|| format!("the report has no {pointer}"))
    }

    /// Processor time of the server per certificate, in milliseconds.
    pub(crate) fn cpu_ms(&self) -> Result<f64> {
        self.number("/processes/0/cpuMsPerCertificate")
    }

    /// What is at a JSON pointer, as text.
    pub(crate) fn text(&self, pointer: &str) -> String {
        self.0.pointer(pointer).unwrap_or(&Value::Null).to_string()
    }
}

/// A load under way; killed when dropped.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
