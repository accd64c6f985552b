//! What an answer carries: bytes, a list that is being written, or a watch that goes on.
//!
//! It reads no clock: whoever takes it out says how much time has passed.

use super::limits::Slot;
use super::list::ListStream;
use super::watch::WatchStream;
use bytes::Bytes;
use std::task::{Context, Poll};
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
}

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

    /// The bytes of a complete body; None for one that is still being made.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Inner::Full(bytes) => Some(bytes),
            Inner::List { .. } | Inner::Watch(_) => None,
        }
    }

    /// The watch, to be polled without a runtime; None for any other body.
    pub fn into_watch(self) -> Option<WatchStream> {
        match self.0 {
            Inner::Full(_) | Inner::List { .. } => None,
            Inner::Watch(stream) => Some(*stream),
        }
    }

    /// Makes a list complete, at once and whatever memory it takes: for callers inside this
    /// process.
    #[must_use]
    pub fn completed(self) -> Self {
        let Inner::List { ready, mut rest } = self.0 else {
            return self;
        };
        let mut text = Vec::from(ready);
        while let Some(frame) = rest.next_frame() {
            text.extend(frame);
        }
        Self::full(text)
    }

    /// Is it a list that is still being written?
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.0, Inner::List { .. })
    }

    /// Keeps a request's place as long as its answer is being made.
    pub(super) fn hold(&mut self, slot: Option<Slot>) {
        if let Inner::List { rest, .. } = &mut self.0 {
            rest.hold(slot);
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
        }
    }

    /// When to poll although nothing woke; None: never.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        match &self.0 {
            Inner::Full(_) | Inner::List { .. } => None,
            Inner::Watch(stream) => Some(stream.next_wake()),
        }
    }
}
