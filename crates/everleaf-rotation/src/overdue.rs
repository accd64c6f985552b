//! Which certificate a person should look after: one rule for the log, metrics and readiness.
//!
//! A renewal that waits a moment is ordinary. It is overdue when the certificate has ended, or when
//! the server has had the request for [`DECISION_MAX`] and the certificate is past its rotation
//! deadline, or there is none at all.

use crate::store::{PendingRequest, RequestName};
use jiff::{SignedDuration, Timestamp};

/// How long an approver and a signer that work by themselves may take.
pub const DECISION_MAX: SignedDuration = SignedDuration::from_mins(5);

/// When a certificate is due, and when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dates {
    /// Rotation deadline.
    pub deadline: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
}

/// A request that the server has and did not answer yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The request.
    pub name: RequestName,
    /// When it was made, by this host's clock.
    pub since: Timestamp,
}

impl Waiting {
    /// What `pending` waits for since when, if the server has it.
    pub fn of(pending: Option<&PendingRequest>) -> Option<Self> {
        let pending = pending.filter(|pending| pending.uid.is_some())?;
        Some(Self {
            name: pending.name.clone(),
            since: pending.created,
        })
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// The certificate has ended, and no other has taken its place.
    Ended {
        /// When.
        at: Timestamp,
        /// The request for its successor, if the server has one.
        request: Option<Waiting>,
    },
    /// There is no certificate yet: the first request waits.
    First(Waiting),
    /// The certificate is past its rotation deadline, and the request for its successor waits.
    Renewal {
        /// The request.
        request: Waiting,
        /// The certificate.
        dates: Dates,
    },
}

impl Overdue {
    /// The metric label: `ended`, `first_request_pending`, `renewal_pending`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ended { .. } => "ended",
            Self::First(_) => "first_request_pending",
            Self::Renewal { .. } => "renewal_pending",
        }
    }

    /// Every metric label that there is.
    pub const LABELS: [&'static str; 3] = ["ended", "first_request_pending", "renewal_pending"];
}

/// What is overdue at `now` about a certificate of these dates, with this request under way.
pub fn overdue(dates: Option<Dates>, request: Option<Waiting>, now: Timestamp) -> Option<Overdue> {
    if let Some(dates) = dates
        && dates.not_after < now
    {
        let at = dates.not_after;
        return Some(Overdue::Ended { at, request });
    }
    let request = request.filter(|request| now.duration_since(request.since) >= DECISION_MAX)?;
    match dates {
        None => Some(Overdue::First(request)),
        Some(dates) if dates.deadline <= now => Some(Overdue::Renewal { request, dates }),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(60 * minutes).unwrap()
    }

    /// A certificate that is due at minute 80 and ends at minute 100.
    const DATES: Dates = Dates {
        deadline: Timestamp::constant(80 * 60, 0),
        not_after: Timestamp::constant(100 * 60, 0),
    };

    #[track_caller]
    fn check(dates: Option<Dates>, since: Option<i64>, now: i64, expected: Option<&str>) {
        let request = since.map(|since| Waiting {
            name: RequestName::new("r"),
            since: at(since),
        });
        let found = overdue(dates, request, at(now));
        let label = found.as_ref().map(Overdue::as_str);
        assert_eq!(label, expected, "{since:?} at {now}");
        assert!(label.is_none_or(|label| Overdue::LABELS.contains(&label)));
    }

    #[test]
    fn a_renewal_has_five_minutes() {
        let dates = Some(DATES);
        for (since, now, expected) in [
            (None, 90, None),
            (Some(80), 80, None),
            (Some(80), 84, None),
            (Some(80), 85, Some("renewal_pending")),
            (Some(80), 100, Some("renewal_pending")),
            (Some(80), 101, Some("ended")),
            (None, 101, Some("ended")),
            // For another name, long before the deadline: that can wait.
            (Some(10), 79, None),
            (Some(10), 80, Some("renewal_pending")),
            // A clock that was set back.
            (Some(90), 82, None),
        ] {
            check(dates, since, now, expected);
        }
    }

    #[test]
    fn a_first_request_too() {
        check(None, None, 90, None);
        check(None, Some(80), 84, None);
        check(None, Some(80), 85, Some("first_request_pending"));
    }

    #[test]
    fn a_new_certificate_of_a_minute_is_not_overdue_at_birth() {
        let dates = Dates {
            deadline: at(81),
            not_after: at(82),
        };
        check(Some(dates), Some(81), 82, None);
        check(Some(dates), Some(81), 83, Some("ended"));
    }
}
