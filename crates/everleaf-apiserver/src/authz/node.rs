//! The Node authorizer's rules that need no graph of pods
//! (`plugin/pkg/auth/authorizer/node/node_authorizer.go`, with the selector rules that are on from
//! 1.32). Pods are not served here, so nothing is ever reachable from one: what would need the
//! graph is refused with upstream's reason. Never an explicit deny, only "allowed" or "no opinion".

use super::{Attributes, Decision, node_rules};
use crate::{
    late_reissue,
    objects::Objects,
    read,
    registry::gates::{Gate, Gates},
};

const LEASE_NAMESPACE: &str = "kube-node-lease";

pub(super) fn authorize(
    attributes: &Attributes<'_>,
    objects: &dyn Objects,
    gates: &Gates,
) -> Decision {
    // Ours: registering for late re-issue, and coming back by it.
    let is_late = attributes.resource.is_empty() && attributes.path == late_reissue::PATH;
    let user = attributes.user;
    if is_late && (user.node_name().is_some() || user.in_group(late_reissue::EXPIRED_NODES)) {
        return match attributes.verb {
            "post" => allow(),
            _ => no_opinion(""),
        };
    }
    let Some(node) = attributes.user.node_identity() else {
        return no_opinion("");
    };
    if node.is_empty() {
        let name = everleaf_api::fields::quote(&attributes.user.name);
        return no_opinion(format!("unknown node for user {name}"));
    }
    match (attributes.group, attributes.resource) {
        ("", "secrets" | "configmaps") => namespaced_read(node, attributes),
        ("", "persistentvolumeclaims") if attributes.subresource == "status" => {
            status_update(node, attributes)
        }
        ("", "persistentvolumeclaims" | "persistentvolumes")
        | ("resource.k8s.io", "resourceclaims")
        | ("storage.k8s.io", "volumeattachments") => single_get(node, attributes),
        ("", "serviceaccounts") => service_accounts(node, attributes),
        ("", "nodes") => nodes(node, attributes),
        ("", "pods") => pods(node, attributes),
        ("coordination.k8s.io", "leases") => leases(node, attributes),
        ("storage.k8s.io", "csinodes") => csi_nodes(node, attributes),
        ("resource.k8s.io", "resourceslices") => resource_slices(node, attributes),
        ("certificates.k8s.io", "podcertificaterequests") => {
            match gates.has(Gate::PodCertificateRequest) {
                true => pod_certificates(node, attributes, objects),
                false => no_opinion(""),
            }
        }
        _ if node_rules().iter().any(|rule| rule.allows(attributes)) => allow(),
        _ => no_opinion(""),
    }
}

fn allow() -> Decision {
    Decision {
        allowed: true,
        reason: String::new(),
        ..Decision::default()
    }
}

fn no_opinion(reason: impl Into<String>) -> Decision {
    Decision {
        allowed: false,
        reason: reason.into(),
        ..Decision::default()
    }
}

/// Where upstream walks from the object over a pod to the node.
fn unreachable_object(node: &str, attributes: &Attributes<'_>) -> Decision {
    if attributes.name.is_empty() {
        return no_opinion("No Object name found");
    }
    no_opinion(format!(
        "no relationship found between node '{node}' and this object"
    ))
}

fn namespaced_read(node: &str, attributes: &Attributes<'_>) -> Decision {
    if !matches!(attributes.verb, "get" | "list" | "watch") {
        return no_opinion("can only read resources of this type");
    }
    if !attributes.subresource.is_empty() {
        return no_opinion("cannot read subresource");
    }
    if attributes.namespace.is_empty() {
        return no_opinion("can only read namespaced object of this type");
    }
    unreachable_object(node, attributes)
}

fn single_get(node: &str, attributes: &Attributes<'_>) -> Decision {
    if attributes.verb != "get" {
        return no_opinion("can only get individual resources of this type");
    }
    if !attributes.subresource.is_empty() {
        return no_opinion("cannot get subresource");
    }
    unreachable_object(node, attributes)
}

fn status_update(node: &str, attributes: &Attributes<'_>) -> Decision {
    if !matches!(attributes.verb, "update" | "patch") {
        return no_opinion("can only get/update/patch this type");
    }
    unreachable_object(node, attributes)
}

fn service_accounts(node: &str, attributes: &Attributes<'_>) -> Decision {
    if attributes.verb == "get" && attributes.subresource.is_empty() {
        return namespaced_read(node, attributes);
    }
    token_create(node, attributes)
}

