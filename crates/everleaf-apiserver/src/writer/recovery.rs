//! The cache, rebuilt from the log at the start.
//!
//! One thread reads the log, as many as there are processors decode what it read, and the caller
//! puts the objects into the cache in the order of their revisions.

use crate::encryption::Encryption;
use crate::objects::{Objects as _, Stored};
use crate::registry::{DESCRIPTORS, Descriptor};
use crate::store::{Change, KEY_PREFIX, Store, StoreError};
use crate::watch_cache::{Cache, Event, Unreadable, key_of};
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
/// Unreadable objects that are named at the start.
const NAMED_MAX: usize = 10;

/// A change of an object that this version serves.
struct Decoded {
    descriptor: &'static Descriptor,
    change: Change,
    content: Content,
}

/// What a change makes of its object.
enum Content {
    Present(Stored),
    Gone,
    /// It is there; why nobody can be shown it.
    Unreadable(String),
}

/// What changes are to those who read.
pub(super) struct Told {
    pub(super) events: Vec<Arc<Event>>,
    /// Objects that cannot be read since, or can be again.
    pub(super) unreadable: Vec<Unreadable>,
}

/// None: nothing of ours.
type Outcome = Result<Option<Decoded>, StoreError>;

/// Replays a log into a cache. Keys of resources that this version does not serve stay in the store
/// and are otherwise left alone.
///
/// # Errors
/// The store cannot be read, or holds an object of ours that does not decode.
pub(super) fn recover(store: &mut dyn Store, encryption: &Encryption) -> Result<Cache, StoreError> {
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
            scope.spawn(move || decode_all(&batches, &outcomes, encryption));
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
    tell_unreadable(&cache);
    Ok(cache)
}

