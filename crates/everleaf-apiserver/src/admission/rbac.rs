//! Nobody hands out what they do not hold (`pkg/registry/rbac/*/policybased/storage.go`,
//! `pkg/registry/rbac/validation/rule.go`).
//!
//! Who writes a role must hold all its rules, or may `escalate` it. Who writes a binding must hold all rules of its role,
//! or may `bind` it. `system:masters` is exempt. A write that leaves rules, subjects and role reference as they are asks
//! nothing.

use everleaf_api::{Status, fields::quote, meta, status::GroupResource};
use serde_json::Value;

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
    let members: &[&str] = match attributes.resource {
        "roles" | "clusterroles" => &["rules", "aggregationRule"],
        "rolebindings" | "clusterrolebindings" => &["roleRef", "subjects"],
        _ => return Ok(()),
    };
    let unchanged = |member: &&str| {
        attributes
            .old
            .is_some_and(|old| same(old.get(member), object.get(member)))
    };
    if members.iter().all(unchanged) {
        return Ok(());
    }
    let writer = Writer {
        attributes,
        objects,
        authorizer,
    };
    if members[0] == "rules" {
        writer.role(object)
    } else {
        writer.binding(object)
    }
}

/// Equal, where nothing and empty are the same.
fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    a == b || (read::is_empty(a) && read::is_empty(b))
}

struct Writer<'a> {
    attributes: &'a Attributes<'a>,
    objects: &'a dyn Objects,
    authorizer: &'a Authorizer,
}

impl Writer<'_> {
    fn role(&self, object: &Value) -> Result<(), Status> {
        let name = match self.attributes.name {
            "" => meta::name(object),
            name => name,
        };
        if self.may("escalate", self.attributes.resource, name) {
            return Ok(());
        }
        self.hold(&Rule::all_of(object))?;
        if !read::is_empty(object.get("aggregationRule")) {
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
            .map_err(|_| {
                let about = GroupResource {
                    group: GROUP,
                    resource,
                };
                Status::not_found(about, name)
            })?;
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
        let mut lines: Vec<String> = missing
            .iter()
            .take(SHOWN_MAX)
            .map(Rule::to_string)
            .collect();
        if missing.len() > SHOWN_MAX {
            lines.push(format!("… and {} more", missing.len() - SHOWN_MAX));
        }
        let user = self.attributes.user;
        Err(self.attributes.forbidden(&format!(
            "user {} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
            quote(&user.name),
            user.groups,
            lines.join("\n")
        )))
    }
}
