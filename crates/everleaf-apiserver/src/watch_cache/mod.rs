//! The committed state in memory, and the events that led to it.
//!
//! Immutable objects behind `Arc`, per resource and in key order; a bounded ring of past events per
//! resource; those who watch. Only the [writer](crate::writer) changes it, through
//! [`Cache::publish`], after the store has synced: nobody ever sees an unsynced write. It knows
//! nothing of requests, selectors' origins or wire forms beyond one shared JSON rendering per
//! event.

mod feed;
mod history;
mod sequence;
mod snapshot;
mod unreadable;

#[cfg(test)]
mod tests;

use crate::encryption::Seal;
use crate::objects::{Objects, Stored};
use crate::registry::Descriptor;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

pub use feed::{Feed, Next};
pub use history::{Event, Selected};
#[cfg(test)]
pub(crate) use history::{HISTORY_BYTES_MAX, HISTORY_EVENTS_MAX, RECENT_EVENTS_MAX};
#[cfg(test)]
pub(crate) use snapshot::PINNED_BYTES_MAX;
pub use snapshot::{Snapshot, SnapshotError, Walk};
pub(crate) use unreadable::Unreadable;

use feed::{Sleeping, Watchers};
use history::History;
use sequence::Sequence;
use snapshot::Pinned;

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Every existing object first, then changes.
    State,
    /// Changes from now on.
    Now,
    /// Changes strictly after a revision.
    After(u64),
}

/// Narrows a watch before it reaches selectors, so that a fleet of watchers that wait for one name
/// each costs a change nothing but its own few.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only this name.
    pub name: Option<String>,
}

impl Scope {
    fn covers(&self, object: &Stored) -> bool {
        let covers = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        covers(&self.namespace, &object.namespace) && covers(&self.name, &object.name)
    }
}

/// Committed state, events, watchers.
pub struct Cache {
    state: RwLock<State>,
    watchers: Mutex<Watchers>,
}

#[derive(Default)]
struct State {
    revision: u64,
    collections: BTreeMap<&'static str, Collection>,
}

/// One resource.
struct Collection {
    descriptor: &'static Descriptor,
    /// By `namespace/name`, or `name`: the order of the storage keys.
    objects: Sequence,
    history: History,
    /// Lists that somebody is in the middle of.
    pinned: Mutex<Pinned>,
    /// Bytes of all objects that were ever replaced or deleted.
    gone_bytes: usize,
    last_change: u64,
    /// How often what was told of it ceased to be all that changed.
    gaps: u64,
    /// Objects per account, see [`Descriptor::tally`].
    tally: BTreeMap<String, usize>,
    /// Bytes of all objects as stored.
    bytes: usize,
    /// Objects by the key that they are encrypted by in the store; plain ones are not counted.
    seals: BTreeMap<Seal, usize>,
    /// Why objects cannot be read that are in the store.
    unreadable: BTreeMap<String, Arc<str>>,
}

impl Collection {
    /// What changed up to this revision is not told in full: whoever follows is behind.
    fn break_history(&mut self, revision: u64) {
        self.history = History::new(revision);
        self.last_change = revision;
        self.gaps += 1;
    }

    fn count(&mut self, object: &Stored, add: bool) {
        let Some(account) = object.account.as_deref() else {
            return;
        };
        let count = self.tally.entry(account.to_owned()).or_default();
        *count = if add {
            *count + 1
        } else {
            count.saturating_sub(1)
        };
        if *count == 0 {
            self.tally.remove(account);
        }
    }

    /// Makes `event` part of the state; the events that history forgets for it.
    fn apply(&mut self, event: &Arc<Event>) -> Vec<Arc<Event>> {
        let key = key_of(&event.object.namespace, &event.object.name);
        if let Some(previous) = &event.previous {
            self.count(previous, false);
            self.bytes = self.bytes.saturating_sub(previous.bytes.len());
            self.count_seal(previous.seal, false);
        }
        if event.deleted {
            self.objects.remove(&key);
        } else {
            self.count(&event.object, true);
            self.bytes += event.object.bytes.len();
            self.count_seal(event.object.seal, true);
            self.objects.insert(&key, Arc::clone(&event.object));
        }
        self.gone_bytes += event.gone_bytes();
        self.unpin();
        self.last_change = event.revision();
        self.history.push(Arc::clone(event))
    }
}

/// Wakes everyone. Wakers are foreign code, and nothing may be locked when they are called.
fn wake(awake: Vec<Sleeping>) {
    for waker in awake.into_iter().flat_map(Sleeping::into_values) {
        waker.wake();
    }
}

/// Key within a resource.
pub(crate) fn key_of(namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    }
}

