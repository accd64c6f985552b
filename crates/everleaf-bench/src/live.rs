//! How far a load is, for whoever shows it while it runs.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Keys and requests are made.
    Preparing,
    /// Nodes get the client certificates that they need before anything is measured.
    Equipping,
    /// The load runs.
    Running,
    /// The requests are deleted.
    Cleaning,
}

/// Counters of a running load.
#[derive(Debug, Default)]
pub struct Live {
    phase: AtomicU8,
    pub(crate) done: AtomicU64,
    pub(crate) total: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Live {
    /// What is being done.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Preparing,
            1 => Phase::Equipping,
            2 => Phase::Running,
            _ => Phase::Cleaning,
        }
    }

    /// How much of it is done, and how much there is.
    pub fn progress(&self) -> (u64, u64) {
        let done = self.done.load(Ordering::Relaxed);
        (done, self.total.load(Ordering::Relaxed))
    }

    /// How much of it came to nothing.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self, phase: Phase, total: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.failed.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, succeeded: bool) {
        let counter = if succeeded { &self.done } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
