//! RBAC policy objects, compiled for look-up by subject (`plugin/pkg/auth/authorizer/rbac/rbac.go`,
//! `pkg/registry/rbac/validation/rule.go`).

use super::{Attributes, Decision, Enumeration, rule::Rule};
use crate::{
    objects::Objects,
    read,
    user::{SERVICE_ACCOUNT_PREFIX, User},
};
use everleaf_api::{fields::quote, meta};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The resources an [`Index`] is compiled from.
pub(super) const RESOURCES: [&str; 4] = [
    "clusterroles",
    "clusterrolebindings",
    "roles",
    "rolebindings",
];

/// Bindings by subject, with their rules resolved.
pub(super) struct Index {
    cluster_roles: BTreeMap<String, Arc<[Rule]>>,
    roles: BTreeMap<(String, String), Arc<[Rule]>>,
    cluster: Grants,
    namespaces: HashMap<String, Grants>,
}

/// Bindings of one scope.
#[derive(Default)]
struct Grants {
    users: HashMap<String, Vec<Grant>>,
    groups: HashMap<String, Vec<Grant>>,
}

/// One subject of one binding.
struct Grant {
    /// Rules of the role; Err = why there are none.
    rules: Result<Arc<[Rule]>, String>,
    /// `ClusterRoleBinding "b" of ClusterRole "r" to Group "g"`.
    text: String,
}

impl Grants {
    /// Everything given to this user here: by name, then by group in the user's order.
    fn of<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a Grant> {
        let by_name = self.users.get(&user.name);
        let by_group = user
            .groups
            .iter()
            .filter_map(|group| self.groups.get(group));
        by_name.into_iter().chain(by_group).flatten()
    }
}

impl Index {
    pub(super) fn compile(objects: &dyn Objects) -> Self {
        let mut index = Self {
            cluster_roles: BTreeMap::new(),
            roles: BTreeMap::new(),
            cluster: Grants::default(),
            namespaces: HashMap::new(),
        };
        for role in objects.list("clusterroles", None) {
            let rules = Rule::all_of(&role.object()).into();
            index.cluster_roles.insert(role.name.to_string(), rules);
        }
        for role in objects.list("roles", None) {
            let rules = Rule::all_of(&role.object()).into();
            let key = (role.namespace.to_string(), role.name.to_string());
            index.roles.insert(key, rules);
        }
        for binding in objects.list("clusterrolebindings", None) {
            let mut grants = std::mem::take(&mut index.cluster);
            index.add(&mut grants, &binding.object());
            index.cluster = grants;
        }
        for binding in objects.list("rolebindings", None) {
            let mut grants = index
                .namespaces
                .remove(&*binding.namespace)
                .unwrap_or_default();
            index.add(&mut grants, &binding.object());
            index
                .namespaces
                .insert(binding.namespace.to_string(), grants);
        }
        index
    }

    fn add(&self, grants: &mut Grants, binding: &Value) {
        let namespace = meta::namespace(binding);
        let role_kind = read::text(binding, "/roleRef/kind");
        let role_name = read::text(binding, "/roleRef/name");
        let rules = self.role_rules(role_kind, namespace, role_name);
        let title = if namespace.is_empty() {
            format!("ClusterRoleBinding {}", quote(meta::name(binding)))
        } else {
            let name = format!("{}/{namespace}", meta::name(binding));
            format!("RoleBinding {}", quote(&name))
        };
        for subject in read::items(binding, "/subjects") {
            let kind = read::text(subject, "/kind");
            let name = read::text(subject, "/name");
            let home = match read::text(subject, "/namespace") {
                "" => namespace,
                given => given,
            };
            let (holders, key, shown) = match kind {
                "User" => (&mut grants.users, name.to_owned(), name.to_owned()),
                "Group" => (&mut grants.groups, name.to_owned(), name.to_owned()),
                "ServiceAccount" if !home.is_empty() => (
                    &mut grants.users,
                    format!("{SERVICE_ACCOUNT_PREFIX}{home}:{name}"),
                    format!("{name}/{home}"),
                ),
                _ => continue,
            };
            holders.entry(key).or_default().push(Grant {
                rules: rules.clone(),
                text: format!(
                    "{title} of {role_kind} {} to {kind} {}",
                    quote(role_name),
                    quote(&shown)
                ),
            });
        }
    }

    /// The rules behind a role reference made in `namespace` ("" = in a ClusterRoleBinding).
    pub(super) fn role_rules(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<[Rule]>, String> {
        let found = match kind {
            "ClusterRole" => self.cluster_roles.get(name),
            "Role" => self.roles.get(&(namespace.to_owned(), name.to_owned())),
            _ => return Err(format!("unsupported role reference kind: {}", quote(kind))),
        };
        found.cloned().ok_or_else(|| {
            let resource = kind.to_ascii_lowercase();
            format!(
                "{resource}.rbac.authorization.k8s.io {} not found",
                quote(name)
            )
        })
    }

    /// ClusterRoleBindings first, then the RoleBindings of the request's namespace. A role that is
    /// missing is told only when nothing else allows.
    pub(super) fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let local = match attributes.resource {
            "" => None,
            _ => self.namespaces.get(attributes.namespace),
        };
        let mut errors: Vec<&str> = Vec::new();
        let user = attributes.user;
        let grants = self.cluster.of(user);
        for grant in grants.chain(local.into_iter().flat_map(|grants| grants.of(user))) {
            match &grant.rules {
                Ok(rules) if rules.iter().any(|rule| rule.allows(attributes)) => {
                    return Decision {
                        allowed: true,
                        reason: format!("RBAC: allowed by {}", grant.text),
                        ..Decision::default()
                    };
                }
                Ok(_) => {}
                Err(error) if errors.contains(&error.as_str()) => {}
                Err(error) => errors.push(error),
            }
        }
        let reason = match errors.as_slice() {
            [] => String::new(),
            [error] => format!("RBAC: {error}"),
            errors => format!("RBAC: [{}]", errors.join(", ")),
        };
        Decision {
            allowed: false,
            reason,
            ..Decision::default()
        }
    }

    pub(super) fn enumerate(&self, user: &User, namespace: &str) -> Enumeration {
        let mut all = Enumeration::default();
        let local = self.namespaces.get(namespace);
        let cluster = self.cluster.of(user).map(|grant| (grant, true));
        let local = local
            .into_iter()
            .flat_map(|grants| grants.of(user))
            .map(|grant| (grant, false));
        for (grant, paths_count) in cluster.chain(local) {
            match &grant.rules {
                // A RoleBinding gives no paths, whatever its ClusterRole says.
                Ok(rules) => all.rules.extend(
                    rules
                        .iter()
                        .filter(|rule| paths_count || rule.paths.is_empty())
                        .cloned(),
                ),
                Err(error) if all.errors.contains(error) => {}
                Err(error) => all.errors.push(error.clone()),
            }
        }
        all
    }
}
