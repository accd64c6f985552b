//! Flags of the audit log: kube-apiserver's, with its defaults.

use super::value::Switch as _;
use clap::{ArgAction, Args, ValueEnum};
use std::path::PathBuf;

/// What is told of requests, and where.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Audit log")]
pub(crate) struct AuditArgs {
    /// Policy that says which requests are told, and how much of each
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_policy_file: Option<PathBuf>,
    /// File of the audit log, - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_log_path: Option<PathBuf>,
    /// Form of an entry
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = AuditFormat::Json)]
    pub(crate) audit_log_format: AuditFormat,
    /// Whether requests wait until they are told: batch (they do not), blocking (they do, for two
    /// seconds at most), blocking-strict (and are refused when they cannot be told)
    #[arg(long, value_enum, value_name = "MODE", default_value_t = AuditMode::Blocking)]
    pub(crate) audit_log_mode: AuditMode,
    /// Length of the file, in MiB, from which on a new one is begun; 0: never
    #[arg(long, value_name = "MIB", default_value_t = 100)]
    pub(crate) audit_log_maxsize: u64,
    /// Days for which old files are kept; 0: for ever
    #[arg(long, value_name = "DAYS", default_value_t = 366)]
    pub(crate) audit_log_maxage: u64,
    /// Old files that are kept; 0: all
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) audit_log_maxbackup: usize,
    /// Compress old files
    #[arg(long, action = ArgAction::Set, switch_or = "false")]
    pub(crate) audit_log_compress: bool,
}

/// Forms of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuditFormat {
    /// A JSON object per line.
    Json,
    /// A line of words.
    Legacy,
}

/// Whether requests wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuditMode {
    /// They do not.
    Batch,
    /// They do.
    Blocking,
    /// They do, and are refused when they cannot be told.
    BlockingStrict,
}
