//! The store in etcd, laid out as kube-apiserver has it, with other writers.
//!
//! Each transaction is one of etcd's, sent without waiting for those before it: a conflict concerns
//! nobody else. Changes come from one watch over all keys, begun where the list of what is there
//! ended; so they are in the order of etcd's revisions, whoever made them. What is acknowledged has
//! been told by that watch. When it breaks it goes on where it was, at another member; when etcd
//! has forgotten that place meanwhile, [`StoreError::Compacted`] has the writer list anew.
//!
//! Sources: Kubernetes, `staging/src/k8s.io/apiserver/pkg/storage/etcd3/{store,compact,
//! lease_manager,watcher}.go`; etcd, `api/etcdserverpb/rpc.proto`.

mod compaction;
#[cfg(test)]
#[cfg(feature = "real-etcd")]
pub(super) mod fixture;
mod follow;
mod leases;
mod link;
mod moving;
#[cfg(test)]
#[cfg(feature = "real-etcd")]
mod tests;

use super::{Change, KEY_PREFIX, Position, Rejection, Store, StoreError, Txn, Upstream, Verdict};
use everleaf_etcd::{Client, Config};
use follow::Inbox;
use futures_util::future::join_all;
use leases::Leases;
use link::Link;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// How much history is read at the start, so that watches go on after a restart: the first of these
/// that etcd still has.
const HISTORY_REVISIONS: [u64; 3] = [8192, 1024, 128];
/// How long what was acknowledged by etcd may take until the watch tells of it.
const TELL_PATIENCE: Duration = Duration::from_secs(5);
/// Every how often history is forgotten, as kube-apiserver's `--etcd-compaction-interval`.
const COMPACTION_INTERVAL: Duration = Duration::from_secs(300);

/// Where the objects are.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// How to connect.
    pub connection: Config,
    /// `--etcd-prefix`: `/registry`.
    pub prefix: String,
    /// The directories below it that are read; no other key is read or written.
    pub directories: Vec<&'static str>,
}

/// The log in etcd.
pub struct Etcd {
    /// None: it is being dropped.
    runtime: Option<Runtime>,
    link: Arc<Link>,
    upstream: Arc<Upstream>,
    leases: Leases,
    position: Position,
    following: Option<JoinHandle<()>>,
}

impl Etcd {
    /// Connects, and sees where the log stands. It blocks: call it where that may be.
    ///
    /// # Errors
    /// No member can be reached, or lets us in.
    pub fn open(config: EtcdConfig) -> Result<Self, StoreError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("etcd")
            .enable_all()
            .build()
            .map_err(|error| StoreError::Failed {
                what: format!("cannot start its runtime: {error}"),
            })?;
        let client = Client::new(config.connection);
        let link = Arc::new(Link::new(client, &config.prefix, config.directories));
        let upstream = Arc::new(Upstream::new(Box::new(Arc::clone(&link))));
        let revision = runtime.block_on(link.revision())?;
        let mut floor = revision;
        for count in HISTORY_REVISIONS {
            let wanted = revision.saturating_sub(count);
            if runtime.block_on(link.has_history(wanted))? {
                floor = wanted;
                break;
            }
        }
        runtime.spawn(compaction::run(Arc::clone(&link), COMPACTION_INTERVAL));
        Ok(Self {
            runtime: Some(runtime),
            link,
            upstream,
            leases: Leases::default(),
            position: Position { revision, floor },
            following: None,
        })
    }

    fn runtime(&self) -> &Runtime {
        self.runtime
            .as_ref()
            .expect("invariant: gone in drop alone")
    }

    /// Tries one transaction, and says whose verdict this is.
    async fn attempt(&self, place: usize, txn: Txn) -> (usize, Verdict, u64) {
        let (verdict, revision) = match self.leases.of(&self.link, txn.ttl_s).await {
            Ok(lease) => self.link.try_txn(txn, lease).await,
            Err(error) => (Err(Rejection::Failed(error)), 0),
        };
        (place, verdict, revision)
    }

    /// Lists what was there at the floor, or, where that is forgotten, what is there now, and
    /// begins the watch; everything up to the present.
    fn begin(&mut self) -> Result<Vec<Change>, StoreError> {
        let latest = self.runtime().block_on(self.link.revision())?;
        match self.begin_at(self.position.floor, latest) {
            Err(StoreError::Compacted) => self.begin_at(latest, latest),
            begun => begun,
        }
    }

    fn begin_at(&mut self, floor: u64, latest: u64) -> Result<Vec<Change>, StoreError> {
        if let Some(following) = self.following.take() {
            following.abort();
        }
        let link = Arc::clone(&self.link);
        let mut changes = self.runtime().block_on(link.list(floor))?;
        link.inbox.reset(floor);
        let upstream = Arc::clone(&self.upstream);
        let following = follow::run(Arc::clone(&link), upstream, floor);
        self.following = Some(self.runtime().spawn(following));
        self.runtime().block_on(link.told(latest, TELL_PATIENCE))?;
        let (history, revision) = link.inbox.take()?;
        changes.extend(history);
        self.position = Position { revision, floor };
        Ok(changes)
    }
}

