//! The two clocks, as values.
//!
//! **Wall** time (`jiff::Timestamp`) decides about validity, deadlines and ages; **monotonic** time
//! measures back-off, spacing, rates and answers that do not come. They are different types, so
//! that a stepped wall clock cannot stretch a wait. Nothing here reads either: a shell reads both
//! once per turn and hands them on as [`Now`].

use jiff::{SignedDuration, Timestamp};
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

/// A point on the monotonic clock: the time since an origin that stays fixed while the process
/// runs.
///
/// Prefer a clock that goes on during suspend (`CLOCK_BOOTTIME` on Linux); both kinds are correct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// The point `elapsed` after the origin.
    pub const fn from_origin(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// Time since the origin.
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// Time since `earlier`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// The point `wait` later; the end of time where there is none.
impl Add<Duration> for Monotonic {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }
}

/// Both clocks, read once for one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall clock of this host: what is written, and what certificates are compared with. May be
    /// wrong, and may be set at any moment.
    pub wall: Timestamp,
    /// Monotonic clock of this host: for waits and latencies.
    pub monotonic: Monotonic,
}

/// Reads the wall clock; a shell's, or the simulator's.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Wall and monotonic time may drift apart by this much between two readings before it counts as a
/// step of the wall clock: far more than a crystal or a slewing NTP client does in a minute.
pub const CLOCK_STEP_MIN: Duration = Duration::from_secs(5);

/// Notices that the wall clock was set while the process ran, or that the machine slept.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepDetector(Option<Now>);

impl StepDetector {
    /// Compares with the previous reading, if there was one, and returns how far the wall clock was
    /// set; positive is forward.
    ///
    /// ```
    /// use everleaf_time::{Monotonic, Now, StepDetector};
    /// use jiff::{SignedDuration, Timestamp};
    ///
    /// let now = Now { wall: Timestamp::UNIX_EPOCH, monotonic: Monotonic::default() };
    /// let hour = SignedDuration::from_hours(1);
    /// let mut steps = StepDetector::default();
    /// assert_eq!(steps.observe(now), None);
    /// assert_eq!(steps.observe(Now { wall: now.wall + hour, ..now }), Some(hour));
    /// ```
    pub fn observe(&mut self, now: Now) -> Option<SignedDuration> {
        let last = self.0.replace(now)?;
        let elapsed = now.monotonic.since(last.monotonic);
        let elapsed = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX);
        let step = now.wall.duration_since(last.wall).saturating_sub(elapsed);
        (step.unsigned_abs() > CLOCK_STEP_MIN).then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: i64, monotonic: u64) -> Now {
        Now {
            wall: Timestamp::from_second(1_800_000_000 + wall).unwrap(),
            monotonic: Monotonic::from_origin(Duration::from_secs(monotonic)),
        }
    }

    #[test]
    fn a_step_is_wall_progress_without_monotonic_progress() {
        let mut steps = StepDetector::default();
        let seconds = |seconds| Some(SignedDuration::from_secs(seconds));
        for (now, expected, why) in [
            (at(0, 100), None, "the first reading"),
            (at(3_600, 3_700), None, "both moved"),
            (at(3_605, 3_700), None, "as much as may be"),
            (at(3_611, 3_700), seconds(6), "set forward"),
            (at(3_612, 3_701), None, "told once"),
            (at(12, 3_701), seconds(-3_600), "set back"),
            (at(12, 3_707), seconds(-6), "it stood still"),
        ] {
            assert_eq!(steps.observe(now), expected, "{why}");
        }
    }

    #[test]
    fn monotonic_time_saturates() {
        let (origin, end) = (Monotonic::default(), Monotonic::from_origin(Duration::MAX));
        assert_eq!(origin.since(end), Duration::ZERO);
        assert_eq!(end + Duration::from_secs(1), end);
    }
}
