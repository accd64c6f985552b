//! Kubernetes Events: what happened to a request, where `kubectl describe` shows it; what happens
//! to a CA, where `kubectl get events -A` does.

use crate::notice::Notice;
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
    let involved = json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "name": csr.name(),
        "uid": csr.uid(),
    });
    event("everleaf-csr-", involved, reason, message, now)
}

/// An Event about a CA, if the notice is worth one. A CA is no object of the API; the namespace of
/// the control plane stands for it, which every cluster has.
pub(crate) fn of_notice(notice: &Notice, now: Now) -> Option<Value> {
    let (reason, message) = about_authority(notice)?;
    let involved = json!({ "apiVersion": "v1", "kind": "Namespace", "name": "kube-system" });
    // Paths and names may hold anything.
    let message: String = message.chars().flat_map(ascii).collect();
    Some(event("everleaf-ca-", involved, reason, &message, now))
}

fn ascii(letter: char) -> Vec<char> {
    match letter.is_ascii() && !letter.is_ascii_control() {
        true => vec![letter],
        false => letter.escape_default().collect(),
    }
}

fn about_authority(notice: &Notice) -> Option<(&'static str, String)> {
    match notice {
        Notice::CaExpiring {
            signers,
            not_after,
            days,
        } if *days < 0 => Some((
            "SignerCAExpired",
            format!(
                "The CA of {signers} ended at {not_after}: approved requests stay without a certificate until it is renewed"
            ),
        )),
        Notice::CaExpiring {
            signers,
            not_after,
            days,
        } => Some((
            "SignerCAExpiring",
            format!(
                "The CA of {signers} ends at {not_after}, in {days} days, and every certificate with it: renew it with the same key"
            ),
        )),
        Notice::CaReloadFailed {
            signers,
            pair,
            error,
        } => Some((
            "CAReloadFailed",
            format!(
                "The changed CA files of {signers} ({pair}) are not used, the old CA keeps signing: {error}"
            ),
        )),
        Notice::Truncated { signer, not_after } => Some((
            "CertificateLifetimeTruncated",
            format!(
                "Certificates of {signer} end with their CA, at {not_after}, earlier than their requests or --cluster-signing-duration ask: renew the CA to get the full lifetime"
            ),
        )),
        _ => None,
    }
}

fn event(name_prefix: &str, involved: Value, reason: &str, message: &str, now: Now) -> Value {
    const COMPONENT: &str = "everleaf-controllers";
    let kind = match reason {
        "CSRApproved" => "Normal",
        _ => "Warning",
    };
    let at = meta::format_time(now.wall);
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "generateName": name_prefix, "namespace": "default" },
        "involvedObject": involved,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::BuiltinSigner;
    use crate::fixture::now;
    use everleaf_time::Monotonic;

    fn of(notice: &Notice) -> Option<Value> {
        let now = Now {
            wall: now(),
            monotonic: Monotonic::default(),
        };
        of_notice(notice, now)
    }

    #[test]
    fn what_happens_to_a_ca_is_an_event_of_kube_system() {
        let (signers, pair) = (
            "kubernetes.io/kubelet-serving".to_owned(),
            "c::k".to_owned(),
        );
        let expiring = |days| Notice::CaExpiring {
            signers: signers.clone(),
            not_after: now(),
            days,
        };
        let failed = Notice::CaReloadFailed {
            signers: signers.clone(),
            pair: pair.clone(),
            error: "\u{e9}\n".repeat(1000),
        };
        let signer = BuiltinSigner::KubeletServing;
        for (notice, reason, words) in [
            (expiring(3), "SignerCAExpiring", "in 3 days"),
            (
                expiring(-1),
                "SignerCAExpired",
                "ended at 2026-11-20T12:00:00Z",
            ),
            (
                failed,
                "CAReloadFailed",
                "the old CA keeps signing: \\u{e9}\\n",
            ),
            (
                Notice::Truncated {
                    signer,
                    not_after: now(),
                },
                "CertificateLifetimeTruncated",
                "end with their CA, at 2026-11-20T12:00:00Z",
            ),
        ] {
            let event = of(&notice).unwrap();
            assert_eq!(event["reason"], reason);
            assert_eq!(event["type"], "Warning");
            assert_eq!(event["involvedObject"]["kind"], "Namespace");
            assert_eq!(event["involvedObject"]["name"], "kube-system");
            // An object without a namespace has its Events in this one.
            assert_eq!(event["metadata"]["namespace"], "default");
            let message = event["message"].as_str().unwrap();
            assert!(message.contains(words), "{message}");
            assert!(message.len() <= MESSAGE_BYTES_MAX);
        }
        let loaded = Notice::CaLoaded {
            signers,
            pair,
            not_after: now(),
            renewed: true,
        };
        assert_eq!(of(&loaded), None);
    }
}
