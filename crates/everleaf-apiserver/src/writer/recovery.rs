//! The cache, rebuilt from the log at the start.
//!
//! One thread reads the log, as many as there are processors decode what it read, and the caller
//! puts the objects into the cache in the order of their revisions.

use crate::objects::{Objects as _, Stored};
use crate::registry::{DESCRIPTORS, Descriptor};
use crate::store::{Change, KEY_PREFIX, Store, StoreError};
use crate::watch_cache::{Cache, Event};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Changes that go from one thread to the next at a time.
const BATCH: usize = 128;
/// Batches that wait for a thread.
const WAITING_MAX: usize = 2;
/// Threads that decode.
const DECODERS_MAX: usize = 8;

/// A change of an object that this version serves.
struct Decoded {
    descriptor: &'static Descriptor,
    change: Change,
    /// None: the change removes it.
    stored: Option<Stored>,
}

/// None: nothing of ours.
type Outcome = Result<Option<Decoded>, StoreError>;

/// Replays a log into a cache. Keys of resources that this version does not serve stay in the store
/// and are otherwise left alone.
///
/// # Errors
/// The store cannot be read, or holds an object of ours that does not decode.
pub(super) fn recover(store: &mut dyn Store) -> Result<Cache, StoreError> {
    let position = store.position();
    let cache = Cache::new(DESCRIPTORS, position.floor);
    let lent = &mut *store;
    std::thread::scope(|scope| {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let mut to_decode = Vec::new();
        let mut decoded = Vec::new();
        for _ in 0..processors.min(DECODERS_MAX) {
            let (sender, batches) = sync_channel(WAITING_MAX);
            let (outcomes, receiver) = sync_channel(WAITING_MAX);
            to_decode.push(sender);
            decoded.push(receiver);
            scope.spawn(move || decode_all(&batches, &outcomes));
        }
        let reader = scope.spawn(move || read(lent, &to_decode));
        let restored = decoded
            .iter()
            .cycle()
            .map_while(|lane| lane.recv().ok())
            .flatten()
            .try_for_each(|outcome| {
                if let Some(decoded) = outcome? {
                    restore(&cache, decoded, position.floor);
                }
                Ok(())
            });
        // A reader that nobody listens to any more ends.
        drop(decoded);
        let read = reader.join().unwrap_or_else(|_| {
            Err(StoreError::Failed {
                what: "reading it hit a defect".to_owned(),
            })
        });
        restored.and(read)
    })?;
    let reached = store.position();
    cache.restored(reached.revision);
    if reached.floor > position.floor {
        // A store that others write to has forgotten something meanwhile.
        cache.forget_history(reached.revision);
    }
    Ok(cache)
}

/// Hands the changes out in batches, to each lane in turn.
fn read(store: &mut dyn Store, lanes: &[SyncSender<Vec<Change>>]) -> Result<(), StoreError> {
    let mut lane = lanes.iter().cycle();
    let mut batch = Vec::with_capacity(BATCH);
    let mut is_wanted = true;
    let mut hand_out = |batch: Vec<Change>| {
        is_wanted = is_wanted && lane.next().is_some_and(|lane| lane.send(batch).is_ok());
    };
    store.replay(&mut |change| {
        batch.push(change);
        if batch.len() == BATCH {
            hand_out(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)));
        }
    })?;
    hand_out(batch);
    Ok(())
}

fn decode_all(batches: &Receiver<Vec<Change>>, outcomes: &SyncSender<Vec<Outcome>>) {
    for batch in batches {
        let outcome: Vec<Outcome> = batch.into_iter().map(decode).collect();
        if outcomes.send(outcome).is_err() {
            return;
        }
    }
}

fn decode(change: Change) -> Outcome {
    let Some((descriptor, namespace, name)) = parse_key(&change.key) else {
        return Ok(None);
    };
    let decode = |bytes| {
        let place = (namespace.to_owned(), name.to_owned());
        let revisions = (change.revision, change.created);
        Stored::recovered(descriptor, place, revisions, bytes).map_err(|error| {
            StoreError::Corrupt {
                path: change.key.clone(),
                what: format!("at revision {}: {error}", change.revision),
            }
        })
    };
    let stored = change.value.as_ref().map(decode).transpose()?;
    Ok(Some(Decoded {
        descriptor,
        stored,
        change,
    }))
}

