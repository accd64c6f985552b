//! The loop breaker: a subject that renews again and again although nothing is due has to wait.
//!
//! A kubelet whose clock is far ahead of the signer's finds each new certificate old at birth and
//! asks for the next one within a second, thousands of times an hour. The breaker sees it from the
//! signer's side: an issuance is *early* when its predecessor for the same signer, CN and requestor
//! still had 30 % of its life left. After a dozen early ones within ten minutes, approval of
//! the next waits 1 min, then 2, 4 … up to 1 h, until the subject is quiet for two hours or asks
//! when it should, and never so long that its present certificate runs out. The first renewals are
//! never delayed: a clock that was moved deserves its certificate at once. Approval by hand is not
//! affected, and no condition is written.
//!
//! Requestors are told apart, so that a node which renews as itself never waits for what a holder
//! of a bootstrap token files in its name. Only a request that would be approved begins a wait.

use crate::issuance;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Early issuances that are let through within ten minutes, unless configured otherwise: an
/// operator who tries out clocks or joins a node again and again is not held up, a kubelet that
/// asks every second is, within seconds.
pub const EARLY_RENEWALS_DEFAULT: usize = 12;
/// Time in which they are counted.
const WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// Share of life left above which a renewal is early, in percent.
const EARLY_LIFE_LEFT_PERCENT: i64 = 30;
/// Share of life after which a kubelet may renew, in percent.
const DUE_LIFE_PERCENT: i32 = 70;
/// First delay, and the longest.
const HOLD_MIN: Duration = Duration::from_secs(60);
const HOLD_MAX: Duration = Duration::from_secs(3600);
/// A subject without an issuance for this long is forgotten.
const MEMORY: SignedDuration = SignedDuration::from_hours(2);
/// Subjects remembered at most; the longest quiet ones go first.
const SUBJECTS_MAX: usize = 100_000;

/// Who gets certificates, and as whom it asks for them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// Signer name.
    pub signer: String,
    /// CN of the certificates.
    pub common_name: String,
    /// `spec.username` of the requests.
    pub requestor: String,
}

/// Validity of an issued leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// `notBefore`.
    pub not_before: Timestamp,
    /// `notAfter`.
    pub not_after: Timestamp,
}

impl Validity {
    /// True while more than 30 % of the life is left.
    fn is_fresh(self, now: Timestamp) -> bool {
        let life = self.not_before.duration_until(self.not_after).as_secs();
        let left = now.duration_until(self.not_after).as_secs();
        left.saturating_mul(100) >= life.saturating_mul(EARLY_LIFE_LEFT_PERCENT)
    }
}

/// A subject as it is remembered: what tells it from all others, in the least space. A fleet that
/// comes at once is a hundred thousand of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key([u8; 16]);

impl Key {
    /// The first half of SHA-256, since whoever could find a second subject of the same key could
    /// hold up a node.
    fn of(subject: &Subject) -> Self {
        let (signer, requestor) = (subject.signer.as_bytes(), subject.requestor.as_bytes());
        let lengths = [signer.len() as u64, requestor.len() as u64].map(u64::to_le_bytes);
        let hash = issuance::sha256_of(&[
            &lengths[0],
            &lengths[1],
            signer,
            requestor,
            subject.common_name.as_bytes(),
        ]);
        let mut key = [0; 16];
        key.copy_from_slice(&hash[..16]);
        Self(key)
    }
}

#[derive(Clone, Debug)]
struct History {
    last: Validity,
    last_at: Timestamp,
    /// None: no issuance but the first.
    early: Option<Box<Early>>,
}

/// What a subject has that came back.
#[derive(Clone, Debug, Default)]
struct Early {
    /// Instants of the last early issuances, oldest first; at most `early_max`.
    at: VecDeque<Timestamp>,
    /// Holds so far, without a renewal in time between them.
    holds: u32,
    /// End of the wait for the next issuance, once somebody asked for it.
    held_until: Option<Timestamp>,
}

/// See the module documentation.
#[derive(Clone, Debug)]
pub struct Breaker {
    /// Early issuances that are let through within the window.
    early_max: usize,
    histories: BTreeMap<Key, History>,
    /// Every issuance in order, to find the quiet subjects without a search.
    order: VecDeque<(Timestamp, Key)>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new(EARLY_RENEWALS_DEFAULT)
    }
}

