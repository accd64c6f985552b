//! Which requests are approved without a human, and why.
//!
//! [`decide`] is the policy: recognize what is asked for, ask the API server whether this
//! requestor may have it, approve. It knows no client and no clock; the access review is a fact
//! that the caller passes in. Recognizers are data, tried in the order in which Kubernetes tries
//! them (kubernetes 1.37 `pkg/controller/certificates/approver/sarapprove.go`). Serving
//! certificates are not among them: their names are self-reported, so upstream leaves them to the
//! operator, and so do we.

use crate::index::OpenRequest;
use everleaf_api::csr::{APPROVED, Csr, DENIED, FAILED};
use everleaf_api::review::{ResourceAttributes, Subject, access_review};
use everleaf_pki::signer::{self, NotNodeClient};
use everleaf_pki::{SignerName, VerifiedRequest};
use serde_json::Value;
use std::time::Duration;

/// Reason of the condition; operators and tests match on it.
pub const REASON: &str = "AutoApproved";

/// What the approver does about a request, and how it came to that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// Every recognizer that was tried, in order.
    pub trace: Vec<Tried>,
}

/// What the approver does about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Append the Approved condition, for [`REASON`].
    Approve {
        /// Condition message.
        message: String,
        /// Name of the recognizer, for logs and metrics.
        rule: String,
    },
    /// It may be approved, but not yet: its subject renews in a loop.
    Hold(Duration),
    /// Write nothing.
    Leave(Leave),
    /// Ask whether the requestor may create this subresource, then decide again.
    Review {
        /// `selfnodeclient` or `nodeclient`.
        permission: String,
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
    /// No recognizer matches: someone else's request. The reason is that of the last one tried.
    Unrecognized(Option<Mismatch>),
    /// A kubelet's request whose key is too weak to sign.
    WeakKey(String),
}

/// A recognizer that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Its name.
    pub rule: String,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of trying a recognizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It matches, and the requestor may have what it asks for.
    Approved,
    /// The same, but the loop breaker holds the subject for this long.
    Held(Duration),
    /// It does not match.
    Mismatched(Mismatch),
    /// It matches; the access review said no.
    NotPermitted,
    /// It matches; the access review has not been asked yet.
    Unreviewed,
}

/// Why a request does not meet a criterion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// [`Criterion::NodeClient`]
    #[error(transparent)]
    NotNodeClient(#[from] NotNodeClient),
    /// [`Criterion::RequestorIsSubject`]
    #[error("the requestor is not the subject")]
    OtherRequestor,
}

/// An access review's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// The subresource that was asked about.
    pub permission: String,
    /// `status.allowed`.
    pub allowed: bool,
}

/// What is known besides the request itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// How long the loop breaker wants the subject to wait, if at all.
    pub hold: Option<Duration>,
    /// Access reviews that were answered so far.
    pub reviews: &'a [Review],
}

/// The ways to be approved automatically, in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy(pub Vec<Recognizer>);

/// One way to be approved automatically.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recognizer {
    /// Name in logs and metrics.
    pub name: String,
    /// What it asks of the request: all of it.
    pub criteria: Vec<Criterion>,
    /// Subresource of certificatesigningrequests that the requestor must be allowed to create.
    pub permission: String,
    /// Condition message.
    pub message: String,
}

/// What may be asked of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// It is what a kubelet files for its client certificate.
    NodeClient,
    /// Its subject filed it.
    RequestorIsSubject,
}

/// Kubernetes' own: a node's renewal by itself, and a node's certificate by whoever may join nodes.
impl Default for Policy {
    fn default() -> Self {
        let recognizer =
            |name: &str, criteria: &[Criterion], permission: &str, message: &str| Recognizer {
                name: name.to_owned(),
                criteria: criteria.to_vec(),
                permission: permission.to_owned(),
                message: message.to_owned(),
            };
        Self(vec![
            recognizer(
                "self_node_client",
                &[Criterion::NodeClient, Criterion::RequestorIsSubject],
                "selfnodeclient",
                "Auto approving self kubelet client certificate after SubjectAccessReview.",
            ),
            recognizer(
                "node_client",
                &[Criterion::NodeClient],
                "nodeclient",
                "Auto approving kubelet client certificate after SubjectAccessReview.",
            ),
        ])
    }
}

impl Recognizer {
    fn check(&self, csr: Csr<'_>, request: &VerifiedRequest) -> Result<(), Mismatch> {
        for criterion in &self.criteria {
            match criterion {
                Criterion::NodeClient => {
                    signer::is_node_client(csr.signer_name(), request, &csr.usages())?;
                }
                Criterion::RequestorIsSubject => {
                    if csr.username() != request.subject().common_name {
                        return Err(Mismatch::OtherRequestor);
                    }
                }
            }
        }
        Ok(())
    }

    fn judge(&self, csr: Csr<'_>, request: &VerifiedRequest, facts: &Facts<'_>) -> Verdict {
        if let Err(mismatch) = self.check(csr, request) {
            return Verdict::Mismatched(mismatch);
        }
        let mut reviews = facts.reviews.iter();
        match reviews.find(|review| review.permission == self.permission) {
            None => Verdict::Unreviewed,
            Some(Review { allowed: false, .. }) => Verdict::NotPermitted,
            Some(Review { allowed: true, .. }) => {
                facts.hold.map_or(Verdict::Approved, Verdict::Held)
            }
        }
    }
}

