//! The log as its writer has it: what is on the disk in which order.
//!
//! Owns the layout and its crash safety. An entry is first a line of the file `pending`, with one
//! sync for a whole batch; that makes it durable. Later [`Book::seal`] moves what is pending into
//! the tree: bundles and tiles first, each under a name that no other content ever has, then the
//! checkpoint that covers them, by a rename, then an empty `pending`. Whatever happens between two
//! steps, the checkpoint on disk has all its tiles, and what it does not cover is pending still.
//!
//! ```text
//! append ─▶ pending ── seal ─▶ tile/entries/…, tile/0/…, … ─▶ checkpoint ─▶ pending (empty)
//! ```

use super::disk::{Disk, LOCK};
use super::merkle::{Hash, TILE_WIDTH, Tree, leaf_hash, low_byte, tile_path};
use super::note::{Checkpoint, SigningKey, VerifyingKey, hex};
use super::read::{self, Pending};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};

/// The signed size and root.
pub const CHECKPOINT: &str = "checkpoint";
/// Entries that no checkpoint covers yet.
pub const PENDING: &str = "pending";
/// The private key, PEM.
pub const KEY: &str = "key";
/// The public key, as a `vkey`.
pub const PUBLIC_KEY: &str = "key.pub";
/// Directory of tiles.
pub(super) const TILES: &str = "tile";
/// What may lie in the directory of a log that is not begun: also what a crash leaves of a
/// beginning, and what a new file system has.
const BEFORE_A_LOG: [&str; 7] = [
    LOCK,
    KEY,
    "key.tmp",
    PUBLIC_KEY,
    "key.pub.tmp",
    "checkpoint.tmp",
    "lost+found",
];
/// Stem of the names of bundles.
pub const ENTRIES: &str = "tile/entries";

/// Why a log is not begun anew while a process runs.
pub(super) const GONE: &str = "the log that was here is gone (moved away, or its volume is not mounted): put it back; a log \
    begins only when the process starts, in an empty directory";

/// Why a log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The disk.
    #[error("{action} {path}: {error}")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// With what, below the log's directory.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// Its files do not fit each other.
    #[error("{0}")]
    Broken(String),
}

fn disk(action: &'static str, path: &str) -> impl FnOnce(io::Error) -> BookError {
    let path = path.to_owned();
    move |error| BookError::Disk {
        action,
        path,
        error,
    }
}

/// What was found at opening.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Entries in the log.
    pub entries: u64,
    /// A file with the last line of `pending`, which has no end: it was being written when the
    /// machine or the process stopped.
    pub torn: Option<String>,
}

/// What a process knows of the log that it wrote: no other may take its place.
#[derive(Clone, Debug)]
pub struct Known {
    key: VerifyingKey,
    /// Over all that was durable.
    tree: Tree,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Book<D> {
    disk: D,
    key: SigningKey,
    /// What the checkpoint covers.
    tree: Tree,
    /// The bundle at its right edge.
    bundle: Vec<Vec<u8>>,
    /// What it does not cover.
    pending: Vec<Vec<u8>>,
    /// Directories whose names are durable.
    directories: BTreeSet<String>,
}

impl<D: Disk> Book<D> {
    /// Opens the log of a directory, or begins one in an empty directory, whose name will be
    /// `origin`.
    ///
    /// # Errors
    /// When the disk fails, and when its files do not fit each other: nothing is changed then.
    pub fn open(disk: D, origin: &str) -> Result<(Self, Found), BookError> {
        Self::load(disk, Some(origin), None)
    }

    /// Opens a log that has begun; if it is `known`, no other one.
    ///
    /// # Errors
    /// As [`Book::open`], and when there is none, or another.
    pub fn reopen(disk: D, known: Option<&Known>) -> Result<(Self, Found), BookError> {
        Self::load(disk, None, known)
    }

