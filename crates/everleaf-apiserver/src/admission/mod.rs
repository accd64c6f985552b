//! The last word on a write that is authorized and well-formed: rules that need the body, the
//! stored object and more of the state than one object.
//!
//! Mutating phase, in order: NamespaceLifecycle, NodeRestriction, TaintNodesByCondition. Validating
//! phase, after field validation: CertificateApproval, CertificateSigning,
//! CertificateSubjectRestriction, ClusterTrustBundleAttest, and what upstream keeps in the
//! registry: the right to sign of PodCertificateRequests and the write-time rules of RBAC. Each is
//! a function of its own; this file only says who is asked when.

mod csr;
mod namespace;
mod node_restriction;
mod pod_certificate;
mod rbac;
mod taint;
mod trust_bundle;

use crate::{authz::Authorizer, objects::Objects, user::User};
use everleaf_api::{Status, status::GroupResource};
use everleaf_pki::{RequestError, VerifiedRequest};
use serde_json::Value;

/// Verb of an admitted write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A POST, or a PUT where nothing is.
    Create,
    /// A PUT or PATCH of what is there, of a subresource too.
    Update,
    /// A DELETE, of each object of a collection.
    Delete,
}

/// What admission looks at.
pub struct Attributes<'a> {
    /// Some plugins judge creates alone.
    pub operation: Operation,
    /// Plural, as in paths: `secrets`.
    pub resource: &'static str,
    /// As in paths; "" for core.
    pub group: &'static str,
    /// `approval`, `status`; "" for the object itself.
    pub subresource: &'a str,
    /// Of the path; "" for what has none.
    pub namespace: &'a str,
    /// Name (may be empty on create with generateName).
    pub name: &'a str,
    /// After impersonation.
    pub user: &'a User,
    /// Stored object (updates, deletes).
    pub old: Option<&'a Value>,
    /// A CSR's request, verified once on create; None for anything else.
    pub request: Option<&'a Result<VerifiedRequest, RequestError>>,
}

impl Attributes<'_> {
    /// 403 `R "name" is forbidden: text`.
    fn forbidden(&self, text: &str) -> Status {
        Status::forbidden(self.about(), self.name, text)
    }

    fn about(&self) -> GroupResource<'_> {
        GroupResource {
            group: self.group,
            resource: self.resource,
        }
    }

    fn is(&self, operation: Operation, resource: &str, subresource: &str) -> bool {
        self.operation == operation && self.resource == resource && self.subresource == subresource
    }
}

/// Mutating phase (before validation of fields). `object` is the new object of a create or update.
pub fn mutate(
    attributes: &Attributes<'_>,
    object: Option<&mut Value>,
    objects: &dyn Objects,
    authorizer: &Authorizer,
) -> Result<(), Status> {
    namespace::lifecycle(attributes, objects)?;
    node_restriction::admit(attributes, object.as_deref(), objects, authorizer)?;
    if let Some(object) = object {
        taint::not_ready(attributes, object);
    }
    Ok(())
}

/// Validating phase (after).
pub fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    objects: &dyn Objects,
    authorizer: &Authorizer,
) -> Result<(), Status> {
    csr::approval(attributes, objects, authorizer)?;
    if let Some(object) = object {
        csr::signing(attributes, object, objects, authorizer)?;
        csr::subject_restriction(attributes, object)?;
        trust_bundle::attest(attributes, object, objects, authorizer)?;
        pod_certificate::signing(attributes, object, objects, authorizer)?;
        rbac::escalation(attributes, object, objects, authorizer)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
