//! How much room a store has, and what is refused when it has none left.
//!
//! What goes on then is what ends the shortage, and what a cluster cannot live without: deletes,
//! and updates that hardly make an object longer, such as the renewal of a lease, an approval, the
//! removal of a finalizer. No history is kept meanwhile, so that they cost nothing in the long run.

use super::Txn;
use crate::store::StoreError;

/// Free space of the file system that is left to others, and to what goes on at a shortage.
const FREE_BYTES_MIN: u64 = 64 << 20;
/// On a small file system: this part of it.
const FREE_PART_MIN: u64 = 20;
/// A shortage ends when there is more room than the limit by this part of it, so that one object
/// more or less does not begin it anew.
const ENOUGH_PART: u64 = 50;
/// Bytes by which an update may make an object longer.
const GROWTH_MAX: u64 = 1024;

/// Bytes of a store, and of the file system that it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// That hold something.
    pub(super) used: u64,
    /// Of the file, that hold nothing.
    pub(super) reusable: u64,
    /// Of the file system, that we may take; and all.
    pub(super) disk: Option<(u64, u64)>,
}

/// What there is too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shortage {
    /// The store has as many bytes as it may have.
    Quota { used: u64, quota: u64 },
    /// The file system is nearly full.
    Disk { free: u64, min: u64 },
}

impl Room {
    /// What it lacks under a quota (0: none). `was_short`: it lacked something before.
    pub(super) fn shortage(&self, quota: u64, was_short: bool) -> Option<Shortage> {
        let enough = |limit: u64| if was_short { limit / ENOUGH_PART } else { 0 };
        if quota > 0 && self.used >= quota - enough(quota) {
            let used = self.used;
            return Some(Shortage::Quota { used, quota });
        }
        let (free, size) = self.disk?;
        let min = FREE_BYTES_MIN.min(size / FREE_PART_MIN);
        let is_short = free.saturating_add(self.reusable) < min + enough(min);
        is_short.then_some(Shortage::Disk { free, min })
    }
}

impl Shortage {
    /// Whether `txn` goes on all the same. `replaced`: bytes of what it replaces.
    pub(super) fn spares(txn: &Txn, replaced: Option<u64>) -> bool {
        match (&txn.value, replaced) {
            (None, _) => true,
            (Some(value), Some(replaced)) => value.len() as u64 <= replaced + GROWTH_MAX,
            (Some(_), None) => false,
        }
    }
}

impl From<Shortage> for StoreError {
    fn from(shortage: Shortage) -> Self {
        match shortage {
            Shortage::Quota { used, quota } => Self::QuotaExceeded { used, quota },
            Shortage::Disk { free, min } => Self::DiskNearlyFull { free, min },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_shortage_begins_at_the_limit_and_ends_some_way_below_it() {
        let quota = |used| Some(Shortage::Quota { used, quota: 1000 });
        let disk = |free, min| Some(Shortage::Disk { free, min });
        let large = 100 << 30;
        for (used, reusable, space, limit, was_short, expected) in [
            (999, 0, None, 1000, false, None),
            (1000, 0, None, 1000, false, quota(1000)),
            (980, 0, None, 1000, true, quota(980)),
            (979, 0, None, 1000, true, None),
            (u64::MAX, 0, None, 0, false, None),
            (0, 0, Some((64 * MIB, large)), 0, false, None),
            (
                0,
                0,
                Some((64 * MIB - 1, large)),
                0,
                false,
                disk(64 * MIB - 1, 64 * MIB),
            ),
            (0, 1, Some((64 * MIB - 1, large)), 0, false, None),
            (
                0,
                0,
                Some((65 * MIB, large)),
                0,
                true,
                disk(65 * MIB, 64 * MIB),
            ),
            (0, 0, Some((66 * MIB, large)), 0, true, None),
            (0, 0, Some((50, 1000)), 0, false, None),
            (0, 0, Some((49, 1000)), 0, false, disk(49, 50)),
        ] {
            let room = Room {
                used,
                reusable,
                disk: space,
            };
            assert_eq!(
                room.shortage(limit, was_short),
                expected,
                "{room:?} {limit}"
            );
        }
    }

    #[test]
    fn what_frees_room_and_what_needs_next_to_none_goes_on() {
        for (bytes, replaced, expected) in [
            (Some(1), None, false),
            (None, Some(1), true),
            (None, None, true),
            (Some(1024), Some(0), true),
            (Some(1025), Some(0), false),
            (Some(500), Some(500), true),
            (Some(10), Some(500), true),
        ] {
            let txn = Txn {
                key: "/registry/x".to_owned(),
                follows: 0,
                value: bytes.map(|bytes: usize| Bytes::from(vec![0; bytes])),
                ttl_s: 0,
            };
            assert_eq!(Shortage::spares(&txn, replaced), expected, "{bytes:?}");
        }
    }
}
