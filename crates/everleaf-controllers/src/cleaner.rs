//! When an old request may be deleted.
//!
//! [`decide`] is the table of kubernetes 1.37 `pkg/controller/certificates/cleaner/cleaner.go`
//! over a [`Record`], the few facts about a request that age; [`Pass`] applies it to all of them.
//! It knows no clock: the shell passes the API server's time, because the stamps are that
//! server's, and does not ask at all while the two clocks disagree ([`may_judge_ages`]).

mod pass;

use crate::record::{Certificate, Mark, Record};
use crate::skew::SKEW_TOLERATED;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::time::Duration;

pub use pass::{Pass, Step};

/// Longest time between two passes over all requests, and the shortest.
pub const PASS_INTERVAL: Duration = Duration::from_secs(3600);
const PASS_INTERVAL_MIN: Duration = Duration::from_secs(10);
/// Deletions per second, so that a pass never competes with issuance …
pub const DELETES_PER_SECOND: u32 = 20;
/// … but when there are so many requests that it would take more than half of the time until the
/// next: then as many more as it takes, up to a rate that costs a few hundredths of a processor.
const DELETES_PER_SECOND_MAX: u32 = 200;

/// Ages at which requests are deleted (`--csr-ttl-…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// Approved, but never signed (24h; upstream since 1.35, before: never).
    pub approved: Duration,
    /// Denied (1h).
    pub denied: Duration,
    /// Failed (1h).
    pub failed: Duration,
    /// Issued (1h).
    pub issued: Duration,
    /// Nobody decided (24h).
    pub pending: Duration,
}

impl Default for Ages {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            approved: DAY,
            denied: HOUR,
            failed: HOUR,
            issued: HOUR,
            pending: DAY,
        }
    }
}

impl Ages {
    /// Time from one pass to the next: the shortest age, so that nothing gets much older than it
    /// may.
    pub fn pass_interval(&self) -> Duration {
        let shortest = self.all().into_iter().min().unwrap_or(PASS_INTERVAL);
        shortest.clamp(PASS_INTERVAL_MIN, PASS_INTERVAL)
    }

    /// Deletions per second of a pass over so many requests.
    fn deletes_per_second(&self, requests: usize) -> u32 {
        let half = self.pass_interval().as_secs() / 2;
        let needed = u32::try_from(requests as u64 / half.max(1));
        let needed = needed.unwrap_or(DELETES_PER_SECOND_MAX);
        needed.clamp(DELETES_PER_SECOND, DELETES_PER_SECOND_MAX)
    }

    fn all(&self) -> [Duration; 5] {
        [
            self.approved,
            self.denied,
            self.failed,
            self.issued,
            self.pending,
        ]
    }

    /// True when one of them is 0, which would delete requests that are being worked on.
    pub fn any_zero(&self) -> bool {
        self.all().iter().any(Duration::is_zero)
    }
}

/// What to do with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Delete it, if it is still the same object in the same version.
    Delete(Cause),
    /// It is needed, or too young.
    Keep,
    /// Its certificate cannot be read, so its age means nothing: keep it and say so.
    Unreadable,
}

/// Why a request is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Approved for longer than this and not signed.
    Approved(Duration),
    /// Denied for longer than this.
    Denied(Duration),
    /// The certificate it carries has expired.
    Expired,
    /// Failed for longer than this.
    Failed(Duration),
    /// Issued for longer than this.
    Issued(Duration),
    /// Undecided for longer than this.
    Pending(Duration),
}

impl Cause {
    /// Value of the `state` label of `everleaf_csr_cleaned_total`.
    pub const fn state(self) -> &'static str {
        match self {
            Self::Approved(_) => "approved",
            Self::Denied(_) => "denied",
            Self::Expired => "expired",
            Self::Failed(_) => "failed",
            Self::Issued(_) => "issued",
            Self::Pending(_) => "pending",
        }
    }
}