    fn load(
        mut disk: D,
        origin: Option<&str>,
        known: Option<&Known>,
    ) -> Result<(Self, Found), BookError> {
        let origin = may_begin(&disk, origin)?;
        let key = key(&mut disk, origin)?;
        let note = optional(&disk, CHECKPOINT)?;
        let checkpoint = match (&note, origin) {
            (Some(note), _) => open_checkpoint(note, key.public())?,
            (None, Some(_)) => empty(key.public()),
            (None, None) => {
                return Err(BookError::Broken(format!(
                    "the file {CHECKPOINT} is missing, and the log is not empty: put it back, or begin a log in another directory"
                )));
            }
        };
        let tree = read::tree(&checkpoint, |path| disk.read(path)).map_err(BookError::Broken)?;
        let width = low_byte(tree.size());
        let index = tree.size() / TILE_WIDTH as u64;
        let bundle = match width {
            0 => Vec::new(),
            _ => read::bundle(index, width, |path| disk.read(path)).map_err(BookError::Broken)?,
        };
        let mut book = Self {
            disk,
            key,
            tree,
            bundle,
            pending: Vec::new(),
            directories: BTreeSet::new(),
        };
        let torn = book.read_pending()?;
        if let Some(known) = known {
            book.check(known)?;
        }
        if note.is_none() {
            book.write_checkpoint()?;
        }
        let torn = match torn.is_empty() {
            true => None,
            false => Some(book.put_aside(&torn)?),
        };
        book.write_pending()?;
        book.seal()?;
        let entries = book.size();
        Ok((book, Found { entries, torn }))
    }

    /// What the log is known by: all that [`Book::append`] made durable, also after an error.
    pub fn known(&self) -> Known {
        let mut tree = self.tree.clone();
        for entry in &self.pending {
            tree.push(leaf_hash(entry), |_, _, _| {});
        }
        let key = self.key.public().clone();
        Known { key, tree }
    }

    /// Whether this is the log that is known, as it was or longer.
    fn check(&self, known: &Known) -> Result<(), BookError> {
        let other = |why: String| {
            Err(BookError::Broken(format!(
                "this is not the log that this process wrote: {why}; put that one back (to go on with another, start the \
                 process anew)"
            )))
        };
        if *self.key.public() != known.key {
            return other(format!("its key is that of {}", self.key.public()));
        }
        let size = known.tree.size();
        let then = match size.checked_sub(self.tree.size()) {
            None => read::beginning(size, self.tree.size(), |path| self.disk.read(path))
                .map_err(BookError::Broken)?,
            Some(more) => {
                let more = usize::try_from(more).unwrap_or(usize::MAX);
                let mut tree = self.tree.clone();
                for entry in self.pending.iter().take(more) {
                    tree.push(leaf_hash(entry), |_, _, _| {});
                }
                tree
            }
        };
        match then.size() {
            then if then < size => other(format!("it has {then} entries, and had {size}")),
            _ if then.root() != known.tree.root() => {
                other(format!("its first {size} entries are others"))
            }
            _ => Ok(()),
        }
    }

    /// Entries in the log, sealed or not.
    pub fn size(&self) -> u64 {
        self.tree.size() + self.pending.len() as u64
    }

    /// Entries that no checkpoint covers yet.
    pub fn unsealed(&self) -> usize {
        self.pending.len()
    }

    /// Adds entries; when it returns, they are durable.
    ///
    /// # Errors
    /// When the disk fails. What of them is on it, only opening the log anew can tell.
    pub fn append(&mut self, entries: Vec<Vec<u8>>) -> Result<(), BookError> {
        let lines: Vec<u8> = entries.iter().flat_map(|entry| line(entry)).collect();
        let appended = self.disk.append(PENDING, &lines);
        appended.map_err(disk("cannot write", PENDING))?;
        self.pending.extend(entries);
        Ok(())
    }

