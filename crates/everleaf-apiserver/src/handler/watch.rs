//! A watch: events of one selection as a stream of frames.
//!
//! The stream is driven from outside: [`WatchStream::poll_next`] takes the time that has passed
//! since it was opened, [`WatchStream::next_wake`] says when to come back although nothing
//! happened. The simulator calls them with virtual time; [`super::Body`] with the runtime's.

use super::respond::{Form, table_of};
use super::select::Selection;
use crate::audit::Trail;
use crate::objects::Stored;
use crate::registry::Descriptor;
use crate::watch_cache::{Event, Feed, Next};
use bytes::Bytes;
use everleaf_api::negotiate::{Encoding, Shape};
use everleaf_api::table;
use everleaf_api::watch::{EventType, json_frame, protobuf_frame};
use everleaf_api::{Status, meta};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// How often a client that allows it hears where the watch stands.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// How long before the end it hears so for the last time.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// Objects and events looked at in one turn without anything to tell.
const LOOKED_AT_MAX: usize = 1024;
/// Annotation of the bookmark that ends the initial events.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// What a watch was asked for.
pub(super) struct WatchOrder {
    pub(super) descriptor: &'static Descriptor,
    pub(super) selection: Selection,
    pub(super) form: Form,
    /// The client allows bookmarks.
    pub(super) bookmarks: bool,
    /// The client wants to be told where the initial events end.
    pub(super) mark_initial_events_end: bool,
    /// When the server ends it.
    pub(super) timeout: Duration,
    /// Server time at the start, for the Age column.
    pub(super) opened: Timestamp,
}

/// An open watch. Ends by itself: at its timeout, when the client falls behind, when the server
/// stops.
pub struct WatchStream {
    order: WatchOrder,
    /// None once nothing more comes.
    feed: Option<Feed>,
    ready: VecDeque<Bytes>,
    next_bookmark: Duration,
    /// The last resource version the client has seen in a bookmark, or began with.
    bookmarked: u64,
    columns_sent: bool,
    /// What is told of it when it ends.
    trail: Option<Arc<Trail>>,
}

impl WatchStream {
    pub(super) fn new(order: WatchOrder, mut feed: Feed) -> Self {
        let mut stream = Self {
            next_bookmark: Duration::ZERO,
            bookmarked: feed.bookmark(),
            feed: Some(feed),
            ready: VecDeque::new(),
            columns_sent: false,
            trail: None,
            order,
        };
        stream.next_bookmark = stream.bookmark_after(Duration::ZERO);
        stream
    }

    /// Keeps what is told of the request until it ends.
    pub(super) fn keep(&mut self, trail: Arc<Trail>) {
        self.trail = Some(trail);
    }

