//! May they? `Node,RBAC`: first Allow wins, all NoOpinion is 403.
use crate::{objects::Objects, user::User};
use everleaf_api::selector::{FieldSelector, LabelSelector};

/// What is asked. Also built from SubjectAccessReviews.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    /// Who.
    pub user: &'a User,
    /// Verb (get, list, …, or the lower-case method of a path).
    pub verb: &'a str,
    /// Group.
    pub group: &'a str,
    /// Version.
    pub version: &'a str,
    /// Plural resource; empty = non-resource request.
    pub resource: &'a str,
    /// Subresource or "".
    pub subresource: &'a str,
    /// Namespace or "".
    pub namespace: &'a str,
    /// Name or "" (a metadata.name selector names a list/watch).
    pub name: &'a str,
    /// Path of a non-resource request.
    pub path: &'a str,
    /// Field selector of a list/watch.
    pub field_selector: Option<&'a FieldSelector>,
    /// Label selector.
    pub label_selector: Option<&'a LabelSelector>,
}
/// A verdict with its reason ("" when there is none to tell).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Allowed?
    pub allowed: bool,
    /// Reason.
    pub reason: String,
}
/// The chain.
#[derive(Debug, Default)]
pub struct Authorizer(());
impl Authorizer {
    /// Decides.
    pub fn authorize(&self, _attributes: &Attributes<'_>, _objects: &dyn Objects) -> Decision {
        unimplemented!()
    }
    /// The 403 text: `User "U" cannot VERB resource … [: reason]`.
    pub fn denial_text(_attributes: &Attributes<'_>, _decision: &Decision) -> String {
        unimplemented!()
    }
}
