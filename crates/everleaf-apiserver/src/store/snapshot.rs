//! A snapshot: all objects of a store at one revision, as lines of JSON.
//!
//! ```text
//! {"format":"everleaf store snapshot","version":1,"everleaf":"0.1.0","time":"…","revision":42}
//! {"key":"/registry/…","revision":7,"created":7,"value":"<base64>","crc32":123}
//! …
//! {"objects":1,"bytes":512,"skipped":0,"sha256":"<of all lines before>"}
//! ```
//!
//! It can be written to a pipe, since nothing at its beginning depends on its end; one that was cut
//! off has no last line.

use super::embedded::{Reader, Rows, checksum_of};
use super::{Change, KEY_PREFIX, StoreError};
use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::io::{self, BufRead, Read as _, Write};

/// What the first line says that it is.
const FORMAT: &str = "everleaf store snapshot";
/// Version of the format.
const VERSION: u32 = 1;
/// Longest line: more than the base64 of what a server takes as one object.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Longest first line.
const HEADER_BYTES_MAX: u64 = 64 << 10;
/// Damaged records that are named.
const DAMAGED_MAX: usize = 100;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Always the same.
    format: String,
    /// Of the format.
    version: u32,
    /// Version of the program that wrote it.
    pub everleaf: String,
    /// When it was written, RFC 3339.
    pub time: String,
    /// Revision of the store.
    pub revision: u64,
}

impl Header {
    /// Of a snapshot that `everleaf` (a version) makes at `time`.
    pub fn new(everleaf: &str, time: jiff::Timestamp, revision: u64) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            everleaf: everleaf.to_owned(),
            time: time.to_string(),
            revision,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Record {
    key: String,
    revision: u64,
    created: u64,
    value: String,
    crc32: u32,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trailer {
    /// How many objects.
    pub objects: u64,
    /// Bytes of their stored forms.
    pub bytes: u64,
    /// Damaged records that were left out.
    pub skipped: u64,
    /// Of all bytes before this line, hexadecimal.
    pub sha256: String,
}

/// What a snapshot is.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Its first line.
    pub header: Header,
    /// Its last line.
    pub trailer: Trailer,
    /// Damage, in words: of the snapshot that was read, or what was skipped of the store.
    pub damaged: Vec<String>,
}

/// Why a snapshot cannot be made, or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The store.
    #[error(transparent)]
    Store(StoreError),
    /// It cannot be written.
    #[error("cannot write the snapshot: {0}")]
    Write(io::Error),
    /// It cannot be read.
    #[error("cannot read the snapshot: {0}")]
    Read(io::Error),
    /// It is something else.
    #[error("this is no snapshot of `everleaf store snapshot`: {0}")]
    Foreign(String),
    /// It is of a later version.
    #[error(
        "the snapshot is in version {0} of its format, and this program reads version {VERSION}; use the program that wrote it, or a newer one"
    )]
    Newer(u32),
    /// What was to be left out is not there.
    #[error(
        "the store has no {0}, which was to be left out; `everleaf store stat` and the server's log name what there is"
    )]
    NoSuchKey(String),
    /// It is damaged.
    #[error("the snapshot is damaged, and nothing was restored: {}", .0.join("; "))]
    Damaged(Vec<String>),
    /// There is something in the etcd that is not of this store.
    #[error(
        "the etcd holds {0}, which is not in the store, or another one there; move into an etcd with nothing under its --etcd-prefix, or name another prefix"
    )]
    Occupied(String),
    /// A value cannot be read under another key.
    #[error(
        "{key} is encrypted by aesgcm, which binds it to its key under /registry: it could not be read under {prefix}; have it written anew by another provider, or move to --etcd-prefix /registry"
    )]
    Bound {
        /// Key.
        key: String,
        /// `--etcd-prefix`
        prefix: String,
    },
    /// Both sides are not the same in the end.
    #[error(
        "{0} is not the same on both sides: something writes; stop all API servers, and begin again"
    )]
    Differs(String),
    /// The etcd is too far behind.
    #[error(
        "the store is at revision {revision}, and the etcd at {latest}: too far to be raised; make the etcd with `etcdutl snapshot restore --bump-revision {revision} --mark-compacted`, and begin again"
    )]
    TooFar {
        /// Of the store.
        revision: u64,
        /// Of the etcd.
        latest: u64,
    },
    /// There is a store already.
    #[error("{0} holds a store already; restore into an empty directory")]
    NotEmpty(String),
    /// Revisions would become too high.
    #[error("the revision would be above {0}; choose a smaller --bump-revision")]
    Bump(u64),
}

