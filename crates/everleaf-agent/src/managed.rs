//! The certificates that an agent keeps: the two of a kubelet, and those of profiles.
//!
//! Owns what is particular to each: what to ask for, of whom, and where it is kept. Everything else
//! treats all alike.

use crate::bootstrap;
use crate::client::access::Presentable;
use crate::config::Config;
use crate::identity;
use crate::keys::{self, Keys};
use crate::outcome::AgentError;
use crate::profile::{Keeper, Kept};
use crate::profiles::ToldFiles;
use crate::tell::{Manner, Teller};
use everleaf_pki::{Credential, KeyAlgorithm, SignerName, Usage};
use everleaf_rotation::store::Opened;
use everleaf_rotation::store::dir::CertDir;
use everleaf_rotation::{CertStore, CertificateId, Monotonic, RenewedBy, Rotation};
use futures_util::future::AbortHandle;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

/// What the names of a kubelet's certificate files begin with.
const CLIENT_PREFIX: &str = "kubelet-client";
const SERVING_PREFIX: &str = "kubelet-server";

/// Where in the cert dir the certificates of profiles are.
pub(crate) const PROFILES_DIRECTORY: &str = "profiles";

/// Which of an agent's machines: a number that no other one ever has. The node's own come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MachineIndex(pub(crate) usize);

/// One certificate: the machine that decides, and what it decides about.
pub(crate) struct Machine {
    pub(crate) rotation: Rotation,
    pub(crate) store: Box<dyn CertStore + Send>,
    pub(crate) keys: Keys,
    pub(crate) current: Option<Arc<Credential>>,
    pub(crate) last_accepted: Option<Arc<Credential>>,
    /// Whether it asks for the names and addresses of the Node object.
    pub(crate) names_addresses: bool,
    /// Ends the running wait for a verdict.
    pub(crate) waiting: Option<AbortHandle>,
    pub(crate) teller: Teller,
    /// What went wrong last, for `--once`.
    pub(crate) last_failure: Option<String>,
    /// Its profile's files and action, if it has one.
    pub(crate) keeper: Option<Box<Keeper>>,
    pub(crate) told_files: ToldFiles,
}

impl Machine {
    pub(crate) fn stop_waiting(&mut self) {
        if let Some(handle) = self.waiting.take() {
            handle.abort();
        }
    }

    /// Takes a certificate whose key is gone from its token for none, so that another one is asked
    /// for now. Its file stays as it is: whoever finds the key again needs nothing else.
    pub(crate) fn forget_lost(&self, opened: &mut Opened) {
        let why = |credential: &Option<Arc<Credential>>| {
            let credential = credential.as_ref()?;
            let _ = credential.key().uri()?;
            Presentable::new(credential).err()
        };
        if why(&opened.last_accepted).is_some() {
            opened.last_accepted = None;
        }
        if let Some(error) = why(&opened.current) {
            tracing::warn!(
                manager = self.rotation.id().name(),
                %error,
                "the key of the certificate is lost: another one is asked for"
            );
            opened.current = None;
        }
    }

    /// Deletes from a token what its files name no more.
    pub(crate) fn sweep_keys(&mut self) {
        self.keys.sweep(&*self.store, self.rotation.id().name());
    }

    /// Whether its certificate is the one by which the node is known to the server.
    pub(crate) fn is_nodes_own(&self) -> bool {
        self.rotation.id().renews_itself()
    }
}

/// Locks the cert dir, and makes a machine for each certificate of the node itself: the client's
/// first.
pub(crate) fn open_machines(config: &Config) -> Result<Vec<Machine>, AgentError> {
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
        let (usages, usages_long) = usages(Usage::ClientAuth, config.client_key);
        let wanted = everleaf_rotation::Config {
            id: CertificateId::kubelet_client(),
            signer_name: SignerName::new(SignerName::KUBE_APISERVER_CLIENT_KUBELET),
            template: Some(identity::client_template(&config.node_name)),
            usages,
            usages_long,
            renews: config.renews,
            expiration_seconds: config.requested_seconds,
            timing: config.timing,
        };
        let keys = Keys::of_node(config, config.client_key, CLIENT_PREFIX);
        let keys = keys.map_err(AgentError::KeyStore)?;
        machines.push(new_machine(config, wanted, keys, store));
    }
    if config.serving {
        let store = cert_dir.store(SERVING_PREFIX);
        let (usages, usages_long) = usages(Usage::ServerAuth, config.serving_key);
        let wanted = everleaf_rotation::Config {
            id: CertificateId::kubelet_serving(),
            signer_name: SignerName::new(SignerName::KUBELET_SERVING),
            // The Node object says.
            template: None,
            usages,
            usages_long,
            renews: true,
            expiration_seconds: config.requested_seconds,
            timing: config.timing,
        };
        let keys = Keys::of_node(config, config.serving_key, SERVING_PREFIX);
        let keys = keys.map_err(AgentError::KeyStore)?;
        machines.push(new_machine(config, wanted, keys, store));
    }
    keys::check(config, &machines).map_err(AgentError::KeyStore)?;
    Ok(machines)
}

/// The node's own certificate asks for those of profiles: a program on the node has no other way to
/// show who asks, and a stolen certificate of a program cannot prolong itself.
pub(crate) fn profile_machine(
    config: &Config,
    kept: Kept,
    directory: &CertDir,
    now: Monotonic,
) -> Machine {
    let profile = &kept.profile;
    let wanted = everleaf_rotation::Config {
        id: CertificateId::new(&profile.name, RenewedBy::Another),
        signer_name: profile.signer_name.clone(),
        template: Some(profile.template.clone()),
        usages: profile.usages.clone(),
        usages_long: Vec::new(),
        renews: true,
        expiration_seconds: profile.expiration_seconds,
        timing: profile.timing,
    };
    let store = directory.store(&profile.name);
    let machine = new_machine(config, wanted, Keys::in_files(profile.key), store);
    Machine {
        keeper: Some(Box::new(Keeper::new(kept, directory.path(), now))),
        ..machine
    }
}

fn new_machine(
    config: &Config,
    wanted: everleaf_rotation::Config,
    keys: Keys,
    store: impl CertStore + Send + 'static,
) -> Machine {
    let manner = Manner {
        is_once: config.once,
        is_without_renewal: !wanted.renews,
    };
    let id = wanted.id.clone();
    tracing::info!(
        manager = id.name(),
        node = config.node_name,
        cert_dir = %config.cert_dir.display(),
        "{}",
        manner.undertaking()
    );
    Machine {
        names_addresses: wanted.template.is_none(),
        rotation: Rotation::new(wanted, seed()),
        store: Box::new(store),
        keys,
        current: None,
        last_accepted: None,
        waiting: None,
        teller: Teller::new(id, manner),
        last_failure: None,
        keeper: None,
        told_files: None,
    }
}

/// The two forms that a kubelet asks in, the usual one first.
pub(crate) fn usages(purpose: Usage, algorithm: KeyAlgorithm) -> (Vec<Usage>, Vec<Usage>) {
    let short = vec![Usage::DigitalSignature, purpose];
    let long = vec![Usage::DigitalSignature, Usage::KeyEncipherment, purpose];
    match algorithm {
        // Key encipherment means something for RSA keys only.
        KeyAlgorithm::Rsa(_) => (long, Vec::new()),
        // It is forbidden for these (RFC 9881 5), and whoever takes them takes the short form.
        KeyAlgorithm::MlDsa(_) => (short, Vec::new()),
        _ => (short, long),
    }
}

/// Jitter only: the standard library's own randomness is enough.
fn seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
