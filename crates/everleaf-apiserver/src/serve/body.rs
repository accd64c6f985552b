//! The body of an answer with the runtime's timers.
//!
//! A watch is polled when it wants to be; a list is written by [`Lists`], and given up if its
//! client does not take it in time, whether or not anybody polls it.

use super::lists::{List, Lists, NotTaken};
use super::pages::PageBody;
use crate::handler::{Body, WatchStream};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

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
    Written(List),
    Page(PageBody),
}

impl TimedBody {
    /// Any body, without an end to its time.
    pub(super) fn new(body: Body) -> Self {
        Self::of(Kept::Own(body))
    }

    /// Of what is served beside the API.
    pub(super) fn of_page(page: PageBody) -> Self {
        Self::of(Kept::Page(page))
    }

    /// A list is given up after `patience`.
    pub(super) fn with_patience(body: Body, patience: Duration, lists: &Lists) -> Self {
        match body.is_list() {
            true => Self::of(Kept::Written(lists.write(body, patience))),
            false => Self::new(body),
        }
    }

    fn of(body: Kept) -> Self {
        Self {
            body,
            opened: None,
            alarm: None,
        }
    }

    /// The bytes of a complete body; None for one that is still being made.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.body {
            Kept::Own(body) => body.as_bytes(),
            Kept::Written(_) | Kept::Page(_) => None,
        }
    }

    /// The watch, to be polled without a runtime; None for any other body.
    pub fn into_watch(self) -> Option<WatchStream> {
        match self.body {
            Kept::Own(body) => body.into_watch(),
            Kept::Written(_) | Kept::Page(_) => None,
        }
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
            Kept::Written(list) => {
                let piece = ready!(list.poll_next(context));
                return Poll::Ready(piece.map(|piece| piece.map(Frame::data)));
            }
            Kept::Page(page) => {
                let frame = ready!(Pin::new(page).poll_frame(context));
                return Poll::Ready(frame.map(|frame| match frame {
                    Ok(frame) => Ok(frame),
                    Err(never) => match never {},
                }));
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
        if let Kept::Page(page) = &self.body {
            return page.is_end_stream();
        }
        self.as_bytes().is_some_and(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        if let Kept::Page(page) = &self.body {
            return page.size_hint();
        }
        self.as_bytes().map_or_else(SizeHint::new, |bytes| {
            SizeHint::with_exact(bytes.len() as u64)
        })
    }
}
