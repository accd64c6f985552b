//! What an answer carries: bytes, a list that is being written, or a watch that goes on.
//!
//! It reads no clock: whoever takes it out says how much time has passed.

use super::gzip::{Batches, Encoder};
use super::limits::Slot;
use super::list::ListStream;
use super::watch::WatchStream;
use bytes::Bytes;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

/// The body of a response.
#[derive(Debug)]
pub struct Body(Inner);

#[derive(Debug)]
enum Inner {
    Full(Bytes),
    List {
        /// Written already.
        ready: Bytes,
        rest: Box<ListStream>,
    },
    Watch(Box<WatchStream>),
    /// The same, compressed.
    GzipWatch {
        stream: Box<WatchStream>,
        batches: Batches,
    },
    /// Another one, compressed.
    Gzip {
        inner: Box<Body>,
        encoder: Encoder,
    },
}

/// Bytes that are compressed in one turn.
const PIECE_BYTES: usize = 64 * 1024;

impl Body {
    /// A complete body.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Inner::Full(bytes.into()))
    }

    /// A list of which `ready` is written.
    pub(super) fn list(ready: Bytes, rest: ListStream) -> Self {
        Self(Inner::List {
            ready,
            rest: Box::new(rest),
        })
    }

    /// A stream of watch events.
    pub fn watch(stream: WatchStream) -> Self {
        Self(Inner::Watch(Box::new(stream)))
    }

    /// The same, compressed as it goes out.
    pub(super) fn gzipped_watch(stream: WatchStream) -> Self {
        Self(Inner::GzipWatch {
            stream: Box::new(stream),
            batches: Batches::default(),
        })
    }

    /// Compresses it as it goes out.
    pub(super) fn gzipped(self) -> Self {
        Self(Inner::Gzip {
            inner: Box::new(self),
            encoder: Encoder::new(),
        })
    }

    /// How many bytes are there already.
    pub(super) fn ready_bytes(&self) -> usize {
        match &self.0 {
            Inner::Full(bytes) | Inner::List { ready: bytes, .. } => bytes.len(),
            Inner::Watch(_) | Inner::GzipWatch { .. } | Inner::Gzip { .. } => 0,
        }
    }

    /// The bytes of a complete body; None for one that is still being made.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Inner::Full(bytes) => Some(bytes),
            Inner::List { .. } | Inner::Watch(_) | Inner::GzipWatch { .. } | Inner::Gzip { .. } => {
                None
            }
        }
    }

    /// The watch, to be polled without a runtime; None for any other body.
    pub fn into_watch(self) -> Option<WatchStream> {
        match self.0 {
            Inner::Full(_) | Inner::List { .. } | Inner::GzipWatch { .. } | Inner::Gzip { .. } => {
                None
            }
            Inner::Watch(stream) => Some(*stream),
        }
    }

    /// Makes a list complete, at once and whatever memory it takes: for callers inside this
    /// process.
    #[must_use]
    pub fn completed(mut self) -> Self {
        if !self.is_list() {
            return self;
        }
        let mut context = Context::from_waker(Waker::noop());
        let mut text = Vec::new();
        // Pending means that the next turn goes on: a list waits for nothing else.
        loop {
            match self.poll_next(&mut context, Duration::ZERO) {
                Poll::Ready(Some(frame)) => text.extend(frame),
                Poll::Ready(None) => return Self::full(text),
                Poll::Pending => {}
            }
        }
    }

    /// Is it a list, or something else that is written in turns?
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.0, Inner::List { .. } | Inner::Gzip { .. })
    }

    /// The watch, if it is one.
    pub(super) fn watch_mut(&mut self) -> Option<&mut WatchStream> {
        match &mut self.0 {
            Inner::Watch(stream) | Inner::GzipWatch { stream, .. } => Some(stream),
            Inner::Full(_) | Inner::List { .. } | Inner::Gzip { .. } => None,
        }
    }

    /// Keeps a request's place as long as its answer is being made.
    pub(super) fn hold(&mut self, slot: Option<Slot>) {
        match &mut self.0 {
            Inner::List { rest, .. } => rest.hold(slot),
            Inner::Gzip { inner, .. } => inner.hold(slot),
            Inner::Full(_) | Inner::Watch(_) | Inner::GzipWatch { .. } => {}
        }
    }

    /// The next piece, `elapsed` after the first was asked for; None at the end. Each costs one
    /// turn's work. Pending: poll again when woken, or at [`Body::next_wake`].
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        elapsed: Duration,
    ) -> Poll<Option<Bytes>> {
        match &mut self.0 {
            Inner::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Full(bytes) => Poll::Ready(Some(std::mem::take(bytes))),
            Inner::List { ready, .. } if !ready.is_empty() => {
                Poll::Ready(Some(std::mem::take(ready)))
            }
            Inner::List { rest, .. } => match rest.next_frame() {
                Some(nothing) if nothing.is_empty() => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                frame => Poll::Ready(frame.map(Bytes::from)),
            },
            Inner::Watch(stream) => stream.poll_next(context, elapsed),
            Inner::GzipWatch { stream, batches } => loop {
                match stream.poll_next(context, elapsed) {
                    Poll::Ready(Some(event)) => {
                        if let Some(bytes) = batches.push(&event) {
                            return Poll::Ready(Some(bytes));
                        }
                    }
                    Poll::Ready(None) => return Poll::Ready(batches.finish()),
                    Poll::Pending => {
                        return batches
                            .finish()
                            .map_or(Poll::Pending, |b| Poll::Ready(Some(b)));
                    }
                }
            },
            Inner::Gzip { inner, encoder } => {
                let piece = match &mut inner.0 {
                    Inner::Full(bytes) if bytes.len() > PIECE_BYTES => {
                        Some(bytes.split_to(PIECE_BYTES))
                    }
                    _ => ready!(inner.poll_next(context, elapsed)),
                };
                match encoder.next(piece) {
                    Some(nothing) if nothing.is_empty() => {
                        context.waker().wake_by_ref();
                        Poll::Pending
                    }
                    frame => Poll::Ready(frame),
                }
            }
        }
    }

    /// When to poll although nothing woke; None: never.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        match &self.0 {
            Inner::Full(_) | Inner::List { .. } | Inner::Gzip { .. } => None,
            Inner::Watch(stream) | Inner::GzipWatch { stream, .. } => Some(stream.next_wake()),
        }
    }
}
