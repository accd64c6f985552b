//! Which refused credentials are told: each when it is first seen and again while it keeps coming,
//! and never so many that whoever makes them could fill a disk with our log. All are counted, by
//! few enough reasons.

use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How often one credential is told, and the span that the limit is about.
const SPAN: SignedDuration = SignedDuration::from_mins(10);
/// Most credentials told in one span.
const TOLD_MAX: usize = 100;

/// Most characters of a text that whoever made a credential has chosen.
const TEXT_MAX: usize = 300;
/// The metric.
pub(super) const COUNTED_AS: &str = "everleaf_refused_credentials_total";

/// The beginning of a text that somebody else has chosen.
pub(super) fn clipped(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Refusals of one kind of credential.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    log: RefusalLog,
    counts: BTreeMap<&'static str, u64>,
}

impl Refusals {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a refusal of the credential with this digest, and tells it, if it is to be told, as
    /// `what` says. `plural` is what such credentials are called.
    pub(super) fn tell(
        &self,
        (digest, now): ([u8; 32], Timestamp),
        reason: &'static str,
        plural: &str,
        what: impl FnOnce() -> String,
    ) {
        let news = {
            let mut state = self.lock();
            *state.counts.entry(reason).or_default() += 1;
            state.log.observe(digest, now)
        };
        match news {
            News::None => {}
            News::Told { untold: 0 } => tracing::warn!("{}", what()),
            News::Told { untold } => tracing::warn!(
                "{}; {untold} refusals of other {plural} were not told",
                what()
            ),
            News::HeldBack => tracing::warn!(
                "{TOLD_MAX} refused {plural} were told within {} minutes: further ones are not until those are older, and how many it \
                 were is said then; {COUNTED_AS} counts all",
                SPAN.as_mins()
            ),
        }
    }

    /// How many were refused, by reason.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.lock().counts.clone()
    }
}

/// What is to be said of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// Nothing.
    None,
    /// Itself; and so many of others were held back before it.
    Told { untold: u64 },
    /// That it and others are held back.
    HeldBack,
}

/// The credentials told of late, by digest.
#[derive(Debug, Default)]
struct RefusalLog {
    told: HashMap<[u8; 32], Timestamp>,
    untold: u64,
}

impl RefusalLog {
    fn observe(&mut self, credential: [u8; 32], now: Timestamp) -> News {
        // A clock that was set back must not silence anybody for long.
        let is_late = |at: &Timestamp| now.duration_since(*at).abs() < SPAN;
        if self.told.get(&credential).is_some_and(is_late) {
            return News::None;
        }
        self.told.retain(|_, at| is_late(at));
        if self.told.len() >= TOLD_MAX {
            self.untold += 1;
            return match self.untold {
                1 => News::HeldBack,
                _ => News::None,
            };
        }
        self.told.insert(credential, now);
        News::Told {
            untold: std::mem::take(&mut self.untold),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn shown(number: u32) -> [u8; 32] {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&number.to_be_bytes());
        digest
    }

    #[test]
    fn one_that_keeps_coming_is_told_again_after_a_span() {
        let mut log = RefusalLog::default();
        let is_told = |news| matches!(news, News::Told { .. });
        let told: Vec<i64> = (0..1500)
            .filter(|second| is_told(log.observe([1; 32], at(*second))))
            .collect();
        assert_eq!(told, [0, 600, 1200]);
        assert!(is_told(log.observe([2; 32], at(1500))));
        assert!(is_told(log.observe([1; 32], at(-5000))), "clock set back");
    }

    #[test]
    fn a_flood_is_counted_and_said_once() {
        let mut log = RefusalLog::default();
        let news: Vec<News> = (0..5_000)
            .map(|number| log.observe(shown(number), at(0)))
            .collect();
        let count = |what: News| news.iter().filter(|news| **news == what).count();
        assert_eq!(count(News::Told { untold: 0 }), TOLD_MAX);
        assert_eq!(news[TOLD_MAX], News::HeldBack);
        assert_eq!(count(News::HeldBack), 1);
        let after = |log: &mut RefusalLog, number, seconds| log.observe(shown(number), at(seconds));
        assert_eq!(after(&mut log, 9_999, 601), News::Told { untold: 4_900 });
        assert_eq!(after(&mut log, 9_998, 602), News::Told { untold: 0 });
        for number in 20_000..20_098 {
            after(&mut log, number, 603);
        }
        assert_eq!(
            after(&mut log, 30_000, 604),
            News::HeldBack,
            "the next flood"
        );
    }

    #[test]
    fn all_are_counted_by_their_reasons() {
        let refusals = Refusals::default();
        for number in 0..300 {
            let reason = if number % 3 == 0 { "a" } else { "b" };
            refusals.tell((shown(number), at(0)), reason, "tokens", String::new);
            refusals.tell((shown(number), at(0)), reason, "tokens", String::new);
        }
        let counts: Vec<(&str, u64)> = refusals.counts().into_iter().collect();
        assert_eq!(counts, [("a", 200), ("b", 400)]);
    }
}