    /// The next frame after `elapsed` since the start; None at the end. Pending: nothing to tell
    /// now; poll again when woken, or at [`WatchStream::next_wake`].
    pub fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        elapsed: Duration,
    ) -> Poll<Option<Bytes>> {
        for _ in 0..LOOKED_AT_MAX {
            if let Some(frame) = self.ready.pop_front() {
                return Poll::Ready(Some(frame));
            }
            let Some(feed) = &mut self.feed else {
                return Poll::Ready(None);
            };
            match feed.poll_next(context) {
                Poll::Ready(next) => self.tell(next, elapsed),
                Poll::Pending if elapsed >= self.order.timeout => self.feed = None,
                Poll::Pending if elapsed >= self.next_bookmark => {
                    let revision = feed.bookmark();
                    self.next_bookmark = self.bookmark_after(elapsed);
                    if self.order.bookmarks && revision > self.bookmarked {
                        self.bookmark(revision, false, elapsed);
                    }
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        // Much came, and nothing of it for this client: others have their turn, and the time is
        // looked at.
        if elapsed >= self.order.timeout {
            self.feed = None;
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Time since the start at which to poll again although nothing woke us.
    pub fn next_wake(&self) -> Duration {
        self.next_bookmark.min(self.order.timeout)
    }

    /// When to bookmark next, `elapsed` into the watch: once a minute, and shortly before the end.
    fn bookmark_after(&self, elapsed: Duration) -> Duration {
        if !self.order.bookmarks {
            return self.order.timeout;
        }
        let last = self.order.timeout.saturating_sub(BOOKMARK_BEFORE_END);
        let next = elapsed + BOOKMARK_INTERVAL;
        if elapsed < last && next > last {
            last
        } else {
            next.min(self.order.timeout)
        }
    }

    fn tell(&mut self, next: Next, elapsed: Duration) {
        // Nothing that a watch tells is a list: it ends with the first.
        let is_list = self.order.form.answer.shape == Shape::PartialObjectMetadataList;
        if is_list && !matches!(next, Next::Synced(_)) {
            self.feed = None;
            return;
        }
        match next {
            Next::Existing(object) => {
                if self.order.selection.covers(&object) {
                    let frame = self.frame(EventType::Added, &object, elapsed);
                    self.ready.push_back(frame);
                }
            }
            Next::Synced(revision) => {
                if is_list {
                    return;
                }
                if self.order.mark_initial_events_end && self.order.bookmarks {
                    self.bookmark(revision, true, elapsed);
                }
            }
            Next::Event(event) => self.event(&event, elapsed),
            Next::Overflow => {
                let status = Status::expired(
                    "too old resource version: this watch fell too far behind; list again",
                );
                self.end_with(&status);
            }
            Next::Closed => self.feed = None,
        }
    }

    fn event(&mut self, event: &Event, elapsed: Duration) {
        let selection = &self.order.selection;
        let Some(selected) = event.select(|stored| selection.covers(stored)) else {
            return;
        };
        let answer = self.order.form.answer;
        let frame = if answer.shape == Shape::Object {
            event.frame(&selected, self.order.descriptor, answer.encoding)
        } else {
            self.frame(selected.kind, &selected.object, elapsed)
        };
        self.ready.push_back(frame);
    }

    fn bookmark(&mut self, revision: u64, ends_initial_events: bool, elapsed: Duration) {
        self.bookmarked = revision;
        let r#type = self.order.descriptor.r#type;
        let mut object = json!({
            "kind": r#type.kind,
            "apiVersion": r#type.api_version(),
            "metadata": {"resourceVersion": revision.to_string()},
        });
        if ends_initial_events {
            object["metadata"]["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        let frame = self.frame_of(EventType::Bookmark, &object, elapsed);
        self.ready.push_back(frame);
    }

    fn end_with(&mut self, status: &Status) {
        let frame = match self.order.form.answer.encoding {
            Encoding::Protobuf => protobuf_frame(EventType::Error, &status.to_protobuf()),
            Encoding::Json | Encoding::Yaml => json_frame(EventType::Error, &status.to_json()),
        };
        self.ready.push_back(frame.into());
        self.feed = None;
    }

    fn frame(&mut self, kind: EventType, object: &Stored, elapsed: Duration) -> Bytes {
        let answer = self.order.form.answer;
        let r#type = self.order.descriptor.r#type;
        let frame = match (answer.shape, answer.encoding) {
            (Shape::Object, Encoding::Protobuf) => protobuf_frame(kind, &object.protobuf(r#type)),
            (Shape::Object, Encoding::Json | Encoding::Yaml) => {
                json_frame(kind, object.json(r#type).document())
            }
            _ => return self.frame_of(kind, &object.object(), elapsed),
        };
        frame.into()
    }

    fn frame_of(&mut self, kind: EventType, object: &Value, elapsed: Duration) -> Bytes {
        let form = &self.order.form;
        match form.answer.encoding {
            Encoding::Protobuf => {
                protobuf_frame(kind, &form.protobuf(self.order.descriptor.r#type, object)).into()
            }
            Encoding::Json | Encoding::Yaml => {
                json_frame(kind, &self.shape(object, elapsed)).into()
            }
        }
    }

    /// An object as JSON, in the agreed shape. Columns go with the first Table only.
    fn shape(&mut self, object: &Value, elapsed: Duration) -> Vec<u8> {
        let order = &self.order;
        match order.form.answer.shape {
            Shape::Table { v1 } => {
                let now = order.opened.saturating_add(elapsed).unwrap_or(order.opened);
                let meta = meta::list_meta(meta::resource_version(object), "", None);
                let with_columns = !self.columns_sent;
                self.columns_sent = true;
                let include = order.form.include;
                table_of(
                    v1,
                    &meta,
                    order.descriptor,
                    std::iter::once(object),
                    include,
                    with_columns,
                    now,
                )
            }
            Shape::PartialObjectMetadata => table::encode_partial_object_metadata(object, true),
            Shape::Object | Shape::PartialObjectMetadataList | Shape::GroupDiscovery => {
                order.descriptor.r#type.encode_json(object)
            }
        }
    }
}

impl std::fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchStream")
            .field("feed", &self.feed)
            .finish_non_exhaustive()
    }
}
