//! The running system: server, controllers, and this host's node, started in order and stopped in
//! the opposite one.

use super::address::{self, Addresses};
use super::authority::{self, Authority, Wanted};
use super::care::Care;
use super::data_dir::{DataDir, ISSUANCE_LOG};
use super::ends::Ends;
use super::grants;
use super::kubeconfigs;
use super::node::{Node, Whose};
use super::own::Own;
use super::pods;
use super::rolling::Rolling;
use super::serving;
use super::shared;
use crate::audit::Audit;
use crate::cmd::dashboard::ui::{self, Foundation, Ui};
use crate::encryption::{self, EncryptionFile};
use crate::in_use::TextFile;
use crate::issuers;
use crate::server;
use crate::shutdown::Shutdown;
use anyhow::{Context, Result, anyhow};
use everleaf_agent::Clock;
use everleaf_apiserver::authn::jwt::JwtConfig;
use everleaf_apiserver::authn::{
    Config as AuthenticatorConfig, FrontProxyConfig, ServiceAccountConfig,
};
use everleaf_apiserver::authz::Authorizer;
use everleaf_apiserver::handler::Server;
use everleaf_apiserver::late_reissue::Policy;
use everleaf_apiserver::serve::{self, Beside, ServingCertificate};
use everleaf_apiserver::store::EtcdConfig;
use everleaf_controllers::cleaner::Ages;
use everleaf_controllers::issuers::SharedIssuer;
use everleaf_controllers::pods::PodSigner;
use everleaf_controllers::{Loop, ServingConfig, Telemetry};
use everleaf_node::places::STORE;
use everleaf_pki::KeyAlgorithm;
use everleaf_time::WallClock;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Longest wait for the controllers and the node to finish what is in hand.
const STOP_PATIENCE: Duration = Duration::from_secs(8);

/// The controllers that `up` runs when nobody names others, but for those that settings of their
/// own switch on.
pub(crate) const LOOPS: [Loop; 8] = [
    Loop::Approver,
    Loop::Signer,
    Loop::Cleaner,
    Loop::TokenCleaner,
    Loop::BootstrapSigner,
    Loop::PodCertificateCleaner,
    Loop::RootCaPublisher,
    Loop::RevocationListPublisher,
];

/// What `up` was asked to run.
pub(crate) struct Settings {
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// `--tls-san`
    pub(crate) sans: Vec<String>,
    /// Longest lifetime of certificates.
    pub(crate) signing_duration: Duration,
    /// Which controllers run; what is no part of `up` has no meaning.
    pub(crate) loops: BTreeSet<Loop>,
    /// How old requests become.
    pub(crate) ages: Ages,
    /// How serving requests are approved; none: not at all.
    pub(crate) serving_approval: Option<ServingConfig>,
    /// How certificates of pods are signed; none: not at all.
    pub(crate) pod_signer: Option<PodSigner>,
    /// Name of this host's node; none for no node.
    pub(crate) node_name: Option<String>,
    /// Kinds of keys that are made.
    pub(crate) keys: Keys,
    /// Name of the host, for the server's certificate.
    pub(crate) host_name: String,
    /// Whether people may look at [`ui::PATH`].
    pub(crate) ui: bool,
    /// Where the objects are; none: in the data directory.
    pub(crate) etcd: Option<EtcdConfig>,
    /// Bytes that the store in the data directory may have; 0: any number.
    pub(crate) storage_quota_bytes: u64,
    /// How the values of the store are encrypted; none: not at all.
    pub(crate) encryption: Option<EncryptionFile>,
    /// What is told of requests.
    pub(crate) audit: Option<Audit>,
    /// Issuers of tokens, and the file that names them.
    pub(crate) jwt: JwtConfig,
    /// Which nodes may come back whose certificate has ended.
    pub(crate) late_reissue: Option<Policy>,
    /// `--authentication-config`
    pub(crate) authentication_config: Option<TextFile>,
}

/// Kinds of keys that are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    /// This host's node's.
    pub(crate) nodes: KeyAlgorithm,
    /// The authority's, the API server's and admin.conf's.
    pub(crate) control_plane: KeyAlgorithm,
}

impl Keys {
    /// One kind for all.
    pub(crate) fn all(kind: KeyAlgorithm) -> Self {
        Self {
            nodes: kind,
            control_plane: kind,
        }
    }
}

