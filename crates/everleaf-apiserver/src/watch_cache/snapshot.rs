//! The objects of a resource as they were at one revision, for whoever reads them one after the
//! other: a list of any length, a watch that begins with what is there. Taken under the lock in a
//! moment, read without it.

use super::sequence::{Sequence, compare};
use super::{Cache, Collection, Scope};
use crate::objects::Stored;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, MutexGuard, PoisonError};

/// Encoded bytes of objects that are no state any more, which all kept snapshots of a resource hold
/// at most.
pub(crate) const PINNED_BYTES_MAX: usize = 32 << 20;
/// Snapshots of a resource that are kept at most.
const PINNED_MAX: usize = 1024;

/// Objects that a walk takes at once.
const STRIDE: usize = 256;

/// Why there is no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotError {
    /// History does not reach back; the oldest revision it does.
    Expired {
        /// That revision.
        oldest: u64,
    },
}

/// A resource at a revision: what is there now, with some keys as they were.
#[derive(Clone, Default)]
pub struct Snapshot {
    revision: u64,
    is_namespaced: bool,
    now: Sequence,
    then: Arc<BTreeMap<String, Option<Arc<Stored>>>>,
}

/// Snapshots that are kept, by revision; with each what was gone when it was taken.
pub(super) type Pinned = BTreeMap<u64, (Snapshot, usize)>;

/// A way through the objects of a snapshot, in key order.
#[derive(Clone)]
pub struct Walk {
    snapshot: Snapshot,
    scope: Scope,
    /// Where it goes on; None at the end.
    next: Option<String>,
    /// Exclusive; None: to the end of all.
    end: Option<String>,
    ahead: VecDeque<Arc<Stored>>,
}

impl Cache {
    /// The state of a resource at `revision`, or now.
    pub fn snapshot(
        &self,
        resource: &str,
        revision: Option<u64>,
    ) -> Result<Snapshot, SnapshotError> {
        let state = self.read();
        let now = state.revision;
        let collection = state.collections.get(resource);
        collection.map_or(Ok(Snapshot::default()), |collection| {
            collection.snapshot(now, revision.unwrap_or(now))
        })
    }
}

impl Collection {
    /// `now` is the state's revision.
    pub(super) fn snapshot(&self, now: u64, revision: u64) -> Result<Snapshot, SnapshotError> {
        let mut then = BTreeMap::new();
        if revision < now {
            if let Some((pinned, _)) = self.pinned().get(&revision) {
                return Ok(pinned.clone());
            }
            let events = self.history.few_after(revision);
            let events = events.ok_or(SnapshotError::Expired {
                oldest: self.history.floor(),
            })?;
            for (object, previous) in events {
                then.entry(super::key_of(&object.namespace, &object.name))
                    .or_insert_with(|| previous.cloned());
            }
        }
        Ok(Snapshot {
            revision,
            is_namespaced: self.descriptor.namespaced,
            now: self.objects.clone(),
            then: Arc::new(then),
        })
    }
}

impl Collection {
    /// Keeps a snapshot for the next page of a list, as long as what it holds beyond the state is
    /// little: of all snapshots together at most [`PINNED_BYTES_MAX`], since the oldest keeps what
    /// any later one does.
    fn pin(&self, snapshot: Snapshot) {
        let mut pinned = self.pinned();
        let gone = self.gone_bytes;
        pinned.entry(snapshot.revision).or_insert((snapshot, gone));
        unpin(&mut pinned, gone);
    }

    /// Lets go of snapshots that hold too much by now.
    pub(super) fn unpin(&mut self) {
        let pinned = self
            .pinned
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        unpin(pinned, self.gone_bytes);
    }

    /// Lets go of snapshots that are not younger than this.
    pub(super) fn unpin_until(&mut self, revision: u64) -> Pinned {
        let pinned = self
            .pinned
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let younger = pinned.split_off(&revision.saturating_add(1));
        std::mem::replace(pinned, younger)
    }

    fn pinned(&self) -> MutexGuard<'_, Pinned> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unpin(pinned: &mut Pinned, gone: usize) {
    let is_too_much = |pinned: &Pinned| {
        let oldest = pinned.first_key_value();
        let held = oldest.is_some_and(|(_, (_, then))| gone - then > PINNED_BYTES_MAX);
        held || pinned.len() > PINNED_MAX
    };
    while is_too_much(pinned) {
        pinned.pop_first();
    }
}