impl Decoded {
    /// The event that it is after `previous`; None: it removes what is not there.
    fn event(self, previous: Option<Arc<Stored>>) -> Option<Event> {
        match (self.stored, previous) {
            // A tombstone whose object was collected before a crash.
            (None, None) => None,
            (None, Some(last)) => {
                let gone = Arc::new(last.at_revision(self.change.revision));
                Some(Event::new(gone, Some(last), true))
            }
            (Some(stored), previous) => Some(Event::new(Arc::new(stored), previous, false)),
        }
    }
}

fn restore(cache: &Cache, decoded: Decoded, floor: u64) {
    let Some((_, namespace, name)) = parse_key(&decoded.change.key) else {
        return;
    };
    let previous = cache.get(decoded.descriptor.resource, namespace, name);
    let revision = decoded.change.revision;
    if let Some(event) = decoded.event(previous) {
        cache.restore(Arc::new(event), revision > floor);
    }
}

/// What changes that the store tells of are to those who read `cache`, which has all before them. A
/// value that does not decode is told in the log, and its object is not there: nobody could be
/// shown what it is.
pub(super) fn events(cache: &Cache, changes: Vec<Change>) -> Vec<Arc<Event>> {
    let mut latest: BTreeMap<String, Option<Arc<Stored>>> = BTreeMap::new();
    let mut events = Vec::with_capacity(changes.len());
    for mut change in changes {
        let decoded = decode(change.clone()).unwrap_or_else(|error| {
            tracing::error!(%error, "an object that another server wrote is left out");
            change.value = None;
            decode(change).ok().flatten()
        });
        let Some(decoded) = decoded else { continue };
        let key = decoded.change.key.clone();
        let Some((descriptor, namespace, name)) = parse_key(&key) else {
            continue;
        };
        let previous = match latest.get(&key) {
            Some(previous) => previous.clone(),
            None => cache.get(descriptor.resource, namespace, name),
        };
        if let Some(event) = decoded.event(previous) {
            let present = (!event.deleted).then(|| Arc::clone(&event.object));
            latest.insert(key, present);
            events.push(Arc::new(event));
        }
    }
    events
}

/// What has to happen for `cache` to become what the store, read anew, holds: what is gone, then
/// what came or changed, as far as it is told.
///
/// # Errors
/// The store cannot be read.
pub(super) fn difference(
    cache: &Cache,
    store: &mut dyn Store,
) -> Result<Vec<Arc<Event>>, StoreError> {
    let mut found = Vec::new();
    store.replay(&mut |change| found.push(change))?;
    let floor = store.position().floor;
    let there: BTreeSet<&str> = found
        .iter()
        .filter(|change| change.revision <= floor)
        .map(|change| change.key.as_str())
        .collect();
    let mut changes = Vec::new();
    for descriptor in DESCRIPTORS.iter().filter(|one| one.holds_objects()) {
        for object in cache.list(descriptor.resource, None) {
            let key = super::storage_key(descriptor, &object.namespace, &object.name);
            // What was made after the floor is told below, if it is still there.
            if object.revision <= floor && !there.contains(&*key) {
                changes.push(Change {
                    revision: floor,
                    key,
                    value: None,
                    created: object.created,
                    replaces: object.revision,
                });
            }
        }
    }
    let is_new = |change: &Change| {
        let present = parse_key(&change.key).and_then(|(descriptor, namespace, name)| {
            cache.get(descriptor.resource, namespace, name)
        });
        present.is_none_or(|present| present.revision < change.revision)
    };
    changes.extend(found.into_iter().filter(is_new));
    Ok(events(cache, changes))
}

/// The descriptor, namespace and name behind a key; None when it is not one of ours.
fn parse_key(key: &str) -> Option<(&'static Descriptor, &str, &str)> {
    let rest = key.strip_prefix(KEY_PREFIX)?;
    let ours = DESCRIPTORS.iter().filter(|d| d.holds_objects());
    ours.copied().find_map(|descriptor| {
        let rest = rest.strip_prefix(descriptor.storage)?.strip_prefix('/')?;
        let (namespace, name) = if descriptor.namespaced {
            rest.split_once('/')?
        } else {
            ("", rest)
        };
        (!name.is_empty() && !name.contains('/')).then_some((descriptor, namespace, name))
    })
}
