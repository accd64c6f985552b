//! What the controllers of `up` may, besides what Kubernetes gives their accounts.

use anyhow::{Result, anyhow};
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
