//! The network between a node and the API server.
//!
//! **Fault budget.** A healthy fleet must survive: any request or answer lost with a fixed
//! probability, delays of up to [`DELAY_MS_MAX`] milliseconds, and outages of the whole path that
//! end well before the shortest window between rotation deadline and expiry (10 % of a lifetime).
//! It need not survive a path that never works, or answers altered on the way: TLS excludes
//! those.

use crate::rng::Rng;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest one-way delay, in milliseconds.
pub const DELAY_MS_MAX: u64 = 400;

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives and so does its answer, after this long in all.
    Delivered(Duration),
    /// It never arrives; the caller times out.
    RequestLost,
    /// The server did what it was asked, but the caller never hears; it times out.
    ResponseLost,
}

/// The fault model.
#[derive(Clone, Debug)]
pub struct Network {
    rng: Rng,
    request_loss_per_mille: u32,
    response_loss_per_mille: u32,
    /// Nodes that are cut off, and until when.
    cuts: BTreeMap<usize, Duration>,
    /// Nodes whose client certificates do not reach the server, and until when.
    strips: BTreeMap<usize, Duration>,
}

impl Network {
    /// A network that loses requests and answers with these probabilities, in thousandths.
    pub fn new(rng: Rng, request_loss_per_mille: u32, response_loss_per_mille: u32) -> Self {
        Self {
            rng,
            request_loss_per_mille,
            response_loss_per_mille,
            cuts: BTreeMap::new(),
            strips: BTreeMap::new(),
        }
    }

    /// Ends the faults: from now on everything is delivered.
    pub fn heal(&mut self) {
        self.request_loss_per_mille = 0;
        self.response_loss_per_mille = 0;
        self.cuts.clear();
        self.strips.clear();
    }

    /// Cuts a node off until then.
    pub fn cut(&mut self, node: usize, until: Duration) {
        self.cuts.insert(node, until);
    }

    /// Whether a node is cut off now.
    pub fn is_cut(&self, node: usize, elapsed: Duration) -> bool {
        self.cuts.get(&node).is_some_and(|until| elapsed < *until)
    }

    /// Takes the client certificates of a node away until then.
    pub fn strip(&mut self, node: usize, until: Duration) {
        self.strips.insert(node, until);
    }

    /// Whether a node's client certificates are taken away now.
    pub fn is_stripped(&self, node: usize, elapsed: Duration) -> bool {
        self.strips.get(&node).is_some_and(|until| elapsed < *until)
    }

    /// Draws the fate of the next call of a node.
    pub fn fate(&mut self, node: usize, elapsed: Duration) -> Fate {
        if self.rng.chance(self.request_loss_per_mille) || self.is_cut(node, elapsed) {
            Fate::RequestLost
        } else if self.rng.chance(self.response_loss_per_mille) {
            Fate::ResponseLost
        } else {
            Fate::Delivered(self.delay())
        }
    }

    /// Draws a delay.
    pub fn delay(&mut self) -> Duration {
        Duration::from_millis(2 + self.rng.below(DELAY_MS_MAX))
    }
}