/// Decides about one request.
pub fn decide(request: &OpenRequest, facts: &Facts<'_>, policy: &Policy) -> Decision {
    let mut trace = Vec::new();
    let action = decide_traced(request, facts, policy, &mut trace);
    Decision { action, trace }
}

fn decide_traced(
    request: &OpenRequest,
    facts: &Facts<'_>,
    policy: &Policy,
    trace: &mut Vec<Tried>,
) -> Action {
    let csr = request.csr();
    if is_decided(csr) {
        return Action::Leave(Leave::Decided);
    }
    let verified = match request.request() {
        Ok(verified) => verified,
        Err(error) => return Action::Leave(Leave::Unreadable(error.to_string())),
    };
    let mut why = None;
    let mut is_recognized = false;
    for recognizer in &policy.0 {
        let verdict = recognizer.judge(csr, verified, facts);
        trace.push(Tried {
            rule: recognizer.name.clone(),
            verdict: verdict.clone(),
        });
        match verdict {
            Verdict::Approved => {
                return Action::Approve {
                    message: recognizer.message.clone(),
                    rule: recognizer.name.clone(),
                };
            }
            Verdict::Held(delay) => return Action::Hold(delay),
            Verdict::Unreviewed => {
                let permission = recognizer.permission.clone();
                return Action::Review { permission };
            }
            Verdict::Mismatched(mismatch) => why = Some(mismatch),
            Verdict::NotPermitted => is_recognized = true,
        }
    }
    if is_recognized {
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
/// as the API server stamped it, nothing else (kubernetes 1.37
/// `pkg/controller/certificates/approver/sarapprove.go`, `authorize`).
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
        .map(|review| review.permission.as_str())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixture, WEAK_REQUEST, kubelet_client};

    const CLIENT_USAGES: [&str; 3] = ["digital signature", "key encipherment", "client auth"];

    /// What `decide` says, shortened to what a case is about: the rule that approves, what it asks
    /// for next, or why it leaves the request.
    fn outcome(request: &OpenRequest, said: &[(&str, bool)]) -> String {
        match decide_with(request, said, None).action {
            Action::Approve { rule, .. } => format!("approve {rule}"),
            Action::Hold(delay) => format!("hold {}", delay.as_secs()),
            Action::Leave(Leave::Unreadable(_)) => "leave unreadable".to_owned(),
            Action::Leave(Leave::Unrecognized(_)) => "leave unrecognized".to_owned(),
            Action::Leave(leave) => format!("leave {leave:?}"),
            Action::Review { permission } => format!("review {permission}"),
        }
    }

    fn decide_with(
        request: &OpenRequest,
        said: &[(&str, bool)],
        hold: Option<Duration>,
    ) -> Decision {
        let reviews: Vec<_> = said
            .iter()
            .map(|&(permission, allowed)| Review {
                permission: permission.to_owned(),
                allowed,
            })
            .collect();
        let facts = Facts {
            hold,
            reviews: &reviews,
        };
        decide(request, &facts, &Policy::default())
    }

    fn check(request: Fixture, reviews: &[(&str, bool)], expected: &str) {
        let request = request.open();
        assert_eq!(
            outcome(&request, reviews),
            expected,
            "{:#}",
            request.object()
        );
    }

    const SELF_YES: (&str, bool) = ("selfnodeclient", true);
    const SELF_NO: (&str, bool) = ("selfnodeclient", false);
    const NODE_YES: (&str, bool) = ("nodeclient", true);
    const NODE_NO: (&str, bool) = ("nodeclient", false);

    /// Recognized, then as the reviews say (`sarapprove_test.go`, `TestHandle`).
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

    /// What each recognizer matches (`sarapprove_test.go`, `TestRecognizers`).
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

    /// Stricter than upstream, where each of these was approved and issued (`isNodeClientCert`
    /// looks at the prefix alone).
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
        let Action::Leave(Leave::WeakKey(error)) = decide_with(&request, &[SELF_YES], None).action
        else {
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
        let decide = |request: Fixture| decide_with(&request.open(), &[SELF_YES], minute).action;
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
        let unasked = decide_with(&kubelet_client("n1").open(), &[], minute).action;
        assert!(matches!(unasked, Action::Review { .. }), "{unasked:?}");
        let refused = [SELF_NO, NODE_NO];
        let refused = decide_with(&kubelet_client("n1").open(), &refused, minute).action;
        assert_eq!(refused, Action::Leave(Leave::NotPermitted));
    }

    #[test]
    fn every_rule_that_was_tried_stands_in_the_trace() {
        let tried = |rule: &str, verdict| Tried {
            rule: rule.to_owned(),
            verdict,
        };
        let own = kubelet_client("n1").open();
        let other = kubelet_client("n1").by("joe").open();
        let strange = kubelet_client("n1").dns("n1").open();
        let names = || Verdict::Mismatched(NotNodeClient::AltNames.into());
        assert_eq!(
            decide_with(&own, &[SELF_NO, NODE_YES], None).trace,
            [
                tried("self_node_client", Verdict::NotPermitted),
                tried("node_client", Verdict::Approved),
            ]
        );
        assert_eq!(
            decide_with(&other, &[], None).trace,
            [
                tried(
                    "self_node_client",
                    Verdict::Mismatched(Mismatch::OtherRequestor)
                ),
                tried("node_client", Verdict::Unreviewed),
            ]
        );
        assert_eq!(
            decide_with(&strange, &[], None).trace,
            [
                tried("self_node_client", names()),
                tried("node_client", names())
            ]
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
