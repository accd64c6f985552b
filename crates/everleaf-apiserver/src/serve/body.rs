//! The body of an answer with the runtime's timers and turns.
//!
//! A watch is polled when it wants to be. A list that its client does not take in time is given up,
//! with what it holds, whether or not anybody polls it; and the lists of all connections take turns
//! at [`Turns`], so that whoever lists much leaves a processor to everybody else.

use crate::handler::{Body, WatchStream};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::num::NonZero;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// A body that knows the time.
#[derive(Debug)]
pub struct TimedBody {
    body: Kept,
    /// Set at the first poll: a watch runs from then.
    opened: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Kept {
    Own(Body),
    /// Taken away when its time is over.
    Leased(Lease),
}

struct Lease {
    listing: Arc<Mutex<Option<Listing>>>,
    /// The task that takes it away.
    end: AbortHandle,
    turns: Turns,
    /// Between two turns others are polled.
    has_rested: bool,
}

/// What is taken away.
struct Listing {
    body: Body,
    /// The wait for the next turn.
    turn: Option<Turn>,
}

/// As many lists are written at a time as there are processors but one.
pub(super) type Turns = Arc<Semaphore>;
type Turn = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// The turns of one server.
pub(super) fn turns() -> Turns {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    Arc::new(Semaphore::new(processors.saturating_sub(1).max(1)))
}

/// Why an answer ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client did not take its list in time")]
pub struct NotTaken;

impl TimedBody {
    /// Any body, without an end to its time.
    pub(super) fn new(body: Body) -> Self {
        Self {
            body: Kept::Own(body),
            opened: None,
            alarm: None,
        }
    }

    /// A list is given up after `patience`.
    pub(super) fn with_patience(body: Body, patience: Duration, turns: &Turns) -> Self {
        if !body.is_list() {
            return Self::new(body);
        }
        let listing = Arc::new(Mutex::new(Some(Listing { body, turn: None })));
        let leased = Arc::clone(&listing);
        let end = tokio::spawn(async move {
            sleep(patience).await;
            let listing = leased.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(listing);
        });
        Self {
            body: Kept::Leased(Lease {
                listing,
                end: end.abort_handle(),
                turns: Arc::clone(turns),
                has_rested: true,
            }),
            opened: None,
            alarm: None,
        }
    }

    /// The bytes of a complete body; None for one that is still being made.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.body {
            Kept::Own(body) => body.as_bytes(),
            Kept::Leased(_) => None,
        }
    }

    /// The watch, to be polled without a runtime; None for any other body.
    pub fn into_watch(self) -> Option<WatchStream> {
        match self.body {
            Kept::Own(body) => body.into_watch(),
            Kept::Leased(_) => None,
        }
    }
}

impl Lease {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, NotTaken>>> {
        self.has_rested = !self.has_rested;
        if self.has_rested {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let turns = &self.turns;
        let mut listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(listing) = listing.as_mut() else {
            return Poll::Ready(Some(Err(NotTaken)));
        };
        let turn = listing
            .turn
            .get_or_insert_with(|| Box::pin(Arc::clone(turns).acquire_owned()));
        let Poll::Ready(permit) = turn.as_mut().poll(context) else {
            self.has_rested = true;
            return Poll::Pending;
        };
        listing.turn = None;
        let frame = listing.body.poll_next(context, Duration::ZERO);
        drop(permit);
        frame.map(|frame| frame.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end.abort();
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = NotTaken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, NotTaken>>> {
        let this = &mut *self;
        let body = match &mut this.body {
            Kept::Own(body) => body,
            Kept::Leased(lease) => {
                return lease.poll(context);
            }
        };
        let opened = *this.opened.get_or_insert_with(Instant::now);
        loop {
            if let Poll::Ready(frame) = body.poll_next(context, opened.elapsed()) {
                return Poll::Ready(frame.map(|bytes| Ok(Frame::data(bytes))));
            }
            let Some(wake) = body.next_wake() else {
                return Poll::Pending;
            };
            let alarm = this
                .alarm
                .get_or_insert_with(|| Box::pin(sleep_until(opened + wake)));
            if alarm.deadline() != opened + wake {
                alarm.as_mut().reset(opened + wake);
            }
            ready!(alarm.as_mut().poll(context));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.as_bytes().is_some_and(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        self.as_bytes().map_or_else(SizeHint::new, |bytes| {
            SizeHint::with_exact(bytes.len() as u64)
        })
    }
}
