//! The issuance run: `everleaf bench`, as nodes ask for certificates.

use super::load::Load;
use super::process::Server;
use anyhow::Result;
use std::path::Path;

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
    let load = Load {
        everleaf,
        dir,
        nodes: count,
        args: &[],
    };
    let report = load.run(server)?;
    Ok(Figures {
        cpu_ms: report.cpu_ms()?,
        generator_ms: report.number("/generator/cpuMsPerCertificate")?,
        per_second: report.number("/perSecond")?,
        latency_median_ms: report.number("/latency/certificate/p50")?,
        latency_p99_ms: report.number("/latency/certificate/p99")?,
    })
}
