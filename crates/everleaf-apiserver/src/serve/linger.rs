//! The end of a connection after which the client can still read what was said last.
//!
//! A socket that is closed while something unread lies in it is reset, and a reset makes the
//! client's kernel forget what the client has not read yet. So the server ends its own side first
//! and throws away what still comes, for a moment (Go's server waits likewise: `net/http`,
//! `rstAvoidanceDelay`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long it is listened to a client that was told the end.
const LINGER: Duration = Duration::from_secs(2);
/// And how many bytes long.
const LINGER_BYTES_MAX: usize = 16 << 20;
const CHUNK_BYTES: usize = 8 * 1024;

/// A stream whose end lingers.
pub(super) struct Lingering<S> {
    stream: S,
    end: Option<End>,
}

struct End {
    alarm: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, end: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let end = match &mut this.end {
            Some(end) => end,
            None => {
                ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
                this.end.insert(End {
                    alarm: Box::pin(sleep(LINGER)),
                    bytes_left: LINGER_BYTES_MAX,
                })
            }
        };
        let mut chunk = [0; CHUNK_BYTES];
        loop {
            if end.alarm.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut buffer = ReadBuf::new(&mut chunk);
            // Whatever goes wrong now: the connection is at its end.
            match ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer)) {
                Ok(()) if (1..=end.bytes_left).contains(&buffer.filled().len()) => {
                    end.bytes_left -= buffer.filled().len();
                }
                _ => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
