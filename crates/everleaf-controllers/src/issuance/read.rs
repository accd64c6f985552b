//! The log as its readers have it, also while it is written.
//!
//! Owns how its files are read and what must fit what. A reader takes no lock: `pending` is read
//! before the checkpoint, so that what is missing in one is in the other.

use super::book::{CHECKPOINT, ENTRIES, PENDING, PUBLIC_KEY, stem};
use super::disk::Folder;
use super::merkle::{Hash, TILE_WIDTH, Tree, leaf_hash, tile_path};
use super::note::{Checkpoint, NoteError, VerifyingKey, hex};
use std::io::{self, ErrorKind};
use std::path::Path;

/// First word of the first line of `pending`.
const PENDING_MAGIC: &str = "everleaf-issuance-log-pending/1";
/// Hex digits of a hash.
const HEX_WIDTH: usize = 64;

/// The file of entries that no checkpoint covers yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pending<'a> {
    /// Number of the first entry in it.
    pub(super) first: u64,
    /// Whole entries, up to the first that is not.
    pub(super) entries: Vec<Vec<u8>>,
    /// A last line without its end.
    pub(super) torn: &'a [u8],
    /// Why the rest cannot be read, when it is no torn line.
    pub(super) damage: Option<String>,
}

impl<'a> Pending<'a> {
    /// The first line.
    pub(super) fn header(first: u64) -> String {
        format!("{PENDING_MAGIC} {first}\n")
    }

    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut rest = bytes;
        let header = take_line(&mut rest).and_then(|line| std::str::from_utf8(line).ok());
        let first =
            header.and_then(|header| header.strip_prefix(PENDING_MAGIC)?.trim().parse().ok());
        let Some(first) = first else {
            return Err(format!(
                "{PENDING} does not begin as such a file: put it back"
            ));
        };
        let mut found = Self {
            first,
            entries: Vec::new(),
            torn: &[],
            damage: None,
        };
        while let Some(line) = take_line(&mut rest) {
            match whole(line) {
                Some(entry) => found.entries.push(entry.to_vec()),
                None => {
                    found.damage = Some(found.damaged());
                    return Ok(found);
                }
            }
        }
        match whole(rest) {
            Some(entry) => found.entries.push(entry.to_vec()),
            None => found.torn = rest,
        }
        Ok(found)
    }

    /// What is wrong with what follows the entries.
    fn damaged(&self) -> String {
        let number = self.first + self.entries.len() as u64;
        // The header is the first line.
        let line = self.entries.len() + 2;
        format!(
            "{PENDING}, line {line} (entry {number}) is damaged: it is not what its hash tells, or no entry at all. It and \
             those behind it may be of certificates that were issued: put an undamaged copy of the file back; if there is \
             none, keep this directory, and begin a log in another"
        )
    }

    /// Whether the torn line is the beginning of one that a writer writes.
    pub(super) fn is_unfinished(&self) -> bool {
        let (hash, entry) = self.torn.split_at(self.torn.len().min(HEX_WIDTH));
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_begun = |entry: &[u8]| {
            let json = serde_json::from_slice::<serde::de::IgnoredAny>(entry);
            json.is_err_and(|error| error.is_eof())
        };
        hash.iter().all(is_hex)
            && entry
                .split_first()
                .is_none_or(|(blank, entry)| *blank == b' ' && is_begun(entry))
    }
}

/// The entry of a line, if its hash is before it.
fn whole(line: &[u8]) -> Option<&[u8]> {
    let (hash, entry) = line.split_at_checked(HEX_WIDTH + 1)?;
    (*hash == *format!("{} ", hex(&leaf_hash(entry))).as_bytes()).then_some(entry)
}

/// A line without its end, if it has one.
fn take_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (line, after) = rest.split_at(end);
    *rest = &after[1..];
    Some(line)
}

/// A file of the tree, as long as its name says.
struct Tile {
    path: String,
    /// Number of hashes or entries in it.
    width: usize,
    bytes: Vec<u8>,
}

