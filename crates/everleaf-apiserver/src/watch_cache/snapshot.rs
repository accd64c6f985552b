//! Lists: a page of a resource, now or as it was at a revision that history still reaches.
//!
//! A list is read in pieces: the lock that the writer needs is held while a piece is taken, and selectors are asked without
//! it. All pieces are of one revision.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::{Cache, Collection};
use crate::objects::Stored;

/// Objects taken per hold of the lock.
const PIECE: usize = 1024;

/// A page to read.
#[derive(Debug, Clone, Default)]
pub struct PageRequest<'a> {
    /// Only this namespace.
    pub namespace: Option<&'a str>,
    /// Only this name; saves the walk over all others where it can.
    pub name: Option<&'a str>,
    /// At this revision; None: now.
    pub revision: Option<u64>,
    /// First key (relative to the resource), inclusive; "" for the beginning.
    pub start: &'a str,
    /// Objects at most; 0 for all.
    pub limit: usize,
    /// Whether to say how many objects come after the page. Only of use when all of them match.
    pub count: Count,
}

/// Whether what comes after a page is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Count {
    /// It is not.
    #[default]
    No,
    /// It is, by a walk over their keys.
    Walk,
    /// From the first key of this page on so many objects are left at this revision.
    Known(usize),
}

/// A page that was read.
#[derive(Debug, Default)]
pub struct Page {
    /// The objects that match, in key order.
    pub objects: Vec<Arc<Stored>>,
    /// Revision of the state they are from.
    pub revision: u64,
    /// Where the next page begins; None when this is the last one.
    pub next: Option<String>,
    /// Objects after this page, if they were to be counted.
    pub remaining: Option<usize>,
}

/// Why a page cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotError {
    /// History does not reach back; the oldest revision it does.
    Expired {
        /// That revision.
        oldest: u64,
    },
}

/// The state of a resource at a revision: what is there now, with some keys as they were.
struct View<'a> {
    collection: &'a Collection,
    overlay: BTreeMap<String, Option<Arc<Stored>>>,
}

/// Some objects of a resource, in key order.
struct Piece {
    revision: u64,
    objects: Vec<Arc<Stored>>,
    /// Whether no object follows.
    is_last: bool,
    /// Objects from the first key on, if they were to be counted.
    count: Option<usize>,
}

impl Cache {
    /// Reads a page of the objects for which `matches` holds.
    pub fn page(
        &self,
        resource: &str,
        request: &PageRequest<'_>,
        matches: &dyn Fn(&Stored) -> bool,
    ) -> Result<Page, SnapshotError> {
        match self.page_in_pieces(resource, request, matches, PIECE) {
            // So many changes came meanwhile that history does not reach back to the first piece.
            Err(SnapshotError::Expired { .. }) if request.revision.is_none() => {
                self.page_in_pieces(resource, request, matches, usize::MAX)
            }
            other => other,
        }
    }

