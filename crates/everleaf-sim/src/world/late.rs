//! Nodes that are off for longer than their certificates last, and come back.

use super::{Due, World};
use crate::node::Performed;
use everleaf_agent::client::{Answer, Failure};
use std::time::Duration;

/// How soon a node that was off holds a good certificate again.
const RETURN_MAX: Duration = Duration::from_secs(30 * 60);

impl World {
    /// The node is off for so long.
    pub(super) fn turn_off(&mut self, node: u32, time: Duration) {
        let Some(node) = self.node(node) else { return };
        self.stop(node, usize::MAX);
        self.nodes[node].clock.reboot(self.elapsed);
        let back = self.elapsed + time;
        self.excused.insert(node, back + RETURN_MAX);
        self.plan(back, Due::Start(node));
    }

    /// Whether a node was off, and may still lack a good certificate.
    pub(super) fn is_excused(&self, node: usize) -> bool {
        let until = self.excused.get(&node);
        until.is_some_and(|until| self.elapsed < *until)
    }

    /// Lets a node ask to come back, or register for that, if it is time. True: power was lost.
    pub(super) fn knock(&mut self, node: usize) -> bool {
        let now = self.node_now(node);
        match self.nodes[node].knock(now, &mut self.power) {
            Some(Performed::Begun(exchange)) => self.begin(node, 0, *exchange),
            Some(Performed::PowerLost) => return true,
            _ => {}
        }
        false
    }

    /// How long until a node knocks.
    pub(super) fn knock_nap(&self, node: usize) -> Option<Duration> {
        let at = self.nodes[node].knock_at()?;
        let left = at.since(self.node_now(node).monotonic);
        Some(left.max(Duration::from_millis(1)))
    }

    /// The server has answered a knock.
    pub(super) fn hear_knocked(&mut self, node: usize, answer: Result<Answer, Failure>) {
        let now = self.node_now(node);
        let taken = self.nodes[node].take_knocked(answer, now, &mut self.power);
        let Some((heard, is_power_lost)) = taken else {
            return;
        };
        self.trace(node, 0, &format!("{heard}"));
        if is_power_lost {
            return self.lose_power(node);
        }
        self.wake(node, 0);
    }
}
