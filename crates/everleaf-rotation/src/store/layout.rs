//! The kubelet's cert dir, on any [`Disk`]: names, the update, acceptance, and the pending request.
//!
//! ```text
//! kubelet-client-2026-08-01-10-11-12.pem    leaf, intermediates, key (0600)
//! kubelet-client-current.pem       -> /…/kubelet-client-2026-08-01-10-11-12.pem
//! kubelet-client-updated.pem       -> the next one, for an instant
//! kubelet-client-pending.json,.key    the pending request (0600)
//! .kubelet-client-accepted.pem     -> the last one that the server accepted
//! .<name>.tmp                         files being written
//! ```
//!
//! The hidden names and the pending files are ours; a kubelet looks at none of them. An update
//! differs from client-go's (`util/certificate/certificate_store.go`, `Update`) where that can lose
//! the credential: the file is written under another name, checked and synced before it gets its
//! own; `-current` is replaced by one rename and never absent; two updates in a second get two
//! names.

use super::disk::{Disk, Node};
use super::pending::{self, PendingRequest};
use super::{CertStore, Opened, StoreError};
use everleaf_pki::{CertificateError, Chain, Credential, PrivateKey, pem};
use jiff::{Timestamp, civil::DateTime};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Files that share a second are told apart by a suffix up to this number.
const SUFFIX_MAX: u32 = 1000;
/// How many old files are kept besides the current and the last accepted one.
const KEPT_PREVIOUS: usize = 2;

/// One prefix in one directory.
#[derive(Debug)]
pub(crate) struct Layout<D> {
    pub(super) disk: D,
    pub(super) dir: PathBuf,
    pub(super) prefix: String,
    /// Look-up place 2: a certificate file and a key file, used when both exist.
    pub(super) configured: Option<(PathBuf, PathBuf)>,
    /// The file of the last accepted credential, as of the last load.
    pub(super) last_accepted: Option<PathBuf>,
}

/// What a dated file turned out to hold.
pub(super) enum Content {
    Usable(Credential),
    /// No credential, now and later.
    Unusable,
    /// It could not be read just now: nothing that lasts may follow from that.
    Unread(io::Error),
}

/// A credential file of ours, read and parsed.
pub(super) struct Dated {
    pub(super) path: PathBuf,
    pub(super) credential: Credential,
}

impl<D: Disk> Layout<D> {
    pub(crate) fn new(disk: D, dir: PathBuf, prefix: String) -> Self {
        Self {
            disk,
            dir,
            prefix,
            configured: None,
            last_accepted: None,
        }
    }

    pub(super) fn path(&self, suffix: &str) -> PathBuf {
        self.dir.join(format!("{}{suffix}", self.prefix))
    }

    pub(super) fn current_link(&self) -> PathBuf {
        self.path("-current.pem")
    }

    pub(super) fn updated_link(&self) -> PathBuf {
        self.path("-updated.pem")
    }

    pub(super) fn accepted_link(&self) -> PathBuf {
        self.dir.join(format!(".{}-accepted.pem", self.prefix))
    }

    fn pending_record(&self) -> PathBuf {
        self.path("-pending.json")
    }

    pub(super) fn pending_key(&self) -> PathBuf {
        self.path("-pending.key")
    }

    /// Where `link` points, as an absolute path; `None` when it is no link.
    pub(super) fn target(&self, link: &Path) -> Result<Option<PathBuf>, StoreError> {
        match self.disk.node(link).map_err(failed("look at", link))? {
            Some(Node::Link(target)) => Ok(Some(self.dir.join(target))),
            Some(Node::File) | None => Ok(None),
        }
    }

    pub(super) fn exists(&self, path: &Path) -> Result<bool, StoreError> {
        self.disk.exists(path).map_err(failed("look at", path))
    }

    pub(super) fn read(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        self.disk.read(path).map_err(failed("read", path))
    }

    fn sync_dir(&mut self) -> Result<(), StoreError> {
        self.disk
            .sync_dir(&self.dir)
            .map_err(failed("sync", &self.dir))
    }

    pub(super) fn remove(&mut self, path: &Path) -> Result<(), StoreError> {
        self.disk.remove(path).map_err(failed("remove", path))
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.disk.rename(from, to).map_err(failed("rename", from))?;
        self.sync_dir()
    }

    /// Points `link` at `target` by one rename: the link is never absent.
    fn point(&mut self, link: &Path, target: &Path, through: &Path) -> Result<(), StoreError> {
        self.remove(through)?;
        self.disk
            .symlink(target, through)
            .map_err(failed("create the link", through))?;
        self.rename(through, link)
    }

    /// Points `-current` at `target`, through `-updated`, as a kubelet does.
    pub(super) fn make_current(&mut self, target: &Path) -> Result<(), StoreError> {
        self.check_links()?;
        self.point(&self.current_link(), target, &self.updated_link())
    }

