//! What the approver of serving requests keeps between decisions. No I/O.
//!
//! Owns the policies, the inventories, the cluster, the limits, and what was told about which
//! request; each behind its own lock, held for a lookup, an insertion, or one decision.

use crate::approver::Review;
use crate::follower::Delta;
use crate::index::OpenRequest;
use crate::issuance::Entry;
use crate::run::RunError;
use crate::serving::files::PolicyFiles;
use crate::serving::{
    Claim, Cluster, Decision, Facts, Inventory, InventorySource, Issued, Look, Origin, Policy,
    PolicySet, Saw, Source, decide, limits, requestor,
};
use everleaf_pki::Chain;
use everleaf_time::Now;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// Where a request came from, as far as the API server is in this process and saw it.
pub type Origins = Arc<dyn Fn(&Value) -> Option<Origin> + Send + Sync>;

/// Requests for which something told is remembered.
const TOLD_MAX: usize = 100_000;

/// Settings of the approver of serving requests.
#[derive(Clone, Default)]
pub struct ServingConfig {
    /// The policy file; `None`: the default policy.
    pub policy_file: Option<PathBuf>,
    /// Where requests come from, if that is known.
    pub origins: Option<Origins>,
    /// Names and addresses of the API server besides those of its URL.
    pub api_server: Vec<Claim>,
}

impl ServingConfig {
    /// Reads the policy file, so that a mistake shows before anything starts.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn check(&self) -> Result<(), RunError> {
        let file = self.policy_file.clone();
        file.map_or(Ok(()), |file| PolicyFiles::load(file).map(drop))
    }
}

impl fmt::Debug for ServingConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingConfig")
            .field("policy_file", &self.policy_file)
            .field("knows_origins", &self.origins.is_some())
            .finish()
    }
}

/// What was read of an inventory, or why it could not be.
type Read = Result<Arc<Inventory>, String>;

/// See the module documentation.
pub struct State {
    cluster: RwLock<Cluster>,
    policies: RwLock<Arc<PolicySet>>,
    inventories: RwLock<BTreeMap<InventorySource, Read>>,
    issued: RwLock<Issued>,
    limits: Mutex<limits::Limits>,
    origins: Option<Origins>,
    /// The last message about a request, by its UID.
    told: Mutex<BTreeMap<String, String>>,
}

impl State {
    /// For these policies; `api_server` is what is known of where it is reached.
    pub fn new(
        policies: PolicySet,
        origins: Option<Origins>,
        api_server: impl IntoIterator<Item = Claim>,
    ) -> Self {
        let mut cluster = Cluster::default();
        cluster.set_api_server(api_server);
        Self {
            cluster: RwLock::new(cluster),
            policies: RwLock::new(Arc::new(policies)),
            inventories: RwLock::default(),
            issued: RwLock::default(),
            limits: Mutex::default(),
            origins,
            told: Mutex::default(),
        }
    }

    /// Decides about one request. `newer`: see [`Facts::newer`]; `lifetime`: what it would get.
    pub fn decide(
        &self,
        request: &OpenRequest,
        newer: usize,
        lifetime: Duration,
        reviews: &[Review],
        seen: &[(Look, Saw)],
        now: Now,
    ) -> Decision {
        let policies = Arc::clone(&read(&self.policies));
        let inventories = read(&self.inventories);
        let cluster = read(&self.cluster);
        let csr = request.csr();
        let node = requestor(csr).unwrap_or_default();
        let policy = policies.policy_for(node, cluster.node(node));
        let inventory = policy.and_then(|policy| match &policy.inventory {
            InventorySource::None => None,
            source => Some(match inventories.get(source) {
                Some(Ok(inventory)) => Ok(inventory.as_ref()),
                Some(Err(error)) => Err(error.as_str()),
                None => Err("it was not read yet"),
            }),
        });
        let origins = self.origins.as_ref();
        let origin = origins.and_then(|origins| origins(request.object()));
        let per_hour = policy.and_then(|policy| policy.per_node_per_hour);
        let per_hour = per_hour.unwrap_or_else(|| limits::per_hour(lifetime));
        let facts = Facts {
            cluster: &cluster,
            issued: &read(&self.issued),
            inventory,
            origin: origin.as_ref(),
            age: request.age(now.monotonic),
            newer,
            limited: lock(&self.limits).check(node, per_hour, now.monotonic),
            reviews,
            seen,
            now: now.wall,
        };
        decide(request, &facts, &policies)
    }

