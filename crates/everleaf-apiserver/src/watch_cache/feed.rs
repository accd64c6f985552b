//! Who watches: one bounded queue each, filled by the writer, drained by the watcher's own pace.
//!
//! The writer never waits for a watcher. A queue that is full is emptied and its watcher told that
//! it fell behind (410, list again), so memory stays bounded whatever a client does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Cache, Event, Scope, Start};
use crate::objects::Stored;

/// Events one watcher may be behind.
pub(crate) const WATCH_BUFFER_EVENTS_MAX: usize = 4096;

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
    existing: VecDeque<Arc<Stored>>,
    synced: Option<u64>,
    backlog: VecDeque<Arc<Event>>,
    queue: Arc<Queue>,
    /// Resource version a bookmark may show: every event up to it has been handed out.
    revision: u64,
}

#[derive(Default)]
struct Queue {
    inner: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    events: VecDeque<Arc<Event>>,
    overflowed: bool,
    closed: bool,
    /// Who sleeps until something comes.
    waker: Option<Waker>,
}

impl Queue {
    fn with<T>(&self, act: impl FnOnce(&mut QueueState) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds an event; whoever has to be woken because of it, once however many events follow.
    fn push(&self, event: &Arc<Event>) -> Option<Waker> {
        self.with(|state| {
            if state.overflowed {
                return None;
            }
            if state.events.len() >= WATCH_BUFFER_EVENTS_MAX {
                state.events = VecDeque::new();
                state.overflowed = true;
            } else {
                state.events.push_back(Arc::clone(event));
            }
            state.waker.take()
        })
    }

    fn close(&self) -> Option<Waker> {
        self.with(|state| {
            state.closed = true;
            state.waker.take()
        })
    }
}

/// All queues.
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
    /// Those who watch any name.
    any: BTreeMap<u64, Arc<Queue>>,
    /// Those who watch one name.
    named: BTreeMap<String, BTreeMap<u64, Arc<Queue>>>,
    count: usize,
    /// Revision of the last event of this resource.
    last: u64,
}

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

    fn add(&mut self, resource: &'static str, name: Option<&str>, queue: &Arc<Queue>) -> u64 {
        self.next_id += 1;
        if self.closed {
            queue.with(|state| state.closed = true);
        }
        let watchers = self.by_resource.entry(resource).or_default();
        let queues = match name {
            None => &mut watchers.any,
            Some(name) => watchers.named.entry(name.to_owned()).or_default(),
        };
        queues.insert(self.next_id, Arc::clone(queue));
        watchers.count += 1;
        self.count += 1;
        self.next_id
    }

    fn remove(&mut self, resource: &str, name: Option<&str>, id: u64) {
        let Some(watchers) = self.by_resource.get_mut(resource) else {
            return;
        };
        let queues = match name {
            None => Some(&mut watchers.any),
            Some(name) => watchers.named.get_mut(name),
        };
        let removed = queues.and_then(|queues| queues.remove(&id));
        if let Some(name) = name
            && watchers.named.get(name).is_some_and(BTreeMap::is_empty)
        {
            watchers.named.remove(name);
        }
        if removed.is_some() {
            watchers.count -= 1;
            self.count -= 1;
        }
    }

    /// Hands an event to the queues whose scope may cover it. Whoever is to be woken for it is put into `wakers`: a
    /// waker is foreign code, and is called when no lock is held.
    pub(super) fn dispatch(&mut self, event: &Arc<Event>, wakers: &mut Vec<Waker>) {
        let watchers = self.by_resource.entry(event.object.resource).or_default();
        watchers.last = event.revision();
        let named = watchers.named.get(&event.object.name).into_iter().flatten();
        for queue in watchers.any.iter().chain(named).map(|(_, queue)| queue) {
            wakers.extend(queue.push(event));
        }
    }

    /// Ends every watch, and those that are opened from now on. Whoever is to be woken for it.
    pub(super) fn close_all(&mut self) -> Vec<Waker> {
        self.closed = true;
        let queues = self.by_resource.values().flat_map(|watchers| {
            let named = watchers.named.values().flat_map(BTreeMap::values);
            watchers.any.values().chain(named)
        });
        queues.filter_map(|queue| queue.close()).collect()
    }
}

