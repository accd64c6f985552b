//! NamespaceLifecycle: nothing is created where there is no namespace, or where one is going away,
//! and the system's own namespaces stay
//! (`apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go`).

use super::{Attributes, Operation};
use crate::{bootstrap::SYSTEM_NAMESPACES, objects::Objects, read};
use everleaf_api::{Status, status::GroupResource};
use serde_json::{Value, json};

pub(super) fn lifecycle(attributes: &Attributes<'_>, objects: &dyn Objects) -> Result<(), Status> {
    if attributes.resource == "namespaces" {
        let system = SYSTEM_NAMESPACES.contains(&attributes.name);
        if system && attributes.is(Operation::Delete, "namespaces", "") {
            return Err(attributes.forbidden("this namespace may not be deleted"));
        }
        return Ok(());
    }
    if attributes.namespace.is_empty() || attributes.operation != Operation::Create {
        return Ok(());
    }
    // A LocalSubjectAccessReview asks about a namespace; it creates nothing there.
    if matches!(
        attributes.group,
        "authorization.k8s.io" | "authentication.k8s.io"
    ) {
        return Ok(());
    }
    let about = GroupResource {
        group: "",
        resource: "namespaces",
    };
    let Some(namespace) = objects.get("namespaces", "", attributes.namespace) else {
        return Err(Status::not_found(about, attributes.namespace));
    };
    let object = &*namespace.object();
    let terminating = !read::text(object, "/metadata/deletionTimestamp").is_empty()
        || read::text(object, "/status/phase") == "Terminating";
    if terminating {
        return Err(being_terminated(attributes));
    }
    Ok(())
}

/// 403 with the cause by which controllers recognize a namespace on its way out.
fn being_terminated(attributes: &Attributes<'_>) -> Status {
    let namespace = attributes.namespace;
    let mut status = attributes.forbidden(&format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    ));
    let cause = json!({
        "reason": "NamespaceTerminating",
        "message": format!("namespace {namespace} is being terminated"),
        "field": "metadata.namespace",
    });
    if let Some(Value::Object(details)) = &mut status.details {
        details.insert("causes".to_owned(), json!([cause]));
    }
    status
}