/// A part that runs in the background.
struct Part {
    name: &'static str,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

/// The running system.
pub(crate) struct System {
    /// The API server.
    pub(crate) server: Arc<Server>,
    /// URL for this host.
    pub(crate) local_url: String,
    /// End of the authority.
    pub(crate) ca_not_after: Timestamp,
    /// End of the token in `bootstrap-kubelet.conf`.
    pub(crate) bootstrap_until: Timestamp,
    /// Signs for nodes.
    pub(super) issuer: SharedIssuer,
    pub(super) clock: Arc<dyn Clock>,
    /// What all controllers count, which are several runs.
    pub(super) telemetry: Arc<Telemetry>,
    /// In the order of their start.
    parts: Vec<Part>,
}

impl System {
    /// Takes the address.
    pub(crate) async fn listen(settings: &Settings) -> Result<TcpListener> {
        server::listen(settings.listen, "--listen").await
    }

    /// [`listen`](Self::listen) and [`start_on`](Self::start_on).
    pub(crate) async fn start(
        dir: &Arc<DataDir>,
        settings: &Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        Self::start_on(Self::listen(settings).await?, dir, settings, clock).await
    }

    /// Makes what is missing, starts everything, and returns when the API server answers.
    pub(crate) async fn start_on(
        listener: TcpListener,
        dir: &Arc<DataDir>,
        settings: &Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let now = clock.wall();
        let listen = listener
            .local_addr()
            .context("cannot see where the server listens")?;
        let addresses = Addresses::new(
            listen,
            &settings.host_name,
            &settings.sans,
            address::primary,
        );
        let wanted = wanted(settings, &addresses);
        let authority = authority::ensure(dir, &wanted, now)?;
        for remark in &authority.remarks {
            tracing::warn!("{remark}");
        }
        let server = open_server(dir, &authority, &addresses, settings, &clock)?;
        install(dir, &server, &authority, settings, now).await?;
        let bootstrap_until = write_kubeconfigs(dir, &server, &authority, &addresses, now).await?;
        let mut system = Self {
            local_url: addresses.local_url.clone(),
            ca_not_after: authority.issuer.certificate().not_after(),
            bootstrap_until,
            issuer: SharedIssuer::new(Arc::clone(&authority.issuer)),
            parts: Vec::new(),
            server,
            clock,
            telemetry: Arc::default(),
        };
        let authority = Arc::new(authority);
        let certificate = serving_certificate(&authority)?;
        let own = Own {
            dir: Arc::clone(dir),
            api: Arc::clone(&system.server),
            wanted,
            public_url: addresses.public_url.clone(),
            issuer: system.issuer.clone(),
            serving: Arc::clone(&certificate),
            log: dir.path(ISSUANCE_LOG),
            is_shared: settings.etcd.is_some(),
        };
        let rolling = own.rolling(&authority, now).await?;
        system.start_care(dir, &authority, &addresses, rolling);
        system.expose(&certificate);
        let ui = match settings.ui {
            true => Some(system.ui(dir, &addresses, listen.port())?),
            false => None,
        };
        system.start_server(listener, certificate, ui.clone());
        system.start_ui(ui);
        system.start_issuers(settings);
        system.start_encryption(settings);
        let approval = settings.serving_approval.clone();
        let approval = approval.map(|one| serving::approval(one, &system.server, &addresses));
        system.start_controllers(dir, settings, approval);
        if let Some(name) = &settings.node_name {
            let whose = Whose {
                name,
                key: settings.keys.nodes,
            };
            system.start_node(dir, whose, &authority, now).await?;
        }
        Ok(system)
    }

    /// Has the server's `/metrics` tell what the other parts count; the node does so itself.
    fn expose(&self, serving: &Arc<ServingCertificate>) {
        let ends = Ends {
            issuer: self.issuer.clone(),
            serving: Arc::clone(serving),
        };
        self.server.expose("up", Arc::new(ends));
        self.server.expose("controllers", self.telemetry.clone());
    }

    fn start_care(
        &mut self,
        dir: &Arc<DataDir>,
        authority: &Arc<Authority>,
        addresses: &Addresses,
        rolling: Rolling<Own>,
    ) {
        let care = Care {
            dir: Arc::clone(dir),
            api: Arc::clone(&self.server),
            public_url: addresses.public_url.clone(),
            bootstrap_until: self.bootstrap_until,
            authority: Arc::clone(authority),
            url: addresses.local_url.clone(),
            rolling,
            told: None,
        };
        let clock = Arc::clone(&self.clock);
        self.start_part("care of the certificates", |shutdown| async move {
            tokio::select! {
                () = shutdown.asked() => Ok(()),
                ended = care.run(clock) => ended,
            }
        });
    }

