//! How many renewals are to come each day.

use crate::certificate::Certificate;
use crate::holding::Renewal;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Certificates that last no longer are counted by their rate: each is renewed so often that
/// single draws tell nothing.
const SHORT: SignedDuration = SignedDuration::from_hours(48);
/// Middle of the window, in tenths of a life.
const MIDDLE_TENTHS: f64 = 8.0;

/// Renewals per day, one number per day of the horizon, the first of which begins now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Of each day.
    pub per_day: Vec<u64>,
    /// Of all days.
    pub total: u64,
    /// The most of one day.
    pub peak: u64,
    /// That day; 0 is the one that begins now.
    pub peak_day: usize,
}

/// Adds up what is renewed when.
#[derive(Debug)]
pub(crate) struct Counter {
    from: Timestamp,
    until: Timestamp,
    per_day: Vec<f64>,
}

impl Counter {
    pub(crate) fn new(from: Timestamp, days: usize) -> Self {
        let hours = i64::try_from(days).unwrap_or(i64::MAX).saturating_mul(24);
        let horizon = SignedDuration::from_hours(hours);
        Self {
            from,
            until: from.saturating_add(horizon).unwrap_or(Timestamp::MAX),
            per_day: vec![0.0; days],
        }
    }

    pub(crate) const fn until(&self) -> Timestamp {
        self.until
    }

    fn add(&mut self, at: Timestamp, count: f64) {
        let day = at.duration_since(self.from).as_secs() / DAY.as_secs();
        let slot = usize::try_from(day)
            .ok()
            .and_then(|day| self.per_day.get_mut(day));
        if let Some(slot) = slot {
            *slot += count;
        }
    }

    /// All renewals of a certificate and its successors, which are taken to last as long as it;
    /// none after `ends`.
    pub(crate) fn note(
        &mut self,
        certificate: &Certificate,
        renewal: &Renewal,
        ends: Option<Timestamp>,
    ) {
        let life = certificate.not_after.duration_since(certificate.not_before);
        let until = ends.map_or(self.until, |ends| ends.min(self.until));
        // Who is due comes now. The place of a kubelet is drawn as ours is: from the leaf.
        let first = renewal.deadline.max(self.from);
        if life < SHORT {
            return self.note_rate(first, until, life);
        }
        let mut at = first;
        let mut seed = certificate.seed();
        while at < until {
            self.add(at, 1.0);
            seed = scrambled(seed);
            let tenths = 7.0 + 2.0 * (seed >> 11) as f64 / (1_u64 << 53) as f64;
            let wait = SignedDuration::from_secs((life.as_secs() as f64 * tenths / 10.0) as i64);
            let Ok(next) = at.checked_add(wait.max(DAY)) else {
                return;
            };
            at = next;
        }
    }

    fn note_rate(&mut self, first: Timestamp, until: Timestamp, life: SignedDuration) {
        let spacing = (life.as_secs() as f64 * MIDDLE_TENTHS / 10.0).max(1.0);
        let mut begin = first;
        while begin < until {
            let age = begin.duration_since(self.from).as_secs();
            let rest = DAY.as_secs() - age.rem_euclid(DAY.as_secs());
            let end = begin.saturating_add(SignedDuration::from_secs(rest));
            let end = end.unwrap_or(Timestamp::MAX).min(until);
            let seconds = end.duration_since(begin).as_secs_f64();
            self.add(begin, seconds / spacing);
            begin = end;
        }
    }

    pub(crate) fn finish(self) -> Load {
        let per_day: Vec<u64> = self
            .per_day
            .iter()
            .map(|count| count.round() as u64)
            .collect();
        let peak = per_day.iter().copied().max().unwrap_or(0);
        Load {
            total: per_day.iter().sum(),
            peak,
            peak_day: per_day.iter().position(|count| *count == peak).unwrap_or(0),
            per_day,
        }
    }
}

/// The next number of a sequence without pattern (splitmix64).
const fn scrambled(seed: u64) -> u64 {
    let sum = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (sum ^ (sum >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::world::{at, certificate};
    use proptest::prelude::*;

    fn renewal(certificate: &Certificate) -> Renewal {
        let window = certificate.window().unwrap();
        Renewal {
            opens: window.opens,
            until: window.closes,
            closes: window.closes,
            deadline: certificate.deadline().unwrap(),
        }
    }

    #[test]
    fn a_certificate_of_a_hundred_days_is_renewed_once_in_its_window_and_again() {
        let now = at("2030-01-01T00:00:00Z");
        let one = certificate(
            "system:node:n1",
            now,
            now + SignedDuration::from_hours(2400),
        );
        let mut counter = Counter::new(now, 365);
        counter.note(&one, &renewal(&one), None);
        let load = counter.finish();
        let days: Vec<usize> = (0..365).filter(|day| load.per_day[*day] > 0).collect();
        assert!((70..90).contains(&days[0]), "{days:?}");
        assert!(
            days.windows(2)
                .all(|pair| (69..=91).contains(&(pair[1] - pair[0])))
        );
        assert_eq!(load.total, days.len() as u64);
        assert!((4..=5).contains(&days.len()), "{days:?}");
    }

    #[test]
    fn short_lives_count_by_their_rate_and_stop_with_their_authority() {
        let now = at("2030-01-01T00:00:00Z");
        let one = certificate("system:node:n1", now, now + SignedDuration::from_hours(1));
        let mut counter = Counter::new(now, 10);
        counter.note(&one, &renewal(&one), Some(now + DAY * 5));
        let load = counter.finish();
        assert_eq!(load.per_day, [29, 30, 30, 30, 30, 0, 0, 0, 0, 0]);
        assert_eq!((load.peak, load.peak_day, load.total), (30, 1, 149));
    }

    proptest! {
        #[test]
        fn who_is_due_comes_today_and_nobody_comes_outside_the_horizon(
            age_days in 0_i64..80,
            days in 1_usize..400,
        ) {
            let now = at("2030-01-01T00:00:00Z");
            let start = now - SignedDuration::from_hours(24 * age_days);
            let one = certificate("system:node:n1", start, start + SignedDuration::from_hours(2400));
            let mut counter = Counter::new(now, days);
            counter.note(&one, &renewal(&one), None);
            let load = counter.finish();
            prop_assert_eq!(load.per_day.len(), days);
            prop_assert_eq!(load.total, load.per_day.iter().sum::<u64>());
            if one.deadline().unwrap() <= now {
                prop_assert_eq!(load.per_day[0], 1);
            }
            prop_assert!(load.total as usize <= days / 69 + 1);
        }
    }
}
