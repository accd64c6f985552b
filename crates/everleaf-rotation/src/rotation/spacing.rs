//! How soon a success may be followed by another rotation, and how many requests an hour may see.
//!
//! The signer dates certificates by its clock, the node judges them by its own. When only one of
//! the two was moved, a new certificate can be in its rotation window, or expired, at birth, and a
//! machine that believes its clock asks again at once, for ever. Two bounds prevent that without
//! ever letting the certificate lapse on the server's clock.

use crate::notice::Cause;
use crate::standing::Standing;
use crate::time::Monotonic;
use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;
use std::time::Duration;

/// Shortest time between two rotations.
const SPACING_MIN: Duration = Duration::from_secs(10);
/// Doubling ends here, unless 5 % of the certificate's life is longer.
const SPACING_DOUBLED_MAX: Duration = Duration::from_secs(60 * 60);
/// Requests are counted over this long: an hour of this process, or of the server if its clock went
/// on faster, as when the machine slept or both clocks were moved.
const REQUEST_WINDOW: Duration = Duration::from_secs(60 * 60);
/// Requests that any machine may make in that time.
const REQUESTS_MIN: u64 = 5;

/// What a newly installed certificate looks like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Born {
    /// The server's clock when it was delivered, as near as is known.
    pub(super) server: Timestamp,
    /// What remains of it by the server's clock.
    pub(super) life: Duration,
    /// Standing by our clock.
    pub(super) standing: Standing,
    /// Until its rotation deadline, by our clock.
    pub(super) due_in: SignedDuration,
    /// It lacks something that the template wants.
    pub(super) lacks_wanted: bool,
}

/// What is remembered of the last installed certificate, in this process.
#[derive(Clone, Debug)]
struct Birth {
    at: Monotonic,
    /// What remained of it by the server's clock.
    life: Duration,
    /// Standing by our clock.
    standing: Standing,
    /// Wait before a rotation for the deadline's sake.
    spacing: Duration,
    /// The clock was stepped since, and that changed the standing: waiting protects nothing now.
    is_released: bool,
    /// The clock was stepped since.
    is_clock_stepped: bool,
}

/// Spacing of rotations and the limit on requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Spacing {
    birth: Option<Birth>,
    /// Certificates in a row that were due at birth, or in the first half of what remained of them.
    born_due: u32,
    /// Certificates in a row that lacked something wanted at birth.
    born_lacking: u32,
    /// Requests that were prepared, oldest first.
    prepared: VecDeque<Prepared>,
    /// Both clocks when a certificate was last installed.
    last_delivery: Option<(Monotonic, Timestamp)>,
}

/// A request that was prepared.
#[derive(Clone, Copy, Debug)]
struct Prepared {
    at: Monotonic,
    /// How much more the server's clock has gone on since.
    surplus: Duration,
}

impl Prepared {
    fn age(self, now: Monotonic) -> Duration {
        now.since(self.at).saturating_add(self.surplus)
    }
}

/// Why a new request has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// The last rotation was a moment ago.
    Spaced(Monotonic),
    /// The limit of requests is reached.
    Limited(Monotonic),
}

impl Spacing {
    /// Takes in a newly installed certificate; returns the wait before it may be rotated again.
    pub(super) fn installed(&mut self, at: Monotonic, born: Born) -> Duration {
        self.age_requests(at, born.server);
        let half = SignedDuration::try_from(born.life / 2).unwrap_or_default();
        let is_due = born.due_in < half;
        let count = |times: u32, again: bool| if again { times.saturating_add(1) } else { 0 };
        self.born_due = count(self.born_due, is_due);
        self.born_lacking = count(self.born_lacking, born.lacks_wanted);
        let spacing = spacing(born.life, self.born_due);
        self.birth = Some(Birth {
            at,
            life: born.life,
            standing: born.standing,
            spacing,
            is_released: false,
            is_clock_stepped: false,
        });
        spacing
    }

    /// The server's clock may go on faster than ours: then the requests so far are as old as it
    /// says.
    fn age_requests(&mut self, at: Monotonic, server: Timestamp) {
        if let Some((then, server_then)) = self.last_delivery.replace((at, server)) {
            let there = Duration::try_from(server.duration_since(server_then)).unwrap_or_default();
            let surplus = there.saturating_sub(at.since(then));
            for request in &mut self.prepared {
                request.surplus = request.surplus.saturating_add(surplus);
            }
        }
    }

