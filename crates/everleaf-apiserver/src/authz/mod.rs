//! May they? The chain `system:masters`, paths that are open to all, Node, RBAC, and another server
//! if one is configured: the first that allows wins, and when none does the answer is 403. The
//! chain may be replaced; a request is judged by one chain from its beginning to its end.
//!
//! This module owns verdicts over committed policy objects. It refuses to know bodies, HTTP and who
//! proved what: it sees an identity and the attributes of a request, also those of a request that
//! nobody made (SubjectAccessReview, the `approve` and `sign` checks of admission).

pub mod condition;
pub mod config;
mod node;
mod open_paths;
mod rbac;
pub(crate) mod rule;
pub mod webhook;

use self::{
    rbac::Index,
    rule::Rule,
    webhook::{Opinion, Question, Verdict, Webhook, WebhookConfig},
};
use crate::{
    objects::Objects,
    registry::gates::Gates,
    user::{self, User},
};
use arc_swap::{ArcSwap, ArcSwapOption};
use everleaf_api::{
    Status,
    selector::{FieldSelector, LabelSelector},
    status::{Denial, DeniedTarget, GroupResource},
};
use futures_util::future::join_all;
use jiff::Timestamp;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

pub use self::open_paths::OpenPaths;

/// What is asked. Also built from SubjectAccessReviews.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    /// Already authenticated, after impersonation.
    pub user: &'a User,
    /// Verb (get, list, …, or the lower-case method of a path).
    pub verb: &'a str,
    /// "" for the core group.
    pub group: &'a str,
    /// As `v1`; RBAC does not look at it.
    pub version: &'a str,
    /// Plural resource; empty = non-resource request.
    pub resource: &'a str,
    /// Subresource or "".
    pub subresource: &'a str,
    /// Namespace or "".
    pub namespace: &'a str,
    /// Name or "" (a metadata.name selector names a list/watch).
    pub name: &'a str,
    /// Path of a non-resource request.
    pub path: &'a str,
    /// Field selector of a list/watch.
    pub field_selector: Option<&'a FieldSelector>,
    /// Label selector.
    pub label_selector: Option<&'a LabelSelector>,
}

impl<'a> Attributes<'a> {
    /// A question about `user` with everything else empty, to be filled by struct update.
    pub fn of(user: &'a User) -> Self {
        Self {
            user,
            verb: "",
            group: "",
            version: "",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            path: "",
            field_selector: None,
            label_selector: None,
        }
    }
}

/// A verdict with its reason ("" when there is none to tell).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Allowed?
    pub allowed: bool,
    /// Names the rule for an audit; a denial shows it to the client.
    pub reason: String,
    /// What went wrong on the way; "" when nothing did.
    pub error: String,
}

/// What a user may do in a namespace, as far as it can be enumerated (SelfSubjectRulesReview).
#[derive(Debug, Default)]
pub(crate) struct Enumeration {
    /// Rules, in no particular order, with repetitions.
    pub(crate) rules: Vec<Rule>,
    /// True when there may be more.
    pub(crate) incomplete: bool,
    /// What went wrong on the way.
    pub(crate) errors: Vec<String>,
}

/// One that is asked in its turn.
#[derive(Debug, Clone)]
pub enum Step {
    /// Rules for nodes.
    Node,
    /// Roles and bindings.
    Rbac,
    /// Another server.
    Webhook(WebhookConfig),
}

/// The chain. Policy objects are compiled once per change of them, so that a verdict costs a few
/// map look-ups.
///
/// A verdict needs no I/O. What a webhook has to be asked for is an open question until
/// `Authorizer::ask`; until then it is a no.
pub struct Authorizer {
    shared: Arc<Shared>,
    /// Of a request: the one that it began with.
    chain: Option<Arc<[Link]>>,
    session: Mutex<Session>,
}

struct Shared {
    compiled: ArcSwapOption<Compiled>,
    open_paths: OpenPaths,
    chain: ArcSwap<Arc<[Link]>>,
    gates: ArcSwap<Gates>,
}

enum Link {
    Node,
    Rbac,
    Webhook(Arc<Webhook>),
}

