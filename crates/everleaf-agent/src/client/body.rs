//! The body of an answer while it is read.

use super::failure::Failure;
use super::transport::Ticket;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// What a server sends, piece by piece. Dropping it before its end ends the request; read to its
/// end, it leaves its connection to the next one.
pub struct Body {
    incoming: Incoming,
    server: String,
    silence: Option<Silence>,
    ticket: Option<Ticket>,
}

/// How long nothing may come.
struct Silence {
    max: Duration,
    over: Pin<Box<Sleep>>,
}

impl Body {
    pub(super) fn new(
        incoming: Incoming,
        server: String,
        silence_max: Option<Duration>,
        ticket: Ticket,
    ) -> Self {
        Self {
            incoming,
            server,
            silence: silence_max.map(|max| Silence {
                max,
                over: Box::pin(tokio::time::sleep(max)),
            }),
            ticket: Some(ticket),
        }
    }

    fn fail(&mut self, why: &str) -> Failure {
        if let Some(ticket) = self.ticket.take() {
            ticket.give_up();
        }
        Failure::unreachable(format!("{}: {why}", self.server))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let body = &mut *self;
        match Pin::new(&mut body.incoming).poll_frame(context) {
            Poll::Ready(None) => {
                if let Some(ticket) = body.ticket.take() {
                    ticket.give_back();
                }
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(silence) = &mut body.silence {
                    silence.over.as_mut().reset(Instant::now() + silence.max);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let why = everleaf_tls::chain_words(&error);
                Poll::Ready(Some(Err(body.fail(&why))))
            }
            Poll::Pending => {
                let Some(silence) = &mut body.silence else {
                    return Poll::Pending;
                };
                ready!(silence.over.as_mut().poll(context));
                let why = format!("nothing came for {} s", silence.max.as_secs());
                Poll::Ready(Some(Err(body.fail(&why))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // The end must be polled for: it gives the connection back.
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}
