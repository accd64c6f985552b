//! What is to be done for a profile's files and its program, and when: decisions only.
//!
//! The files are looked at when there is another certificate, and every minute: somebody may have
//! changed them. When they were written the action is owed, until it has succeeded; a mark on disk
//! remembers that over a crash.

use everleaf_rotation::Monotonic;
use std::time::Duration;

/// How long a look at the files counts. It is no reason to wake up: the agent does so every minute
/// anyway ([`NAP_MAX`](everleaf_rotation::NAP_MAX)), and hundreds of profiles must not bring
/// hundreds of wake-ups.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// How long to wait after each failure of an action; after one more it is given up until the files
/// are written again, or the agent is started again.
pub(super) const ACTION_WAITS: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(10 * 60),
];

/// What became of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The files are as they should be.
    Good,
    /// They were written.
    Written,
    /// They are not, and cannot be written.
    Bad,
}

/// What became of an action, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It succeeded.
    Done,
    /// It failed, and is tried again after so long.
    Again(Duration),
    /// It failed too often.
    GivenUp,
}

/// The action that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owed {
    failures: usize,
    at: Monotonic,
    is_running: bool,
    /// The files were written again while it ran.
    is_late: bool,
}

/// State of one profile.
#[derive(Clone, Debug)]
pub(super) struct Upkeep {
    has_action: bool,
    /// When to look next; `None` while there is no certificate.
    look_at: Option<Monotonic>,
    is_good: bool,
    owed: Option<Owed>,
    is_given_up: bool,
}

impl Upkeep {
    /// `is_owed`: the mark of an earlier run is there.
    pub(super) fn new(has_action: bool, is_owed: bool, now: Monotonic) -> Self {
        let mut upkeep = Self {
            has_action,
            look_at: None,
            is_good: false,
            owed: None,
            is_given_up: false,
        };
        if is_owed {
            upkeep.owe(now);
        }
        upkeep
    }

    fn owe(&mut self, now: Monotonic) {
        self.is_given_up = false;
        match &mut self.owed {
            Some(owed) if owed.is_running => owed.is_late = true,
            _ if self.has_action => {
                self.owed = Some(Owed {
                    failures: 0,
                    at: now,
                    is_running: false,
                    is_late: false,
                });
            }
            _ => {}
        }
    }

    /// There is another certificate.
    pub(super) fn certificate_changed(&mut self, now: Monotonic) {
        self.look_at = Some(now);
    }

    /// Whether the files are to be looked at.
    pub(super) fn wants_look(&self, now: Monotonic) -> bool {
        self.look_at.is_some_and(|at| at <= now)
    }

    /// Takes in what a look has shown.
    pub(super) fn looked(&mut self, now: Monotonic, seen: Seen) {
        self.look_at = Some(now + LOOK_INTERVAL);
        self.is_good = seen != Seen::Bad;
        if seen == Seen::Written {
            self.owe(now);
        }
    }

    /// Whether the action is to be begun: never before the files are as they should be.
    pub(super) fn wants_action(&self, now: Monotonic) -> bool {
        let is_due = |owed: &Owed| !owed.is_running && owed.at <= now;
        self.is_good && self.owed.as_ref().is_some_and(is_due)
    }

    /// The action was begun.
    pub(super) fn began(&mut self) {
        if let Some(owed) = &mut self.owed {
            owed.is_running = true;
        }
    }

    /// The action has ended. What is owed is over when nothing is any more
    /// ([`is_owed`](Self::is_owed)).
    pub(super) fn ended(&mut self, now: Monotonic, is_done: bool) -> Told {
        let Some(owed) = self.owed.take() else {
            return Told::Done;
        };
        if owed.is_late {
            self.owe(now);
        }
        if is_done {
            return Told::Done;
        }
        let Some(wait) = ACTION_WAITS.get(owed.failures) else {
            self.is_given_up = self.owed.is_none();
            return Told::GivenUp;
        };
        if self.owed.is_none() {
            self.owed = Some(Owed {
                failures: owed.failures + 1,
                at: now + *wait,
                is_running: false,
                is_late: false,
            });
        }
        Told::Again(*wait)
    }