/// Upstream's words, from `as` on: operators search for them.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (age, what) = match self {
            Self::Approved(age) => (age, "approved but not issued"),
            Self::Denied(age) => (age, "denied"),
            Self::Expired => return f.write_str("as the associated certificate is expired."),
            Self::Failed(age) => (age, "failed"),
            Self::Issued(age) => (age, "approved"),
            Self::Pending(age) => (age, "unhandled"),
        };
        write!(
            f,
            "as it is more than {} old and {what}.",
            go_duration(*age)
        )
    }
}

/// Decides about one request. `now` is the API server's time. Strictly older than the age counts;
/// a stamp that is missing never does.
pub fn decide(record: &Record, now: Timestamp, ages: &Ages) -> Action {
    let is_old = |mark: Mark, age: Duration| match mark {
        Mark::At(Some(at)) => is_older(at, age, now),
        Mark::Absent | Mark::At(None) => false,
    };
    let issued = match &record.certificate {
        Certificate::Unreadable(_) => return Action::Unreadable,
        Certificate::Present(leaf) if leaf.not_after < now => {
            return Action::Delete(Cause::Expired);
        }
        Certificate::Present(_) => true,
        Certificate::Absent => false,
    };
    let failed = record.failed != Mark::Absent;
    if issued && is_old(record.approved, ages.issued) {
        Action::Delete(Cause::Issued(ages.issued))
    } else if is_old(record.denied, ages.denied) {
        Action::Delete(Cause::Denied(ages.denied))
    } else if is_old(record.failed, ages.failed) {
        Action::Delete(Cause::Failed(ages.failed))
    } else if !record.has_conditions
        && record
            .created
            .is_some_and(|at| is_older(at, ages.pending, now))
    {
        Action::Delete(Cause::Pending(ages.pending))
    } else if !issued && !failed && is_old(record.approved, ages.approved) {
        Action::Delete(Cause::Approved(ages.approved))
    } else {
        Action::Keep
    }
}

/// Whether ages may be judged at all: not when our clock and the API server's are apart (one of
/// the two is wrong, and deletion cannot be taken back), nor right after ours was set.
pub fn may_judge_ages(offset: Option<SignedDuration>, stepped: bool) -> bool {
    !stepped && offset.is_none_or(|offset| offset.abs() <= SKEW_TOLERATED)
}

fn is_older(at: Timestamp, age: Duration, now: Timestamp) -> bool {
    SignedDuration::try_from(age).is_ok_and(|age| at.duration_until(now) > age)
}