impl Breaker {
    /// Lets `early_max` early issuances through within ten minutes, then holds.
    pub fn new(early_max: usize) -> Self {
        Self {
            early_max,
            histories: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Notes that a certificate was issued at `now`.
    pub fn issued(&mut self, subject: &Subject, leaf: Validity, now: Timestamp) {
        self.forget_quiet(now);
        let key = Key::of(subject);
        self.order.push_back((now, key));
        match self.histories.get_mut(&key) {
            None => {
                let history = History {
                    last: leaf,
                    last_at: now,
                    early: None,
                };
                self.histories.insert(key, history);
            }
            Some(history) => {
                if history.last.is_fresh(now) {
                    let early = history.early.get_or_insert_default();
                    early.at.push_back(now);
                    if early.at.len() > self.early_max {
                        early.at.pop_front();
                    }
                    early.held_until = None;
                } else {
                    history.early = None;
                }
                history.last = leaf;
                history.last_at = now;
            }
        }
    }

    /// How long the approval of a request for this subject has to wait; `None`: not at all. One
    /// wait precedes one issuance, however many requests the subject files meanwhile; it begins
    /// with [`Breaker::begin`].
    pub fn hold(&self, subject: &Subject, now: Timestamp) -> Option<Duration> {
        let history = self.history(subject)?;
        let quiet = history.last_at.duration_until(now);
        if quiet > MEMORY || quiet < -WINDOW || !history.last.is_fresh(now) {
            // Due, or long ago, or our own clock went back and the history means nothing.
            return None;
        }
        let none = Early::default();
        let early = history.early.as_deref().unwrap_or(&none);
        if let Some(until) = early.held_until {
            let left = Duration::try_from(now.duration_until(until)).unwrap_or_default();
            return (!left.is_zero()).then(|| left.min(HOLD_MAX));
        }
        let recent = early
            .at
            .iter()
            .filter(|at| at.duration_until(now) <= WINDOW)
            .count();
        if recent < self.early_max && early.holds == 0 {
            return None;
        }
        let factor = 1_u32.checked_shl(early.holds).unwrap_or(u32::MAX);
        let delay = HOLD_MIN.saturating_mul(factor).min(HOLD_MAX);
        // Never so long that the subject's present certificate runs out over it.
        let left = Duration::try_from(now.duration_until(history.last.not_after));
        Some(delay.min(left.unwrap_or_default() / 2))
    }

    /// The last certificate of this subject.
    pub fn last(&self, subject: &Subject) -> Option<Validity> {
        self.history(subject).map(|history| history.last)
    }

    /// How far the subject's clock must be ahead of ours for its last certificate to look due to
    /// it: kubelets renew after 70 % of the life at the earliest (client-go
    /// `util/certificate/certificate_manager.go`). Zero when it is due by ours.
    pub fn clock_ahead(&self, subject: &Subject, now: Timestamp) -> SignedDuration {
        let Some(last) = self.last(subject) else {
            return SignedDuration::ZERO;
        };
        let life = last.not_before.duration_until(last.not_after);
        let due = last.not_before + life * DUE_LIFE_PERCENT / 100;
        now.duration_until(due).max(SignedDuration::ZERO)
    }

    /// Begins the wait that [`Breaker::hold`] named, unless it has begun.
    pub fn begin(&mut self, subject: &Subject, delay: Duration, now: Timestamp) {
        let Some(history) = self.histories.get_mut(&Key::of(subject)) else {
            return;
        };
        let early = history.early.get_or_insert_default();
        if early.held_until.is_none() {
            early.holds = early.holds.saturating_add(1);
            early.held_until = Some(now + delay);
        }
    }

    /// Takes the one approval that a wait has earned. `Some`: it has to wait after all, since
    /// another request of the subject was quicker, and its certificate is still to be seen.
    pub fn take(&mut self, subject: &Subject, now: Timestamp) -> Option<Duration> {
        let delay = self.hold(subject, now);
        if delay.is_none()
            && let Some(history) = self.histories.get_mut(&Key::of(subject))
            && let Some(early) = &mut history.early
            && early.held_until.is_some()
        {
            early.held_until = now.checked_add(HOLD_MIN).ok();
        }
        delay
    }

    fn history(&self, subject: &Subject) -> Option<&History> {
        self.histories.get(&Key::of(subject))
    }

    fn forget_quiet(&mut self, now: Timestamp) {
        while let Some((at, subject)) = self.order.front() {
            let (at, subject) = (*at, *subject);
            let over_limit = self.histories.len() >= SUBJECTS_MAX;
            let quiet = at.duration_until(now);
            if quiet.abs() <= MEMORY && !over_limit && self.order.len() < 2 * SUBJECTS_MAX {
                break;
            }
            if self
                .histories
                .get(&subject)
                .is_some_and(|history| history.last_at == at)
            {
                self.histories.remove(&subject);
            }
            self.order.pop_front();
        }
        if self.order.len() < self.order.capacity() / 4 {
            self.order.shrink_to(self.order.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
    const NODE: &str = "system:node:n1";

    fn subject(signer: &str, common_name: &str) -> Subject {
        Subject {
            signer: signer.to_owned(),
            common_name: common_name.to_owned(),
            requestor: common_name.to_owned(),
        }
    }

    /// As for a request that would be approved.
    fn hold(breaker: &mut Breaker, signer: &str, name: &str, now: Timestamp) -> Option<Duration> {
        let subject = subject(signer, name);
        let delay = breaker.hold(&subject, now);
        if let Some(delay) = delay {
            breaker.begin(&subject, delay, now);
        }
        delay
    }

    fn start() -> Timestamp {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    /// A fresh one-year certificate.
    fn year(now: Timestamp) -> Validity {
        let minute = SignedDuration::from_mins(1);
        let not_after = now + SignedDuration::from_hours(8760) - minute * 5;
        Validity {
            not_before: now - minute * 5,
            not_after,
        }
    }

    /// A subject that asks again one second after each issuance; returns each request's wait.
    fn looping(requests: usize) -> Vec<u64> {
        let mut breaker = Breaker::new(3);
        let mut now = start();
        let mut waits = Vec::new();
        for _ in 0..requests {
            let wait = hold(&mut breaker, SIGNER, NODE, now).unwrap_or_default();
            waits.push(wait.as_secs());
            now += SignedDuration::try_from(wait).unwrap();
            assert_eq!(
                hold(&mut breaker, SIGNER, NODE, now),
                None,
                "the wait is over"
            );
            breaker.issued(&subject(SIGNER, NODE), year(now), now);
            now += SignedDuration::from_secs(1);
        }
        waits
    }

    #[test]
    fn a_loop_waits_longer_and_longer() {
        // The first issuance, three early ones, then the holds.
        assert_eq!(
            looping(12),
            [0, 0, 0, 0, 60, 120, 240, 480, 960, 1920, 3600, 3600]
        );
    }

    #[test]
    fn a_wait_earns_one_approval_however_many_ask() {
        let mut breaker = Breaker::new(3);
        let now = start();
        for _ in 0..5 {
            breaker.issued(&subject(SIGNER, NODE), year(now), now);
        }
        let one = subject(SIGNER, NODE);
        assert_eq!(hold(&mut breaker, SIGNER, NODE, now).unwrap(), HOLD_MIN);
        let over = now + HOLD_MIN;
        assert_eq!(breaker.take(&one, over), None);
        for _ in 0..9 {
            assert_eq!(breaker.take(&one, over), Some(HOLD_MIN));
        }
        // Once its certificate is seen, the next wait begins.
        breaker.issued(&one, year(over), over);
        assert_eq!(breaker.take(&one, over), Some(HOLD_MIN * 2));
        // Whoever does not wait takes nothing.
        let other = subject(SIGNER, "system:node:n2");
        assert_eq!(breaker.take(&other, over), None);
        assert_eq!(breaker.take(&other, over), None);
    }

    #[test]
    fn others_do_not_wait() {
        let mut breaker = Breaker::new(3);
        for _ in 0..5 {
            breaker.issued(&subject(SIGNER, NODE), year(start()), start());
        }
        assert!(hold(&mut breaker, SIGNER, NODE, start()).is_some());
        assert_eq!(hold(&mut breaker, SIGNER, "system:node:n2", start()), None);
        assert_eq!(
            hold(&mut breaker, "kubernetes.io/kubelet-serving", NODE, start()),
            None
        );
    }

    #[test]
    fn renewals_in_time_are_never_held() {
        let mut breaker = Breaker::new(3);
        let mut now = start();
        for _ in 0..50 {
            // Twenty minutes of life, renewed after three quarters of it.
            assert_eq!(hold(&mut breaker, SIGNER, NODE, now), None);
            let minute = SignedDuration::from_mins(1);
            let leaf = Validity {
                not_before: now - minute * 5,
                not_after: now + minute * 20,
            };
            breaker.issued(&subject(SIGNER, NODE), leaf, now);
            now += minute * 18;
        }
    }

    #[test]
    fn a_wait_counts_down_and_a_quiet_subject_is_forgotten() {
        let mut breaker = Breaker::new(3);
        let now = start();
        for _ in 0..4 {
            breaker.issued(&subject(SIGNER, NODE), year(now), now);
        }
        let second = SignedDuration::from_secs(1);
        let mut held = |at| hold(&mut breaker, SIGNER, NODE, at);
        assert_eq!(held(now).unwrap().as_secs(), 60);
        assert_eq!(held(now + second * 20).unwrap().as_secs(), 40);
        assert_eq!(
            hold(&mut breaker, SIGNER, NODE, now + MEMORY + second),
            None
        );
        breaker.issued(
            &subject(SIGNER, "system:node:n2"),
            year(now + MEMORY * 2),
            now + MEMORY * 2,
        );
        assert_eq!(
            breaker.histories.len(),
            1,
            "only the new subject is remembered"
        );
    }

    /// Lifetimes of minutes and a clock that is minutes off: slowed down, but never into expiry.
    #[test]
    fn a_wait_ends_before_the_present_certificate_does() {
        let mut breaker = Breaker::new(3);
        let minute = SignedDuration::from_mins(1);
        let mut now = start();
        for _ in 0..20 {
            let leaf = Validity {
                not_before: now - minute * 5,
                not_after: now + minute * 10,
            };
            breaker.issued(&subject(SIGNER, NODE), leaf, now);
            now += minute;
            let wait = hold(&mut breaker, SIGNER, NODE, now).unwrap_or_default();
            now += SignedDuration::try_from(wait).unwrap();
            assert!(now < leaf.not_after - minute * 3, "held for {wait:?}");
        }
    }

    /// Whatever another requestor files in a node's name, the node's own renewals do not wait.
    #[test]
    fn requestors_are_told_apart() {
        let mut breaker = Breaker::new(3);
        let by_token = Subject {
            requestor: "system:bootstrap:abcdef".to_owned(),
            ..subject(SIGNER, NODE)
        };
        for _ in 0..10 {
            breaker.issued(&by_token, year(start()), start());
        }
        assert!(breaker.hold(&by_token, start()).is_some());
        assert_eq!(hold(&mut breaker, SIGNER, NODE, start()), None);
    }

    /// Asking alone changes nothing: only what would be approved begins a wait.
    #[test]
    fn asking_begins_no_wait() {
        let mut breaker = Breaker::new(0);
        let node = subject(SIGNER, NODE);
        breaker.issued(&node, year(start()), start());
        let minute = Some(Duration::from_secs(60));
        for seconds in 0..10 {
            let now = start() + SignedDuration::from_secs(seconds);
            assert_eq!(breaker.hold(&node, now), minute);
        }
    }

    #[test]
    fn a_renewal_in_time_makes_good() {
        let mut breaker = Breaker::new(3);
        let minute = SignedDuration::from_mins(1);
        let hour_long = |now| Validity {
            not_before: now - minute * 5,
            not_after: now + minute * 60,
        };
        let mut now = start();
        for _ in 0..4 {
            breaker.issued(&subject(SIGNER, NODE), hour_long(now), now);
        }
        assert!(hold(&mut breaker, SIGNER, NODE, now).is_some());
        now += minute * 50;
        breaker.issued(&subject(SIGNER, NODE), hour_long(now), now);
        assert_eq!(hold(&mut breaker, SIGNER, NODE, now + minute), None);
    }

    #[test]
    fn the_allowance_can_be_configured() {
        let mut breaker = Breaker::new(0);
        breaker.issued(&subject(SIGNER, NODE), year(start()), start());
        assert!(hold(&mut breaker, SIGNER, NODE, start()).is_some());
        let mut breaker = Breaker::new(100);
        for _ in 0..100 {
            breaker.issued(&subject(SIGNER, NODE), year(start()), start());
        }
        assert_eq!(hold(&mut breaker, SIGNER, NODE, start()), None);
    }

    /// Its certificate of a year is due after 70 %: so far ahead is the clock of who asks at once.
    #[test]
    fn the_clock_of_who_asks_too_early_is_estimated() {
        let mut breaker = Breaker::new(3);
        let node = subject(SIGNER, NODE);
        assert_eq!(breaker.clock_ahead(&node, start()), SignedDuration::ZERO);
        breaker.issued(&node, year(start()), start());
        let days = breaker.clock_ahead(&node, start()).as_hours() / 24;
        assert_eq!(days, 255);
        let later = start() + SignedDuration::from_hours(24 * 300);
        assert_eq!(breaker.clock_ahead(&node, later), SignedDuration::ZERO);
    }

    #[test]
    fn a_clock_set_back_frees_everyone() {
        let mut breaker = Breaker::new(3);
        for _ in 0..4 {
            breaker.issued(&subject(SIGNER, NODE), year(start()), start());
        }
        let day = SignedDuration::from_hours(24);
        assert_eq!(hold(&mut breaker, SIGNER, NODE, start() - day), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut breaker = Breaker::new(3);
        for number in 0..SUBJECTS_MAX + 10 {
            breaker.issued(
                &subject(SIGNER, &number.to_string()),
                year(start()),
                start(),
            );
        }
        assert_eq!(breaker.histories.len(), SUBJECTS_MAX);
    }
}
