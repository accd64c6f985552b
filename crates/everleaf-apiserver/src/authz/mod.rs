//! May they? The chain `system:masters`, Node, RBAC: the first that allows wins, and when none does
//! the answer is 403.
//!
//! This module owns verdicts over committed policy objects. It refuses to know bodies, HTTP and who
//! proved what: it sees an identity and the attributes of a request, also those of a request that
//! nobody made (SubjectAccessReview, the `approve` and `sign` checks of admission).

mod node;
mod rbac;
pub(crate) mod rule;

use self::{rbac::Index, rule::Rule};
use crate::{
    objects::Objects,
    user::{self, User},
};
use arc_swap::ArcSwapOption;
use everleaf_api::{
    Status,
    selector::{FieldSelector, LabelSelector},
    status::{Denial, DeniedTarget, GroupResource},
};
use std::{
    fmt,
    sync::{Arc, OnceLock},
};

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Allowed?
    pub allowed: bool,
    /// Names the rule for an audit; a denial shows it to the client.
    pub reason: String,
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

/// The chain. Policy objects are compiled once per change of them, so that a verdict costs a few
/// map look-ups.
#[derive(Default)]
pub struct Authorizer {
    compiled: ArcSwapOption<Compiled>,
}

struct Compiled {
    /// Last change of each RBAC resource when it was compiled.
    changes: [u64; 4],
    index: Index,
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorizer(Node,RBAC)")
    }
}

impl Authorizer {
    /// The first authorizer with an opinion decides; none is a no.
    pub fn authorize(&self, attributes: &Attributes<'_>, objects: &dyn Objects) -> Decision {
        if attributes.user.in_group(user::MASTERS) {
            return Decision {
                allowed: true,
                reason: String::new(),
            };
        }
        let by_node = node::authorize(attributes, objects);
        if by_node.allowed {
            return by_node;
        }
        let by_rbac = self.with_index(objects, |index| index.authorize(attributes));
        if by_rbac.allowed {
            return by_rbac;
        }
        // Since 1.37 each part of a refusal names who gives it
        // (`apiserver/pkg/authorization/union/union.go`).
        let reasons = [("node", by_node.reason), ("rbac", by_rbac.reason)];
        let told = reasons.iter().filter(|(_, reason)| !reason.is_empty());
        let told: Vec<String> = told.map(|(by, why)| format!("{by}: {why}")).collect();
        Decision {
            allowed: false,
            reason: told.join("\n"),
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
    pub(crate) fn denied(attributes: &Attributes<'_>, decision: &Decision) -> Status {
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
        if let Some(compiled) = &*self.compiled.load()
            && compiled.changes == changes
        {
            return answer(&compiled.index);
        }
        let compiled = Arc::new(Compiled {
            changes,
            index: Index::compile(objects),
        });
        self.compiled.store(Some(Arc::clone(&compiled)));
        answer(&compiled.index)
    }
}

/// The static rules of nodes, compiled once.
fn node_rules() -> &'static [Rule] {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES.get_or_init(crate::bootstrap::policy::node_rules)
}

#[cfg(test)]
mod tests;
