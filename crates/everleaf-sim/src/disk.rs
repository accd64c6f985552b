//! Power loss at a node's disk.
//!
//! **Fault budget.** Power may be lost between any two operations of a cert dir; what the memory
//! store then forgets is stated there ([`everleaf_rotation::store::memory`]). A healthy node must
//! come back with a usable credential every time.

use crate::rng::Rng;

/// A disk effect consists of fewer operations than this; a strike may come after any of them.
const OPERATIONS_MAX: u64 = 16;

/// Decides when power is lost.
#[derive(Clone, Debug)]
pub struct PowerLoss {
    rng: Rng,
    per_mille: u32,
}

impl PowerLoss {
    /// Strikes this many of a thousand disk effects.
    pub fn new(rng: Rng, per_mille: u32) -> Self {
        Self { rng, per_mille }
    }

    /// Ends the faults.
    pub fn heal(&mut self) {
        self.per_mille = 0;
    }

    /// After how many operations of the next disk effect power is lost, if at all.
    pub fn strike(&mut self) -> Option<u64> {
        self.rng
            .chance(self.per_mille)
            .then(|| self.rng.below(OPERATIONS_MAX))
    }

    /// How many of the unsynced names survive.
    pub fn kept_names(&mut self) -> usize {
        usize::try_from(self.rng.below(OPERATIONS_MAX)).unwrap_or(0)
    }
}
