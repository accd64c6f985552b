//! The server as a value: state, writer, judges, limits; and the objects it installs itself.

use super::audit::AuditIds;
use super::catalogue::Catalogue;
use super::late_reissue::Knocks;
use super::limits::{Inflight, Limits};
use super::metrics::Metrics;
use super::origins::Origins;
use super::ownership;
use super::version::Version;
use super::write::Encoded;
use crate::audit::Auditor;
use crate::authn::{Authenticator, Impersonation};
use crate::authz::Authorizer;
use crate::bootstrap::{self, Installation};
use crate::encryption::{Encryption, Rules};
use crate::objects::{Objects, Stored};
use crate::registry::apis::Apis;
use crate::registry::gates::Gate;
use crate::registry::{self, Context, Descriptor};
use crate::store::{Store, StoreError};
use crate::user::User;
use crate::watch_cache::Cache;
use crate::writer::{Expected, Mode, Operation, Proposal, Refusal, Writer};
use everleaf_api::{Status, meta};
use everleaf_observe::Observed;
use everleaf_pki::RecentRequests;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Fills a buffer with randomness: for uids, generated names and watch timeouts. System entropy in
/// production, a seeded generator in the simulator.
pub type RandomSource = Box<dyn FnMut(&mut [u8]) + Send>;

/// The manager of what whoever runs the server puts into it.
const OPERATOR: &str = "everleaf";
/// How often the start looks anew for what is still to be written, where others write, too.
const INSTALL_ATTEMPTS: usize = 10;
/// Suffix alphabet of generated names (`apimachinery/pkg/util/rand`): no vowels, no look-alikes.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of that suffix.
const NAME_SUFFIX_LENGTH: usize = 5;
/// Longest base of a generated name (63 minus the suffix).
const NAME_BASE_BYTES_MAX: usize = 58;

/// What an object of the server's own may be written over.
#[derive(Clone, Copy)]
enum Replaces {
    Present,
    Nothing,
}

/// What a server is made of.
pub struct Config {
    /// Who is this?
    pub authenticator: Authenticator,
    /// May they?
    pub authorizer: Authorizer,
    /// What `/version` says.
    pub version: Version,
    /// For uids, generated names and the length of watches.
    pub random: RandomSource,
    /// How much it takes on.
    pub limits: Limits,
    /// `host:port` under which clients reach it, for discovery; may be empty.
    pub address: String,
    /// How the writer runs.
    pub writer: Mode,
    /// How the values of the store are encrypted.
    pub encryption: Encryption,
    /// What is told of requests, and where; None: nothing.
    pub audit: Option<Auditor>,
    /// What is served.
    pub apis: Apis,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object of the server's own cannot be written.
    #[error("cannot install {resource}/{name}: {what}")]
    Install {
        /// Plural, as `clusterroles`.
        resource: &'static str,
        /// Which of the objects that the server keeps for itself.
        name: String,
        /// What the write was answered.
        what: String,
    },
}

/// A Kubernetes-compatible API server, without its sockets.
pub struct Server {
    pub(super) cache: Arc<Cache>,
    pub(super) writer: Writer,
    pub(super) encryption: Arc<Encryption>,
    pub(super) authenticator: Authenticator,
    pub(super) authorizer: Authorizer,
    pub(super) impersonation: Impersonation,
    pub(super) version: Version,
    pub(super) limits: Limits,
    pub(super) address: String,
    pub(super) metrics: Metrics,
    /// What else this process tells at `/metrics`.
    pub(super) exposed: Mutex<BTreeMap<&'static str, Arc<dyn Observed>>>,
    pub(super) inflight: Inflight,
    pub(super) origins: Origins,
    pub(super) knocks: Knocks,
    pub(super) requests: RecentRequests,
    pub(super) audit: Option<Arc<Auditor>>,
    pub(super) catalogue: Arc<Catalogue>,
    audit_ids: AuditIds,
    /// Held by whoever removes many objects.
    pub(super) removing: tokio::sync::Mutex<()>,
    random: Mutex<RandomSource>,
    installed: AtomicBool,
    stopping: AtomicBool,
}

impl Server {
    /// Requests that it has verified, for others in this process that verify the same ones.
    pub fn recent_requests(&self) -> RecentRequests {
        self.requests.clone()
    }

