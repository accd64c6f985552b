//! The state of a running agent: its machines, and everything that their effects need.
//!
//! Owns the turn: notices told, effects performed, answers delivered, until nothing is left to do
//! at this instant. It never waits; [`crate::run()`] does.

use crate::addresses::{AddressBook, Looked};
use crate::authorities::{AuthorityBook, Done};
use crate::bootstrap::{self, Told};
use crate::client::ApiClient;
use crate::client::access::Access;
use crate::clock::Clock;
use crate::config::Config;
use crate::endpoint::Shown;
use crate::kubeconfig::{Cluster, Kubeconfig, Trust};
use crate::late_reissue::{Answered, Door};
use crate::managed::{self, Machine, MachineIndex};
use crate::metrics::Metrics;
use crate::outcome::{AgentError, Outcome};
use crate::perform::{Answering, Versions};
use crate::profiles::{Acted, Acting, Profiles};
use crate::self_signed::SelfSigned;
use crate::tell::{REMINDER, WaitingProfiles};
use everleaf_rotation::overdue::Waiting;
use everleaf_rotation::{
    CertificateId, Event, Monotonic, NAP_MAX, Notice, Now, Overdue, Phase, Standing, overdue,
};
use futures_util::stream::FuturesUnordered;
use jiff::civil::DateTime;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long no credential may work before `--exit-on-expired-client-cert` ends the agent
/// (the kubelet's `exitAfter`).
const EXPIRED_MAX: Duration = Duration::from_secs(5 * 60);

/// Between two attempts to write the kubeconfig.
const KUBECONFIG_RETRY: Duration = Duration::from_secs(30);

/// Is told every notice.
pub(crate) type Observer = Box<dyn FnMut(&CertificateId, &Notice) + Send>;

/// Something that a turn begins with.
pub(crate) enum News {
    /// An answer for a machine; `None` when the wait for it was cancelled.
    Answer(Option<Box<(MachineIndex, Event)>>),
    /// The cluster's CAs were looked up, or it was told something.
    Authorities(Done),
    /// The Node object was looked at.
    Looked(Looked),
    /// The action of a profile has ended.
    Acted(Acted),
    /// The profiles are to be read again.
    ReloadAsked,
    /// The server was asked to let the node come back late.
    Late(Answered),
    /// Only that the time has come, or the clock was set.
    Time,
}

/// A running agent.
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) client: ApiClient,
    pub(crate) metrics: Arc<Metrics>,
    /// The API server, for the node's own certificates.
    pub(crate) cluster: Arc<Cluster>,
    /// What requests of the node itself use: the client certificate, once there is one.
    pub(crate) client_access: watch::Sender<Option<Access>>,
    /// What the TLS endpoint shows.
    pub(crate) shown: Arc<Shown>,
    /// What it shows where no serving certificate is kept.
    pub(crate) self_signed: Option<SelfSigned>,
    /// Requests under way.
    pub(crate) answers: FuturesUnordered<Answering>,
    /// Actions of profiles under way.
    pub(crate) actions: FuturesUnordered<Acting>,
    pub(crate) machines: BTreeMap<MachineIndex, Machine>,
    pub(crate) profiles: Profiles,
    pub(crate) addresses: AddressBook,
    pub(crate) authorities: AuthorityBook,
    /// Late re-issue, where it is wanted.
    pub(crate) late: Option<Door>,
    /// When this turn began: read once, so that all that it decides is decided at one instant.
    pub(crate) now: Now,
    pub(crate) versions: Versions,
    /// What was told of profiles that wait for their first certificates.
    pub(crate) waiting_profiles: WaitingProfiles,
    observer: Observer,
    expired_since: Option<Monotonic>,
    /// The kubeconfig could not be written: when to try again.
    kubeconfig_owed: Option<Monotonic>,
    /// Why, as told last, and when.
    kubeconfig_told: Option<(String, Monotonic)>,
}

