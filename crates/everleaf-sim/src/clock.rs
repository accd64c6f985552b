//! The clocks of one host in virtual time: offset, drift, steps and suspend.
//!
//! True time is the world's. A host's wall clock may run fast or slow and may be set; its monotonic
//! clock starts at boot and stands still while the host is suspended.

use everleaf_rotation::{Monotonic, Now};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Both clocks of one host.
#[derive(Clone, Debug)]
pub struct HostClock {
    origin: Timestamp,
    offset: SignedDuration,
    drift_ppm: i64,
    /// True time from which on it drifts like this.
    drift_since: Duration,
    suspended: Duration,
    boot: Duration,
}

impl HostClock {
    /// Clocks that are right at `origin` and gain `drift_ppm` microseconds each second.
    pub fn new(origin: Timestamp, drift_ppm: i64) -> Self {
        Self {
            origin,
            offset: SignedDuration::ZERO,
            drift_ppm,
            drift_since: Duration::ZERO,
            suspended: Duration::ZERO,
            boot: Duration::ZERO,
        }
    }

    /// Sets the wall clock forward (or back, when negative).
    pub fn step(&mut self, by: SignedDuration) {
        self.offset = self.offset.saturating_add(by);
    }

    /// From true time `elapsed` on the wall clock gains `ppm` microseconds each second.
    pub fn set_drift(&mut self, elapsed: Duration, ppm: i64) {
        self.offset = self.offset.saturating_add(self.drift(elapsed));
        self.drift_since = elapsed;
        self.drift_ppm = ppm;
    }

    fn drift(&self, elapsed: Duration) -> SignedDuration {
        let seconds = elapsed.saturating_sub(self.drift_since).as_secs();
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        SignedDuration::from_micros(seconds.saturating_mul(self.drift_ppm))
    }

    /// The host was suspended for this long: the monotonic clock did not see it.
    pub fn suspend(&mut self, by: Duration) {
        self.suspended = self.suspended.saturating_add(by);
    }

    /// A new boot at true time `elapsed`: the monotonic clock starts anew.
    pub fn reboot(&mut self, elapsed: Duration) {
        self.boot = elapsed;
        self.suspended = Duration::ZERO;
    }

    /// What both clocks show when `elapsed` of true time has gone by since the origin.
    pub fn now(&self, elapsed: Duration) -> Now {
        let drift = self.drift(elapsed);
        let true_elapsed = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX);
        let shown = true_elapsed
            .saturating_add(drift)
            .saturating_add(self.offset);
        Now {
            wall: self.origin.saturating_add(shown).unwrap_or(Timestamp::MAX),
            monotonic: Monotonic::from_origin(
                elapsed
                    .saturating_sub(self.boot)
                    .saturating_sub(self.suspended),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_and_monotonic_move_apart() {
        let mut clock = HostClock::new(Timestamp::UNIX_EPOCH, 10);
        clock.step(SignedDuration::from_hours(-1));
        clock.suspend(Duration::from_secs(30));
        let now = clock.now(Duration::from_secs(100_000));
        assert_eq!(now.wall.as_second(), 100_000 - 3600 + 1);
        assert_eq!(now.monotonic.since_origin(), Duration::from_secs(99_970));
        clock.set_drift(Duration::from_secs(100_000), -1_000_000);
        let now = clock.now(Duration::from_secs(100_010));
        assert_eq!(now.wall.as_second(), 100_000 - 3600 + 1);
    }
}
