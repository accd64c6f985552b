//! A store that forgets everything with the process: for tests and the simulator.

use super::{Change, Garbage, Position, Store, StoreError};
use std::collections::BTreeMap;

/// The log in a map. Always ready, never fails, unless told to.
#[derive(Debug, Default)]
pub struct Memory {
    changes: BTreeMap<u64, Change>,
    garbage: Garbage,
    position: Position,
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
        self.changes.values().cloned().for_each(visit);
        Ok(())
    }

    fn commit(&mut self, batch: &[Change]) -> Result<(), StoreError> {
        for change in batch {
            assert!(
                change.revision > self.position.revision,
                "invariant: revisions increase"
            );
            self.garbage.note(change);
            self.position.revision = change.revision;
            self.changes.insert(change.revision, change.clone());
        }
        Ok(())
    }

    fn compact(&mut self, floor: u64) -> Result<(), StoreError> {
        let floor = floor.min(self.position.revision);
        if floor <= self.position.floor {
            return Ok(());
        }
        let garbage: Vec<u64> = self.garbage.up_to(floor).collect();
        for revision in &garbage {
            self.changes.remove(revision);
        }
        self.garbage.clear(garbage.len());
        self.position.floor = floor;
        Ok(())
    }
}
