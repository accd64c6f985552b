//! How far the API server's clock is from ours.
//!
//! Owns one small measurement: [`ServerClock`] takes the median of the last few `Date` headers (one
//! slow answer must not look like a wrong clock). It decides nothing: dates in certificates come
//! from the signer's clock whatever the skew, only the cleaner, which deletes by age, asks before
//! it acts.

use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;

/// Samples of which the median is taken.
const SAMPLES_MAX: usize = 9;

/// Skew beyond which people are told and the cleaner stands still.
pub const SKEW_TOLERATED: SignedDuration = SignedDuration::from_mins(5);

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
