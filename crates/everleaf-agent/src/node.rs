//! The state of a running agent: its machines, and everything that their effects need.
//!
//! Owns the turn: notices told, effects performed, answers delivered, until nothing is left to do
//! at this instant. It never waits; [`crate::run()`] does.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use everleaf_pki::{Credential, KeyAlgorithm, SignerName, SystemKeySource, Usage};
use everleaf_rotation::notice::LeafSummary;
use everleaf_rotation::overdue::Waiting;
use everleaf_rotation::store::dir::CertDir;
use everleaf_rotation::{
    CertStore, Event, Kind, Monotonic, NAP_MAX, Notice, Now, Phase, Rotation, Standing, StoreError,
    overdue,
};
use futures_util::future::AbortHandle;
use futures_util::stream::FuturesUnordered;
use jiff::civil::DateTime;
use tokio::sync::watch;

use crate::addresses::AddressBook;
use crate::bootstrap::{self, Told};
use crate::client::ApiClient;
use crate::client::access::Access;
use crate::clock::Clock;
use crate::config::Config;
use crate::identity;
use crate::kubeconfig::{Cluster, Kubeconfig, Trust};
use crate::metrics::Metrics;
use crate::perform::Answering;
use crate::run::{AgentError, Outcome};
use crate::tell::{Manner, Teller};

/// How long no credential may work before `--exit-on-expired-client-cert` ends the agent
/// (the kubelet's `exitAfter`).
const EXPIRED_MAX: Duration = Duration::from_secs(5 * 60);

/// What the names of a kubelet's certificate files begin with.
const CLIENT_PREFIX: &str = "kubelet-client";
const SERVING_PREFIX: &str = "kubelet-server";

/// Is told every notice.
pub(crate) type Observer = Box<dyn FnMut(Kind, &Notice) + Send>;

/// One certificate: the machine that decides, and what it decides about.
pub(crate) struct Machine {
    pub(crate) rotation: Rotation,
    pub(crate) store: Box<dyn CertStore + Send>,
    pub(crate) keys: SystemKeySource,
    pub(crate) current: Option<Arc<Credential>>,
    pub(crate) last_accepted: Option<Arc<Credential>>,
    /// Ends the running wait for a verdict.
    pub(crate) waiting: Option<AbortHandle>,
    teller: Teller,
    /// What went wrong last, for `--once`.
    last_failure: Option<String>,
}

impl Machine {
    pub(crate) fn stop_waiting(&mut self) {
        if let Some(handle) = self.waiting.take() {
            handle.abort();
        }
    }
}

/// A running agent.
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) client: ApiClient,
    pub(crate) metrics: Arc<Metrics>,
    /// The API server, for the node's own certificates.
    pub(crate) cluster: Arc<Cluster>,
    /// What requests of the node itself use: the client certificate, once there is one.
    pub(crate) client_access: watch::Sender<Option<Access>>,
    /// Requests under way.
    pub(crate) answers: FuturesUnordered<Answering>,
    machines: Vec<Machine>,
    pub(crate) addresses: AddressBook,
    observer: Observer,
    expired_since: Option<Monotonic>,
}

