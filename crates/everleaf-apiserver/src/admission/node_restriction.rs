//! NodeRestriction: a node writes about itself only
//! (`plugin/pkg/admission/noderestriction/admission.go`, with the CSR rule of 1.31). Pods are not
//! served here; any write about one is refused.

use super::pod_certificate::{self, Refusal};
use super::{Attributes, Operation};
use crate::authz::Authorizer;
use crate::objects::Objects;
use crate::{read, user::NODE_PREFIX};
use everleaf_api::{Status, fields::quote, meta};
use everleaf_pki::SignerName;
use serde_json::Value;
use std::collections::BTreeSet;

const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Labels of the `kubernetes.io` and `k8s.io` domains that kubelets set
/// (`k8s.io/kubelet/pkg/apis/well_known_labels.go`).
const KUBELET_LABELS: [&str; 16] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
    "beta.kubernetes.io/fluentd-ds-ready",
];
/// Label domains kubelets may use freely, themselves and below.
const KUBELET_LABEL_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Label domain that says which workloads a node may get; never the node's to set.
const RESTRICTED_LABEL_DOMAIN: &str = "node-restriction.kubernetes.io";

pub(super) fn admit(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    objects: &dyn Objects,
    authorizer: &Authorizer,
) -> Result<(), Status> {
    let Some(node) = attributes.user.node_identity() else {
        return Ok(());
    };
    if node.is_empty() {
        let user = quote(&attributes.user.name);
        return Err(attributes.forbidden(&format!("could not determine node from user {user}")));
    }
    let verdict = match (attributes.group, attributes.resource) {
        ("", "nodes") => own_node(node, attributes, object),
        ("coordination.k8s.io", "leases") => own_lease(node, attributes, object),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            own_request(node, attributes, object)
        }
        ("certificates.k8s.io", "podcertificaterequests") => {
            let verdict = pod_certificate::of_node(node, attributes, object, objects, authorizer);
            match verdict {
                Err(Refusal::Unlike(text)) => return Err(Status::bare(500, text)),
                Err(Refusal::Forbidden(text)) => Err(text),
                Ok(()) => Ok(()),
            }
        }
        ("storage.k8s.io", "csinodes") => own_name(node, attributes, object)
            .then_some(())
            .ok_or("can only access CSINode with the same name as the requesting node".to_owned()),
        ("", "serviceaccounts") if attributes.subresource == "token" => {
            Err("node requested token not bound to a pod".to_owned())
        }
        ("", "pods") => Err("pods are not served here".to_owned()),
        ("", "persistentvolumeclaims") => Err("may only update PVC status".to_owned()),
        _ => Ok(()),
    };
    verdict.map_err(|text| attributes.forbidden(&text))
}

/// The request is about an object of the node's own name; on create the object says its name, not
/// the path.
fn own_name(node: &str, attributes: &Attributes<'_>, object: Option<&Value>) -> bool {
    match (attributes.operation, object) {
        (Operation::Create, Some(object)) => meta::name(object) == node,
        (Operation::Create, None) => false,
        (Operation::Update | Operation::Delete, _) => attributes.name == node,
    }
}

fn own_lease(
    node: &str,
    attributes: &Attributes<'_>,
    object: Option<&Value>,
) -> Result<(), String> {
    if attributes.namespace != LEASE_NAMESPACE {
        return Err(format!(
            "can only access leases in the {} system namespace",
            quote(LEASE_NAMESPACE)
        ));
    }
    if !own_name(node, attributes, object) {
        return Err(
            "can only access node lease with the same name as the requesting node".to_owned(),
        );
    }
    Ok(())
}

