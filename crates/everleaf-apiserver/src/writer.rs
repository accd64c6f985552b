//! One writer owns the order of all changes.
//!
//! Requests propose; the writer checks each proposal against the pending state (committed plus
//! earlier in the same batch) and hands the accepted ones to the [store](crate::store), which
//! judges them again, numbers them and makes them durable in one go. What becomes visible to
//! readers and to those who watch is what the store then tells of, own changes and others alike,
//! in revision order; after that the proposals are answered. A failed commit fails its whole batch
//! and leaves no trace. Nobody ever sees an unsynced write.
//!
//! With a thread, proposals that arrive during a sync form the next batch (group commit). Without
//! one ([`Mode::Inline`]: tests, the simulator) the proposal is committed before
//! [`Writer::propose`] returns, so that its answer is ready at the first poll.

mod proposal;
mod recovery;

pub use proposal::{Expected, Operation, Outcome, Proposal, Refusal};

use crate::encryption::Encryption;
use crate::objects::{Objects, Stored};
use crate::registry::{Descriptor, SPENT_PER_ONE, spent_account};
use crate::store::{KEY_PREFIX, Rejection, Store, StoreError, Txn, Upstream, Verdict};
use crate::watch_cache::{Cache, Event, key_of};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Proposals that may wait for the writer; beyond it a request is told to come back (429).
pub const QUEUE_MAX: usize = 1024;
/// Proposals in one transaction.
const BATCH_MAX: usize = 256;
/// Revisions of history kept in the store, so that watches resume after a restart.
const HISTORY_REVISIONS: u64 = 8192;
/// Compaction runs when history exceeds its bound by this much.
const COMPACTION_STEP: u64 = 2048;

/// Until changes are fetched again from a store that failed at it.
const RETRY: Duration = Duration::from_secs(1);

/// How the writer runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// On a thread of its own, with group commit.
    Thread,
    /// In the caller, one proposal at a time.
    Inline,
}

/// The one writer.
pub struct Writer {
    lane: Lane,
    upstream: Option<Arc<Upstream>>,
}

enum Lane {
    Thread {
        queue: SyncSender<Message>,
        thread: Option<JoinHandle<()>>,
    },
    Inline(Box<Mutex<Committer>>),
}

type Queued = (Proposal, oneshot::Sender<Outcome>);

/// What the thread is told.
enum Message {
    /// A proposal.
    Proposal(Queued),
    /// The store has changes to tell.
    Changes,
    /// What could not be read may be readable now.
    Reread,
    /// Nothing comes after this.
    Stop,
}

impl Writer {
    /// Rebuilds the state from `store`, whose values are encrypted by `encryption`, and starts.
    ///
    /// # Errors
    /// The store cannot be read, or holds an object of ours that does not decode. One that is
    /// encrypted by a key that is not there is no error: it is known as unreadable.
    pub fn start(
        mut store: Box<dyn Store>,
        mode: Mode,
        encryption: Arc<Encryption>,
    ) -> Result<(Self, Arc<Cache>), StoreError> {
        let cache = Arc::new(recovery::recover(store.as_mut(), &encryption)?);
        let committer = Committer::new(store, &cache, encryption);
        let upstream = committer.upstream.clone();
        let lane = match mode {
            Mode::Inline => Lane::Inline(Box::new(Mutex::new(committer))),
            Mode::Thread => {
                let (sender, receiver) = sync_channel(QUEUE_MAX);
                if let Some(upstream) = &upstream {
                    let queue = sender.clone();
                    // When it is full the writer looks at the changes anyway.
                    upstream.on_change(Box::new(move || drop(queue.try_send(Message::Changes))));
                }
                let thread = std::thread::Builder::new()
                    .name("writer".to_owned())
                    .spawn(move || committer.run(&receiver))
                    .map_err(|error| StoreError::Failed {
                        what: format!("cannot start the writer thread: {error}"),
                    })?;
                Lane::Thread {
                    queue: sender,
                    thread: Some(thread),
                }
            }
        };
        Ok((Self { lane, upstream }, cache))
    }

