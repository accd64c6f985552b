//! Events, and a bounded ring of them per resource.

use crate::objects::Stored;
use crate::registry::Descriptor;
use bytes::Bytes;
use everleaf_api::negotiate::Encoding;
use everleaf_api::schema::Type;
use everleaf_api::watch::{self, EventType};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Events kept per resource: how far back a watch can begin. As many as kube-apiserver keeps when
/// much happens (Kubernetes: `staging/src/k8s.io/apiserver/pkg/storage/cacher/watch_cache.go`,
/// `defaultUpperBoundCapacity`), since a client that lists many objects page by page watches from
/// where it began.
pub(crate) const HISTORY_EVENTS_MAX: usize = 102_400;
/// The newest of them can be looked through for a list as it was, …
pub(crate) const RECENT_EVENTS_MAX: usize = 4096;
/// … and fewer keep what was rendered for watches.
const RENDERED_EVENTS_MAX: usize = 1024;
/// How often [`Cache::age`](super::Cache::age) is called before an event is forgotten, however few
/// there are: ten minutes. The longest watch of client-go's reflectors (`tools/cache/reflector.go`:
/// from 5 to 10 minutes) can go on from where it began; etcd forgets after 5.
const AGES_MAX: usize = 10;
/// Encoded bytes that events keep in memory although they are no state any more: what was replaced
/// or deleted.
pub(crate) const HISTORY_BYTES_MAX: usize = 24 << 20;

/// One committed change, shared by everybody who hears of it.
#[derive(Debug)]
pub struct Event {
    /// The object after the change; for a delete, its last state with the delete's revision.
    pub object: Arc<Stored>,
    /// The object before the change; None for a create.
    pub previous: Option<Arc<Stored>>,
    /// True for a delete.
    pub deleted: bool,
    /// As objects of the type that is stored.
    frames: Frames,
    /// As objects of other versions of it, for whoever watches those.
    views: Mutex<Vec<(&'static Type, Arc<Frames>)>>,
}

/// Watch frames, rendered when first asked for; a thousand watchers share one buffer.
#[derive(Debug, Default)]
struct Frames {
    json: Rendered,
    protobuf: Rendered,
    /// The object a selector saw leave: previous content, this event's revision.
    left: OnceLock<Arc<Stored>>,
}

/// The frames of one encoding.
#[derive(Debug, Default)]
struct Rendered {
    added: OnceLock<Bytes>,
    modified: OnceLock<Bytes>,
    deleted: OnceLock<Bytes>,
}

/// What an event means to one watcher.
#[derive(Debug, Clone)]
pub struct Selected {
    /// ADDED, MODIFIED or DELETED.
    pub kind: EventType,
    /// The object to show.
    pub object: Arc<Stored>,
}

impl Event {
    /// An event without renderings.
    pub fn new(object: Arc<Stored>, previous: Option<Arc<Stored>>, deleted: bool) -> Self {
        Self {
            object,
            previous,
            deleted,
            frames: Frames::default(),
            views: Mutex::default(),
        }
    }

    /// Its revision.
    pub fn revision(&self) -> u64 {
        self.object.revision
    }

    /// What this means to somebody who only sees objects that match: entering the selection is
    /// ADDED, leaving it is DELETED with the last matching content and this revision.
    pub fn select(&self, matches: impl Fn(&Stored) -> bool) -> Option<Selected> {
        let before = self
            .previous
            .as_ref()
            .is_some_and(|previous| matches(previous));
        if self.deleted {
            return before.then(|| self.shown(EventType::Deleted));
        }
        match (before, matches(&self.object)) {
            (false, true) => Some(self.shown(EventType::Added)),
            (true, true) => Some(self.shown(EventType::Modified)),
            (true, false) => Some(self.shown(EventType::Deleted)),
            (false, false) => None,
        }
    }

    fn shown(&self, kind: EventType) -> Selected {
        let object = match (&kind, &self.previous, self.deleted) {
            (EventType::Deleted, Some(previous), false) => Arc::clone(
                self.frames
                    .left
                    .get_or_init(|| Arc::new(previous.at_revision(self.revision()))),
            ),
            _ => Arc::clone(&self.object),
        };
        Selected { kind, object }
    }

