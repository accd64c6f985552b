//! What the writer is asked, and what it answers.

use crate::objects::Stored;
use crate::registry::Descriptor;
use crate::store::StoreError;
use bytes::Bytes;
use serde_json::Value;
use std::sync::Arc;

/// What must hold for a proposal to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// No such object.
    Absent,
    /// The object's last change has this revision.
    Revision(u64),
}

impl Expected {
    /// The revision that a transaction follows.
    pub(super) fn follows(self) -> u64 {
        match self {
            Self::Absent => 0,
            Self::Revision(revision) => revision,
        }
    }

    /// What a transaction is refused with when something else holds.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::Absent => Refusal::Exists,
            Self::Revision(_) => Refusal::Changed,
        }
    }
}

/// What to do.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Write this object. `bytes` is its stored form, without resourceVersion.
    Put {
        /// The object; the writer sets its resourceVersion.
        object: Value,
        /// `k8s\0` envelope.
        bytes: Bytes,
    },
    /// Remove it.
    Delete,
}

/// A change somebody wants.
#[derive(Clone)]
pub struct Proposal {
    /// Of what.
    pub descriptor: &'static Descriptor,
    /// Namespace or "".
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Precondition.
    pub expected: Expected,
    /// Change.
    pub operation: Operation,
    /// How many objects the new one's account may hold, itself included
    /// (see [`Descriptor::tally`]); None: any number.
    pub tally_max: Option<usize>,
}

/// Why a proposal was not committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Expected absent, but there is one.
    #[error("already exists")]
    Exists,
    /// Changed or deleted since it was read.
    #[error("changed meanwhile")]
    Changed,
    /// The account holds too many.
    #[error("{account} has {max} already")]
    TallyFull {
        /// Account.
        account: String,
        /// The limit.
        max: usize,
    },
    /// The queue is full.
    #[error("the writer is busy")]
    Busy,
    /// The store refused; nothing of the batch was written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object does not survive its own encoding.
    #[error("the object cannot be stored: {0}")]
    Unstorable(String),
    /// The writer has ended.
    #[error("the server is stopping")]
    Stopped,
}

/// The object as committed; of a delete, its last state with the delete's revision.
pub type Outcome = Result<Arc<Stored>, Refusal>;
