//! The same cert dir in memory, with faults: for simulation and tests.
//!
//! Fault budget. An operation may fail, with any error, before it changed anything. Power may be
//! lost between any two operations; then names changed since the last sync of the directory may be
//! lost from some point on (in order: later changes never survive earlier ones), and a file whose
//! bytes were not synced comes back empty. Not modelled: bytes that rot after a sync, and disks
//! that lie about syncing.

use super::disk::{Disk, FILE_BYTES_MAX, Node};
use super::layout::Layout;
use super::{CertStore, Opened, PendingRequest, StoreError};
use everleaf_pki::{Chain, Credential, PrivateKey};
use jiff::{Timestamp, civil::DateTime};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Where the files seem to lie.
const DIR: &str = "/cert-dir";
/// A link that leads through more links than this leads nowhere.
const LINKS_MAX: usize = 8;

/// A [`CertStore`] in memory.
#[derive(Debug)]
pub struct MemoryStore {
    layout: Layout<MemoryDisk>,
}

impl MemoryStore {
    /// An empty cert dir for one prefix.
    pub fn new(prefix: &str) -> Self {
        let layout = Layout::new(MemoryDisk::default(), PathBuf::from(DIR), prefix.to_owned());
        Self { layout }
    }

    /// How many disk operations were carried out so far: the crash points of a run.
    pub fn operations(&self) -> u64 {
        self.layout.disk.operations
    }

    /// Lets the next `operations` disk operations succeed; the one after them, and all later ones,
    /// fail as if power had been lost, until [`restart`](Self::restart).
    pub fn lose_power_after(&mut self, operations: u64) {
        self.layout.disk.power_ends = Some(self.layout.disk.operations + operations);
    }

    /// Lets the next `operations` disk operations succeed, and the one after them fail with `kind`.
    pub fn fail_after(&mut self, operations: u64, kind: io::ErrorKind) {
        self.layout.disk.failure = Some((self.layout.disk.operations + operations, kind));
    }

    /// Power is back. Of the names changed since the last sync, the first `kept_names` survive;
    /// bytes that were never synced do not.
    pub fn restart(&mut self, kept_names: usize) {
        self.layout.disk.restart(kept_names);
        self.layout.last_accepted = None;
    }

    /// The names in the cert dir, sorted.
    pub fn names(&self) -> Vec<String> {
        let names = self.layout.disk.names.keys();
        names
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect()
    }
}

impl CertStore for MemoryStore {
    fn load(&mut self, now: Timestamp) -> Result<Opened, StoreError> {
        self.layout.load(now)
    }

    fn put_pending(
        &mut self,
        pending: &PendingRequest,
        key: &PrivateKey,
    ) -> Result<(), StoreError> {
        self.layout.put_pending(pending, key)
    }

    fn update_pending(&mut self, pending: &PendingRequest) -> Result<(), StoreError> {
        self.layout.update_pending(pending)
    }

    fn discard_pending(&mut self) -> Result<(), StoreError> {
        self.layout.discard_pending()
    }

    fn key_uris(&self) -> Result<Vec<String>, StoreError> {
        self.layout.key_uris()
    }

    fn install(&mut self, chain: &Chain, local: DateTime) -> Result<Arc<Credential>, StoreError> {
        self.layout.install(chain, local)
    }

    fn accept(&mut self) -> Result<usize, StoreError> {
        self.layout.accept()
    }

    fn revert(&mut self) -> Result<Arc<Credential>, StoreError> {
        self.layout.revert()
    }
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// Key of the file's bytes.
    File(u64),
    /// Target of a link.
    Link(PathBuf),
}

/// A file's bytes: as written, and as they would survive.
#[derive(Clone, Debug, Default)]
struct Bytes {
    written: Zeroizing<Vec<u8>>,
    is_synced: bool,
}

