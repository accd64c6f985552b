//! The work queue of a loop: fair, ordered, deduplicating, backing off. No timers, no threads.
//!
//! It owns *when* a key is worked on; what the work is, it refuses to know. The rules are those of
//! client-go's rate-limiting work queue (`util/workqueue/queue.go`, `default_rate_limiters.go`),
//! and one more, that keys belong to flows (whoever filed them), which take turns:
//!
//! - one key of each flow that has any ready, then the next of each: who has 50,000 of them delays
//!   who has one by one;
//! - a key waits at most once, in the order in which those of its flow became ready;
//! - a key that is added while it is worked on runs once more afterwards;
//! - no two workers ever hold the same key;
//! - a failed key waits `200 ms × 2ⁿ`, at most 1000 s, and never less than what the loop's shared
//!   retry bucket (10 per second, burst 100) allows; first attempts never wait.
//!
//! ```text
//!            add                next                 done(Finished)
//!  (absent) ─────▶ ready ─────────────▶ held ───────────────────────▶ (absent)
//!                    ▲  ▲                 │ done(Failed | After)
//!                    │  └── time ─ waiting ◀┘
//!                    └───── added again while held
//! ```

use crate::bucket::{Rate, TokenBucket};
use everleaf_time::Monotonic;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// First delay after a failure.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// Longest delay between two attempts.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(1000);
/// Retries of one loop, over all keys.
const RETRY_RATE: Rate = Rate {
    per_second: 10.0,
    burst: 100,
};

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Come back after this long; not a failure, and earlier failures are forgotten.
    After(Duration),
    /// Failed: come back with backoff, and not before `at_least` (a server's Retry-After).
    Failed {
        /// Lower bound of the delay.
        at_least: Duration,
    },
    /// Nothing left to do until the object changes.
    Finished,
}

impl Outcome {
    /// A failure without a bound of its own.
    pub const FAILED: Self = Self::Failed {
        at_least: Duration::ZERO,
    };
}

/// What a worker that asks for work gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<K> {
    /// Nothing is due and nothing waits.
    Idle,
    /// This key is now held by the caller, until [`Queue::done`].
    Ready {
        /// The key.
        key: K,
        /// How long it was ready before somebody asked.
        waited: Duration,
    },
    /// Nothing is due before this instant.
    WaitUntil(Monotonic),
}

/// See the module documentation.
#[derive(Clone, Debug)]
pub struct Queue<K> {
    /// Keys that may be worked on, by flow, oldest first, each with the instant it became ready.
    /// No flow is empty.
    ready: BTreeMap<Arc<str>, VecDeque<(K, Monotonic)>>,
    /// The flows in `ready`, whose turn it is first.
    turns: VecDeque<Arc<str>>,
    /// Whose the keys are, of every key that is ready, held or waiting; none for the nameless flow.
    flows: BTreeMap<K, Arc<str>>,
    /// The keys in `ready`, and those to run again once their holder is done.
    wanted: BTreeSet<K>,
    held: BTreeSet<K>,
    /// Keys that become ready later; the second map finds a key's instant.
    waiting: BTreeSet<(Monotonic, K)>,
    waiting_until: BTreeMap<K, Monotonic>,
    failures: BTreeMap<K, u32>,
    /// First delay after a failure.
    backoff_min: Duration,
    retries: TokenBucket,
}

impl<K: Clone + Ord> Default for Queue<K> {
    fn default() -> Self {
        Self::with_backoff(BACKOFF_MIN)
    }
}

impl<K: Clone + Ord> Queue<K> {
    /// A queue whose first delay after a failure is this.
    pub fn with_backoff(backoff_min: Duration) -> Self {
        Self {
            backoff_min,
            ready: BTreeMap::new(),
            turns: VecDeque::new(),
            flows: BTreeMap::new(),
            wanted: BTreeSet::new(),
            held: BTreeSet::new(),
            waiting: BTreeSet::new(),
            waiting_until: BTreeMap::new(),
            failures: BTreeMap::new(),
            retries: TokenBucket::new(RETRY_RATE),
        }
    }

