//! A watch.

use crate::error::Error;
use crate::grpc::{Answers, Connection, framed};
use crate::messages::{
    WatchCreateRequest, WatchOp, WatchProgressRequest, WatchRequest, WatchResponse,
};
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A watch on a stream of its own.
pub struct Watch {
    requests: UnboundedSender<Bytes>,
    answers: Answers,
}

/// What a watch is sent; it stays open until the watch is dropped.
struct Requests(UnboundedReceiver<Bytes>);

impl Body for Requests {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|message| message.map(|message| Ok(Frame::data(message))))
    }
}

impl Watch {
    pub(crate) async fn open(
        line: &Connection,
        request: WatchCreateRequest,
    ) -> Result<Self, Error> {
        let (requests, receiver) = unbounded_channel();
        let create = WatchRequest {
            request: Some(WatchOp::Create(request)),
        };
        // Its other end is here: it cannot be closed.
        let _ = requests.send(framed(&create));
        let body = Requests(receiver).boxed_unsync();
        let path = "/etcdserverpb.Watch/Watch";
        let answers = line.call(path, body);
        Ok(Self {
            requests,
            answers: answers.await?,
        })
    }

    /// Asks how far it is; an answer without events will say so.
    pub fn request_progress(&self) {
        let progress = WatchRequest {
            request: Some(WatchOp::Progress(WatchProgressRequest {})),
        };
        // A stream that has ended says so with its next answer.
        let _ = self.requests.send(framed(&progress));
    }

    /// What comes next; None: the member has ended it. It may be dropped while it waits, and asked
    /// again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn next(&mut self) -> Result<Option<WatchResponse>, Error> {
        self.answers.next().await
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