/// A node asks the two kubelet signers for a certificate of its own name only.
fn own_request(
    node: &str,
    attributes: &Attributes<'_>,
    object: Option<&Value>,
) -> Result<(), String> {
    if attributes.operation != Operation::Create || !attributes.subresource.is_empty() {
        return Ok(());
    }
    let signer = object.map_or("", |object| read::text(object, "/spec/signerName"));
    if signer != SignerName::KUBELET_SERVING && signer != SignerName::KUBE_APISERVER_CLIENT_KUBELET
    {
        return Ok(());
    }
    let request = match attributes.request {
        Some(Ok(request)) => request,
        Some(Err(error)) => return Err(format!("unable to parse csr: {error}")),
        None => return Err("unable to parse csr".to_owned()),
    };
    let own = format!("{NODE_PREFIX}{node}");
    if request.subject().common_name != own {
        return Err(format!("can only create a node CSR with CN={own}"));
    }
    Ok(())
}

fn own_node(node: &str, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<(), String> {
    let name = match (attributes.operation, attributes.name, object) {
        (Operation::Create, "", Some(object)) => meta::name(object),
        (_, name, _) => name,
    };
    if name != node || !own_name(node, attributes, object) {
        return Err(format!(
            "node {} is not allowed to modify node {}",
            quote(node),
            quote(name)
        ));
    }
    let Some(object) = object else {
        return Ok(());
    };
    let node = quote(node);
    let null = Value::Null;
    let config_source = object.pointer("/spec/configSource").unwrap_or(&null);
    match attributes.old {
        None => {
            if !config_source.is_null() {
                return Err(format!(
                    "node {node} is not allowed to create pods with a non-nil configSource"
                ));
            }
            let labels = forbidden_labels(object, &null);
            if !labels.is_empty() {
                return Err(format!(
                    "node {node} is not allowed to set the following labels: {labels}"
                ));
            }
        }
        Some(old) => {
            let stored = old.pointer("/spec/configSource").unwrap_or(&null);
            if !config_source.is_null() && config_source != stored {
                return Err(format!(
                    "node {node} is not allowed to update configSource to a new non-nil configSource"
                ));
            }
            if read::items(object, "/spec/taints") != read::items(old, "/spec/taints") {
                return Err(format!("node {node} is not allowed to modify taints"));
            }
            let labels = forbidden_labels(object, old);
            if !labels.is_empty() {
                return Err(format!("is not allowed to modify labels: {labels}"));
            }
        }
    }
    Ok(())
}

/// Labels that differ between the two and are not the node's to choose, sorted and joined; "" for
/// none.
fn forbidden_labels(new: &Value, old: &Value) -> String {
    let labels = |object: &'_ Value| -> BTreeSet<(String, String)> {
        object
            .pointer("/metadata/labels")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or("").to_owned()))
            .collect()
    };
    let forbidden: BTreeSet<String> = labels(new)
        .symmetric_difference(&labels(old))
        .map(|(key, _)| key.clone())
        .filter(|key| is_forbidden_label(key))
        .collect();
    forbidden.into_iter().collect::<Vec<_>>().join(", ")
}

fn is_forbidden_label(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let within = |parent: &str| {
        domain == parent
            || domain
                .strip_suffix(parent)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    let kubelets_own =
        KUBELET_LABELS.contains(&key) || KUBELET_LABEL_DOMAINS.into_iter().any(within);
    within(RESTRICTED_LABEL_DOMAIN)
        || ((within("kubernetes.io") || within("k8s.io")) && !kubelets_own)
}

#[cfg(test)]
mod tests {
    use super::is_forbidden_label;

    #[test]
    fn labels() {
        for free in [
            "a",
            "example.com/a",
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
            "failure-domain.beta.kubernetes.io/region",
            "node.kubernetes.io/anything",
            "sub.node.kubernetes.io/anything",
            "kubelet.kubernetes.io/anything",
            "notkubernetes.io/a",
            "kubernetes.io",
        ] {
            assert!(!is_forbidden_label(free), "{free}");
        }
        for forbidden in [
            "node-restriction.kubernetes.io/a",
            "x.node-restriction.kubernetes.io/a",
            "kubernetes.io/role",
            "node-role.kubernetes.io/control-plane",
            "k8s.io/a",
            "x.k8s.io/a",
            "xnode.kubernetes.io/a",
            "kubernetes.io/hostname2",
        ] {
            assert!(is_forbidden_label(forbidden), "{forbidden}");
        }
    }
}