    pub(super) fn page_in_pieces(
        &self,
        resource: &str,
        request: &PageRequest<'_>,
        matches: &dyn Fn(&Stored) -> bool,
        size: usize,
    ) -> Result<Page, SnapshotError> {
        let size = match (request.limit, request.count) {
            // Where all match, one more than the limit says that there are more.
            (1.., Count::Walk | Count::Known(_)) => size.min(request.limit.saturating_add(1)),
            _ => size,
        };
        let mut start = request.start.to_owned();
        let mut piece = self.piece(resource, request, &start, size)?;
        let mut page = Page {
            revision: piece.revision,
            ..Page::default()
        };
        let count = piece.count;
        'pieces: loop {
            for object in &piece.objects {
                if request.limit > 0 && page.objects.len() == request.limit {
                    page.next = Some(super::key_of(&object.namespace, &object.name));
                    break 'pieces;
                }
                if matches(object) {
                    page.objects.push(Arc::clone(object));
                }
            }
            let Some(last) = piece.objects.last().filter(|_| !piece.is_last) else {
                break;
            };
            start = super::key_of(&last.namespace, &last.name) + "\0";
            let rest = PageRequest {
                revision: Some(page.revision),
                count: Count::No,
                ..request.clone()
            };
            piece = self.piece(resource, &rest, &start, size)?;
        }
        page.remaining = count.map(|count| count.saturating_sub(page.objects.len()));
        Ok(page)
    }

    /// At most `size` objects from `start` on.
    fn piece(
        &self,
        resource: &str,
        request: &PageRequest<'_>,
        start: &str,
        size: usize,
    ) -> Result<Piece, SnapshotError> {
        let state = self.read();
        let revision = request.revision.unwrap_or(state.revision);
        let mut piece = Piece {
            revision,
            objects: Vec::new(),
            is_last: true,
            count: None,
        };
        let Some(collection) = state.collections.get(resource) else {
            return Ok(piece);
        };
        let view = View {
            collection,
            overlay: collection.overlay(revision)?,
        };
        let (from, to) = range(request, start, collection.descriptor.namespaced);
        let mut objects = view.range(&from, to.as_deref());
        piece.objects = objects
            .by_ref()
            .take(size)
            .map(|(_, object)| Arc::clone(object))
            .collect();
        piece.is_last = piece.objects.len() < size;
        piece.count = match request.count {
            Count::No => None,
            Count::Known(count) => Some(count),
            Count::Walk if from.is_empty() && to.is_none() && view.overlay.is_empty() => {
                Some(collection.objects.len())
            }
            Count::Walk => Some(piece.objects.len() + objects.count()),
        };
        Ok(piece)
    }
}

/// Keys from (inclusive) and to (exclusive).
fn range(request: &PageRequest<'_>, start: &str, namespaced: bool) -> (String, Option<String>) {
    let (first, last) = match (request.namespace, request.name) {
        (Some(namespace), Some(name)) => {
            let key = super::key_of(namespace, name);
            (key.clone(), Some(key + "\0"))
        }
        (None, Some(name)) if !namespaced => (name.to_owned(), Some(format!("{name}\0"))),
        (None, _) => (String::new(), None),
        (Some(namespace), None) => (format!("{namespace}/"), Some(format!("{namespace}0"))),
    };
    (first.max(start.to_owned()), last)
}

impl Collection {
    /// How keys that changed after `revision` were at `revision`.
    fn overlay(
        &self,
        revision: u64,
    ) -> Result<BTreeMap<String, Option<Arc<Stored>>>, SnapshotError> {
        let events = self.history.after(revision).ok_or(SnapshotError::Expired {
            oldest: self.history.floor(),
        })?;
        let mut overlay = BTreeMap::new();
        for event in events {
            overlay
                .entry(super::key_of(&event.object.namespace, &event.object.name))
                .or_insert_with(|| event.previous.clone());
        }
        Ok(overlay)
    }
}

impl<'a> View<'a> {
    /// Objects of `[from, to)` in key order.
    fn range(
        &'a self,
        from: &str,
        to: Option<&str>,
    ) -> impl Iterator<Item = (&'a str, &'a Arc<Stored>)> {
        let bounds = (
            Bound::Included(from),
            to.map_or(Bound::Unbounded, Bound::Excluded),
        );
        let empty = to.is_some_and(|to| from >= to);
        let overlay = &self.overlay;
        let now = (!empty)
            .then(|| self.collection.objects.range::<str, _>(bounds))
            .into_iter()
            .flatten()
            .filter(|(key, _)| !overlay.contains_key(key.as_str()))
            .map(|(key, object)| (key.as_str(), object));
        let then = (!empty)
            .then(|| overlay.range::<str, _>(bounds))
            .into_iter()
            .flatten()
            .filter_map(|(key, object)| Some((key.as_str(), object.as_ref()?)));
        merge(now, then)
    }
}

/// Merges two sequences with ascending, distinct keys.
fn merge<'a, T>(
    left: impl Iterator<Item = (&'a str, T)>,
    right: impl Iterator<Item = (&'a str, T)>,
) -> impl Iterator<Item = (&'a str, T)> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some((a, _)), Some((b, _))) if a > b => right.next(),
        (Some(_), _) => left.next(),
        (None, _) => right.next(),
    })
}
