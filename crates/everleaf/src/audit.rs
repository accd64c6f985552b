//! The audit log as the flags have it.

use crate::args::audit::{AuditArgs, AuditFormat, AuditMode};
use crate::input;
use anyhow::{Context, Result};
use everleaf_apiserver::audit::{Auditor, Destination, Format, LogConfig, Mode, Policy, Rotation};
use everleaf_time::WallClock;
use std::path::Path;

/// Largest policy file.
const POLICY_BYTES_MAX: u64 = 1 << 20;

/// What is to be told, and where; nothing is opened yet.
#[derive(Clone)]
pub(crate) struct Audit {
    policy: Policy,
    log: LogConfig,
}

impl Audit {
    /// As the flags say; none when they do not name both a policy and a log.
    ///
    /// # Errors
    /// The policy cannot be read or used.
    pub(crate) fn of(args: &AuditArgs) -> Result<Option<Self>> {
        let policy = args.audit_policy_file.as_deref().map(read).transpose()?;
        let Some(path) = &args.audit_log_path else {
            if policy.is_some() {
                tracing::warn!(
                    "--audit-policy-file without --audit-log-path: nothing is told; name a file, or - for standard output"
                );
            }
            return Ok(None);
        };
        let Some(policy) = policy else {
            tracing::warn!(
                "--audit-log-path without --audit-policy-file: nothing is told; write a policy"
            );
            return Ok(None);
        };
        let destination = match path.to_str() {
            Some("-") => Destination::Stdout,
            _ => Destination::File(path.clone()),
        };
        let log = LogConfig {
            destination,
            rotation: Rotation {
                bytes_max: args.audit_log_maxsize.saturating_mul(1 << 20),
                files_max: args.audit_log_maxbackup,
                days_max: args.audit_log_maxage,
                compress: args.audit_log_compress,
            },
            format: match args.audit_log_format {
                AuditFormat::Json => Format::Json,
                AuditFormat::Legacy => Format::Legacy,
            },
            mode: match args.audit_log_mode {
                AuditMode::Batch => Mode::Batch,
                AuditMode::Blocking => Mode::Blocking,
                AuditMode::BlockingStrict => Mode::BlockingStrict,
            },
        };
        Ok(Some(Self { policy, log }))
    }

    /// Opens the log.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn start(self, clock: WallClock) -> Result<Auditor> {
        let path = self.log.destination.to_string();
        Auditor::start(self.policy, self.log, clock)
            .with_context(|| format!("cannot open the audit log {path} (--audit-log-path)"))
    }
}

fn read(path: &Path) -> Result<Policy> {
    let what = || format!("--audit-policy-file {}", path.display());
    let text =
        input::read(path, POLICY_BYTES_MAX).with_context(|| format!("cannot read {}", what()))?;
    let text = std::str::from_utf8(&text).with_context(what)?;
    Policy::parse(text).with_context(what)
}
