//! Objects every server installs and keeps: system namespaces, the RBAC bootstrap policy, kubeadm's
//! bindings, and what delegating components read about authentication.
//!
//! Everything is a pure function of what is stored. What an operator changed is respected: rules
//! and subjects that were added stay, those that were removed come back, and an object annotated
//! `autoupdate: "false"` is left alone (`pkg/registry/rbac/rest/storage_rbac.go`,
//! `component-helpers/auth/rbac/reconciliation`).

mod bindings;
pub(crate) mod policy;

use self::{bindings::Binding, policy::Role};
use crate::{
    authn::Published,
    authz::rule::{self, Rule},
    objects::Objects,
    read,
    registry::gates::Gates,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use everleaf_api::meta;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Namespaces that exist from the first start and are put back when missing.
pub const SYSTEM_NAMESPACES: [&str; 4] =
    ["default", "kube-system", "kube-public", "kube-node-lease"];

/// ConfigMap of kube-system from which delegating components learn whose client certificates count.
pub const EXTENSION_APISERVER_AUTHENTICATION: &str = "extension-apiserver-authentication";

const BOOTSTRAPPING_LABEL: (&str, &str) = ("kubernetes.io/bootstrapping", "rbac-defaults");
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const RBAC_VERSION: &str = "rbac.authorization.k8s.io/v1";

/// One object to write, without authorization and admission (it is the server's own).
/// The engine fills uid, creationTimestamp and, for a namespace, what its strategy fills.
#[derive(Debug, Clone, PartialEq)]
pub struct Installation {
    /// Plural resource.
    pub resource: &'static str,
    /// The whole object, `metadata.name` (and namespace) set. When it exists already it is replaced
    /// (uid, creationTimestamp and unnamed metadata kept by whoever built it from the stored one).
    pub object: Value,
    /// The stored object differs in what no update may change: it is deleted first.
    pub recreate: bool,
}

/// What must be written so that `objects` holds everything the server installs; empty when
/// nothing is missing. Asked at start and once a minute.
///
/// `published` is for whoever delegates authentication to this server
/// ([`crate::authn::Authenticator::published`]). A gate that is off keeps what goes with it from
/// being installed; what is there stays.
pub fn missing(objects: &dyn Objects, published: &Published, gates: &Gates) -> Vec<Installation> {
    wanted(published, gates)
        .into_iter()
        .filter_map(|wanted| {
            let namespace = meta::namespace(&wanted.object);
            let name = meta::name(&wanted.object);
            let stored = objects.get(wanted.resource, namespace, name);
            match stored {
                // It is there, and whoever can read it again sees what it lacks.
                None if objects
                    .unreadable(wanted.resource, namespace, name)
                    .is_some() =>
                {
                    None
                }
                None => Some(wanted),
                Some(stored) => repaired(&stored.object(), wanted),
            }
        })
        .collect()
}

/// Everything a server installs, in an order in which it can be created.
fn wanted(published: &Published, gates: &Gates) -> Vec<Installation> {
    let namespaces = SYSTEM_NAMESPACES.iter().map(|name| Installation {
        resource: "namespaces",
        object: namespace(name),
        recreate: false,
    });
    let (roles, gone) = policy::without(policy::cluster_roles(), gates);
    let roles = roles
        .into_iter()
        .chain(policy::local_roles())
        .map(Installation::of_role);
    let bindings = bindings::of_apiserver()
        .into_iter()
        .chain(bindings::of_kubeadm())
        .chain(bindings::of_single_identity())
        .filter(|binding| !gone.contains(&binding.role))
        .map(Installation::of_binding);
    let authentication = Installation {
        resource: "configmaps",
        object: json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": EXTENSION_APISERVER_AUTHENTICATION, "namespace": "kube-system"},
            "data": authentication_data(published),
        }),
        recreate: false,
    };
    namespaces
        .chain(roles)
        .chain(bindings)
        .chain([authentication])
        .collect()
}

