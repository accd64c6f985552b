//! The log: a bounded queue, and the thread that writes what is in it.
//!
//! A queue has a bound in events and in bytes. Whoever has to wait for it waits a bounded time, and
//! once that was in vain, nobody waits until something has been written again: a disk that hangs
//! costs one request a pause, and the rest of them their entries.

use super::Counts;
use super::file::{Rotation, Sink};
use everleaf_time::WallClock;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use std::{fmt, io, thread};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// Events that wait to be written, at most: upstream's.
const QUEUE_EVENTS_MAX: usize = 10_000;
/// Their bytes, at most.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Longest wait of a request for the log.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest wait for the log when the server stops.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);
/// Events that are written in one go.
const BATCH_EVENTS_MAX: usize = 256;
/// How often it is told that events are lost, while it goes on.
const TOLD_INTERVAL: Duration = Duration::from_secs(60);

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// The standard output.
    Stdout,
    /// A file, which is made if need be, with its directory.
    File(PathBuf),
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As a JSON object.
    Json,
    /// As a line of words.
    Legacy,
}

/// What a request does until its events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It goes on.
    Batch,
    /// It waits, and goes on even when they cannot be.
    Blocking,
    /// It waits, and is refused when its first one cannot be.
    BlockingStrict,
}

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Where it goes.
    pub destination: Destination,
    /// When a file is full, and what becomes of old ones.
    pub rotation: Rotation,
    /// How an event is written.
    pub format: Format,
    /// Whether requests wait for it.
    pub mode: Mode,
}

/// A line on its way, with its end.
pub(super) struct Line {
    text: String,
    /// Whom to tell whether it is written.
    waits: Option<oneshot::Sender<bool>>,
}

impl Line {
    pub(super) fn new(text: String) -> Self {
        Self { text, waits: None }
    }
}

/// The near end of the queue.
pub(super) struct Log {
    queue: mpsc::Sender<Line>,
    shared: Arc<Shared>,
    mode: Mode,
    format: Format,
    destination: Destination,
}

struct Shared {
    bytes: AtomicUsize,
    /// Somebody waited in vain, and nothing has been written since.
    is_stalled: AtomicBool,
    /// It was told that the queue is full, and it has not been empty since.
    is_told: AtomicBool,
    counts: Arc<Counts>,
}

impl Log {
    pub(super) fn start(
        config: LogConfig,
        counts: Arc<Counts>,
        clock: WallClock,
    ) -> io::Result<Self> {
        let sink = Sink::open(&config.destination, config.rotation)?;
        Self::start_on(sink, &config, counts, clock)
    }