/// What one request has asked webhooks.
#[derive(Default)]
struct Session {
    now: Timestamp,
    answered: HashMap<String, Verdict>,
    open: Vec<Question>,
}

impl Default for Authorizer {
    fn default() -> Self {
        Self::new(vec![Step::Node, Step::Rbac])
    }
}

struct Compiled {
    /// Last change of each RBAC resource when it was compiled.
    changes: [u64; 4],
    index: Index,
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = self.chain();
        let names = chain.iter().map(|link| match link {
            Link::Node => "Node",
            Link::Rbac => "RBAC",
            Link::Webhook(_) => "Webhook",
        });
        write!(f, "Authorizer({})", names.collect::<Vec<_>>().join(","))
    }
}

impl Authorizer {
    /// Those are asked in this order.
    pub fn new(steps: Vec<Step>) -> Self {
        Self::with_open_paths(steps, OpenPaths::default())
    }

    /// The same, and before them nobody for these paths.
    pub fn with_open_paths(steps: Vec<Step>, open_paths: OpenPaths) -> Self {
        Self {
            shared: Arc::new(Shared {
                compiled: ArcSwapOption::empty(),
                open_paths,
                chain: ArcSwap::from_pointee(links(steps)),
                gates: ArcSwap::default(),
            }),
            chain: None,
            session: Mutex::default(),
        }
    }

    /// With the rights that these gates leave.
    pub(crate) fn set_gates(&self, gates: Gates) {
        self.shared.gates.store(Arc::new(gates));
    }

    /// Replaces those that are asked, for requests that come from now on.
    pub fn set_steps(&self, steps: Vec<Step>) {
        self.shared.chain.store(Arc::new(links(steps)));
    }

