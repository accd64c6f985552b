//! Where credentials and the pending request are kept.
//!
//! [`CertStore`] is what the machine's effects need of a store. [`dir`] keeps the exact layout of a
//! kubelet's cert dir on a real disk. With the feature `testing` there are `memory`, which keeps
//! the same files in memory, with faults, for simulation and tests, and `conformance`, the list
//! that both pass.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod dir;
mod disk;
#[cfg(test)]
pub(crate) mod faulty;
pub(crate) mod layout;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
pub mod pending;
mod recovery;

#[cfg(test)]
mod tests;

use crate::event::{Loaded, Sources};
use everleaf_pki::{Chain, Credential, PrivateKey};
use jiff::{Timestamp, civil::DateTime};
use std::path::PathBuf;
use std::sync::Arc;

pub use pending::{PendingRequest, RequestName, RequestUid};

/// Keeps one certificate's credentials: current, last accepted, older ones, and the pending
/// request.
///
/// Every operation is durable when it returns, and atomic: interrupted at any point, the next
/// [`load`](CertStore::load) finds either the old or the new state, never none.
pub trait CertStore {
    /// Recovers (unfinished swap, dangling link, corrupt file) and reads everything. Never fails
    /// because a file is corrupt: that is quarantined and reported as a [`Finding`].
    fn load(&mut self, now: Timestamp) -> Result<Opened, StoreError>;

    /// Persists a request and its key, before the request leaves the node. Replaces any earlier
    /// one.
    fn put_pending(&mut self, pending: &PendingRequest, key: &PrivateKey)
    -> Result<(), StoreError>;

    /// Replaces the record of the pending request (its UID became known); the key stays.
    fn update_pending(&mut self, pending: &PendingRequest) -> Result<(), StoreError>;

    /// Removes the pending request and its key. Nothing to remove is no error.
    fn discard_pending(&mut self) -> Result<(), StoreError>;

    /// Joins `chain` with the pending key, and makes it current. The pending request stays until
    /// [`discard_pending`](CertStore::discard_pending). On any error the old credential stays
    /// current.
    ///
    /// `local` names the file (kubelet: local time, whole seconds, no zone); it decides nothing.
    fn install(&mut self, chain: &Chain, local: DateTime) -> Result<Arc<Credential>, StoreError>;

    /// Records that the server accepted the current credential, then deletes old files except
    /// current, the last accepted one and the two newest others whose keys are in their files (a
    /// token has little room). Returns how many were deleted.
    fn accept(&mut self) -> Result<usize, StoreError>;

    /// Where the keys are that files of this store name and do not hold: those of the current, the
    /// last accepted and every older certificate, and of the pending request. Nobody may delete
    /// them. An error when any of these files cannot be read now.
    fn key_uris(&self) -> Result<Vec<String>, StoreError>;

    /// Makes the last accepted credential current again, and returns it.
    fn revert(&mut self) -> Result<Arc<Credential>, StoreError>;
}

/// What [`CertStore::load`] found.
#[derive(Debug, Default)]
pub struct Opened {
    /// The current credential, expired or not.
    pub current: Option<Arc<Credential>>,
    /// No file of another certificate lies beside it: it is the first.
    pub is_first: bool,
    /// The last accepted one; for a directory that does not record it (a kubelet's), the newest
    /// other one that our clock does not call expired.
    pub last_accepted: Option<Arc<Credential>>,
    /// The pending request, if its record and key are whole and match.
    pub pending: Option<PendingRequest>,
    /// What recovery did.
    pub findings: Vec<Finding>,
}

impl Opened {
    /// The machine's view of it: leaves only, no keys.
    pub fn loaded(&self, sources: Sources) -> Loaded {
        Loaded {
            current: self
                .current
                .as_ref()
                .map(|credential| credential.leaf().clone()),
            is_first: self.is_first,
            last_accepted: self
                .last_accepted
                .as_ref()
                .map(|credential| credential.leaf().clone()),
            pending: self.pending.clone(),
            findings: self.findings.clone(),
            sources,
        }
    }
}

/// Something that recovery met and dealt with; an operator should hear of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// `-updated` was left over by an interrupted update and was put in place.
    FinishedSwap {
        /// The file now current.
        target: PathBuf,
    },
    /// A file cannot be used, and could not be set aside or replaced either.
    NotRepaired {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The current file could not be used; it was set aside.
    Quarantined {
        /// What was wrong with it.
        reason: String,
        /// Where it lies now.
        moved_to: PathBuf,
    },
    /// A file of somebody's lies where a link belongs. It is never overwritten, so that no new
    /// certificate can take its place.
    NotALink {
        /// The file.
        path: PathBuf,
    },
    /// `-current` pointed at nothing usable; it was pointed at the newest usable file.
    Relinked {
        /// The file now current.
        target: PathBuf,
    },
    /// The pending record or its key was unreadable, and is treated as absent.
    UnusablePending {
        /// What was wrong with it.
        reason: String,
    },
}

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The chain does not belong to the pending key.
    #[error("the issued certificate cannot be joined with the pending key")]
    BadCredential(#[source] everleaf_pki::CertificateError),
    /// The operating system refused.
    #[error("cannot {action} {}{}", .path.display(), advice(.source))]
    Io {
        /// `write`, `rename`, …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Its reason.
        #[source]
        source: std::io::Error,
    },
    /// A key could not be made or read.
    #[error("cannot make or use a private key")]
    Key(#[source] everleaf_pki::KeyError),
    /// Another process keeps this directory.
    #[error(
        "{} is in use by another process{}; two writers must not share a cert dir: stop the other one, or choose another directory",
        .path.display(),
        .pid.as_ref().map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who holds it, when it says so.
        pid: Option<u32>,
    },
    /// What lies where a certificate belongs is no file.
    #[error(
        "cannot read {}: {what}; move it away, and link the newest certificate in its place (without one, the first is asked for again)",
        .path.display()
    )]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// A relative directory: links and kubeconfigs need absolute paths.
    #[error("{} is not an absolute path", .path.display())]
    NotAbsolute {
        /// The directory as given.
        path: PathBuf,
    },
    /// There is no last accepted credential to go back to.
    #[error("there is no earlier accepted credential to go back to")]
    NothingToRevert,
    /// No pending key is stored.
    #[error("there is no pending request whose key could be joined with the certificate")]
    NothingPending,
    /// A regular file is where a symlink belongs.
    #[error(
        "{} must be a symlink but is a regular file (files copied without keeping links?): move it away, then it is linked to the newest usable certificate",
        .path.display()
    )]
    NotASymlink {
        /// The file.
        path: PathBuf,
    },
}

/// What an operator can do about an I/O error.
fn advice(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            "; free some space, the old certificate stays in use meanwhile"
        }
        std::io::ErrorKind::ReadOnlyFilesystem => {
            "; the cert dir must be writable, the old certificate stays in use meanwhile"
        }
        std::io::ErrorKind::PermissionDenied => {
            "; run as the owner of the cert dir, the old certificate stays in use meanwhile"
        }
        _ => "",
    }
}
