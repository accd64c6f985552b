//! The signer of pod certificates in `up`: what its controllers may.

use super::grants::{self, Present};
use anyhow::Result;
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
    let rules = json!([
        {"apiGroups": certificates, "resources": ["podcertificaterequests"], "verbs": ["list", "watch"]},
        {"apiGroups": certificates, "resources": ["podcertificaterequests/status"], "verbs": ["update"]},
        {"apiGroups": certificates, "resources": ["signers"], "resourceNames": [signer], "verbs": ["sign"]},
    ]);
    let account = "certificate-controller";
    grants::grant(server, (ROLE, rules), account, Present::Replaced, now).await
}