type Placed = Vec<(usize, Txn)>;

/// The transactions that can be tried side by side, and those that follow one of them.
fn first_of_each_key(txns: Placed) -> (Placed, Placed) {
    let mut keys = BTreeSet::new();
    txns.into_iter()
        .partition(|(_, txn)| keys.insert(txn.key.clone()))
}

impl Store for Etcd {
    fn position(&self) -> Position {
        self.position
    }

    fn replay(&mut self, visit: &mut dyn FnMut(Change)) -> Result<(), StoreError> {
        match self.begin() {
            Ok(changes) => {
                changes.into_iter().for_each(visit);
                Ok(())
            }
            Err(error) => {
                // What it may have told by now is not to be taken for all.
                self.link.inbox.break_off();
                Err(error)
            }
        }
    }

    fn commit(&mut self, batch: Vec<Txn>) -> Result<Vec<Verdict>, StoreError> {
        let mut verdicts: Vec<Verdict> = Vec::with_capacity(batch.len());
        verdicts.resize_with(batch.len(), || Ok(0));
        let mut waiting: Vec<(usize, Txn)> = batch.into_iter().enumerate().collect();
        let mut reached = 0;
        while !waiting.is_empty() {
            let (round, later) = first_of_each_key(waiting);
            waiting = later;
            let tries = round
                .into_iter()
                .map(|(place, txn)| self.attempt(place, txn));
            let tries = self.runtime().block_on(join_all(tries));
            for (place, verdict, revision) in tries {
                verdicts[place] = verdict;
                reached = reached.max(revision);
            }
        }
        // What was refused is to be looked at again as it is now, so this waits for that, too.
        let told = self
            .runtime()
            .block_on(self.link.told(reached, TELL_PATIENCE));
        match told {
            Ok(()) => {
                self.position.revision = self.position.revision.max(reached);
                Ok(verdicts)
            }
            Err(StoreError::Compacted) if verdicts.iter().all(Result::is_err) => Ok(verdicts),
            Err(error) => Err(StoreError::Unknown {
                what: error.to_string(),
            }),
        }
    }

    fn changes(&mut self) -> Result<Vec<Change>, StoreError> {
        let (changes, revision) = self.link.inbox.take()?;
        self.position.revision = self.position.revision.max(revision);
        Ok(changes)
    }

    /// By hand; in the long run the interval does it, for all who share this etcd.
    fn compact(&mut self, floor: u64) -> Result<(), StoreError> {
        let floor = floor.min(self.position.revision);
        if floor <= self.position.floor {
            return Ok(());
        }
        self.runtime().block_on(self.link.compact(floor))?;
        self.position.floor = floor;
        Ok(())
    }

    fn upstream(&self) -> Option<Arc<Upstream>> {
        Some(Arc::clone(&self.upstream))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // Its tasks hold nothing that has to be brought to an end, and this may be a thread that
        // must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd")
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
