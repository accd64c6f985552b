//! Which refused client certificates are told: each when it is first seen and again while it keeps
//! coming, and never so many that whoever makes certificates could fill a disk with our log.

use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

/// How often one certificate is told, and the span that the limit is about.
const SPAN: SignedDuration = SignedDuration::from_mins(10);
/// Most certificates told in one span.
const TOLD_MAX: usize = 100;

/// Most characters of a text that whoever made a certificate has chosen.
const TEXT_MAX: usize = 300;

/// The beginning of a text that somebody else has chosen.
pub(super) fn clipped(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The certificates told of late, by digest.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    told: HashMap<[u8; 32], Timestamp>,
    untold: u64,
}

impl RefusalLog {
    /// Whether this certificate is to be told now; then with the number of refusals of others that
    /// nobody was told of.
    pub(super) fn observe(&mut self, certificate: [u8; 32], now: Timestamp) -> Option<u64> {
        // A clock that was set back must not silence anybody for long.
        let is_late = |at: &Timestamp| now.duration_since(*at).abs() < SPAN;
        if self.told.get(&certificate).is_some_and(is_late) {
            return None;
        }
        self.told.retain(|_, at| is_late(at));
        if self.told.len() >= TOLD_MAX {
            self.untold += 1;
            return None;
        }
        self.told.insert(certificate, now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn one_that_keeps_coming_is_told_again_after_a_span() {
        let mut log = RefusalLog::default();
        let told: Vec<i64> = (0..1500)
            .filter(|second| log.observe([1; 32], at(*second)).is_some())
            .collect();
        assert_eq!(told, [0, 600, 1200]);
        assert!(log.observe([2; 32], at(1500)).is_some());
        assert!(log.observe([1; 32], at(-5000)).is_some(), "clock set back");
    }

    #[test]
    fn a_flood_is_counted_and_not_told() {
        let mut log = RefusalLog::default();
        let shown = |number: u32| {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&number.to_be_bytes());
            digest
        };
        let told = (0..5_000).filter(|number| log.observe(shown(*number), at(0)).is_some());
        assert_eq!(told.count(), TOLD_MAX);
        assert_eq!(log.observe(shown(9_999), at(601)), Some(4_900));
        assert_eq!(log.observe(shown(9_998), at(602)), Some(0));
    }
}
