//! Who watches, at his own pace.
//!
//! The writer never waits for a watcher, and does not hand events to those who watch a whole
//! resource: they read them from its history, and one whom history has passed is told that he fell
//! behind (410, list again). Those who wait for one name, a fleet at times, would read past
//! everything else; each has a short queue of his own.

use super::snapshot::Walk;
use super::{Cache, Event, Scope, SnapshotError, Start};
use crate::objects::Stored;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Events of one name that its watcher may be behind.
pub(crate) const WATCH_BUFFER_EVENTS_MAX: usize = 64;
/// Events taken from history at once.
const READ_AT_ONCE: usize = 64;

/// What a watcher gets next.
#[derive(Debug, Clone)]
pub enum Next {
    /// An object that existed when the watch began.
    Existing(Arc<Stored>),
    /// Everything that existed has been told; the revision of that state. Exactly once, and only
    /// by a feed that began with the state.
    Synced(u64),
    /// A change.
    Event(Arc<Event>),
    /// The watcher fell behind; nothing comes after this.
    Overflow,
    /// The server stops; nothing comes after this.
    Closed,
}

/// One open watch.
pub struct Feed {
    cache: Arc<Cache>,
    id: u64,
    resource: &'static str,
    scope: Scope,
    existing: Option<Walk>,
    synced: Option<u64>,
    backlog: VecDeque<Arc<Event>>,
    /// Of a watch of one name; any other reads history.
    queue: Option<Arc<Queue>>,
    /// Every event of history up to this revision was handed out, or lies in the backlog.
    read: u64,
    /// The gaps in what was told of the resource when it was opened.
    gaps: u64,
    /// Resource version a bookmark may show: every event up to it has been handed out.
    revision: u64,
}

/// What came for one name. Wakers are foreign code: they are made, called and dropped while nothing
/// here is locked.
#[derive(Default)]
struct Queue {
    inner: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    events: VecDeque<Arc<Event>>,
    overflowed: bool,
}

impl Queue {
    fn with<T>(&self, act: impl FnOnce(&mut QueueState) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, event: &Arc<Event>) {
        self.with(|state| {
            if state.events.len() >= WATCH_BUFFER_EVENTS_MAX {
                state.events = VecDeque::new();
                state.overflowed = true;
            } else if !state.overflowed {
                state.events.push_back(Arc::clone(event));
            }
        });
    }
}

/// All who watch.
#[derive(Default)]
pub(super) struct Watchers {
    next_id: u64,
    closed: bool,
    by_resource: BTreeMap<&'static str, ResourceWatchers>,
    /// Of all resources.
    count: usize,
}

#[derive(Default)]
struct ResourceWatchers {
    /// Those who watch any name and sleep until something comes.
    sleeping: Sleeping,
    /// Those who watch one name.
    named: BTreeMap<String, Named>,
    count: usize,
}

#[derive(Default)]
struct Named {
    queues: BTreeMap<u64, Arc<Queue>>,
    sleeping: Sleeping,
}

/// Whom to wake, by watch.
pub(super) type Sleeping = BTreeMap<u64, Waker>;

