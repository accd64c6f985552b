//! What clients asked and were answered, and what watchers were told: data, without a judgement.
//!
//! Every write has a value that no other has, so that whoever sees a value knows which write it
//! was.

/// A revision, as `metadata.resourceVersion` says it.
pub type Revision = u64;
/// What one write put there.
pub type Value = u64;
/// Nanoseconds since the run began.
pub type Instant = u64;

/// An object as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// Its revision.
    pub revision: Revision,
    /// What is in it.
    pub value: Value,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// POST.
    Create(Value),
    /// PUT; with `Some`, only if it still is what was seen.
    Replace(Option<Present>, Value),
    /// DELETE; with `Some`, only if it still is what was seen.
    Delete(Option<Present>),
    /// GET, or one object of a list.
    Read,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was written, as this revision.
    Wrote(Revision),
    /// It was deleted.
    Deleted,
    /// Not written: there is one already.
    Exists,
    /// Not written: it is another by now.
    Conflict,
    /// Not written: there is none.
    Absent,
    /// What a read saw.
    Seen(Option<Present>),
    /// None, or that the server does not know: it may have been done, or be done yet.
    Unknown,
}

/// One request of a client.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Which object.
    pub key: u32,
    /// When it was sent.
    pub called: Instant,
    /// When the answer was there; without meaning for [`Answer::Unknown`].
    pub answered: Instant,
    /// What was asked.
    pub request: Request,
    /// What was answered.
    pub answer: Answer,
}

impl Operation {
    /// Whether a write was acknowledged.
    pub fn is_acknowledged(&self) -> bool {
        matches!(self.answer, Answer::Wrote(_) | Answer::Deleted)
    }
}

/// One event of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which object.
    pub key: u32,
    /// The revision of the change.
    pub revision: Revision,
    /// What is in it from then on; none: it was deleted.
    pub value: Option<Value>,
}

/// What a watcher was told, from one list to the next one.
#[derive(Clone, Debug, Default)]
pub struct Stretch {
    /// The list's revision: all later changes are told.
    pub from: Revision,
    /// What it has come to.
    pub to: Revision,
    /// In the order in which they came.
    pub events: Vec<Event>,
}

/// What was seen in a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In any order.
    pub operations: Vec<Operation>,
    /// The stretches of each watcher.
    pub watchers: Vec<Vec<Stretch>>,
}
