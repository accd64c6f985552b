//! Where lists are written: beside everything else, and after it.
//!
//! Whoever lists much keeps a processor busy with decoding and encoding. Watches, writes and
//! renewals of Leases must not wait for that, so lists have threads of their own, one less than
//! there are processors, which the system serves after the others where both want to run. They are
//! worked on in turns, so that a short list is not kept by a long one.

use crate::handler::Body;
use bytes::Bytes;
use std::future::poll_fn;
use std::num::NonZero;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::{AbortHandle, yield_now};
use tokio::time::sleep;

/// What the threads of lists add to the process's niceness (0 to 19). Of a processor that all want,
/// they still get a tenth.
const NICENESS: i32 = 10;

/// The threads that write the lists of one server.
pub(super) struct Lists {
    /// None: they are written where everything is done.
    threads: Option<Runtime>,
}

/// A list that is being written, piece by piece as they are taken.
#[derive(Debug)]
pub(super) struct List {
    pieces: Receiver<Option<Bytes>>,
    writer: AbortHandle,
    /// The task that gives it up.
    end: AbortHandle,
}

/// Why an answer ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client did not take its list in time")]
pub struct NotTaken;

impl Lists {
    /// Starts the threads, unless the caller's runtime has only one itself.
    pub(super) fn start() -> Self {
        let is_single = Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread;
        let threads = (!is_single).then(threads).and_then(|threads| {
            threads
                .inspect_err(|error| {
                    tracing::warn!(%error, "lists get no threads of their own, and may slow other requests down");
                })
                .ok()
        });
        Self { threads }
    }

    /// Have lists threads of their own?
    #[cfg(test)]
    pub(super) fn has_threads(&self) -> bool {
        self.threads.is_some()
    }

    /// Writes a list, until its reader goes or `patience` is over.
    pub(super) fn write(&self, mut body: Body, patience: Duration) -> List {
        let here = Handle::current();
        let there = self.threads.as_ref().map_or(&here, Runtime::handle);
        let (sender, pieces) = channel(1);
        let writer = there
            .spawn(async move {
                // A piece is made when there is room for it.
                while let Ok(room) = sender.reserve().await {
                    let piece = poll_fn(|context| body.poll_next(context, Duration::ZERO)).await;
                    let is_end = piece.is_none();
                    room.send(piece);
                    if is_end {
                        return;
                    }
                    yield_now().await;
                }
            })
            .abort_handle();
        let late = writer.clone();
        let end = here.spawn(async move {
            sleep(patience).await;
            late.abort();
        });
        List {
            pieces,
            writer,
            end: end.abort_handle(),
        }
    }
}

impl List {
    /// The next piece; None at the end.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, NotTaken>>> {
        let piece = ready!(self.pieces.poll_recv(context));
        Poll::Ready(match piece {
            Some(piece) => piece.map(Ok),
            None => Some(Err(NotTaken)),
        })
    }
}

impl Drop for List {
    fn drop(&mut self) {
        self.writer.abort();
        self.end.abort();
    }
}

/// One less than there are processors, at least one.
fn threads() -> std::io::Result<Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    Builder::new_multi_thread()
        .worker_threads(processors.saturating_sub(1).max(1))
        .thread_name("lists")
        .on_thread_start(|| {
            // Of the calling thread alone, as Linux has it.
            #[cfg(target_os = "linux")]
            if let Err(error) = rustix::process::nice(NICENESS) {
                tracing::warn!(%error, "the threads of lists keep the priority of all others");
            }
        })
        .build()
}

impl Drop for Lists {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}