/// Reads a tile of `width`, which by now may be full.
fn tile(
    stem: &str,
    index: u64,
    width: usize,
    read: &impl Fn(&str) -> io::Result<Vec<u8>>,
) -> Result<Tile, String> {
    let asked = tile_path(stem, index, width);
    let mut failed = None;
    for width in [width, TILE_WIDTH] {
        let path = tile_path(stem, index, width);
        match read(&path) {
            Ok(bytes) => return Ok(Tile { path, width, bytes }),
            Err(error) => {
                let is_absent = error.kind() == ErrorKind::NotFound;
                failed = failed.or(Some(error));
                if !is_absent {
                    break;
                }
            }
        }
    }
    let error = failed.unwrap_or_else(|| ErrorKind::NotFound.into());
    Err(format!("cannot read {asked}: {error}"))
}

/// The hashes of a tile.
pub(super) fn hashes(
    level: usize,
    index: u64,
    width: usize,
    read: &impl Fn(&str) -> io::Result<Vec<u8>>,
) -> Result<Vec<Hash>, String> {
    let tile = tile(&stem(level), index, width, read)?;
    let (hashes, rest) = tile.bytes.as_chunks::<32>();
    let is_whole = rest.is_empty() && hashes.len() == tile.width;
    is_whole.then(|| hashes[..width].to_vec()).ok_or_else(|| {
        let (path, bytes) = (&tile.path, tile.bytes.len());
        format!(
            "{path} has {bytes} bytes, and not those of {} hashes: it was cut, or something was put into it",
            tile.width
        )
    })
}

/// The entries of a bundle.
pub(super) fn bundle(
    index: u64,
    width: usize,
    read: impl Fn(&str) -> io::Result<Vec<u8>>,
) -> Result<Vec<Vec<u8>>, String> {
    let tile = tile(ENTRIES, index, width, &read)?;
    let path = &tile.path;
    let mut rest = tile.bytes.as_slice();
    let mut entries = Vec::with_capacity(tile.width);
    while entries.len() < tile.width {
        let entry = rest.split_first_chunk::<2>().and_then(|(length, after)| {
            after.split_at_checked(usize::from(u16::from_be_bytes(*length)))
        });
        let Some((entry, after)) = entry else {
            let number = index * TILE_WIDTH as u64 + entries.len() as u64;
            return Err(format!("entry {number} is missing: {path} ends before it"));
        };
        entries.push(entry.to_vec());
        rest = after;
    }
    if !rest.is_empty() {
        let more = rest.len();
        return Err(format!(
            "{path} has {more} bytes behind its last entry: something was put into it"
        ));
    }
    entries.truncate(width);
    Ok(entries)
}

/// The tree of a checkpoint, from its tiles, whose root has to be the checkpoint's.
pub(super) fn tree(
    checkpoint: &Checkpoint,
    read: impl Fn(&str) -> io::Result<Vec<u8>>,
) -> Result<Tree, String> {
    let tree = Tree::read(checkpoint.size, |level, index, width| {
        hashes(level, index, width, &read)
    })?;
    if tree.root() != checkpoint.root {
        return Err(format!(
            "the tiles do not have the root that {CHECKPOINT} tells: somebody changed them; everleaf ca log --verify looks \
             for the entry"
        ));
    }
    Ok(tree)
}

/// What a tree of `now` entries was when it had `size`, from its tiles.
pub(super) fn beginning(
    size: u64,
    now: u64,
    read: impl Fn(&str) -> io::Result<Vec<u8>>,
) -> Result<Tree, String> {
    Tree::read(size, |level, index, width| {
        // Hashes of this level now, and of them those behind the tiles before this one.
        let behind = (now >> (level * 8)) - index * TILE_WIDTH as u64;
        let now = usize::try_from(behind)
            .unwrap_or(TILE_WIDTH)
            .min(TILE_WIDTH);
        let mut hashes = hashes(level, index, now, &read)?;
        hashes.truncate(width);
        Ok(hashes)
    })
}