fn tell_unreadable(cache: &Cache) {
    let all = cache.unreadable_objects();
    for (key, reason) in all.iter().take(NAMED_MAX) {
        tracing::error!(key, %reason, "an object cannot be read, and is served to nobody");
    }
    if all.len() > NAMED_MAX {
        let more = all.len() - NAMED_MAX;
        tracing::error!(more, "further objects cannot be read");
    }
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

fn decode_all(
    batches: &Receiver<Vec<Change>>,
    outcomes: &SyncSender<Vec<Outcome>>,
    encryption: &Encryption,
) {
    for batch in batches {
        let decode = |change| decode(change, encryption);
        let outcome: Vec<Outcome> = batch.into_iter().map(decode).collect();
        if outcomes.send(outcome).is_err() {
            return;
        }
    }
}

fn decode(change: Change, encryption: &Encryption) -> Outcome {
    let Some((descriptor, namespace, name)) = parse_key(&change.key) else {
        return Ok(None);
    };
    let opened = change
        .value
        .as_ref()
        .map(|stored| encryption.open(descriptor, &change.key, stored));
    let (bytes, seal) = match opened {
        Some(Ok(opened)) => opened,
        other => {
            let content = match other {
                Some(Err(reason)) => Content::Unreadable(reason),
                _ => Content::Gone,
            };
            return Ok(Some(Decoded {
                descriptor,
                change,
                content,
            }));
        }
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
    let content = Content::Present(decode(&bytes)?.sealed(seal));
    Ok(Some(Decoded {
        descriptor,
        content,
        change,
    }))
}

impl Decoded {
    /// The event that it is after `previous`; None: it removes what is not there, or what it is
    /// cannot be told.
    fn event(self, previous: Option<Arc<Stored>>) -> Option<Event> {
        match (self.content, previous) {
            // A tombstone whose object was collected before a crash.
            (Content::Gone, None) | (Content::Unreadable(_), _) => None,
            (Content::Gone, Some(last)) => {
                let gone = Arc::new(last.at_revision(self.change.revision));
                Some(Event::new(gone, Some(last), true))
            }
            (Content::Present(stored), previous) => {
                Some(Event::new(Arc::new(stored), previous, false))
            }
        }
    }

    /// Whether it can be read.
    fn mark(&self, namespace: &str, name: &str) -> Unreadable {
        Unreadable {
            resource: self.descriptor.resource,
            key: key_of(namespace, name),
            reason: match &self.content {
                Content::Unreadable(reason) => Some(reason.as_str().into()),
                Content::Present(_) | Content::Gone => None,
            },
        }
    }
}

fn restore(cache: &Cache, decoded: Decoded, floor: u64) {
    let Some((_, namespace, name)) = parse_key(&decoded.change.key) else {
        return;
    };
    let revision = decoded.change.revision;
    let was_unreadable = cache
        .unreadable(decoded.descriptor.resource, namespace, name)
        .is_some();
    if was_unreadable || matches!(decoded.content, Content::Unreadable(_)) {
        cache.mark_unreadable(vec![decoded.mark(namespace, name)], revision);
    }
    let previous = cache.get(decoded.descriptor.resource, namespace, name);
    if let Some(event) = decoded.event(previous) {
        cache.restore(Arc::new(event), revision > floor);
    }
}

/// What changes that the store tells of are to those who read `cache`, which has all before them. A
/// value that cannot be read is told in the log, and its object is unreadable from then on: nobody
/// could be shown what it is.
pub(super) fn events(cache: &Cache, changes: Vec<Change>, encryption: &Encryption) -> Told {
    let mut latest: BTreeMap<String, Option<Arc<Stored>>> = BTreeMap::new();
    let mut marks: BTreeMap<String, Unreadable> = BTreeMap::new();
    let mut events = Vec::with_capacity(changes.len());
    for change in changes {
        let key = change.key.clone();
        let Some((descriptor, namespace, name)) = parse_key(&key) else {
            continue;
        };
        let decoded = decode(change.clone(), encryption).unwrap_or_else(|error| {
            Some(Decoded {
                descriptor,
                content: Content::Unreadable(error.to_string()),
                change,
            })
        });
        let Some(decoded) = decoded else { continue };
        if let Content::Unreadable(reason) = &decoded.content {
            tracing::error!(key, %reason, "an object cannot be read, and is served to nobody");
        }
        let is_marked = marks.contains_key(&key)
            || cache
                .unreadable(descriptor.resource, namespace, name)
                .is_some();
        let previous = match latest.get(&key) {
            Some(previous) => previous.clone(),
            None => cache.get(descriptor.resource, namespace, name),
        };
        if is_marked || matches!(decoded.content, Content::Unreadable(_)) {
            marks.insert(key.clone(), decoded.mark(namespace, name));
        }
        if let Some(event) = decoded.event(previous) {
            let present = (!event.deleted).then(|| Arc::clone(&event.object));
            latest.insert(key.clone(), present);
            events.push(Arc::new(event));
        }
    }
    Told {
        events,
        unreadable: marks.into_values().collect(),
    }
}

/// What has to happen for `cache` to become what the store, read anew, holds: what is gone, then
/// what came or changed, as far as it is told.
///
/// # Errors
/// The store cannot be read.
pub(super) fn difference(
    cache: &Cache,
    store: &mut dyn Store,
    encryption: &Encryption,
) -> Result<Told, StoreError> {
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
    let known: BTreeSet<&str> = found.iter().map(|change| change.key.as_str()).collect();
    let gone = cache.unreadable_objects().into_iter();
    let gone: Vec<Unreadable> = gone
        .filter(|(key, _)| !known.contains(key.as_str()))
        .filter_map(|(key, _)| {
            let (descriptor, namespace, name) = parse_key(&key)?;
            Some(Unreadable {
                resource: descriptor.resource,
                key: key_of(namespace, name),
                reason: None,
            })
        })
        .collect();
    let is_new = |change: &Change| {
        let present = parse_key(&change.key).and_then(|(descriptor, namespace, name)| {
            cache.get(descriptor.resource, namespace, name)
        });
        present.is_none_or(|present| present.revision < change.revision)
    };
    changes.extend(found.into_iter().filter(is_new));
    let mut told = events(cache, changes, encryption);
    told.unreadable.extend(gone);
    Ok(told)
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