impl Node {
    /// Opens the cert dir, chooses between the kubeconfigs (writing one if need be) and makes the
    /// machines. Nothing is sent yet.
    pub(crate) fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        observer: Observer,
    ) -> Result<Self, AgentError> {
        for remark in &config.remarks {
            if remark.is_warning {
                tracing::warn!("{}", remark.text);
            } else {
                tracing::info!("{}", remark.text);
            }
        }
        bootstrap::check(&config).map_err(AgentError::Kubeconfig)?;
        let mut machines = open_machines(&config)?;
        let now = clock.wall();
        let mut current = None;
        if let Some(machine) = machines
            .iter_mut()
            .find(|m| m.rotation.kind() == Kind::Client)
        {
            let opened = machine.store.load(now)?;
            for finding in opened.findings {
                let monotonic = clock.monotonic();
                let now = Now {
                    wall: now,
                    monotonic,
                };
                machine.teller.tell(&Notice::StoreRecovered(finding), now);
            }
            current = opened.current;
        }
        let leaf = current.as_ref().map(|credential| credential.leaf());
        let choice = bootstrap::choose(&config, leaf, now).map_err(AgentError::Kubeconfig)?;
        for line in choice.told {
            match line {
                Told::Info(text) => tracing::info!("{text}"),
                Told::Warning(text) => tracing::warn!("{text}"),
            }
        }
        if choice.cluster.trust == Trust::DangerouslyAnybody {
            tracing::warn!(
                server = %choice.cluster.server,
                "insecure-skip-tls-verify: anybody can pose as the API server"
            );
        }
        if choice.cluster.trust == Trust::System {
            tracing::warn!(
                server = %choice.cluster.server,
                "the kubeconfig names no certificate-authority: the server's certificate must be signed by an authority \
                 that this host trusts anyway; name the cluster's in certificate-authority-data"
            );
        }
        let metrics = Arc::new(Metrics::new());
        if !config.client {
            metrics.go_without_client();
        }
        Ok(Self {
            client: ApiClient::new(Arc::clone(&clock)),
            cluster: Arc::new(choice.cluster),
            client_access: watch::Sender::new(None),
            answers: FuturesUnordered::new(),
            addresses: AddressBook::new(clock.monotonic()),
            expired_since: None,
            metrics,
            machines,
            observer,
            clock,
            config,
        })
    }

    /// The machine of a kind; effects only ever come from one that exists.
    pub(crate) fn machine(&mut self, kind: Kind) -> &mut Machine {
        self.machines
            .iter_mut()
            .find(|machine| machine.rotation.kind() == kind)
            .expect("invariant: an effect comes from a machine that exists")
    }

    fn kinds(&self) -> Vec<Kind> {
        self.machines.iter().map(|m| m.rotation.kind()).collect()
    }

    fn has(&self, kind: Kind) -> bool {
        self.machines.iter().any(|m| m.rotation.kind() == kind)
    }

    /// One turn: the time has come for something, or at least to look.
    pub(crate) fn turn(&mut self) {
        self.refresh_client_access();
        for kind in self.kinds() {
            let sources = self.sources(kind);
            let now = self.clock.now();
            self.machine(kind)
                .rotation
                .handle_event(now, Event::SourcesChanged(sources));
            self.machine(kind).rotation.handle_timeout(now);
            self.settle(kind);
            self.remind(kind);
        }
        self.look_up_addresses();
    }

    fn remind(&mut self, kind: Kind) {
        let now = self.clock.now();
        let machine = self.machine(kind);
        let rotation = &machine.rotation;
        let is_settled = rotation.phase() == Phase::Waiting
            && (kind == Kind::Serving || rotation.is_confirmed());
        let has_ended = rotation.standing(now.wall) == Standing::Expired;
        let dates = rotation.current().map(|leaf| LeafSummary::of(leaf).dates());
        let request = Waiting::of(rotation.pending());
        let overdue = overdue(dates, request, now.wall);
        let teller = &mut machine.teller;
        teller.watch(overdue.as_ref(), now, !is_settled);
        if !is_settled {
            teller.remind(now, has_ended);
        }
    }

    /// Gives a machine an answer, and carries out what follows from it.
    pub(crate) fn deliver(&mut self, kind: Kind, event: Event) {
        let now = self.clock.now();
        self.machine(kind).rotation.handle_event(now, event);
        self.settle(kind);
    }

    /// Tells notices and performs effects until the machine wants nothing more at this instant.
    fn settle(&mut self, kind: Kind) {
        loop {
            while let Some(notice) = self.machine(kind).rotation.poll_notice() {
                self.tell(kind, &notice);
            }
            let Some(effect) = self.machine(kind).rotation.poll_effect() else {
                break;
            };
            if let Some(event) = self.perform(kind, effect) {
                let now = self.clock.now();
                self.machine(kind).rotation.handle_event(now, event);
            }
        }
        let rotation = &self.machine(kind).rotation;
        let is_healthy = rotation.is_server_healthy();
        let request = Waiting::of(rotation.pending());
        self.metrics.set_server_healthy(kind, is_healthy);
        self.metrics.set_request(kind, request);
    }

    fn tell(&mut self, kind: Kind, notice: &Notice) {
        let is_first = self.machines.first().map(|m| m.rotation.kind()) == Some(kind);
        let now = self.clock.now();
        let machine = self.machine(kind);
        machine.teller.tell(notice, now);
        match notice {
            Notice::Failed { message, .. } => machine.last_failure = Some(message.clone()),
            Notice::Installed { .. } => machine.last_failure = None,
            // Both machines see the same clock; it is counted once.
            Notice::ClockStepped { .. } if is_first => self.metrics.record_clock_step(),
            _ => {}
        }
        self.metrics.record(kind, notice);
        (self.observer)(kind, notice);
    }

    /// How long nothing has to be done, at most [`NAP_MAX`].
    pub(crate) fn nap(&self) -> Duration {
        let now = self.clock.now();
        let machines = self.machines.iter().map(|machine| {
            let wake = machine.rotation.poll_timeout().unwrap_or_default();
            wake.nap(now, NAP_MAX)
        });
        let look = self.addresses.nap(now.monotonic);
        machines
            .chain(self.has(Kind::Serving).then_some(look))
            .fold(NAP_MAX, Duration::min)
    }

    /// Whether the agent should leave by itself, and why.
    pub(crate) fn outcome(&mut self) -> Result<Option<Outcome>, AgentError> {
        let now = self.clock.now();
        if self.config.exit_on_expired_client_cert && self.is_given_up(now) {
            tracing::error!(
                "no credential has worked for 5 minutes since a valid client cert was found, and \
                 the server answers: exiting"
            );
            return Ok(Some(Outcome::CredentialExpired));
        }
        if !self.config.once {
            return Ok(None);
        }
        for machine in &self.machines {
            let kind = machine.rotation.kind();
            match machine.rotation.phase() {
                Phase::BackingOff | Phase::Stuck => {
                    return Err(AgentError::NotDone {
                        kind: kind.as_str(),
                        reason: machine.last_failure.clone().unwrap_or_else(|| {
                            "no credential of this node is accepted by the server".to_owned()
                        }),
                    });
                }
                Phase::Waiting => {}
                // Somebody else's turn: the request stays pending and is taken up again next time.
                Phase::Awaiting if kind == Kind::Serving => {}
                _ => return Ok(None),
            }
        }
        let is_done = self.answers.is_empty() || self.answers.len() == self.waits();
        let has_client = self
            .machines
            .iter()
            .filter(|machine| machine.rotation.kind() == Kind::Client)
            .all(|machine| machine.rotation.is_confirmed());
        Ok((is_done && has_client && !self.addresses.is_looking()).then_some(Outcome::Done))
    }

    fn waits(&self) -> usize {
        self.machines
            .iter()
            .filter(|machine| machine.rotation.phase() == Phase::Awaiting)
            .count()
    }

    /// Expired or absent, every credential refused by a server that works, for five minutes.
    fn is_given_up(&mut self, now: Now) -> bool {
        let is_lost = self.machines.iter().any(|machine| {
            machine.rotation.kind() == Kind::Client
                && machine.rotation.phase() == Phase::Stuck
                && machine.rotation.is_server_healthy()
                && matches!(
                    machine.rotation.standing(now.wall),
                    Standing::Absent | Standing::Expired
                )
        });
        if !is_lost {
            self.expired_since = None;
            return false;
        }
        let since = *self.expired_since.get_or_insert(now.monotonic);
        now.monotonic.since(since) >= EXPIRED_MAX
    }

    /// The kubeconfig may name another server, or another CA, than at the last look.
    pub(crate) fn refresh_cluster(&mut self) {
        let Ok(kubeconfig) = Kubeconfig::read(&self.config.kubeconfig) else {
            return;
        };
        if kubeconfig.cluster == *self.cluster {
            return;
        }
        tracing::info!(server = %kubeconfig.cluster.server, "the kubeconfig's cluster changed");
        self.cluster = Arc::new(kubeconfig.cluster);
        let access = self.client_access.borrow().clone();
        if let Some(access) = access {
            self.client_access.send_replace(Some(Access {
                cluster: Arc::clone(&self.cluster),
                ..access
            }));
        }
    }

    /// Without a client machine the kubeconfig's own credential is the node's.
    fn refresh_client_access(&mut self) {
        if self.has(Kind::Client) {
            return;
        }
        let access = self
            .kubeconfig_access()
            .inspect_err(
                |error| tracing::debug!(%error, "the kubeconfig holds no credential to use"),
            )
            .ok();
        let is_other = *self.client_access.borrow() != access;
        if is_other {
            self.client_access.send_replace(access);
        }
    }

    fn look_up_addresses(&mut self) {
        if !self.has(Kind::Serving) {
            return;
        }
        let access = self.client_access.borrow().clone();
        self.addresses.look(
            &self.client,
            access,
            &self.config.node_name,
            self.clock.monotonic(),
        );
    }

    /// Takes in a look at the Node object.
    pub(crate) fn take_addresses(&mut self, looked: crate::addresses::Looked) {
        let now = self.clock.monotonic();
        let news = self.addresses.take(looked, &self.config, now);
        if news.is_refused && self.has(Kind::Client) {
            self.deliver(Kind::Client, Event::CredentialRefused);
        }
        if let Some(template) = news.template {
            self.deliver(Kind::Serving, Event::TemplateChanged(template));
        }
    }

    /// The node's local time: only names files.
    pub(crate) fn local_time(&self) -> DateTime {
        let zone = jiff::tz::TimeZone::system();
        zone.to_datetime(self.clock.wall())
    }
}

