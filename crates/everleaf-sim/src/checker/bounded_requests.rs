//! A node creates at most max(5, 2 · 1 h / L) requests in any hour, L the lifetime granted:
//! what rotation promises (`rotation/spacing.rs`).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Counts creations per node in a sliding hour.
#[derive(Debug)]
pub struct BoundedRequests {
    per_hour_max: usize,
    recent: BTreeMap<String, VecDeque<Duration>>,
}

impl BoundedRequests {
    /// For a signer that grants `lifetime`.
    pub fn new(lifetime: Duration) -> Self {
        let by_lifetime = 2 * HOUR.as_secs() / lifetime.as_secs().max(1);
        Self {
            per_hour_max: usize::try_from(by_lifetime.max(5)).unwrap_or(usize::MAX),
            recent: BTreeMap::new(),
        }
    }

    /// `node` created a request at `elapsed`.
    pub fn created(&mut self, node: &str, elapsed: Duration) -> Result<(), String> {
        let recent = self.recent.entry(node.to_owned()).or_default();
        recent.push_back(elapsed);
        while recent
            .front()
            .is_some_and(|first| elapsed.saturating_sub(*first) >= HOUR)
        {
            recent.pop_front();
        }
        if recent.len() > self.per_hour_max {
            return Err(format!(
                "{node} created {} requests within an hour",
                recent.len()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_within_the_hour_only() {
        let mut checker = BoundedRequests::new(Duration::from_secs(86_400));
        let minutes = |m: u64| Duration::from_secs(m * 60);
        assert!((0..5).all(|m| checker.created("n", minutes(m)).is_ok()));
        assert!(checker.created("other", minutes(5)).is_ok());
        assert!(checker.created("n", minutes(61)).is_ok());
        assert!(checker.created("n", minutes(61)).is_ok());
        assert!(checker.created("n", minutes(61)).is_err());
    }
}