    /// Rebuilds the state from `store`. Call [`Server::install`] before serving.
    pub fn new(config: Config, store: Box<dyn Store>) -> Result<Self, StartError> {
        let encryption = Arc::new(config.encryption);
        let (writer, cache) = Writer::start(store, config.writer, Arc::clone(&encryption))?;
        config.authorizer.set_gates(config.apis.gates().clone());
        Ok(Self {
            cache,
            writer,
            encryption,
            authenticator: config.authenticator,
            authorizer: config.authorizer,
            impersonation: Impersonation::new(
                config.apis.gates().has(Gate::ConstrainedImpersonation),
            ),
            version: config.version,
            limits: config.limits,
            address: config.address,
            metrics: Metrics::default(),
            exposed: Mutex::default(),
            inflight: Inflight::default(),
            origins: Origins::default(),
            knocks: Knocks::default(),
            requests: RecentRequests::default(),
            audit: config.audit.map(Arc::new),
            catalogue: Catalogue::of(config.apis),
            audit_ids: AuditIds::default(),
            removing: tokio::sync::Mutex::default(),
            random: Mutex::new(config.random),
            installed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        })
    }

    /// Committed state, for those who serve beside the API (kubeconfigs, the dashboard's own
    /// process is a client).
    pub fn objects(&self) -> &dyn Objects {
        self.cache.as_ref()
    }

    /// From where a stored certificate signing request was filed, while this process remembers: it
    /// is the address of the connection, whoever is at its other end.
    pub fn origin_of(&self, csr: &Value) -> Option<IpAddr> {
        self.origins.of(csr)
    }

