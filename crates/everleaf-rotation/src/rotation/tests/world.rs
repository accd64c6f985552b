//! A node, a server, and three clocks.

mod server;
mod spans;

use crate::certificate::CertificateId;
use crate::deadline::Timing;
use crate::effect::{CredentialChoice, Effect, KeyForm};
use crate::event::*;
use crate::notice::Notice;
use crate::rotation::{AWAIT_MAX, Config, Phase, Rotation};
use crate::store::conformance::{Authority, at, client_order, prepare, prepare_with};
use crate::store::faulty::Faults;
use crate::store::memory::MemoryStore;
use crate::store::{CertStore, PendingRequest, StoreError};
use crate::time::{Monotonic, NAP_MAX, Now};
use everleaf_pki::{Chain, Leaf, MlDsa, PrivateKey, SignerName, Subject, Template, Usage};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub(super) use server::Server;
pub(super) use spans::{days, hours, minutes, seconds};

pub(super) const START: &str = "2026-08-01T10:00:00Z";

/// A wait for a verdict.
#[derive(Clone)]
struct Waiting {
    pending: PendingRequest,
    credential: CredentialChoice,
    end: Monotonic,
    silent_at: Option<Monotonic>,
}

/// Where the process ends, counted in effects from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EffectStop {
    /// The effect was carried out; nobody heard the answer.
    After(u64),
    /// The effect is not carried out.
    Before(u64),
}

/// The whole world.
pub(super) struct World<S = MemoryStore> {
    pub(super) machine: Rotation,
    pub(super) store: S,
    pub(super) server: Server,
    /// The server's clock.
    pub(super) time: Timestamp,
    /// The node's wall clock minus the server's.
    pub(super) offset: SignedDuration,
    pub(super) monotonic: Monotonic,
    pub(super) sources: Sources,
    pub(super) nap_max: Duration,
    /// Nobody but the machine touches the store: its looks at what nobody told it of come with
    /// other turns only. What years hold is the same then, at a hundredth of the cost.
    pub(super) skips_looks: bool,
    /// How often the object of a request is looked at while it is awaited.
    pub(super) await_step: Duration,
    pub(super) notices: Vec<Notice>,
    pub(super) published: Option<Leaf>,
    last_accepted: Option<Leaf>,
    awaiting: Option<Waiting>,
    pub(super) config: Config,
    keys: u64,
    /// The configured kind of key is ML-DSA.
    pub(super) has_ml_dsa_keys: bool,
    /// Whether the process is at its end, and the faults of its disk, if that has any.
    pub(super) faults: Faults,
    pub(super) effect_stop: Option<EffectStop>,
    pub(super) effects: u64,
}

pub(super) fn client_config() -> Config {
    let order = client_order();
    Config {
        id: CertificateId::kubelet_client(),
        signer_name: order.signer_name,
        template: Some(order.template),
        usages: order.usages,
        usages_long: vec![
            Usage::DigitalSignature,
            Usage::KeyEncipherment,
            Usage::ClientAuth,
        ],
        renews: true,
        expiration_seconds: None,
        timing: Timing::default(),
    }
}

pub(super) fn serving_template(addresses: &[&str]) -> Template {
    Template {
        subject: Subject::node("n1"),
        dns_names: vec!["n1".to_owned()],
        ip_addresses: addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
        ..Template::default()
    }
}

pub(super) fn serving_config() -> Config {
    Config {
        id: CertificateId::kubelet_serving(),
        signer_name: SignerName::new(SignerName::KUBELET_SERVING),
        template: Some(serving_template(&["10.0.0.1"])),
        usages: vec![Usage::DigitalSignature, Usage::ServerAuth],
        usages_long: vec![],
        renews: true,
        expiration_seconds: None,
        timing: Timing::default(),
    }
}

impl World {
    /// A node with a bootstrap credential (or, when serving, a client credential) and nothing else,
    /// and a server that approves and grants a year.
    pub(super) fn new(config: Config) -> Self {
        Self::with_store(config, MemoryStore::new("kubelet-client"))
    }