    /// Moves what is pending into the tree.
    ///
    /// # Errors
    /// When the disk fails; the log has to be opened anew.
    pub fn seal(&mut self) -> Result<(), BookError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut files = Vec::new();
        for entry in std::mem::take(&mut self.pending) {
            self.tree.push(leaf_hash(&entry), |level, index, hashes| {
                files.push((tile_path(&stem(level), index, TILE_WIDTH), hashes.concat()));
            });
            self.bundle.push(entry);
            if self.bundle.len() == TILE_WIDTH {
                let index = self.tree.size() / TILE_WIDTH as u64 - 1;
                files.push((tile_path(ENTRIES, index, TILE_WIDTH), packed(&self.bundle)));
                self.bundle.clear();
            }
        }
        let full = files.len();
        for (level, index, hashes) in self.tree.partial_tiles() {
            files.push((
                tile_path(&stem(level), index, hashes.len()),
                hashes.concat(),
            ));
        }
        if !self.bundle.is_empty() {
            let index = self.tree.size() / TILE_WIDTH as u64;
            files.push((
                tile_path(ENTRIES, index, self.bundle.len()),
                packed(&self.bundle),
            ));
        }
        self.write_files(&files)?;
        self.write_checkpoint()?;
        self.write_pending()?;
        for (path, _) in &files[..full] {
            // Its parts are in it. That they are still there as well hurts nobody.
            let _ = self.disk.remove_directory(&format!("{path}.p"));
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn disk(&self) -> &D {
        &self.disk
    }

    fn write_files(&mut self, files: &[(String, Vec<u8>)]) -> Result<(), BookError> {
        let mut touched = BTreeSet::new();
        for (path, bytes) in files {
            let directory = self.make_directories(path)?;
            self.replace(path, bytes)?;
            touched.insert(directory);
        }
        for directory in touched {
            self.sync(&directory)?;
        }
        Ok(())
    }

    /// Makes the directories above a path, durably; returns the innermost.
    fn make_directories(&mut self, path: &str) -> Result<String, BookError> {
        let mut parent = String::new();
        for (end, _) in path.match_indices('/') {
            let directory = &path[..end];
            if !self.directories.contains(directory) {
                let made = self.disk.make_directory(directory);
                made.map_err(disk("cannot make", directory))?;
                self.sync(&parent)?;
                self.directories.insert(directory.to_owned());
            }
            directory.clone_into(&mut parent);
        }
        Ok(parent)
    }

    fn write_checkpoint(&mut self) -> Result<(), BookError> {
        let note = self.key.sign(self.tree.size(), self.tree.root());
        self.replace(CHECKPOINT, note.as_bytes())?;
        self.sync("")
    }

    /// Takes in what is pending on the disk and not sealed. Returns a torn last line.
    fn read_pending(&mut self) -> Result<Vec<u8>, BookError> {
        let size = self.tree.size();
        let Some(bytes) = optional(&self.disk, PENDING)? else {
            return match size {
                0 => Ok(Vec::new()),
                _ => Err(BookError::Broken(format!(
                    "the file {PENDING} is missing, and with it what no checkpoint covers yet: put it back, or, should it \
                     be lost, begin a log in another directory"
                ))),
            };
        };
        let found = Pending::parse(&bytes).map_err(BookError::Broken)?;
        let sealed = size.checked_sub(found.first).ok_or_else(|| {
            BookError::Broken(format!(
                "{CHECKPOINT} is older than {PENDING}: it has {size} entries, and the next is number {}; put the newest \
                 of both in place",
                found.first
            ))
        })?;
        if let Some(damage) = found.damage {
            return Err(BookError::Broken(damage));
        }
        let sealed = usize::try_from(sealed).unwrap_or(usize::MAX);
        self.pending = found.entries.into_iter().skip(sealed).collect();
        Ok(found.torn.to_vec())
    }

    /// Keeps a torn line for a person to look at; returns where.
    fn put_aside(&mut self, torn: &[u8]) -> Result<String, BookError> {
        let name = format!("torn-{}", self.size());
        self.replace(&name, torn)?;
        self.sync("")?;
        Ok(name)
    }

    /// Writes the file of what is pending anew, so that nothing of it depends on an older sync.
    fn write_pending(&mut self) -> Result<(), BookError> {
        let mut bytes = Pending::header(self.tree.size()).into_bytes();
        bytes.extend(self.pending.iter().flat_map(|entry| line(entry)));
        self.replace(PENDING, &bytes)?;
        self.sync("")
    }

    fn replace(&mut self, path: &str, bytes: &[u8]) -> Result<(), BookError> {
        replace(&mut self.disk, path, bytes)
    }

    fn sync(&mut self, directory: &str) -> Result<(), BookError> {
        let synced = self.disk.sync_directory(directory);
        synced.map_err(disk("cannot sync the directory", directory))
    }
}

/// What a log begins with.
fn empty(key: &VerifyingKey) -> Checkpoint {
    Checkpoint {
        origin: key.name().to_owned(),
        size: 0,
        root: Tree::default().root(),
    }
}

/// The name of a level's tiles.
pub(super) fn stem(level: usize) -> String {
    format!("{TILES}/{level}")
}

/// An entry as a line of `pending`.
fn line(entry: &[u8]) -> Vec<u8> {
    let hash: Hash = leaf_hash(entry);
    [hex(&hash).as_bytes(), b" ", entry, b"\n"].concat()
}

/// Entries as a bundle: each after its length.
fn packed(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&entry[..usize::from(length)]);
    }
    bytes
}