    /// Who judges credentials; `up` hands it a renewed CA.
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Who says what a request may do; its chain may be replaced.
    pub fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }

    /// Encrypts by other rules from now on, and reads what could not be read before. What is in the
    /// store stays as it is until it is written again. How many objects no key is left for:
    /// whoever needs them has to put the old key back before the next start.
    pub fn encrypt_by(&self, rules: Rules) -> usize {
        self.encryption.set(rules);
        self.writer.reread();
        let lost = self
            .cache
            .seals()
            .into_iter()
            .map(|(descriptor, _, seals)| {
                let unknown = seals
                    .into_iter()
                    .filter(|(seal, _)| !self.encryption.knows(descriptor, *seal));
                unknown.map(|(_, count)| count).sum::<usize>()
            });
        lost.sum()
    }

    /// Has `/metrics` tell what another part of this process counts, too, in place of what was
    /// there under that name. No family may have the name of one of the server or another part.
    pub fn expose(&self, part: &'static str, observed: Arc<dyn Observed>) {
        let mut exposed = self.exposed.lock().unwrap_or_else(PoisonError::into_inner);
        exposed.insert(part, observed);
    }

    /// What it counts.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What is told of requests, and where.
    pub fn audit(&self) -> Option<&Auditor> {
        self.audit.as_deref()
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Writes what the server's own objects lack (namespaces, RBAC policy). To be called before
    /// serving and once a minute; `/readyz` fails until the first call succeeded.
    ///
    /// # Errors
    /// One cannot be written. Where others write, too, another server may be at the same: it is
    /// looked at anew a few times before.
    pub async fn install(&self, now: Timestamp) -> Result<(), StartError> {
        let mut attempts = self.attempts();
        loop {
            attempts -= 1;
            match self.install_missing(now).await {
                // What cannot be caught up with is told by the next attempt.
                Err(_) if attempts > 0 => drop(self.catch_up().await),
                done => break done?,
            }
        }
        self.installed.store(true, Ordering::Release);
        Ok(())
    }

    /// How often a write of our own is tried that somebody else may cross.
    fn attempts(&self) -> usize {
        match self.writer.upstream() {
            None => 1,
            Some(_) => INSTALL_ATTEMPTS,
        }
    }

    async fn install_missing(&self, now: Timestamp) -> Result<(), StartError> {
        let published = self.authenticator.published();
        let write = async |installation: Installation| {
            let resource = installation.resource;
            let name = meta::name(&installation.object).to_owned();
            let put = self.install_one(installation, now).await;
            put.map_err(|what| StartError::Install {
                resource,
                name,
                what,
            })
        };
        // All at once, so that they share a sync.
        let gates = self.catalogue.apis().gates();
        let missing = bootstrap::missing(self.cache.as_ref(), &published, gates);
        try_join_all(missing.into_iter().map(write)).await?;
        Ok(())
    }

    async fn install_one(&self, installation: Installation, now: Timestamp) -> Result<(), String> {
        let Installation {
            resource,
            object,
            recreate,
        } = installation;
        if recreate {
            self.remove(resource, meta::namespace(&object), meta::name(&object))
                .await?;
        }
        self.put_as(ownership::SERVER, resource, object, now)
            .await
            .map(drop)
    }

    /// Writes one object of the server's own (a bootstrap token Secret, …): created, or replaced
    /// when it exists. No authorization, no admission; validated all the same.
    ///
    /// # Errors
    /// Text that says why not.
    pub async fn put(
        &self,
        resource: &'static str,
        object: Value,
        now: Timestamp,
    ) -> Result<Arc<Stored>, String> {
        self.put_as(OPERATOR, resource, object, now).await
    }

    /// Writes one object of the server's own unless there is one of this name; returns what is
    /// there. Of several servers that do so at the same moment, one writes.
    ///
    /// # Errors
    /// Text that says why not.
    pub async fn put_if_absent(
        &self,
        resource: &'static str,
        object: Value,
        now: Timestamp,
    ) -> Result<Arc<Stored>, String> {
        self.put_own(OPERATOR, resource, (object, Replaces::Nothing), now)
            .await
    }

    async fn put_as(
        &self,
        manager: &str,
        resource: &'static str,
        object: Value,
        now: Timestamp,
    ) -> Result<Arc<Stored>, String> {
        self.put_own(manager, resource, (object, Replaces::Present), now)
            .await
    }

    /// Where others write, too, another server may have written at the same moment: it is looked at
    /// anew a few times before that is an error.
    async fn put_own(
        &self,
        manager: &str,
        resource: &'static str,
        (object, replaces): (Value, Replaces),
        now: Timestamp,
    ) -> Result<Arc<Stored>, String> {
        let (namespace, name) = (meta::namespace(&object), meta::name(&object));
        let mut attempts = self.attempts();
        loop {
            attempts -= 1;
            let present = self.cache.get(resource, namespace, name);
            if let (Some(present), Replaces::Nothing) = (&present, replaces) {
                return Ok(Arc::clone(present));
            }
            let write = (object.clone(), present);
            match self.put_over(manager, resource, write, now).await {
                Err(Refusal::Exists | Refusal::Changed) if attempts > 0 => {
                    drop(self.catch_up().await);
                }
                done => return done.map_err(|refusal| refusal.to_string()),
            }
        }
    }

    /// Writes one object of the server's own over what was `present` when it was read, and nothing
    /// newer.
    pub(super) async fn put_over(
        &self,
        manager: &str,
        resource: &'static str,
        (object, present): (Value, Option<Arc<Stored>>),
        now: Timestamp,
    ) -> Result<Arc<Stored>, Refusal> {
        let descriptor = registry::by_resource(resource).ok_or_else(|| {
            Refusal::Unstorable(format!("{resource} is not a resource of this server"))
        })?;
        let mut object = descriptor
            .r#type
            .decode_value(object)
            .map_err(|error| Refusal::Unstorable(error.to_string()))?
            .object;
        let user = User::default();
        let context = Context {
            user: &user,
            subresource: "",
            now,
            request: None,
            gates: self.catalogue.apis().gates(),
        };
        let old = present.as_ref().map(|stored| stored.object());
        descriptor.r#type.fill_defaults(&mut object);
        descriptor.strategy.default(&mut object);
        let objects = (old.as_deref(), &mut object);
        ownership::track(descriptor, "", objects, (manager, now));
        let errors = self.prepare(descriptor, &mut object, old.as_deref(), &context);
        let expected = match &present {
            None => Expected::Absent,
            Some(stored) => Expected::Revision(stored.revision),
        };
        if let Some(error) = errors.first() {
            let what = format!("{}: {}", error.path, error.message);
            return Err(Refusal::Unstorable(what));
        }
        let encoded = Encoded::new(descriptor, &mut object);
        self.propose_put(descriptor, encoded, expected, None).await
    }

    /// Removes one object of the server's own; true when it was there.
    ///
    /// # Errors
    /// Text that says why not.
    pub async fn remove(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<bool, String> {
        let descriptor = registry::by_resource(resource)
            .ok_or_else(|| format!("{resource} is not a resource of this server"))?;
        let Some(stored) = self.cache.get(resource, namespace, name) else {
            return Ok(false);
        };
        match self.propose_delete(descriptor, &stored).await {
            Ok(_) => Ok(true),
            Err(refusal) => Err(refusal.to_string()),
        }
    }

    /// Ends all watches and fails `/readyz`: clients go elsewhere, or come back later.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.cache.close_feeds();
    }

    pub(super) fn is_installed(&self) -> bool {
        self.installed.load(Ordering::Acquire)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Proposes an object as it should be stored.
    pub(super) async fn propose_put(
        &self,
        descriptor: &'static Descriptor,
        Encoded(bytes): Encoded,
        expected: Expected,
        tally_max: Option<usize>,
    ) -> Result<Arc<Stored>, Refusal> {
        let descriptor = descriptor.stored();
        // What is in memory is what a restart would read.
        let object = if descriptor.compact {
            let counted = descriptor.tally.map_or(&[][..], |tally| tally.members);
            let members = [&["metadata.name", "metadata.namespace"], counted].concat();
            descriptor
                .r#type
                .decode_sound_protobuf_members(&bytes, &members)
        } else {
            descriptor.r#type.decode_protobuf(&bytes)
        };
        let object = object.map_err(|error| Refusal::Unstorable(error.to_string()))?;
        let proposal = Proposal {
            descriptor,
            namespace: meta::namespace(&object).to_owned(),
            name: meta::name(&object).to_owned(),
            expected,
            operation: Operation::Put { object, bytes },
            tally_max,
        };
        self.writer.propose(proposal).await
    }

    /// Proposes the removal of an object as it was read.
    pub(super) async fn propose_delete(
        &self,
        descriptor: &'static Descriptor,
        stored: &Stored,
    ) -> Result<Arc<Stored>, Refusal> {
        let proposal = Proposal {
            descriptor: descriptor.stored(),
            namespace: stored.namespace.to_string(),
            name: stored.name.to_string(),
            expected: Expected::Revision(stored.revision),
            operation: Operation::Delete,
            tally_max: None,
        };
        self.writer.propose(proposal).await
    }

    /// The Status of a refusal that has nothing to do with the object itself.
    pub(super) fn refused(&self, refusal: Refusal) -> Status {
        let retry = self.limits.retry_after_seconds;
        match refusal {
            Refusal::Busy => {
                Status::too_many_requests("Too many requests, please try again later.", retry)
            }
            Refusal::TallyFull { account, max } => Status::too_many_requests(
                format!(
                    "{account} has {max} unsigned certificate signing requests, the most it may \
                     have at once; have some approved, or delete them"
                ),
                retry,
            ),
            Refusal::Stopped => Status::unavailable("the server is stopping"),
            Refusal::Store(error) => self.store_failed(&error),
            Refusal::Unstorable(what) => Status::internal(what),
            Refusal::Exists | Refusal::Changed => {
                Status::internal("the object keeps changing; please try again")
            }
        }
    }

    /// The Status of a failure of the store.
    pub(super) fn store_failed(&self, error: &StoreError) -> Status {
        match error {
            StoreError::Behind => {
                Status::timeout(error.to_string(), self.limits.retry_after_seconds)
            }
            StoreError::Unavailable { .. } => Status::unavailable(error.to_string()),
            _ => Status::internal(error.to_string()),
        }
    }

    /// Waits until all is visible that was committed by now, by whomever: on a store that others
    /// write to, what is visible may be old.
    pub(super) async fn catch_up(&self) -> Result<(), Status> {
        match self.writer.upstream() {
            None => Ok(()),
            // In a box: a request to a store of our own carries no room for it.
            Some(upstream) => Box::pin(upstream.catch_up())
                .await
                .map_err(|error| self.store_failed(&error)),
        }
    }

    // --- Randomness ---------------------------------------------------------------------------

    pub(super) fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        random(&mut bytes);
        bytes
    }

    /// The name of a request that brings none.
    pub(crate) fn new_audit_id(&self) -> String {
        self.audit_ids.next(|| self.random_bytes())
    }

    /// For a new object.
    pub(super) fn new_uid(&self) -> String {
        meta::uuid(self.random_bytes())
    }

    /// `base` (cut to fit) plus five random characters.
    pub(super) fn generated_name(&self, base: &str) -> String {
        let mut end = base.len().min(NAME_BASE_BYTES_MAX);
        while !base.is_char_boundary(end) {
            end -= 1;
        }
        let mut name = base[..end].to_owned();
        let bytes: [u8; NAME_SUFFIX_LENGTH] = self.random_bytes();
        name.extend(
            bytes
                .iter()
                .map(|byte| char::from(NAME_ALPHABET[usize::from(*byte) % NAME_ALPHABET.len()])),
        );
        name
    }

    /// A number of the range; the tiny bias does not matter for what this is used for.
    pub(super) fn random_in(&self, range: Range<u64>) -> u64 {
        range.start + u64::from_le_bytes(self.random_bytes()) % (range.end - range.start)
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}