/// Whether the tree had the root of an older checkpoint when it had its size.
fn check_beginning(older: &Checkpoint, then: Option<Hash>, size: u64) -> Result<(), ReadError> {
    let covered = older.size;
    match then {
        Some(root) if root == older.root => Ok(()),
        Some(_) => Err(ReadError::Broken(format!(
            "the log was rewritten: its first {covered} entries are not those that checkpoint covers"
        ))),
        None => Err(ReadError::Broken(format!(
            "the log was cut: it has {size} entries, and that checkpoint covers {covered}"
        ))),
    }
}

/// Why a log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is none.
    #[error("there is no issuance log: {0}")]
    Absent(String),
    /// What is there cannot be read, or is not right.
    #[error("{0}")]
    Broken(String),
}

/// What a check of the whole log came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The checkpoint on disk, which holds.
    pub checkpoint: Checkpoint,
    /// The older one that was compared, if any, of which the log is a continuation.
    pub against: Option<Checkpoint>,
    /// Entries that no checkpoint covers yet.
    pub unsealed: u64,
    /// Whether the last line of `pending` is unfinished: it is being written, or was when the
    /// writer stopped.
    pub is_unfinished: bool,
}

/// A log, at one moment.
#[derive(Debug)]
pub struct Reader {
    folder: Folder,
    key: VerifyingKey,
    checkpoint: Checkpoint,
    /// What it does not cover.
    pending: Vec<Vec<u8>>,
    is_unfinished: bool,
    /// Why there may be more that cannot be read.
    damage: Option<String>,
}

impl Reader {
    /// Opens the log in this directory.
    ///
    /// # Errors
    /// When there is none, or its checkpoint does not hold.
    pub fn open(directory: &Path) -> Result<Self, ReadError> {
        let folder = Folder::new(directory);
        let read = |name: &str| {
            folder.read(name).map_err(|error| {
                let text = format!("cannot read {}: {error}", directory.join(name).display());
                match error.kind() {
                    ErrorKind::NotFound => ReadError::Absent(text),
                    _ => ReadError::Broken(text),
                }
            })
        };
        let broken = |name: &str, error: NoteError| ReadError::Broken(format!("{name}: {error}"));
        let key = String::from_utf8_lossy(&read(PUBLIC_KEY)?).into_owned();
        let key = VerifyingKey::parse(&key).map_err(|error| broken(PUBLIC_KEY, error))?;
        let pending = read(PENDING)?;
        let checkpoint = Checkpoint::open(&read(CHECKPOINT)?, &key);
        let checkpoint = checkpoint.map_err(|error| broken(CHECKPOINT, error))?;
        let found = Pending::parse(&pending).map_err(ReadError::Broken)?;
        let Some(sealed) = checkpoint.size.checked_sub(found.first) else {
            return Err(ReadError::Broken(format!(
                "{CHECKPOINT} is older than {PENDING}: it has {} entries, and the next is number {}",
                checkpoint.size, found.first
            )));
        };
        let sealed = usize::try_from(sealed).unwrap_or(usize::MAX);
        let is_unfinished = !found.torn.is_empty();
        let damage = match is_unfinished && !found.is_unfinished() {
            true => Some(found.damaged()),
            false => found.damage,
        };
        Ok(Self {
            pending: found.entries.into_iter().skip(sealed).collect(),
            is_unfinished,
            damage,
            folder,
            key,
            checkpoint,
        })
    }

    /// The log's key.
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// What it was opened at.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Number of bundles, the last one full or not.
    fn bundles(&self) -> u64 {
        self.checkpoint.size.div_ceil(TILE_WIDTH as u64)
    }

    /// The entries of a bundle of the tree.
    fn sealed(&self, index: u64) -> Result<Vec<Vec<u8>>, ReadError> {
        let left = self.checkpoint.size - index * TILE_WIDTH as u64;
        let width = usize::try_from(left).unwrap_or(TILE_WIDTH).min(TILE_WIDTH);
        bundle(index, width, |path| self.folder.read(path)).map_err(ReadError::Broken)
    }

    /// Hands all entries to `each`, the oldest first.
    ///
    /// # Errors
    /// When one cannot be read; those before it were handed out.
    pub fn each(&self, mut each: impl FnMut(u64, &[u8])) -> Result<(), ReadError> {
        let mut number = 0;
        let mut hand_out = |entries: &[Vec<u8>]| {
            for entry in entries {
                each(number, entry);
                number += 1;
            }
        };
        for index in 0..self.bundles() {
            hand_out(&self.sealed(index)?);
        }
        hand_out(&self.pending);
        self.check_pending()
    }

