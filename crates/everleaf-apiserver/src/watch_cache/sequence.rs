//! The objects of a resource in key order, as a value that is shared: a clone costs nothing and
//! stays as it is, a change copies the few objects' references around it. So whoever reads a long
//! list needs no lock while he does.

use crate::objects::Stored;
use std::cmp::Ordering;
use std::sync::Arc;

/// References in one chunk: what a change copies while a clone is read.
const CHUNK_MAX: usize = 256;

type Chunk = Vec<Arc<Stored>>;

/// Objects, ascending by [`key_of`](super::key_of). No chunk is empty.
#[derive(Clone, Default)]
pub(super) struct Sequence {
    chunks: Arc<Vec<Arc<Chunk>>>,
    len: usize,
}

/// How an object's key compares to `key`, without making it.
pub(super) fn compare(object: &Stored, key: &str) -> Ordering {
    if object.namespace.is_empty() {
        return (*object.name).cmp(key);
    }
    let own = object.namespace.bytes().chain([b'/']);
    own.chain(object.name.bytes()).cmp(key.bytes())
}

impl Sequence {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Chunk and place in it of the first object that is not before `key`.
    fn place(&self, key: &str) -> (usize, usize) {
        let is_before = |object: &Arc<Stored>| compare(object, key).is_lt();
        let chunk = self
            .chunks
            .partition_point(|chunk| chunk.last().is_some_and(is_before));
        let place = self.chunks.get(chunk);
        (chunk, place.map_or(0, |c| c.partition_point(is_before)))
    }

    pub(super) fn get(&self, key: &str) -> Option<&Arc<Stored>> {
        self.from(key)
            .next()
            .filter(|object| compare(object, key).is_eq())
    }

    /// Objects from `key` on.
    pub(super) fn from(&self, key: &str) -> impl Iterator<Item = &Arc<Stored>> {
        let (chunk, place) = self.place(key);
        let (first, rest) = match self.chunks.get(chunk..) {
            Some([first, rest @ ..]) => (&first[place..], rest),
            _ => (&[][..], &[][..]),
        };
        first.iter().chain(rest.iter().flat_map(|chunk| &***chunk))
    }

    /// How many come before `key`.
    pub(super) fn count_before(&self, key: &str) -> usize {
        let (chunk, place) = self.place(key);
        let before = self.chunks[..chunk].iter();
        before.map(|chunk| chunk.len()).sum::<usize>() + place
    }

    /// Adds an object, or replaces that of the same key.
    pub(super) fn insert(&mut self, key: &str, object: Arc<Stored>) {
        let chunks = Arc::make_mut(&mut self.chunks);
        let is_before = |object: &Arc<Stored>| compare(object, key).is_lt();
        let at = chunks.partition_point(|chunk| chunk.last().is_some_and(is_before));
        // What comes after all others goes into the last chunk.
        let at = at.min(chunks.len().saturating_sub(1));
        if chunks.is_empty() {
            chunks.push(Arc::default());
        }
        let chunk = Arc::make_mut(&mut chunks[at]);
        let place = chunk.partition_point(is_before);
        match chunk.get_mut(place) {
            Some(old) if compare(old, key).is_eq() => *old = object,
            _ => {
                chunk.insert(place, object);
                self.len += 1;
            }
        }
        if chunk.len() > CHUNK_MAX {
            let half = chunk.split_off(CHUNK_MAX / 2);
            chunks.insert(at + 1, Arc::new(half));
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        if self.get(key).is_none() {
            return;
        }
        let (at, place) = self.place(key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[at]);
        chunk.remove(place);
        self.len -= 1;
        if chunk.is_empty() {
            chunks.remove(at);
        }
    }
}