    /// A client that has bootstrapped and lost its bootstrap credential.
    pub(super) fn settled() -> Self {
        Self::settled_for(days(365))
    }

    /// The same, with this lifetime.
    pub(super) fn settled_for(ttl: Duration) -> Self {
        let mut world = Self::new(client_config());
        world.server.ttl = ttl;
        world.run_for(seconds(30));
        assert!(world.machine.is_confirmed(), "{:#?}", world.notices);
        world.sources.bootstrap = None;
        world.notices.clear();
        world
    }
}

impl<S: CertStore> World<S> {
    /// The same as `new`, with this store.
    pub(super) fn with_store(config: Config, store: S) -> Self {
        let server = Server {
            authority: Authority::new(),
            ca_not_after: at("2199-01-01T00:00:00Z"),
            ttl: days(365),
            approves: true,
            objects: BTreeMap::new(),
            created: Vec::new(),
            is_reachable: true,
            accepts_bootstrap: true,
            accepts_kubeconfig: true,
            forbids_strangers: false,
            distrusted: Vec::new(),
            submit_script: VecDeque::new(),
            loses_answers: 0,
            dates: None,
            distrusts_new: false,
            drops_addresses: false,
            minor: Some(37),
            wants_key_encipherment: false,
            refuses: Vec::new(),
            uids: 0,
        };
        let is_client = config.id.renews_itself();
        Self {
            machine: Rotation::new(config.clone(), 1),
            store,
            server,
            time: at(START),
            offset: SignedDuration::ZERO,
            monotonic: Monotonic::from_origin(seconds(1000)),
            sources: Sources {
                kubeconfig: None,
                bootstrap: is_client.then_some(CredentialVersion(1)),
                client: (!is_client).then_some(CredentialVersion(1)),
            },
            nap_max: NAP_MAX,
            skips_looks: false,
            await_step: seconds(1),
            notices: Vec::new(),
            published: None,
            last_accepted: None,
            awaiting: None,
            config,
            keys: 0,
            has_ml_dsa_keys: false,
            faults: Faults::default(),
            effect_stop: None,
            effects: 0,
        }
    }

    pub(super) fn now(&self) -> Now {
        Now {
            wall: self.time + self.offset,
            monotonic: self.monotonic,
        }
    }

    pub(super) fn leaf(&self) -> &Leaf {
        self.machine.current().expect("there is a current leaf")
    }

    pub(super) fn csrs(&self) -> usize {
        self.server.created.len()
    }

    pub(super) fn has(&self, wanted: impl Fn(&Notice) -> bool) -> bool {
        self.notices.iter().any(wanted)
    }

    /// How many notices there are of that kind.
    pub(super) fn count(&self, wanted: impl Fn(&Notice) -> bool) -> usize {
        self.notices.iter().filter(|notice| wanted(notice)).count()
    }

    /// The process ends and another begins; the disk stays.
    pub(super) fn restart(&mut self) {
        self.machine = Rotation::new(self.config.clone(), 2);
        self.awaiting = None;
        self.published = None;
        self.monotonic = Monotonic::from_origin(seconds(1));
    }

    /// The same, and the host has another name since.
    pub(super) fn restart_as(&mut self, common_name: &str) {
        let template = self.config.template.as_mut();
        let template = template.expect("a client knows what it wants");
        template.subject.common_name = common_name.to_owned();
        self.restart();
    }

    /// Tells the machine something, and carries out what it wants.
    pub(super) fn tell(&mut self, event: Event) {
        let now = self.now();
        self.machine.handle_event(now, event);
        self.settle();
    }