    fn start_issuers(&mut self, settings: &Settings) {
        let file = settings.authentication_config.clone();
        let issuer = server::SERVICE_ACCOUNT_ISSUER.to_owned();
        let clock = wall_clock(&self.clock);
        let follow = issuers::follow(file, issuer, Arc::clone(&self.server), clock);
        self.start_part("keys of issuers", |shutdown| async move {
            tokio::select! {
                () = shutdown.asked() => Ok(()),
                () = follow => Ok(()),
            }
        });
    }

    fn start_encryption(&mut self, settings: &Settings) {
        let Some(file) = settings.encryption.clone() else {
            return;
        };
        let clock = wall_clock(&self.clock);
        let follow = encryption::follow(Some(file), Arc::clone(&self.server), clock);
        self.start_part("encryption of the store", |shutdown| async move {
            tokio::select! {
                () = shutdown.asked() => Ok(()),
                () = follow => Ok(()),
            }
        });
    }

    /// What people look at.
    fn ui(&self, dir: &DataDir, addresses: &Addresses, port: u16) -> Result<Arc<Ui>> {
        let ui = Ui::new(Foundation {
            server: Arc::clone(&self.server),
            clock: wall_clock(&self.clock),
            url: addresses.public_url.clone(),
            port,
            issuance_log: dir.path(ISSUANCE_LOG),
        });
        ui.map(Arc::new)
    }

    /// Its streams end before the server waits for them.
    fn start_ui(&mut self, ui: Option<Arc<Ui>>) {
        if let Some(ui) = ui {
            self.start_part("dashboard", |shutdown| async move {
                shutdown.asked().await;
                ui.stop();
                Ok(())
            });
        }
    }

    fn start_server(
        &mut self,
        listener: TcpListener,
        certificate: Arc<ServingCertificate>,
        ui: Option<Arc<Ui>>,
    ) {
        let beside = ui.map(|pages| Beside {
            path: ui::PATH,
            pages,
        });
        let server = Arc::clone(&self.server);
        let clock = wall_clock(&self.clock);
        self.start_part("API server", |shutdown| async move {
            let clock = (clock, beside);
            serve::run_beside(listener, server, certificate, clock, shutdown.asked()).await?;
            Ok(())
        });
    }

    async fn start_node(
        &mut self,
        dir: &Arc<DataDir>,
        whose: Whose<'_>,
        authority: &Authority,
        now: Timestamp,
    ) -> Result<()> {
        let cluster = kubeconfigs::cluster(&self.local_url, &authority.ca_pem)?;
        let server = Arc::clone(&self.server);
        let node = Node::prepare(dir, server, whose, cluster, authority, now).await?;
        let clock = Arc::clone(&self.clock);
        self.start_part("node", |shutdown| node.run(clock, shutdown));
        Ok(())
    }

    pub(super) fn start_part<F>(&mut self, name: &'static str, run: impl FnOnce(Shutdown) -> F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (stop, shutdown) = Shutdown::by_hand();
        let task = tokio::spawn(run(shutdown));
        self.parts.push(Part { name, stop, task });
    }

    /// Runs until `shutdown`, or until a part ends that should not; then stops everything in order.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<()> {
        let outcome = tokio::select! {
            () = shutdown.asked() => Ok(()),
            ended = first_to_end(&mut self.parts) => Err(ended),
        };
        self.stop().await;
        outcome
    }

    /// Stops the last part first: the node and the controllers still need the server.
    pub(crate) async fn stop(self) {
        for part in self.parts.into_iter().rev() {
            part.stop.send_replace(true);
            if part.task.is_finished() {
                continue;
            }
            let abort = part.task.abort_handle();
            match tokio::time::timeout(STOP_PATIENCE + serve::STOP_TIMEOUT, part.task).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => {
                    tracing::warn!(
                        "{} stopped with: {}",
                        part.name,
                        crate::failure::chain(&error)
                    );
                }
                Ok(Err(error)) => tracing::warn!("{} stopped with: {error}", part.name),
                Err(_) => {
                    tracing::warn!("{} does not stop and is cut off", part.name);
                    abort.abort();
                }
            }
        }
        server::flush_audit(&self.server).await;
    }
}

fn wanted(settings: &Settings, addresses: &Addresses) -> Wanted {
    Wanted {
        signing_duration: settings.signing_duration,
        dns_names: addresses.dns_names.clone(),
        ip_addresses: addresses.ip_addresses.clone(),
        key_algorithm: settings.keys.control_plane,
    }
}

