//! Admission: NodeRestriction, CertificateApproval, CertificateSigning, CertificateSubjectRestriction, NamespaceLifecycle, TaintNodesByCondition.
use crate::{authz::Authorizer, objects::Objects, user::User};
use everleaf_api::Status;
use everleaf_pki::VerifiedRequest;
use serde_json::Value;

/// Verb of an admitted write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// create
    Create,
    /// update or patch
    Update,
    /// delete
    Delete,
}
/// What admission looks at.
pub struct Attributes<'a> {
    /// Operation.
    pub operation: Operation,
    /// Plural resource.
    pub resource: &'static str,
    /// API group.
    pub group: &'static str,
    /// Subresource or "".
    pub subresource: &'a str,
    /// Namespace.
    pub namespace: &'a str,
    /// Name (may be empty on create with generateName).
    pub name: &'a str,
    /// Who.
    pub user: &'a User,
    /// Stored object (updates, deletes).
    pub old: Option<&'a Value>,
    /// A CSR's request, verified once on create.
    pub request: Option<&'a VerifiedRequest>,
}
/// Mutating phase (before validation of fields).
pub fn mutate(
    _attributes: &Attributes<'_>,
    _object: Option<&mut Value>,
    _objects: &dyn Objects,
) -> Result<(), Status> {
    unimplemented!()
}
/// Validating phase (after).
pub fn validate(
    _attributes: &Attributes<'_>,
    _object: Option<&Value>,
    _objects: &dyn Objects,
    _authorizer: &Authorizer,
) -> Result<(), Status> {
    unimplemented!()
}