    fn start_on(
        sink: Sink,
        config: &LogConfig,
        counts: Arc<Counts>,
        clock: WallClock,
    ) -> io::Result<Self> {
        let (queue, lines) = mpsc::channel(QUEUE_EVENTS_MAX);
        let shared = Arc::new(Shared {
            bytes: AtomicUsize::new(0),
            is_stalled: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            counts,
        });
        let writer = Writer {
            sink,
            shared: Arc::clone(&shared),
            clock,
            told: None,
        };
        thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn(move || writer.run(lines))?;
        Ok(Self {
            queue,
            shared,
            mode: config.mode,
            format: config.format,
            destination: config.destination.clone(),
        })
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Writes lines in this order. False when the mode is the strict one and the last of them is
    /// not written.
    pub(super) async fn write(&self, mut lines: Vec<Line>) -> bool {
        if self.mode == Mode::Batch {
            self.write_without_waiting(lines);
            return true;
        }
        let is_strict = self.mode == Mode::BlockingStrict;
        if self.shared.is_stalled.load(Ordering::Acquire) {
            self.write_without_waiting(lines);
            return !is_strict;
        }
        let (told, written) = oneshot::channel();
        if let Some(last) = lines.last_mut() {
            last.waits = Some(told);
        }
        let mut unsent = lines.len() as u64;
        let wait = async {
            for line in lines {
                let Ok(place) = self.queue.reserve().await else {
                    return false;
                };
                if !self.shared.take_room(&line) {
                    return false;
                }
                place.send(line);
                unsent -= 1;
            }
            written.await.unwrap_or(false)
        };
        let outcome = timeout(PATIENCE, wait).await;
        self.shared.counts.lost(unsent);
        if outcome.is_err() {
            self.shared.is_stalled.store(true, Ordering::Release);
            tracing::warn!(
                "the audit log {} takes longer than {PATIENCE:?}: nobody waits for it until it has written something; see to its \
                 disk",
                self.destination
            );
        }
        outcome.unwrap_or(false) || !is_strict
    }

    /// Writes what there is room for.
    pub(super) fn write_without_waiting(&self, lines: Vec<Line>) {
        let mut lost = 0;
        for line in lines {
            let bytes = line.text.len();
            if !self.shared.take_room(&line) {
                lost += 1;
            } else if self.queue.try_send(line).is_err() {
                self.shared.bytes.fetch_sub(bytes, Ordering::AcqRel);
                lost += 1;
            }
        }
        if lost == 0 {
            return;
        }
        self.shared.counts.lost(lost);
        if !self.shared.is_told.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                "the audit log {} cannot keep up: its queue is full, and events are lost (apiserver_audit_error_total counts \
                 them); see to its disk, or tell less in the audit policy",
                self.destination
            );
        }
    }

    /// Waits until all is written, but not for ever.
    pub(super) async fn flush(&self) {
        let (told, written) = oneshot::channel();
        let line = Line {
            text: String::new(),
            waits: Some(told),
        };
        let wait = async {
            if self.queue.send(line).await.is_ok() {
                let _ = written.await;
            }
        };
        if timeout(FLUSH_PATIENCE, wait).await.is_err() {
            tracing::warn!(
                "the audit log {} could not be written to its end in time",
                self.destination
            );
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("destination", &self.destination)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("on standard output"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl Shared {
    /// Takes room in the queue for a line, if there is.
    fn take_room(&self, line: &Line) -> bool {
        let bytes = line.text.len();
        let taken = self
            .bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                // One line is let in, however long.
                (taken == 0 || taken + bytes <= QUEUE_BYTES_MAX).then_some(taken + bytes)
            });
        taken.is_ok()
    }
}

/// The thread.
struct Writer {
    sink: Sink,
    shared: Arc<Shared>,
    clock: WallClock,
    /// What was told last, and when.
    told: Option<(String, Instant)>,
}

impl Writer {
    fn run(mut self, mut lines: mpsc::Receiver<Line>) {
        let mut batch = Vec::new();
        while lines.blocking_recv_many(&mut batch, BATCH_EVENTS_MAX) > 0 {
            let texts: Vec<&str> = batch.iter().map(|line| line.text.as_str()).collect();
            let lost = self.sink.write(&texts, (self.clock)());
            let bytes: usize = texts.iter().map(|text| text.len()).sum();
            self.shared.bytes.fetch_sub(bytes, Ordering::AcqRel);
            let written = texts.len() - lost.as_ref().map_or(0, |(events, _)| *events);
            match lost {
                Some((events, error)) => self.tell(events, &error),
                None => self.told = None,
            }
            if written > 0 {
                self.shared.is_stalled.store(false, Ordering::Release);
            }
            if lines.is_empty() {
                self.shared.is_told.store(false, Ordering::Release);
            }
            for (at, line) in batch.drain(..).enumerate() {
                if let Some(waits) = line.waits {
                    let _ = waits.send(at < written);
                }
            }
        }
    }

    fn tell(&mut self, events: usize, error: &io::Error) {
        self.shared.counts.lost(events as u64);
        let (text, now) = (error.to_string(), Instant::now());
        let is_old = |(told, at): &(String, Instant)| *told == text && now < *at + TOLD_INTERVAL;
        if !self.told.as_ref().is_some_and(is_old) {
            tracing::warn!(
                "the audit log {} cannot be written, and events are lost (apiserver_audit_error_total counts them): {text}",
                self.sink.destination()
            );
            self.told = Some((text, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::file::tests::Hanging;
    use std::sync::mpsc as std_mpsc;

    fn log(mode: Mode, sink: Sink) -> (Log, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        let config = LogConfig {
            destination: Destination::Stdout,
            rotation: Rotation::default(),
            format: Format::Json,
            mode,
        };
        let clock: WallClock = Arc::new(|| "2030-01-01T00:00:00Z".parse().unwrap());
        let log = Log::start_on(sink, &config, Arc::clone(&counts), clock).unwrap();
        (log, counts)
    }

    fn lines(count: usize) -> Vec<Line> {
        let line = || Line::new("{}\n".to_owned());
        std::iter::repeat_with(line).take(count).collect()
    }

    /// A disk that hangs: one request waits its time, the others do not; when it goes on, they wait
    /// again.
    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_costs_one_pause() {
        for (mode, is_refused) in [(Mode::Blocking, false), (Mode::BlockingStrict, true)] {
            let (go_on, hangs) = std_mpsc::channel();
            let (log, _) = log(mode, Sink::of(Hanging(hangs)));
            let begun = Instant::now();
            assert_eq!(log.write(lines(1)).await, !is_refused);
            assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());
            assert_eq!(log.write(lines(1)).await, !is_refused);
            assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());
            drop(go_on);
            // The thread has the real time.
            tokio::time::resume();
            while log.shared.is_stalled.load(Ordering::Acquire) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(log.write(lines(2)).await);
            tokio::time::pause();
        }
    }

    #[tokio::test]
    async fn a_full_queue_costs_events_and_counts_them() {
        let (go_on, hangs) = std_mpsc::channel();
        let (log, counts) = log(Mode::Batch, Sink::of(Hanging(hangs)));
        let more = 1000;
        assert!(log.write(lines(QUEUE_EVENTS_MAX + more)).await);
        let lost = counts.errors.load(Ordering::Relaxed);
        // What the thread has taken out meanwhile made room.
        let taken = BATCH_EVENTS_MAX as u64;
        assert!(
            (more as u64 - taken..=more as u64).contains(&lost),
            "{lost}"
        );
        drop(go_on);
        log.flush().await;
        assert!(log.write(lines(1)).await);
        assert_eq!(counts.errors.load(Ordering::Relaxed), lost);
    }

    #[tokio::test]
    async fn a_queue_has_a_bound_in_bytes() {
        let (_go_on, hangs) = std_mpsc::channel();
        let (log, counts) = log(Mode::Batch, Sink::of(Hanging(hangs)));
        let long = || Line::new("x".repeat(QUEUE_BYTES_MAX / 2 + 1));
        log.write_without_waiting(vec![long(), long(), long()]);
        assert_eq!(counts.errors.load(Ordering::Relaxed), 2);
    }
}
