//! What the controllers of `up` may, besides what Kubernetes gives their accounts.

use anyhow::{Result, anyhow};
use everleaf_api::revocation;
use everleaf_apiserver::handler::Server;
use jiff::Timestamp;
use serde_json::{Value, json};

/// What becomes of a role that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Present {
    /// An operator's change of it stays.
    Kept,
    /// It follows the settings.
    Replaced,
}

/// Lets a service account of kube-system do what `rules` say, by a ClusterRole of this name and its
/// binding, which an operator may change.
pub(super) async fn grant(
    server: &Server,
    (name, rules): (&str, Value),
    account: &str,
    present: Present,
    now: Timestamp,
) -> Result<()> {
    let role = json!({"metadata": {"name": name}, "rules": rules});
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}],
    });
    for (resource, object, present) in [
        ("clusterroles", role, present),
        ("clusterrolebindings", binding, Present::Kept),
    ] {
        if present == Present::Kept && server.objects().get(resource, "", name).is_some() {
            continue;
        }
        server
            .put(resource, object, now)
            .await
            .map_err(|why| anyhow!("cannot write {resource}/{name}: {why}"))?;
    }
    Ok(())
}

/// Lets the publisher of the server's CA find namespaces, and what it has published in them;
/// kube-controller-manager reads with rights of its own.
pub(super) async fn root_ca_publisher(server: &Server, now: Timestamp) -> Result<()> {
    let rules = json!([
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]},
        {
            "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["kube-root-ca.crt"],
            "verbs": ["list", "watch"],
        },
    ]);
    let role = ("everleaf:root-ca-cert-publisher", rules);
    grant(server, role, "root-ca-cert-publisher", Present::Kept, now).await
}

/// Who publishes the certificate revocation list.
pub(super) const REVOCATION_LIST_ACCOUNT: &str = "revocation-list-publisher";

/// Lets the publisher of the certificate revocation list do so, and everybody read it, as they read
/// where the cluster is.
pub(super) async fn revocation_list(server: &Server, now: Timestamp) -> Result<()> {
    let rules = json!([
        {
            "apiGroups": [""], "resources": ["configmaps"],
            "resourceNames": [revocation::NAME, revocation::LIST_NAME],
            "verbs": ["get", "list", "watch", "update"],
        },
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
    ]);
    let role = ("everleaf:revocation-list-publisher", rules);
    grant(server, role, REVOCATION_LIST_ACCOUNT, Present::Kept, now).await?;
    let name = "everleaf:revocation-list";
    let group = |name: &str| json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": name});
    let role = json!({
        "metadata": {"name": name},
        "rules": [{"nonResourceURLs": ["/pki/ca.crl", "/pki/ca.crl.pem"], "verbs": ["get"]}],
    });
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [group("system:authenticated"), group("system:unauthenticated")],
    });
    for (resource, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        if server.objects().get(resource, "", name).is_none() {
            let written = server.put(resource, object, now).await;
            written.map_err(|why| anyhow!("cannot write {resource}/{name}: {why}"))?;
        }
    }
    Ok(())
}