    /// Lets the world go on for `span` of true time.
    pub(super) fn run_for(&mut self, span: Duration) {
        let end = self.time + SignedDuration::try_from(span).unwrap();
        self.turn();
        while self.time < end && !self.faults.is_stopped() {
            let wake = self.machine.poll_timeout();
            let wake = wake.expect("every state has a next wake-up");
            let wake = match self.skips_looks {
                true => self.machine.wake,
                false => wake,
            };
            let nap = wake.nap(self.now(), self.nap_max);
            assert!(
                !nap.is_zero(),
                "after a turn there is nothing left to do at once"
            );
            let left = Duration::try_from(end.duration_since(self.time)).unwrap();
            let awaiting = self.awaiting.is_some().then_some(self.await_step);
            self.pass(nap.min(left).min(awaiting.unwrap_or(nap)));
            self.turn();
        }
    }

    /// Lets true time pass, and nothing happen.
    pub(super) fn pass(&mut self, span: Duration) {
        self.time += SignedDuration::try_from(span).unwrap();
        self.monotonic = self.monotonic + span;
    }

    /// One turn: a verdict if there is one, the timeout, and all effects.
    pub(super) fn turn(&mut self) {
        if self.faults.is_stopped() {
            return;
        }
        if let Some(waiting) = self.awaiting.clone()
            && let Some(outcome) = self.outcome(&waiting)
        {
            self.awaiting = None;
            self.tell(Event::Awaited {
                name: waiting.pending.name,
                outcome,
            });
        }
        if !self.faults.is_stopped() {
            self.machine.handle_timeout(self.now());
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.settle_with(usize::MAX, |_| {});
    }

    /// Starts the machine and carries out its first `count` effects; the next one is dropped. Says
    /// whether there was a next one before the machine came to rest.
    pub(super) fn run_effects(&mut self, count: usize) -> bool {
        self.run_effects_with(count, |_| {})
    }

    pub(super) fn run_effects_with(&mut self, count: usize, see: impl FnMut(&Effect)) -> bool {
        self.machine.handle_timeout(self.now());
        self.settle_with(count, see)
    }

    fn settle_with(&mut self, count: usize, mut see: impl FnMut(&Effect)) -> bool {
        for index in 0..100 {
            while let Some(notice) = self.machine.poll_notice() {
                self.notices.push(notice);
            }
            let Some(effect) = self.machine.poll_effect() else {
                return false;
            };
            if index == count {
                return true;
            }
            see(&effect);
            let answer = self.perform_or_stop(effect);
            if self.faults.is_stopped() {
                return false;
            }
            if let Some(event) = answer {
                self.machine.handle_event(self.now(), event);
            }
        }
        panic!("the machine spins: {:#?}", self.notices);
    }

    fn outcome(&mut self, waiting: &Waiting) -> Option<AwaitOutcome> {
        let pending = &waiting.pending;
        let verdict = self.verdict(pending, waiting.credential, waiting.end);
        let object = self.server.objects.get(&pending.name);
        let is_silent = object.is_some_and(|object| object.condition.is_none())
            && waiting.silent_at.is_some_and(|at| at <= self.monotonic);
        verdict.or_else(|| is_silent.then_some(AwaitOutcome::Silent))
    }

    fn perform_or_stop(&mut self, effect: Effect) -> Option<Event> {
        self.effects += 1;
        if self.effect_stop == Some(EffectStop::Before(self.effects)) {
            self.faults.stop();
            return None;
        }
        let answer = self.perform(effect);
        if self.effect_stop == Some(EffectStop::After(self.effects)) {
            self.faults.stop();
        }
        answer
    }

    fn perform(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::AskVersion { credential } => Some(Event::VersionAnswered {
                minor: match self.refusal(credential) {
                    Some(_) => None,
                    None => self.server.minor,
                },
            }),
            Effect::Await {
                pending,
                credential,
                silence_max,
            } => {
                let waiting = Waiting {
                    pending,
                    credential,
                    end: self.monotonic + AWAIT_MAX,
                    silent_at: silence_max.map(|silence| self.monotonic + silence),
                };
                if let Some(outcome) = self.outcome(&waiting) {
                    return Some(Event::Awaited {
                        name: waiting.pending.name,
                        outcome,
                    });
                }
                self.awaiting = Some(waiting);
                None
            }
            Effect::CancelAwait => {
                self.awaiting = None;
                None
            }
            Effect::Confirm { credential } => {
                let outcome = match self.refusal(credential) {
                    Some(refusal) => ConfirmOutcome::Refused(refusal),
                    None => ConfirmOutcome::Confirmed {
                        server_date: Some(self.time),
                    },
                };
                Some(Event::ConfirmAnswered {
                    credential,
                    outcome,
                })
            }
            Effect::Publish { leaf } => {
                self.published = Some(leaf);
                None
            }
            Effect::RecordPending(pending) => {
                let _ = self.store.update_pending(&pending);
                None
            }
            Effect::Submit {
                pending,
                credential,
            } => self.submit(&pending, credential),
            stored => Some(
                self.perform_on_store(stored)
                    .unwrap_or_else(Event::StoreFailed),
            ),
        }
    }