impl Watchers {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn counts(&self) -> Vec<(&'static str, usize)> {
        self.by_resource
            .iter()
            .map(|(resource, watchers)| (*resource, watchers.count))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    fn add(&mut self, resource: &'static str, name: Option<&str>) -> (u64, Option<Arc<Queue>>) {
        self.next_id += 1;
        let watchers = self.by_resource.entry(resource).or_default();
        watchers.count += 1;
        self.count += 1;
        let queue = name.map(|name| {
            let named = watchers.named.entry(name.to_owned()).or_default();
            let queue = named.queues.entry(self.next_id).or_default();
            Arc::clone(queue)
        });
        (self.next_id, queue)
    }

    fn remove(&mut self, resource: &str, name: Option<&str>, id: u64) -> Option<Waker> {
        let watchers = self.by_resource.get_mut(resource)?;
        watchers.count -= 1;
        self.count -= 1;
        let Some(name) = name else {
            return watchers.sleeping.remove(&id);
        };
        let named = watchers.named.get_mut(name)?;
        named.queues.remove(&id);
        let waker = named.sleeping.remove(&id);
        if named.queues.is_empty() {
            watchers.named.remove(name);
        }
        waker
    }

    /// Lets a watch sleep; the waker it had.
    fn sleep(&mut self, feed: &Feed, waker: Waker) -> Option<Waker> {
        let watchers = self.by_resource.get_mut(feed.resource)?;
        let sleeping = match &feed.scope.name {
            None => &mut watchers.sleeping,
            Some(name) => &mut watchers.named.get_mut(name)?.sleeping,
        };
        sleeping.insert(feed.id, waker)
    }

    /// Hands an event to those who watch its name; puts into `awake` who is to be woken for it,
    /// once nothing is locked.
    pub(super) fn dispatch(&mut self, event: &Arc<Event>, awake: &mut Vec<Sleeping>) {
        let Some(watchers) = self.by_resource.get_mut(event.object.resource) else {
            return;
        };
        let mut wake = |sleeping: &mut Sleeping| {
            if !sleeping.is_empty() {
                awake.push(std::mem::take(sleeping));
            }
        };
        wake(&mut watchers.sleeping);
        if let Some(named) = watchers.named.get_mut(&*event.object.name) {
            named.queues.values().for_each(|queue| queue.push(event));
            wake(&mut named.sleeping);
        }
    }

    /// Has every watch of a name be behind; whom to wake for it, and all others.
    pub(super) fn overflow_all(&mut self) -> Vec<Sleeping> {
        let all: Vec<&'static str> = self.by_resource.keys().copied().collect();
        let awake = all.into_iter().map(|resource| self.overflow(resource));
        awake.flatten().collect()
    }

    /// The same for the watches of one resource.
    pub(super) fn overflow(&mut self, resource: &str) -> Vec<Sleeping> {
        let mut awake = Vec::new();
        if let Some(watchers) = self.by_resource.get_mut(resource) {
            for named in watchers.named.values_mut() {
                for queue in named.queues.values() {
                    queue.with(|state| {
                        state.events = VecDeque::new();
                        state.overflowed = true;
                    });
                }
                awake.push(std::mem::take(&mut named.sleeping));
            }
            awake.push(std::mem::take(&mut watchers.sleeping));
        }
        awake
    }

    /// Ends every watch, and those that are opened from now on; whom to wake for it.
    pub(super) fn close_all(&mut self) -> Vec<Sleeping> {
        self.closed = true;
        let all = self.by_resource.values_mut().flat_map(|watchers| {
            let named = watchers.named.values_mut().map(|named| &mut named.sleeping);
            named.chain([&mut watchers.sleeping])
        });
        all.map(std::mem::take).collect()
    }
}

impl Cache {
    /// Opens a watch. Err: the start lies before what history holds.
    pub fn watch(
        self: &Arc<Self>,
        resource: &'static str,
        scope: Scope,
        start: Start,
    ) -> Result<Feed, SnapshotError> {
        // No event comes between what is read here and the registration: the state stays locked.
        let state = self.read();
        let name = scope.name.as_deref();
        let (id, queue) = self.lock_watchers().add(resource, name);
        let mut feed = Feed {
            cache: Arc::clone(self),
            id,
            resource,
            existing: None,
            synced: None,
            backlog: VecDeque::new(),
            queue,
            read: state.revision,
            gaps: state.collections.get(resource).map_or(0, |all| all.gaps),
            revision: state.revision,
            scope,
        };
        if let Some(collection) = state.collections.get(resource) {
            match start {
                Start::State => {
                    let snapshot = collection.snapshot(state.revision, state.revision)?;
                    feed.existing = Some(snapshot.walk(feed.scope.clone(), ""));
                    feed.synced = Some(state.revision);
                }
                Start::Now => {}
                Start::After(revision) => {
                    let oldest = collection.history.floor();
                    let events = collection.history.after(revision);
                    let events = events.ok_or(SnapshotError::Expired { oldest })?;
                    let covered = events.filter(|event| feed.scope.covers(&event.object));
                    feed.backlog = covered.collect();
                    feed.revision = revision;
                }
            }
        }
        Ok(feed)
    }
}

/// What a feed found when it had nothing left.
enum Found {
    Events,
    Nothing,
    Overflow,
    Closed,
}

impl Feed {
    /// What comes next. Pending registers the waker; with nobody to wake, poll again later.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if let Some(object) = self.existing.as_mut().and_then(Iterator::next) {
            return Poll::Ready(Next::Existing(object));
        }
        self.existing = None;
        if let Some(revision) = self.synced.take() {
            return Poll::Ready(Next::Synced(revision));
        }
        loop {
            while let Some(event) = self.backlog.pop_front() {
                self.revision = event.revision();
                if self.scope.covers(&event.object) {
                    return Poll::Ready(Next::Event(event));
                }
            }
            match self.refill(context.waker().clone()) {
                Found::Events => {}
                Found::Nothing => return Poll::Pending,
                Found::Overflow => return Poll::Ready(Next::Overflow),
                Found::Closed => return Poll::Ready(Next::Closed),
            }
        }
    }

    /// Fills the empty backlog, or goes to sleep.
    fn refill(&mut self, waker: Waker) -> Found {
        let cache = Arc::clone(&self.cache);
        let state = cache.read();
        let mut watchers = cache.lock_watchers();
        let is_behind = match &self.queue {
            Some(queue) => queue.with(|queue| {
                std::mem::swap(&mut self.backlog, &mut queue.events);
                queue.overflowed
            }),
            None => state.collections.get(self.resource).is_some_and(|all| {
                let events = all.history.after(self.read);
                let is_behind = events.is_none();
                let mut events = events.into_iter().flatten();
                self.backlog.extend(events.by_ref().take(READ_AT_ONCE));
                if self.backlog.len() == READ_AT_ONCE {
                    // Changes of one revision are read together: what is read is known by it.
                    let last = self.backlog.back().map(|event| event.revision());
                    let rest = events.take_while(|event| Some(event.revision()) == last);
                    self.backlog.extend(rest);
                }
                is_behind
            }),
        };
        if let Some(last) = self.backlog.back() {
            self.read = last.revision();
        }
        let is_behind = is_behind || {
            let collection = state.collections.get(self.resource);
            collection.is_some_and(|all| all.gaps != self.gaps)
        };
        let (found, replaced) = match (is_behind, watchers.closed, self.backlog.is_empty()) {
            (true, _, _) => (Found::Overflow, None),
            (_, true, _) => (Found::Closed, None),
            (_, _, false) => (Found::Events, None),
            (_, _, true) => (Found::Nothing, watchers.sleep(self, waker)),
        };
        drop((watchers, state));
        drop(replaced);
        found
    }

    /// The revision a bookmark may carry now: no event up to it is still to come. Meant to be asked
    /// after [`Feed::poll_next`] was pending.
    pub fn bookmark(&mut self) -> u64 {
        if self.existing.is_none() && self.synced.is_none() && self.backlog.is_empty() {
            let state = self.cache.read();
            let Some(collection) = state.collections.get(self.resource) else {
                return self.revision;
            };
            let is_drained = match &self.queue {
                Some(queue) => queue.with(|queue| queue.events.is_empty() && !queue.overflowed),
                None => {
                    let events = collection.history.after(self.read);
                    events.is_some_and(|mut events| events.next().is_none())
                }
            };
            if is_drained {
                self.revision = self.revision.max(collection.last_change);
            }
        }
        self.revision
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let name = self.scope.name.as_deref();
        let waker = self
            .cache
            .lock_watchers()
            .remove(self.resource, name, self.id);
        drop(waker);
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("resource", &self.resource)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
