//! A token bucket that is asked for a reservation and answers with the wait.
//!
//! It owns one instant, "when the bucket would be full again", and knows neither a clock nor a
//! timer: the caller passes `now` and sleeps. Reservations are handed out in order and may lie in
//! the future, as in Go's `rate.Limiter`, so a burst of callers is spread instead of refused.

use everleaf_time::Monotonic;
use std::time::Duration;

/// Rate and depth of a [`TokenBucket`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Tokens per second; positive and finite.
    pub per_second: f64,
    /// Tokens that may be taken at once after a quiet time; at least 1.
    pub burst: u32,
}

/// See the module documentation.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    /// Time that one token costs.
    interval: Duration,
    /// Credit of a full bucket: `burst × interval`.
    depth: Duration,
    /// When every reservation so far will have been paid for.
    paid_at: Duration,
}

impl TokenBucket {
    /// A full bucket.
    ///
    /// # Panics
    /// When the rate is not positive and finite, or the burst is 0: options are checked before.
    pub fn new(rate: Rate) -> Self {
        assert!(
            rate.per_second.is_finite() && rate.per_second > 0.0 && rate.burst > 0,
            "a bucket needs a positive rate and burst, got {rate:?}"
        );
        let interval = Duration::try_from_secs_f64(1.0 / rate.per_second)
            .unwrap_or(Duration::MAX)
            .max(Duration::from_nanos(1));
        Self {
            interval,
            depth: interval.saturating_mul(rate.burst),
            paid_at: Duration::ZERO,
        }
    }

    /// Takes one token if there is one.
    pub fn try_take(&mut self, now: Monotonic) -> bool {
        let before = self.paid_at;
        let has_one = self.reserve(now).is_zero();
        if !has_one {
            self.paid_at = before;
        }
        has_one
    }

    /// Takes one token and says how long to wait before using it.
    pub fn reserve(&mut self, now: Monotonic) -> Duration {
        let now = now.since_origin();
        self.paid_at = self.paid_at.max(now).saturating_add(self.interval);
        self.paid_at.saturating_sub(self.depth).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_origin(Duration::from_millis(ms))
    }

    #[test]
    fn a_burst_is_free_and_what_follows_is_spread() {
        let mut bucket = TokenBucket::new(Rate {
            per_second: 10.0,
            burst: 3,
        });
        let waits: Vec<u128> = (0..6).map(|_| bucket.reserve(at(0)).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200, 300]);
        // 300 ms of the debt is paid after 300 ms; one more token still costs its interval.
        assert_eq!(bucket.reserve(at(300)).as_millis(), 100);
    }

    #[test]
    fn a_quiet_time_refills_to_the_burst_and_no_further() {
        let mut bucket = TokenBucket::new(Rate {
            per_second: 10.0,
            burst: 3,
        });
        for _ in 0..3 {
            bucket.reserve(at(0));
        }
        let waits: Vec<u128> = (0..5)
            .map(|_| bucket.reserve(at(60_000)).as_millis())
            .collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
    }
}