    fn perform_on_store(&mut self, effect: Effect) -> Result<Event, StoreError> {
        let wall = self.now().wall;
        Ok(match effect {
            Effect::Accept => Event::Accepted {
                deleted: self.store.accept()?,
            },
            Effect::DiscardPending => {
                self.store.discard_pending()?;
                Event::Discarded
            }
            Effect::Install { chain } => {
                let local = wall.to_zoned(jiff::tz::TimeZone::UTC).datetime();
                let accepted = self.server.accepts(self.machine.current(), self.time);
                let is_good = self.server.accepts(Some(chain.leaf()), self.time);
                assert!(
                    is_good || !accepted || self.server.distrusts_new,
                    "a working credential is being replaced by none"
                );
                let credential = self.store.install(&chain, local)?;
                Event::Installed {
                    leaf: credential.leaf().clone(),
                }
            }
            Effect::Load => {
                let loaded = self.store.load(wall)?.loaded(self.sources);
                self.last_accepted = loaded.last_accepted.clone();
                Event::Loaded(loaded)
            }
            Effect::Prepare(order) => {
                self.keys += 1;
                let is_ml_dsa = self.has_ml_dsa_keys && order.key == KeyForm::Configured;
                let (pending, key) = match is_ml_dsa {
                    true => {
                        let seed = [u8::try_from(self.keys).expect("few keys"); 32];
                        let key = PrivateKey::from_ml_dsa_seed(MlDsa::MlDsa44, &seed)
                            .map_err(StoreError::Key)?;
                        prepare_with(order, key, self.keys, wall)
                    }
                    false => prepare(order, self.keys, wall),
                };
                self.store.put_pending(&pending, &key)?;
                Event::Prepared(pending)
            }
            Effect::Revert => {
                let credential = self.store.revert()?;
                self.last_accepted = Some(credential.leaf().clone());
                Event::Reverted {
                    leaf: credential.leaf().clone(),
                }
            }
            other => unreachable!("no effect on a store: {other:?}"),
        })
    }

    fn submit(&mut self, pending: &PendingRequest, credential: CredentialChoice) -> Option<Event> {
        let name = pending.name.clone();
        let outcome = if let Some(class) = self.server.submit_script.pop_front() {
            SubmitOutcome::Refused(self.refused(class))
        } else if let Some(refusal) = self.refusal(credential) {
            SubmitOutcome::Refused(refusal)
        } else if self.is_stranger(pending, credential) {
            SubmitOutcome::Refused(self.refused(RefusalClass::Forbidden {
                verb: "create",
                resource: "certificatesigningrequests",
            }))
        } else if let Some(object) = self.server.objects.get(&name) {
            let is_refused = object.condition.is_some_and(|(kind, _)| kind != "Approved");
            SubmitOutcome::AlreadyExists(ExistingRequest {
                uid: object.uid.clone(),
                has_same_key: object.pending.public_key == pending.public_key,
                has_same_subject: object.pending.template.subject == pending.template.subject,
                has_same_signer: object.pending.signer_name == pending.signer_name,
                is_refused,
                certificate_not_after: object.chain.as_ref().map(Chain::not_after_earliest),
                server_date: Some(self.time),
            })
        } else {
            let uid = self.server.create(pending, self.time);
            if self.server.loses_answers > 0 {
                self.server.loses_answers -= 1;
                return None;
            }
            SubmitOutcome::Created {
                uid,
                server_date: Some(self.time),
            }
        };
        Some(Event::Submitted { name, outcome })
    }