    /// Proposes a change. The outcome comes when it is durable and visible, or refused.
    pub async fn propose(&self, proposal: Proposal) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        match &self.lane {
            Lane::Inline(committer) => committer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .commit(vec![(proposal, answer)]),
            Lane::Thread { queue, .. } => {
                queue
                    .try_send(Message::Proposal((proposal, answer)))
                    .map_err(|error| match error {
                        TrySendError::Full(_) => Refusal::Busy,
                        TrySendError::Disconnected(_) => Refusal::Stopped,
                    })?;
            }
        }
        outcome.await.unwrap_or(Err(Refusal::Stopped))
    }

    /// Reads the store again for what could not be read: other keys are in force.
    pub(crate) fn reread(&self) {
        match &self.lane {
            Lane::Inline(committer) => committer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .reread(),
            // One who has ended reads nothing any more.
            Lane::Thread { queue, .. } => drop(queue.send(Message::Reread)),
        }
    }

    /// For those who read, where others write to the store, too.
    pub fn upstream(&self) -> Option<&Upstream> {
        self.upstream.as_deref()
    }

    /// False once the writer's thread has ended on its own: nothing can be written any more.
    pub fn is_alive(&self) -> bool {
        match &self.lane {
            Lane::Inline(_) => true,
            Lane::Thread { thread, .. } => thread.as_ref().is_some_and(|t| !t.is_finished()),
        }
    }
}

