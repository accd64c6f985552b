//! A store that forgets everything with the process: for tests and the simulator.

use super::{Change, Garbage, Index, Position, Store, StoreError, Txn, Verdict};
use std::collections::BTreeMap;

/// The log in a map. Always ready, never fails, unless told to.
#[derive(Debug, Default)]
pub struct Memory {
    log: BTreeMap<u64, Change>,
    index: Index,
    garbage: Garbage,
    position: Position,
    /// Committed, and not told by [`Store::changes`] yet.
    untold: Vec<Change>,
}

impl Memory {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for Memory {
    fn position(&self) -> Position {
        self.position
    }

    fn replay(&mut self, visit: &mut dyn FnMut(Change)) -> Result<(), StoreError> {
        self.untold.clear();
        self.log.values().cloned().for_each(visit);
        Ok(())
    }

    fn commit(&mut self, batch: Vec<Txn>) -> Result<Vec<Verdict>, StoreError> {
        let (changes, verdicts) = self.index.judge(batch, self.position.revision);
        for change in changes {
            self.garbage.note(&change);
            self.position.revision = change.revision;
            self.untold.push(change.clone());
            self.log.insert(change.revision, change);
        }
        Ok(verdicts)
    }

    fn changes(&mut self) -> Result<Vec<Change>, StoreError> {
        Ok(std::mem::take(&mut self.untold))
    }

    fn compact(&mut self, floor: u64) -> Result<(), StoreError> {
        let floor = floor.min(self.position.revision);
        if floor <= self.position.floor {
            return Ok(());
        }
        let garbage: Vec<u64> = self.garbage.up_to(floor).collect();
        for revision in &garbage {
            self.log.remove(revision);
        }
        self.garbage.clear(garbage.len());
        self.position.floor = floor;
        Ok(())
    }
}