    /// The current credential is another one than the one last installed.
    pub(super) fn forget(&mut self) {
        self.birth = None;
        self.born_due = 0;
        self.born_lacking = 0;
    }

    /// The clock was stepped; `standing` is by the new clock.
    pub(super) fn clock_stepped(&mut self, standing: Standing) {
        if let Some(birth) = &mut self.birth {
            birth.is_clock_stepped = true;
            birth.is_released |= standing != birth.standing;
        }
    }

    /// A request was prepared.
    pub(super) fn prepared(&mut self, at: Monotonic) {
        let surplus = Duration::ZERO;
        self.prepared.push_back(Prepared { at, surplus });
    }

    /// Why a request for `cause` has to wait, if it has to. `lifetime` is the current leaf's.
    pub(super) fn gate(
        &mut self,
        now: Monotonic,
        cause: Cause,
        lifetime: Option<Duration>,
    ) -> Option<Gate> {
        if let Some(birth) = &self.birth {
            let until = birth.at + self.spacing_for(birth, cause);
            if now < until {
                return Some(Gate::Spaced(until));
            }
        }
        while self
            .prepared
            .front()
            .is_some_and(|request| request.age(now) >= REQUEST_WINDOW)
        {
            self.prepared.pop_front();
        }
        let limit = requests_max(self.birth.as_ref().map(|birth| birth.life).or(lifetime));
        if (self.prepared.len() as u64) < limit || self.is_harmless(now, cause) {
            return None;
        }
        let oldest = self.prepared.front().map(|request| request.age(now));
        let until = now + REQUEST_WINDOW.saturating_sub(oldest.unwrap_or_default());
        let is_renewal = matches!(cause, Cause::Deadline | Cause::Expired);
        let late = self
            .birth
            .as_ref()
            .filter(|_| is_renewal)
            .map(|birth| birth.at + late(birth.life));
        Some(Gate::Limited(late.map_or(until, |late| late.min(until))))
    }

    fn spacing_for(&self, birth: &Birth, cause: Cause) -> Duration {
        match cause {
            Cause::Deadline | Cause::Expired if !birth.is_released => birth.spacing,
            Cause::Template => doubled(SPACING_MIN, self.born_lacking).min(SPACING_DOUBLED_MAX),
            Cause::Absent | Cause::Refused => Duration::ZERO,
            Cause::Authority | Cause::Deadline | Cause::Expired => SPACING_MIN,
        }
    }

    /// Rotations that bound themselves are not held up by the limit, lest a certificate lapse:
    /// those of a certificate that came of age, and those late in its life.
    fn is_harmless(&self, now: Monotonic, cause: Cause) -> bool {
        let Some(birth) = &self.birth else {
            return false;
        };
        if !matches!(cause, Cause::Deadline | Cause::Expired) {
            return false;
        }
        let age = now.since(birth.at);
        let came_of_age = self.born_due == 0 && !birth.is_clock_stepped;
        (came_of_age && age >= birth.life / 2) || age >= late(birth.life)
    }
}

/// Requests that may be made per hour: `max(5, 2 h / life)`.
fn requests_max(life: Option<Duration>) -> u64 {
    let life = life.map_or(REQUEST_WINDOW, |life| life.max(SPACING_MIN));
    (2 * REQUEST_WINDOW.as_secs() / life.as_secs().max(1)).max(REQUESTS_MIN)
}

/// `max(10 s, 5 % of life)`; doubled for each certificate in a row that was due at birth, up to 1 h
/// and from the second on at once; never past four fifths of its life.
fn spacing(life: Duration, born_due: u32) -> Duration {
    let base = (life / 20).max(SPACING_MIN);
    let ceiling = base.max(SPACING_DOUBLED_MAX);
    let wait = match born_due {
        0 | 1 => doubled(base, born_due).min(ceiling),
        _ => ceiling,
    };
    wait.min(late(life)).max(SPACING_MIN)
}

/// Four fifths of a life: late enough to be seldom, early enough for a renewal to succeed.
fn late(life: Duration) -> Duration {
    life / 5 * 4
}

