//! A rehearsal: the whole way of a renewal on a live node, by a credential that is thrown away.
//!
//! Owns the order of the steps and what is told of each. What is asked of the API, and what its
//! answers mean, is [`csr_api`]'s; whether a certificate would be installed is rotation's. It
//! refuses to touch the cert dir and the kubeconfig: the key is in memory only, so whoever keeps
//! the node's certificates is not disturbed.

use crate::client::access::{Access, Identity, Presentable};
use crate::client::{ApiClient, FailureClass};
use crate::clock::Clock;
use crate::csr_api::{
    self, Patience, Waiter,
    trial::{MayI, Remove, Right},
};
use crate::identity::client_template;
use crate::kubeconfig::Kubeconfig;
use crate::managed::usages;
use everleaf_api::csr::REHEARSAL_PREFIX;
use everleaf_pki::request::digest_name;
use everleaf_pki::{Chain, Credential, KeyAlgorithm, PrivateKey, SignerName, Usage};
use everleaf_rotation::rotation::is_long_for;
use everleaf_rotation::rotation::verdict::{Verdict, judge};
use everleaf_rotation::{
    AwaitOutcome, ConfirmOutcome, KeyForm, Order, PendingRequest, Refusal, RefusalClass,
    RequestName, SubmitOutcome,
};
use jiff::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The life that is asked for: the least that API servers allow (`spec.expirationSeconds`).
pub const LIFE_SECONDS: i32 = 600;
/// Subjects of nodes' certificates.
const NODE_PREFIX: &str = "system:node:";
/// Why a request that stays is no matter (Kubernetes, pkg/controller/certificates/cleaner).
const STAYS: &str = "the control plane removes it by itself, an hour after its certificate or a day after it was filed";

/// What is to be rehearsed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The node's kubeconfig.
    pub kubeconfig: PathBuf,
    /// The kind of key.
    pub key: KeyAlgorithm,
    /// How long the certificate may take.
    pub patience: Duration,
}

/// The steps, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepKind {
    /// The node's own credential is there, and the server accepts it.
    Credential,
    /// A key and a request are made.
    Request,
    /// The server takes the request.
    Submit,
    /// It is approved, and a certificate is issued.
    Certificate,
    /// That certificate is what was asked for.
    Judge,
    /// The server accepts it, on a new connection.
    Connect,
    /// What the node may do, by the server's word. What is missing here is told, and fails nothing.
    Rights,
    /// The request is removed. That most nodes may not is no failure.
    Remove,
}

impl StepKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Request => "request",
            Self::Submit => "submit",
            Self::Certificate => "certificate",
            Self::Judge => "judge",
            Self::Connect => "connect",
            Self::Rights => "rights",
            Self::Remove => "remove",
        }
    }
}

/// A step that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub kind: StepKind,
    /// What came of it, in words; the error also says what to do.
    pub result: Result<String, String>,
    /// How long it took.
    pub took: Duration,
}

/// What came of a rehearsal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rehearsal {
    /// The node, once it is known.
    pub node: Option<String>,
    /// The request's name on the server, if one was filed.
    pub request: Option<String>,
    /// In the order in which they were taken. Those after a failure are not there.
    pub steps: Vec<Step>,
}

impl Rehearsal {
    /// Whether the node would renew.
    pub fn is_good(&self) -> bool {
        let is_needed = |kind| !matches!(kind, StepKind::Rights | StepKind::Remove);
        let mut needed = self.steps.iter().filter(|step| is_needed(step.kind));
        let came_far = needed.clone().any(|step| step.kind == StepKind::Connect);
        came_far && needed.all(|step| step.result.is_ok())
    }
}

/// Rehearses; `tell` hears of each step as soon as it is over.
pub async fn rehearse(plan: &Plan, clock: Arc<dyn Clock>, tell: impl FnMut(&Step)) -> Rehearsal {
    let mut stage = Stage {
        client: ApiClient::new(Arc::clone(&clock)),
        clock,
        done: Rehearsal::default(),
        begun: Instant::now(),
        tell,
    };
    let credential = stage.credential(plan).await;
    if let Some((access, node)) = stage.note(StepKind::Credential, credential) {
        stage.done.node = Some(node.clone());
        stage.renew(plan, &access, &node).await;
    }
    stage.done
}

struct Stage<T> {
    client: ApiClient,
    clock: Arc<dyn Clock>,
    done: Rehearsal,
    /// When the step began that is under way.
    begun: Instant,
    tell: T,
}

/// What a step gives to the next one, and its words.
type Taken<T> = Result<(T, String), String>;

impl<T: FnMut(&Step)> Stage<T> {
    fn note<G>(&mut self, kind: StepKind, taken: Taken<G>) -> Option<G> {
        let (given, result) = match taken {
            Ok((given, words)) => (Some(given), Ok(words)),
            Err(words) => (None, Err(words)),
        };
        let took = self.begun.elapsed();
        let step = Step { kind, result, took };
        (self.tell)(&step);
        self.done.steps.push(step);
        self.begun = Instant::now();
        given
    }

