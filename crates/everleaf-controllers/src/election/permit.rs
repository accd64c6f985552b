//! What the lease permits: the rule of the write gate, `gate.rs`.

use everleaf_time::{Monotonic, Now};
use std::time::Duration;

/// What a renewal that succeeded permits: to write for a while since it was *sent*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// When it was.
    pub sent: Now,
    /// For how long; shorter than the lease promises others to wait.
    pub within: Duration,
}

impl Permit {
    /// Whether that is not over yet. Time has passed by the clock that says more: the monotonic one
    /// may not count while a machine sleeps, and the wall clock may have been set back.
    pub fn allows(self, now: Now) -> bool {
        let wall = now.wall.duration_since(self.sent.wall);
        let wall = Duration::try_from(wall).unwrap_or_default();
        self.left(now.monotonic) > Duration::ZERO && wall < self.within
    }

    /// How much of it is left by the monotonic clock.
    pub fn left(self, now: Monotonic) -> Duration {
        self.within.saturating_sub(now.since(self.sent.monotonic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn at(wall_ms: i64, monotonic_ms: u64) -> Now {
        Now {
            wall: Timestamp::from_millisecond(1_800_000_000_000 + wall_ms).unwrap(),
            monotonic: Monotonic::from_origin(Duration::from_millis(monotonic_ms)),
        }
    }

    #[test]
    fn the_clock_that_says_more_decides() {
        let permit = Permit {
            sent: at(0, 100),
            within: Duration::from_secs(10),
        };
        for (now, expected, why) in [
            (at(0, 100), true, "at once"),
            (at(9_999, 10_099), true, "to the end"),
            (at(10_000, 10_100), false, "not after it"),
            (
                at(10_000, 101),
                false,
                "a machine that slept, or a step forward",
            ),
            (at(0, 10_100), false, "the wall clock stood still"),
            (at(-3_600_000, 9_000), true, "it was set back"),
            (
                at(-3_600_000, 10_100),
                false,
                "it was set back, and time passed",
            ),
        ] {
            assert_eq!(permit.allows(now), expected, "{why}");
        }
    }
}
