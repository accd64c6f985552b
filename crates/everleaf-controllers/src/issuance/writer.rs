//! The log's writer: a thread that has the directory locked, and writes what all signers ask for.
//!
//! Owns batching: whoever asks while the disk is busy shares the next sync. It decides nothing
//! about certificates; what it found is told to one listener. Waits are the channel's, so that no
//! clock is read.

use super::book::{Book, BookError, Found, GONE, Known, is_begun};
use super::disk::{Folder, Locked};
use super::merkle::TILE_WIDTH;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Entries of one sync.
const BATCH_MAX: usize = 1024;
/// After this long without a new entry, what is pending gets a checkpoint.
const SEAL_AFTER: Duration = Duration::from_secs(1);
/// Time between two attempts at opening a log that cannot be written.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Where a log is, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Its directory.
    pub directory: PathBuf,
    /// Its name if it is new: that of its key and the first line of its checkpoints.
    pub origin: String,
}

/// What became of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can be written.
    Open(Found),
    /// It cannot, and why: nothing is signed.
    Unavailable(String),
}

/// An entry, and who waits for it.
type Asked = (Vec<u8>, oneshot::Sender<Result<(), String>>);

/// See the module documentation.
#[derive(Debug)]
pub struct Writer {
    asked: Option<Sender<Asked>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Begins to write; `tell` hears of each change of its standing, the first at once.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        config: LogConfig,
        tell: impl Fn(Standing) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (asked, asks) = channel();
        let thread = std::thread::Builder::new().name("issuance-log".to_owned());
        let thread = thread.spawn(move || Work::new(config, tell).until_nobody_asks(&asks))?;
        Ok(Self {
            asked: Some(asked),
            thread: Some(thread),
        })
    }

    /// Logs an entry; when this returns well, it is durable.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn append(&self, entry: Vec<u8>) -> Result<(), String> {
        const ENDED: &str = "the issuance log's writer has ended";
        let (done, logged) = oneshot::channel();
        let asked = self.asked.as_ref().ok_or(ENDED)?;
        asked.send((entry, done)).map_err(|_| ENDED)?;
        logged.await.map_err(|_| ENDED)?
    }
}

/// Waits until what was asked for is written, has a checkpoint, and the lock is free.
impl Drop for Writer {
    fn drop(&mut self) {
        self.asked = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work<T> {
    config: LogConfig,
    tell: T,
    book: Option<Book<Locked>>,
    /// That of the log which was open last.
    known: Option<Known>,
    /// Until a log was seen: from then on, an empty directory is a log that went away.
    may_begin: bool,
    told: Option<Standing>,
}

impl<T: Fn(Standing)> Work<T> {
    fn new(config: LogConfig, tell: T) -> Self {
        Self {
            config,
            tell,
            book: None,
            known: None,
            may_begin: true,
            told: None,
        }
    }

    fn until_nobody_asks(mut self, asks: &Receiver<Asked>) {
        let _ = self.open();
        loop {
            let patience = match &self.book {
                None => RETRY_AFTER,
                Some(book) if book.unsealed() > 0 => SEAL_AFTER,
                Some(_) => Duration::MAX,
            };
            match asks.recv_timeout(patience) {
                Ok(first) => self.write(first, asks),
                Err(RecvTimeoutError::Timeout) if self.book.is_none() => {
                    let _ = self.open();
                }
                Err(RecvTimeoutError::Timeout) => self.seal(),
                Err(RecvTimeoutError::Disconnected) => return self.seal(),
            }
        }
    }

    /// Has the log open, or says why not.
    fn open(&mut self) -> Result<&mut Book<Locked>, String> {
        if self.book.is_none() {
            let opened = self.opened();
            match opened {
                Ok((book, found)) => {
                    self.book = Some(book);
                    self.tell(Standing::Open(found));
                }
                Err(error) => {
                    let directory = self.config.directory.display();
                    self.tell(Standing::Unavailable(format!("{directory}: {error}")));
                }
            }
        }
        match (&mut self.book, &self.told) {
            (Some(book), _) => Ok(book),
            (None, Some(Standing::Unavailable(error))) => Err(error.clone()),
            (None, _) => Err("the log is not open".to_owned()),
        }
    }

    fn opened(&mut self) -> Result<(Book<Locked>, Found), String> {
        let directory = &self.config.directory;
        let names = match Folder::new(directory).names() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            names => names.map_err(|error| error.to_string()),
        };
        let is_begun = is_begun(&names?);
        self.may_begin &= !is_begun;
        if !is_begun && !self.may_begin {
            // Before the lock, which would make the directory.
            return Err(GONE.to_owned());
        }
        let disk = Folder::lock(directory).map_err(|error| error.to_string())?;
        let opened = match self.may_begin {
            true => Book::open(disk, &self.config.origin),
            false => Book::reopen(disk, self.known.as_ref()),
        };
        let opened = opened.map_err(|error| error.to_string())?;
        self.may_begin = false;
        Ok(opened)
    }

    fn write(&mut self, first: Asked, asks: &Receiver<Asked>) {
        let rest = asks.try_iter().take(BATCH_MAX - 1);
        let (entries, waiting): (Vec<_>, Vec<_>) = std::iter::once(first).chain(rest).unzip();
        let written = match self.open() {
            Err(error) => Err(error),
            Ok(book) => match book.append(entries) {
                Ok(()) => Ok(()),
                Err(error) => Err(self.lose(&error)),
            },
        };
        for done in waiting {
            // Whoever does not wait any more gets its certificate at the next attempt.
            let _ = done.send(written.clone());
        }
        let is_much = |book: &Book<Locked>| book.unsealed() >= TILE_WIDTH;
        if self.book.as_ref().is_some_and(is_much) {
            self.seal();
        }
    }

    fn seal(&mut self) {
        if let Some(Err(error)) = self.book.as_mut().map(Book::seal) {
            self.lose(&error);
        }
    }

    /// What is on the disk now only opening it anew can tell.
    fn lose(&mut self, error: &BookError) -> String {
        if let Some(book) = self.book.take() {
            self.known = Some(book.known());
        }
        let text = format!("{}: {error}", self.config.directory.display());
        self.tell(Standing::Unavailable(text.clone()));
        text
    }

    fn tell(&mut self, standing: Standing) {
        let is_news = self.told.as_ref() != Some(&standing);
        self.told = Some(standing.clone());
        if is_news {
            (self.tell)(standing);
        }
    }
}
