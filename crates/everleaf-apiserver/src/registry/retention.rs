//! What is forgotten by itself: objects of best effort that nobody deletes and nobody may fill the store with.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::objects::Stored;

/// When there are too many, as many go as leave this share of the bounds, in sixteenths: not each new object shall cost
/// a walk over all others.
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

impl Retention {
    /// True when so many objects of so many bytes are too much.
    pub fn is_exceeded(&self, objects: usize, bytes: usize) -> bool {
        objects > self.objects_max || bytes > self.bytes_max
    }

    /// Which of all objects of the resource go at `now`: those not seen for long, and of the others what is
    /// [too much](Self::crowded_out).
    pub fn forgotten(&self, objects: Vec<Arc<Stored>>, now: Timestamp) -> Vec<Arc<Stored>> {
        let (kept, mut gone): (Vec<_>, Vec<_>) = objects.into_iter().partition(|stored| {
            (self.last_seen)(&stored.object(), now)
                .is_some_and(|seen| now.duration_since(seen) < self.ttl)
        });
        gone.extend(self.crowded_out(kept));
        gone
    }

    /// Which of all objects of the resource are too much, whatever their age: none within the bounds; else the least
    /// recently written.
    pub fn crowded_out(&self, mut objects: Vec<Arc<Stored>>) -> Vec<Arc<Stored>> {
        let bytes = objects.iter().map(|stored| stored.bytes.len()).sum();
        if !self.is_exceeded(objects.len(), bytes) {
            return Vec::new();
        }
        objects.sort_unstable_by_key(|stored| Reverse(stored.revision));
        let mut kept_bytes = 0;
        let kept = objects
            .iter()
            .take(self.objects_max * KEPT_SIXTEENTHS / 16)
            .take_while(|stored| {
                kept_bytes += stored.bytes.len();
                kept_bytes <= self.bytes_max / 16 * KEPT_SIXTEENTHS
            })
            .count();
        objects.split_off(kept)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::events::EVENTS;

    const SMALL: Retention = Retention {
        ttl: SignedDuration::from_secs(10),
        last_seen: |event, _| everleaf_api::meta::parse_time(event["lastTimestamp"].as_str()?),
        objects_max: 16,
        bytes_max: 16_000,
    };

    fn now() -> Timestamp {
        "2030-01-01T00:00:30Z".parse().unwrap()
    }

    /// An event last seen so many seconds ago, padded.
    fn event(revision: u64, age: i64, padding: usize) -> Arc<Stored> {
        let seen = everleaf_api::meta::format_time(now() - SignedDuration::from_secs(age));
        let object = json!({"metadata": {"name": "e"}, "lastTimestamp": seen, "message": "x".repeat(padding)});
        let object = EVENTS.r#type.decode_value(object).unwrap().object;
        let bytes = EVENTS.r#type.encode_protobuf(&object).into();
        let place = ("default".to_owned(), format!("e{revision}"));
        Arc::new(Stored::new(&EVENTS, place, (revision, 1), object, bytes))
    }

    fn revisions(gone: &[Arc<Stored>]) -> Vec<u64> {
        let mut revisions: Vec<u64> = gone.iter().map(|stored| stored.revision).collect();
        revisions.sort_unstable();
        revisions
    }

    #[test]
    fn the_old_go() {
        let events = vec![
            event(1, 9, 0),
            event(2, 10, 0),
            event(3, 11, 0),
            event(4, 0, 0),
        ];
        assert_eq!(revisions(&SMALL.forgotten(events, now())), [2, 3]);
    }

    #[test]
    fn too_many_push_out_those_not_written_for_longest() {
        let full: Vec<_> = (1..=16)
            .rev()
            .map(|revision| event(revision, 0, 0))
            .collect();
        assert_eq!(revisions(&SMALL.forgotten(full.clone(), now())), [0; 0]);
        let mut crowded = full;
        crowded.insert(3, event(17, 0, 0));
        assert_eq!(revisions(&SMALL.crowded_out(crowded.clone())), [1, 2]);
        assert_eq!(revisions(&SMALL.forgotten(crowded, now())), [1, 2]);
    }

    #[test]
    fn too_large_ones_push_out_others() {
        let events = vec![event(1, 0, 10), event(2, 0, 9_000), event(3, 0, 9_000)];
        assert_eq!(revisions(&SMALL.crowded_out(events)), [1, 2]);
        let giant = vec![event(1, 0, 10), event(2, 0, 20_000)];
        assert_eq!(
            revisions(&SMALL.crowded_out(giant)),
            [1, 2],
            "not even the last one fits"
        );
    }
}
