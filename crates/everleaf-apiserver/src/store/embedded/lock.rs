//! Who has the store open: one process, which a second one is told of.

use super::{LOCK_PATIENCE, StoreError};
use rustix::fs::FlockOperation;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

/// File name below the store's directory. It holds the owner's process id, and its time of change
/// is when that process opened the store.
const FILE_NAME: &str = "lock";
/// What is read of it.
const TEXT_MAX: u64 = 64;
/// How often it is tried again while a predecessor may be closing.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// The lock; the kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "it is held, not read")] File);

impl Lock {
    /// Takes the lock of `directory`. A predecessor that is closing, or somebody who asks for its
    /// owner at that very moment, is waited for: half a second, as for SQLite's own locks.
    ///
    /// # Errors
    /// Another process has it, or the file cannot be written.
    pub(super) fn take(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE_NAME);
        let unreachable = |error: std::io::Error| StoreError::Unreachable {
            path: path.display().to_string(),
            what: error.to_string(),
        };
        let mut file = open(&path).map_err(unreachable)?;
        let mut waited = Duration::ZERO;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::WOULDBLOCK) if waited < LOCK_PATIENCE => {
                    std::thread::sleep(TRY_AGAIN);
                    waited += TRY_AGAIN;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(StoreError::InUse {
                        path: directory.display().to_string(),
                        holder: text(&file),
                    });
                }
                Err(error) => return Err(unreachable(error.into())),
            }
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(unreachable)?;
        Ok(Self(file))
    }
}

/// Who has the store in `directory` open; None: nobody.
pub(super) fn holder(directory: &Path) -> Option<String> {
    let file = File::open(directory.join(FILE_NAME)).ok()?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => Some(text(&file)),
        _ => None,
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Process and time, as far as the file tells.
fn text(file: &File) -> String {
    let mut pid = String::new();
    let _ = file.take(TEXT_MAX).read_to_string(&mut pid);
    let since = file.metadata().and_then(|meta| meta.modified()).ok();
    let since = since.and_then(|time| jiff::Timestamp::try_from(time).ok());
    match (pid.trim(), since) {
        ("", _) => "another process".to_owned(),
        (pid, Some(since)) => format!("process {pid} (since {since:.0})"),
        (pid, None) => format!("process {pid}"),
    }
}
