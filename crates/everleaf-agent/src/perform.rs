//! Effect → I/O → event: what the rotation machines ask for, carried out.
//!
//! Disk work is done at once (a few small files); requests become futures whose answers the loop
//! collects. Holds no policy: which credential, whether to retry and when were decided by the
//! machine.

use crate::bootstrap;
use crate::client::access::{Access, Identity, Presentable};
use crate::csr_api::{self, Patience, Waiter};
use crate::kubeconfig::Kubeconfig;
use crate::managed::{Machine, MachineIndex};
use crate::node::Node;
use crate::self_signed::Found;
use everleaf_pki::Credential;
use everleaf_pki::request::digest_name;
use everleaf_rotation::{
    AwaitOutcome, ConfirmOutcome, CredentialChoice, CredentialVersion, Effect, Event, Order,
    PendingRequest, Refusal, RefusalClass, RequestName, Sources, StoreError, SubmitOutcome,
};
use futures_util::future::{BoxFuture, FutureExt, abortable};
use std::sync::Arc;
use std::time::Duration;

/// An answer on its way to a machine; `None` when the wait was cancelled.
pub(crate) type Answering = BoxFuture<'static, Option<(MachineIndex, Event)>>;

impl Node {
    /// Carries out one effect of that machine. Returns the answer if it is there already.
    pub(crate) fn perform(&mut self, at: MachineIndex, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Accept => Some(self.store_event(at, |machine| {
                let deleted = machine.store.accept()?;
                machine.sweep_keys();
                Ok(Event::Accepted { deleted })
            })),
            Effect::AskVersion { credential } => self.ask_version(at, credential),
            Effect::Await {
                pending,
                credential,
                silence_max,
            } => self.await_verdict(at, pending, credential, silence_max),
            Effect::CancelAwait => {
                self.machine(at).stop_waiting();
                None
            }
            Effect::Confirm { credential } => self.confirm(at, credential),
            Effect::DiscardPending => Some(self.store_event(at, |machine| {
                machine.store.discard_pending()?;
                Ok(Event::Discarded)
            })),
            Effect::Install { chain } => {
                let local = self.local_time();
                Some(self.store_event(at, |machine| {
                    let credential = machine.store.install(&chain, local)?;
                    let leaf = credential.leaf().clone();
                    machine.current = Some(credential);
                    Ok(Event::Installed { leaf })
                }))
            }
            Effect::Load => Some(self.load(at)),
            Effect::Prepare(order) => Some(self.prepare(at, order)),
            Effect::Publish { .. } => {
                self.publish(at);
                None
            }
            Effect::RecordPending(pending) => {
                let machine = self.machine(at);
                if let Err(error) = machine.store.update_pending(&pending) {
                    // The name finds the object again.
                    tracing::debug!(
                        manager = machine.rotation.id().name(),
                        %error,
                        "the UID of the request was not recorded"
                    );
                }
                None
            }
            Effect::Revert => Some(self.store_event(at, |machine| {
                let credential = machine.store.revert()?;
                let leaf = credential.leaf().clone();
                machine.current = Some(Arc::clone(&credential));
                machine.last_accepted = Some(credential);
                Ok(Event::Reverted { leaf })
            })),
            Effect::Submit {
                pending,
                credential,
            } => self.submit(at, pending, credential),
        }
    }

    fn store_event(
        &mut self,
        at: MachineIndex,
        act: impl FnOnce(&mut Machine) -> Result<Event, StoreError>,
    ) -> Event {
        act(self.machine(at)).unwrap_or_else(Event::StoreFailed)
    }

    fn load(&mut self, at: MachineIndex) -> Event {
        self.refresh_cluster();
        let now = self.now.wall;
        let sources = self.sources(at);
        self.store_event(at, |machine| {
            let mut opened = machine.store.load(now)?;
            machine.forget_lost(&mut opened);
            let loaded = opened.loaded(sources);
            machine.current = opened.current;
            machine.last_accepted = opened.last_accepted;
            Ok(Event::Loaded(loaded))
        })
    }

    /// Makes a key and a request, and persists both before anything leaves the node.
    fn prepare(&mut self, at: MachineIndex, order: Order) -> Event {
        let created = self.now.wall;
        self.store_event(at, |machine| {
            // What earlier attempts left in a token would fill it.
            machine.sweep_keys();
            let key = machine.keys.generate(order.key);
            let key = key.map_err(StoreError::Key)?;
            let request_pem = order
                .template
                .to_request_pem(&key)
                .map_err(StoreError::Key)?;
            let usages: Vec<_> = order.usages.iter().map(|usage| usage.as_str()).collect();
            let name = digest_name(
                key.public_key().spki_der(),
                &order.template.subject.common_name,
                &order.template.subject.organizations,
                &usages,
            );
            let pending = PendingRequest::new(
                order,
                RequestName::new(name),
                request_pem,
                key.public_key().clone(),
                created,
            );
            machine.store.put_pending(&pending, &key)?;
            Ok(Event::Prepared(pending))
        })
    }

    fn submit(
        &mut self,
        at: MachineIndex,
        pending: PendingRequest,
        credential: CredentialChoice,
    ) -> Option<Event> {
        let name = pending.name.clone();
        let access = match self.access(at, credential) {
            Ok(access) => access,
            Err(refusal) => {
                let outcome = SubmitOutcome::Refused(refusal);
                return Some(Event::Submitted { name, outcome });
            }
        };
        let client = self.client.clone();
        let place = self.profile_place(at);
        self.answer_later(at, async move {
            let _place = place.await;
            // Made when it begins: hundreds may wait for a place.
            let outcome = Box::pin(csr_api::submit(&client, &access, &pending)).await;
            Event::Submitted { name, outcome }
        })
    }

    fn ask_version(&mut self, at: MachineIndex, credential: CredentialChoice) -> Option<Event> {
        let Ok(access) = self.access(at, credential) else {
            return Some(Event::VersionAnswered { minor: None });
        };
        let client = self.client.clone();
        self.answer_later(at, async move {
            let minor = csr_api::server_minor(&client, &access).await;
            Event::VersionAnswered { minor }
        })
    }

    fn confirm(&mut self, at: MachineIndex, credential: CredentialChoice) -> Option<Event> {
        let access = match self.access(at, credential) {
            Ok(access) => access,
            Err(refusal) => {
                let outcome = ConfirmOutcome::Refused(refusal);
                return Some(Event::ConfirmAnswered {
                    credential,
                    outcome,
                });
            }
        };
        let client = self.client.clone();
        self.answer_later(at, async move {
            let outcome = csr_api::confirm(&client, &access).await;
            Event::ConfirmAnswered {
                credential,
                outcome,
            }
        })
    }

    fn await_verdict(
        &mut self,
        at: MachineIndex,
        pending: PendingRequest,
        credential: CredentialChoice,
        silence_max: Option<Duration>,
    ) -> Option<Event> {
        let name = pending.name.clone();
        let waiter = if credential == CredentialChoice::ClientCredential {
            Waiter::Following(self.client_access.subscribe())
        } else {
            match self.access(at, credential) {
                Ok(access) => Waiter::Fixed(access),
                Err(refusal) => {
                    let outcome = AwaitOutcome::Refused(refusal);
                    return Some(Event::Awaited { name, outcome });
                }
            }
        };
        let client = self.client.clone();
        let (wait, handle) = abortable(async move {
            let patience = Patience::with_silence(silence_max);
            let outcome = csr_api::await_verdict(&client, waiter, &pending, &patience).await;
            Event::Awaited { name, outcome }
        });
        let machine = self.machine(at);
        machine.stop_waiting();
        machine.waiting = Some(handle);
        self.answers
            .push(wait.map(move |event| Some((at, event.ok()?))).boxed());
        None
    }

    fn answer_later(
        &mut self,
        at: MachineIndex,
        answer: impl Future<Output = Event> + Send + 'static,
    ) -> Option<Event> {
        self.answers
            .push(answer.map(move |event| Some((at, event))).boxed());
        None
    }

    /// Hands the current credential to whoever uses it.
    fn publish(&mut self, at: MachineIndex) {
        if !self.machine(at).is_nodes_own() {
            // Others read the symlink, or the files of its profile.
            let now = self.now.monotonic;
            match &mut self.machine(at).keeper {
                Some(keeper) => keeper.certificate_changed(now),
                None => self.show(at),
            }
            return;
        }
        let access = match self.access(at, CredentialChoice::Current) {
            Ok(access) => access,
            Err(refusal) => {
                tracing::error!(
                    manager = self.machine(at).rotation.id().name(),
                    error = %refusal.message,
                    "the new client certificate cannot be used"
                );
                return;
            }
        };
        let closed = self.client.close_others(&access);
        self.metrics.record_closed("rotation", closed);
        self.client_access.send_replace(Some(access));
        self.adopt_current();
    }

    /// Has the TLS endpoint show the serving certificate, where there is an endpoint.
    fn show(&self, at: MachineIndex) {
        let machine = self.machines.get(&at);
        let current = machine.and_then(|machine| machine.current.as_ref());
        let (Some(endpoint), Some(current)) = (&self.config.tls_endpoint, current) else {
            return;
        };
        let address = endpoint.address;
        match self.shown.replace(current) {
            Ok(()) => tracing::info!(
                %address,
                serial = %current.leaf().serial(),
                "new connections to --tls-bind-address are shown this certificate"
            ),
            Err(error) => tracing::error!(
                %address,
                %error,
                "the serving certificate cannot be shown at --tls-bind-address; the one before, if any, is"
            ),
        }
    }

    /// The same with a certificate of its own making, where none is kept.
    pub(crate) fn show_self_signed(&mut self) {
        let (now, shown) = (self.now, &self.shown);
        let found = self
            .self_signed
            .as_mut()
            .map(|pair| pair.look(now.monotonic, now.wall));
        let problem = match found {
            Some(Found::Other(credential)) => match shown.replace(&credential) {
                Ok(()) => {
                    tracing::info!(
                        name = credential.leaf().subject().common_name,
                        not_after = %credential.leaf().not_after(),
                        "new connections to --tls-bind-address are shown a self-signed certificate, which nobody can verify: no \
                         serving certificate is kept (--rotate-server-certificates)"
                    );
                    return;
                }
                Err(error) => error,
            },
            Some(Found::Failed(error)) => error,
            Some(Found::Same) | None => return,
        };
        tracing::error!(
            error = problem,
            "there is no self-signed certificate to show at --tls-bind-address; the one before, if any, is; trying again \
             every minute"
        );
    }

    /// Server and identity for a choice. A credential that cannot be read is as good as refused:
    /// the machine then tries the next.
    pub(crate) fn access(
        &mut self,
        at: MachineIndex,
        choice: CredentialChoice,
    ) -> Result<Access, Refusal> {
        self.find_access(at, choice).map_err(|what| {
            tracing::warn!(
                manager = self.machine(at).rotation.id().name(),
                credential = choice.as_str(),
                error = %what,
                "a credential cannot be used"
            );
            Refusal {
                class: RefusalClass::Unauthorized,
                message: what,
                server_date: None,
            }
        })
    }

    fn find_access(
        &mut self,
        at: MachineIndex,
        choice: CredentialChoice,
    ) -> Result<Access, String> {
        match choice {
            CredentialChoice::Current => {
                let credential = self.machine(at).current.clone();
                self.presenting(credential)
            }
            CredentialChoice::LastAccepted => {
                let credential = self.machine(at).last_accepted.clone();
                self.presenting(credential)
            }
            CredentialChoice::Kubeconfig => self.kubeconfig_access(),
            CredentialChoice::Bootstrap => self.bootstrap_access(),
            CredentialChoice::ClientCredential => self
                .client_access
                .borrow()
                .clone()
                .ok_or_else(|| "there is no client certificate yet".to_owned()),
        }
    }

    fn presenting(&self, credential: Option<Arc<Credential>>) -> Result<Access, String> {
        let credential = credential.ok_or("the cert dir no longer holds it")?;
        let identity = Identity::Certificate(Presentable::new(&credential)?);
        Ok(Access::new(Arc::clone(&self.cluster), identity))
    }

    /// The credential that the kubeconfig itself holds, read now.
    pub(crate) fn kubeconfig_access(&self) -> Result<Access, String> {
        let path = &self.config.kubeconfig;
        let kubeconfig = Kubeconfig::read(path).map_err(|error| error.to_string())?;
        if bootstrap::own_user(&kubeconfig, &self.config.cert_dir).is_none() {
            return Err(format!(
                "kubeconfig {} holds no credential of its own",
                path.display()
            ));
        }
        Access::from_kubeconfig(&kubeconfig, path)
    }

    fn bootstrap_access(&self) -> Result<Access, String> {
        if let Some(token) = self.late_token() {
            return Ok(Access::new(
                Arc::clone(&self.cluster),
                Identity::Token(token),
            ));
        }
        let bootstrap = self
            .config
            .bootstrap
            .as_ref()
            .ok_or("no bootstrap kubeconfig was given")?;
        let kubeconfig = bootstrap.read().map_err(|error| error.to_string())?;
        let access = Access::from_kubeconfig(&kubeconfig, bootstrap.origin())?;
        if access.identity == Identity::Anonymous {
            let origin = bootstrap.origin().display();
            return Err(format!("kubeconfig {origin} holds no credential"));
        }
        Ok(access)
    }

    /// Which credentials exist outside the store of that machine.
    pub(crate) fn sources(&mut self, at: MachineIndex) -> Sources {
        if self.machine(at).rotation.id().renews_itself() {
            let (kubeconfig, bootstrap) = (self.kubeconfig_access(), self.bootstrap_access());
            return Sources {
                kubeconfig: self.versions.kubeconfig.of(kubeconfig.ok()),
                bootstrap: self.versions.bootstrap.of(bootstrap.ok()),
                client: None,
            };
        }
        let client = self.client_access.borrow().clone();
        Sources {
            client: self.versions.client.of(client),
            ..Sources::default()
        }
    }
}

/// What the credentials outside the stores were last, to see when they are replaced.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    kubeconfig: Version,
    bootstrap: Version,
    client: Version,
}

#[derive(Debug, Default)]
struct Version {
    last: Option<Access>,
    number: u64,
}

impl Version {
    /// The number of what is there now.
    fn of(&mut self, access: Option<Access>) -> Option<CredentialVersion> {
        if self.last != access {
            self.last = access;
            self.number += 1;
        }
        self.last.as_ref().map(|_| CredentialVersion(self.number))
    }
}
