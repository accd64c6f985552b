//! SubjectAccessReview: the question a controller asks of authorization, and its answer.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// An action on a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceAttributes<'a> {
    /// Namespace; empty for cluster scope.
    pub namespace: &'a str,
    /// As `approve`: the verb of RBAC, not of HTTP.
    pub verb: &'a str,
    /// "" for the core group; "*" asks about every one.
    pub group: &'a str,
    /// Version; may be empty.
    pub version: &'a str,
    /// Plural, as `signers`; "*" asks about every one.
    pub resource: &'a str,
    /// Subresource; may be empty.
    pub subresource: &'a str,
    /// Name; may be empty.
    pub name: &'a str,
}

/// Who wants to act.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// As `system:node:host1`.
    pub user: String,
    /// UID; may be empty.
    pub uid: String,
    /// Without them only rules for the user by name count.
    pub groups: Vec<String>,
    /// Further attributes.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Subject {
    /// The requestor of a CertificateSigningRequest, as the server stamped it.
    pub fn requestor_of(csr: &Value) -> Self {
        let spec = &csr["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect();
        let extra = spec["extra"].as_object().into_iter().flatten();
        Self {
            user: text(&spec["username"]),
            uid: text(&spec["uid"]),
            groups: texts(&spec["groups"]),
            extra: extra
                .map(|(key, values)| (key.clone(), texts(values)))
                .collect(),
        }
    }
}

/// A SubjectAccessReview to post: may `subject` do that?
///
/// ```
/// # use everleaf_api::review::{ResourceAttributes, Subject, access_review};
/// let subject = Subject { user: "eve".into(), ..Subject::default() };
/// let action = ResourceAttributes {
///     verb: "create",
///     group: "certificates.k8s.io",
///     resource: "certificatesigningrequests",
///     subresource: "selfnodeclient",
///     ..ResourceAttributes::default()
/// };
/// let review = access_review(&subject, &action);
/// assert_eq!(review["spec"]["resourceAttributes"]["subresource"], "selfnodeclient");
/// ```
pub fn access_review(subject: &Subject, action: &ResourceAttributes<'_>) -> Value {
    let members = [
        ("namespace", action.namespace),
        ("verb", action.verb),
        ("group", action.group),
        ("version", action.version),
        ("resource", action.resource),
        ("subresource", action.subresource),
        ("name", action.name),
    ];
    let set = members.into_iter().filter(|(_, value)| !value.is_empty());
    let attributes: Map<String, Value> = set
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    let mut spec = json!({"resourceAttributes": attributes, "user": subject.user});
    if !subject.uid.is_empty() {
        spec["uid"] = subject.uid.as_str().into();
    }
    if !subject.groups.is_empty() {
        spec["groups"] = subject.groups.clone().into();
    }
    if !subject.extra.is_empty() {
        spec["extra"] = json!(subject.extra);
    }
    json!({
        "kind": "SubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {},
        "spec": spec,
    })
}

/// The answer of a review.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// False also when nobody knows: it is not a denial.
    pub allowed: bool,
    /// Refused for good.
    pub denied: bool,
    /// Which rule allowed it; may be empty.
    pub reason: String,
    /// What went wrong meanwhile; the answer stands.
    pub evaluation_error: String,
}

impl Verdict {
    /// Reads `status` of an answered review; anything missing counts as not allowed.
    pub fn of(review: &Value) -> Self {
        let status = &review["status"];
        let text = |member: &str| status[member].as_str().unwrap_or_default().to_owned();
        Self {
            allowed: status["allowed"] == true,
            denied: status["denied"] == true,
            reason: text("reason"),
            evaluation_error: text("evaluationError"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SUBJECT_ACCESS_REVIEW;

    #[test]
    fn the_requestor_goes_into_the_review_whole() {
        let csr = json!({"spec": {
            "username": "system:node:n1", "uid": "u", "groups": ["system:nodes", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": ["X509SHA256=ab"]},
        }});
        let action = ResourceAttributes {
            verb: "create",
            resource: "x",
            ..Default::default()
        };
        let review = access_review(&Subject::requestor_of(&csr), &action);
        for (here, there) in [
            ("user", "username"),
            ("uid", "uid"),
            ("groups", "groups"),
            ("extra", "extra"),
        ] {
            assert_eq!(review["spec"][here], csr["spec"][there]);
        }
        assert_eq!(
            review["spec"]["resourceAttributes"],
            json!({"verb": "create", "resource": "x"})
        );
        assert!(
            SUBJECT_ACCESS_REVIEW
                .decode_value(review)
                .unwrap()
                .warnings
                .is_empty()
        );
        assert_eq!(Subject::requestor_of(&json!({})), Subject::default());
    }

    #[test]
    fn only_a_clear_yes_is_a_yes() {
        assert!(Verdict::of(&json!({"status": {"allowed": true}})).allowed);
        for not in [
            json!({}),
            json!({"status": {"allowed": "true"}}),
            json!({"status": {"allowed": 1}}),
            json!(null),
        ] {
            assert_eq!(Verdict::of(&not), Verdict::default());
        }
    }
}
