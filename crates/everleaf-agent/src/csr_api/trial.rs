//! What a rehearsal asks besides what every renewal asks: its own rights, and that its request be
//! removed.

use super::conversation::{Call, Dialogue, REQUESTS, encoded};
use crate::client::{Answer, Failure};
use everleaf_api::review::Verdict;
use everleaf_rotation::PendingRequest;
use http::Method;
use serde_json::json;

const SELF_ACCESS_REVIEW: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// A right that a renewal rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    pub(crate) verb: &'static str,
    pub(crate) subresource: &'static str,
}

impl Right {
    /// Those of a node in the order of use (Kubernetes, `NodeRules` of
    /// plugin/pkg/auth/authorizer/rbac/bootstrappolicy). The last lets the approver decide by
    /// itself (pkg/controller/certificates/approver/sarapprove.go).
    pub(crate) const OF_A_RENEWAL: [Self; 5] = [
        Self::to("create", ""),
        Self::to("get", ""),
        Self::to("list", ""),
        Self::to("watch", ""),
        Self::to("create", "selfnodeclient"),
    ];

    const fn to(verb: &'static str, subresource: &'static str) -> Self {
        Self { verb, subresource }
    }
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        let Self { verb, subresource } = self;
        write!(f, "{verb} certificatesigningrequests{slash}{subresource}")
    }
}

/// Asks whether whoever asks has a right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MayI(pub(crate) Right);

impl Dialogue for MayI {
    type Outcome = Result<bool, Failure>;

    fn call(&self) -> Call {
        let question = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "group": "certificates.k8s.io",
                "resource": "certificatesigningrequests",
                "subresource": self.0.subresource,
                "verb": self.0.verb,
            }},
        });
        Call {
            method: Method::POST,
            path: SELF_ACCESS_REVIEW.to_owned(),
            body: Some(question),
        }
    }

    fn answer(&mut self, answer: Result<Answer, Failure>) -> Option<Self::Outcome> {
        Some(answer.map(|answer| Verdict::of(&answer.object).allowed))
    }
}

/// Removes the request, and no other that has its name by now.
#[derive(Clone, Debug)]
pub(crate) struct Remove(pub(crate) PendingRequest);

impl Dialogue for Remove {
    type Outcome = Result<(), Failure>;

    fn call(&self) -> Call {
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let Some(uid) = &self.0.uid {
            options["preconditions"] = json!({"uid": uid.as_str()});
        }
        Call {
            method: Method::DELETE,
            path: format!("{REQUESTS}/{}", encoded(self.0.name.as_str())),
            body: Some(options),
        }
    }

    fn answer(&mut self, answer: Result<Answer, Failure>) -> Option<Self::Outcome> {
        Some(answer.map(|_| ()))
    }
}
