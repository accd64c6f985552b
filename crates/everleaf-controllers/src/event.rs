//! Kubernetes Events: what happened to a request, where `kubectl describe` shows it.

use everleaf_api::csr::Csr;
use everleaf_time::Now;
use serde_json::{Value, json};

/// Where Events about what has no namespace are filed.
pub(crate) const PATH: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
/// Longest note (kubernetes 1.37 `pkg/apis/core/validation/events.go`).
const NOTE_BYTES_MAX: usize = 1024;

/// An Event about a request; everything but an approval is a Warning. `note` is ASCII.
pub(crate) fn of(csr: Csr<'_>, reason: &str, note: &str, now: Now) -> Value {
    let kind = match reason {
        "CSRApproved" => "Normal",
        _ => "Warning",
    };
    let note = &note[..note.len().min(NOTE_BYTES_MAX)];
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "generateName": "everleaf-", "namespace": "default" },
        "eventTime": format!("{:.6}", now.wall),
        "reportingController": "everleaf.io/controllers",
        "reportingInstance": "everleaf-controllers",
        "action": "Approve",
        "reason": reason,
        "regarding": {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "name": csr.name(),
            "uid": csr.uid(),
        },
        "note": note,
        "type": kind,
    })
}