/// What is not written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Omission<'a> {
    /// Damaged records, of which one else ends it.
    pub damaged: bool,
    /// The objects with these keys, which must be there.
    pub keys: &'a [String],
}

/// Counts and sums what is written.
struct Summed<'a> {
    out: &'a mut dyn Write,
    sum: Context,
}

impl Summed<'_> {
    fn line(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(value).map_err(|error| Failure::Write(error.into()))?;
        line.push(b'\n');
        self.sum.update(&line);
        self.out.write_all(&line).map_err(Failure::Write)
    }
}

/// Writes what is there at `reader`'s instant, but for what is to be left out.
///
/// # Errors
/// The store is damaged or cannot be read; `out` fails.
pub fn write(
    reader: &Reader,
    header: Header,
    omission: Omission<'_>,
    out: &mut dyn Write,
) -> Result<Summary, Failure> {
    let sum = Context::new(&SHA256);
    let mut summed = Summed { out, sum };
    summed.line(&header)?;
    let (mut objects, mut bytes, mut skipped) = (0, 0, 0);
    let mut left_out = HashSet::new();
    let mut damaged = Vec::new();
    reader.rows::<Failure>(Rows::Alive, &mut |row| {
        let is_whole = row.is_whole();
        let change = row.change;
        if omission.keys.contains(&change.key) {
            left_out.insert(change.key);
            return Ok(());
        }
        if !is_whole && !omission.damaged {
            return Err(Failure::Store(StoreError::Damaged {
                path: reader.path().display().to_string(),
                key: change.key,
                revision: change.revision,
            }));
        }
        if !is_whole {
            skipped += 1;
            if damaged.len() < DAMAGED_MAX {
                damaged.push(format!("{} at revision {}", change.key, change.revision));
            }
            return Ok(());
        }
        let kept = kept(change);
        let value = kept.value.as_deref().unwrap_or_default();
        objects += 1;
        bytes += value.len() as u64;
        summed.line(&Record {
            value: STANDARD.encode(value),
            crc32: checksum_of(&kept),
            revision: kept.revision,
            created: kept.created,
            key: kept.key,
        })
    })?;
    if let Some(key) = omission.keys.iter().find(|key| !left_out.contains(*key)) {
        return Err(Failure::NoSuchKey(key.clone()));
    }
    let Summed { out, sum } = summed;
    let trailer = Trailer {
        objects,
        bytes,
        skipped,
        sha256: hex(sum.finish().as_ref()),
    };
    let mut line = serde_json::to_vec(&trailer).map_err(|error| Failure::Write(error.into()))?;
    line.push(b'\n');
    out.write_all(&line)
        .and_then(|()| out.flush())
        .map_err(Failure::Write)?;
    Ok(Summary {
        header,
        trailer,
        damaged,
    })
}

/// A change without its history.
fn kept(mut change: Change) -> Change {
    change.replaces = 0;
    change
}

/// Whether what is read begins as a snapshot does, of any version.
///
/// # Errors
/// It cannot be read.
pub fn begins(input: &mut dyn BufRead) -> io::Result<bool> {
    let mut line = Vec::new();
    input.take(HEADER_BYTES_MAX).read_until(b'\n', &mut line)?;
    let header: Option<Begin> = serde_json::from_slice(&line).ok();
    Ok(header.is_some_and(|header| header.format == FORMAT))
}

/// What the first line says in each version.
#[derive(Deserialize)]
struct Begin {
    format: String,
}