    /// The same for one request, which remembers what webhooks say to it.
    pub(crate) fn for_request(&self, now: Timestamp) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            chain: Some(self.chain()),
            session: Mutex::new(Session {
                now,
                ..Session::default()
            }),
        }
    }

    fn chain(&self) -> Arc<[Link]> {
        match &self.chain {
            Some(chain) => Arc::clone(chain),
            None => Arc::clone(&self.shared.chain.load()),
        }
    }

    /// Is another server among them?
    pub(crate) fn has_webhook(&self) -> bool {
        let is_webhook = |link: &Link| matches!(link, Link::Webhook(_));
        self.chain().iter().any(is_webhook)
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the open questions answered; false when there are none, and verdicts are final.
    pub(crate) async fn ask(&self) -> bool {
        let (open, now) = {
            let mut session = self.session();
            (std::mem::take(&mut session.open), session.now)
        };
        if open.is_empty() {
            return false;
        }
        let answers = join_all(open.into_iter().map(|question| question.ask(now))).await;
        self.session().answered.extend(answers);
        true
    }

    /// What a webhook says, and whether nobody is asked after it.
    fn opinion(&self, webhook: &Arc<Webhook>, attributes: &Attributes<'_>) -> (Decision, bool) {
        let mut session = self.session();
        match webhook.opinion(attributes, &session.answered, session.now) {
            Opinion::Decided(decision) => (decision, true),
            Opinion::None { reason, error } => {
                let decision = Decision {
                    allowed: false,
                    reason,
                    error,
                };
                (decision, false)
            }
            Opinion::Open(question) => {
                if !session.open.iter().any(|other| other.key == question.key) {
                    session.open.push(question);
                }
                (Decision::default(), true)
            }
        }
    }

    /// The first authorizer with an opinion decides; none is a no.
    pub fn authorize(&self, attributes: &Attributes<'_>, objects: &dyn Objects) -> Decision {
        let allowed = || Decision {
            allowed: true,
            ..Decision::default()
        };
        if attributes.user.in_group(user::MASTERS) {
            return allowed();
        }
        // Only where another server is asked: else Node and RBAC decide, as in kube-apiserver. RBAC
        // may allow it as well, and says why.
        let is_open = self.has_webhook() && self.shared.open_paths.covers(attributes);
        let mut reasons = Vec::new();
        let mut errors = Vec::new();
        for link in self.chain().iter() {
            let (name, decision, is_final) = match link {
                Link::Node => {
                    let gates = self.shared.gates.load();
                    ("node", node::authorize(attributes, objects, &gates), false)
                }
                Link::Rbac => {
                    let by_rbac = self.with_index(objects, |index| index.authorize(attributes));
                    ("rbac", by_rbac, false)
                }
                Link::Webhook(_) if is_open => continue,
                Link::Webhook(webhook) => {
                    let (decision, is_final) = self.opinion(webhook, attributes);
                    (webhook.name(), decision, is_final)
                }
            };
            if decision.allowed || is_final {
                return decision;
            }
            // Since 1.37 each part of a refusal names who gives it
            // (`apiserver/pkg/authorization/union/union.go`).
            if !decision.reason.is_empty() {
                reasons.push(format!("{name}: {}", decision.reason));
            }
            if !decision.error.is_empty() {
                errors.push(decision.error);
            }
        }
        if is_open {
            return allowed();
        }
        Decision {
            allowed: false,
            reason: reasons.join("\n"),
            error: errors.join("; "),
        }
    }

    /// Decides; a refusal is the 403 to answer.
    pub fn check(&self, attributes: &Attributes<'_>, objects: &dyn Objects) -> Result<(), Status> {
        let decision = self.authorize(attributes, objects);
        if decision.allowed {
            return Ok(());
        }
        Err(Self::denied(attributes, &decision))
    }

    /// The 403 of a refused request, in upstream's words.
    /// 500 when that is because somebody could not be asked: asking again may help.
    pub(crate) fn denied(attributes: &Attributes<'_>, decision: &Decision) -> Status {
        if !decision.error.is_empty() {
            let error = &decision.error;
            return Status::internal(format!("authorization could not be decided: {error}"));
        }
        let target = if attributes.resource.is_empty() {
            DeniedTarget::Path(attributes.path)
        } else {
            DeniedTarget::Resource {
                about: GroupResource {
                    group: attributes.group,
                    resource: attributes.resource,
                },
                subresource: attributes.subresource,
                namespace: attributes.namespace,
                name: attributes.name,
            }
        };
        Status::denied(Denial {
            user: &attributes.user.name,
            verb: attributes.verb,
            target,
            reason: &decision.reason,
        })
    }

    /// What `user` may do in `namespace`. What `system:masters` is told comes from its binding, as
    /// upstream.
    pub(crate) fn enumerate(
        &self,
        user: &User,
        namespace: &str,
        objects: &dyn Objects,
    ) -> Enumeration {
        let mut all = self.with_index(objects, |index| index.enumerate(user, namespace));
        if user.node_identity().is_some() {
            all.incomplete = true;
            all.errors
                .push("node authorizer does not support user rule resolution".to_owned());
        }
        if self.has_webhook() {
            all.incomplete = true;
            all.errors
                .push("webhook authorizer does not support user rule resolution".to_owned());
        }
        all
    }

    /// The rules behind a role reference; Err = the 404 text of the missing role.
    pub(crate) fn role_rules(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        objects: &dyn Objects,
    ) -> Result<Arc<[Rule]>, String> {
        self.with_index(objects, |index| index.role_rules(kind, namespace, name))
    }

    fn with_index<T>(&self, objects: &dyn Objects, answer: impl FnOnce(&Index) -> T) -> T {
        // Read before the lists: a change in between is then seen as one, and compiled again next
        // time.
        let changes = rbac::RESOURCES.map(|resource| objects.last_change(resource));
        if let Some(compiled) = &*self.shared.compiled.load()
            && compiled.changes == changes
        {
            return answer(&compiled.index);
        }
        let compiled = Arc::new(Compiled {
            changes,
            index: Index::compile(objects),
        });
        self.shared.compiled.store(Some(Arc::clone(&compiled)));
        answer(&compiled.index)
    }
}

fn links(steps: Vec<Step>) -> Arc<[Link]> {
    let links = steps.into_iter().map(|step| match step {
        Step::Node => Link::Node,
        Step::Rbac => Link::Rbac,
        Step::Webhook(config) => Link::Webhook(Arc::new(Webhook::new(config))),
    });
    links.collect()
}

/// The static rules of nodes, compiled once.
fn node_rules() -> &'static [Rule] {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES.get_or_init(crate::bootstrap::policy::node_rules)
}

#[cfg(test)]
mod tests;
