//! Spans of time by their names.

use std::time::Duration;

pub(in crate::rotation::tests) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(in crate::rotation::tests) fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

pub(in crate::rotation::tests) fn hours(hours: u64) -> Duration {
    Duration::from_secs(3600 * hours)
}

pub(in crate::rotation::tests) fn days(days: u64) -> Duration {
    hours(24 * days)
}
