//! One simulated node: the production rotation machines around cert dirs in memory.
//!
//! Stands where the agent's `node.rs` and `perform.rs` stand in production. A crash drops the
//! machines and everything else that is not on the disk.

use crate::clock::HostClock;
use crate::disk::PowerLoss;
use crate::exchange::Exchange;
use crate::late::Late;
use crate::rng::Rng;
use everleaf_agent::client::{Answer, Failure};
use everleaf_agent::late_reissue::{Facts, Heard};
use everleaf_apiserver::authn::Peer;
use everleaf_pki::request::digest_name;
use everleaf_pki::{
    Credential, KeyError, KeySource, MlDsa, PrivateKey, SignerName, Subject, Template, Usage,
};
use everleaf_rotation::store::memory::MemoryStore;
use everleaf_rotation::{
    CertStore, CertificateId, Config, CredentialChoice, CredentialVersion, Effect, Event, KeyForm,
    Monotonic, Notice, Now, Order, PendingRequest, Phase, RequestName, Rotation, Sources,
    StoreError, Timing, Wake,
};
use jiff::tz::Offset;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Keys from a seed. The usual kind is Ed25519, whose signatures are deterministic; it stands where
/// ECDSA P-256 stands in production.
#[derive(Debug)]
struct SeededKeys {
    rng: Rng,
    /// The kind that is configured; `None`: the usual one.
    configured: Option<MlDsa>,
}

impl SeededKeys {
    fn generate_as(&mut self, form: KeyForm) -> Result<PrivateKey, KeyError> {
        match form {
            KeyForm::Configured => self.generate(),
            KeyForm::Usual => PrivateKey::from_ed25519_seed(&self.rng.bytes()),
        }
    }
}

impl KeySource for SeededKeys {
    fn generate(&mut self) -> Result<PrivateKey, KeyError> {
        let seed = self.rng.bytes();
        match self.configured {
            Some(set) => PrivateKey::from_ml_dsa_seed(set, &seed),
            None => PrivateKey::from_ed25519_seed(&seed),
        }
    }
}

/// What performing an effect leads to.
pub enum Performed {
    /// A conversation with the API server begins.
    Begun(Box<Exchange>),
    /// Nothing outside the node.
    Done,
    /// Power was lost during it.
    PowerLost,
    /// The credential is in use: whoever authenticates with it should know.
    Published,
}

/// One certificate of a node.
struct Slot {
    /// Whom checkers and traces name.
    name: String,
    id: CertificateId,
    store: MemoryStore,
    machine: Option<Rotation>,
    current: Option<Arc<Credential>>,
    last_accepted: Option<Arc<Credential>>,
}

/// A node, up or down.
pub struct Node {
    /// Its clocks.
    pub clock: HostClock,
    /// Its conversations with the API server, each with the slot that it serves.
    pub exchanges: BTreeMap<u64, (usize, Exchange)>,
    name: String,
    keys: SeededKeys,
    seeds: Rng,
    token: String,
    slots: Vec<Slot>,
    /// The client certificate that is in use.
    client: Option<Arc<Credential>>,
    /// Its late re-issue, where it asks for that.
    late: Option<Late>,
}

impl Node {
    /// A node that has never been up.
    pub fn new(name: &str, clock: HostClock, rng: &Rng, token: String, serving: bool) -> Self {
        let slot = |id, name: String, prefix| Slot {
            name,
            id,
            store: MemoryStore::new(prefix),
            machine: None,
            current: None,
            last_accepted: None,
        };
        let mut slots = vec![slot(
            CertificateId::kubelet_client(),
            name.to_owned(),
            "kubelet-client",
        )];
        if serving {
            let of_node = format!("{name}/serving");
            slots.push(slot(
                CertificateId::kubelet_serving(),
                of_node,
                "kubelet-server",
            ));
        }
        Self {
            clock,
            exchanges: BTreeMap::new(),
            name: name.to_owned(),
            keys: SeededKeys {
                rng: rng.branch("keys"),
                configured: None,
            },
            seeds: rng.branch("seeds"),
            token,
            slots,
            client: None,
            late: None,
        }
    }

    /// Whether the node comes back by its old key when its certificate has ended.
    pub fn with_late(mut self, is_wanted: bool, rng: &Rng) -> Self {
        self.late = is_wanted.then(|| Late::new(rng));
        self
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.slots.iter().any(|slot| slot.machine.is_some())
    }

    /// How many certificates it keeps.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Whom checkers and traces name.
    pub fn name(&self, slot: usize) -> &str {
        &self.slots[slot].name
    }

    /// The credential of a slot that is in use.
    pub fn current(&self, slot: usize) -> Option<&Arc<Credential>> {
        self.slots[slot].current.as_ref()
    }

    /// The kind of key that the agent is configured with from its next start on; `None`: the usual
    /// one.
    pub fn configure_keys(&mut self, kind: Option<MlDsa>) {
        self.keys.configured = kind;
    }

