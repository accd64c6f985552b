//! One simulated node: the production rotation machine around a cert dir in memory.
//!
//! Stands where `agent/run.rs` and `agent/perform.rs` stand in production. A crash drops the machine
//! and everything else that is not on the disk.

use crate::call::Call;
use crate::clock::HostClock;
use crate::disk::PowerLoss;
use crate::rng::Rng;
use everleaf_apiserver::authn::Peer;
use everleaf_pki::request::digest_name;
use everleaf_pki::{
    Credential, KeyError, KeySource, PrivateKey, SignerName, Subject, Template, Usage,
};
use everleaf_rotation::store::memory::MemoryStore;
use everleaf_rotation::{
    CertStore, CertificateId, Config, CredentialChoice, CredentialVersion, Effect, Event, Notice,
    Now, Order, PendingRequest, RequestName, Rotation, Sources, StoreError, Wake,
};
use jiff::tz::Offset;
use std::sync::Arc;
use std::time::Duration;

/// Keys from a seed: Ed25519, whose signatures are deterministic.
#[derive(Debug)]
struct SeededKeys(Rng);

impl KeySource for SeededKeys {
    fn generate(&mut self) -> Result<PrivateKey, KeyError> {
        PrivateKey::from_ed25519_seed(&self.0.bytes())
    }
}

/// The minor version of Kubernetes 1 that the simulated server speaks for, as ours does.
const SERVER_MINOR: u32 = 37;

/// What a turn of a node leads to.
#[derive(Debug)]
pub enum Deed {
    /// A call to the API server.
    Call(Box<Call>, CredentialChoice),
    /// Stop looking at the pending request.
    StopLooking,
    /// Nothing outside the node.
    Done,
    /// Power was lost during it.
    PowerLost,
}

/// A node, up or down.
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its clocks.
    pub clock: HostClock,
    store: MemoryStore,
    keys: SeededKeys,
    seeds: Rng,
    token: String,
    machine: Option<Rotation>,
    current: Option<Arc<Credential>>,
    last_accepted: Option<Arc<Credential>>,
    /// Counts boots: an answer to an earlier life is dropped.
    pub life: u32,
}

impl Node {
    /// A node that has never been up.
    pub fn new(name: String, clock: HostClock, rng: &Rng, token: String) -> Self {
        Self {
            store: MemoryStore::new("kubelet-client"),
            keys: SeededKeys(rng.branch("keys")),
            seeds: rng.branch("seeds"),
            name,
            clock,
            token,
            machine: None,
            current: None,
            last_accepted: None,
            life: 0,
        }
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.machine.is_some()
    }

    /// The credential that requests would present now.
    pub fn current(&self) -> Option<&Arc<Credential>> {
        self.current.as_ref()
    }

    /// Boots: a new machine that knows nothing but the disk.
    pub fn boot(&mut self, elapsed: Duration) {
        self.life += 1;
        self.clock.reboot(elapsed);
        let subject = Subject {
            common_name: format!("system:node:{}", self.name),
            organizations: vec!["system:nodes".to_owned()],
        };
        let config = Config {
            id: CertificateId::kubelet_client(),
            signer_name: SignerName::new(SignerName::KUBE_APISERVER_CLIENT_KUBELET),
            template: Some(Template {
                subject,
                ..Template::default()
            }),
            usages: vec![Usage::DigitalSignature, Usage::ClientAuth],
            renews: true,
            usages_long: vec![
                Usage::DigitalSignature,
                Usage::KeyEncipherment,
                Usage::ClientAuth,
            ],
            expiration_seconds: None,
        };
        self.machine = Some(Rotation::new(config, self.seeds.next_word()));
    }

    /// Loses power: memory is gone, and of the disk what was not synced.
    pub fn crash(&mut self, kept_names: usize) {
        self.machine = None;
        self.current = None;
        self.last_accepted = None;
        self.store.restart(kept_names);
    }

    /// What is on the disk of a node that is down, as its next start would find it.
    pub fn on_disk(&mut self, now: Now) -> Option<Arc<Credential>> {
        self.store.load(now.wall).ok()?.current
    }

    /// Looks at the time.
    pub fn wake(&mut self, now: Now) {
        if let Some(machine) = &mut self.machine {
            machine.handle_timeout(now);
        }
    }

    /// Takes in an answer.
    pub fn tell(&mut self, now: Now, event: Event) {
        if let Some(machine) = &mut self.machine {
            machine.handle_event(now, event);
        }
    }

    /// The next notice, if any.
    pub fn notice(&mut self) -> Option<Notice> {
        self.machine.as_mut()?.poll_notice()
    }

    /// When it wants to look at the time again.
    pub fn next_wake(&self) -> Wake {
        self.machine
            .as_ref()
            .and_then(Rotation::poll_timeout)
            .unwrap_or_default()
    }