fn doubled(wait: Duration, times: u32) -> Duration {
    wait.saturating_mul(1 << times.min(16))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(minutes: u64) -> Monotonic {
        Monotonic::from_origin(Duration::from_secs(60 * minutes))
    }

    fn born(life: Duration, due_in_minutes: i64) -> Born {
        let due_in = SignedDuration::from_mins(due_in_minutes);
        let standing = if due_in_minutes > 0 {
            Standing::Fresh
        } else {
            Standing::Due
        };
        Born {
            server: Timestamp::UNIX_EPOCH,
            life,
            standing,
            due_in,
            lacks_wanted: false,
        }
    }

    #[test]
    fn the_wait_is_a_twentieth_of_life_doubled_once_then_the_ceiling() {
        for (life_minutes, born_due, seconds) in [
            (1, 0, 10),
            (20, 0, 60),
            (20, 1, 120),
            (20, 2, 16 * 60),
            (20, 9, 16 * 60),
            (600, 0, 1800),
            (600, 1, 3600),
            (600, 2, 3600),
            // A year: a twentieth is longer than the ceiling of doubling.
            (365 * 1440, 1, 365 * 86400 / 20),
            (365 * 1440, 5, 365 * 86400 / 20),
            (0, 3, 10),
        ] {
            let life = Duration::from_secs(60 * life_minutes);
            let wait = spacing(life, born_due);
            assert_eq!(
                wait,
                Duration::from_secs(seconds),
                "{life_minutes} min, {born_due}"
            );
        }
    }

    #[test]
    fn the_limit_is_five_an_hour_or_twice_per_life() {
        assert_eq!(requests_max(None), 5);
        assert_eq!(requests_max(Some(HOUR)), 5);
        assert_eq!(requests_max(Some(HOUR / 6)), 12);
        assert_eq!(requests_max(Some(Duration::ZERO)), 720);
    }

    #[test]
    fn an_hour_of_the_server_counts_as_an_hour() {
        // The server's clock goes on by 18 minutes per minute: no more than four requests an hour.
        let mut spacing = Spacing::default();
        for minute in 0..50 {
            let gate = spacing.gate(at(minute), Cause::Refused, None);
            assert_eq!(gate, None, "{minute}");
            spacing.prepared(at(minute));
            let mut born = born(HOUR / 3, 10);
            born.server += SignedDuration::from_mins(18 * minute.cast_signed());
            spacing.installed(at(minute), born);
        }
        // One that stands still takes none away.
        let mut spacing = Spacing::default();
        for minute in 0..6 {
            spacing.prepared(at(minute));
            spacing.installed(at(minute), born(HOUR / 3, 10));
        }
        let gate = spacing.gate(at(7), Cause::Refused, None);
        assert!(matches!(gate, Some(Gate::Limited(_))), "{gate:?}");
    }

    #[test]
    fn the_limit_never_makes_a_certificate_lapse() {
        // Five requests in the first minute; the last brought a certificate of 30 minutes.
        let mut spacing = Spacing::default();
        for _ in 0..5 {
            spacing.prepared(at(0));
        }
        spacing.installed(at(1), born(HOUR / 2, 20));
        spacing.clock_stepped(Standing::Due);
        let gate = |spacing: &mut Spacing, minute| spacing.gate(at(minute), Cause::Deadline, None);
        assert_eq!(
            gate(&mut spacing, 16),
            Some(Gate::Limited(at(25))),
            "set clock, early"
        );
        assert_eq!(
            gate(&mut spacing, 25),
            None,
            "four fifths of its life are over"
        );
        let mut spacing = Spacing::default();
        for _ in 0..5 {
            spacing.prepared(at(0));
        }
        spacing.installed(at(1), born(HOUR / 2, 20));
        assert_eq!(
            gate(&mut spacing, 15),
            Some(Gate::Limited(at(25))),
            "in its first half"
        );
        assert_eq!(gate(&mut spacing, 16), None, "it came of age");
        // Being late lets nothing but a renewal through: a gate that opened then would be asked for
        // ever.
        for minute in [24, 30] {
            assert_eq!(
                spacing.gate(at(minute), Cause::Refused, None),
                Some(Gate::Limited(at(60)))
            );
        }
        assert_eq!(
            spacing.gate(at(60), Cause::Refused, None),
            None,
            "an hour later"
        );
    }

    #[test]
    fn a_step_that_changes_the_standing_leaves_ten_seconds() {
        let mut spacing = Spacing::default();
        spacing.installed(at(0), born(24 * HOUR, 0));
        let gate = |spacing: &mut Spacing| spacing.gate(at(1), Cause::Deadline, None);
        spacing.clock_stepped(Standing::Due);
        assert!(gate(&mut spacing).is_some(), "as due as before");
        spacing.clock_stepped(Standing::Expired);
        assert_eq!(gate(&mut spacing), None);
        let now = Monotonic::from_origin(Duration::from_secs(9));
        assert!(spacing.gate(now, Cause::Deadline, None).is_some());
    }
}
