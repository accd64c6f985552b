//! A cert dir on a real disk, in the layout of the kubelet (`--cert-dir`).
//!
//! The only module of this crate that touches a disk. [`CertDir`] owns the directory: it is made if
//! absent, and locked, so that two processes never write to it. [`CertDir::store`] gives the store
//! of one prefix (`kubelet-client`, `kubelet-server`) in it.
//!
//! ```
//! use everleaf_rotation::store::{CertStore, dir::CertDir};
//!
//! let home = tempfile::tempdir()?;
//! let cert_dir = CertDir::open(&home.path().join("pki"))?;
//! let mut store = cert_dir.store("kubelet-client");
//! assert!(store.load(jiff::Timestamp::UNIX_EPOCH)?.current.is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![expect(
    clippy::disallowed_methods,
    reason = "this module is where the disk is touched"
)]

use super::disk::{Disk, FILE_BYTES_MAX, Node};
use super::layout::{Layout, failed};
use super::{CertStore, Opened, PendingRequest, StoreError};
use everleaf_pki::{Chain, Credential, PrivateKey};
use jiff::{Timestamp, civil::DateTime};
use rustix::fs::{FlockOperation, flock};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Name of the lock file in a cert dir.
const LOCK_NAME: &str = ".everleaf.lock";

/// A locked cert dir. The lock lasts until this and every store made from it are dropped.
#[derive(Debug)]
pub struct CertDir {
    path: PathBuf,
    lock: Arc<File>,
}

impl CertDir {
    /// Makes the directory (0755, as a kubelet does) if it is absent, and locks it.
    ///
    /// # Errors
    /// `NotAbsolute`; `Locked`, naming the other process; `Io` when the directory cannot be made or
    /// written to.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.is_absolute() {
            return Err(StoreError::NotAbsolute {
                path: path.to_owned(),
            });
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
            .map_err(failed("create the directory", path))?;
        let lock = Arc::new(lock(path)?);
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store of one prefix, such as `kubelet-client`.
    pub fn store(&self, prefix: &str) -> DirStore {
        let layout = Layout::new(RealDisk, self.path.clone(), prefix.to_owned());
        DirStore {
            layout,
            _lock: Arc::clone(&self.lock),
        }
    }

    /// Whether the directory lies on a file system that a reboot empties (tmpfs, ramfs):
    /// certificates would be lost (kubernetes #53288). `None` when that cannot be found out.
    pub fn is_volatile(&self) -> Option<bool> {
        is_volatile(&self.path)
    }
}

/// Whether `path` lies on a file system that a reboot empties (tmpfs, ramfs). `None` when that
/// cannot be found out.
pub fn is_volatile(path: &Path) -> Option<bool> {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    let kind = rustix::fs::statfs(path).ok()?.f_type;
    u64::try_from(kind)
        .ok()
        .map(|kind| kind == TMPFS || kind == RAMFS)
}

/// Whether nobody keeps the cert dir at `path`, found out without a write.
///
/// # Errors
/// `Locked`, naming the other process; `Io`.
pub fn check_free(path: &Path) -> Result<(), StoreError> {
    let lock = path.join(LOCK_NAME);
    match File::open(&lock) {
        // It is free again when the file is closed.
        Ok(mut file) => take(&mut file, FlockOperation::NonBlockingLockShared, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("open the lock", &lock)(error)),
    }
}

/// Takes the lock, or says who holds it. The file stays: removing it would let two processes lock
/// two files of one name.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join(LOCK_NAME);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open the lock", &path))?;
    take(&mut file, FlockOperation::NonBlockingLockExclusive, dir)?;
    let pid = rustix::process::getpid().as_raw_nonzero();
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(format!("{pid}\n").as_bytes()))
        .map_err(failed("write to the lock", &path))?;
    Ok(file)
}

