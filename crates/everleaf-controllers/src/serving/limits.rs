//! How many approvals a node may have, and all nodes together.
//!
//! Owns the counts, over monotonic time. No limit that one node reaches holds another one up: the
//! common rate only spreads approvals, it never stops them.

use crate::bucket::{Rate, TokenBucket};
use crate::serving::Limited;
use everleaf_time::Monotonic;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
/// Approvals per node and hour, at least.
const PER_HOUR_MIN: u32 = 6;
/// Approvals of all nodes together.
const ALL: Rate = Rate {
    per_second: 50.0,
    burst: 500,
};
/// Nodes whose counts are kept; the oldest are forgotten first.
const NODES_MAX: usize = 100_000;

/// Approvals per hour that a node needs whose certificates live this long: two per lifetime, and
/// never fewer than six.
pub fn per_hour(lifetime: Duration) -> u32 {
    let rounds = HOUR.as_secs_f64() / lifetime.as_secs_f64().max(1.0);
    // Saturates.
    ((2.0 * rounds).ceil() as u32).max(PER_HOUR_MIN)
}

/// See the module documentation.
#[derive(Clone, Debug)]
pub struct Limits {
    approvals: BTreeMap<String, VecDeque<Monotonic>>,
    all: TokenBucket,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            approvals: BTreeMap::new(),
            all: TokenBucket::new(ALL),
        }
    }
}

impl Limits {
    /// What holds an approval of `node` up, which may have `per_hour` of them.
    pub fn check(&self, node: &str, per_hour: u32, now: Monotonic) -> Option<Limited> {
        self.check_node(node, per_hour, now).or_else(|| {
            // Only looked at: a token is taken for what is approved.
            let delay = self.all.clone().reserve(now);
            let what = "many requests are approved at this moment";
            (!delay.is_zero()).then_some(Limited { what, delay })
        })
    }

    fn check_node(&self, node: &str, per_hour: u32, now: Monotonic) -> Option<Limited> {
        let within: Vec<Monotonic> = self
            .approvals
            .get(node)?
            .iter()
            .copied()
            .filter(|at| now.since(*at) < HOUR)
            .collect();
        let over = within.len().checked_sub(per_hour.max(1) as usize)?;
        let delay = HOUR.saturating_sub(now.since(*within.get(over)?));
        let what = "the node has had as many approvals in the last hour as it may";
        Some(Limited { what, delay })
    }

    /// A request of `node` was approved.
    pub fn approved(&mut self, node: &str, now: Monotonic) {
        if self.approvals.len() >= NODES_MAX && !self.approvals.contains_key(node) {
            self.forget(now);
        }
        let approvals = self.approvals.entry(node.to_owned()).or_default();
        while approvals.front().is_some_and(|at| now.since(*at) >= HOUR) {
            approvals.pop_front();
        }
        approvals.push_back(now);
        self.all.reserve(now);
    }

    fn forget(&mut self, now: Monotonic) {
        let is_recent = |at: Option<&Monotonic>| at.is_some_and(|at| now.since(*at) < HOUR);
        self.approvals
            .retain(|_, approvals| is_recent(approvals.back()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_its_hour_and_no_other_pays() {
        let mut limits = Limits::default();
        let at = |seconds| Monotonic::from_origin(Duration::from_secs(seconds));
        for second in 0..6 {
            assert_eq!(limits.check("a", 6, at(second)), None);
            limits.approved("a", at(second));
        }
        let limited = limits.check("a", 6, at(10)).unwrap();
        assert_eq!(limited.delay, Duration::from_secs(3590));
        assert_eq!(limits.check("b", 6, at(10)), None);
        assert_eq!(limits.check("a", 6, at(3600)), None);
        assert!(limits.check("a", 5, at(3600)).is_some());
    }

    #[test]
    fn short_lives_need_more() {
        assert_eq!(per_hour(Duration::from_secs(600)), 12);
        assert_eq!(per_hour(Duration::from_secs(8760 * 3600)), 6);
        assert_eq!(per_hour(Duration::ZERO), 7200);
    }
}
