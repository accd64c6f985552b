//! What is counted while a load runs.

use crate::trouble::Trouble;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Duration;

/// Digits to which durations are kept.
const DIGITS: u8 = 3;
/// Longest duration that is told apart, in microseconds.
const MICROS_MAX: u64 = 3_600_000_000;
/// Width of a step of the series over time.
pub(crate) const STEP: Duration = Duration::from_millis(100);
/// Most steps; what comes later is counted in the last one.
const STEPS_MAX: usize = 36_000;

/// Which certificate of its node one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The first that it asked for.
    First,
    /// One that it asked for with the last one.
    Renewal,
}

/// Durations, in constant memory.
#[derive(Clone, Debug)]
pub(crate) struct Durations(Histogram<u64>);

impl Default for Durations {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, MICROS_MAX, DIGITS);
        Self(histogram.expect("invariant: the bounds are fixed, and fit each other"))
    }
}

impl Durations {
    pub(crate) fn add(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(MICROS_MAX);
        self.0.saturating_record(micros);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The duration below which so many of 100 lie, in milliseconds; 0 when there is none.
    pub(crate) fn percentile_ms(&self, percentile: f64) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        // The exact one: the histogram names the end of the last one's step.
        self.0.value_at_percentile(percentile).min(self.0.max()) as f64 / 1e3
    }

    pub(crate) fn max_ms(&self) -> f64 {
        self.percentile_ms(100.0)
    }

    pub(crate) fn min_ms(&self) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        self.0.min() as f64 / 1e3
    }

    pub(crate) fn mean_ms(&self) -> f64 {
        self.0.mean() / 1e3
    }
}

/// How often something went wrong, and the first time in words.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Errors {
    pub(crate) count: u64,
    pub(crate) example: String,
}

/// All that is counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) issued: u64,
    pub(crate) failed: u64,
    /// From the first byte of the request to the certificate.
    pub(crate) latency: Durations,
    /// Of it, for those that nodes asked for with a certificate.
    pub(crate) renewal: Durations,
    /// From the first byte of the request to the answer that it is there.
    pub(crate) create: Durations,
    /// How late nodes came, by the load's own fault.
    pub(crate) lateness: Durations,
    /// Certificates that were not issued, by kind.
    pub(crate) errors: BTreeMap<&'static str, Errors>,
    /// What went wrong without costing a certificate, by kind.
    pub(crate) retries: BTreeMap<&'static str, Errors>,
    /// Certificates per step of time.
    pub(crate) steps: Vec<u32>,
    /// When the last one came, since the start.
    pub(crate) last: Duration,
}

impl Record {
    /// A request was answered.
    pub(crate) fn created(&mut self, took: Duration) {
        self.create.add(took);
    }

    /// A certificate came, `at` after the start.
    pub(crate) fn issued(&mut self, turn: Turn, took: Duration, at: Duration) {
        self.issued += 1;
        self.latency.add(took);
        if turn == Turn::Renewal {
            self.renewal.add(took);
        }
        self.last = self.last.max(at);
        let step = (at.as_millis() / STEP.as_millis()) as usize;
        let step = step.min(STEPS_MAX - 1);
        if self.steps.len() <= step {
            self.steps.resize(step + 1, 0);
        }
        self.steps[step] += 1;
    }

    /// A certificate did not come.
    pub(crate) fn failed(&mut self, name: &str, trouble: &Trouble) {
        self.failed += 1;
        count(&mut self.errors, name, trouble);
    }

    /// A call is made again.
    pub(crate) fn retried(&mut self, what: &str, trouble: &Trouble) {
        count(&mut self.retries, what, trouble);
    }
}

fn count(errors: &mut BTreeMap<&'static str, Errors>, name: &str, trouble: &Trouble) {
    errors
        .entry(trouble.kind())
        .and_modify(|errors| errors.count += 1)
        .or_insert_with(|| Errors {
            count: 1,
            example: trouble.of(name),
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_durations() {
        let mut durations = Durations::default();
        assert_eq!((durations.count(), durations.percentile_ms(99.0)), (0, 0.0));
        for ms in 1..=1000 {
            durations.add(Duration::from_millis(ms));
        }
        for (percentile, ms) in [(50.0, 500.0), (90.0, 900.0), (99.0, 990.0), (99.9, 999.0)] {
            let seen = durations.percentile_ms(percentile);
            assert!((seen / ms - 1.0).abs() < 2e-3, "{percentile}: {seen}");
        }
        assert_eq!(durations.max_ms(), durations.percentile_ms(100.0));
        assert!((durations.mean_ms() / 500.5 - 1.0).abs() < 2e-3);
    }

    #[test]
    fn what_is_longer_than_can_be_told_apart_is_counted_all_the_same() {
        let mut durations = Durations::default();
        durations.add(Duration::from_secs(86_400));
        durations.add(Duration::ZERO);
        assert_eq!(durations.count(), 2);
        assert!(durations.max_ms() >= 3.5e6);
    }

    #[test]
    fn certificates_are_counted_by_time() {
        let mut record = Record::default();
        for ms in [10, 90, 110, 450] {
            let at = Duration::from_millis(ms);
            record.issued(Turn::First, at, at);
        }
        record.issued(
            Turn::Renewal,
            Duration::ZERO,
            Duration::from_secs(1_000_000),
        );
        assert_eq!(record.steps[..5], [2, 1, 0, 0, 1]);
        assert_eq!(record.steps.len(), STEPS_MAX);
        assert_eq!((record.issued, record.renewal.count()), (5, 1));
    }

    #[test]
    fn errors_are_counted_by_kind_with_the_first_as_example() {
        let mut record = Record::default();
        let patience = Duration::from_secs(3);
        record.failed("b-1", &Trouble::NoCertificate(patience));
        record.failed("b-2", &Trouble::Denied("x".to_owned()));
        record.failed("b-3", &Trouble::NoCertificate(patience));
        assert_eq!(record.failed, 3);
        assert_eq!(record.errors["no-certificate"].count, 2);
        let example = &record.errors["no-certificate"].example;
        assert_eq!(
            example,
            "b-1: no certificate within 3 s; the request is there: \"everleaf why csr/b-1\" says what it waits for"
        );
    }
}
