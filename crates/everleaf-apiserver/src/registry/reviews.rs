//! Review APIs: create-only, answered at once, never stored (spec/api.md 6.9).
use everleaf_api::{Status, schema::Type, types};
use jiff::Timestamp;
use serde_json::Value;

use crate::{authn::Authenticator, authz::Authorizer, objects::Objects, user::User};

/// A review endpoint: `POST …/<resource>`.
pub struct Review {
    /// Type.
    pub r#type: &'static Type,
    /// Plural.
    pub resource: &'static str,
    /// Singular.
    pub singular: &'static str,
    /// Namespaced? (LocalSubjectAccessReview only.)
    pub namespaced: bool,
}

/// Every review served; discovery and routing read this.
pub static REVIEWS: &[Review] = &[Review {
    r#type: &types::SELF_SUBJECT_REVIEW,
    resource: "selfsubjectreviews",
    singular: "selfsubjectreview",
    namespaced: false,
}];

/// What a review may look at.
pub struct Bench<'a> {
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

/// Answers a review: the decoded object with its status filled (201), or the error.
pub fn handle(_resource: &str, _object: Value, _bench: &Bench<'_>) -> Result<Value, Status> {
    unimplemented!()
}
