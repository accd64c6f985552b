//! Which requests are approved without a human, and why.
//!
//! [`decide`] is the policy: recognize what is asked for, ask the API server whether this requestor
//! may have it, approve. It knows no client and no clock; the access review is an answer that the
//! caller passes in. Recognizers stand in a table, in the order in which Kubernetes tries them
//! (pkg/controller/certificates/approver/sarapprove.go). Serving certificates are not in it:
//! their names are self-reported, so upstream leaves them to the operator, and so do we.

use crate::index::OpenRequest;
use everleaf_api::csr::{APPROVED, Csr, DENIED, FAILED};
use everleaf_api::review::{ResourceAttributes, Subject, access_review};
use everleaf_pki::{SignerName, VerifiedRequest, signer};
use serde_json::Value;
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
    let action = ResourceAttributes {
        verb: "create",
        group: "certificates.k8s.io",
        resource: "certificatesigningrequests",
        subresource: permission,
        ..ResourceAttributes::default()
    };
    access_review(&Subject::requestor_of(csr.0), &action)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixture, WEAK_REQUEST, kubelet_client};

    const CLIENT_USAGES: [&str; 3] = ["digital signature", "key encipherment", "client auth"];

    /// What `decide` says, shortened to what a case is about: the rule that approves, what it asks
    /// for next, or why it leaves the request.
    fn outcome(request: &OpenRequest, reviews: &[Review]) -> String {
        match decide(request, reviews, None) {
            Action::Approve { rule, .. } => format!("approve {rule}"),
            Action::Hold(delay) => format!("hold {}", delay.as_secs()),
            Action::Leave(Leave::Unreadable(_)) => "leave unreadable".to_owned(),
            Action::Leave(Leave::Unrecognized(_)) => "leave unrecognized".to_owned(),
            Action::Leave(leave) => format!("leave {leave:?}"),
            Action::Review { permission } => format!("review {permission}"),
        }
    }

    fn check(request: Fixture, reviews: &[Review], expected: &str) {
        let request = request.open();
        assert_eq!(
            outcome(&request, reviews),
            expected,
            "{:#}",
            request.object()
        );
    }

    const SELF_YES: Review = Review {
        permission: "selfnodeclient",
        allowed: true,
    };
    const SELF_NO: Review = Review {
        permission: "selfnodeclient",
        allowed: false,
    };
    const NODE_YES: Review = Review {
        permission: "nodeclient",
        allowed: true,
    };
    const NODE_NO: Review = Review {
        permission: "nodeclient",
        allowed: false,
    };

    /// Upstream cases 8, 9 and 20, 21: recognized, then as the reviews say.
    #[test]
    fn reviews() {
        let own = || kubelet_client("n1");
        let other = || kubelet_client("n1").by("system:bootstrap:abcdef");
        check(own(), &[], "review selfnodeclient");
        check(own(), &[SELF_YES], "approve self_node_client");
        check(own(), &[SELF_NO], "review nodeclient");
        check(own(), &[SELF_NO, NODE_YES], "approve node_client");
        check(own(), &[SELF_NO, NODE_NO], "leave NotPermitted");
        check(other(), &[], "review nodeclient");
        check(other(), &[SELF_YES], "review nodeclient");
        check(other(), &[NODE_YES], "approve node_client");
        check(other(), &[NODE_NO], "leave NotPermitted");
    }

    /// Upstream cases 6, 7 and 10 to 19, 22, 23: what each recognizer matches.
    #[test]
    fn recognizers() {
        let good = || kubelet_client("n1");
        let ask_self = "review selfnodeclient";
        let ask_node = "review nodeclient";
        let no = "leave unrecognized";
        check(good(), &[], ask_self);
        check(
            good().usages(&["client auth", "digital signature"]),
            &[],
            ask_self,
        );
        check(
            good().usages(&["key encipherment", "client auth", "digital signature"]),
            &[],
            ask_self,
        );
        check(good().by("joe"), &[], ask_node);
        check(good().by("system:node:n2"), &[], ask_node);
        check(good().common_name("mike"), &[], no);
        check(good().organizations(&[]), &[], no);
        check(good().organizations(&["system:master"]), &[], no);
        check(good().organizations(&["system:notnodes"]), &[], no);
        check(
            good().organizations(&["system:nodes", "system:masters"]),
            &[],
            no,
        );
        check(
            good().usages(&[&CLIENT_USAGES[..], &["server auth"]].concat()),
            &[],
            no,
        );
        check(
            good().usages(&["signing", "key encipherment", "client auth"]),
            &[],
            no,
        );
        check(good().usages(&["client auth"]), &[], no);
        check(good().usages(&[]), &[], no);
        check(good().for_signer("example.com/not-correct"), &[], no);
        check(good().for_signer("kubernetes.io/kubelet-serving"), &[], no);
        check(
            good().for_signer("kubernetes.io/kube-apiserver-client"),
            &[],
            no,
        );
        check(good().dns("n1"), &[], no);
    }

    /// Stricter than upstream, where each of these was approved and issued (spec 2.2).
    #[test]
    fn stricter_names() {
        for name in [
            "",
            "N1",
            "n1 ",
            "n1\n",
            "n\u{f6}",
            "n1_",
            "-n1",
            &"n".repeat(254),
        ] {
            let request = kubelet_client("n1").common_name(&format!("system:node:{name}"));
            check(request, &[SELF_YES, NODE_YES], "leave unrecognized");
        }
    }

    #[test]
    fn decided_requests_are_left() {
        let yes = [SELF_YES, NODE_YES];
        let decided = "leave Decided";
        check(kubelet_client("n1").approved(), &yes, decided);
        check(
            kubelet_client("n1").condition("Denied", "True"),
            &yes,
            decided,
        );
        check(
            kubelet_client("n1").condition("Denied", "False"),
            &yes,
            decided,
        );
        check(
            kubelet_client("n1").condition("Failed", "True"),
            &yes,
            decided,
        );
        check(kubelet_client("n1").certificate("x"), &yes, decided);
        check(
            kubelet_client("n1").condition("example.com/Seen", "True"),
            &yes,
            "approve self_node_client",
        );
    }

    #[test]
    fn unreadable_requests_are_left() {
        for text in [
            "",
            "no PEM",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            check(
                kubelet_client("n1").request(text),
                &[SELF_YES],
                "leave unreadable",
            );
        }
    }

    #[test]
    fn weak_keys_are_left_with_a_reason() {
        let request = kubelet_client("n1").request(WEAK_REQUEST).open();
        let Action::Leave(Leave::WeakKey(error)) = decide(&request, &[SELF_YES], None) else {
            panic!("{}", outcome(&request, &[SELF_YES]));
        };
        assert!(error.contains("1024"), "{error}");
        let other = kubelet_client("n1").request(WEAK_REQUEST);
        check(
            other.for_signer("example.com/x"),
            &[SELF_YES],
            "leave unrecognized",
        );
    }

    #[test]
    fn the_loop_breaker_holds_only_what_would_be_approved() {
        let minute = Some(Duration::from_secs(60));
        let decide = |request: Fixture| decide(&request.open(), &[SELF_YES], minute);
        assert_eq!(
            decide(kubelet_client("n1")),
            Action::Hold(Duration::from_secs(60))
        );
        assert!(matches!(
            decide(kubelet_client("n1").dns("n1")),
            Action::Leave(_)
        ));
        assert_eq!(
            decide(kubelet_client("n1").approved()),
            Action::Leave(Leave::Decided)
        );
    }

    #[test]
    fn review_bodies_carry_the_stamped_identity_and_nothing_else() {
        let request = kubelet_client("n1").request("-").open();
        insta::assert_snapshot!(
            serde_json::to_string_pretty(&review_body(request.csr(), "selfnodeclient")).unwrap()
        );
    }
}
