//! A real disk that fails where a test wants it to.
//!
//! Operations are counted from one, those that only look included; a fault begins at one of them.
//! Syncing is counted and may fail, but syncs nothing: what is on this disk need not outlive the
//! test (`memory` forgets what was not synced).

use super::dir::RealDisk;
use super::disk::{Disk, Node};
use super::layout::Layout;
use rustix::io::Errno;
use std::cell::Cell;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::rc::Rc;
use zeroize::Zeroizing;

/// What happens at the operation that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails, and all later ones do, until the disk is healed.
    Lasting(Errno),
    /// It fails, and no other.
    Once(Errno),
    /// It fails if it changes something, and all later ones that do, until the disk is healed.
    ReadOnly(Errno),
    /// The process ends there: a file that was being written is torn, and nothing happens after.
    Stop,
}

/// The faults of a disk, and what it counted; its clones speak of the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    fault: Rc<Cell<Option<(u64, Fault)>>>,
    operations: Rc<Cell<u64>>,
    is_stopped: Rc<Cell<bool>>,
}

impl Faults {
    /// A fault at this operation.
    pub(crate) fn at(operation: u64, fault: Fault) -> Self {
        let faults = Self::default();
        faults.fault.set(Some((operation, fault)));
        faults
    }

    /// How many operations were asked for so far.
    pub(crate) fn operations(&self) -> u64 {
        self.operations.get()
    }

    /// Whether the fault has begun.
    pub(crate) fn has_begun(&self) -> bool {
        let begins = self.fault.get().map(|(at, _)| at);
        begins.is_some_and(|at| self.operations.get() >= at)
    }

    /// Whether the process is at its end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.get()
    }

    /// Ends the process here.
    pub(crate) fn stop(&self) {
        self.is_stopped.set(true);
    }

    /// Whatever was wrong is over, and does not come again.
    pub(crate) fn heal(&self) {
        self.fault.set(None);
        self.is_stopped.set(false);
    }

    fn step(&self, changes: bool) -> io::Result<()> {
        if self.is_stopped.get() {
            return Err(io::Error::other("the process has ended"));
        }
        let operation = self.operations.get() + 1;
        self.operations.set(operation);
        let Some((at, fault)) = self.fault.get().filter(|(at, _)| operation >= *at) else {
            return Ok(());
        };
        let errno = match fault {
            Fault::Lasting(errno) => errno,
            Fault::Once(errno) if operation == at => errno,
            Fault::ReadOnly(errno) if changes => errno,
            Fault::Once(_) | Fault::ReadOnly(_) => return Ok(()),
            Fault::Stop => {
                self.is_stopped.set(true);
                Errno::IO
            }
        };
        Err(errno.into())
    }
}

/// The disk.
#[derive(Debug)]
pub(crate) struct FaultyDisk(Faults);

/// The store of a prefix on such a disk.
pub(crate) fn store(faults: &Faults, dir: &Path, prefix: &str) -> Layout<FaultyDisk> {
    Layout::new(
        FaultyDisk(faults.clone()),
        dir.to_owned(),
        prefix.to_owned(),
    )
}

impl Disk for FaultyDisk {
    fn create(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let was_stopped = self.0.is_stopped();
        if let Err(error) = self.0.step(true) {
            let is_refused = [Errno::ROFS, Errno::ACCESS].map(|errno| errno.raw_os_error());
            let is_refused = error
                .raw_os_error()
                .is_some_and(|e| is_refused.contains(&e));
            if !was_stopped && !is_refused {
                // Half of it was written when the disk was full or the process ended.
                let _ = RealDisk.create(path, &bytes[..bytes.len() / 2]);
            }
            return Err(error);
        }
        RealDisk.create(path, bytes)
    }

    fn sync_file(&mut self, _path: &Path) -> io::Result<()> {
        self.0.step(true)
    }

    fn sync_dir(&mut self, _dir: &Path) -> io::Result<()> {
        self.0.step(true)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.step(true).and_then(|()| RealDisk.rename(from, to))
    }

    fn symlink(&mut self, target: &Path, link: &Path) -> io::Result<()> {
        self.0
            .step(true)
            .and_then(|()| RealDisk.symlink(target, link))
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.0.step(true).and_then(|()| RealDisk.remove(path))
    }

    fn read(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        self.0.step(false).and_then(|()| RealDisk.read(path))
    }

    fn node(&self, path: &Path) -> io::Result<Option<Node>> {
        self.0.step(false).and_then(|()| RealDisk.node(path))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.step(false).and_then(|()| RealDisk.exists(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.0.step(false).and_then(|()| RealDisk.list(dir))
    }
}
