//! How large a request's head may be, and for whom.
//!
//! The measure is kube-apiserver's (Go's `http.DefaultMaxHeaderBytes`): 1 MiB, enough for an
//! impersonation in 16,384 groups. Beyond it, 431. Go bounds nothing more, so whoever opens many
//! connections makes it hold 1 MiB for each. Here the sum is bounded, too. A head that is complete
//! is judged at once, and what waits for its body keeps nothing of it, so memory can be pinned by
//! heads that never become complete alone; a connection has one such head at most, in HTTP/2 as
//! well (nothing may come between a HEADERS frame and its CONTINUATIONs). Of those who have not
//! proven by a certificate who they are, [`WIDE_STRANGERS_MAX`] connections may have one of
//! [`HEAD_BYTES_MAX`], together 1 GiB on the wire and up to three times that decoded; further ones
//! have [`NARROW_HEAD_BYTES_MAX`], as much as a TLS connection takes anyway. In HTTP/2 a connection
//! counts from its start, since the limit is told then, in HTTP/1.1 from its first large head. Who
//! has a certificate is answerable for it, and never narrowed.

use super::HEAD_TIMEOUT;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one request's head: of its text in HTTP/1.1, of the decoded header list in HTTP/2
/// (names, values, and 32 for each field: RFC 9113 6.5.2).
pub(super) const HEAD_BYTES_MAX: usize = 1 << 20;
/// Header lines of one HTTP/1.1 request; in HTTP/2 their bytes are the limit. `HeaderMap` takes
/// 24,576 different names, and hyper reserves room for the lines before it looks at their names.
pub(super) const HEAD_LINES_MAX: usize = 16_384;
/// Connections of strangers that may have a head as large as that at once.
pub(super) const WIDE_STRANGERS_MAX: usize = 1_024;
/// The same two limits for the strangers beyond.
const NARROW_HEAD_BYTES_MAX: usize = 64 * 1024;
const NARROW_HEAD_LINES_MAX: usize = 1_024;
/// Lines for which hyper needs no memory of its own; more than the meter lets pass.
const LEAN_HEAD_LINES_MAX: usize = 128;

const HTTP2_STREAMS_MAX: u32 = 250;
const HTTP2_STREAM_WINDOW_BYTES: u32 = 1 << 20;
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// What one slow stream may hold back.
const HTTP2_SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The HTTP settings of connections.
pub(super) struct Heads {
    lean: http1::Builder,
    wide: Room,
    narrow: Room,
    strangers: Arc<Semaphore>,
}

/// Settings with one size of head.
#[derive(Clone)]
pub(super) struct Room {
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<TokioExecutor>,
}

impl Heads {
    pub(super) fn new() -> Self {
        Self {
            lean: http1(LEAN_HEAD_LINES_MAX, NARROW_HEAD_BYTES_MAX),
            wide: Room::new(HEAD_LINES_MAX, HEAD_BYTES_MAX),
            narrow: Room::new(NARROW_HEAD_LINES_MAX, NARROW_HEAD_BYTES_MAX),
            strangers: Arc::new(Semaphore::new(WIDE_STRANGERS_MAX)),
        }
    }

    /// With which an HTTP/1.1 connection begins, under a [`Meter`](super::meter::Meter).
    pub(super) fn lean(&self) -> &http1::Builder {
        &self.lean
    }

    /// The room of a connection, and what has to be kept as long as it lives.
    pub(super) fn room(&self, is_stranger: bool) -> (&Room, Option<OwnedSemaphorePermit>) {
        if !is_stranger {
            return (&self.wide, None);
        }
        match Arc::clone(&self.strangers).try_acquire_owned() {
            Ok(permit) => (&self.wide, Some(permit)),
            Err(_) => (&self.narrow, None),
        }
    }

    #[cfg(test)]
    pub(super) fn strangers(&self) -> Arc<Semaphore> {
        Arc::clone(&self.strangers)
    }
}

impl Room {
    fn new(lines_max: usize, bytes_max: usize) -> Self {
        Self {
            http1: http1(lines_max, bytes_max),
            http2: http2(bytes_max),
        }
    }
}

fn http1(lines_max: usize, bytes_max: usize) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(lines_max)
        .max_buf_size(bytes_max);
    builder
}

fn http2(bytes_max: usize) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_header_list_size(u32::try_from(bytes_max).unwrap_or(u32::MAX))
        .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES_MAX)
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT);
    builder
}