impl Cache {
    /// Keeps a snapshot of that resource for whoever comes back for the rest of it, if there is
    /// more than `limit` objects.
    pub(crate) fn pin(&self, resource: &str, snapshot: &Snapshot, limit: usize) {
        // One that was put together from history can be so again.
        if snapshot.now.len() <= limit || !snapshot.then.is_empty() {
            return;
        }
        if let Some(collection) = self.read().collections.get(resource) {
            collection.pin(snapshot.clone());
        }
    }
}

impl Snapshot {
    /// Its revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Every object of `scope` from the key `start` on; "" for the beginning.
    pub fn walk(&self, scope: Scope, start: &str) -> Walk {
        let (first, end) = match (&scope.namespace, &scope.name) {
            (Some(namespace), Some(name)) => {
                let key = super::key_of(namespace, name);
                (key.clone(), Some(key + "\0"))
            }
            (None, Some(name)) if !self.is_namespaced => (name.clone(), Some(format!("{name}\0"))),
            (None, _) => (String::new(), None),
            (Some(namespace), None) => (format!("{namespace}/"), Some(format!("{namespace}0"))),
        };
        Walk {
            snapshot: self.clone(),
            next: Some(first.max(start.to_owned())),
            end,
            scope,
            ahead: VecDeque::new(),
        }
    }

    /// Objects from `key` on.
    fn from(&self, key: &str) -> impl Iterator<Item = &Arc<Stored>> {
        let mut now = self.now.from(key).peekable();
        let mut then = self.then.range(key.to_owned()..).peekable();
        std::iter::from_fn(move || {
            loop {
                let order = match (now.peek(), then.peek()) {
                    (Some(object), Some((key, _))) => compare(object, key),
                    (_, None) => return now.next(),
                    (None, Some(_)) => std::cmp::Ordering::Greater,
                };
                if order.is_lt() {
                    return now.next();
                }
                if order.is_eq() {
                    now.next();
                }
                if let Some((_, Some(object))) = then.next() {
                    return Some(object);
                }
            }
        })
    }

    /// How many objects come before `key`.
    fn count_before(&self, key: &str) -> usize {
        let mut count = self.now.count_before(key);
        for (key, object) in self
            .then
            .range::<str, _>((Bound::Unbounded, Bound::Excluded(key)))
        {
            count -= usize::from(self.now.get(key).is_some());
            count += usize::from(object.is_some());
        }
        count
    }
}

impl Walk {
    /// The revision of what it shows.
    pub fn revision(&self) -> u64 {
        self.snapshot.revision
    }

    /// How many objects are left, of any name.
    pub fn left(&self) -> usize {
        let Some(next) = &self.next else {
            return self.ahead.len();
        };
        let all = match &self.end {
            Some(end) => self.snapshot.count_before(end),
            None => {
                let (now, then) = (self.snapshot.now.len(), &self.snapshot.then);
                let gone = then
                    .keys()
                    .filter(|key| self.snapshot.now.get(key).is_some());
                now + then.values().flatten().count() - gone.count()
            }
        };
        self.ahead.len() + all.saturating_sub(self.snapshot.count_before(next))
    }

    /// The next object, without passing it.
    pub fn peek(&mut self) -> Option<&Arc<Stored>> {
        if self.ahead.is_empty()
            && let Some(next) = self.next.take()
        {
            let (scope, end) = (&self.scope, self.end.as_deref());
            let mut from = self.snapshot.from(&next);
            let mut last = None;
            for object in from.by_ref().take(STRIDE) {
                if end.is_some_and(|end| compare(object, end).is_ge()) {
                    last = None;
                    break;
                }
                last = Some(object);
                if scope.covers(object) {
                    self.ahead.push_back(Arc::clone(object));
                }
            }
            self.next = last.map(|last| super::key_of(&last.namespace, &last.name) + "\0");
        }
        self.ahead.front()
    }
}

impl Iterator for Walk {
    type Item = Arc<Stored>;

    fn next(&mut self) -> Option<Arc<Stored>> {
        while self.peek().is_none() && self.next.is_some() {}
        self.ahead.pop_front()
    }
}
