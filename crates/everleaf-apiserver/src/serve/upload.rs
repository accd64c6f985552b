//! What becomes of a body that nobody has read when the answer is ready.
//!
//! An HTTP/2 server that lets go of an unfinished upload resets its stream, and an HTTP/1.1 server
//! its connection; many clients then report that instead of the answer, which they have not read
//! yet. So the rest is taken and thrown away: a small one before the answer, a large one while the
//! client reads it. Go's server does the former (`net/http`, `maxPostHandlerReadBytes`).

use super::meter::Underway;
use crate::handler::Body;
use bytes::{Buf as _, Bytes};
use http::header::{CONNECTION, EXPECT};
use http::{HeaderMap, HeaderValue, Response, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The most of a body that is read before the answer, in bytes, and how long that may take. More
/// than any request that is not refused may have.
const BEFORE_BYTES_MAX: usize = 4 << 20;
const BEFORE_TIMEOUT: Duration = Duration::from_secs(1);
/// The same for what is read while, and after, the answer goes out.
const AFTER_BYTES_MAX: usize = 64 << 20;
const AFTER_TIMEOUT: Duration = Duration::from_secs(30);

/// A request's body.
pub(super) struct Upload {
    body: Incoming,
    version: Version,
    /// The client sends nothing before it is asked to.
    is_held_back: bool,
    _underway: Option<Arc<Underway>>,
}

impl Upload {
    pub(super) fn new(
        version: Version,
        headers: &HeaderMap,
        body: Incoming,
        underway: Option<Arc<Underway>>,
    ) -> Self {
        let expects = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        Self {
            is_held_back: version == Version::HTTP_11 && headers.get(EXPECT).is_some_and(expects),
            version,
            body,
            _underway: underway,
        }
    }

    /// Takes the rest, so that the client reads `response`; the answer waits for that until
    /// `deadline` at most.
    pub(super) async fn finish(mut self, response: &mut Response<Body>, deadline: Instant) {
        let before = deadline.min(Instant::now() + BEFORE_TIMEOUT);
        let is_done = self.body.is_end_stream()
            || !self.is_held_back
                && self.body.size_hint().lower() <= BEFORE_BYTES_MAX as u64
                && self.discard(BEFORE_BYTES_MAX, before).await;
        if is_done {
            return;
        }
        if self.version < Version::HTTP_2 {
            // The next request is somewhere behind that body.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        if !self.is_held_back {
            let after = Instant::now() + AFTER_TIMEOUT;
            tokio::spawn(async move { self.discard(AFTER_BYTES_MAX, after).await });
        }
    }

    /// Reads to the end, if it comes before `deadline` and within `bytes_max`; true when it came.
    async fn discard(&mut self, bytes_max: usize, deadline: Instant) -> bool {
        let reading = async {
            let mut left = bytes_max;
            while let Some(frame) = self.body.frame().await {
                // An error is an end, too: nobody is sending any more.
                let Ok(frame) = frame else { return true };
                let bytes = frame.data_ref().map_or(0, Bytes::remaining);
                match left.checked_sub(bytes) {
                    Some(rest) => left = rest,
                    None => return false,
                }
            }
            true
        };
        timeout_at(deadline, reading).await.unwrap_or(false)
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Reading it is what asks the client for it.
        self.is_held_back = false;
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
