//! A certificate as openssl shows it.

use super::sandbox::Sandbox;
use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use std::path::Path;

/// What the tests look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// `notBefore`
    pub not_before: Timestamp,
    /// `notAfter`
    pub not_after: Timestamp,
    /// `O = system:nodes, CN = system:node:x`
    pub subject: String,
    /// Serial number, hex.
    pub serial: String,
    /// SHA-256 of the DER, lower hex.
    pub sha256: String,
    /// `DNS:x, IP Address:1.2.3.4`, or "".
    pub names: String,
}

impl Certificate {
    /// Reads the first certificate of a PEM file.
    pub fn read(sandbox: &Sandbox, path: &Path) -> Result<Self> {
        let path = path.to_string_lossy();
        let text = sandbox
            .openssl(&[
                "x509",
                "-in",
                &path,
                "-noout",
                "-dates",
                "-subject",
                "-serial",
                "-fingerprint",
                "-sha256",
                "-ext",
                "subjectAltName",
            ])?
            .ok()?;
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(|value| value.trim().to_owned())
                .with_context(|| format!("openssl shows no {name}"))
        };
        let fingerprint = text
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("sha256 fingerprint=")
                    .map(str::to_owned)
            })
            .context("openssl shows no fingerprint")?;
        Ok(Self {
            not_before: date(&field("notBefore=")?)?,
            not_after: date(&field("notAfter=")?)?,
            subject: field("subject=")?,
            serial: field("serial=")?,
            sha256: fingerprint.replace(':', ""),
            names: text
                .lines()
                .find(|line| {
                    line.trim_start().starts_with("DNS:")
                        || line.trim_start().starts_with("IP Address:")
                })
                .map(|line| line.trim().to_owned())
                .unwrap_or_default(),
        })
    }

    /// `notAfter − notBefore`.
    pub fn lifetime(&self) -> SignedDuration {
        self.not_after.duration_since(self.not_before)
    }
}

/// `Nov 24 06:50:10 2026 GMT`
fn date(text: &str) -> Result<Timestamp> {
    let civil = jiff::civil::DateTime::strptime("%b %d %H:%M:%S %Y GMT", text)
        .with_context(|| format!("date {text:?}"))?;
    Ok(civil.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp())
}