    /// The agent starts: new machines that know nothing but the disk.
    pub fn start(&mut self) {
        for slot in &mut self.slots {
            let config = config(&self.name, &slot.id);
            slot.machine = Some(Rotation::new(config, self.seeds.next_word()));
        }
    }

    /// The agent ends: memory is gone. Of the names on disk that were not synced, so many survive.
    pub fn stop(&mut self, kept_names: usize) {
        self.exchanges.clear();
        self.client = None;
        if let Some(late) = &mut self.late {
            late.restart();
        }
        for slot in &mut self.slots {
            slot.machine = None;
            slot.current = None;
            slot.last_accepted = None;
            slot.store.restart(kept_names);
        }
    }

    /// What is on the disk of a node that is down, as its next start would find it.
    pub fn on_disk(&mut self, slot: usize, now: Now) -> Option<Arc<Credential>> {
        self.slots[slot].store.load(now.wall).ok()?.current
    }

    /// Looks at the time, and at what credentials there are.
    pub fn wake(&mut self, slot: usize, now: Now) {
        let sources = self.sources(slot);
        if let Some(machine) = &mut self.slots[slot].machine {
            machine.handle_event(now, Event::SourcesChanged(sources));
            machine.handle_timeout(now);
        }
    }

    fn sources(&self, slot: usize) -> Sources {
        if self.slots[slot].id.renews_itself() {
            let tokens = self.late.as_ref().map_or(0, Late::tokens);
            return Sources {
                bootstrap: Some(CredentialVersion(1 + tokens)),
                ..Sources::default()
            };
        }
        let version = |client: &Arc<Credential>| {
            let begin = client.leaf().not_before().as_second();
            CredentialVersion(begin.unsigned_abs())
        };
        Sources {
            client: self.client.as_ref().map(version),
            ..Sources::default()
        }
    }

    /// Takes in an answer.
    pub fn tell(&mut self, slot: usize, now: Now, event: Event) {
        if let Some(machine) = &mut self.slots[slot].machine {
            machine.handle_event(now, event);
        }
    }

    /// The next notice, if any.
    pub fn notice(&mut self, slot: usize) -> Option<Notice> {
        self.slots[slot].machine.as_mut()?.poll_notice()
    }

    /// When it wants to look at the time again.
    pub fn next_wake(&self, slot: usize) -> Wake {
        let machine = self.slots[slot].machine.as_ref();
        machine.and_then(Rotation::poll_timeout).unwrap_or_default()
    }

    /// Carries out the next effect. `None` when there is none left; a store's answer is delivered
    /// at once. `power` decides whether power is lost during a disk operation of it.
    pub fn perform_next(
        &mut self,
        slot: usize,
        now: Now,
        power: &mut PowerLoss,
    ) -> Option<Performed> {
        let effect = self.slots[slot].machine.as_mut()?.poll_effect()?;
        if touches_disk(&effect)
            && let Some(operations) = power.strike()
        {
            self.slots[slot].store.lose_power_after(operations);
            // Even when the effect was over by then, the machine never hears of it.
            self.perform_on_disk(slot, now, effect);
            return Some(Performed::PowerLost);
        }
        let presented = match &effect {
            Effect::Confirm { credential } => self.credential(slot, *credential),
            _ => &None,
        };
        let presented = presented.as_ref();
        let name = presented.map(|shown| shown.leaf().subject().common_name.clone());
        if let Some(exchange) = Exchange::of(&effect, name, now.monotonic) {
            if exchange.is_wait() {
                self.stop_waiting(slot);
            }
            return Some(Performed::Begun(Box::new(exchange)));
        }
        Some(match effect {
            Effect::CancelAwait => {
                self.stop_waiting(slot);
                Performed::Done
            }
            Effect::Publish { .. } if self.slots[slot].id.renews_itself() => {
                self.client = self.slots[slot].current.clone();
                Performed::Published
            }
            other => {
                if let Some(event) = self.perform_on_disk(slot, now, other) {
                    self.tell(slot, now, event);
                }
                Performed::Done
            }
        })
    }

    fn stop_waiting(&mut self, slot: usize) {
        self.exchanges
            .retain(|_, (of, exchange)| *of != slot || !exchange.is_wait());
    }

