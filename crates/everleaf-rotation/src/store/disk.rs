//! The few disk operations that a cert dir needs, so that the same layout runs on a real disk and
//! in memory, and a test can stop after each of them.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A certificate file larger than this is not one.
pub(crate) const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What lies at a path, without following links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A regular file (or anything else that is no link).
    File,
    /// A symlink and the text in it.
    Link(PathBuf),
}

/// Operations on one directory and what it links to. Each changing one is a step at which power may
/// be lost.
pub(crate) trait Disk {
    /// Creates a new file, mode 0600 under any umask, and writes all of `bytes`. An existing path
    /// is an error.
    fn create(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Makes the bytes of a file durable.
    fn sync_file(&mut self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&mut self, dir: &Path) -> io::Result<()>;
    /// Renames atomically, over whatever is there.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Creates a symlink. An existing path is an error.
    fn symlink(&mut self, target: &Path, link: &Path) -> io::Result<()>;
    /// Removes a file or link; nothing there is no error.
    fn remove(&mut self, path: &Path) -> io::Result<()>;

    /// Reads a whole file, following links; an error when it is larger than [`FILE_BYTES_MAX`].
    fn read(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>>;
    /// What lies at `path`, without following links.
    fn node(&self, path: &Path) -> io::Result<Option<Node>>;
    /// Whether `path` leads to a file, following links.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// The names in a directory, in any order.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;
}