    /// Whether there is a Node of this name; `None` before all are known.
    pub(crate) fn has_node(&self, name: &str) -> Option<bool> {
        let cluster = read(&self.cluster);
        cluster
            .missing()
            .is_none()
            .then(|| cluster.node(name).is_some())
    }

    /// A certificate was issued, by whomever.
    pub fn issued(&self, chain: &Chain, now: Now) {
        let mut issued = self.issued.write().unwrap_or_else(PoisonError::into_inner);
        issued.note(chain, now.wall);
    }

    /// An entry of the issuance log, the newest first; false when no more is remembered.
    pub(crate) fn recall(&self, entry: &[u8], now: Now) -> bool {
        let Ok(entry) = Entry::from_bytes(entry) else {
            return true;
        };
        let mut issued = self.issued.write().unwrap_or_else(PoisonError::into_inner);
        issued.recall(&entry, now.wall)
    }

    /// A request of this node was approved.
    pub fn approved(&self, node: &str, now: Now) {
        lock(&self.limits).approved(node, now.monotonic);
    }

    /// Whether this is the first time that this is said of the request with this UID.
    pub fn is_news(&self, uid: &str, message: &str) -> bool {
        let mut told = lock(&self.told);
        if told.get(uid).is_some_and(|told| told == message) {
            return false;
        }
        if told.len() >= TOLD_MAX {
            // Something may be said twice.
            told.clear();
        }
        told.insert(uid.to_owned(), message.to_owned());
        true
    }

    /// Takes in what a follower saw of `source`.
    pub fn take(&self, source: Source, delta: Delta) -> Affected {
        let mut cluster = self.cluster.write().unwrap_or_else(PoisonError::into_inner);
        let was_missing = cluster.missing().is_some();
        let changed = match delta {
            Delta::Served(_) => None,
            Delta::ListBegins => {
                cluster.begin_list(source);
                None
            }
            Delta::ListEnds => {
                cluster.end_list(source);
                None
            }
            Delta::Deleted(key) => cluster.delete(source, &key),
            Delta::Put(object) => cluster.put(source, &object),
        };
        match changed {
            Some(node) => Affected::Node(node),
            None if was_missing && cluster.missing().is_none() => Affected::All,
            None => Affected::Nobody,
        }
    }

    /// Puts other policies in force.
    pub fn set_policies(&self, policies: PolicySet) {
        let mut slot = self
            .policies
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = Arc::new(policies);
    }

    /// The policies in force.
    pub fn policies(&self) -> Arc<PolicySet> {
        Arc::clone(&read(&self.policies))
    }

    /// What was read of an inventory. One that cannot be read replaces none that could.
    pub fn set_inventory(&self, source: InventorySource, inventory: Read) {
        let mut slot = self
            .inventories
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let is_kept = inventory.is_err() && slot.get(&source).is_some_and(Result::is_ok);
        if !is_kept {
            slot.insert(source, inventory);
        }
    }
}

/// Whose requests have to be decided again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Affected {
    /// Everybody's.
    All,
    /// That node's.
    Node(String),
    /// Nobody's.
    Nobody,
}

impl PolicySet {
    /// The first policy that is for this node.
    pub fn policy_for(&self, node: &str, facts: Option<&super::NodeFacts>) -> Option<&Policy> {
        let mut policies = self.policies.iter();
        policies.find(|policy| super::is_policy_for(policy, node, facts))
    }
}

/// No code panics while it holds one of these locks; if one did, the data is still whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}
