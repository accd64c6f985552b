//! The issuance run: `everleaf bench`, as nodes ask for certificates.

use super::process::Server;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// What was measured.
pub(crate) struct Figures {
    /// Processor time of the server per certificate.
    pub(crate) cpu_ms: f64,
    /// Of the generator, per certificate.
    pub(crate) generator_ms: f64,
    /// Certificates per second.
    pub(crate) per_second: f64,
    /// From the sending of the request to the certificate.
    pub(crate) latency_median_ms: f64,
    /// The same, 99th of 100.
    pub(crate) latency_p99_ms: f64,
}

/// Has `count` nodes ask for a certificate each.
pub(crate) fn run(everleaf: &Path, dir: &Path, server: &Server, count: usize) -> Result<Figures> {
    let answer = Command::new(everleaf)
        .args(["bench", "-o", "json", "--nodes", &count.to_string()])
        .args(["--pid", &format!("up={}", server.pid())])
        .arg("--kubeconfig")
        .arg(dir.join("bootstrap-kubelet.conf"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("everleaf bench did not start")?;
    if !answer.status.success() {
        let said = String::from_utf8_lossy(&answer.stdout);
        bail!("not all were issued: {said}");
    }
    let report: Value = serde_json::from_slice(&answer.stdout)?;
    let number = |pointer: &str| {
        let value = report.pointer(pointer).and_then(Value::as_f64);
        value.with_context(|| format!("the report has no {pointer}"))
    };
    Ok(Figures {
        cpu_ms: number("/processes/0/cpuMsPerCertificate")?,
        generator_ms: number("/generator/cpuMsPerCertificate")?,
        per_second: number("/perSecond")?,
        latency_median_ms: number("/latency/certificate/p50")?,
        latency_p99_ms: number("/latency/certificate/p99")?,
    })
}
