//! What is wrong with a question (`pkg/apis/authorization/validation/validation.go`).

use super::{Review, ReviewInput};
use crate::{read, registry::names};
use everleaf_api::fields::{ERRORS_SHOWN_MAX, FieldError, quote};
use everleaf_api::types;
use serde_json::Value;

const SPEC: &str = "spec";
const SELECTORS: [&str; 2] = ["fieldSelector", "labelSelector"];

/// Every fault of an access review, in upstream's order.
pub(super) fn of_access(
    review: &Review,
    object: &Value,
    input: &ReviewInput<'_>,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let resource = has(object, "resourceAttributes");
    let path = has(object, "nonResourceAttributes");
    if resource == path {
        errors.push(FieldError::invalid(
            SPEC,
            &shown_path(object),
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ));
    }
    let names_user = review.resource != "selfsubjectaccessreviews";
    if names_user
        && read::text(object, "/spec/user").is_empty()
        && read::items(object, "/spec/groups").is_empty()
    {
        errors.push(FieldError::invalid(
            "spec.user",
            &quote(""),
            "at least one of user or group must be specified",
        ));
    }
    for name in SELECTORS {
        let selector = object.pointer(&format!("/spec/resourceAttributes/{name}"));
        if let Some(selector) = selector.filter(|selector| selector.is_object()) {
            let at = format!("spec.resourceAttributes.{name}");
            of_selector(&at, name == "labelSelector", selector, &mut errors);
        }
    }
    of_metadata(review, object, &mut errors);
    if review.namespaced {
        of_place(object, input, &mut errors);
    }
    errors
}

/// Present at all: `{}` counts, as a pointer to an empty struct does upstream.
pub(super) fn has(object: &Value, attributes: &str) -> bool {
    object
        .get(SPEC)
        .and_then(|spec| spec.get(attributes))
        .is_some_and(Value::is_object)
}

/// The attributes of a path, or `null`.
fn shown_path(object: &Value) -> String {
    object[SPEC]["nonResourceAttributes"].to_string()
}

fn of_selector(at: &str, is_label: bool, selector: &Value, errors: &mut Vec<FieldError>) {
    let raw = read::text(selector, "/rawSelector");
    let requirements = read::items(selector, "/requirements");
    if !raw.is_empty() && !requirements.is_empty() {
        errors.push(FieldError::invalid(
            &format!("{at}.rawSelector"),
            &quote(raw),
            "may not specified at the same time as requirements",
        ));
    }
    if raw.is_empty() && requirements.is_empty() {
        errors.push(FieldError::required(
            &format!("{at}.requirements"),
            &format!("when {at} is specified, requirements or rawSelector is required"),
        ));
    }
    for (index, requirement) in requirements.iter().enumerate() {
        if errors.len() > ERRORS_SHOWN_MAX {
            return;
        }
        let at = format!("{at}.requirements[{index}]");
        let key = read::text(requirement, "/key");
        if !is_label && key.is_empty() {
            errors.push(FieldError::required(
                &format!("{at}.key"),
                "must be specified",
            ));
        }
        of_values(&at, requirement, errors);
        if is_label {
            of_label(&at, key, requirement, errors);
        }
    }
}

/// An operator that is not known may come from a newer client: it is left out of the question, and
/// the answer says so.
fn of_values(at: &str, requirement: &Value, errors: &mut Vec<FieldError>) {
    let at = format!("{at}.values");
    let none = read::items(requirement, "/values").is_empty();
    match read::text(requirement, "/operator") {
        "In" | "NotIn" if none => errors.push(FieldError::required(
            &at,
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "Exists" | "DoesNotExist" if !none => errors.push(FieldError::forbidden(
            &at,
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        _ => {}
    }
}

fn of_label(at: &str, key: &str, requirement: &Value, errors: &mut Vec<FieldError>) {
    if let Err(detail) = names::qualified(key) {
        errors.push(FieldError::invalid(
            &format!("{at}.key"),
            &quote(key),
            &detail,
        ));
    }
    for (index, value) in read::texts(requirement, "/values").iter().enumerate() {
        if errors.len() > ERRORS_SHOWN_MAX {
            return;
        }
        if !value.is_empty()
            && let Err(detail) = names::qualified_part(value)
        {
            let at = format!("{at}.values[{index}]");
            errors.push(FieldError::invalid(&at, &quote(value), &detail));
        }
    }
}

/// An access review has no metadata, except that a local one may repeat its namespace.
fn of_metadata(review: &Review, object: &Value, errors: &mut Vec<FieldError>) {
    let Some(metadata) = object.get("metadata").and_then(Value::as_object) else {
        return;
    };
    let something = metadata.iter().any(|(member, value)| {
        !(read::is_empty(Some(value))
            || member == "managedFields"
            || (review.namespaced && member == "namespace"))
    });
    if something {
        errors.push(FieldError::invalid(
            "metadata",
            &shown_metadata(object),
            if review.namespaced {
                "must be empty except for namespace"
            } else {
                "must be empty"
            },
        ));
    }
}

/// Metadata as the object's JSON has it.
fn shown_metadata(object: &Value) -> String {
    let encoded = types::PARTIAL_OBJECT_METADATA.encode(object);
    let text = String::from_utf8_lossy(encoded.item_body());
    let metadata = text.strip_prefix("\"metadata\":");
    let metadata = metadata.and_then(|metadata| metadata.strip_suffix('}'));
    metadata.unwrap_or(&text).to_owned()
}

/// A local review is about its own namespace, and about resources.
fn of_place(object: &Value, input: &ReviewInput<'_>, errors: &mut Vec<FieldError>) {
    let asked = read::text(object, "/spec/resourceAttributes/namespace");
    if has(object, "resourceAttributes") && asked != input.namespace {
        errors.push(FieldError::invalid(
            "spec.resourceAttributes.namespace",
            &quote(asked),
            "must match metadata.namespace",
        ));
    }
    if has(object, "nonResourceAttributes") {
        errors.push(FieldError::invalid(
            "spec.nonResourceAttributes",
            &shown_path(object),
            "disallowed on this kind of request",
        ));
    }
}