impl Node {
    /// Opens the cert dir, chooses between the kubeconfigs (writing one if need be) and makes the
    /// machines. Nothing is sent yet.
    pub(crate) fn start(
        config: Config,
        clock: &Arc<dyn Clock>,
        observer: Observer,
    ) -> Result<Self, AgentError> {
        tell_of_config(&config);
        bootstrap::check(&config).map_err(AgentError::Kubeconfig)?;
        let now = clock.now();
        let mut machines = managed::open_machines(&config)?;
        let mut current = None;
        if let Some(machine) = machines.iter_mut().find(|machine| machine.is_nodes_own()) {
            let opened = machine.store.load(now.wall)?;
            for finding in opened.findings {
                machine.teller.tell(&Notice::StoreRecovered(finding), now);
            }
            current = opened.current;
        }
        let leaf = current.as_ref().map(|credential| credential.leaf());
        let choice = bootstrap::choose(&config, leaf, now.wall).map_err(AgentError::Kubeconfig)?;
        for line in choice.told {
            match line {
                Told::Info(text) => tracing::info!("{text}"),
                Told::Warning(text) => tracing::warn!("{text}"),
            }
        }
        tell_of_trust(&choice.cluster);
        let metrics = Arc::new(Metrics::new(machines.iter().map(|m| m.rotation.id())));
        Ok(Self {
            client: ApiClient::new(Arc::clone(clock)),
            cluster: Arc::new(choice.cluster),
            client_access: watch::Sender::new(None),
            shown: Arc::default(),
            self_signed: SelfSigned::for_agent(&config, now.monotonic),
            answers: FuturesUnordered::new(),
            actions: FuturesUnordered::new(),
            profiles: Profiles::new(&config, now.monotonic),
            addresses: AddressBook::new(now.monotonic),
            authorities: AuthorityBook::new(
                config.ca_refresh_interval,
                &config.node_name,
                now.monotonic,
            ),
            now,
            versions: Versions::default(),
            waiting_profiles: WaitingProfiles::default(),
            expired_since: None,
            kubeconfig_owed: None,
            kubeconfig_told: None,
            late: Door::open(&config, &metrics),
            metrics,
            machines: (0..).map(MachineIndex).zip(machines).collect(),
            observer,
            config,
        })
    }

    /// A machine.
    pub(crate) fn machine(&mut self, at: MachineIndex) -> &mut Machine {
        let machine = self.machines.get_mut(&at);
        machine.expect("who is asked about is there: answers for others are dropped")
    }

    fn indices(&self) -> Vec<MachineIndex> {
        self.machines.keys().copied().collect()
    }

    /// The machine of the certificate by which the node is known to the server.
    pub(crate) fn nodes_own(&self) -> Option<MachineIndex> {
        let mut machines = self.machines.iter();
        let found = machines.find(|(_, machine)| machine.is_nodes_own());
        found.map(|(at, _)| *at)
    }

    fn asks_for_addresses(&self) -> bool {
        self.machines
            .values()
            .any(|machine| machine.names_addresses)
    }

