//! What was seen of one resource. No I/O.

use crate::follower::Delta;
use everleaf_api::meta;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Objects by their key, as some facts about each.
#[derive(Debug)]
pub(crate) struct Cache<T> {
    facts: BTreeMap<String, T>,
    /// During a list: the keys that it did not have so far.
    unlisted: Option<BTreeSet<String>>,
    is_synced: bool,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self {
            facts: BTreeMap::new(),
            unlisted: None,
            is_synced: false,
        }
    }
}

impl<T> Cache<T> {
    /// Takes in what a follower saw; `read`: the facts about an object, if it counts. Returns the
    /// keys that were put or deleted.
    pub(crate) fn take(
        &mut self,
        delta: Delta,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Vec<String> {
        match delta {
            Delta::Served(_) => {}
            Delta::ListBegins => self.unlisted = Some(self.facts.keys().cloned().collect()),
            Delta::ListEnds => {
                self.is_synced = true;
                let gone = self.unlisted.take().unwrap_or_default();
                self.facts.retain(|key, _| !gone.contains(key));
                return gone.into_iter().collect();
            }
            Delta::Deleted(key) => {
                self.facts.remove(&key);
                return vec![key];
            }
            Delta::Put(object) => {
                let key = meta::key(&object);
                if let Some(unlisted) = &mut self.unlisted {
                    unlisted.remove(&key);
                }
                match read(object) {
                    Some(facts) => self.facts.insert(key.clone(), facts),
                    None => self.facts.remove(&key),
                };
                return vec![key];
            }
        }
        Vec::new()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&T> {
        self.facts.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &T)> {
        self.facts.iter()
    }

    /// Whether there was a whole list.
    pub(crate) fn is_synced(&self) -> bool {
        self.is_synced
    }
}