    /// Whether a node's certificate asks for another node, and the server sees that.
    fn is_stranger(&self, pending: &PendingRequest, credential: CredentialChoice) -> bool {
        let asks_as = match credential {
            CredentialChoice::Current => self.machine.current(),
            _ => None,
        };
        self.server.forbids_strangers
            && asks_as.is_some_and(|leaf| {
                leaf.subject().common_name != pending.template.subject.common_name
            })
    }

    fn refused(&self, class: RefusalClass) -> Refusal {
        let message = format!("{class:?}");
        Refusal {
            class,
            message,
            server_date: Some(self.time),
        }
    }

    /// Why the server does not answer a request with this credential, if it does not.
    fn refusal(&mut self, credential: CredentialChoice) -> Option<Refusal> {
        if !self.server.is_reachable {
            return Some(self.refused(RefusalClass::Unreachable));
        }
        let is_accepted = match credential {
            CredentialChoice::Current => self.server.accepts(self.machine.current(), self.time),
            CredentialChoice::LastAccepted => {
                self.server.accepts(self.last_accepted.as_ref(), self.time)
            }
            CredentialChoice::Kubeconfig => {
                self.sources.kubeconfig.is_some() && self.server.accepts_kubeconfig
            }
            CredentialChoice::Bootstrap => {
                self.sources.bootstrap.is_some() && self.server.accepts_bootstrap
            }
            CredentialChoice::ClientCredential => self.sources.client.is_some(),
        };
        (!is_accepted).then(|| self.refused(RefusalClass::Unauthorized))
    }

    fn verdict(
        &mut self,
        pending: &PendingRequest,
        credential: CredentialChoice,
        end: Monotonic,
    ) -> Option<AwaitOutcome> {
        if let Some(refusal) = self.refusal(credential) {
            if refusal.class == RefusalClass::Unauthorized {
                return Some(AwaitOutcome::Refused(refusal));
            }
            return (end <= self.monotonic).then_some(AwaitOutcome::TimedOut);
        }
        let object = self.server.objects.get(&pending.name);
        let Some(object) = object.filter(|object| Some(&object.uid) == pending.uid.as_ref()) else {
            return Some(AwaitOutcome::Gone);
        };
        let words = ("TestReason".to_owned(), object.message.clone());
        match (object.condition, &object.chain) {
            (Some(("Denied", _)), _) => Some(AwaitOutcome::Denied {
                reason: words.0,
                message: words.1,
            }),
            (Some(("Failed", _)), _) => Some(AwaitOutcome::Failed {
                reason: words.0,
                message: words.1,
            }),
            (Some(("Approved", _)), Some(chain)) => {
                let server_date = Some(self.time);
                Some(AwaitOutcome::Issued {
                    chain: chain.clone(),
                    server_date,
                })
            }
            _ => (end <= self.monotonic).then_some(AwaitOutcome::TimedOut),
        }
    }

    /// What every world must hold to when it is at rest.
    pub(super) fn assert_at_rest(&self) {
        assert_eq!(self.machine.phase(), Phase::Waiting, "{:#?}", self.notices);
        assert!(self.machine.pending().is_none());
        assert_eq!(
            self.published.as_ref().map(Leaf::fingerprint),
            self.machine.current().map(Leaf::fingerprint)
        );
    }
}