/// As kube-apiserver writes it (`pkg/controlplane/controller/clusterauthenticationtrust`).
fn authentication_data(published: &Published) -> Value {
    let mut data = json!({"client-ca-file": published.client_ca_pem});
    if let Some(proxies) = &published.front_proxy {
        data["requestheader-client-ca-file"] = proxies.ca_pem.clone().into();
        for (key, names) in [
            ("allowed-names", &proxies.allowed_names),
            ("extra-headers-prefix", &proxies.extra_prefixes),
            ("group-headers", &proxies.group_headers),
            ("uid-headers", &proxies.uid_headers),
            ("username-headers", &proxies.username_headers),
        ] {
            data[format!("requestheader-{key}")] = json!(names).to_string().into();
        }
    }
    data
}

/// ConfigMap of kube-public in which whoever wants to join finds the server
/// (`cmd/kubeadm/app/phases/bootstraptoken/ clusterinfo`). A kube-controller-manager with the
/// controller `bootstrapsigner` signs it for each bootstrap token.
pub const CLUSTER_INFO: &str = "cluster-info";

/// That ConfigMap with this kubeconfig: `stored`, corrected, or a new one; None when it says so
/// already.
pub fn cluster_info(stored: Option<&Value>, kubeconfig: &str) -> Option<Value> {
    let mut object = stored.cloned().unwrap_or_else(|| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": CLUSTER_INFO, "namespace": "kube-public"},
        })
    });
    if read::text(&object, "/data/kubeconfig") == kubeconfig {
        return None;
    }
    add_members(
        &mut object,
        &json!({"data": {"kubeconfig": kubeconfig}}),
        "data",
        true,
    );
    Some(object)
}

fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "status": {"phase": "Active"},
    })
}

fn policy_metadata(
    name: &str,
    namespace: Option<&str>,
    labels: &[(&'static str, &'static str)],
) -> Value {
    let labels: Map<String, Value> = labels
        .iter()
        .chain([&BOOTSTRAPPING_LABEL])
        .map(|&(key, value)| (key.to_owned(), value.into()))
        .collect();
    let mut metadata = json!({"name": name, "labels": labels, "annotations": {AUTOUPDATE: "true"}});
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    metadata
}

impl Installation {
    fn of_role(role: Role) -> Self {
        let (resource, kind) = match role.namespace {
            None => ("clusterroles", "ClusterRole"),
            Some(_) => ("roles", "Role"),
        };
        let rules: Vec<Value> = role.rules.iter().map(Rule::to_value).collect();
        let mut object = json!({
            "apiVersion": RBAC_VERSION, "kind": kind,
            "metadata": policy_metadata(role.name, role.namespace, role.labels),
            "rules": rules,
        });
        if let Some(label) = role.gathers {
            object["aggregationRule"] =
                json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
        }
        Self {
            resource,
            object,
            recreate: false,
        }
    }

    fn of_binding(binding: Binding) -> Self {
        let (resource, kind) = match binding.namespace {
            None => ("clusterrolebindings", "ClusterRoleBinding"),
            Some(_) => ("rolebindings", "RoleBinding"),
        };
        let mut object = json!({
            "apiVersion": RBAC_VERSION, "kind": kind,
            "metadata": policy_metadata(&binding.name, binding.namespace, &[]),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": binding.role_kind, "name": binding.role},
        });
        if !binding.subjects.is_empty() {
            object["subjects"] = binding.subjects.into();
        }
        Self {
            resource,
            object,
            recreate: false,
        }
    }
}