    /// The frame of `selected`, which this event gave.
    pub fn frame(&self, selected: &Selected, descriptor: &Descriptor, encoding: Encoding) -> Bytes {
        let (ty, object) = (descriptor.r#type, &selected.object);
        let view;
        let frames = if descriptor.view_of.is_none() {
            &self.frames
        } else {
            view = self.view(ty);
            &*view
        };
        let rendered = match encoding {
            Encoding::Protobuf => &frames.protobuf,
            Encoding::Json | Encoding::Yaml => &frames.json,
        };
        let frame = match selected.kind {
            EventType::Added => &rendered.added,
            EventType::Modified => &rendered.modified,
            EventType::Deleted | EventType::Bookmark | EventType::Error => &rendered.deleted,
        };
        let render = || {
            let frame = match encoding {
                Encoding::Protobuf => watch::protobuf_frame(selected.kind, &object.protobuf(ty)),
                Encoding::Json | Encoding::Yaml => {
                    watch::json_frame(selected.kind, object.json(ty).document())
                }
            };
            Bytes::from(frame)
        };
        frame.get_or_init(render).clone()
    }

    fn view(&self, r#type: &'static Type) -> Arc<Frames> {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, frames)) = views.iter().find(|(known, _)| std::ptr::eq(*known, r#type)) {
            return Arc::clone(frames);
        }
        let frames = Arc::<Frames>::default();
        views.push((r#type, Arc::clone(&frames)));
        frames
    }
}

/// The ring.
#[derive(Debug)]
pub(super) struct History {
    older: VecDeque<Past>,
    rendered: VecDeque<Arc<Event>>,
    bytes: usize,
    floor: u64,
    /// The last revision that there was when it aged, oldest first.
    ages: VecDeque<u64>,
}

/// An event that nobody waits for any more.
#[derive(Debug)]
struct Past {
    object: Arc<Stored>,
    previous: Option<Arc<Stored>>,
    deleted: bool,
}

impl Past {
    fn of(event: &Event) -> Self {
        Self {
            object: Arc::clone(&event.object),
            previous: event.previous.clone(),
            deleted: event.deleted,
        }
    }

    fn event(&self) -> Arc<Event> {
        let (object, previous) = (Arc::clone(&self.object), self.previous.clone());
        Arc::new(Event::new(object, previous, self.deleted))
    }

    /// Bytes that are no state any more.
    fn bytes(&self) -> usize {
        gone(&self.object, self.previous.as_ref(), self.deleted)
    }
}

/// Bytes that a change makes history: what it replaced, and the last state of what it deleted.
fn gone(object: &Stored, previous: Option<&Arc<Stored>>, deleted: bool) -> usize {
    let last = if deleted { object.bytes.len() } else { 0 };
    last + previous.map_or(0, |previous| previous.bytes.len())
}

impl Event {
    /// Bytes that are no state any more for this event.
    pub(super) fn gone_bytes(&self) -> usize {
        gone(&self.object, self.previous.as_ref(), self.deleted)
    }
}

impl History {
    pub(super) fn new(floor: u64) -> Self {
        Self {
            older: VecDeque::new(),
            rendered: VecDeque::new(),
            bytes: 0,
            floor,
            ages: VecDeque::new(),
        }
    }

    /// Every event after this revision is here.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Adds an event; those whose renderings are forgotten for it.
    pub(super) fn push(&mut self, event: Arc<Event>) -> Vec<Arc<Event>> {
        let mut forgotten = Vec::new();
        self.bytes += event.gone_bytes();
        self.rendered.push_back(event);
        while self.rendered.len() > RENDERED_EVENTS_MAX {
            if let Some(event) = self.rendered.pop_front() {
                self.older.push_back(Past::of(&event));
                forgotten.push(event);
            }
        }
        while self.older.len() + self.rendered.len() > HISTORY_EVENTS_MAX
            || self.bytes > HISTORY_BYTES_MAX
        {
            self.forget_oldest(&mut forgotten);
        }
        forgotten
    }

    /// Forgets what was there [`AGES_MAX`] calls ago: the last revision of then, if it is known,
    /// and the events. `now` is the last revision that there is.
    pub(super) fn age(&mut self, now: u64) -> Option<(u64, Vec<Arc<Event>>)> {
        self.ages.push_back(now);
        let is_long_ago = self.ages.len() > AGES_MAX;
        let past = self.ages.pop_front_if(|_| is_long_ago)?;
        let mut forgotten = Vec::new();
        while self.oldest().is_some_and(|revision| revision <= past) {
            self.forget_oldest(&mut forgotten);
        }
        self.older.shrink_to(self.older.len() * 2);
        self.rendered.shrink_to(self.rendered.len() * 2);
        Some((past, forgotten))
    }

    fn oldest(&self) -> Option<u64> {
        let older = self.older.front().map(|past| past.object.revision);
        older.or_else(|| self.rendered.front().map(|event| event.revision()))
    }

    fn forget_oldest(&mut self, forgotten: &mut Vec<Arc<Event>>) {
        if let Some(oldest) = self.older.pop_front() {
            self.bytes -= oldest.bytes();
            self.floor = oldest.object.revision;
        } else if let Some(oldest) = self.rendered.pop_front() {
            self.bytes -= oldest.gone_bytes();
            self.floor = oldest.revision();
            forgotten.push(oldest);
        }
    }

    /// Events strictly after `revision`, in order; None when some of them are forgotten.
    pub(super) fn after(&self, revision: u64) -> Option<impl Iterator<Item = Arc<Event>>> {
        (revision >= self.floor).then(|| {
            let first = self
                .older
                .partition_point(|past| past.object.revision <= revision);
            let older = self.older.range(first..).map(Past::event);
            older.chain(self.rendered_after(revision).cloned())
        })
    }

    /// The same, if there are few of them: of each what is the object after it, and before it.
    pub(super) fn few_after(
        &self,
        revision: u64,
    ) -> Option<impl Iterator<Item = (&Stored, Option<&Arc<Stored>>)>> {
        let few = RECENT_EVENTS_MAX.saturating_sub(self.rendered.len());
        let far = self.older.len().saturating_sub(few);
        let reach = match far.checked_sub(1).and_then(|last| self.older.get(last)) {
            Some(past) => past.object.revision,
            None => self.floor,
        };
        (revision >= reach).then(|| {
            let first = self
                .older
                .partition_point(|past| past.object.revision <= revision);
            let older = self.older.range(first..);
            let older = older.map(|past| (&*past.object, past.previous.as_ref()));
            let rendered = self.rendered_after(revision);
            older.chain(rendered.map(|event| (&*event.object, event.previous.as_ref())))
        })
    }

    fn rendered_after(&self, revision: u64) -> impl Iterator<Item = &Arc<Event>> {
        let first = self
            .rendered
            .partition_point(|event| event.revision() <= revision);
        self.rendered.range(first..)
    }
}