fn token_create(node: &str, attributes: &Attributes<'_>) -> Decision {
    if attributes.verb != "create" || attributes.name.is_empty() {
        return no_opinion("can only create tokens for individual service accounts");
    }
    if attributes.subresource != "token" {
        return no_opinion("can only create token subresource of serviceaccount");
    }
    unreachable_object(node, attributes)
}

/// Writes are open here: NodeRestriction admission holds them to the node itself. Reads are of the
/// own Node only, and a metadata.name selector counts as its name.
fn nodes(node: &str, attributes: &Attributes<'_>) -> Decision {
    match (attributes.subresource, attributes.verb) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => allow(),
        ("", "get" | "list" | "watch") => match attributes.name {
            name if name == node => allow(),
            "" => no_opinion(format!(
                "node '{node}' cannot read all nodes, only its own Node object"
            )),
            other => no_opinion(format!(
                "node '{node}' cannot read '{other}', only its own Node object"
            )),
        },
        _ => no_opinion(""),
    }
}

fn pods(node: &str, attributes: &Attributes<'_>) -> Decision {
    match (attributes.subresource, attributes.verb) {
        ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
            allow()
        }
        ("", "get") => single_get(node, attributes),
        ("", "list" | "watch") => {
            if selects(attributes, "spec.nodeName", node) {
                allow()
            } else if attributes.name.is_empty() {
                no_opinion("can only list/watch pods with spec.nodeName field selector")
            } else {
                unreachable_object(node, attributes)
            }
        }
        _ => no_opinion(""),
    }
}

/// A field selector holds the request to what belongs to the node.
fn selects(attributes: &Attributes<'_>, field: &str, node: &str) -> bool {
    let selector = attributes.field_selector;
    selector.and_then(|selector| selector.required(field)) == Some(node)
}

/// On create the name is not known yet: admission checks it.
fn leases(node: &str, attributes: &Attributes<'_>) -> Decision {
    if !matches!(
        attributes.verb,
        "get" | "create" | "update" | "patch" | "delete"
    ) {
        return no_opinion("can only get, create, update, patch, or delete a node lease");
    }
    if attributes.namespace != LEASE_NAMESPACE {
        return no_opinion(format!(
            "can only access leases in the \"{LEASE_NAMESPACE}\" system namespace"
        ));
    }
    if attributes.verb != "create" && attributes.name != node {
        return no_opinion("can only access node lease with the same name as the requesting node");
    }
    allow()
}

fn csi_nodes(node: &str, attributes: &Attributes<'_>) -> Decision {
    match (attributes.subresource, attributes.verb) {
        ("", "get" | "create" | "update" | "patch" | "delete") => {}
        ("", _) => {
            return no_opinion("can only get, create, update, patch, or delete a CSINode");
        }
        ("status", _) => {
            return no_opinion("CSINode status access requires CSIVolumeHealth feature");
        }
        _ => return no_opinion("cannot authorize CSINode subresources"),
    }
    if attributes.verb != "create" && attributes.name != node {
        return no_opinion("can only access CSINode with the same name as the requesting node");
    }
    allow()
}

fn resource_slices(node: &str, attributes: &Attributes<'_>) -> Decision {
    if !attributes.subresource.is_empty() {
        return no_opinion("cannot authorize ResourceSlice subresources");
    }
    match attributes.verb {
        "create" => allow(),
        "get" | "update" | "patch" | "delete" => unreachable_object(node, attributes),
        "watch" | "list" | "deletecollection" if selects(attributes, "spec.nodeName", node) => {
            allow()
        }
        "watch" | "list" | "deletecollection" => no_opinion(
            "can only list/watch/deletecollection resourceslices with nodeName field selector",
        ),
        _ => no_opinion(
            "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, \
             update, patch, delete, deletecollection",
        ),
    }
}

fn pod_certificates(node: &str, attributes: &Attributes<'_>, objects: &dyn Objects) -> Decision {
    if !attributes.subresource.is_empty() {
        return no_opinion("nodes may not access the status subresource of PodCertificateRequests");
    }
    match attributes.verb {
        "create" => allow(),
        "get" => {
            let (namespace, name) = (attributes.namespace, attributes.name);
            let request = objects.get("podcertificaterequests", namespace, name);
            match request {
                Some(request) if read::text(&request.object(), "/spec/nodeName") == node => allow(),
                _ => unreachable_object(node, attributes),
            }
        }
        "list" | "watch" if selects(attributes, "spec.nodeName", node) => allow(),
        "list" | "watch" => {
            no_opinion("can only list/watch podcertificaterequests with nodeName field selector")
        }
        verb => no_opinion(format!("nodes may not {verb} podcertificaterequests")),
    }
}
