//! What is forgotten by itself: objects of best effort that nobody deletes and nobody may fill the
//! store with.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::cmp::Reverse;

/// When there are too many, as many go as leave this share of the bounds, in sixteenths: not each
/// new object shall cost a walk over all others.
const KEPT_SIXTEENTHS: usize = 15;

/// How long, and how many objects of a resource are kept.
#[derive(Debug)]
pub struct Retention {
    /// An object goes this long after it was last seen.
    pub ttl: SignedDuration,
    /// When an object was last seen, as far as one can tell at a time. None: it goes at once.
    pub last_seen: fn(&Value, Timestamp) -> Option<Timestamp>,
    /// Most objects.
    pub objects_max: usize,
    /// Most bytes, as stored, of all objects together.
    pub bytes_max: usize,
}

/// What is asked of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Of its last change.
    pub revision: u64,
    /// As stored.
    pub bytes: usize,
    /// See [`Retention::last_seen`].
    pub last_seen: Option<Timestamp>,
}

impl Retention {
    /// True when so many objects of so many bytes are too much.
    pub fn is_exceeded(&self, objects: usize, bytes: usize) -> bool {
        objects > self.objects_max || bytes > self.bytes_max
    }

    /// Which of all objects of the resource go at `now`: those not seen for long, and of the others
    /// what is [too much](Self::crowded_out).
    pub fn forgotten<T>(&self, objects: Vec<(Facts, T)>, now: Timestamp) -> Vec<T> {
        let (kept, gone): (Vec<_>, Vec<_>) = objects.into_iter().partition(|(facts, _)| {
            facts
                .last_seen
                .is_some_and(|seen| now.duration_since(seen) < self.ttl)
        });
        let mut gone: Vec<T> = gone.into_iter().map(|(_, object)| object).collect();
        gone.extend(self.crowded_out(kept));
        gone
    }

    /// Which of all objects of the resource are too much, whatever their age: none within the
    /// bounds; else the least recently written.
    pub fn crowded_out<T>(&self, mut objects: Vec<(Facts, T)>) -> Vec<T> {
        let bytes = objects.iter().map(|(facts, _)| facts.bytes).sum();
        if !self.is_exceeded(objects.len(), bytes) {
            return Vec::new();
        }
        objects.sort_unstable_by_key(|(facts, _)| Reverse(facts.revision));
        let mut kept_bytes = 0;
        let kept = objects
            .iter()
            .take(self.objects_max * KEPT_SIXTEENTHS / 16)
            .take_while(|(facts, _)| {
                kept_bytes += facts.bytes;
                kept_bytes <= self.bytes_max / 16 * KEPT_SIXTEENTHS
            })
            .count();
        let gone = objects.into_iter().skip(kept);
        gone.map(|(_, object)| object).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_api::meta;

    const SMALL: Retention = Retention {
        ttl: SignedDuration::from_secs(10),
        last_seen: |event, _| meta::parse_time(event["lastTimestamp"].as_str()?),
        objects_max: 16,
        bytes_max: 16_000,
    };

    fn now() -> Timestamp {
        "2030-01-01T00:00:30Z".parse().unwrap()
    }

    /// An object last seen so many seconds ago, of so many bytes; called by its revision.
    fn object(revision: u64, age: i64, bytes: usize) -> (Facts, u64) {
        let last_seen = Some(now() - SignedDuration::from_secs(age));
        let facts = Facts {
            revision,
            bytes,
            last_seen,
        };
        (facts, revision)
    }

    fn sorted(mut gone: Vec<u64>) -> Vec<u64> {
        gone.sort_unstable();
        gone
    }

    #[test]
    fn the_old_go() {
        let objects = vec![
            object(1, 9, 1),
            object(2, 10, 1),
            object(3, 11, 1),
            object(4, 0, 1),
        ];
        assert_eq!(sorted(SMALL.forgotten(objects, now())), [2, 3]);
    }

    #[test]
    fn too_many_push_out_those_not_written_for_longest() {
        let full: Vec<_> = (1..=16)
            .rev()
            .map(|revision| object(revision, 0, 1))
            .collect();
        assert_eq!(SMALL.forgotten(full.clone(), now()), [0; 0]);
        let mut crowded = full;
        crowded.insert(3, object(17, 0, 1));
        assert_eq!(sorted(SMALL.crowded_out(crowded.clone())), [1, 2]);
        assert_eq!(sorted(SMALL.forgotten(crowded, now())), [1, 2]);
    }

    #[test]
    fn too_large_ones_push_out_others() {
        let objects = vec![object(1, 0, 10), object(2, 0, 9_000), object(3, 0, 9_000)];
        assert_eq!(sorted(SMALL.crowded_out(objects)), [1, 2]);
        let giant = vec![object(1, 0, 10), object(2, 0, 20_000)];
        let gone = sorted(SMALL.crowded_out(giant));
        assert_eq!(gone, [1, 2], "not even the last one fits");
    }
}
