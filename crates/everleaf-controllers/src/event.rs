//! Kubernetes Events: what happened to a request, where `kubectl describe` shows it.

use everleaf_api::csr::Csr;
use everleaf_api::meta;
use everleaf_time::Now;
use serde_json::{Value, json};

/// Where Events about what has no namespace are filed. In the old group, as client-go's recorder
/// of leader election files them: servers before 1.22 refuse the new one for such objects.
pub(crate) const PATH: &str = "/api/v1/namespaces/default/events";
/// Longest message (kubernetes 1.37 `pkg/apis/core/validation/events.go`).
const MESSAGE_BYTES_MAX: usize = 1024;

/// An Event about a request; everything but an approval is a Warning. `message` is ASCII.
pub(crate) fn of(csr: Csr<'_>, reason: &str, message: &str, now: Now) -> Value {
    const COMPONENT: &str = "everleaf-controllers";
    let kind = match reason {
        "CSRApproved" => "Normal",
        _ => "Warning",
    };
    let at = meta::format_time(now.wall);
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "generateName": "everleaf-csr-", "namespace": "default" },
        "involvedObject": {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "name": csr.name(),
            "uid": csr.uid(),
        },
        "reason": reason,
        "message": &message[..message.len().min(MESSAGE_BYTES_MAX)],
        "source": { "component": COMPONENT },
        "reportingComponent": COMPONENT,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
        "type": kind,
    })
}
