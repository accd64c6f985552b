//! Lists: a page of a resource, now or as it was at a revision that history still reaches.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::{Cache, Collection};
use crate::objects::Stored;

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
    /// Objects after this page, matching or not.
    pub remaining: usize,
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

impl Cache {
    /// Reads a page of the objects for which `matches` holds.
    pub fn page(
        &self,
        resource: &str,
        request: &PageRequest<'_>,
        matches: &dyn Fn(&Stored) -> bool,
    ) -> Result<Page, SnapshotError> {
        let state = self.read();
        let revision = request.revision.unwrap_or(state.revision);
        let mut page = Page {
            revision,
            ..Page::default()
        };
        let Some(collection) = state.collections.get(resource) else {
            return Ok(page);
        };
        let view = View {
            collection,
            overlay: collection.overlay(revision)?,
        };
        let (from, to) = range(request, collection.descriptor.namespaced);
        for (key, object) in view.range(&from, to.as_deref()) {
            if request.limit > 0 && page.objects.len() == request.limit {
                page.next.get_or_insert_with(|| key.to_owned());
                page.remaining += 1;
                continue;
            }
            if matches(object) {
                page.objects.push(Arc::clone(object));
            }
        }
        Ok(page)
    }
}

/// Keys from (inclusive) and to (exclusive).
fn range(request: &PageRequest<'_>, namespaced: bool) -> (String, Option<String>) {
    let (first, last) = match (request.namespace, request.name) {
        (Some(namespace), Some(name)) => {
            let key = super::key_of(namespace, name);
            (key.clone(), Some(key + "\0"))
        }
        (None, Some(name)) if !namespaced => (name.to_owned(), Some(format!("{name}\0"))),
        (None, _) => (String::new(), None),
        (Some(namespace), None) => (format!("{namespace}/"), Some(format!("{namespace}0"))),
    };
    (first.max(request.start.to_owned()), last)
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
