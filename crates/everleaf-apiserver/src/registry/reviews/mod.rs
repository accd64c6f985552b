//! Review APIs: create-only, answered at once, never stored
//! (`pkg/registry/{authentication,authorization}/*/rest.go`,
//! `pkg/apis/authorization/validation/validation.go`).
//!
//! An access review runs the whole authorization chain on attributes that nobody sent, also for
//! subresources that no endpoint serves: the approver asks about
//! `certificatesigningrequests/selfnodeclient`.

mod access;
mod faults;
mod identity;

use crate::{authn::Authenticator, authz::Authorizer, objects::Objects, read, user::User};
use everleaf_api::{Status, meta, schema::Type, types};
use jiff::Timestamp;
use serde_json::{Value, json};

/// A review endpoint: `POST …/<resource>`.
pub struct Review {
    /// What is posted, and answered with its status filled in.
    pub r#type: &'static Type,
    /// The last part of its path: `subjectaccessreviews`.
    pub resource: &'static str,
    /// Singular.
    pub singular: &'static str,
    /// Namespaced? (LocalSubjectAccessReview only.)
    pub namespaced: bool,
}

const fn review(
    r#type: &'static Type,
    resource: &'static str,
    singular: &'static str,
    namespaced: bool,
) -> Review {
    Review {
        r#type,
        resource,
        singular,
        namespaced,
    }
}

/// Every review served; discovery and routing read this.
pub static REVIEWS: &[Review] = &[
    review(
        &types::SELF_SUBJECT_REVIEW,
        "selfsubjectreviews",
        "selfsubjectreview",
        false,
    ),
    review(&types::TOKEN_REVIEW, "tokenreviews", "tokenreview", false),
    review(
        &types::LOCAL_SUBJECT_ACCESS_REVIEW,
        "localsubjectaccessreviews",
        "localsubjectaccessreview",
        true,
    ),
    review(
        &types::SELF_SUBJECT_ACCESS_REVIEW,
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
        false,
    ),
    review(
        &types::SELF_SUBJECT_RULES_REVIEW,
        "selfsubjectrulesreviews",
        "selfsubjectrulesreview",
        false,
    ),
    review(
        &types::SUBJECT_ACCESS_REVIEW,
        "subjectaccessreviews",
        "subjectaccessreview",
        false,
    ),
];

/// What a review may look at.
pub struct ReviewInput<'a> {
    /// Effective user who asks.
    pub user: &'a User,
    /// Namespace of the request, or "".
    pub namespace: &'a str,
    /// For TokenReview.
    pub authenticator: &'a Authenticator,
    /// For the access reviews.
    pub authorizer: &'a Authorizer,
    /// Committed state.
    pub objects: &'a dyn Objects,
    /// Server time.
    pub now: Timestamp,
}

/// To be awaited before a review is answered: has what its answer needs and somebody else has to
/// say.
pub async fn prepare(resource: &str, object: &Value, authenticator: &Authenticator) {
    if resource == "tokenreviews" {
        let (token, audiences) = identity::question(object);
        authenticator.freshen_for(token, &audiences).await;
    }
}

/// Answers a review: the decoded object with its status filled (201), or the error (400, 404, 422).
/// `object` is the body as sent, before the server fills any metadata.
pub fn handle(resource: &str, mut object: Value, input: &ReviewInput<'_>) -> Result<Value, Status> {
    let Some(review) = REVIEWS.iter().find(|review| review.resource == resource) else {
        return Err(Status::no_such_resource());
    };
    let place = meta::namespace(&object);
    if review.namespaced && !place.is_empty() && place != input.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if review.r#type.group == access::GROUP && resource != "selfsubjectrulesreviews" {
        let errors = faults::of_access(review, &object, input);
        if !errors.is_empty() {
            let r#type = review.r#type;
            return Err(Status::invalid(r#type.group, r#type.kind, "", &errors));
        }
    }
    // What the answer keeps of the question is upstream's choice.
    match resource {
        "tokenreviews" => {
            object["status"] = identity::token(&object, input)?;
            if read::is_empty(object.get("metadata")) {
                object["metadata"] = json!({});
            }
        }
        "selfsubjectreviews" => {
            object["metadata"] = json!({"creationTimestamp": meta::format_time(input.now)});
            object["status"] = identity::who_am_i(input);
        }
        "selfsubjectrulesreviews" => {
            object["status"] = access::rules(&object, input)?;
            object["metadata"] = json!({});
            object["spec"] = json!({});
        }
        _ => {
            object["status"] = match resource {
                "selfsubjectaccessreviews" => access::of_self(&object, input),
                _ => access::of_subject(&object, input),
            };
            let managers = object["metadata"]["managedFields"].take();
            object["metadata"] = match input.namespace {
                namespace if review.namespaced && !namespace.is_empty() => {
                    json!({"namespace": namespace})
                }
                _ => json!({}),
            };
            if !managers.is_null() {
                object["metadata"]["managedFields"] = managers;
            }
        }
    }
    Ok(object)
}

/// `UserInfo` of a user.
fn user_value(user: &User) -> Value {
    let mut value = json!({});
    for (member, empty, shown) in [
        ("username", user.name.is_empty(), json!(user.name)),
        ("uid", user.uid.is_empty(), json!(user.uid)),
        ("groups", user.groups.is_empty(), json!(user.groups)),
        ("extra", user.extra.is_empty(), json!(user.extra)),
    ] {
        if !empty {
            value[member] = shown;
        }
    }
    value
}

#[cfg(test)]
mod tests;