    /// From a key to a certificate that works; then what is told and done whatever came of it.
    async fn renew(&mut self, plan: &Plan, access: &Access, node: &str) {
        let prepared = self.prepare(plan, access, node).await;
        let Some((key, mut pending)) = self.note(StepKind::Request, prepared) else {
            return;
        };
        let submitted = self.submit(access, &mut pending).await;
        let is_filed = self.note(StepKind::Submit, submitted).is_some();
        let mut latest = access.clone();
        if is_filed {
            self.done.request = Some(pending.name.as_str().to_owned());
            if let Some(new) = self.obtain(plan, access, &pending, key).await {
                latest = new;
            }
        }
        let rights = self.rights(&latest).await;
        self.note(StepKind::Rights, rights);
        if is_filed {
            let removed = self.remove(access, pending).await;
            self.note(StepKind::Remove, removed);
        }
    }

    /// Waits for the certificate, judges it and connects with it; returns how.
    async fn obtain(
        &mut self,
        plan: &Plan,
        access: &Access,
        pending: &PendingRequest,
        key: PrivateKey,
    ) -> Option<Access> {
        let issued = self.certificate(plan, access, pending).await;
        let (chain, date) = self.note(StepKind::Certificate, issued)?;
        let judged = judged(pending, chain, key, date);
        let new = self.note(StepKind::Judge, judged)?;
        let new = access.with_identity(Identity::Certificate(new));
        let connected = self.confirm(&new).await;
        let connected = connected.map(|()| ((), "the server accepts the new certificate".into()));
        self.note(StepKind::Connect, connected)?;
        Some(new)
    }

    async fn credential(&self, plan: &Plan) -> Taken<(Access, String)> {
        let path = &plan.kubeconfig;
        let kubeconfig = Kubeconfig::read(path).map_err(|error| error.to_string())?;
        let access = Access::from_kubeconfig(&kubeconfig, path)?;
        let Identity::Certificate(presented) = &access.identity else {
            return Err(format!(
                "kubeconfig {} holds no client certificate, and a node renews by the one it has; give the kubeconfig that \
                 its kubelet or agent uses",
                path.display()
            ));
        };
        let leaf = presented.leaf();
        let name = leaf.subject().common_name.clone();
        let Some(node) = name.strip_prefix(NODE_PREFIX).map(str::to_owned) else {
            return Err(format!(
                "the certificate of kubeconfig {} is for {name:?}, which is no node; give the kubeconfig that the node's \
                 kubelet or agent uses",
                path.display()
            ));
        };
        let until = leaf.not_after();
        self.confirm(&access).await.map_err(|what| {
            format!(
                "{name}, until {until}, is not accepted by {}: {what}",
                access.cluster.server
            )
        })?;
        let words = format!(
            "{name}, until {until}, is accepted by {}",
            access.cluster.server
        );
        Ok(((access, node), words))
    }

    async fn prepare(
        &self,
        plan: &Plan,
        access: &Access,
        node: &str,
    ) -> Taken<(PrivateKey, PendingRequest)> {
        let minor = csr_api::server_minor(&self.client, access).await;
        let (usual, long) = usages(Usage::ClientAuth, plan.key);
        let usages = match is_long_for(minor) && !long.is_empty() {
            true => long,
            false => usual,
        };
        let failed = |error| format!("cannot make a key and a request: {error}");
        let key = PrivateKey::generate(plan.key).map_err(failed)?;
        let order = Order {
            template: client_template(node),
            signer_name: SignerName::new(SignerName::KUBE_APISERVER_CLIENT_KUBELET),
            usages,
            expiration_seconds: Some(LIFE_SECONDS),
            key: KeyForm::Configured,
        };
        let pem = order.template.to_request_pem(&key).map_err(failed)?;
        let words: Vec<_> = order.usages.iter().map(|usage| usage.as_str()).collect();
        let subject = &order.template.subject;
        let spki = key.public_key().spki_der();
        let digest = digest_name(spki, &subject.common_name, &subject.organizations, &words);
        let name = digest.replacen("node-csr-", REHEARSAL_PREFIX, 1);
        let told = format!("{} key in memory, usages {}", plan.key, words.join(", "));
        let created = self.clock.wall();
        let public = key.public_key().clone();
        let pending = PendingRequest::new(order, RequestName::new(name), pem, public, created);
        Ok(((key, pending), told))
    }

    async fn submit(&self, access: &Access, pending: &mut PendingRequest) -> Taken<()> {
        match csr_api::submit(&self.client, access, pending).await {
            SubmitOutcome::Created { uid, .. } => {
                pending.uid = Some(uid);
                Ok(((), pending.name.as_str().to_owned()))
            }
            // The key is a minute old: nobody else can have asked for it.
            SubmitOutcome::AlreadyExists(existing) if existing.has_same_key => {
                pending.uid = Some(existing.uid);
                Ok(((), pending.name.as_str().to_owned()))
            }
            SubmitOutcome::Refused(refusal) => Err(refused(&refusal)),
            _ => Err("a request of this name is there already, for another key; try again".into()),
        }
    }