    /// Makes `key` of this flow ready now; else as [`Queue::add`].
    pub fn add_of(&mut self, flow: &str, key: K, now: Monotonic) -> bool {
        if !flow.is_empty() && !self.flows.contains_key(&key) {
            // The name is shared by all keys that are ready with it.
            let known = self.ready.get_key_value(flow);
            let flow = known.map_or_else(|| Arc::from(flow), |(name, _)| Arc::clone(name));
            self.flows.insert(key.clone(), flow);
        }
        self.add(key, now)
    }

    /// Makes `key` ready now. A key that waits for a retry stops waiting: its object changed.
    /// Returns false when it was ready (or marked to run again) already.
    pub fn add(&mut self, key: K, now: Monotonic) -> bool {
        self.stop_waiting(&key);
        if !self.wanted.insert(key.clone()) {
            return false;
        }
        if !self.held.contains(&key) {
            self.make_ready(key, now);
        }
        true
    }

    /// Hands out the oldest ready key of the flow whose turn it is.
    pub fn next(&mut self, now: Monotonic) -> Next<K> {
        self.wake(now);
        if let Some((key, since)) = self.take_turn() {
            self.wanted.remove(&key);
            let fresh = self.held.insert(key.clone());
            assert!(fresh, "a held key is never ready");
            return Next::Ready {
                key,
                waited: now.since(since),
            };
        }
        match self.waiting.first() {
            Some((until, _)) => Next::WaitUntil(*until),
            None => Next::Idle,
        }
    }

    /// Returns a held key with its outcome. Returns the delay until its next attempt, if any.
    ///
    /// # Panics
    /// When the key is not held: a worker returned it twice.
    pub fn done(&mut self, key: &K, outcome: Outcome, now: Monotonic) -> Option<Duration> {
        assert!(self.held.remove(key), "only a held key can be done");
        let delay = match outcome {
            Outcome::After(delay) => {
                self.failures.remove(key);
                Some(delay)
            }
            Outcome::Failed { at_least } => {
                let failures = self.failures.entry(key.clone()).or_insert(0);
                let delay = backoff(self.backoff_min, *failures)
                    .max(self.retries.reserve(now))
                    .max(at_least);
                *failures = failures.saturating_add(1);
                Some(delay)
            }
            Outcome::Finished => {
                self.failures.remove(key);
                None
            }
        };
        if self.wanted.contains(key) {
            // Added while held: what it saw is stale, so it runs again at once.
            self.make_ready(key.clone(), now);
            return Some(Duration::ZERO);
        }
        if let Some(delay) = delay {
            let until = now + delay;
            self.waiting.insert((until, key.clone()));
            self.waiting_until.insert(key.clone(), until);
        } else {
            self.flows.remove(key);
        }
        delay
    }

    /// Keys that are ready or marked to run again.
    pub fn depth(&self) -> usize {
        self.wanted.len()
    }

    /// How long the oldest ready key has been ready.
    pub fn oldest(&self, now: Monotonic) -> Duration {
        let oldest = self.ready.values().filter_map(VecDeque::front);
        let ages = oldest.map(|(_, since)| now.since(*since));
        ages.max().unwrap_or(Duration::ZERO)
    }

    fn make_ready(&mut self, key: K, since: Monotonic) {
        let flow = self.flows.get(&key).cloned().unwrap_or_default();
        let keys = self.ready.entry(Arc::clone(&flow)).or_default();
        if keys.is_empty() {
            self.turns.push_back(flow);
        }
        keys.push_back((key, since));
    }

    fn take_turn(&mut self) -> Option<(K, Monotonic)> {
        let flow = self.turns.pop_front()?;
        let keys = self.ready.get_mut(&flow)?;
        let taken = keys.pop_front();
        if keys.is_empty() {
            self.ready.remove(&flow);
        } else {
            self.turns.push_back(flow);
        }
        taken
    }