/// Locks the cert dir, and makes a machine for each certificate wanted, the client's first.
fn open_machines(config: &Config) -> Result<Vec<Machine>, StoreError> {
    let cert_dir = CertDir::open(&config.cert_dir)?;
    if cert_dir.is_volatile() == Some(true) {
        tracing::warn!(
            cert_dir = %config.cert_dir.display(),
            "the cert dir is in memory only: certificates are lost at the next boot"
        );
    }
    let mut machines = Vec::new();
    if config.client {
        let mut store = cert_dir.store(CLIENT_PREFIX);
        if let Some((certificate, key)) = bootstrap::named_files(&config.kubeconfig) {
            store = store.with_configured_pair(&certificate, &key);
        }
        machines.push(new_machine(config, Kind::Client, config.client_key, store));
    }
    if config.serving {
        let store = cert_dir.store(SERVING_PREFIX);
        machines.push(new_machine(
            config,
            Kind::Serving,
            config.serving_key,
            store,
        ));
    }
    Ok(machines)
}

fn new_machine(
    config: &Config,
    kind: Kind,
    algorithm: KeyAlgorithm,
    store: impl CertStore + Send + 'static,
) -> Machine {
    let machine_config = machine_config(config, kind, algorithm);
    let manner = Manner {
        is_once: config.once,
        is_without_renewal: !machine_config.renews,
    };
    tracing::info!(
        manager = kind.as_str(),
        node = config.node_name,
        cert_dir = %config.cert_dir.display(),
        "{}",
        manner.undertaking()
    );
    Machine {
        rotation: Rotation::new(machine_config, seed()),
        store: Box::new(store),
        keys: SystemKeySource(algorithm),
        current: None,
        last_accepted: None,
        waiting: None,
        teller: Teller::new(kind, manner),
        last_failure: None,
    }
}

/// What a kubelet asks for.
fn machine_config(
    config: &Config,
    kind: Kind,
    algorithm: KeyAlgorithm,
) -> everleaf_rotation::Config {
    let (signer, purpose, template) = match kind {
        Kind::Client => (
            SignerName::KUBE_APISERVER_CLIENT_KUBELET,
            Usage::ClientAuth,
            Some(identity::client_template(&config.node_name)),
        ),
        Kind::Serving => (SignerName::KUBELET_SERVING, Usage::ServerAuth, None),
    };
    let short = vec![Usage::DigitalSignature, purpose];
    let long = vec![Usage::DigitalSignature, Usage::KeyEncipherment, purpose];
    // Key encipherment means something for RSA keys only.
    let (usages, usages_long) = match algorithm {
        KeyAlgorithm::Rsa(_) => (long, Vec::new()),
        _ => (short, long),
    };
    everleaf_rotation::Config {
        kind,
        signer_name: SignerName::new(signer),
        template,
        usages,
        usages_long,
        renews: kind == Kind::Serving || config.renews,
        expiration_seconds: config.requested_seconds,
    }
}

/// Jitter only: the standard library's own randomness is enough.
fn seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
