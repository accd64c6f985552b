//! Monotonic time, kept apart from wall time by its type.
//!
//! Cores wait, back off and limit rates in [`Uptime`]; they judge certificates and ages in
//! `jiff::Timestamp`. The two never mix, so a stepped wall clock cannot stretch a backoff.

use jiff::Timestamp;
use std::ops::Add;
use std::time::Duration;

/// Monotonic time since an arbitrary start, the same one for everything in a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uptime(Duration);

impl Uptime {
    /// This long after the start.
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// Time since the start.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// Time from `earlier` to `self`; zero when `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Both clocks, read once per turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic: for waits and latencies.
    pub uptime: Uptime,
    /// Wall time: for whatever is written, and for the validity of certificates.
    pub wall: Timestamp,
}

impl Add<Duration> for Uptime {
    type Output = Self;

    fn add(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(delay))
    }
}
