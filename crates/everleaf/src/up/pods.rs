//! The signer of pod certificates in `up`: what its controllers may.

use anyhow::{Result, anyhow};
use everleaf_apiserver::handler::Server;
use everleaf_controllers::pods::PodSigner;
use jiff::Timestamp;
use serde_json::json;

/// Name of the ClusterRole and of its binding.
const ROLE: &str = "everleaf:pod-certificate-signer";

/// Lets the controllers' service account sign for this signer. The role follows the signer's name;
/// an operator's change of the binding stays.
pub(super) async fn grant(server: &Server, pods: &PodSigner, now: Timestamp) -> Result<()> {
    let signer = pods.policy.signer();
    let certificates = ["certificates.k8s.io"];
    let role = json!({
        "metadata": { "name": ROLE },
        "rules": [
            { "apiGroups": certificates, "resources": ["podcertificaterequests"], "verbs": ["list", "watch"] },
            { "apiGroups": certificates, "resources": ["podcertificaterequests/status"], "verbs": ["update"] },
            { "apiGroups": certificates, "resources": ["signers"], "resourceNames": [signer], "verbs": ["sign"] },
        ],
    });
    let binding = json!({
        "metadata": { "name": ROLE },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE },
        "subjects": [{
            "kind": "ServiceAccount", "name": "certificate-controller", "namespace": "kube-system",
        }],
    });
    for (resource, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        let is_there = server.objects().get(resource, "", ROLE).is_some();
        if is_there && resource == "clusterrolebindings" {
            continue;
        }
        server
            .put(resource, object, now)
            .await
            .map_err(|why| anyhow!("cannot write {resource}/{ROLE}: {why}"))?;
    }
    Ok(())
}