/// A whole number of seconds as Go prints a duration: `24h0m0s`, `50m0s`, `7s`.
fn go_duration(duration: Duration) -> String {
    let (hours, minutes, seconds) = (
        duration.as_secs() / 3600,
        duration.as_secs() / 60 % 60,
        duration.as_secs() % 60,
    );
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::LeafFacts;

    const MINUTE: SignedDuration = SignedDuration::from_mins(1);
    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn now() -> Timestamp {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    fn ago(age: SignedDuration) -> Mark {
        Mark::At(Some(now() - age))
    }

    /// Pending, created a minute ago.
    fn request() -> Record {
        Record {
            created: Some(now() - MINUTE),
            ..Record::default()
        }
    }

    fn approved(age: SignedDuration) -> Record {
        Record {
            approved: ago(age),
            has_conditions: true,
            ..request()
        }
    }

    fn denied(age: SignedDuration) -> Record {
        Record {
            denied: ago(age),
            has_conditions: true,
            ..request()
        }
    }

    fn pending(age: SignedDuration) -> Record {
        Record {
            created: Some(now() - age),
            ..request()
        }
    }

    impl Record {
        fn failed(self, age: SignedDuration) -> Self {
            Self {
                failed: ago(age),
                has_conditions: true,
                ..self
            }
        }

        fn with_leaf(self, ends_in: SignedDuration) -> Self {
            let leaf = LeafFacts {
                not_after: now() + ends_in,
                ..LeafFacts::default()
            };
            Self {
                certificate: Certificate::Present(leaf),
                ..self
            }
        }

        fn with_garbage(self) -> Self {
            Self {
                certificate: Certificate::Unreadable("no PEM block".into()),
                ..self
            }
        }
    }

    fn check(record: Record, expected: Option<&str>) {
        let state = match decide(&record, now(), &Ages::default()) {
            Action::Delete(cause) => Some(cause.state()),
            Action::Keep => None,
            Action::Unreadable => Some("unreadable"),
        };
        assert_eq!(state, expected, "{record:?}");
    }

    /// `pkg/controller/certificates/cleaner/cleaner_test.go`, in its order.
    #[test]
    fn upstream_cases() {
        check(approved(MINUTE * 50).with_leaf(HOUR * 24), None);
        check(approved(MINUTE * 50), None);
        check(approved(HOUR * 2).with_leaf(HOUR * 24), Some("issued"));
        check(denied(MINUTE * 50), None);
        check(denied(HOUR * 2), Some("denied"));
        check(approved(HOUR * 2).failed(MINUTE * 50), None);
        check(approved(HOUR * 2).failed(HOUR * 2), Some("failed"));
        check(pending(HOUR * 5), None);
        check(pending(HOUR * 25), Some("pending"));
        check(approved(MINUTE * 50).with_leaf(HOUR), None);
        check(approved(MINUTE * 50).with_leaf(-MINUTE), Some("expired"));
        check(approved(HOUR * 25), Some("approved"));
        check(approved(HOUR * 25).with_garbage(), Some("unreadable"));
    }

    #[test]
    fn edges() {
        check(approved(HOUR).with_leaf(HOUR), None);
        check(
            approved(HOUR + SignedDuration::from_secs(1)).with_leaf(HOUR),
            Some("issued"),
        );
        check(
            Record {
                approved: Mark::At(None),
                ..approved(HOUR)
            }
            .with_leaf(HOUR),
            None,
        );
        check(
            Record {
                created: None,
                ..request()
            },
            None,
        );
        // Stamps of the future are not old, whatever the arithmetic.
        check(denied(-HOUR * 24 * 365), None);
        check(
            Record {
                denied: Mark::At(Some(Timestamp::MAX)),
                ..denied(HOUR)
            },
            None,
        );
        check(pending(HOUR * 25).failed(MINUTE), None);
    }

    #[test]
    fn no_judgement_while_clocks_disagree() {
        let minutes = SignedDuration::from_mins;
        assert!(
            may_judge_ages(None, false),
            "in process there is no other clock"
        );
        assert!(may_judge_ages(Some(minutes(5)), false));
        assert!(!may_judge_ages(Some(minutes(6)), false));
        assert!(!may_judge_ages(Some(minutes(-6)), false));
        assert!(!may_judge_ages(Some(minutes(0)), true));
    }

    #[test]
    fn passes_are_as_frequent_as_the_shortest_age() {
        let of = |seconds| {
            let issued = Duration::from_secs(seconds);
            let ages = Ages {
                issued,
                ..Ages::default()
            };
            ages.pass_interval().as_secs()
        };
        assert_eq!(Ages::default().pass_interval(), PASS_INTERVAL);
        assert_eq!([of(7200), of(3600), of(90), of(1)], [3600, 3600, 90, 10]);
    }

    #[test]
    fn a_pass_over_many_requests_is_faster() {
        let ages = Ages::default();
        let rates = [0, 36_000, 180_000, 360_000, usize::MAX];
        let rates = rates.map(|requests| ages.deletes_per_second(requests));
        assert_eq!(rates, [20, 20, 100, 200, 200]);
        let issued = Duration::from_secs(60);
        let often = Ages { issued, ..ages };
        assert_eq!(often.deletes_per_second(3_000), 100);
    }

    #[test]
    fn words_are_upstreams() {
        let ages = Ages::default();
        let texts = [
            Cause::Pending(ages.pending),
            Cause::Issued(ages.issued),
            Cause::Denied(Duration::from_secs(90)),
            Cause::Expired,
        ]
        .map(|cause| cause.to_string());
        assert_eq!(
            texts,
            [
                "as it is more than 24h0m0s old and unhandled.",
                "as it is more than 1h0m0s old and approved.",
                "as it is more than 1m30s old and denied.",
                "as the associated certificate is expired.",
            ]
        );
    }
}