    fn perform_on_disk(&mut self, slot: usize, now: Now, effect: Effect) -> Option<Event> {
        if let Effect::Prepare(order) = effect {
            let prepared = self.prepare(slot, now, order).map(Event::Prepared);
            return Some(prepared.unwrap_or_else(Event::StoreFailed));
        }
        let sources = self.sources(slot);
        let slot = &mut self.slots[slot];
        let result = match effect {
            Effect::Accept => slot
                .store
                .accept()
                .map(|deleted| Event::Accepted { deleted }),
            Effect::DiscardPending => slot.store.discard_pending().map(|()| Event::Discarded),
            Effect::Install { chain } => {
                let local = Offset::UTC.to_datetime(now.wall);
                slot.store.install(&chain, local).map(|credential| {
                    let leaf = credential.leaf().clone();
                    slot.current = Some(credential);
                    Event::Installed { leaf }
                })
            }
            Effect::Load => slot.store.load(now.wall).map(|opened| {
                let loaded = opened.loaded(sources);
                slot.current = opened.current;
                slot.last_accepted = opened.last_accepted;
                Event::Loaded(loaded)
            }),
            Effect::RecordPending(pending) => {
                // Best effort: the name finds the object again.
                let _ = slot.store.update_pending(&pending);
                return None;
            }
            Effect::Revert => slot.store.revert().map(|credential| {
                let leaf = credential.leaf().clone();
                slot.current = Some(Arc::clone(&credential));
                slot.last_accepted = Some(credential);
                Event::Reverted { leaf }
            }),
            _ => return None,
        };
        Some(result.unwrap_or_else(Event::StoreFailed))
    }

    fn prepare(
        &mut self,
        slot: usize,
        now: Now,
        order: Order,
    ) -> Result<PendingRequest, StoreError> {
        let key = self.keys.generate_as(order.key).map_err(StoreError::Key)?;
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
        self.slots[slot].store.put_pending(&pending, &key)?;
        Ok(pending)
    }

    fn credential(&self, slot: usize, choice: CredentialChoice) -> &Option<Arc<Credential>> {
        match choice {
            CredentialChoice::Current => &self.slots[slot].current,
            CredentialChoice::LastAccepted => &self.slots[slot].last_accepted,
            CredentialChoice::ClientCredential => &self.client,
            CredentialChoice::Bootstrap | CredentialChoice::Kubeconfig => &None,
        }
    }

    /// What matters for late re-issue.
    fn late_facts(&self) -> Option<Facts> {
        let rotation = self.slots[0].machine.as_ref()?;
        Some(Facts {
            leaf: rotation.current()?.fingerprint(),
            is_confirmed: rotation.is_confirmed(),
            is_stuck: rotation.phase() == Phase::Stuck,
        })
    }

    /// Asks the server to let the node come back late, or registers for that, if it is time. What
    /// has to be on disk first is there, unless power is lost meanwhile.
    pub fn knock(&mut self, now: Now, power: &mut PowerLoss) -> Option<Performed> {
        let facts = self.late_facts()?;
        let late = self.late.as_mut()?;
        let knock = late
            .machine
            .begin(facts, now.monotonic, || late.names.name())?;
        if late.keep(power) {
            return Some(Performed::PowerLost);
        }
        Some(Performed::Begun(Box::new(Exchange::knock(knock))))
    }

    /// When it wants to knock, if at all.
    pub fn knock_at(&self) -> Option<Monotonic> {
        self.late.as_ref()?.machine.wake(self.late_facts()?)
    }

    /// Takes in the answer to a knock; what it means, and whether power was lost while it was
    /// kept.
    pub fn take_knocked(
        &mut self,
        answer: Result<Answer, Failure>,
        now: Now,
        power: &mut PowerLoss,
    ) -> Option<(Heard, bool)> {
        let late = self.late.as_mut()?;
        Some(late.take(answer, now.monotonic, power))
    }

    /// What the transport shows the server, and the bearer token if that is the credential.
    pub fn present(
        &self,
        slot: usize,
        choice: CredentialChoice,
        now: Now,
    ) -> (Peer, Option<String>) {
        if choice == CredentialChoice::Bootstrap {
            let late = self.late.as_ref();
            let late = late.and_then(|late| late.token(now.monotonic));
            return (
                Peer::default(),
                Some(late.unwrap_or(&self.token).to_owned()),
            );
        }
        let credential = self.credential(slot, choice);
        let certificates = credential.iter().flat_map(|credential| {
            credential
                .chain()
                .certificates()
                .iter()
                .map(|leaf| leaf.der().to_vec())
        });
        let peer = Peer {
            certificates: Arc::new(certificates.collect()),
            ..Peer::default()
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

/// What a kubelet of this name wants.
fn config(node: &str, id: &CertificateId) -> Config {
    let template = Template {
        subject: Subject::node(node),
        dns_names: if id.renews_itself() {
            Vec::new()
        } else {
            vec![node.to_owned()]
        },
        ..Template::default()
    };
    let (signer, usage) = if id.renews_itself() {
        (SignerName::KUBE_APISERVER_CLIENT_KUBELET, Usage::ClientAuth)
    } else {
        (SignerName::KUBELET_SERVING, Usage::ServerAuth)
    };
    Config {
        id: id.clone(),
        signer_name: SignerName::new(signer),
        template: Some(template),
        usages: vec![Usage::DigitalSignature, usage],
        renews: true,
        usages_long: vec![Usage::DigitalSignature, Usage::KeyEncipherment, usage],
        expiration_seconds: None,
        timing: Timing::default(),
    }
}
