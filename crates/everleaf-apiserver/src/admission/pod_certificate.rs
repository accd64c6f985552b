//! For which pods a node may ask for certificates
//! (`plugin/pkg/admission/noderestriction`, `admitPodCertificateRequest`), and who may end a
//! request (`pkg/registry/certificates/podcertificaterequest/strategy.go`).
//!
//! This server stores no pods, so it takes no request of a node; one on the same etcd as a
//! kube-apiserver leaves those to that. Whoever else may create the requests, creates them.

use super::csr::may;
use super::{Attributes, Operation};
use crate::authz::{self, Authorizer};
use crate::objects::{Objects, Stored};
use crate::read;
use everleaf_api::fields::{FieldError, quote};
use everleaf_api::{Status, meta};
use serde_json::Value;
use std::sync::Arc;

const REQUESTS: &str = "podcertificaterequests";
/// The right to ask for certificates of a signer that a pod does not mount: on a resource that is
/// called like the signer, with `:` for `/`, and the service account's name.
const REQUEST_VERB: &str = "request-serviceaccounts-podcertificate-signer";
/// A kubelet's own pods have it.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Why a node's request is refused.
pub(super) enum Refusal {
    /// 403.
    Forbidden(String),
    /// 500, as upstream: what the request names is not there, or is another one by now. It may be
    /// in a moment.
    Unlike(String),
}

use Refusal::{Forbidden, Unlike};

/// A node asks for certificates of the pods that are bound to it, and for nothing else.
pub(super) fn of_node(
    node: &str,
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    objects: &dyn Objects,
    authorizer: &Authorizer,
) -> Result<(), Refusal> {
    let (Operation::Create, "", Some(object)) =
        (attributes.operation, attributes.subresource, object)
    else {
        return Err(Forbidden(
            "nodes create PodCertificateRequests and nothing else".to_owned(),
        ));
    };
    let spec = |member: &str| read::text(&object["spec"], &format!("/{member}"));
    if spec("nodeName") != node {
        return Err(Forbidden(format!(
            "PodCertificateRequest.Spec.NodeName={}, which is not the requesting node {}",
            quote(spec("nodeName")),
            quote(node)
        )));
    }
    let namespace = attributes.namespace;
    let shown = quote(&format!("{namespace}/{}", spec("podName")));
    let found = find(objects, ("node", "nodes"), "", node)?;
    same_uid(spec("nodeUID"), &found.object(), |told, there| {
        format!("{shown} names node UID {told}, inconsistent with the running node ({there})")
    })?;
    let found = find(objects, ("pod", "pods"), namespace, spec("podName"))?;
    let pod = found.object();
    same_uid(spec("podUID"), &pod, |told, there| {
        format!("{shown} contains pod UID ({told}) which differs from running pod {there}")
    })?;
    let account = spec("serviceAccountName");
    bound_to(node, &pod, account).map_err(|what| Forbidden(format!("pod {shown} {what}")))?;
    let kind = ("service account", "serviceaccounts");
    let found = find(objects, kind, namespace, account)?;
    same_uid(spec("serviceAccountUID"), &found.object(), |told, there| {
        format!(
            "{shown} names service account UID {told}, which differs from the running service \
             account ({there})"
        )
    })?;
    let signer = spec("signerName");
    if mounts(&pod, signer) || may_request(attributes, signer, account, objects, authorizer) {
        return Ok(());
    }
    Err(Forbidden(format!(
        "pod {shown} does not mount a podCertificate projected volume for signer {}",
        quote(signer)
    )))
}

/// What the request names.
fn find(
    objects: &dyn Objects,
    (kind, resource): (&str, &str),
    namespace: &str,
    name: &str,
) -> Result<Arc<Stored>, Refusal> {
    let shown = match namespace {
        "" => quote(name),
        namespace => quote(&format!("{namespace}/{name}")),
    };
    objects.get(resource, namespace, name).ok_or_else(|| {
        let what = format!(
            "{} {} not found",
            resource.trim_end_matches('s'),
            quote(name)
        );
        Unlike(format!(
            "while retrieving {kind} {shown} named in the PodCertificateRequest: {what}"
        ))
    })
}

