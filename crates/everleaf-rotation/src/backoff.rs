//! How long to wait after a failure.
//!
//! Each kind of failure has a schedule: a first wait that doubles up to a ceiling, stretched by up
//! to 10 % of jitter so that a fleet does not return in step. The generator is handed in at birth.

use std::time::Duration;

/// A small deterministic generator (SplitMix64; Steele, Lea, Flood 2014). For jitter only, never
/// for keys or names.
#[derive(Clone, Debug)]
pub struct Generator(u64);

impl Generator {
    /// A generator that always gives the same sequence for the same seed.
    pub fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Which waits follow a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Schedule {
    /// The server could not be reached or stumbled, or the disk did: 2 s to 32 s. The upper end is
    /// the slow retry of the kubelet; no new request is made meanwhile.
    Attempt,
    /// Whether a credential is accepted could not be found out: 5 s to 60 s.
    Confirm,
    /// The request was denied, failed, or its certificate cannot be used: 5 min to 1 h.
    Decided,
    /// An operator must change something first (missing permission, API not served): 2 s to 5 min.
    Patient,
    /// There is no credential left to try: 30 s to 5 min.
    Stuck,
}

impl Schedule {
    /// The first wait.
    pub const fn first(self) -> Duration {
        Duration::from_secs(match self {
            Self::Attempt | Self::Patient => 2,
            Self::Confirm => 5,
            Self::Decided => 5 * 60,
            Self::Stuck => 30,
        })
    }

    /// The longest wait, before jitter.
    pub const fn ceiling(self) -> Duration {
        Duration::from_secs(match self {
            Self::Attempt => 32,
            Self::Confirm => 60,
            Self::Decided => 60 * 60,
            Self::Patient | Self::Stuck => 5 * 60,
        })
    }

    /// The wait after `failures` failures in a row (1 for the first): doubled each time, at most
    /// the ceiling, then stretched by a factor in [1.0, 1.1).
    pub fn wait(self, failures: u32, jitter: &mut Generator) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let wait = (self.first() * (1 << doublings)).min(self.ceiling());
        stretch(wait, jitter)
    }
}

/// `wait` times a factor in [1.0, 1.1), in whole milliseconds.
pub(crate) fn stretch(wait: Duration, jitter: &mut Generator) -> Duration {
    let tenth_ms = u64::try_from(wait.as_millis() / 10).unwrap_or(u64::MAX);
    let extra = (u128::from(tenth_ms) * u128::from(jitter.next_u64())) >> 64;
    wait.saturating_add(Duration::from_millis(u64::try_from(extra).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schedule: Schedule, failures: u32, seconds: u64) {
        let mut jitter = Generator::from_seed(7);
        for _ in 0..100 {
            let wait = schedule.wait(failures, &mut jitter);
            let plain = Duration::from_secs(seconds);
            assert!(
                wait >= plain && wait < plain.mul_f64(1.1),
                "{schedule:?} {failures}: {wait:?}"
            );
        }
    }

    #[test]
    fn waits_double_up_to_the_ceiling() {
        for (failures, seconds) in [
            (1, 2),
            (2, 4),
            (3, 8),
            (4, 16),
            (5, 32),
            (6, 32),
            (1000, 32),
        ] {
            check(Schedule::Attempt, failures, seconds);
        }
        for (failures, seconds) in [(1, 2), (7, 128), (8, 256), (9, 300), (u32::MAX, 300)] {
            check(Schedule::Patient, failures, seconds);
        }
        for (failures, seconds) in [
            (1, 300),
            (2, 600),
            (3, 1200),
            (4, 2400),
            (5, 3600),
            (6, 3600),
        ] {
            check(Schedule::Decided, failures, seconds);
        }
        check(Schedule::Stuck, 1, 30);
        check(Schedule::Stuck, 9, 300);
        check(Schedule::Confirm, 9, 60);
    }

    #[test]
    fn the_same_seed_gives_the_same_waits() {
        let waits = |seed| {
            let mut jitter = Generator::from_seed(seed);
            (1..9)
                .map(|n| Schedule::Attempt.wait(n, &mut jitter))
                .collect::<Vec<_>>()
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