    /// One turn, at `now`: takes in what happened, and does all that can be done at this instant.
    pub(crate) fn turn(&mut self, now: Now, news: News) {
        self.now = now;
        // With hundreds of certificates, an answer for one of them is no reason to ask all: what is
        // due for others wakes the agent by itself.
        let news = match news {
            // Its profile is not kept any more.
            News::Answer(Some(answer)) if !self.machines.contains_key(&answer.0) => News::Time,
            news => news,
        };
        let concerned = match &news {
            News::Answer(Some(answer)) if !self.machine(answer.0).is_nodes_own() => Some(answer.0),
            _ => None,
        };
        match news {
            News::Answer(Some(answer)) => self.deliver(answer.0, answer.1),
            News::Acted(acted) => self.take_acted(acted),
            News::Looked(looked) => self.take_addresses(looked),
            News::Authorities(done) => self.take_authorities(done),
            News::ReloadAsked => self.profiles.read_again(now.monotonic),
            News::Late(answered) => self.take_late(answered),
            News::Answer(None) | News::Time => {}
        }
        self.refresh_client_access();
        self.show_self_signed();
        let are_others = self.follow_profiles();
        let concerned = concerned.filter(|_| !are_others);
        let turns = concerned.map_or_else(|| self.indices(), |at| vec![at]);
        for at in turns {
            let sources = self.sources(at);
            let rotation = &mut self.machine(at).rotation;
            rotation.handle_event(now, Event::SourcesChanged(sources));
            self.want_early(at);
            let rotation = &mut self.machine(at).rotation;
            rotation.handle_timeout(now);
            self.settle(at);
            self.remind(at);
            self.keep_profile(at);
        }
        self.tell_waiting_profiles();
        self.begin_actions();
        if self.kubeconfig_owed.is_some_and(|due| due <= now.monotonic) {
            self.adopt_current();
        }
        self.look_up_addresses();
        self.look_up_authorities();
        self.knock_late();
    }

    /// Tells a machine when its certificate is to be renewed for its CA's sake.
    fn want_early(&mut self, at: MachineIndex) {
        let now = self.now;
        let Some(machine) = self.machines.get_mut(&at) else {
            return;
        };
        let rotation = &mut machine.rotation;
        let current = rotation.current();
        let early = current.and_then(|leaf| self.authorities.early(leaf, &self.cluster));
        if rotation.wanted_early() != early {
            rotation.handle_event(now, Event::RenewalWanted(early));
        }
    }

    fn look_up_authorities(&mut self) {
        let access = self.client_access.borrow().clone();
        let kubelets = self
            .machines
            .values()
            .filter(|machine| machine.keeper.is_none());
        let serving = kubelets.into_iter().find(|machine| !machine.is_nodes_own());
        let serving = serving.and_then(|machine| machine.rotation.current());
        self.authorities.begin(
            &self.client,
            access,
            &self.config.node_name,
            serving,
            self.now.monotonic,
        );
    }

    /// Takes in what is announced about the cluster's CAs, into the kubeconfig first.
    fn take_authorities(&mut self, done: Done) {
        if done.is_refused()
            && let Some(at) = self.nodes_own()
        {
            self.deliver(at, Event::CredentialRefused);
        }
        let Some(bundle) = self.authorities.take(done) else {
            return;
        };
        let path = &self.config.kubeconfig;
        match Kubeconfig::replace_bundle(path, &bundle) {
            Ok(()) => {
                tracing::info!(
                    kubeconfig = %path.display(),
                    "the kubeconfig holds the cluster's CAs as they are announced; a request has shown that they are right"
                );
                self.refresh_cluster();
            }
            Err(error) => self.authorities.tell(format!(
                "the cluster's CA is being replaced, and the new one cannot be put into the kubeconfig: {error}"
            )),
        }
    }

    fn remind(&mut self, at: MachineIndex) {
        let now = self.now;
        let machine = self.machine(at);
        let rotation = &machine.rotation;
        let is_settled = rotation.phase() == Phase::Waiting
            && (!rotation.id().renews_itself() || rotation.is_confirmed());
        let has_ended = rotation.standing(now.wall) == Standing::Expired;
        let dates = rotation.dates();
        let request = Waiting::of(rotation.pending());
        let overdue = overdue(dates, request, now.wall);
        // Those of profiles are told together.
        let is_first = matches!(overdue, Some(Overdue::First(_)));
        let overdue = overdue.filter(|_| !is_first || machine.keeper.is_none());
        let teller = &mut machine.teller;
        teller.watch(overdue.as_ref(), now, !is_settled);
        if !is_settled {
            teller.remind(now, has_ended);
        }
    }

    /// Gives a machine an answer, and carries out what follows from it.
    fn deliver(&mut self, at: MachineIndex, event: Event) {
        let now = self.now;
        self.machine(at).rotation.handle_event(now, event);
        self.settle(at);
    }

