//! Which requests are approved without a human, and why.
//!
//! [`decide`] is the policy: recognize what is asked for, ask the API server whether this requestor
//! may have it, approve. It knows no client and no clock; the access review is an answer that the
//! caller passes in. Recognizers stand in a table, in the order in which Kubernetes tries them
//! (pkg/controller/certificates/approver/sarapprove.go). Serving certificates are not in it:
//! their names are self-reported, so upstream leaves them to the operator, and so do we.

use crate::index::OpenRequest;
use everleaf_api::csr::{APPROVED, Csr, DENIED, FAILED};
use everleaf_pki::{SignerName, VerifiedRequest, signer};
use serde_json::{Value, json};
use std::time::Duration;

/// Reason of the condition; operators and tests match on it.
pub const REASON: &str = "AutoApproved";

/// What the approver does about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Append the Approved condition.
    Approve {
        /// Condition reason.
        reason: &'static str,
        /// Condition message.
        message: &'static str,
        /// Name of the recognizer, for logs and metrics.
        rule: &'static str,
    },
    /// It may be approved, but not yet: its subject renews in a loop.
    Hold(Duration),
    /// Write nothing.
    Leave(Leave),
    /// Ask whether the requestor may create this subresource, then decide again.
    Review {
        /// `selfnodeclient` or `nodeclient`.
        permission: &'static str,
    },
}

/// Why a request is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Approved, denied, failed or issued already.
    Decided,
    /// Recognized, but every access review said no. A later grant must still help: try again.
    NotPermitted,
    /// Not a certification request, or its signature is not its key's.
    Unreadable(String),
    /// No recognizer matches: someone else's request.
    Unrecognized(&'static str),
    /// A kubelet's request whose key is too weak to sign.
    WeakKey(String),
}

/// An access review's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Review {
    /// The subresource that was asked about.
    pub permission: &'static str,
    /// `status.allowed`.
    pub allowed: bool,
}

/// One way to be approved automatically.
struct Recognizer {
    /// Name in logs and metrics.
    name: &'static str,
    /// What it asks of the request; `Err` says why it does not match.
    matches: fn(Csr<'_>, &VerifiedRequest) -> Result<(), &'static str>,
    /// Subresource of certificatesigningrequests that the requestor must be allowed to create.
    permission: &'static str,
    /// Condition message, as upstream writes it.
    message: &'static str,
}

const RECOGNIZERS: [Recognizer; 2] = [
    Recognizer {
        name: "self_node_client",
        matches: is_self_node_client,
        permission: "selfnodeclient",
        message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
    },
    Recognizer {
        name: "node_client",
        matches: is_node_client,
        permission: "nodeclient",
        message: "Auto approving kubelet client certificate after SubjectAccessReview.",
    },
];

/// Decides. `reviews` holds the answers so far, `hold` the loop breaker's delay for this subject.
pub fn decide(request: &OpenRequest, reviews: &[Review], hold: Option<Duration>) -> Action {
    let csr = request.csr();
    if is_decided(csr) {
        return Action::Leave(Leave::Decided);
    }
    let verified = match request.request() {
        Ok(verified) => verified,
        Err(error) => return Action::Leave(Leave::Unreadable(error.to_string())),
    };
    let mut why = "";
    let mut recognized = false;
    for recognizer in &RECOGNIZERS {
        if let Err(reason) = (recognizer.matches)(csr, verified) {
            why = reason;
            continue;
        }
        recognized = true;
        if let Some(delay) = hold {
            return Action::Hold(delay);
        }
        let permission = recognizer.permission;
        match reviews
            .iter()
            .find(|review| review.permission == permission)
        {
            None => return Action::Review { permission },
            Some(Review { allowed: false, .. }) => {}
            Some(Review { allowed: true, .. }) => {
                let (message, rule) = (recognizer.message, recognizer.name);
                return Action::Approve {
                    reason: REASON,
                    message,
                    rule,
                };
            }
        }
    }
    if recognized {
        return Action::Leave(Leave::NotPermitted);
    }
    let is_kubelets = csr.signer_name() == SignerName::KUBE_APISERVER_CLIENT_KUBELET;
    Action::Leave(match verified.public_key().check_strength() {
        // Would be approved upstream; whoever waits for it should find out why it is not.
        Err(error) if is_kubelets => Leave::WeakKey(error.to_string()),
        _ => Leave::Unrecognized(why),
    })
}

/// The SubjectAccessReview that asks whether the requestor may create `permission`: its identity
/// as the API server stamped it, nothing else (spec 2.3).
pub fn review_body(csr: Csr<'_>, permission: &str) -> Value {
    let stamped = |member: &str| csr.0.pointer(&format!("/spec/{member}")).cloned();
    let mut spec = json!({
        "resourceAttributes": {
            "group": "certificates.k8s.io",
            "resource": "certificatesigningrequests",
            "verb": "create",
            "subresource": permission,
        },
        "user": csr.username(),
    });
    for member in ["uid", "groups", "extra"] {
        if let (Some(value), Some(spec)) = (stamped(member), spec.as_object_mut()) {
            spec.insert(member.to_owned(), value);
        }
    }
    json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec })
}

/// The permissions that were asked about, as the log names them: `selfnodeclient nodeclient`.
pub fn permissions_text(reviews: &[Review]) -> String {
    reviews
        .iter()
        .map(|review| review.permission)
        .collect::<Vec<_>>()
        .join(" ")
}

fn is_decided(csr: Csr<'_>) -> bool {
    [APPROVED, DENIED, FAILED]
        .iter()
        .any(|kind| csr.has_condition(kind))
        || csr
            .0
            .pointer("/status/certificate")
            .and_then(Value::as_str)
            .is_some_and(|pem| !pem.is_empty())
}

fn is_node_client(csr: Csr<'_>, request: &VerifiedRequest) -> Result<(), &'static str> {
    signer::is_node_client(csr.signer_name(), request, &csr.usages())
}

fn is_self_node_client(csr: Csr<'_>, request: &VerifiedRequest) -> Result<(), &'static str> {
    is_node_client(csr, request)?;
    if csr.username() == request.subject().common_name {
        Ok(())
    } else {
        Err("the requestor is not the subject")
    }
}