    /// Hands entries to `each`, the newest first, until it returns false.
    ///
    /// # Errors
    /// As [`Reader::each`].
    pub fn each_from_newest(&self, mut each: impl FnMut(&[u8]) -> bool) -> Result<(), ReadError> {
        let mut hand_out = |entries: &[Vec<u8>]| entries.iter().rev().all(|entry| each(entry));
        if !hand_out(&self.pending) {
            return self.check_pending();
        }
        for index in (0..self.bundles()).rev() {
            if !hand_out(&self.sealed(index)?) {
                break;
            }
        }
        self.check_pending()
    }

    /// Computes the tree anew from all entries and compares it with every tile and the checkpoint;
    /// `against` is an older checkpoint, whose tree has to be the beginning of it.
    ///
    /// # Errors
    /// The first entry that does not agree, or what else does not.
    pub fn verify(&self, against: Option<Checkpoint>) -> Result<Verified, ReadError> {
        let broken = ReadError::Broken;
        let mut then = None;
        if let Some(older) = &against {
            self.check_origin(older)?;
            then = (older.size == 0).then(|| Tree::default().root());
        }
        let mut tree = Tree::default();
        let mut differing = None;
        for index in 0..self.bundles() {
            let entries = self.sealed(index)?;
            let read = |path: &str| self.folder.read(path);
            let told = hashes(0, index, entries.len(), &read).map_err(broken)?;
            for (entry, told) in entries.iter().zip(told) {
                let hash = leaf_hash(entry);
                if hash != told {
                    let path = tile_path(&stem(0), index, entries.len());
                    return Err(broken(format!(
                        "entry {} is not what was logged: its hash is not that in {path}",
                        tree.size()
                    )));
                }
                tree.push(hash, |level, index, hashes| {
                    differing = differing
                        .take()
                        .or_else(|| self.compare(level, index, hashes));
                });
                if against
                    .as_ref()
                    .is_some_and(|older| older.size == tree.size())
                {
                    then = Some(tree.root());
                }
            }
            if let Some(what) = differing.take() {
                return Err(broken(what));
            }
        }
        for (level, index, hashes) in tree.partial_tiles() {
            differing = differing
                .take()
                .or_else(|| self.compare(level, index, hashes));
        }
        if let Some(what) = differing {
            return Err(broken(what));
        }
        if tree.root() != self.checkpoint.root {
            return Err(broken(format!(
                "entries and tiles agree with each other, and not with {CHECKPOINT}: they were changed together; compare with \
                 an older checkpoint (--against) to narrow it down"
            )));
        }
        if let Some(older) = &against {
            check_beginning(older, then, tree.size())?;
        }
        self.check_pending()?;
        Ok(Verified {
            checkpoint: self.checkpoint.clone(),
            against,
            unsealed: self.pending.len() as u64,
            is_unfinished: self.is_unfinished,
        })
    }

    /// Compares a tile with what it should be; what to say if it is not.
    fn compare(&self, level: usize, index: u64, expected: &[Hash]) -> Option<String> {
        let read = |path: &str| self.folder.read(path);
        match hashes(level, index, expected.len(), &read) {
            Ok(told) if told == expected => None,
            Ok(_) => {
                let path = tile_path(&stem(level), index, expected.len());
                Some(format!(
                    "{path} does not have the hashes of the entries below it"
                ))
            }
            Err(error) => Some(error),
        }
    }

    fn check_pending(&self) -> Result<(), ReadError> {
        let damage = self.damage.clone().map(ReadError::Broken);
        damage.map_or(Ok(()), Err)
    }

    fn check_origin(&self, older: &Checkpoint) -> Result<(), ReadError> {
        if older.origin == self.checkpoint.origin {
            return Ok(());
        }
        Err(ReadError::Broken(format!(
            "that checkpoint is of the log {}, and this is {}",
            older.origin, self.checkpoint.origin
        )))
    }
}