    /// A regular file where a link belongs is somebody's copy: never overwritten.
    fn check_links(&self) -> Result<(), StoreError> {
        for link in [self.current_link(), self.updated_link()] {
            let node = self.disk.node(&link).map_err(failed("look at", &link))?;
            if node == Some(Node::File) {
                return Err(StoreError::NotASymlink { path: link });
            }
        }
        Ok(())
    }

    /// Writes a file so that it appears under its name only when it is whole and durable. `check`
    /// sees what can be read back.
    fn write_whole(
        &mut self,
        path: &Path,
        bytes: &[u8],
        check: impl FnOnce(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = self.dir.join(format!(".{name}.tmp"));
        self.remove(&temporary)?;
        let written = self
            .disk
            .create(&temporary, bytes)
            .and_then(|()| self.disk.sync_file(&temporary))
            .map_err(failed("write", path))
            .and_then(|()| check(&self.read(&temporary)?))
            .and_then(|()| self.rename(&temporary, path));
        if written.is_err() {
            // The first error is the one to tell.
            let _ = self.disk.remove(&temporary);
        }
        written
    }

    /// A name for a new file that nothing has yet.
    fn free_path(&self, local: DateTime) -> Result<PathBuf, StoreError> {
        let stem = dated_stem(&self.prefix, local);
        for suffix in 0..=SUFFIX_MAX {
            let name = match suffix {
                0 => format!("{stem}.pem"),
                _ => format!("{stem}-{suffix}.pem"),
            };
            let path = self.dir.join(name);
            if self
                .disk
                .node(&path)
                .map_err(failed("look at", &path))?
                .is_none()
            {
                return Ok(path);
            }
        }
        let path = self.dir.join(format!("{stem}.pem"));
        Err(failed("find a free name like", &path)(
            io::ErrorKind::AlreadyExists.into(),
        ))
    }

    fn write_credential(&mut self, path: &Path, credential: &Credential) -> Result<(), StoreError> {
        let leaf = credential.leaf().fingerprint();
        self.write_whole(path, credential.to_pem().as_bytes(), |bytes| {
            let read_back = Credential::from_pem(bytes).map_err(StoreError::BadCredential)?;
            if read_back.leaf().fingerprint() == leaf {
                return Ok(());
            }
            Err(failed("read back", path)(io::ErrorKind::InvalidData.into()))
        })
    }

    fn install_at(&mut self, path: &Path, credential: &Credential) -> Result<(), StoreError> {
        let installed = self
            .write_credential(path, credential)
            .and_then(|()| self.make_current(path));
        let is_current = self.target(&self.current_link()).ok().flatten().as_deref() == Some(path);
        if installed.is_err() && !is_current {
            // Nobody knows of it; the first error is the one to tell.
            let _ = self.disk.remove(path);
        }
        installed
    }

    /// Makes a credential from elsewhere current, in a dated file; the file that has it already, if
    /// one does.
    pub(super) fn import(
        &mut self,
        credential: &Credential,
        local: DateTime,
    ) -> Result<PathBuf, StoreError> {
        self.check_links()?;
        let leaf = credential.leaf().fingerprint();
        let there = usable_newest_first(self.dated_files()?)
            .into_iter()
            .find(|dated| dated.credential.leaf().fingerprint() == leaf);
        if let Some(there) = there {
            self.make_current(&there.path)?;
            return Ok(there.path);
        }
        let path = self.free_path(local)?;
        self.install_at(&path, credential)?;
        Ok(path)
    }

    /// Every dated file of this prefix.
    pub(super) fn dated_names(&self) -> Result<Vec<PathBuf>, StoreError> {
        let names = self
            .disk
            .list(&self.dir)
            .map_err(failed("list", &self.dir))?;
        let mut paths: Vec<PathBuf> = names
            .iter()
            .filter_map(|name| name.to_str())
            .filter(|name| is_dated(&self.prefix, name))
            .map(|name| self.dir.join(name))
            .collect();
        paths.sort();
        Ok(paths)
    }

    /// The part of a dated file's name that names a second: later ones are greater.
    pub(super) fn second_of<'a>(&self, path: &'a Path) -> Option<&'a [u8]> {
        let name = path.file_name()?.as_encoded_bytes();
        name.get(..self.prefix.len() + "-YYYY-MM-DD-hh-mm-ss".len())
    }

    /// The same: path, and what it holds.
    pub(super) fn dated_files(&self) -> Result<Vec<(PathBuf, Content)>, StoreError> {
        let files = self.dated_names()?.into_iter().map(|path| {
            let content = match self.disk.read(&path) {
                Ok(bytes) => match credential_in(&bytes) {
                    Ok(credential) => Content::Usable(credential),
                    Err(_) => Content::Unusable,
                },
                Err(error) if is_of_no_use(&error) => Content::Unusable,
                Err(error) => Content::Unread(error),
            };
            (path, content)
        });
        Ok(files.collect())
    }

    fn prune(&mut self) -> Result<usize, StoreError> {
        let current = self.target(&self.current_link())?;
        let accepted = self.target(&self.accepted_link())?;
        let is_kept =
            |path: &Path| Some(path) == current.as_deref() || Some(path) == accepted.as_deref();
        let files = self.dated_files()?;
        let known: Vec<PathBuf> = files
            .iter()
            .filter(|(_, content)| !matches!(content, Content::Unread(_)))
            .map(|(path, _)| path.clone())
            .collect();
        let previous: Vec<PathBuf> = usable_newest_first(files)
            .into_iter()
            .filter(|dated| dated.credential.key().uri().is_none())
            .map(|dated| dated.path)
            .filter(|path| !is_kept(path))
            .take(KEPT_PREVIOUS)
            .collect();
        let mut deleted = 0;
        for path in known {
            if !is_kept(&path) && !previous.contains(&path) {
                self.remove(&path)?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    /// The pending request and its key; an error text when they are there but of no use.
    pub(super) fn read_pending(
        &self,
    ) -> Result<Option<(PendingRequest, PrivateKey)>, PendingError> {
        let record_path = self.pending_record();
        if !self.exists(&record_path)? {
            return Ok(None);
        }
        let record = self.read(&record_path)?;
        let key_path = self.pending_key();
        if !self.exists(&key_path)? {
            return Err(PendingError::Unusable("its key is missing".to_owned()));
        }
        let key = self.read(&key_path)?;
        pending::decode(&record, &key)
            .map(Some)
            .map_err(PendingError::Unusable)
    }

    fn write_record(&mut self, pending: &PendingRequest) -> Result<(), StoreError> {
        let path = self.pending_record();
        let bytes = pending::encode(pending);
        self.write_whole(&path, bytes.as_bytes(), |_| Ok(()))
    }
}

/// Why no pending request was read.
pub(super) enum PendingError {
    Store(StoreError),
    Unusable(String),
}

impl From<StoreError> for PendingError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl<D: Disk> CertStore for Layout<D> {
    fn load(&mut self, now: Timestamp) -> Result<Opened, StoreError> {
        self.recover(now)
    }

    fn put_pending(
        &mut self,
        pending: &PendingRequest,
        key: &PrivateKey,
    ) -> Result<(), StoreError> {
        // Better to say now that the certificate could not be stored than when it is issued.
        self.check_links()?;
        self.discard_pending()?;
        let path = self.pending_key();
        self.write_whole(&path, key.to_pem().as_bytes(), |bytes| {
            pending::read_key(bytes)
                .map(|_| ())
                .map_err(StoreError::Key)
        })?;
        self.write_record(pending)
    }

    fn update_pending(&mut self, pending: &PendingRequest) -> Result<(), StoreError> {
        self.write_record(pending)
    }

    fn discard_pending(&mut self) -> Result<(), StoreError> {
        // The record goes first: a key without a record is no pending request.
        let (record, key) = (self.pending_record(), self.pending_key());
        self.remove(&record)?;
        self.remove(&key)?;
        self.sync_dir()
    }

    fn install(&mut self, chain: &Chain, local: DateTime) -> Result<Arc<Credential>, StoreError> {
        self.check_links()?;
        let path = self.pending_key();
        if !self.exists(&path)? {
            return Err(StoreError::NothingPending);
        }
        let key = pending::read_key(&self.read(&path)?).map_err(StoreError::Key)?;
        let credential = Credential::new(chain.clone(), key).map_err(StoreError::BadCredential)?;
        let path = self.free_path(local)?;
        self.install_at(&path, &credential)?;
        Ok(Arc::new(credential))
    }

    fn accept(&mut self) -> Result<usize, StoreError> {
        if let Some(target) = self.target(&self.current_link())? {
            let link = self.accepted_link();
            if self.target(&link)?.as_ref() != Some(&target) {
                let through = link.with_extension("pem.tmp");
                self.point(&link, &target, &through)?;
            }
            self.last_accepted = Some(target);
        }
        self.prune()
    }

    fn key_uris(&self) -> Result<Vec<String>, StoreError> {
        let mut paths = self.dated_names()?;
        // They may lead out of the directory.
        paths.extend([
            self.current_link(),
            self.updated_link(),
            self.accepted_link(),
        ]);
        let mut uris = Vec::new();
        let mut note = |key: Option<&PrivateKey>| match key.and_then(PrivateKey::uri) {
            Some(uri) if !uris.iter().any(|known| known == uri) => uris.push(uri.to_owned()),
            _ => {}
        };
        for path in paths {
            match self.disk.read(&path) {
                Ok(bytes) => note(credential_in(&bytes).ok().as_ref().map(Credential::key)),
                Err(error) if is_of_no_use(&error) => {}
                Err(error) => return Err(failed("read", &path)(error)),
            }
        }
        let path = self.pending_key();
        if self.exists(&path)? {
            note(pending::read_key(&self.read(&path)?).ok().as_ref());
        }
        Ok(uris)
    }

    fn revert(&mut self) -> Result<Arc<Credential>, StoreError> {
        let Some(path) = self.last_accepted.clone() else {
            return Err(StoreError::NothingToRevert);
        };
        if self.target(&self.current_link())?.as_ref() == Some(&path) {
            return Err(StoreError::NothingToRevert);
        }
        let credential = credential_in(&self.read(&path)?).map_err(StoreError::BadCredential)?;
        self.make_current(&path)?;
        Ok(Arc::new(credential))
    }
}

/// The usable dated files, newest first: by `notBefore`, since names follow a clock that moves.
pub(super) fn usable_newest_first(files: Vec<(PathBuf, Content)>) -> Vec<Dated> {
    let mut usable: Vec<Dated> = files
        .into_iter()
        .filter_map(|(path, content)| match content {
            Content::Usable(credential) => Some(Dated { path, credential }),
            Content::Unusable | Content::Unread(_) => None,
        })
        .collect();
    usable.sort_by(|a, b| {
        let key = |dated: &Dated| dated.credential.leaf().not_before();
        key(b).cmp(&key(a)).then_with(|| b.path.cmp(&a.path))
    });
    usable
}

/// Whether a file that gives this error when it is read holds nothing, now and later: a link that
/// leads nowhere or in a circle, no regular file, or more bytes than any credential has.
pub(super) fn is_of_no_use(error: &io::Error) -> bool {
    let is_loop = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    let kinds = [
        io::ErrorKind::NotFound,
        io::ErrorKind::InvalidInput,
        io::ErrorKind::FileTooLarge,
    ];
    is_loop || kinds.contains(&error.kind())
}

/// The credential in a file of the directory, in whatever encoding it was left.
pub(super) fn credential_in(bytes: &[u8]) -> Result<Credential, CertificateError> {
    Credential::from_pem(pem::legible(bytes).as_bytes())
}

/// `<prefix>-YYYY-MM-DD-hh-mm-ss`.
fn dated_stem(prefix: &str, local: DateTime) -> String {
    format!(
        "{prefix}-{:04}-{:02}-{:02}-{:02}-{:02}-{:02}",
        local.year(),
        local.month(),
        local.day(),
        local.hour(),
        local.minute(),
        local.second()
    )
}

/// Whether `name` is `<prefix>-\d{4}(-\d\d){5}(-\d+)?\.pem`.
fn is_dated(prefix: &str, name: &str) -> bool {
    let Some(date) = name
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|rest| rest.strip_suffix(".pem"))
    else {
        return false;
    };
    let parts: Vec<&str> = date.split('-').collect();
    let widths = [4, 2, 2, 2, 2, 2];
    (parts.len() == widths.len() || parts.len() == widths.len() + 1)
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        && parts
            .iter()
            .zip(widths)
            .all(|(part, width)| part.len() == width)
}

/// Wraps an I/O error with what was tried and on what.
pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_a_kubelet() {
        let local = DateTime::constant(2026, 8, 1, 9, 5, 7, 999_000_000);
        assert_eq!(
            dated_stem("kubelet-client", local),
            "kubelet-client-2026-08-01-09-05-07"
        );
    }

    #[test]
    fn only_dated_names_of_the_prefix_are_ours() {
        let is = |name| is_dated("kubelet-client", name);
        assert!(is("kubelet-client-2026-08-01-09-05-07.pem"));
        assert!(is("kubelet-client-2026-08-01-09-05-07-1.pem"));
        assert!(is("kubelet-client-2026-08-01-09-05-07-12.pem"));
        for other in [
            "kubelet-client-current.pem",
            "kubelet-client-2026-08-01-09-05-07.pem.corrupt-20260801T090507Z",
            "kubelet-client-2026-08-01-09-05-07-.pem",
            "kubelet-client-2026-08-01-09-05.pem",
            "kubelet-client-2026-08-01-09-05-7.pem",
            "kubelet-client-2026-08-01-09-05-07-a.pem",
            "kubelet-client-2026-08-01-09-05-07-1-2.pem",
            "kubelet-server-2026-08-01-09-05-07.pem",
            "my-kubelet-client-2026-08-01-09-05-07.pem",
            "kubelet-client-2026-08-01-09-05-07.key",
            "kubelet-client-pending.key",
        ] {
            assert!(!is(other), "{other}");
        }
    }
}