fn optional(from: &impl Disk, path: &str) -> Result<Option<Vec<u8>>, BookError> {
    match from.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(disk("cannot read", path)(error)),
    }
}

fn replace(to: &mut impl Disk, path: &str, bytes: &[u8]) -> Result<(), BookError> {
    let temporary = format!("{path}.tmp");
    let written = to.write(&temporary, bytes);
    written.map_err(disk("cannot write", &temporary))?;
    to.rename(&temporary, path)
        .map_err(disk("cannot replace", path))
}

/// The name of the log that may begin on this disk; `None` when one has begun.
fn may_begin<'a>(on: &impl Disk, origin: Option<&'a str>) -> Result<Option<&'a str>, BookError> {
    let names = on.names().map_err(disk("cannot list", "the directory"))?;
    if is_begun(&names) {
        return Ok(None);
    }
    let foreign = |name: &&String| !BEFORE_A_LOG.contains(&name.as_str());
    match (origin, names.iter().find(foreign)) {
        (None, _) => Err(BookError::Broken(GONE.to_owned())),
        (Some(_), Some(name)) => Err(BookError::Broken(format!(
            "there is no log, and the directory is not empty (it has {name:?}): a log begins in a directory of its own"
        ))),
        (Some(origin), None) => Ok(Some(origin)),
    }
}

/// Whether a directory with these names has a log, or had one.
pub(super) fn is_begun(names: &[String]) -> bool {
    let of_a_log = [CHECKPOINT, PENDING, TILES];
    names.iter().any(|name| of_a_log.contains(&name.as_str()))
}

/// The log's key; made, with a log of the name `begun`, when it is absent.
fn key(to: &mut impl Disk, begun: Option<&str>) -> Result<SigningKey, BookError> {
    let may_begin = begun.is_some();
    let broken = |text: String| BookError::Broken(text);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let pem = match optional(to, KEY)? {
        Some(bytes) => zeroize::Zeroizing::new(text(bytes)),
        None if may_begin => {
            let pem = SigningKey::generate().map_err(broken)?;
            replace(to, KEY, pem.as_bytes())?;
            let synced = to.sync_directory("");
            synced.map_err(disk("cannot sync the directory", ""))?;
            pem
        }
        None => {
            return Err(broken(format!(
                "the file {KEY} is missing, with which its checkpoints are signed: put it back, or begin a log in another \
                 directory"
            )));
        }
    };
    let told = optional(to, PUBLIC_KEY)?.map(text);
    let told = told.map(|told| VerifyingKey::parse(&told));
    let told = told.transpose();
    let told = told.map_err(|error| broken(format!("{PUBLIC_KEY}: {error}")))?;
    let name = told
        .as_ref()
        .map(VerifyingKey::name)
        .or(begun)
        .unwrap_or("");
    let key =
        SigningKey::from_pem(&pem, name).map_err(|error| broken(format!("{KEY}: {error}")))?;
    match told {
        Some(told) if told != *key.public() => Err(broken(format!(
            "{KEY} and {PUBLIC_KEY} do not belong together: put the right one back"
        ))),
        Some(_) => Ok(key),
        None if may_begin => {
            replace(to, PUBLIC_KEY, format!("{}\n", key.public()).as_bytes())?;
            let synced = to.sync_directory("");
            synced.map_err(disk("cannot sync the directory", ""))?;
            Ok(key)
        }
        None => Err(broken(format!(
            "the file {PUBLIC_KEY} is missing, which says what this log is called: put it back"
        ))),
    }
}

fn open_checkpoint(note: &[u8], key: &VerifyingKey) -> Result<Checkpoint, BookError> {
    Checkpoint::open(note, key).map_err(|error| BookError::Broken(format!("{CHECKPOINT}: {error}")))
}
