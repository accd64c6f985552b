//! The rotation deadline: when a certificate renews.
//!
//! A certificate becomes due at one instant between 70 % and 90 % of its lifetime, counted from
//! `notBefore`. The place inside that window comes from the leaf's own fingerprint: it is stable
//! over restarts and the same in every process that looks at the certificate, uniform over a fleet
//! (no herd after a mass enrolment), and there is no draw to repeat and nothing to store.
//!
//! The window is that of the kubelet (client-go `util/certificate/certificate_manager.go`,
//! `nextRotationDeadline`), which draws a new place on every look. A certificate that is no
//! kubelet's may have another one, and a wider one for the first of all: see [`Timing`].

use everleaf_pki::{Fingerprint, Leaf};
use jiff::{SignedDuration, Timestamp};

/// First instant of the window, in percent of the lifetime.
const WINDOW_OPENS: u8 = 70;
/// End of the window, in percent of the lifetime.
const WINDOW_CLOSES: u8 = 90;

/// Earliest opening that can be asked for, in percent of the lifetime: earlier, a certificate would
/// be renewed for hardly having been used.
pub const OPENS_MIN: u8 = 10;
/// Latest end that can be asked for, in percent of the lifetime: later, there would be no time for
/// a second attempt.
pub const CLOSES_MAX: u8 = 95;

/// How long after `notBefore` a first certificate is renewed at the earliest. Signers date
/// certificates back by five minutes (`pkg/controller/certificates/signer` of Kubernetes): what is
/// due at birth would look like a clock that is wrong.
const FIRST_MIN: SignedDuration = SignedDuration::from_mins(10);

/// When a certificate is renewed, in shares of its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Percent of the lifetime that are over when the window opens.
    opens: u8,
    /// Percent that are over when it closes.
    closes: u8,
    /// Percent of the lifetime, before the close, over which the first renewal is spread; 0 is no
    /// more than the window.
    first_spread: u8,
}

/// Why shares of a lifetime are no [`Timing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// The window would lie outside what leaves time to renew.
    #[error(
        "the renewal window must lie between {OPENS_MIN}% and {CLOSES_MAX}% of the lifetime, and open before it closes"
    )]
    Window,
    /// The first renewal would come before the certificate.
    #[error(
        "the first renewal can be spread over at most what is over when the renewal window closes: {closes}%"
    )]
    FirstSpread {
        /// When the window closes.
        closes: u8,
    },
}

impl Default for Timing {
    /// A kubelet's: from 70 % to 90 %, the first renewal like any other.
    fn default() -> Self {
        Self {
            opens: WINDOW_OPENS,
            closes: WINDOW_CLOSES,
            first_spread: 0,
        }
    }
}

impl Timing {
    /// A window that opens and closes when so many percent of the lifetime are over, and the share
    /// of the lifetime before its close over which the first renewal is spread.
    ///
    /// A fleet that was enrolled within a minute renews in one narrow heap for many lifetimes,
    /// until the windows have blurred it; spread once over its first lifetime, it is even from then
    /// on.
    ///
    /// # Errors
    /// [`TimingError`] when there would be no time left to renew in.
    pub fn new(opens: u8, closes: u8, first_spread: u8) -> Result<Self, TimingError> {
        if opens < OPENS_MIN || closes > CLOSES_MAX || opens >= closes {
            return Err(TimingError::Window);
        }
        if first_spread > closes {
            return Err(TimingError::FirstSpread { closes });
        }
        Ok(Self {
            opens,
            closes,
            first_spread,
        })
    }

    /// The same window, and another share over which the first renewal is spread.
    ///
    /// # Errors
    /// It is more than what is over when the window closes.
    pub fn with_first_spread(self, first_spread: u8) -> Result<Self, TimingError> {
        Self::new(self.opens, self.closes, first_spread)
    }

    /// The instant at which rotation of `leaf` becomes due; `is_first`: no other certificate was
    /// there before it.
    ///
    /// Whether that instant has come is the caller's comparison.
    pub fn deadline(&self, leaf: &Leaf, is_first: bool) -> Timestamp {
        let (start, end) = (leaf.not_before(), leaf.not_after());
        self.deadline_at(start, end, place(&leaf.fingerprint()), is_first)
    }