/// Whether a UID that the request tells is that of what it names; Err: what else is there.
fn same_uid(
    told: &str,
    there: &Value,
    words: impl FnOnce(&str, &str) -> String,
) -> Result<(), Refusal> {
    let there = meta::uid(there);
    if told == there {
        return Ok(());
    }
    let words = words(&quote(told), &quote(there));
    Err(Unlike(format!("PodCertificateRequest for pod {words}")))
}

/// Err: what the pod is instead.
fn bound_to(node: &str, pod: &Value, account: &str) -> Result<(), String> {
    if read::text(pod, "/spec/nodeName") != node {
        let node = quote(node);
        return Err(format!(
            "is not running on node {node} named in the PodCertificateRequest"
        ));
    }
    if pod["metadata"]["annotations"].get(MIRROR).is_some() {
        return Err("is a mirror pod".to_owned());
    }
    if account != read::text(pod, "/spec/serviceAccountName") {
        let account = quote(account);
        return Err(format!("does not run as the service account {account}"));
    }
    Ok(())
}

/// A volume of the pod is to hold a certificate of this signer.
fn mounts(pod: &Value, signer: &str) -> bool {
    let volumes = read::items(pod, "/spec/volumes").iter();
    let mut sources = volumes.flat_map(|volume| read::items(volume, "/projected/sources"));
    sources.any(|source| read::text(source, "/podCertificate/signerName") == signer)
}

fn may_request(
    attributes: &Attributes<'_>,
    signer: &str,
    account: &str,
    objects: &dyn Objects,
    authorizer: &Authorizer,
) -> bool {
    let question = authz::Attributes {
        verb: REQUEST_VERB,
        group: attributes.group,
        version: "v1",
        // No rule can name a resource with a slash.
        resource: &signer.replace('/', ":"),
        namespace: attributes.namespace,
        name: account,
        ..authz::Attributes::of(attributes.user)
    };
    authorizer.authorize(&question, objects).allowed
}