impl Cache {
    /// Opens a watch. Err: the start lies before what history holds; the oldest possible revision.
    pub fn watch(
        self: &Arc<Self>,
        resource: &'static str,
        scope: Scope,
        start: Start,
    ) -> Result<Feed, u64> {
        let state = self.read();
        let queue = Arc::new(Queue::default());
        let (mut existing, mut backlog) = (VecDeque::new(), VecDeque::new());
        let mut synced = None;
        if let Some(collection) = state.collections.get(resource) {
            match start {
                Start::State => {
                    synced = Some(state.revision);
                    existing = collection.select(&scope);
                }
                Start::Now => {}
                Start::After(revision) => {
                    let events = collection.history.after(revision);
                    backlog = events
                        .ok_or_else(|| collection.history.floor())?
                        .filter(|event| scope.covers(&event.object))
                        .cloned()
                        .collect();
                }
            }
        }
        let revision = match start {
            Start::State | Start::Now => state.revision,
            Start::After(revision) => revision,
        };
        // Still under the state's read lock: no event between the snapshot and the registration.
        let id = self
            .lock_watchers()
            .add(resource, scope.name.as_deref(), &queue);
        Ok(Feed {
            cache: Arc::clone(self),
            id,
            resource,
            scope,
            existing,
            synced,
            backlog,
            queue,
            revision,
        })
    }
}

impl super::Collection {
    fn select(&self, scope: &Scope) -> VecDeque<Arc<Stored>> {
        let covered = |object: &&Arc<Stored>| scope.covers(object);
        match (&scope.namespace, &scope.name) {
            (Some(namespace), _) => self
                .objects
                .range(format!("{namespace}/")..format!("{namespace}0"))
                .map(|(_, object)| object)
                .filter(covered)
                .cloned()
                .collect(),
            (None, Some(name)) if !self.descriptor.namespaced => {
                self.objects.get(name).cloned().into_iter().collect()
            }
            _ => self.objects.values().filter(covered).cloned().collect(),
        }
    }
}

impl Feed {
    /// What comes next. Pending registers the waker; with nobody to wake, poll again later.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if let Some(object) = self.existing.pop_front() {
            return Poll::Ready(Next::Existing(object));
        }
        if let Some(revision) = self.synced.take() {
            return Poll::Ready(Next::Synced(revision));
        }
        if let Some(event) = self.backlog.pop_front() {
            self.revision = event.revision();
            return Poll::Ready(Next::Event(event));
        }
        loop {
            let next = self.queue.with(|state| {
                if state.overflowed {
                    return Some(Next::Overflow);
                }
                if state.closed {
                    return Some(Next::Closed);
                }
                let event = state.events.pop_front().map(Next::Event);
                if event.is_none() {
                    state.waker = Some(context.waker().clone());
                }
                event
            });
            match next {
                None => return Poll::Pending,
                Some(Next::Event(event)) => {
                    self.revision = event.revision();
                    if self.scope.covers(&event.object) {
                        return Poll::Ready(Next::Event(event));
                    }
                }
                Some(other) => return Poll::Ready(other),
            }
        }
    }

    /// The revision a bookmark may carry now: no event up to it is still to come. Meant to be asked
    /// after [`Feed::poll_next`] was pending.
    pub fn bookmark(&mut self) -> u64 {
        if self.existing.is_empty() && self.synced.is_none() && self.backlog.is_empty() {
            let watchers = self.cache.lock_watchers();
            let drained = self
                .queue
                .with(|state| state.events.is_empty() && !state.overflowed);
            let last = watchers
                .by_resource
                .get(self.resource)
                .map_or(0, |watchers| watchers.last);
            if drained {
                self.revision = self.revision.max(last);
            }
        }
        self.revision
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.cache
            .lock_watchers()
            .remove(self.resource, self.scope.name.as_deref(), self.id);
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