    /// Whether the program has yet to learn of its files: the action runs, waits for its turn, or
    /// was given up.
    pub(super) fn is_owed(&self) -> bool {
        self.owed.is_some() || self.is_given_up
    }

    /// Whether nothing is left to do but to look now and then.
    pub(super) fn is_settled(&self) -> bool {
        self.owed.is_none() && self.look_at.is_none_or(|_| self.is_good)
    }

    /// When the action is to be begun.
    pub(super) fn wake(&self) -> Option<Monotonic> {
        let action = self.owed.filter(|owed| self.is_good && !owed.is_running);
        action.map(|owed| owed.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn nothing_is_done_before_there_is_a_certificate() {
        let upkeep = Upkeep::new(true, true, at(0));
        assert!(!upkeep.wants_look(at(100)) && !upkeep.wants_action(at(100)));
        assert_eq!(upkeep.wake(), None);
    }

    #[test]
    fn files_are_looked_at_each_minute_and_the_program_is_told_when_they_change() {
        let mut upkeep = Upkeep::new(true, false, at(0));
        upkeep.certificate_changed(at(5));
        assert!(upkeep.wants_look(at(5)));
        upkeep.looked(at(5), Seen::Written);
        assert!(upkeep.wants_action(at(5)) && !upkeep.wants_look(at(34)));
        assert_eq!(upkeep.wake(), Some(at(5)));
        upkeep.began();
        assert!(!upkeep.wants_action(at(6)) && upkeep.is_owed());
        assert_eq!(upkeep.ended(at(6), true), Told::Done);
        assert!(!upkeep.is_owed() && upkeep.is_settled());
        assert_eq!(upkeep.wake(), None);
        assert!(upkeep.wants_look(at(65)));
        upkeep.looked(at(65), Seen::Good);
        assert!(!upkeep.wants_action(at(65)));
        // By hand.
        upkeep.looked(at(125), Seen::Written);
        assert!(upkeep.wants_action(at(125)));
    }

    #[test]
    fn an_action_that_fails_is_tried_six_times() {
        let mut upkeep = Upkeep::new(true, false, at(0));
        upkeep.certificate_changed(at(0));
        upkeep.looked(at(0), Seen::Written);
        let mut now = at(0);
        for wait in ACTION_WAITS {
            assert!(upkeep.wants_action(now));
            upkeep.began();
            assert_eq!(upkeep.ended(now, false), Told::Again(wait));
            assert!(!upkeep.wants_action(now));
            now = now + wait;
        }
        upkeep.began();
        assert_eq!(upkeep.ended(now, false), Told::GivenUp);
        assert!(upkeep.is_owed(), "the mark stays for the next start");
        assert!(!upkeep.wants_action(at(1_000_000)));
        upkeep.looked(now, Seen::Written);
        assert!(upkeep.wants_action(now));
    }

    #[test]
    fn files_written_while_the_action_runs_bring_it_again() {
        for is_done in [true, false] {
            let mut upkeep = Upkeep::new(true, false, at(0));
            upkeep.certificate_changed(at(0));
            upkeep.looked(at(0), Seen::Written);
            upkeep.began();
            upkeep.looked(at(1), Seen::Written);
            assert!(!upkeep.wants_action(at(1)), "one at a time");
            upkeep.ended(at(2), is_done);
            assert!(upkeep.is_owed() && upkeep.wants_action(at(2)));
        }
    }

    #[test]
    fn a_mark_of_an_earlier_run_counts_once_the_files_are_good() {
        let mut upkeep = Upkeep::new(true, true, at(0));
        upkeep.certificate_changed(at(0));
        upkeep.looked(at(0), Seen::Bad);
        assert!(!upkeep.wants_action(at(0)) && !upkeep.is_settled());
        upkeep.looked(at(60), Seen::Good);
        assert!(upkeep.wants_action(at(60)));
        // The profile has no action any more.
        let upkeep = Upkeep::new(false, true, at(0));
        assert!(!upkeep.is_owed());
    }
}