/// `stored` with what it lacks of `wanted`; None when it lacks nothing or is not to be touched.
fn repaired(stored: &Value, wanted: Installation) -> Option<Installation> {
    let mut repaired = stored.clone();
    match wanted.resource {
        "configmaps" => {
            add_members(&mut repaired, &wanted.object, "data", true);
        }
        "clusterroles" | "roles" | "clusterrolebindings" | "rolebindings" => {
            if meta::annotation(stored, AUTOUPDATE) == Some("false") {
                return None;
            }
            // Whoever was given another role by this name must not be given the server's.
            if stored.get("roleRef") != wanted.object.get("roleRef") {
                return Some(Installation {
                    recreate: true,
                    ..wanted
                });
            }
            add_metadata(&mut repaired, &wanted.object);
            if wanted.resource.ends_with("roles") {
                add_rules(&mut repaired, &wanted.object);
            } else {
                add_subjects(&mut repaired, &wanted.object);
            }
        }
        _ => {}
    }
    let is_immutable = stored.get("immutable") == Some(&Value::Bool(true));
    (repaired != *stored).then_some(Installation {
        object: repaired,
        recreate: is_immutable,
        ..wanted
    })
}

/// Adds the members of `wanted`'s map `member` to `object`'s; `force` also corrects values that
/// differ.
fn add_members(object: &mut Value, wanted: &Value, member: &str, force: bool) {
    let Some(wanted) = wanted.get(member).and_then(Value::as_object) else {
        return;
    };
    if read::is_empty(object.get(member)) {
        object[member] = json!({});
    }
    if let Some(held) = object.get_mut(member).and_then(Value::as_object_mut) {
        for (key, value) in wanted {
            if force || !held.contains_key(key) {
                held.insert(key.clone(), value.clone());
            }
        }
    }
}

fn add_metadata(object: &mut Value, wanted: &Value) {
    for member in ["labels", "annotations"] {
        add_members(&mut object["metadata"], &wanted["metadata"], member, false);
    }
}

fn add_rules(object: &mut Value, wanted: &Value) {
    let lacking = rule::not_held(&Rule::all_of(object), &Rule::all_of(wanted));
    extend(
        object,
        "rules",
        lacking.iter().map(Rule::to_value).collect(),
    );
    if read::is_empty(object.get("aggregationRule"))
        && let Some(aggregation) = wanted.get("aggregationRule")
    {
        object["aggregationRule"] = aggregation.clone();
    }
}

/// Adds missing subjects.
fn add_subjects(object: &mut Value, wanted: &Value) {
    let same = |a: &Value, b: &Value| {
        ["/kind", "/name", "/namespace"]
            .iter()
            .all(|pointer| read::text(a, pointer) == read::text(b, pointer))
    };
    let held = read::items(object, "/subjects");
    let lacking = read::items(wanted, "/subjects")
        .iter()
        .filter(|subject| !held.iter().any(|mine| same(mine, subject)))
        .cloned()
        .collect();
    extend(object, "subjects", lacking);
}

fn extend(object: &mut Value, member: &str, items: Vec<Value>) {
    if items.is_empty() {
        return;
    }
    match object.get_mut(member).and_then(Value::as_array_mut) {
        Some(held) => held.extend(items),
        None => object[member] = items.into(),
    }
}

/// The Secret behind the bootstrap token `id.secret` (kube-system/bootstrap-token-ID) that lets
/// kubelets join: group `system:bootstrappers:kubeadm:default-node-token`, usable for
/// authentication only. `expires` None: never.
pub fn bootstrap_token_secret(
    id: &str,
    secret: &str,
    expires: Option<Timestamp>,
    description: &str,
) -> Value {
    let mut data = Map::new();
    let mut put = |key: &str, text: &str| data.insert(key.to_owned(), STANDARD.encode(text).into());
    put("token-id", id);
    put("token-secret", secret);
    put("usage-bootstrap-authentication", "true");
    put("auth-extra-groups", bindings::NODE_TOKEN_GROUP);
    put("description", description);
    if let Some(expires) = expires {
        put("expiration", &meta::format_time(expires));
    }
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "data": data,
    })
}

#[cfg(test)]
mod tests;
