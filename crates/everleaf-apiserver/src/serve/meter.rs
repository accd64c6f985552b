//! Watches the heads of an HTTP/1.1 connection come in, so that room for large ones is made only
//! when one comes.
//!
//! hyper reserves, for each request anew, place for as many header lines as it may have: for 16,384
//! lines that is a megabyte, and a quarter of a millisecond, for a request of four lines. So a
//! connection begins with little room. When a head outgrows it, the meter stops the connection
//! before hyper has seen too much, and what was read is read again by one with more. It counts
//! only, and where it counts too little (of requests sent before the answer to the last one), the
//! head is refused as too large.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a head may have before more room is made: lines, and bytes.
const LINES_MAX: usize = 100;
const BYTES_MAX: usize = 32 * 1024;

/// How far a connection's requests are.
#[derive(Debug, Default)]
pub(super) struct Progress {
    begun: AtomicUsize,
    is_underway: AtomicBool,
}

/// A request whose body or answer is underway: bytes that come meanwhile belong to no head.
#[derive(Debug)]
pub(super) struct Underway(Arc<Progress>);

impl Progress {
    /// A head is complete.
    pub(super) fn begin(self: &Arc<Self>) -> Arc<Underway> {
        self.begun.fetch_add(1, Ordering::AcqRel);
        self.is_underway.store(true, Ordering::Release);
        Arc::new(Underway(Arc::clone(self)))
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.is_underway.store(false, Ordering::Release);
    }
}

/// A stream with a meter on it.
pub(super) struct Meter<S> {
    stream: S,
    progress: Arc<Progress>,
    is_on: bool,
    /// Read, and not passed on.
    held: Vec<u8>,
    /// Everything that was written has left.
    is_flushed: bool,
    /// The requests that had begun when this head did.
    begun: usize,
    lines: usize,
    line_bytes: usize,
    bytes: usize,
    is_complete: bool,
}

impl<S> Meter<S> {
    pub(super) fn new(stream: S, progress: Arc<Progress>) -> Self {
        Self {
            stream,
            progress,
            is_on: true,
            held: Vec::new(),
            is_flushed: true,
            begun: 0,
            lines: 0,
            line_bytes: 0,
            bytes: 0,
            is_complete: false,
        }
    }

    /// Did it stop the connection, for a head that needs more room?
    pub(super) fn has_stopped(&self) -> bool {
        self.is_on && !self.held.is_empty()
    }

    /// Without a meter, and with `read` to be read again.
    pub(super) fn reopened(mut self, read: &[u8]) -> Self {
        self.held.splice(0..0, read.iter().copied());
        self.is_on = false;
        self
    }

    /// Counts `new` bytes of a head; false when it outgrows its room.
    fn count(&mut self, new: &[u8]) -> bool {
        let begun = self.progress.begun.load(Ordering::Acquire);
        if begun != self.begun {
            self.begun = begun;
            (self.lines, self.line_bytes, self.bytes) = (0, 0, 0);
            self.is_complete = false;
        }
        // An answer must not be lost with the connection.
        if !self.is_flushed || self.progress.is_underway.load(Ordering::Acquire) {
            return true;
        }
        for byte in new {
            if self.is_complete {
                break;
            }
            self.bytes += 1;
            match byte {
                b'\r' => {}
                // Empty lines before a request are no end of it.
                b'\n' if self.line_bytes == 0 => self.is_complete = self.lines > 0,
                b'\n' => {
                    self.lines += 1;
                    self.line_bytes = 0;
                }
                _ => self.line_bytes += 1,
            }
        }
        self.lines <= LINES_MAX && self.bytes <= BYTES_MAX
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Meter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.is_on && !this.held.is_empty() {
            let length = this.held.len().min(buffer.remaining());
            buffer.put_slice(&this.held[..length]);
            this.held.drain(..length);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        if !this.is_on || this.count(&buffer.filled()[before..]) {
            return Poll::Ready(Ok(()));
        }
        this.held.extend_from_slice(&buffer.filled()[before..]);
        buffer.set_filled(before);
        Poll::Ready(Err(io::Error::other("a head needs more room")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Meter<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_flushed = false;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.is_flushed |= flushed.is_ready();
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_flushed = false;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