    /// `not_before + lifetime · (opens + (closes − opens) · place / 2^64)`, in whole milliseconds,
    /// rounded down.
    fn deadline_at(
        &self,
        not_before: Timestamp,
        not_after: Timestamp,
        place: u64,
        is_first: bool,
    ) -> Timestamp {
        let opens = if is_first {
            self.opens.min(self.closes - self.first_spread)
        } else {
            self.opens
        };
        let percent =
            (u128::from(opens) << 64) + u128::from(self.closes - opens) * u128::from(place);
        let mut deadline = instant_at(not_before, not_after, percent);
        if opens < self.opens {
            let ordinary = instant_at(not_before, not_after, u128::from(self.opens) << 64);
            let earliest = not_before.saturating_add(FIRST_MIN).unwrap_or(ordinary);
            deadline = deadline.max(earliest.min(ordinary));
        }
        assert!(deadline >= not_before, "a deadline lies after notBefore");
        assert!(deadline < not_after, "a deadline lies before expiry");
        deadline
    }
}

/// The instant at which rotation of `leaf` becomes due: in [70 %, 90 %) of its lifetime.
///
/// Whether that instant has come is the caller's comparison.
pub fn rotation_deadline(leaf: &Leaf) -> Timestamp {
    Timing::default().deadline(leaf, false)
}

/// The same of a certificate of which only dates and fingerprint are known, as a log tells them;
/// `None` where it ends no later than it begins.
pub fn deadline_of(
    not_before: Timestamp,
    not_after: Timestamp,
    fingerprint: &Fingerprint,
) -> Option<Timestamp> {
    (not_before < not_after).then(|| deadline_at(not_before, not_after, place(fingerprint)))
}

/// Between which instants a certificate is renewed by whoever keeps it.
///
/// An agent of ours renews at the [`rotation_deadline`], which lies in it; a kubelet draws a place
/// of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first instant: 70 % of the lifetime are over.
    pub opens: Timestamp,
    /// The end: 90 % are over.
    pub closes: Timestamp,
}

impl Window {
    /// That of a certificate with these dates; `None` where it ends no later than it begins.
    ///
    /// ```
    /// use everleaf_rotation::deadline::Window;
    ///
    /// let at = |text: &str| text.parse().unwrap();
    /// let window = Window::of(at("2030-01-01T00:00:00Z"), at("2030-01-11T00:00:00Z"));
    /// let window = window.unwrap();
    /// assert_eq!(window.opens, at("2030-01-08T00:00:00Z"));
    /// assert_eq!(window.closes, at("2030-01-10T00:00:00Z"));
    /// ```
    pub fn of(not_before: Timestamp, not_after: Timestamp) -> Option<Self> {
        let at = |percent: u8| instant_at(not_before, not_after, u128::from(percent) << 64);
        (not_before < not_after).then(|| Self {
            opens: at(WINDOW_OPENS),
            closes: at(WINDOW_CLOSES),
        })
    }
}

/// A leaf's place in the window, as a numerator over 2^64: the first eight bytes of SHA-256(DER).
fn place(fingerprint: &Fingerprint) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&fingerprint.as_bytes()[..8]);
    u64::from_be_bytes(first)
}

/// The kubelet's rule.
fn deadline_at(not_before: Timestamp, not_after: Timestamp, place: u64) -> Timestamp {
    Timing::default().deadline_at(not_before, not_after, place, false)
}