    async fn certificate(
        &self,
        plan: &Plan,
        access: &Access,
        pending: &PendingRequest,
    ) -> Taken<(Chain, Timestamp)> {
        let waiter = Waiter::Fixed(access.clone());
        let patience = Patience::at_most(plan.patience);
        let why = format!("`everleaf why csr/{}` says why", pending.name);
        match csr_api::await_verdict(&self.client, waiter, pending, &patience).await {
            AwaitOutcome::Issued { chain, server_date } => {
                let until = chain.leaf().not_after();
                let words = format!("approved and issued, until {until}");
                let date = server_date.unwrap_or_else(|| self.clock.wall());
                Ok(((chain, date), words))
            }
            AwaitOutcome::Denied { reason, message } => {
                Err(format!("it was denied ({reason}): {message}; {why}"))
            }
            AwaitOutcome::Failed { reason, message } => {
                Err(format!("the signer failed ({reason}): {message}; {why}"))
            }
            AwaitOutcome::Gone => Err("somebody removed the request before it was decided".into()),
            AwaitOutcome::Refused(refusal) => Err(refused(&refusal)),
            AwaitOutcome::Silent | AwaitOutcome::TimedOut => Err(format!(
                "nobody approved it, or nobody signed it, within {} s (--timeout); whoever may look at the cluster: {why}, \
                 while it is there",
                plan.patience.as_secs()
            )),
            AwaitOutcome::Unreadable { message } => {
                Err(format!("what was issued is no certificate: {message}"))
            }
            _ => Err(format!("it was not issued; {why}")),
        }
    }

    /// Asks the server who we are, on a connection of its own.
    async fn confirm(&self, access: &Access) -> Result<(), String> {
        match csr_api::confirm(&self.client, access).await {
            ConfirmOutcome::Confirmed { .. } => Ok(()),
            ConfirmOutcome::Refused(refusal) => Err(refused(&refusal)),
            _ => Err("the server did not say who we are".to_owned()),
        }
    }

    async fn rights(&self, access: &Access) -> Taken<()> {
        let (mut may, mut may_not) = (Vec::new(), Vec::new());
        for right in Right::OF_A_RENEWAL {
            let answer = csr_api::hold(&self.client, access, MayI(right)).await;
            let is_allowed =
                answer.map_err(|failure| format!("the server does not say: {failure}"))?;
            if is_allowed { &mut may } else { &mut may_not }.push(right.to_string());
        }
        match may_not.is_empty() {
            true => Ok(((), format!("may {}", may.join(", ")))),
            false => Err(format!(
                "may not {}: kube-controller-manager approves no renewal by itself without create \
                 certificatesigningrequests/selfnodeclient (ClusterRoleBinding of \
                 system:certificates.k8s.io:certificatesigningrequests:selfnodeclient to the group system:nodes)",
                may_not.join(", ")
            )),
        }
    }

    async fn remove(&self, access: &Access, pending: PendingRequest) -> Taken<()> {
        let name = pending.name.clone();
        let words = match csr_api::hold(&self.client, access, Remove(pending)).await {
            Ok(()) => format!("{name} is removed"),
            Err(failure) if failure.class == FailureClass::NotFound => format!("{name} is gone"),
            Err(failure) if failure.class == FailureClass::Forbidden => {
                format!("{name} stays, since nodes may not remove requests; {STAYS}")
            }
            Err(failure) => return Err(format!("{name} stays: {failure}; {STAYS}")),
        };
        Ok(((), words))
    }
}

/// Whether an agent would install it, by the rules of rotation.
fn judged(
    pending: &PendingRequest,
    chain: Chain,
    key: PrivateKey,
    date: Timestamp,
) -> Taken<Presentable> {
    let words = match judge(pending, chain.leaf(), date) {
        Verdict::Install(differences) if differences.is_empty() => {
            "it is what was asked for".to_owned()
        }
        Verdict::Install(differences) => {
            format!(
                "an agent would take it, although {}",
                differences.join("; ")
            )
        }
        Verdict::Reject(why) => return Err(format!("an agent would not install it: {why}")),
        Verdict::TooEarly(wait) => {
            return Err(format!(
                "it is valid only in {} s by the server's date; set the signer's clock",
                wait.as_secs()
            ));
        }
    };
    let credential = Credential::new(chain, key).map_err(|error| error.to_string())?;
    Ok((Presentable::new(&credential)?, words))
}

/// What the server said, and what to do.
fn refused(refusal: &Refusal) -> String {
    let advice = match &refusal.class {
        RefusalClass::Forbidden { verb, resource } => {
            return format!(
                "{}; the node lacks the right to {verb} {resource}: the API server needs the Node authorizer, or the \
                 ClusterRole system:node bound to this node",
                refusal.message
            );
        }
        RefusalClass::Unauthorized => {
            "the certificate has ended, is revoked, or is of a CA that the server does not trust: the node has to join again"
        }
        RefusalClass::Unreachable => {
            "see that this machine reaches the server, and that its CA is in the kubeconfig"
        }
        RefusalClass::NotServed => "the server has no certificates API (certificates.k8s.io/v1)",
        _ => return refusal.message.clone(),
    };
    format!("{}; {advice}", refusal.message)
}

#[cfg(test)]
mod tests;
