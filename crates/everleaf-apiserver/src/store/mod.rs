//! Where committed changes are kept: a revision log.
//!
//! A store owns durability and the order: it judges [transactions](Txn), numbers those that it
//! accepts, and tells every change, whoever made it, in the order of the revisions. It does not
//! know what a resource means; the [writer](crate::writer) is its only caller. Keys and values are
//! those of kube-apiserver on etcd (`/registry/<resource>[/<namespace>]/<name>`, `k8s\0` protobuf),
//! so that state can move.
//!
//! ```text
//! revision   key                                      value      created  replaces
//!        7   /registry/secrets/kube-system/a          k8s\0…           7         0
//!        8   /registry/secrets/kube-system/a          k8s\0…           7         7
//!        9   /registry/secrets/kube-system/a          (tombstone)      7         8
//! ```

#[cfg(test)]
mod conformance;
mod embedded;
mod etcd;
mod index;
mod memory;
pub mod migrate;
pub mod snapshot;
mod upstream;

use bytes::Bytes;
use std::sync::Arc;

pub use embedded::{Embedded, Figures, Reader, Row, Rows};
pub use etcd::{Etcd, EtcdConfig};
pub use memory::Memory;
pub use upstream::Upstream;

use index::Index;

/// The prefix of every key, as kube-apiserver's default `--etcd-prefix`.
pub const KEY_PREFIX: &str = "/registry/";

/// One line of the log: one change of one key. Each change has its own revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Position in the log; the object's resource version.
    pub revision: u64,
    /// Full key.
    pub key: String,
    /// New value; None deletes the key.
    pub value: Option<Bytes>,
    /// Revision at which this incarnation of the key was created.
    pub created: u64,
    /// Revision this change supersedes; 0 when the key was absent.
    pub replaces: u64,
}

/// A change that somebody wants of one key, and what must hold for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txn {
    /// Full key.
    pub key: String,
    /// Revision of the key's last change; 0: there is no such key.
    pub follows: u64,
    /// New value; None deletes the key.
    pub value: Option<Bytes>,
    /// Seconds after which a store that can do so deletes the key by itself; 0: never.
    pub ttl_s: u32,
}

#[cfg(test)]
impl Txn {
    /// The transaction that comes to a change.
    pub(crate) fn of(change: &Change) -> Self {
        Self {
            key: change.key.clone(),
            follows: change.replaces,
            value: change.value.clone(),
            ttl_s: 0,
        }
    }
}

/// What a transaction came to: the revision of its change, or why there is none.
pub type Verdict = Result<u64, Rejection>;

/// Why a transaction was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// Something else holds than it says.
    Conflict {
        /// Revision of the key's last change; 0: there is no such key.
        present: u64,
    },
    /// The store failed at this one.
    Failed(StoreError),
}

/// Where a log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Revision of the last change ever committed; 0 for an empty log. Survives compaction.
    pub revision: u64,
    /// History is complete above this revision: every change after it is still in the log.
    pub floor: u64,
}

