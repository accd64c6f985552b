//! The few things that a log does to a disk.
//!
//! Owns what durable means: [`Disk::write`] and [`Disk::append`] return when the bytes are on the
//! disk, [`Disk::sync_directory`] when the names are. It knows no format. Paths are relative to the
//! log's directory, with `/`.

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// See the module documentation.
pub trait Disk {
    /// The whole file.
    ///
    /// # Errors
    /// `NotFound` among others.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
    /// What the log's directory has.
    ///
    /// # Errors
    /// What the system says.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Makes or replaces a file; not at once, and its name is durable only with its directory.
    ///
    /// # Errors
    /// What the system says.
    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Adds to a file that exists.
    ///
    /// # Errors
    /// What the system says: then nobody knows how much of it is on the disk.
    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Renames at once, in place of what was there.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Makes a directory, unless it is there.
    ///
    /// # Errors
    /// What the system says.
    fn make_directory(&mut self, path: &str) -> io::Result<()>;
    /// Makes the names in a directory durable; the log's own is empty.
    ///
    /// # Errors
    /// What the system says.
    fn sync_directory(&mut self, path: &str) -> io::Result<()>;
    /// Removes a directory and all in it.
    ///
    /// # Errors
    /// What the system says.
    fn remove_directory(&mut self, path: &str) -> io::Result<()>;
}

/// A file that is locked as long as its log is open.
pub(super) const LOCK: &str = "lock";

/// The directory of a log, to read in. Takes no lock.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// This directory, which need not exist.
    pub fn new(root: &Path) -> Self {
        let root = root.to_owned();
        Self { root }
    }

    /// Makes it, for the owner alone, when it is absent, and locks it.
    ///
    /// # Errors
    /// When it cannot be made or locked, and when another process has it.
    pub fn lock(root: &Path) -> io::Result<Locked> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(root)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(root.join(LOCK))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::other(
                "another process writes this log; a log has one writer, give each its own directory",
            )),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(Locked {
                folder: Self::new(root),
                lock,
            }),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

/// The directory of a log, of which this process is the one writer.
#[derive(Debug)]
pub struct Locked {
    folder: Folder,
    /// Released by the kernel when the process ends, however it ends.
    lock: File,
}

impl Locked {
    /// Where to write, as long as the directory is the one that is locked: another may have taken
    /// its place, moved there or come to light below a volume that is not mounted any more.
    fn path(&self, path: &str) -> io::Result<PathBuf> {
        let (found, ours) = (fs::metadata(self.folder.path(LOCK))?, self.lock.metadata()?);
        match (found.dev(), found.ino()) == (ours.dev(), ours.ino()) {
            true => Ok(self.folder.path(path)),
            false => Err(io::Error::other(
                "another directory is in the place of the one that was locked",
            )),
        }
    }
}

impl Folder {
    /// The whole file.
    ///
    /// # Errors
    /// `NotFound` among others.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let path = self.path(path);
        // What is no file may never answer.
        if !fs::metadata(&path)?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        fs::read(path)
    }

    /// What is in it.
    ///
    /// # Errors
    /// `NotFound` among others.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
        };
        fs::read_dir(&self.root)?.map(name).collect()
    }
}

impl Disk for Locked {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.folder.read(path)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.folder.names()
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(self.path(path)?)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn append(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(self.path(path)?)?;
        file.write_all(bytes)?;
        file.sync_data()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from)?, self.path(to)?)
    }

    fn make_directory(&mut self, path: &str) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(self.path(path)?) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    fn sync_directory(&mut self, path: &str) -> io::Result<()> {
        File::open(self.path(path)?)?.sync_all()
    }

    fn remove_directory(&mut self, path: &str) -> io::Result<()> {
        fs::remove_dir_all(self.path(path)?)
    }
}