impl Drop for Writer {
    /// Commits what is queued, then closes the store.
    fn drop(&mut self) {
        if let Lane::Thread { queue, thread } = &mut self.lane {
            // The store may keep a sender, to tell of changes. One who has ended needs no word.
            let _ = queue.send(Message::Stop);
            if let Some(thread) = thread.take()
                && thread.join().is_err()
            {
                tracing::error!("the writer thread had failed");
            }
        }
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// The core: state and store, no thread.
struct Committer {
    store: Box<dyn Store>,
    cache: Arc<Cache>,
    encryption: Arc<Encryption>,
    revision: u64,
    /// What the store said last, when it refused.
    failure: Option<StoreError>,
    upstream: Option<Arc<Upstream>>,
}

/// Committed state plus what the batch has accepted so far.
#[derive(Default)]
struct Pending {
    objects: BTreeMap<String, Option<Arc<Stored>>>,
    tally: BTreeMap<(&'static str, String), isize>,
    txns: Vec<Txn>,
    /// What the transactions come to when nobody else writes: under the numbers that they get then.
    events: Vec<Arc<Event>>,
}

impl Committer {
    fn new(store: Box<dyn Store>, cache: &Arc<Cache>, encryption: Arc<Encryption>) -> Self {
        let (upstream, revision) = (store.upstream(), store.position().revision);
        if let Some(upstream) = &upstream {
            upstream.published(revision);
        }
        Self {
            store,
            cache: Arc::clone(cache),
            encryption,
            revision,
            failure: None,
            upstream,
        }
    }

    fn run(mut self, queue: &Receiver<Message>) {
        let mut goes_on = true;
        while goes_on && let Some(first) = self.next(queue) {
            let mut batch = Vec::new();
            let mut is_to_reread = false;
            let more = queue.try_iter().take(BATCH_MAX - 1);
            for message in std::iter::once(first).chain(more) {
                match message {
                    Message::Proposal(proposal) => batch.push(proposal),
                    Message::Changes => {}
                    Message::Reread => is_to_reread = true,
                    Message::Stop => goes_on = false,
                }
            }
            if batch.is_empty() {
                self.look();
            } else {
                self.commit(batch);
            }
            if is_to_reread {
                self.reread();
            }
        }
    }

    /// Lists the store anew when something in it could not be read before.
    fn reread(&mut self) {
        if !self.cache.has_unreadable() {
            return;
        }
        tracing::info!("objects that could not be read are read again");
        let listed = self.list_anew();
        self.tell(listed.as_ref().err());
    }

    /// What the thread is told next; None: nothing any more. While changes cannot be fetched it
    /// tries again by itself.
    fn next(&self, queue: &Receiver<Message>) -> Option<Message> {
        if self.upstream.is_none() || self.failure.is_none() {
            return queue.recv().ok();
        }
        match queue.recv_timeout(RETRY) {
            Err(RecvTimeoutError::Timeout) => Some(Message::Changes),
            told => told.ok(),
        }
    }

    /// Makes visible what others have changed.
    fn look(&mut self) {
        let followed = self.follow(&[], Vec::new()).map(drop);
        let upstream = self.upstream.as_deref();
        let goes_on = upstream.is_none_or(|upstream| upstream.failure().is_none());
        if followed.is_err() || goes_on {
            self.tell(followed.as_ref().err());
        }
    }

    fn commit(&mut self, batch: Vec<Queued>) {
        let mut pending = Pending::default();
        let mut answers = Vec::with_capacity(batch.len());
        for (proposal, answer) in batch {
            let expected = proposal.expected;
            answers.push((answer, expected, self.accept(proposal, &mut pending)));
        }
        if !pending.txns.is_empty() {
            let Pending { txns, events, .. } = pending;
            let committed = self.store.commit(txns);
            let told = committed.and_then(|verdicts| self.follow(&verdicts, events));
            self.tell(told.as_ref().err());
            settle(&mut answers, told);
        }
        for (answer, _, outcome) in answers {
            // The one who asked may have gone away.
            let _ = answer.send(outcome);
        }
        self.compact();
    }

    /// Makes visible what the store tells of since the last time. `prepared` is what the
    /// transactions with these verdicts come to if nobody else wrote. What they came to: None where
    /// something else holds.
    fn follow(&mut self, verdicts: &[Verdict], prepared: Vec<Arc<Event>>) -> Told {
        let changes = match self.store.changes() {
            Err(StoreError::Compacted) => {
                tracing::warn!(
                    "the store has forgotten changes before it told of them: it is listed anew"
                );
                self.list_anew()?;
                return Ok(verdicts.iter().map(unknown).collect());
            }
            changes => changes?,
        };
        let mut unreadable = Vec::new();
        let is_as_prepared = changes.len() == prepared.len()
            && std::iter::zip(verdicts, &prepared)
                .all(|(verdict, event)| *verdict == Ok(event.revision()));
        let events = if is_as_prepared {
            prepared
        } else {
            let told = recovery::events(&self.cache, changes, &self.encryption);
            unreadable = told.unreadable;
            told.events
        };
        self.revision = self.store.position().revision;
        self.cache.publish(&events, self.revision);
        self.cache.mark_unreadable(unreadable, self.revision);
        if let Some(upstream) = &self.upstream {
            upstream.published(self.revision);
        }
        let own = |revision| {
            let place = events.binary_search_by_key(&revision, |event| event.revision());
            let event = place.ok().and_then(|place| events.get(place));
            event.map(|event| Arc::clone(&event.object))
        };
        let missing = || StoreError::Failed {
            what: "it did not tell of a change that it had accepted".to_owned(),
        };
        let outcome = |verdict: &Verdict| match verdict {
            Ok(revision) => own(*revision).ok_or_else(missing).map(Ok),
            Err(rejection) => Ok(Err(rejection.clone())),
        };
        verdicts.iter().map(outcome).collect()
    }

    /// What is there now takes the place of what is known, and whoever watches begins anew: the
    /// store has forgotten what came next, or more of it can be read.
    fn list_anew(&mut self) -> Result<(), StoreError> {
        let told = recovery::difference(&self.cache, self.store.as_mut(), &self.encryption)?;
        self.revision = self.store.position().revision;
        self.cache.publish(&told.events, self.revision);
        self.cache.mark_unreadable(told.unreadable, self.revision);
        self.cache.forget_history(self.revision);
        if let Some(upstream) = &self.upstream {
            upstream.published(self.revision);
        }
        Ok(())
    }

    /// Says so, once per change, when the store fails and when it works again.
    fn tell(&mut self, failure: Option<&StoreError>) {
        if self.failure.as_ref() == failure {
            return;
        }
        match failure {
            Some(error) => tracing::error!(%error, "the store refuses writes; reads go on"),
            None => tracing::info!("the store takes writes again"),
        }
        self.failure = failure.cloned();
    }

    /// Checks one proposal against the pending state and makes it part of that.
    fn accept(&self, proposal: Proposal, pending: &mut Pending) -> Outcome {
        let descriptor = proposal.descriptor;
        let key = storage_key(descriptor, &proposal.namespace, &proposal.name);
        let present = match pending.objects.get(&key) {
            Some(object) => object.clone(),
            None => self
                .cache
                .get(descriptor.resource, &proposal.namespace, &proposal.name),
        };
        let holds = match (proposal.expected, &present) {
            (Expected::Absent, None) => true,
            (Expected::Revision(revision), Some(object)) => object.revision == revision,
            _ => false,
        };
        // Where others write, too, what is known may be old: then the store alone judges.
        if !holds && self.upstream.is_none() {
            return Err(proposal.expected.refusal());
        }
        let revision = self.revision + pending.txns.len() as u64 + 1;
        let created = present.as_ref().map_or(revision, |object| object.created);
        let (object, value) = match proposal.operation {
            Operation::Put { object, bytes } => {
                let place = (proposal.namespace, proposal.name);
                let revisions = (revision, created);
                // What stays is an allocation of just its length, without the room that the encoder
                // had, and of its own: a shared one needs another for its count.
                let kept = Bytes::copy_from_slice(&bytes);
                let sealed = self.encryption.seal(descriptor, &key, bytes);
                let (value, seal) = sealed.map_err(Refusal::Unstorable)?;
                let stored = Stored::new(descriptor, place, revisions, object, kept).sealed(seal);
                self.check_tally(&stored, proposal.tally_max, pending)?;
                (Arc::new(stored), Some(value))
            }
            Operation::Delete => {
                let present = present.as_ref().ok_or(Refusal::Changed)?;
                (Arc::new(present.at_revision(revision)), None)
            }
        };
        pending.count(present.as_deref(), -1);
        let deleted = value.is_none();
        if !deleted {
            pending.count(Some(&object), 1);
        }
        pending.txns.push(Txn {
            key: key.clone(),
            follows: proposal.expected.follows(),
            value,
            ttl_s: descriptor.retention.map_or(0, |retention| {
                u32::try_from(retention.ttl.as_secs()).unwrap_or(0)
            }),
        });
        pending
            .objects
            .insert(key, (!deleted).then(|| Arc::clone(&object)));
        pending
            .events
            .push(Arc::new(Event::new(Arc::clone(&object), present, deleted)));
        Ok(object)
    }

    fn check_tally(
        &self,
        stored: &Stored,
        max: Option<usize>,
        pending: &Pending,
    ) -> Result<(), Refusal> {
        let (Some(max), Some(account)) = (max, stored.account.as_deref()) else {
            return Ok(());
        };
        let count = |account: &str| {
            let committed = self.cache.tally(stored.resource, account);
            let key = (stored.resource, account.to_owned());
            committed.saturating_add_signed(pending.tally.get(&key).copied().unwrap_or(0))
        };
        let spent = count(&spent_account(account)) / SPENT_PER_ONE;
        if count(account) + spent < max {
            return Ok(());
        }
        let account = account.to_owned();
        Err(Refusal::TallyFull { account, max })
    }

    fn compact(&mut self) {
        // What others need as well is not ours to forget; such a store sees to it itself.
        if self.upstream.is_some() {
            return;
        }
        let floor = self.store.position().floor;
        if self.revision > floor + HISTORY_REVISIONS + COMPACTION_STEP
            && let Err(error) = self.store.compact(self.revision - HISTORY_REVISIONS)
        {
            tracing::warn!(%error, "history was not compacted; it will be tried again");
        }
    }
}

impl Pending {
    fn count(&mut self, object: Option<&Stored>, by: isize) {
        let Some(object) = object else { return };
        if let Some(account) = object.account.as_deref() {
            let key = (object.resource, account.to_owned());
            *self.tally.entry(key).or_default() += by;
        }
    }
}

/// What each transaction came to.
type Told = Result<Vec<Result<Arc<Stored>, Rejection>>, StoreError>;

/// What a transaction came to of which only the verdict is known.
fn unknown(verdict: &Verdict) -> Result<Arc<Stored>, Rejection> {
    match verdict {
        Err(rejection) => Err(rejection.clone()),
        Ok(_) => Err(Rejection::Failed(StoreError::Unknown {
            what: "the store has forgotten it already".to_owned(),
        })),
    }
}

/// Puts what the accepted proposals came to in the place of what they were prepared as.
fn settle(answers: &mut [(oneshot::Sender<Outcome>, Expected, Outcome)], told: Told) {
    let told = match told {
        Ok(told) => told,
        Err(error) => {
            // Also those refused: what refused them may just have been dropped.
            for (_, _, outcome) in answers {
                *outcome = Err(Refusal::Store(error.clone()));
            }
            return;
        }
    };
    let accepted = answers.iter_mut().filter(|(_, _, outcome)| outcome.is_ok());
    for ((_, expected, outcome), told) in accepted.zip(told) {
        *outcome = told.map_err(|rejection| match rejection {
            Rejection::Conflict { .. } => expected.refusal(),
            Rejection::Failed(error) => Refusal::Store(error),
        });
    }
}

/// `/registry/<storage>[/<namespace>]/<name>`.
fn storage_key(descriptor: &Descriptor, namespace: &str, name: &str) -> String {
    format!(
        "{KEY_PREFIX}{}/{}",
        descriptor.storage,
        key_of(namespace, name)
    )
}

#[cfg(test)]
mod tests;