impl Cache {
    /// An empty state of these resources, at `floor`: history before it is unknown.
    pub fn new(descriptors: &[&'static Descriptor], floor: u64) -> Self {
        let collections = descriptors
            .iter()
            .map(|descriptor| {
                let collection = Collection {
                    descriptor,
                    objects: Sequence::default(),
                    history: History::new(floor),
                    pinned: Mutex::default(),
                    gone_bytes: 0,
                    last_change: 0,
                    gaps: 0,
                    tally: BTreeMap::new(),
                    bytes: 0,
                    seals: BTreeMap::new(),
                    unreadable: BTreeMap::new(),
                };
                (descriptor.resource, collection)
            })
            .collect();
        Self {
            state: RwLock::new(State {
                revision: floor,
                collections,
            }),
            watchers: Mutex::new(Watchers::default()),
        }
    }

    /// Revision of the last change that is visible.
    pub fn revision(&self) -> u64 {
        self.read().revision
    }

    /// How many objects of a resource count under `account` (see [`Descriptor::tally`]).
    pub fn tally(&self, resource: &str, account: &str) -> usize {
        self.read()
            .collections
            .get(resource)
            .and_then(|collection| collection.tally.get(account).copied())
            .unwrap_or(0)
    }

    /// Number of objects of a resource, and how many bytes they are as stored.
    pub fn size(&self, resource: &str) -> (usize, usize) {
        self.read()
            .collections
            .get(resource)
            .map_or((0, 0), |collection| {
                (collection.objects.len(), collection.bytes)
            })
    }

    /// Number of objects of each resource.
    pub fn counts(&self) -> Vec<(&'static str, usize)> {
        self.read()
            .collections
            .iter()
            .map(|(resource, collection)| (*resource, collection.objects.len()))
            .collect()
    }

    /// Number of open watches of each resource that has any.
    pub fn watcher_counts(&self) -> Vec<(&'static str, usize)> {
        self.lock_watchers().counts()
    }

    /// Number of open watches.
    pub fn watcher_count(&self) -> usize {
        self.lock_watchers().len()
    }

    /// Makes a committed batch visible, in order, and hands it to those who watch. `revision` is
    /// that of the batch's last change.
    pub fn publish(&self, events: &[Arc<Event>], revision: u64) {
        let (mut awake, mut forgotten) = (Vec::new(), Vec::new());
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut watchers = self.lock_watchers();
        for event in events {
            if let Some(collection) = state.collections.get_mut(event.object.resource) {
                forgotten.extend(collection.apply(event));
            }
            watchers.dispatch(event, &mut awake);
        }
        state.revision = revision;
        drop((state, watchers));
        wake(awake);
    }

    /// Forgets what has been history for ten minutes: events, and snapshots for lists that somebody
    /// is in the middle of. To be called once a minute: after a storm there may be no further
    /// change to push them out.
    pub fn age(&self) {
        let mut gone = Vec::new();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let revision = state.revision;
        for collection in state.collections.values_mut() {
            if let Some((past, events)) = collection.history.age(revision) {
                gone.push((events, collection.unpin_until(past)));
            }
        }
        // It may be much, and nobody is to wait until its memory is given back.
        drop(state);
        drop(gone);
    }

    /// Forgets how the state came to be what it is at this revision, where that was not told in
    /// full: every watch is behind, and whoever asks for what came after an earlier revision is
    /// too late.
    pub(crate) fn forget_history(&self, revision: u64) {
        let mut gone = Vec::new();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for collection in state.collections.values_mut() {
            collection.break_history(revision);
            gone.push(collection.unpin_until(revision));
        }
        let awake = self.lock_watchers().overflow_all();
        drop(state);
        wake(awake);
    }

    /// Ends every watch, cleanly, and those that are opened from now on.
    pub fn close_feeds(&self) {
        let awake = self.lock_watchers().close_all();
        wake(awake);
    }

    /// Takes in one replayed event before anybody watches: in revision order, from the floor up.
    /// `keep` puts it into history; what lies at or below the floor is state only.
    pub(crate) fn restore(&self, event: Arc<Event>, keep: bool) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let revision = event.revision();
        if let Some(collection) = state.collections.get_mut(event.object.resource) {
            let floor = collection.history.floor();
            drop(collection.apply(&event));
            if !keep {
                collection.history = History::new(floor);
            }
        }
        state.revision = state.revision.max(revision);
    }

    /// Moves the visible revision up to what the store says (its last change may be compacted
    /// away).
    pub(crate) fn restored(&self, revision: u64) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.revision = state.revision.max(revision);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_watchers(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Objects for Cache {
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Stored>> {
        self.read()
            .collections
            .get(resource)?
            .objects
            .get(&key_of(namespace, name))
            .cloned()
    }

    fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Stored>> {
        let state = self.read();
        let Some(collection) = state.collections.get(resource) else {
            return Vec::new();
        };
        match namespace {
            None => collection.objects.from("").cloned().collect(),
            Some(namespace) => collection
                .objects
                .from(&format!("{namespace}/"))
                .take_while(|object| *object.namespace == *namespace)
                .cloned()
                .collect(),
        }
    }

    fn last_change(&self, resource: &str) -> u64 {
        self.read()
            .collections
            .get(resource)
            .map_or(0, |collection| collection.last_change)
    }

    fn unreadable(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<str>> {
        let state = self.read();
        let unreadable = &state.collections.get(resource)?.unreadable;
        if unreadable.is_empty() {
            return None;
        }
        unreadable.get(&key_of(namespace, name)).cloned()
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}
