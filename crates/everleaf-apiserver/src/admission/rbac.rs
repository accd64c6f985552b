//! Nobody hands out what they do not hold (`pkg/registry/rbac/*/policybased/storage.go`,
//! `pkg/registry/rbac/validation/rule.go`).
//!
//! Who writes a role must hold all its rules, or may `escalate` it. Who writes a binding must hold
//! all rules of its role, or may `bind` it. `system:masters` is exempt. An update asks all of this
//! again, even one of a label; only one that touches nothing but owners and finalizers asks
//! nothing, so that garbage can be collected.

use super::{Attributes, Operation};
use crate::{
    authz::{
        self, Authorizer,
        rule::{self, Rule},
    },
    objects::Objects,
    read,
    user::MASTERS,
};
use everleaf_api::{Status, fields::quote};
use serde_json::Value;
use std::collections::BTreeSet;

const GROUP: &str = "rbac.authorization.k8s.io";
/// Missing rules listed in a refusal; the rest is counted.
const SHOWN_MAX: usize = 20;

pub(super) fn escalation(
    attributes: &Attributes<'_>,
    object: &Value,
    objects: &dyn Objects,
    authorizer: &Authorizer,
) -> Result<(), Status> {
    if attributes.group != GROUP
        || attributes.operation == Operation::Delete
        || attributes.user.in_group(MASTERS)
    {
        return Ok(());
    }
    let is_role = match attributes.resource {
        "roles" | "clusterroles" => true,
        "rolebindings" | "clusterrolebindings" => false,
        _ => return Ok(()),
    };
    if attributes.old.is_some_and(|old| only_lets_go(old, object)) {
        return Ok(());
    }
    let writer = Writer {
        attributes,
        objects,
        authorizer,
    };
    if is_role {
        writer.role(object)
    } else {
        writer.binding(object)
    }
}

/// Do the two differ in nothing but owners and finalizers (`pkg/registry/rbac/helpers.go`:
/// `IsOnlyMutatingGCFields`)?
pub(super) fn only_lets_go(old: &Value, new: &Value) -> bool {
    const LETS_GO: [&str; 3] = ["ownerReferences", "finalizers", "managedFields"];
    let kept = |object: &Value| {
        let mut kept = object.clone();
        if let Some(metadata) = kept.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|member, value| {
                !LETS_GO.contains(&member.as_str()) && !read::is_empty(Some(value))
            });
        }
        if let Some(members) = kept.as_object_mut() {
            members.retain(|_, value| !read::is_empty(Some(value)));
        }
        kept
    };
    kept(old) == kept(new)
}

fn aggregates(role: &Value) -> bool {
    !read::is_empty(role.pointer("/aggregationRule/clusterRoleSelectors"))
}

struct Writer<'a> {
    attributes: &'a Attributes<'a>,
    objects: &'a dyn Objects,
    authorizer: &'a Authorizer,
}

impl Writer<'_> {
    fn role(&self, object: &Value) -> Result<(), Status> {
        // A create has no name yet: a right to escalate what is named so does not help.
        let name = match self.attributes.operation {
            Operation::Create => "",
            _ => self.attributes.name,
        };
        if self.may("escalate", self.attributes.resource, name) {
            return Ok(());
        }
        self.hold(&Rule::all_of(object))?;
        if aggregates(object) || self.attributes.old.is_some_and(aggregates) {
            let everything = [
                Rule::on(&["*"], &["*"], &["*"]),
                Rule::on_paths(&["*"], &["*"]),
            ];
            if !rule::not_held(&self.held(), &everything).is_empty() {
                return Err(self
                    .attributes
                    .forbidden("must have cluster-admin privileges to use the aggregationRule"));
            }
        }
        Ok(())
    }

    fn binding(&self, object: &Value) -> Result<(), Status> {
        let kind = read::text(object, "/roleRef/kind");
        let name = read::text(object, "/roleRef/name");
        let resource = match kind {
            "Role" => "roles",
            _ => "clusterroles",
        };
        if self.may("bind", resource, name) {
            return Ok(());
        }
        let namespace = self.attributes.namespace;
        let rules = self
            .authorizer
            .role_rules(kind, namespace, name, self.objects)
            .map_err(|_| Status::not_found(self.attributes.about(), name))?;
        self.hold(&rules)
    }

    fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        let question = authz::Attributes {
            verb,
            group: GROUP,
            version: "*",
            resource,
            namespace: self.attributes.namespace,
            name,
            ..authz::Attributes::of(self.attributes.user)
        };
        self.authorizer.authorize(&question, self.objects).allowed
    }

    /// The writer's own rules by RBAC; what the Node authorizer allows cannot be handed on.
    fn held(&self) -> Vec<Rule> {
        self.authorizer
            .enumerate(
                self.attributes.user,
                self.attributes.namespace,
                self.objects,
            )
            .rules
    }

    fn hold(&self, wanted: &[Rule]) -> Result<(), Status> {
        let missing = rule::not_held(&self.held(), wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let lines: BTreeSet<String> = rule::compact(missing).iter().map(Rule::to_string).collect();
        let more = lines.len().saturating_sub(SHOWN_MAX);
        let mut lines: Vec<String> = lines.into_iter().take(SHOWN_MAX).collect();
        if more > 0 {
            lines.push(format!("… and {more} more"));
        }
        let user = self.attributes.user;
        Err(self.attributes.forbidden(&format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            quote(&user.name),
            rule::quoted(&user.groups),
            lines.join("\n")
        )))
    }
}