fn take(file: &mut File, how: FlockOperation, dir: &Path) -> Result<(), StoreError> {
    let Err(error) = flock(&*file, how) else {
        return Ok(());
    };
    if error != rustix::io::Errno::WOULDBLOCK {
        return Err(failed("lock", &dir.join(LOCK_NAME))(error.into()));
    }
    let mut pid = String::new();
    let read = file.take(32).read_to_string(&mut pid);
    let pid = read.ok().and_then(|_| pid.trim().parse().ok());
    Err(StoreError::Locked {
        path: dir.to_owned(),
        pid,
    })
}

/// The credentials of one prefix in a [`CertDir`].
#[derive(Debug)]
pub struct DirStore {
    layout: Layout<RealDisk>,
    _lock: Arc<File>,
}

impl DirStore {
    /// Names a certificate file and a key file to be used when there is no `-current`: for the
    /// client the files that the kubeconfig names, for serving `tlsCertFile` and
    /// `tlsPrivateKeyFile`.
    pub fn with_configured_pair(mut self, certificate: &Path, key: &Path) -> Self {
        self.layout.configured = Some((certificate.to_owned(), key.to_owned()));
        self
    }

    /// Makes a credential that was kept elsewhere (inside a kubeconfig, say) current, in a dated
    /// file, and returns that file. Interrupted and done again, it leaves one such file.
    ///
    /// # Errors
    /// `NotASymlink`; `Io`. The old credential stays current then.
    pub fn import(
        &mut self,
        credential: &Credential,
        local: DateTime,
    ) -> Result<PathBuf, StoreError> {
        self.layout.import(credential, local)
    }

    /// The symlink that names the current credential; it is what a kubeconfig should point at.
    pub fn current_path(&self) -> PathBuf {
        self.layout.current_link()
    }
}

impl CertStore for DirStore {
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

/// Reads a regular file of at most `bytes_max` bytes, following links. Never waits: a FIFO that
/// nobody writes to would hold its reader for ever.
///
/// # Errors
/// What the system says; `FileTooLarge`; `InvalidInput`, naming what lies there, when it is no
/// regular file.
pub fn read_file(path: &Path, bytes_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)?;
    let metadata = file.metadata()?;
    if let Some(what) = special(metadata.file_type()) {
        let text = format!("it is a {what}, not a file");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // Reserved at once, so that no copy of a key is left behind by a growing buffer.
    let length = metadata.len();
    if length > bytes_max {
        return Err(too_large(bytes_max));
    }
    let capacity = usize::try_from(length).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(too_large(bytes_max));
    }
    Ok(bytes)
}

/// The refusal of what holds more than `bytes_max` bytes, of kind `FileTooLarge`.
pub fn too_large(bytes_max: u64) -> io::Error {
    let text = format!("it is too large: more than {bytes_max} bytes");
    io::Error::new(io::ErrorKind::FileTooLarge, text)
}

/// What lies there, when it is no regular file; of what a link leads to.
pub fn special(kind: fs::FileType) -> Option<&'static str> {
    match kind {
        _ if kind.is_file() => None,
        _ if kind.is_dir() => Some("directory"),
        _ if kind.is_fifo() => Some("FIFO"),
        _ if kind.is_socket() => Some("socket"),
        _ => Some("device"),
    }
}

/// The real file system.
#[derive(Clone, Copy, Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn create(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        // A umask can only have taken bits away; give the owner's back.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(bytes)
    }

    fn sync_file(&mut self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn symlink(&mut self, target: &Path, link: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, link)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn read(&self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        read_file(path, FILE_BYTES_MAX)
    }

    fn node(&self, path: &Path) -> io::Result<Option<Node>> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_symlink() => Ok(Some(Node::Link(fs::read_link(path)?))),
            Ok(_) => Ok(Some(Node::File)),
            Err(error) if leads_nowhere(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match fs::metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if leads_nowhere(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect()
    }
}

/// Nothing there, or a link in a circle or through a file.
fn leads_nowhere(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.kind() == io::ErrorKind::NotADirectory
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}
