//! What the controllers issue: to nobody in another's name, but who joins nodes, and to nobody
//! again and again.

use everleaf_controllers::notice::Notice;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
/// A dozen early certificates, and what the loop breaker lets through in the rest of an hour, are
/// 19.
const PER_HOUR_MAX: usize = 20;

/// Watches what is issued, by requestor and name.
#[derive(Debug, Default)]
pub struct Issued {
    recent: BTreeMap<(String, String), VecDeque<Duration>>,
}

impl Issued {
    /// Judges what the controllers told at `elapsed`.
    pub fn judge(&mut self, notice: &Notice, elapsed: Duration) -> Result<(), String> {
        let Notice::Issued { about, leaf, .. } = notice else {
            return Ok(());
        };
        let (username, name) = (&about.username, &leaf.common_name);
        if !username.starts_with("system:bootstrap:") && username != name {
            return Err(format!("{username} was issued a certificate of {name}"));
        }
        let key = (username.clone(), name.clone());
        let recent = self.recent.entry(key).or_default();
        recent.push_back(elapsed);
        while recent
            .front()
            .is_some_and(|first| elapsed.saturating_sub(*first) >= HOUR)
        {
            recent.pop_front();
        }
        match recent.len() {
            0..=PER_HOUR_MAX => Ok(()),
            many => Err(format!(
                "{username} was issued {many} certificates of {name} within an hour"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use everleaf_controllers::notice::About;
    use everleaf_controllers::record::LeafFacts;

    #[test]
    fn counts_and_compares() {
        let issued = |username: &str, name: &str| Notice::Issued {
            about: About {
                username: username.to_owned(),
                ..About::default()
            },
            latency: Duration::ZERO,
            leaf: LeafFacts {
                common_name: name.to_owned(),
                ..LeafFacts::default()
            },
            truncated: false,
        };
        let mut checker = Issued::default();
        let own = issued("system:node:a", "system:node:a");
        let other = issued("system:node:a", "system:node:b");
        let joined = issued("system:bootstrap:x", "system:node:b");
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        assert!(checker.judge(&other, minutes(0)).is_err());
        assert!((0..20).all(|at| checker.judge(&own, minutes(at)).is_ok()));
        assert!(checker.judge(&joined, minutes(20)).is_ok());
        assert!(checker.judge(&own, minutes(20)).is_err());
        assert!(checker.judge(&own, minutes(100)).is_ok());
    }
}