/// `not_before + lifetime · percent / 100 / 2^64`, in whole milliseconds, rounded down.
fn instant_at(not_before: Timestamp, not_after: Timestamp, percent: u128) -> Timestamp {
    let lifetime = not_after.duration_since(not_before);
    let lifetime_ms = u128::try_from(lifetime.as_millis()).unwrap_or(0);
    // At most 2^48 ms (year 9999) times 95 · 2^64: fits in 128 bits.
    let offset_ms = (lifetime_ms * percent / 100) >> 64;
    let offset = SignedDuration::from_millis(i64::try_from(offset_ms).unwrap_or(i64::MAX));
    not_before.saturating_add(offset).unwrap_or(not_before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{Authority, at, client_order, prepare};
    use proptest::prelude::*;

    const MINUTE: i64 = 60;
    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    /// With the place pinned to the opening of the window (client-go `certificate_manager_test.go`,
    /// `TestSetRotationDeadline`): age and what remains, and where the deadline lies, seen from
    /// now.
    #[track_caller]
    fn check(age: i64, left: i64, expected_minutes: i64) {
        let now = at("2026-08-01T00:00:00Z");
        let not_before = now - SignedDuration::from_secs(age);
        let not_after = now + SignedDuration::from_secs(left);
        let deadline = deadline_at(not_before, not_after, 0);
        assert_eq!(deadline, now + SignedDuration::from_mins(expected_minutes));
    }

    #[test]
    fn the_window_opens_at_seven_tenths() {
        check(HOUR, 99 * HOUR, 69 * 60);
        check(24 * HOUR, 24 * HOUR, 9 * 60 + 36);
        check(69 * HOUR, 31 * HOUR, 60);
        check(91 * HOUR, 9 * HOUR, -21 * 60);
        check(99 * HOUR, HOUR, -29 * 60);
        check(10 * HOUR, -HOUR, -(3 * 60 + 42));
        check(180 * DAY, 180 * DAY, 72 * 24 * 60);
        check(5 * MINUTE, 5 * MINUTE, 2);
    }

    #[test]
    fn thirty_seconds_on_either_side_are_due_in_twelve() {
        let now = at("2026-08-01T00:00:00Z");
        let half = SignedDuration::from_secs(30);
        assert_eq!(
            deadline_at(now - half, now + half, 0),
            now + SignedDuration::from_secs(12)
        );
    }

    #[test]
    fn the_smallest_lifetimes_have_a_deadline_inside() {
        let start = at("2026-08-01T00:00:00Z");
        for seconds in [1, 2, 10, 600] {
            let end = start + SignedDuration::from_secs(seconds);
            for place in [0, 1, u64::MAX / 2, u64::MAX] {
                let deadline = deadline_at(start, end, place);
                assert!(start < deadline && deadline < end);
            }
        }
    }

    #[test]
    fn a_fleet_spreads_evenly() {
        // 10,000 fingerprints: each tenth of the window holds its share within four sigma.
        let start = at("2026-08-01T00:00:00Z");
        let end = start + SignedDuration::from_hours(8760);
        let mut tenths = [0_u32; 10];
        let mut generator = crate::backoff::Generator::from_seed(2026);
        for _ in 0..10_000 {
            let mut bytes = [0; 32];
            for part in bytes.chunks_mut(8) {
                part.copy_from_slice(&generator.next_u64().to_be_bytes());
            }
            let deadline = deadline_at(start, end, place(&Fingerprint::new(bytes)));
            let share = deadline.duration_since(start).as_secs_f64()
                / end.duration_since(start).as_secs_f64();
            assert!((0.7..0.9).contains(&share));
            tenths[((share - 0.7) * 50.0) as usize] += 1;
        }
        assert!(
            tenths.iter().all(|count| (880..=1120).contains(count)),
            "{tenths:?}"
        );
    }

    #[test]
    fn real_leaves_of_a_fleet_differ_and_each_stays_the_same() {
        let mut authority = Authority::new();
        let (start, end) = (at("2026-08-01T00:00:00Z"), at("2027-08-01T00:00:00Z"));
        let (pending, _) = prepare(client_order(), 1, start);
        let mut deadlines = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let chain = authority.issue(&pending, start, end);
            let again = Leaf::from_der(chain.leaf().der()).unwrap();
            assert_eq!(rotation_deadline(chain.leaf()), rotation_deadline(&again));
            deadlines.insert(rotation_deadline(&again));
        }
        assert_eq!(deadlines.len(), 200);
        let half = start + SignedDuration::from_hours(8760 * 8 / 10);
        let early = deadlines
            .iter()
            .filter(|deadline| **deadline < half)
            .count();
        assert!((60..=140).contains(&early), "{early}");
    }

    #[test]
    fn what_leaves_no_time_is_no_timing() {
        assert_eq!(Timing::new(70, 90, 0), Ok(Timing::default()));
        for (opens, closes) in [(9, 50), (50, 96), (50, 50), (90, 70), (0, 0), (255, 255)] {
            assert_eq!(Timing::new(opens, closes, 0), Err(TimingError::Window));
        }
        assert!(Timing::new(10, 95, 95).is_ok());
        let early = Timing::new(30, 40, 41);
        assert_eq!(early, Err(TimingError::FirstSpread { closes: 40 }));
    }

    #[test]
    fn the_first_renewal_is_spread_and_never_due_at_birth() {
        let start = at("2026-08-01T00:00:00Z");
        let end = start + SignedDuration::from_hours(100);
        let spread = Timing::new(70, 90, 90).unwrap();
        let due = |place, is_first| spread.deadline_at(start, end, place, is_first);
        let minutes = |minutes| start + SignedDuration::from_mins(minutes);
        // Only the first, and not within ten minutes of its birth.
        assert_eq!(due(0, false), minutes(70 * 60));
        assert_eq!(due(0, true), minutes(10));
        assert_eq!(due(1 << 63, true), minutes(45 * 60));
        assert_eq!(due(1 << 63, false), minutes(80 * 60));
        // Less than the window is no more than the window.
        let little = Timing::new(70, 90, 10).unwrap();
        assert_eq!(little.deadline_at(start, end, 0, true), minutes(70 * 60));
        let half = Timing::new(70, 90, 50).unwrap();
        assert_eq!(half.deadline_at(start, end, 0, true), minutes(40 * 60));
        // One that lives for ten minutes is not later for it.
        let end = start + SignedDuration::from_mins(10);
        assert_eq!(spread.deadline_at(start, end, 0, true), minutes(7));
    }

    /// A fleet enrolled in one minute: the busiest tenth of its first lifetime.
    #[test]
    fn a_fleet_that_is_spread_has_no_heap() {
        let start = at("2026-08-01T00:00:00Z");
        let end = start + SignedDuration::from_hours(240);
        let busiest = |timing: Timing| {
            let mut generator = crate::backoff::Generator::from_seed(2026);
            let mut tenths = [0_u32; 10];
            for _ in 0..10_000 {
                let due = timing.deadline_at(start, end, generator.next_u64(), true);
                let hours = due.duration_since(start).as_hours();
                tenths[usize::try_from(hours / 24).unwrap()] += 1;
            }
            tenths.into_iter().max().unwrap()
        };
        assert!(busiest(Timing::default()) > 4_800);
        assert!(busiest(Timing::new(70, 90, 90).unwrap()) < 1_300);
    }

    /// Renewals of a fleet that was enrolled at one instant: after how many of them the busiest
    /// hundredth of a lifetime stays within 1.5 times the mean.
    fn even_after(timing: Timing) -> usize {
        const NODES: u32 = 20_000;
        const RENEWALS: usize = 24;
        let lifetime = SignedDuration::from_hours(100);
        let enrolled = at("2026-08-01T00:00:00Z");
        let mut generator = crate::backoff::Generator::from_seed(2026);
        let mut hours = vec![0_u32; 100 * RENEWALS];
        for _ in 0..NODES {
            let mut begins = enrolled;
            for renewal in 0..RENEWALS {
                let place = generator.next_u64();
                begins = timing.deadline_at(begins, begins + lifetime, place, renewal == 0);
                let hour = begins.duration_since(enrolled).as_hours();
                hours[usize::try_from(hour).unwrap()] += 1;
            }
        }
        // One renewal is 80 hours on average. The last few are not whole: who renews early has
        // none left.
        let busiest = |n: usize| hours[80 * n..80 * (n + 1)].iter().max().copied().unwrap();
        let uneven = (0..RENEWALS - 4).rfind(|n| busiest(*n) * 80 * 2 > NODES * 3);
        uneven.map_or(0, |n| n + 1)
    }

    #[test]
    fn a_fleet_enrolled_at_once_is_soon_even_when_its_first_renewal_is_spread() {
        let spread = even_after(Timing::new(70, 90, 90).unwrap());
        let unspread = even_after(Timing::default());
        assert!((1..=5).contains(&spread), "{spread} renewals");
        assert!((12..=17).contains(&unspread), "{unspread} renewals");
    }

    proptest! {
        #[test]
        fn every_timing_leaves_time_to_renew(
            start in 0_i64..4_000_000_000,
            lifetime in 1_i64..249_000_000_000,
            place: u64,
            opens in OPENS_MIN..CLOSES_MAX,
            width in 1_u8..90,
            first_spread: u8,
            is_first: bool,
        ) {
            let closes = (opens + width).min(CLOSES_MAX);
            let timing = Timing::new(opens, closes, first_spread % (closes + 1)).unwrap();
            let not_before = Timestamp::from_second(start).unwrap();
            let not_after = Timestamp::from_second(start + lifetime).unwrap();
            let due = timing.deadline_at(not_before, not_after, place, is_first);
            let close = instant_at(not_before, not_after, u128::from(closes) << 64);
            prop_assert!(not_before <= due && due <= close && close < not_after);
            let earliest = not_before + SignedDuration::from_mins(10);
            let open = instant_at(not_before, not_after, u128::from(opens) << 64);
            prop_assert!(due >= open || (is_first && due >= earliest));
        }

        #[test]
        fn every_deadline_lies_in_the_window(
            start in 0_i64..4_000_000_000,
            lifetime in 1_i64..249_000_000_000,
            place: u64,
        ) {
            let not_before = Timestamp::from_second(start).unwrap();
            let not_after = Timestamp::from_second(start + lifetime).unwrap();
            let deadline = deadline_at(not_before, not_after, place);
            let offset_ms = deadline.duration_since(not_before).as_millis();
            let lifetime_ms = i128::from(lifetime) * 1000;
            let window = Window::of(not_before, not_after).unwrap();
            prop_assert!(window.opens <= deadline && deadline <= window.closes);
            prop_assert!(not_before <= window.opens && window.closes < not_after);
            prop_assert!(offset_ms * 10 >= lifetime_ms * 7 - 10);
            prop_assert!(offset_ms * 10 < lifetime_ms * 9);
        }
    }
}
