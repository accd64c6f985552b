//! Objects that are in the store and cannot be read, and by which keys the others are encrypted
//! there.
//!
//! Nobody is shown an unreadable object, nor told that it is gone: whoever reads it is told why
//! not, and so is whoever lists where it is, for a list without it would be wrong.

use super::{Cache, Collection, Scope, key_of, wake};
use crate::encryption::Seal;
use crate::registry::Descriptor;
use crate::store::KEY_PREFIX;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

/// Whether an object can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// Plural.
    pub(crate) resource: &'static str,
    /// `namespace/name`, or `name`.
    pub(crate) key: String,
    /// Why not; None: it can be, or is gone.
    pub(crate) reason: Option<Arc<str>>,
}

impl Collection {
    pub(super) fn count_seal(&mut self, seal: Seal, add: bool) {
        if seal == Seal::PLAIN {
            return;
        }
        let count = self.seals.entry(seal).or_default();
        *count = match add {
            true => *count + 1,
            false => count.saturating_sub(1),
        };
        if *count == 0 {
            self.seals.remove(&seal);
        }
    }

    /// Takes out an object that could be read before; false: there was none.
    fn withdraw(&mut self, key: &str, revision: u64) -> bool {
        let Some(object) = self.objects.get(key).cloned() else {
            return false;
        };
        self.count(&object, false);
        self.count_seal(object.seal, false);
        self.bytes = self.bytes.saturating_sub(object.bytes.len());
        self.gone_bytes += object.bytes.len();
        self.objects.remove(key);
        self.break_history(revision);
        true
    }
}

impl Cache {
    /// Notes what can be read no more, or again. Whoever watches what was readable is behind from
    /// then on, and learns by listing anew.
    pub(crate) fn mark_unreadable(&self, marks: Vec<Unreadable>, revision: u64) {
        if marks.is_empty() {
            return;
        }
        let (mut awake, mut gone) = (Vec::new(), Vec::new());
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for mark in marks {
            let Some(collection) = state.collections.get_mut(mark.resource) else {
                continue;
            };
            let Some(reason) = mark.reason else {
                collection.unreadable.remove(&mark.key);
                continue;
            };
            if collection.withdraw(&mark.key, revision) {
                gone.push(collection.unpin_until(revision));
                awake.extend(self.lock_watchers().overflow(mark.resource));
            }
            collection.unreadable.insert(mark.key, reason);
        }
        drop(state);
        wake(awake);
    }

    /// Whether there is anything that cannot be read.
    pub(crate) fn has_unreadable(&self) -> bool {
        let state = self.read();
        let mut collections = state.collections.values();
        collections.any(|collection| !collection.unreadable.is_empty())
    }

    /// All that cannot be read, and why: by the key in the store.
    pub(crate) fn unreadable_objects(&self) -> Vec<(String, Arc<str>)> {
        let state = self.read();
        let all = state.collections.values().flat_map(|collection| {
            let storage = collection.descriptor.storage;
            let of = collection.unreadable.iter();
            of.map(move |(key, reason)| {
                (format!("{KEY_PREFIX}{storage}/{key}"), Arc::clone(reason))
            })
        });
        all.collect()
    }

    /// The first object in `scope` that cannot be read, and why.
    pub(crate) fn unreadable_in(
        &self,
        descriptor: &Descriptor,
        scope: &Scope,
    ) -> Option<(String, Arc<str>)> {
        let state = self.read();
        let unreadable = &state.collections.get(descriptor.resource)?.unreadable;
        let found = unreadable.iter().find(|(key, _)| {
            let (namespace, name) = key.split_once('/').unwrap_or(("", key));
            let covers = |wanted: &Option<String>, found: &str| {
                wanted.as_deref().is_none_or(|wanted| wanted == found)
            };
            covers(&scope.namespace, namespace) && covers(&scope.name, name)
        });
        found.map(|(key, reason)| (key.clone(), Arc::clone(reason)))
    }

    /// The first object of a namespace that cannot be read: its resource and key.
    pub(crate) fn unreadable_in_namespace(
        &self,
        namespace: &str,
    ) -> Option<(&'static str, String)> {
        let prefix = key_of(namespace, "");
        let state = self.read();
        let mut all = state.collections.values();
        all.find_map(|collection| {
            let mut keys = collection.unreadable.keys();
            let key = keys.find(|key| key.starts_with(&prefix))?;
            Some((collection.descriptor.resource, key.clone()))
        })
    }

    /// How many objects of each resource cannot be read, and how many are encrypted in the store by
    /// which key; the plain ones are the rest.
    pub(crate) fn seals(&self) -> Vec<(&'static Descriptor, usize, BTreeMap<Seal, usize>)> {
        let state = self.read();
        let all = state.collections.values().map(|collection| {
            let mut seals = collection.seals.clone();
            let sealed: usize = seals.values().sum();
            seals.insert(Seal::PLAIN, collection.objects.len().saturating_sub(sealed));
            (collection.descriptor, collection.unreadable.len(), seals)
        });
        all.collect()
    }
}