    /// Carries out the next effect. `None` when there is none left; a store's answer is delivered at
    /// once. `power` decides whether power is lost during a disk operation of it.
    pub fn perform_next(&mut self, now: Now, power: &mut PowerLoss) -> Option<Deed> {
        let effect = self.machine.as_mut()?.poll_effect()?;
        if touches_disk(&effect)
            && let Some(operations) = power.strike()
        {
            self.store.lose_power_after(operations);
            // Even when the effect was over by then, the machine never hears of it.
            self.perform_on_disk(now, effect);
            return Some(Deed::PowerLost);
        }
        Some(match effect {
            Effect::AskVersion { .. } => {
                let minor = Some(SERVER_MINOR);
                self.tell(now, Event::VersionAnswered { minor });
                Deed::Done
            }
            Effect::Await {
                pending,
                credential,
                ..
            } => Deed::Call(Box::new(Call::Look(pending)), credential),
            Effect::CancelAwait => Deed::StopLooking,
            Effect::Confirm { credential } => {
                Deed::Call(Box::new(Call::Confirm(credential)), credential)
            }
            Effect::Submit {
                pending,
                credential,
            } => Deed::Call(Box::new(Call::Create(pending)), credential),
            other => {
                if let Some(event) = self.perform_on_disk(now, other) {
                    self.tell(now, event);
                }
                Deed::Done
            }
        })
    }

    fn perform_on_disk(&mut self, now: Now, effect: Effect) -> Option<Event> {
        let result = match effect {
            Effect::Accept => self
                .store
                .accept()
                .map(|deleted| Event::Accepted { deleted }),
            Effect::DiscardPending => self.store.discard_pending().map(|()| Event::Discarded),
            Effect::Install { chain } => {
                let local = Offset::UTC.to_datetime(now.wall);
                self.store.install(&chain, local).map(|credential| {
                    let leaf = credential.leaf().clone();
                    self.current = Some(credential);
                    Event::Installed { leaf }
                })
            }
            Effect::Load => self.store.load(now.wall).map(|opened| {
                let sources = Sources {
                    bootstrap: Some(CredentialVersion(1)),
                    ..Sources::default()
                };
                let loaded = opened.loaded(sources);
                self.current = opened.current;
                self.last_accepted = opened.last_accepted;
                Event::Loaded(loaded)
            }),
            Effect::Prepare(order) => self.prepare(now, order).map(Event::Prepared),
            Effect::RecordPending(pending) => {
                // Best effort: the name finds the object again.
                let _ = self.store.update_pending(&pending);
                return None;
            }
            Effect::Revert => self.store.revert().map(|credential| {
                let leaf = credential.leaf().clone();
                self.current = Some(Arc::clone(&credential));
                self.last_accepted = Some(credential);
                Event::Reverted { leaf }
            }),
            _ => return None,
        };
        Some(result.unwrap_or_else(Event::StoreFailed))
    }

    fn prepare(&mut self, now: Now, order: Order) -> Result<PendingRequest, StoreError> {
        let key = self.keys.generate().map_err(StoreError::Key)?;
        let request_pem = order
            .template
            .to_request_pem(&key)
            .map_err(StoreError::Key)?;
        let usages: Vec<_> = order.usages.iter().map(|usage| usage.as_str()).collect();
        let subject = &order.template.subject;
        let name = digest_name(
            key.public_key().spki_der(),
            &subject.common_name,
            &subject.organizations,
            &usages,
        );
        let public_key = key.public_key().clone();
        let pending = PendingRequest::new(
            order,
            RequestName::new(name),
            request_pem,
            public_key,
            now.wall,
        );
        self.store.put_pending(&pending, &key)?;
        Ok(pending)
    }

    /// What the transport shows the server, and the bearer token if that is the credential.
    pub fn present(&self, choice: CredentialChoice) -> (Peer, Option<String>) {
        let credential = match choice {
            CredentialChoice::Current => &self.current,
            CredentialChoice::LastAccepted => &self.last_accepted,
            CredentialChoice::Bootstrap => return (Peer::default(), Some(self.token.clone())),
            CredentialChoice::ClientCredential | CredentialChoice::Kubeconfig => &None,
        };
        let certificates = credential.iter().flat_map(|credential| {
            credential
                .chain()
                .certificates()
                .iter()
                .map(|leaf| leaf.der().to_vec())
        });
        let peer = Peer {
            certificates: Arc::new(certificates.collect()),
            in_process: None,
        };
        (peer, None)
    }
}

fn touches_disk(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Accept
            | Effect::DiscardPending
            | Effect::Install { .. }
            | Effect::Prepare(_)
            | Effect::RecordPending(_)
            | Effect::Revert
    )
}