/// A change of one name.
#[derive(Clone, Debug)]
enum Change {
    Put(PathBuf, Entry),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

/// Files and links in memory.
#[derive(Debug, Default)]
pub(super) struct MemoryDisk {
    files: BTreeMap<u64, Bytes>,
    files_made: u64,
    names: BTreeMap<PathBuf, Entry>,
    synced_names: BTreeMap<PathBuf, Entry>,
    unsynced: Vec<Change>,
    operations: u64,
    power_ends: Option<u64>,
    failure: Option<(u64, io::ErrorKind)>,
}

impl MemoryDisk {
    /// Counts an operation that changes something, and fails it when that was asked for.
    fn step(&mut self) -> io::Result<()> {
        if self.power_ends.is_some_and(|end| self.operations >= end) {
            return Err(io::Error::other("power was lost"));
        }
        self.operations += 1;
        match self.failure {
            Some((at, kind)) if self.operations > at => {
                self.failure = None;
                Err(kind.into())
            }
            _ => Ok(()),
        }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.unsynced.push(change);
    }

    fn restart(&mut self, kept_names: usize) {
        self.power_ends = None;
        for change in self.unsynced.drain(..).take(kept_names) {
            apply(&mut self.synced_names, &change);
        }
        self.names = self.synced_names.clone();
        for file in self.files.values_mut() {
            if !file.is_synced {
                *file = Bytes {
                    written: Zeroizing::default(),
                    is_synced: true,
                };
            }
        }
    }

    /// The bytes that `path` leads to, following links.
    fn resolve(&self, path: &Path) -> Option<u64> {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            match self.names.get(&path)? {
                Entry::File(file) => return Some(*file),
                Entry::Link(target) => path = path.parent()?.join(target),
            }
        }
        None
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Entry>, change: &Change) {
    match change {
        Change::Put(path, entry) => {
            names.insert(path.clone(), entry.clone());
        }
        Change::Remove(path) => {
            names.remove(path);
        }
        Change::Rename(from, to) => {
            if let Some(entry) = names.remove(from) {
                names.insert(to.clone(), entry);
            }
        }
    }
}

impl Disk for MemoryDisk {
    fn create(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let written = Zeroizing::new(bytes.to_vec());
        self.files_made += 1;
        self.files.insert(
            self.files_made,
            Bytes {
                written,
                is_synced: false,
            },
        );
        let entry = Entry::File(self.files_made);
        self.change(Change::Put(path.to_owned(), entry));
        Ok(())
    }

    fn sync_file(&mut self, path: &Path) -> io::Result<()> {
        self.step()?;
        let file = self.resolve(path).ok_or(io::ErrorKind::NotFound)?;
        self.files.entry(file).or_default().is_synced = true;
        Ok(())
    }

    fn sync_dir(&mut self, _dir: &Path) -> io::Result<()> {
        self.step()?;
        self.synced_names = self.names.clone();
        self.unsynced.clear();
        let names = &self.names;
        self.files
            .retain(|file, _| names.values().any(|entry| *entry == Entry::File(*file)));
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        if !self.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn symlink(&mut self, target: &Path, link: &Path) -> io::Result<()> {
        self.step()?;
        if self.names.contains_key(link) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.change(Change::Put(link.to_owned(), Entry::Link(target.to_owned())));
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.step()?;
        if self.names.contains_key(path) {
            self.change(Change::Remove(path.to_owned()));
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        let file = self.resolve(path).ok_or(io::ErrorKind::NotFound)?;
        let bytes = &self
            .files
            .get(&file)
            .ok_or(io::ErrorKind::NotFound)?
            .written;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.clone())
    }

    fn node(&self, path: &Path) -> io::Result<Option<Node>> {
        Ok(self.names.get(path).map(|entry| match entry {
            Entry::File(_) => Node::File,
            Entry::Link(target) => Node::Link(target.clone()),
        }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.resolve(path).is_some())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let names = self.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(names
            .filter_map(|path| path.file_name().map(OsString::from))
            .collect())
    }
}
