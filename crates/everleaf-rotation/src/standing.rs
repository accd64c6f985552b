//! The standing of a credential: one of five words, a function of leaf and wall time.
//!
//! The same words appear in code, metrics and user interfaces. Standing is an opinion of *this*
//! host's clock; whether a server still accepts the credential is the server's decision
//! (a credential called expired here is presented all the same).

use crate::deadline::rotation_deadline;
use everleaf_pki::Leaf;
use jiff::Timestamp;

/// Where a leaf stands in its life, by one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// There is no leaf.
    Absent,
    /// The clock is before `notBefore`: the clock or the signer's is wrong.
    NotYetValid,
    /// Valid, and its rotation deadline lies ahead.
    Fresh,
    /// Valid, and its rotation deadline has come.
    Due,
    /// The clock is after `notAfter` (the instant `notAfter` itself is valid, RFC 5280 4.1.2.5).
    Expired,
}

impl Standing {
    /// The standing of `leaf` at `now`.
    pub fn of(leaf: Option<&Leaf>, now: Timestamp) -> Self {
        let Some(leaf) = leaf else {
            return Self::Absent;
        };
        Self::by_dates(
            leaf.not_before(),
            leaf.not_after(),
            rotation_deadline(leaf),
            now,
        )
    }

    /// The same of a certificate with these dates, which is due at `due`.
    pub fn by_dates(
        not_before: Timestamp,
        not_after: Timestamp,
        due: Timestamp,
        now: Timestamp,
    ) -> Self {
        if now < not_before {
            Self::NotYetValid
        } else if now > not_after {
            Self::Expired
        } else if now >= due {
            Self::Due
        } else {
            Self::Fresh
        }
    }

    /// The word, in lower case: `absent`, `not yet valid`, `fresh`, `due`, `expired`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::NotYetValid => "not yet valid",
            Self::Fresh => "fresh",
            Self::Due => "due",
            Self::Expired => "expired",
        }
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{Authority, at, client_order, prepare};
    use jiff::SignedDuration;

    #[test]
    fn the_five_standings_meet_at_the_second() {
        let (start, end) = (at("2026-08-01T00:00:00Z"), at("2026-08-02T00:00:00Z"));
        let (pending, _) = prepare(client_order(), 1, start);
        let chain = Authority::new().issue(&pending, start, end);
        let leaf = Some(chain.leaf());
        let due = rotation_deadline(chain.leaf());
        let instant = SignedDuration::from_millis(1);
        assert_eq!(Standing::of(None, start), Standing::Absent);
        for (now, expected) in [
            (Timestamp::MIN, Standing::NotYetValid),
            (start - instant, Standing::NotYetValid),
            (start, Standing::Fresh),
            (due - instant, Standing::Fresh),
            (due, Standing::Due),
            (end, Standing::Due),
            (end + instant, Standing::Expired),
            (Timestamp::MAX, Standing::Expired),
        ] {
            assert_eq!(Standing::of(leaf, now), expected, "{now}");
        }
    }
}