    /// Tells notices and performs effects until the machine wants nothing more at this instant.
    fn settle(&mut self, at: MachineIndex) {
        let now = self.now;
        loop {
            while let Some(notice) = self.machine(at).rotation.poll_notice() {
                self.tell(at, &notice);
            }
            let Some(effect) = self.machine(at).rotation.poll_effect() else {
                break;
            };
            if let Some(event) = self.perform(at, effect) {
                self.machine(at).rotation.handle_event(now, event);
            }
        }
        let Some(machine) = self.machines.get(&at) else {
            return;
        };
        let rotation = &machine.rotation;
        let request = Waiting::of(rotation.pending());
        self.metrics
            .set_server_healthy(rotation.id(), rotation.is_server_healthy());
        self.metrics.set_request(rotation.id(), request);
    }

    fn tell(&mut self, at: MachineIndex, notice: &Notice) {
        let is_one = self.machines.keys().next() == Some(&at);
        let Some(machine) = self.machines.get_mut(&at) else {
            return;
        };
        machine.teller.tell(notice, self.now);
        match notice {
            Notice::Failed { message, .. } => machine.last_failure = Some(message.clone()),
            Notice::Installed { .. } => machine.last_failure = None,
            // Every machine sees the same clock; it is counted once.
            Notice::ClockStepped { .. } if is_one => self.metrics.record_clock_step(),
            _ => {}
        }
        let id = machine.rotation.id();
        self.metrics.record(id, notice);
        (self.observer)(id, notice);
    }

    /// How long nothing has to be done, at most [`NAP_MAX`].
    pub(crate) fn nap(&self) -> Duration {
        let now = self.now;
        let machines = self.machines.values().map(|machine| {
            let wake = machine.rotation.poll_timeout().unwrap_or_default();
            wake.nap(now, NAP_MAX)
        });
        let look = self.addresses.nap(now.monotonic);
        let profiles = self.profiles_wake().map(|due| due.since(now.monotonic));
        machines
            .chain([self.authorities.nap(now.monotonic)])
            .chain(self.asks_for_addresses().then_some(look))
            .chain(self.kubeconfig_owed.map(|due| due.since(now.monotonic)))
            .chain(profiles)
            .chain(self.late_nap())
            .fold(NAP_MAX, Duration::min)
    }

    /// Whether the agent should leave by itself, and why.
    pub(crate) fn outcome(&mut self) -> Result<Option<Outcome>, AgentError> {
        if self.config.exit_on_expired_client_cert && self.is_given_up() {
            tracing::error!(
                "no credential has worked for 5 minutes since a valid client cert was found, and \
                 the server answers: exiting"
            );
            return Ok(Some(Outcome::CredentialExpired));
        }
        if !self.config.once {
            return Ok(None);
        }
        for machine in self.machines.values() {
            let id = machine.rotation.id();
            match machine.rotation.phase() {
                Phase::Stuck if self.is_late_at_it() => return Ok(None),
                Phase::BackingOff | Phase::Stuck => {
                    return Err(AgentError::NotDone {
                        name: id.to_string(),
                        reason: machine.last_failure.clone().unwrap_or_else(|| {
                            "no credential of this node is accepted by the server".to_owned()
                        }),
                    });
                }
                Phase::Waiting => {}
                // Somebody else's turn: the request stays pending and is taken up again next time.
                Phase::Awaiting if !id.renews_itself() => {}
                _ => return Ok(None),
            }
        }
        if !self.are_profiles_settled()? {
            return Ok(None);
        }
        if self.is_knocking_late() {
            return Ok(None);
        }
        let is_done = self.answers.is_empty() || self.answers.len() == self.waits();
        let has_client = self
            .machines
            .values()
            .filter(|machine| machine.rotation.id().renews_itself())
            .all(|machine| machine.rotation.is_confirmed());
        if !is_done || !has_client || self.addresses.is_looking() {
            return Ok(None);
        }
        self.profiles.check_all_are_good()?;
        Ok(Some(Outcome::Done))
    }

