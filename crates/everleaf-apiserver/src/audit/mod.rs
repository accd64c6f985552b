//! The audit log: who asked for what, when, and what came of it, as kube-apiserver tells it.
//!
//! `policy` says of each request how much is told; a `Trail` goes with the request and gathers
//! it; a `log` writes it on a thread of its own. Requests wait for the log no longer than a
//! bounded time, and only in the modes that say so: a disk that is full or slow costs entries,
//! which are counted and told, not requests. The mode that would rather refuse a request than not
//! tell of it is asked for by name.

mod event;
mod file;
mod log;
mod policy;
mod trail;

use self::log::Log;
use everleaf_observe::text::{Kind, Text};
use everleaf_time::WallClock;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use self::event::EVENT_BYTES_MAX;
pub use self::file::Rotation;
pub use self::log::{Destination, Format, LogConfig, Mode};
pub use self::policy::{Level, Policy, Stages, Verdict};
pub(crate) use self::trail::{Head, Trail};

/// Where a request is when something is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has come in.
    RequestReceived,
    /// A watch begins to answer.
    ResponseStarted,
    /// It is answered.
    ResponseComplete,
    /// It hit a defect.
    Panic,
}

impl Stage {
    const ALL: [Self; 4] = [
        Self::RequestReceived,
        Self::ResponseStarted,
        Self::ResponseComplete,
        Self::Panic,
    ];

    /// As a policy and an event spell it.
    fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// Policy and log of one server.
pub struct Auditor {
    policy: Policy,
    log: Log,
    clock: WallClock,
    counts: Arc<Counts>,
}

/// What has been counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    events: AtomicU64,
    errors: AtomicU64,
    rejected: AtomicU64,
    levels: [AtomicU64; 4],
}

impl Counts {
    fn lost(&self, events: u64) {
        self.errors.fetch_add(events, Ordering::Relaxed);
    }
}

impl Auditor {
    /// Opens the log and starts its thread. `clock` says when a stage was reached.
    ///
    /// # Errors
    /// The log cannot be opened.
    pub fn start(policy: Policy, log: LogConfig, clock: WallClock) -> std::io::Result<Self> {
        let counts = Arc::new(Counts::default());
        let log = Log::start(log, Arc::clone(&counts), Arc::clone(&clock))?;
        Ok(Self {
            policy,
            log,
            clock,
            counts,
        })
    }

    /// Waits, but not for ever, until everything that was told is written.
    pub async fn flush(&self) {
        self.log.flush().await;
    }

    /// Its metrics, with upstream's names.
    pub(crate) fn write_metrics(&self, text: &mut Text) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        for (name, help, count) in [
            (
                "apiserver_audit_event_total",
                "Audit events made.",
                &self.counts.events,
            ),
            (
                "apiserver_audit_requests_rejected_total",
                "Requests refused because they could not be told in the audit log.",
                &self.counts.rejected,
            ),
        ] {
            text.family(name, Kind::Counter, help)
                .count(&[], load(count));
        }
        let (name, help) = ("apiserver_audit_error_total", "Audit events lost.");
        text.family(name, Kind::Counter, help)
            .count(&[("plugin", "log")], load(&self.counts.errors));
        let name = "apiserver_audit_level_total";
        let mut family = text.family(name, Kind::Counter, "Requests by how much is told of them.");
        let levels = [
            Level::None,
            Level::Metadata,
            Level::Request,
            Level::RequestResponse,
        ];
        for level in levels {
            let count = load(&self.counts.levels[level as usize]);
            family.count(&[("level", level.as_str())], count);
        }
    }
}

impl fmt::Debug for Auditor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auditor")
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}
