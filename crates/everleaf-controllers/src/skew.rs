//! How far the API server's clock is from ours, and whether ours was set.
//!
//! Owns two small measurements: [`ServerClock`] takes the median of the last few `Date` headers
//! (one slow answer must not look like a wrong clock), [`StepDetector`] compares wall time with
//! monotonic time. Neither decides anything: dates in certificates come from the signer's clock
//! whatever the skew, only the cleaner, which deletes by age, asks before it acts.

use crate::uptime::Uptime;
use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;

/// Samples of which the median is taken.
const SAMPLES_MAX: usize = 9;

/// Skew beyond which people are told and the cleaner stands still.
pub const SKEW_TOLERATED: SignedDuration = SignedDuration::from_mins(5);

/// Difference of wall and monotonic progress that counts as a step of the wall clock.
pub const STEP_MIN: SignedDuration = SignedDuration::from_secs(30);

/// Offset of the API server's clock, estimated from the `Date` header of its answers.
#[derive(Clone, Debug, Default)]
pub struct ServerClock {
    samples: VecDeque<SignedDuration>,
}

impl ServerClock {
    /// Adds one observation: the server's `Date` against our wall clock when it arrived.
    pub fn observe(&mut self, server: Timestamp, local: Timestamp) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(local.duration_until(server));
    }

    /// Server clock minus our clock: the median of the samples, `None` before the first.
    pub fn offset(&self) -> Option<SignedDuration> {
        let mut ordered: Vec<SignedDuration> = self.samples.iter().copied().collect();
        ordered.sort_unstable();
        ordered.get(ordered.len() / 2).copied()
    }

    /// Forgets every sample: our own clock was set, so they compare with a clock that is gone.
    pub fn forget(&mut self) {
        self.samples.clear();
    }
}

/// Notices that the wall clock was set while the process ran (or the machine slept).
#[derive(Clone, Copy, Debug)]
pub struct StepDetector {
    wall: Timestamp,
    uptime: Uptime,
}

impl StepDetector {
    /// Starts from this reading of both clocks.
    pub fn new(wall: Timestamp, uptime: Uptime) -> Self {
        Self { wall, uptime }
    }

    /// Compares a new reading with the previous one and returns the step, if it is one.
    pub fn observe(&mut self, wall: Timestamp, uptime: Uptime) -> Option<SignedDuration> {
        let elapsed = SignedDuration::try_from(uptime.since(self.uptime)).unwrap_or_default();
        let step = self.wall.duration_until(wall) - elapsed;
        *self = Self { wall, uptime };
        (step.abs() > STEP_MIN).then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ts(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_median_ignores_a_few_wild_answers() {
        let mut clock = ServerClock::default();
        assert_eq!(clock.offset(), None);
        let local = ts("2026-11-20T12:00:00Z");
        for offset in [2, 1, 86_400, 2, 3, -7_200, 2] {
            clock.observe(local + SignedDuration::from_secs(offset), local);
        }
        assert_eq!(clock.offset(), Some(SignedDuration::from_secs(2)));
    }

    #[test]
    fn old_samples_leave_and_forget_clears() {
        let mut clock = ServerClock::default();
        let local = ts("2026-11-20T12:00:00Z");
        for _ in 0..SAMPLES_MAX {
            clock.observe(local, local);
        }
        for _ in 0..5 {
            clock.observe(local + SignedDuration::from_hours(1), local);
        }
        assert_eq!(clock.offset(), Some(SignedDuration::from_hours(1)));
        clock.forget();
        assert_eq!(clock.offset(), None);
    }

    #[test]
    fn a_step_is_wall_progress_without_monotonic_progress() {
        let start = ts("2026-11-20T12:00:00Z");
        let at = |secs| Uptime::new(Duration::from_secs(secs));
        let mut detector = StepDetector::new(start, at(100));
        let hour = SignedDuration::from_hours(1);
        assert_eq!(detector.observe(start + hour, at(3700)), None, "both moved");
        assert_eq!(
            detector
                .observe(start + hour * 25, at(3701))
                .unwrap()
                .as_hours(),
            23
        );
        assert_eq!(
            detector.observe(start + hour * 25, at(3702)),
            None,
            "told once"
        );
        assert!(detector.observe(start, at(3703)).unwrap().is_negative());
    }
}