/// Why a store cannot be opened, read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the log open.
    #[error(
        "the data directory is in use: {path} is locked by {holder}; stop it, or choose another directory"
    )]
    InUse {
        /// File or directory.
        path: String,
        /// By whom, and since when.
        holder: String,
    },
    /// The file is something else.
    #[error("{path} is not an Everleaf store ({found}); move it away, or choose another directory")]
    Foreign {
        /// File.
        path: String,
        /// What was found instead.
        found: String,
    },
    /// The file was written by a later version.
    #[error(
        "{path} was written by a newer version (layout {found}, this one reads up to {known}); start that version, or put a copy of the directory from before back"
    )]
    Newer {
        /// File.
        path: String,
        /// Layout number found.
        found: i64,
        /// Layout number known.
        known: i64,
    },
    /// The file is damaged.
    #[error("{path} is damaged: {what}; nothing was changed; put a copy of its directory back")]
    Corrupt {
        /// File.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// A record is not what was written.
    #[error(
        "{path} is damaged: the record of {key} at revision {revision} does not match its checksum; nothing was changed; put a backup back, or save all that is whole with `everleaf store snapshot --skip-damaged` and restore that"
    )]
    Damaged {
        /// File.
        path: String,
        /// Key of the object.
        key: String,
        /// Revision of the record.
        revision: u64,
    },
    /// No space is left; nothing of the batch was written. Later batches may succeed.
    #[error("no space is left for the store; nothing was written; free some space and try again")]
    NoSpace,
    /// The store is as large as it may be. Deletes go on, and updates that make nothing longer.
    #[error(
        "the store's space is exceeded: it has {used} bytes, and --storage-quota-bytes allows {quota}; delete what is not needed, or raise the quota; deletes and updates that do not make an object longer go on"
    )]
    QuotaExceeded {
        /// Bytes in use.
        used: u64,
        /// Bytes allowed.
        quota: u64,
    },
    /// The file system is nearly full. Deletes go on, and updates that make nothing longer.
    #[error(
        "there is little space left for the store: {free} bytes are free on its disk, and {min} are kept free; make room there; deletes and updates that do not make an object longer go on"
    )]
    DiskNearlyFull {
        /// Bytes that are free.
        free: u64,
        /// Bytes that are to stay free.
        min: u64,
    },
    /// The disk failed while writing; whether the batch reached it is unknown, so the store
    /// refuses every further batch until it is opened again.
    #[error("the store failed and takes no more writes until the server is restarted: {what}")]
    Failed {
        /// What happened.
        what: String,
    },
    /// The store is elsewhere and does not answer; nothing was written.
    #[error("the store cannot be used: {what}; it is tried again and again")]
    Unavailable {
        /// What happened.
        what: String,
    },
    /// The store is elsewhere and did not answer to a write, which may have been done.
    #[error("it is not known whether this was written: {what}; read it, and try again")]
    Unknown {
        /// What happened.
        what: String,
    },
    /// The store is elsewhere and has changes that it has not told of in time.
    #[error("the store does not tell its changes in time; try again")]
    Behind,
    /// The changes after those that were told are forgotten: what is there has to be listed.
    #[error("the store has forgotten changes that it had not told of")]
    Compacted,
    /// The directory or file cannot be opened.
    #[error("cannot open the store at {path}: {what}")]
    Unreachable {
        /// File or directory.
        path: String,
        /// What happened.
        what: String,
    },
}

/// A durable revision log.
pub trait Store: Send {
    /// Where the log stands.
    fn position(&self) -> Position;

    /// Visits every change still in the log, in revision order: all of those after the floor, and
    /// before it the last one of each key that was alive at the floor. [`Self::changes`] goes on
    /// where this ended; so it comes before any of what follows.
    fn replay(&mut self, visit: &mut dyn FnMut(Change)) -> Result<(), StoreError>;

    /// Tries transactions, in their order, each after those before it: a verdict for each. What is
    /// accepted is durable when this returns; a conflict fails none but its own. After an error
    /// nothing of the batch was written, unless the error says otherwise.
    fn commit(&mut self, batch: Vec<Txn>) -> Result<Vec<Verdict>, StoreError>;

    /// For those who read, where others write to this store, too; None: nobody else does.
    fn upstream(&self) -> Option<Arc<Upstream>> {
        None
    }

    /// What was committed since [`Self::replay`] and the last call, by whomever, in revision order:
    /// each change once, and none that is not durable. Whatever [`Self::commit`] accepted is told
    /// by the next call.
    fn changes(&mut self) -> Result<Vec<Change>, StoreError>;

    /// Forgets superseded changes and tombstones up to `floor`, which becomes the new floor. A
    /// floor not above the present one does nothing. The writer calls it between two batches: it
    /// holds up neither.
    fn compact(&mut self, floor: u64) -> Result<(), StoreError>;
}

/// Which changes become garbage at which revision; both stores keep one, so that compaction needs
/// no search.
#[derive(Debug, Default)]
struct Garbage {
    /// (revision from which it is garbage, garbage revision), ascending by the first.
    queue: std::collections::VecDeque<(u64, u64)>,
}

impl Garbage {
    /// Notes what `change` makes superfluous: what it replaces and, when it is a tombstone, itself.
    fn note(&mut self, change: &Change) {
        if change.replaces > 0 {
            self.queue.push_back((change.revision, change.replaces));
        }
        if change.value.is_none() {
            self.queue.push_back((change.revision, change.revision));
        }
    }

    /// Revisions that are garbage once history up to `floor` is given up.
    fn up_to(&self, floor: u64) -> impl Iterator<Item = u64> {
        self.queue
            .iter()
            .take_while(move |(since, _)| *since <= floor)
            .map(|(_, revision)| *revision)
    }

    /// Drops the first `count` of what [`Garbage::up_to`] told.
    fn clear(&mut self, count: usize) {
        self.queue.drain(..count);
    }
}