    fn waits(&self) -> usize {
        self.machines
            .values()
            .filter(|machine| machine.rotation.phase() == Phase::Awaiting)
            .count()
    }

    /// Expired or absent, every credential refused by a server that works, for five minutes.
    fn is_given_up(&mut self) -> bool {
        let now = self.now;
        let is_lost = self.machines.values().any(|machine| {
            machine.is_nodes_own()
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
        if self.nodes_own().is_some() {
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
        if !self.asks_for_addresses() {
            return;
        }
        let access = self.client_access.borrow().clone();
        self.addresses.look(
            &self.client,
            access,
            &self.config.node_name,
            self.now.monotonic,
        );
    }

    /// Takes in a look at the Node object.
    fn take_addresses(&mut self, looked: Looked) {
        let news = self
            .addresses
            .take(looked, &self.config, self.now.monotonic);
        if news.is_refused
            && let Some(at) = self.nodes_own()
        {
            self.deliver(at, Event::CredentialRefused);
        }
        let Some(template) = news.template else {
            return;
        };
        for at in self.indices() {
            if self.machine(at).names_addresses {
                self.deliver(at, Event::TemplateChanged(template.clone()));
            }
        }
    }

    /// Makes the kubeconfig name the current client certificate, if it holds one of its own; again
    /// later if it cannot be written.
    pub(crate) fn adopt_current(&mut self) {
        let now = self.now.monotonic;
        self.kubeconfig_owed = None;
        let kubeconfig = self.config.kubeconfig.display();
        let adopted = bootstrap::adopt_current(&self.config);
        if adopted.is_ok() {
            self.kubeconfig_told = None;
        }
        match adopted {
            Ok(None) => {}
            Ok(Some(copy)) => tracing::info!(
                %kubeconfig,
                copy = %copy.display(),
                "the kubeconfig held a certificate of its own; it now names the current one"
            ),
            Err(error) => {
                let is_told = |(before, at): &(String, Monotonic)| {
                    *before == error && now.since(*at) < REMINDER
                };
                if !self.kubeconfig_told.as_ref().is_some_and(is_told) {
                    self.kubeconfig_told = Some((error.clone(), now));
                    tracing::warn!(
                        %error,
                        "the kubeconfig still holds a certificate that goes stale; trying again every {} s",
                        KUBECONFIG_RETRY.as_secs()
                    );
                }
                self.kubeconfig_owed = Some(now + KUBECONFIG_RETRY);
            }
        }
    }

    /// The node's local time: only names files.
    pub(crate) fn local_time(&self) -> DateTime {
        let zone = jiff::tz::TimeZone::system();
        zone.to_datetime(self.now.wall)
    }
}

/// What is to be known of the options and the kubelet's configuration.
fn tell_of_config(config: &Config) {
    for remark in &config.remarks {
        if remark.is_warning {
            tracing::warn!("{}", remark.text);
        } else {
            tracing::info!("{}", remark.text);
        }
    }
    if !config.lets_be.is_empty() {
        tracing::debug!(
            fields = config.lets_be.join(","),
            "these fields of the kubelet's configuration concern no certificate, and are let be"
        );
    }
}

/// What everybody should know who relies on this server.
fn tell_of_trust(cluster: &Cluster) {
    if cluster.trust == Trust::DangerouslyAnybody {
        tracing::warn!(
            server = %cluster.server,
            "insecure-skip-tls-verify: anybody can pose as the API server"
        );
    }
    if cluster.trust == Trust::System {
        tracing::warn!(
            server = %cluster.server,
            "the kubeconfig names no certificate-authority: the server's certificate must be signed by an authority \
             that this host trusts anyway; name the cluster's in certificate-authority-data"
        );
    }
}
