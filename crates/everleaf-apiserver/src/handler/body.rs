//! What an answer carries: bytes, or a watch that goes on.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::watch::WatchStream;

/// The body of a response.
#[derive(Debug)]
pub struct Body(Inner);

#[derive(Debug)]
enum Inner {
    Full(Bytes),
    Watch(Box<Timed>),
}

/// A watch driven by the runtime's timer. Whoever has no runtime takes the stream out.
#[derive(Debug)]
struct Timed {
    stream: WatchStream,
    /// Set at the first poll: the watch runs from then.
    opened: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Body {
    /// A complete body.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Inner::Full(bytes.into()))
    }

    /// A stream of watch events.
    pub fn watch(stream: WatchStream) -> Self {
        Self(Inner::Watch(Box::new(Timed {
            stream,
            opened: None,
            alarm: None,
        })))
    }

    /// The bytes of a complete body; None for a watch.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Inner::Full(bytes) => Some(bytes),
            Inner::Watch(_) => None,
        }
    }

    /// The watch, to be polled without a runtime; None for a complete body.
    pub fn into_watch(self) -> Option<WatchStream> {
        match self.0 {
            Inner::Full(_) => None,
            Inner::Watch(timed) => Some(timed.stream),
        }
    }
}

impl Timed {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let opened = *self.opened.get_or_insert_with(Instant::now);
        loop {
            if let Poll::Ready(frame) = self.stream.poll_next(context, opened.elapsed()) {
                return Poll::Ready(frame);
            }
            let wake: Duration = self.stream.next_wake();
            let alarm = self
                .alarm
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(opened + wake)));
            if alarm.deadline() != opened + wake {
                alarm.as_mut().reset(opened + wake);
            }
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match &mut self.0 {
            Inner::Full(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Inner::Full(bytes) => Some(std::mem::take(bytes)),
            Inner::Watch(timed) => match timed.poll(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Inner::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Watch(_) => SizeHint::new(),
        }
    }
}