    /// Moves what is due from waiting to ready, in order of its due time.
    fn wake(&mut self, now: Monotonic) {
        while self.waiting.first().is_some_and(|(until, _)| *until <= now) {
            let Some((until, key)) = self.waiting.pop_first() else {
                return;
            };
            self.waiting_until.remove(&key);
            if self.wanted.insert(key.clone()) {
                self.make_ready(key, until);
            }
        }
    }

    fn stop_waiting(&mut self, key: &K) {
        if let Some(until) = self.waiting_until.remove(key) {
            self.waiting.remove(&(until, key.clone()));
        }
    }
}

/// Delay after the `failures`-th failure in a row, counted from 0.
fn backoff(min: Duration, failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
    min.saturating_mul(factor).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_origin(Duration::from_millis(ms))
    }

    fn take<K: Clone + Ord>(queue: &mut Queue<K>, now: Monotonic) -> Option<K> {
        match queue.next(now) {
            Next::Ready { key, .. } => Some(key),
            Next::Idle | Next::WaitUntil(_) => None,
        }
    }

    #[test]
    fn keys_come_out_once_and_in_order() {
        let mut queue = Queue::default();
        for key in ["b", "a", "b", "c"] {
            queue.add(key, at(0));
        }
        assert_eq!(queue.depth(), 3);
        for key in ["b", "a", "c"] {
            assert_eq!(take(&mut queue, at(1)), Some(key));
        }
        assert_eq!(queue.next(at(1)), Next::Idle);
    }

    /// 50,000 requests of one requestor, then one each of ten others: these are through after ten
    /// turns, and nothing is forgotten, also what failed in between.
    #[test]
    fn who_has_many_keys_starves_nobody() {
        let mut queue = Queue::default();
        for number in 0..50_000 {
            queue.add_of("greedy", format!("g{number}"), at(0));
        }
        for number in 0..10 {
            queue.add_of(&format!("node-{number}"), format!("n{number}"), at(1));
        }
        let mut first = Vec::new();
        for _ in 0..21 {
            let key = take(&mut queue, at(2)).unwrap();
            queue.done(&key, Outcome::Finished, at(2));
            first.push(key);
        }
        let others = first.iter().filter(|key| key.starts_with('n')).count();
        assert_eq!(others, 10, "{first:?}");
        assert_eq!(first[0], "g0");

        // A key that failed comes back in its own flow.
        let failed = take(&mut queue, at(2)).unwrap();
        queue.done(&failed, Outcome::FAILED, at(2));
        queue.add_of("late", "l0".to_owned(), at(1_000));
        let next: Vec<_> = (0..2).filter_map(|_| take(&mut queue, at(1_000))).collect();
        assert!(next.contains(&"l0".to_owned()), "{next:?}");
        for key in &next {
            queue.done(key, Outcome::Finished, at(1_000));
        }
        let mut left = 0;
        while let Some(key) = take(&mut queue, at(2_000)) {
            queue.done(&key, Outcome::Finished, at(2_000));
            left += 1;
        }
        assert_eq!(first.len() + next.len() + left, 50_000 + 10 + 1);
        assert!(
            queue.flows.is_empty() && queue.turns.is_empty(),
            "nothing is kept of them"
        );
    }

    #[test]
    fn a_key_added_while_held_runs_once_more() {
        let mut queue = Queue::default();
        queue.add("a", at(0));
        assert_eq!(take(&mut queue, at(0)), Some("a"));
        queue.add("a", at(1));
        queue.add("a", at(2));
        assert_eq!(queue.next(at(2)), Next::Idle, "it is held");
        queue.done(&"a", Outcome::Finished, at(3));
        assert_eq!(take(&mut queue, at(3)), Some("a"));
        queue.done(&"a", Outcome::Finished, at(4));
        assert_eq!(queue.next(at(4)), Next::Idle);
    }

    #[test]
    fn failures_back_off_and_success_forgets_them() {
        let mut queue = Queue::default();
        let mut now = at(0);
        queue.add("a", now);
        let mut delays = Vec::new();
        for _ in 0..15 {
            assert_eq!(take(&mut queue, now), Some("a"));
            let delay = queue.done(&"a", Outcome::FAILED, now).unwrap();
            delays.push(delay.as_millis());
            assert_eq!(queue.next(now), Next::WaitUntil(now + delay));
            now = now + delay;
        }
        let expected = [
            200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 102_400, 204_800, 409_600,
            819_200, 1_000_000, 1_000_000,
        ];
        assert_eq!(delays, expected);
        assert_eq!(take(&mut queue, now), Some("a"));
        queue.done(&"a", Outcome::Finished, now);
        queue.add("a", now);
        queue.next(now);
        assert_eq!(
            queue.done(&"a", Outcome::FAILED, now),
            Some(Duration::from_millis(200))
        );
    }

    #[test]
    fn the_shared_bucket_slows_retries_but_never_first_attempts() {
        let mut queue = Queue::default();
        for key in 0..150 {
            queue.add(key, at(0));
        }
        let mut delays = Vec::new();
        for key in 0..150 {
            assert_eq!(take(&mut queue, at(0)), Some(key));
            delays.push(
                queue
                    .done(&key, Outcome::FAILED, at(0))
                    .unwrap()
                    .as_millis(),
            );
        }
        assert!(
            delays[..102].iter().all(|delay| *delay == 200),
            "within the burst"
        );
        assert_eq!(delays[149], 5_000, "50 beyond the burst, 10 per second");
    }

    #[test]
    fn a_change_ends_the_wait_and_a_servers_bound_is_kept() {
        let mut queue = Queue::default();
        queue.add("a", at(0));
        queue.next(at(0));
        let bound = Duration::from_secs(7);
        assert_eq!(
            queue.done(&"a", Outcome::Failed { at_least: bound }, at(0)),
            Some(bound)
        );
        queue.add("a", at(10));
        assert_eq!(take(&mut queue, at(10)), Some("a"));
        queue.done(&"a", Outcome::After(Duration::from_secs(60)), at(10));
        assert_eq!(
            queue.next(at(7_000)),
            Next::WaitUntil(at(60_010)),
            "the old wait is gone"
        );
        assert_eq!(take(&mut queue, at(60_010)), Some("a"));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(u8),
        Next,
        Done(Outcome),
        Pass(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..6_u8).prop_map(Step::Add),
            Just(Step::Next),
            Just(Step::Done(Outcome::Finished)),
            Just(Step::Done(Outcome::FAILED)),
            Just(Step::Done(Outcome::After(Duration::from_millis(50)))),
            (0..2_000_u16).prop_map(Step::Pass),
        ]
    }

    proptest! {
        /// Whatever happens, each add is followed by an attempt that starts after it, a failed key
        /// is tried again, and no key is ever held twice.
        #[test]
        fn never_loses_a_key(steps in proptest::collection::vec(step(), 1..200)) {
            let mut queue = Queue::default();
            let mut now = at(0);
            let mut held: Vec<u8> = Vec::new();
            let mut owed: BTreeSet<u8> = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Add(key) => {
                        queue.add(key, now);
                        owed.insert(key);
                    }
                    Step::Next => {
                        if let Some(key) = take(&mut queue, now) {
                            prop_assert!(!held.contains(&key), "held twice");
                            prop_assert!(owed.remove(&key), "handed out without a reason");
                            held.push(key);
                        }
                    }
                    Step::Done(outcome) => {
                        if held.is_empty() { continue; }
                        let key = held.remove(0);
                        queue.done(&key, outcome, now);
                        if outcome != Outcome::Finished { owed.insert(key); }
                    }
                    Step::Pass(ms) => now = now + Duration::from_millis(u64::from(ms)),
                }
            }
            // Drain: every key that is owed an attempt gets it, in bounded turns.
            for key in held.drain(..) {
                queue.done(&key, Outcome::Finished, now);
            }
            for _ in 0..100 {
                match queue.next(now) {
                    Next::Idle => break,
                    Next::Ready { key, .. } => {
                        prop_assert!(owed.remove(&key));
                        queue.done(&key, Outcome::Finished, now);
                    }
                    Next::WaitUntil(until) => now = until,
                }
            }
            prop_assert!(owed.is_empty(), "lost: {:?}", owed);
        }
    }
}