/// Reads a snapshot: `visit` gets each whole record, in the order of the revisions; what is damaged
/// is named in the summary.
///
/// # Errors
/// It is none, of a later version, cannot be read, or what `visit` says.
pub fn read(
    input: &mut dyn BufRead,
    visit: &mut dyn FnMut(Change) -> Result<(), Failure>,
) -> Result<Summary, Failure> {
    let mut lines = Lines::new(input);
    let first = lines.next()?;
    let foreign = || Failure::Foreign("its first line is another one".to_owned());
    let header: Header = first
        .and_then(|line| serde_json::from_slice(&line).ok())
        .filter(|header: &Header| header.format == FORMAT)
        .ok_or_else(foreign)?;
    if header.version != VERSION {
        return Err(Failure::Newer(header.version));
    }
    let mut judge = Judge::new(header.revision);
    let mut damaged = Damaged::default();
    let trailer = loop {
        let (number, offset) = (lines.number + 1, lines.offset);
        let sum = lines.sum.clone();
        let Some(line) = lines.next()? else {
            damaged.note(format!(
                "it ends after line {} without its last one: it was cut off",
                lines.number
            ));
            break None;
        };
        if let Ok(trailer) = serde_json::from_slice::<Trailer>(&line) {
            if trailer.sha256 != hex(sum.finish().as_ref()) {
                damaged.note("its SHA-256 is another one".to_owned());
            }
            break Some(trailer);
        }
        match judge.record(&line) {
            Ok(change) => visit(change)?,
            Err(what) => damaged.note(format!("line {number} (byte {offset}): {what}")),
        }
    };
    if trailer.is_some() && lines.next()?.is_some() {
        damaged.note("something follows its last line".to_owned());
    }
    let counted = (judge.objects, judge.bytes);
    if let Some(trailer) = &trailer
        && (trailer.objects, trailer.bytes) != counted
        && damaged.0.is_empty()
    {
        damaged.note(format!(
            "it says that it holds {} objects, and holds {}",
            trailer.objects, counted.0
        ));
    }
    let none = || Trailer {
        objects: counted.0,
        bytes: counted.1,
        skipped: 0,
        sha256: String::new(),
    };
    Ok(Summary {
        header,
        trailer: trailer.unwrap_or_else(none),
        damaged: damaged.0,
    })
}

#[derive(Default)]
struct Damaged(Vec<String>);

impl Damaged {
    fn note(&mut self, what: String) {
        if self.0.len() < DAMAGED_MAX {
            self.0.push(what);
        }
    }
}

/// What records must be among each other.
struct Judge {
    revision: u64,
    last: u64,
    keys: HashSet<String>,
    objects: u64,
    bytes: u64,
}

impl Judge {
    fn new(revision: u64) -> Self {
        Self {
            revision,
            last: 0,
            keys: HashSet::new(),
            objects: 0,
            bytes: 0,
        }
    }

    fn record(&mut self, line: &[u8]) -> Result<Change, String> {
        let record: Record =
            serde_json::from_slice(line).map_err(|_| "it is no record".to_owned())?;
        let key = record.key;
        let value = STANDARD
            .decode(&record.value)
            .map_err(|_| format!("the value of {key} is no base64"))?;
        let change = Change {
            revision: record.revision,
            key,
            value: Some(Bytes::from(value)),
            created: record.created,
            replaces: 0,
        };
        if checksum_of(&change) != record.crc32 {
            let (key, revision) = (change.key, change.revision);
            return Err(format!(
                "{key} at revision {revision} does not match its checksum"
            ));
        }
        let is_in_order = self.last < change.revision
            && change.revision <= self.revision
            && (1..=change.revision).contains(&change.created);
        if !is_in_order || !change.key.starts_with(KEY_PREFIX) {
            let (key, revision) = (change.key, change.revision);
            return Err(format!("{key} at revision {revision} cannot be there"));
        }
        if !self.keys.insert(change.key.clone()) {
            return Err(format!("{} is there twice", change.key));
        }
        self.last = change.revision;
        self.objects += 1;
        self.bytes += change.value.as_ref().map_or(0, Bytes::len) as u64;
        Ok(change)
    }
}

/// Lines of bounded length, with what they sum up to.
struct Lines<'a> {
    input: &'a mut dyn BufRead,
    sum: Context,
    number: u64,
    offset: u64,
}

impl<'a> Lines<'a> {
    fn new(input: &'a mut dyn BufRead) -> Self {
        let sum = Context::new(&SHA256);
        Self {
            input,
            sum,
            number: 0,
            offset: 0,
        }
    }

    /// The next one; None at the end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut line = Vec::new();
        let most = LINE_BYTES_MAX as u64;
        let mut bounded = (&mut *self.input).take(most);
        bounded
            .read_until(b'\n', &mut line)
            .map_err(Failure::Read)?;
        if line.len() == LINE_BYTES_MAX {
            let what = format!("line {} is longer than {most} bytes", self.number + 1);
            return Err(Failure::Foreign(what));
        }
        if line.is_empty() {
            return Ok(None);
        }
        self.sum.update(&line);
        self.number += 1;
        self.offset += line.len() as u64;
        Ok(Some(line))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