fn serving_certificate(authority: &Authority) -> Result<Arc<ServingCertificate>> {
    let chain = authority.server.chain().to_pem();
    let key = authority.server.key().to_pem();
    Ok(ServingCertificate::from_pem(
        chain.as_bytes(),
        key.as_bytes(),
    )?)
}

/// Writes the kubeconfigs of people and of new nodes, and publishes where the server is. Returns
/// until when the token of new nodes is good.
async fn write_kubeconfigs(
    dir: &DataDir,
    server: &Server,
    authority: &Authority,
    addresses: &Addresses,
    now: Timestamp,
) -> Result<Timestamp> {
    kubeconfigs::ensure_admin(dir, authority, &addresses.local_url, now)?;
    let public_url = &addresses.public_url;
    kubeconfigs::publish(server, public_url, &authority.ca_pem, now).await?;
    let public = kubeconfigs::cluster(public_url, &authority.ca_pem)?;
    kubeconfigs::ensure_bootstrap(dir, server, public, now).await
}

/// Returns why, once any part has ended.
async fn first_to_end(parts: &mut [Part]) -> anyhow::Error {
    let waits = parts.iter_mut().map(|part| {
        Box::pin(async move {
            match (&mut part.task).await {
                Ok(Ok(())) => anyhow!("the {} ended unexpectedly", part.name),
                Ok(Err(error)) => error.context(format!("the {} ended", part.name)),
                Err(error) => anyhow!("the {} ended by a defect: {error}", part.name),
            }
        })
    });
    futures_util::future::select_all(waits).await.0
}

/// Writes the server's own objects, into an etcd only if that is of this authority's cluster.
async fn install(
    dir: &DataDir,
    server: &Server,
    authority: &Authority,
    settings: &Settings,
    now: Timestamp,
) -> Result<()> {
    if let Some(etcd) = &settings.etcd {
        shared::claim(dir, server, authority, &etcd.prefix, now).await?;
    }
    server.install(now).await?;
    grant(server, settings, now).await
}

/// What the controllers that run may, besides what Kubernetes gives their accounts.
async fn grant(server: &Server, settings: &Settings, now: Timestamp) -> Result<()> {
    serving::grant(server, now).await?;
    if settings.loops.contains(&Loop::RootCaPublisher) {
        grants::root_ca_publisher(server, now).await?;
    }
    if settings.loops.contains(&Loop::RevocationListPublisher) {
        grants::revocation_list(server, now).await?;
    }
    if let Some(signer) = &settings.pod_signer {
        pods::grant(server, signer, now).await?;
    }
    Ok(())
}

fn open_server(
    dir: &DataDir,
    authority: &Authority,
    addresses: &Addresses,
    settings: &Settings,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<Server>> {
    let authenticator = AuthenticatorConfig {
        client_ca_pem: authority.ca_pem.clone().into_bytes(),
        front_proxy: Some(FrontProxyConfig::of_kubeadm(
            authority.front_proxy_ca_pem.clone(),
        )),
        service_accounts: Some(ServiceAccountConfig {
            issuer: server::SERVICE_ACCOUNT_ISSUER.to_owned(),
            audiences: Vec::new(),
            signing_key: Some(Arc::clone(&authority.service_account_key)),
            verification_keys: Vec::new(),
        }),
        token_auth_csv: String::new(),
        bootstrap_tokens: true,
        anonymous: true,
        jwt: settings.jwt.clone(),
        late_reissue: settings.late_reissue,
    };
    let address = addresses
        .public_url
        .trim_start_matches("https://")
        .to_owned();
    let audit = settings.audit.clone();
    let audit = audit.map(|audit| audit.start(wall_clock(clock)));
    let judges = (authenticator, Authorizer::default());
    if settings.etcd.is_none() {
        // Written when the first start had made its store.
        server::refuse_lost(&dir.path(STORE), Some(&dir.path(kubeconfigs::ADMIN)))?;
    }
    let quota = settings.storage_quota_bytes;
    let storage = server::Storage::of(
        settings.etcd.clone(),
        (dir.path(STORE), quota),
        settings.encryption.as_ref(),
    )?;
    server::open(
        storage,
        judges,
        address,
        audit.transpose()?,
        server::Offer::default(),
    )
}

/// A clock as the server and the controllers want it.
pub(crate) fn wall_clock(clock: &Arc<dyn Clock>) -> WallClock {
    let clock = Arc::clone(clock);
    Arc::new(move || clock.wall())
}
