//! What is alive in a log, by key: against it a store that numbers by itself judges transactions.

use super::{Change, Rejection, Txn, Verdict};
use std::collections::HashMap;

/// Last change and creation of each key that is there.
#[derive(Debug, Default)]
pub(super) struct Index {
    alive: HashMap<Box<str>, Alive>,
}

#[derive(Debug, Clone, Copy)]
struct Alive {
    revision: u64,
    created: u64,
}

impl Index {
    /// Judges transactions in their order, each after those before it, and numbers the accepted
    /// ones after `revision`. They hold from here on, unless they are [undone](Self::undo).
    pub(super) fn judge(
        &mut self,
        batch: Vec<Txn>,
        mut revision: u64,
    ) -> (Vec<Change>, Vec<Verdict>) {
        let mut changes = Vec::with_capacity(batch.len());
        let mut verdicts = Vec::with_capacity(batch.len());
        for txn in batch {
            let present = self.alive.get(&*txn.key).copied();
            let replaces = present.map_or(0, |alive| alive.revision);
            if replaces != txn.follows || (present.is_none() && txn.value.is_none()) {
                verdicts.push(Err(Rejection::Conflict { present: replaces }));
                continue;
            }
            revision += 1;
            let change = Change {
                revision,
                key: txn.key,
                value: txn.value,
                created: present.map_or(revision, |alive| alive.created),
                replaces,
            };
            self.note(&change);
            verdicts.push(Ok(revision));
            changes.push(change);
        }
        (changes, verdicts)
    }

    /// Takes in a change that was committed.
    pub(super) fn note(&mut self, change: &Change) {
        let alive = Alive {
            revision: change.revision,
            created: change.created,
        };
        if change.value.is_none() {
            self.alive.remove(&*change.key);
        } else if let Some(present) = self.alive.get_mut(&*change.key) {
            *present = alive;
        } else {
            self.alive.insert(change.key.as_str().into(), alive);
        }
    }

    /// Takes back changes that were judged last and not committed.
    pub(super) fn undo(&mut self, changes: &[Change]) {
        for change in changes.iter().rev() {
            if change.replaces == 0 {
                self.alive.remove(&*change.key);
            } else {
                let before = Alive {
                    revision: change.replaces,
                    created: change.created,
                };
                self.alive.insert(change.key.as_str().into(), before);
            }
        }
    }
}