/// Whoever changes the status needs the right to sign for the signer. Upstream asks in the course
/// of validation, so a refusal is a 422.
pub(super) fn signing(
    attributes: &Attributes<'_>,
    object: &Value,
    objects: &dyn Objects,
    authorizer: &Authorizer,
) -> Result<(), Status> {
    let Some(old) = attributes.old else {
        return Ok(());
    };
    if !attributes.is(Operation::Update, REQUESTS, "status") || old["status"] == object["status"] {
        return Ok(());
    }
    let signer = read::text(old, "/spec/signerName");
    if may(attributes, "sign", signer, objects, authorizer) {
        return Ok(());
    }
    let text = format!(
        "User {} is not permitted to \"sign\" for signer {}",
        quote(&attributes.user.name),
        quote(signer)
    );
    let error = FieldError::forbidden("spec.signerName", &text);
    let (group, kind) = (attributes.group, "PodCertificateRequest");
    Err(Status::invalid(group, kind, attributes.name, &[error]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, Shelf, cluster_role, cluster_role_binding};
    use serde_json::json;

    const SIGNER: &str = "example.com/pods";

    /// A node with a pod that mounts a certificate of the signer.
    fn cluster() -> Shelf {
        let shelf = Shelf::default();
        shelf.put("namespaces", json!({"metadata": {"name": "default"}}));
        shelf.put("nodes", json!({"metadata": {"name": "n1", "uid": "n"}}));
        shelf.put("pods", pod(&json!({})));
        let account = json!({"metadata": {"name": "shop", "namespace": "default", "uid": "s"}});
        shelf.put("serviceaccounts", account);
        shelf
    }

    fn pod(other: &Value) -> Value {
        let mut pod = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "p"},
            "spec": {"nodeName": "n1", "serviceAccountName": "shop", "volumes": [
                {"name": "a"}, {"projected": {"sources": [{"podCertificate": {"signerName": SIGNER}}]}}]},
        });
        for (member, value) in other.as_object().into_iter().flatten() {
            pod["spec"][member] = value.clone();
        }
        pod
    }

    fn request(edit: impl FnOnce(&mut Value)) -> Value {
        let mut object = json!({"metadata": {"name": "a"}, "spec": {"signerName": SIGNER,
            "podName": "web", "podUID": "p", "serviceAccountName": "shop", "serviceAccountUID": "s",
            "nodeName": "n1", "nodeUID": "n"}});
        edit(&mut object);
        object
    }

    fn ask(shelf: &Shelf, operation: Operation, object: &Value) -> String {
        let user = fixture::node("n1");
        let attributes = Attributes {
            operation,
            resource: REQUESTS,
            group: "certificates.k8s.io",
            subresource: "",
            namespace: "default",
            name: "a",
            user: &user,
            old: None,
            request: None,
        };
        let mut object = object.clone();
        let authorizer = Authorizer::default();
        let verdict = super::super::mutate(&attributes, Some(&mut object), shelf, &authorizer);
        verdict.map_or_else(
            |status| format!("{} {}", status.code, status.message),
            |()| "ok".to_owned(),
        )
    }

    fn create(shelf: &Shelf, edit: impl FnOnce(&mut Value)) -> String {
        ask(shelf, Operation::Create, &request(edit))
    }

    #[test]
    fn a_node_asks_for_its_own_pods() {
        let shelf = cluster();
        assert_eq!(create(&shelf, |_| ()), "ok");
        for (member, value, expected) in [
            ("nodeName", "n2", "403 "),
            ("nodeUID", "x", "500 "),
            ("podName", "other", "500 "),
            ("podUID", "x", "500 "),
            ("serviceAccountName", "other", "403 "),
            ("serviceAccountUID", "x", "500 "),
            ("signerName", "example.com/other", "403 "),
        ] {
            let answer = create(&shelf, |object| object["spec"][member] = value.into());
            assert!(answer.starts_with(expected), "{member}: {answer}");
        }
        for operation in [Operation::Update, Operation::Delete] {
            let answer = ask(&shelf, operation, &request(|_| ()));
            assert!(answer.starts_with("403 "), "{answer}");
        }
    }

    #[test]
    fn a_pod_is_what_it_says_it_is() {
        let shelf = cluster();
        shelf.put("pods", pod(&json!({"nodeName": "n2"})));
        assert!(create(&shelf, |_| ()).contains("is not running on node \"n1\""));
        let mut mirror = pod(&json!({}));
        mirror["metadata"]["annotations"] = json!({MIRROR: "x"});
        shelf.put("pods", mirror);
        assert!(create(&shelf, |_| ()).contains("is a mirror pod"));
        shelf.remove("pods", "default", "web");
        assert!(create(&shelf, |_| ()).starts_with("500 while retrieving pod \"default/web\""));
    }

    #[test]
    fn what_a_pod_does_not_mount_needs_a_right() {
        let shelf = cluster();
        shelf.put("pods", pod(&json!({"volumes": []})));
        let refused = create(&shelf, |_| ());
        assert!(refused.contains("does not mount"), "{refused}");
        let rules = json!([{"verbs": [REQUEST_VERB], "apiGroups": ["certificates.k8s.io"],
            "resources": ["example.com:pods"], "resourceNames": ["shop"]}]);
        shelf.put("clusterroles", cluster_role("r", rules));
        let nodes = json!([{"kind": "Group", "name": "system:nodes"}]);
        shelf.put("clusterrolebindings", cluster_role_binding("b", "r", nodes));
        assert_eq!(create(&shelf, |_| ()), "ok");
    }
}
