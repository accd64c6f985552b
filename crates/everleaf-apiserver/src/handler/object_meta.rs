//! Rules of ObjectMeta that hold for every resource
//! (`apimachinery/pkg/api/validation/objectmeta.go`).

use super::query::check_manager;
use crate::registry::{Descriptor, names};
use everleaf_api::fields::{ERRORS_SHOWN_MAX, FieldError, quote};
use everleaf_api::meta;
use serde_json::Value;
use std::cell::LazyCell;
use std::collections::BTreeSet;

/// Keys and values of all annotations together, in bytes.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// Longest name of a manager's endpoint, in bytes.
const SUBRESOURCE_BYTES_MAX: usize = 256;
/// The finalizer of an object that goes while what it owns stays.
const ORPHAN: &str = "orphan";
/// The finalizer of an object that goes after what it owns.
const FOREGROUND: &str = "foregroundDeletion";

/// Carries over what a client may not change, and fills what it left out.
pub(super) fn prepare_update(object: &mut Value, old: &Value) {
    let old = &old["metadata"];
    let metadata = meta::metadata_mut(object);
    metadata.remove("selfLink");
    for member in ["creationTimestamp", "generation"] {
        metadata.remove(member);
        if !old[member].is_null() {
            metadata.insert(member.to_owned(), old[member].clone());
        }
    }
    for member in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if !old[member].is_null() && metadata.get(member).is_none_or(Value::is_null) {
            metadata.insert(member.to_owned(), old[member].clone());
        }
    }
}

/// What every object must fulfil.
pub(super) fn validate(descriptor: &Descriptor, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let metadata = &object["metadata"];
    let generate_name = meta::generate_name(object);
    if !generate_name.is_empty()
        && let Err(text) = (descriptor.validate_name)(&names::beginning(generate_name))
    {
        errors.push(FieldError::invalid(
            "metadata.generateName",
            &quote(generate_name),
            &text,
        ));
    }
    match meta::name(object) {
        "" => errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        )),
        name => {
            let checked = (descriptor.validate_name)(name).and_then(|()| names::path_segment(name));
            if let Err(text) = checked {
                errors.push(FieldError::invalid("metadata.name", &quote(name), &text));
            }
        }
    }
    if descriptor.namespaced {
        match meta::namespace(object) {
            "" => errors.push(FieldError::required("metadata.namespace", "")),
            namespace => {
                if let Err(text) = names::label(namespace) {
                    let value = quote(namespace);
                    errors.push(FieldError::invalid("metadata.namespace", &value, &text));
                }
            }
        }
    }
    if let Some(generation) = metadata["generation"].as_i64().filter(|number| *number < 0) {
        let text = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(
            "metadata.generation",
            &generation.to_string(),
            text,
        ));
    }
    labels(&metadata["labels"], &mut errors);
    annotations(&metadata["annotations"], &mut errors);
    owners(&metadata["ownerReferences"], &mut errors);
    finalizers(object, &mut errors);
    managers(&metadata["managedFields"], &mut errors);
    errors
}

/// Names that whoever wrote the object gave them (`meta/v1/validation`, `ValidateManagedFields`).
fn managers(entries: &Value, errors: &mut Vec<FieldError>) {
    for (index, entry) in entries.as_array().into_iter().flatten().enumerate() {
        if errors.len() > ERRORS_SHOWN_MAX {
            return;
        }
        let path = |member: &str| format!("metadata.managedFields[{index}].{member}");
        let text = |member: &str| entry[member].as_str().unwrap_or_default();
        check_manager(&path("manager"), text("manager"), errors);
        if text("subresource").len() > SUBRESOURCE_BYTES_MAX {
            let path = path("subresource");
            errors.push(FieldError::too_long(&path, SUBRESOURCE_BYTES_MAX));
        }
    }
}

/// What must not change from `old` to `new`.
pub(super) fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (old_meta, new_meta) = (&old["metadata"], &new["metadata"]);
    for member in [
        "name",
        "namespace",
        "uid",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        if old_meta[member] != new_meta[member] {
            let path = format!("metadata.{member}");
            let value = match &new_meta[member] {
                Value::String(text) => quote(text),
                other => other.to_string(),
            };
            errors.push(FieldError::invalid(&path, &value, "field is immutable"));
        }
    }
    if meta::deletion_timestamp(old).is_some() {
        let known: BTreeSet<&str> = meta::finalizers(old).collect();
        let added: Vec<&str> = meta::finalizers(new)
            .filter(|finalizer| !known.contains(finalizer))
            .collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new \
                 finalizers {added:?}"
            );
            errors.push(FieldError::forbidden("metadata.finalizers", &detail));
        }
    }
    errors
}

fn labels(labels: &Value, errors: &mut Vec<FieldError>) {
    let path = "metadata.labels";
    for (key, value) in labels.as_object().into_iter().flatten() {
        if errors.len() > ERRORS_SHOWN_MAX {
            break;
        }
        if let Err(text) = names::qualified(key) {
            errors.push(FieldError::invalid(path, &quote(key), &text));
        }
        let value = value.as_str().unwrap_or_default();
        if !value.is_empty()
            && let Err(text) = names::qualified_part(value)
        {
            errors.push(FieldError::invalid(path, &quote(value), &text));
        }
    }
}

fn annotations(annotations: &Value, errors: &mut Vec<FieldError>) {
    let path = "metadata.annotations";
    let mut bytes = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        bytes += key.len() + value.as_str().map_or(0, str::len);
        if errors.len() <= ERRORS_SHOWN_MAX
            && let Err(text) = names::qualified(&key.to_ascii_lowercase())
        {
            errors.push(FieldError::invalid(path, &quote(key), &text));
        }
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
}

/// First what they look like, then what they are (`pkg/apis/core/validation`,
/// `ValidateObjectMeta`).
fn finalizers(object: &Value, errors: &mut Vec<FieldError>) {
    let path = "metadata.finalizers";
    let all: Vec<&str> = meta::finalizers(object).collect();
    for finalizer in &all {
        if errors.len() > ERRORS_SHOWN_MAX {
            return;
        }
        if let Err(text) = names::qualified(finalizer) {
            errors.push(FieldError::invalid(path, &quote(finalizer), &text));
        }
    }
    if [ORPHAN, FOREGROUND].iter().all(|one| all.contains(one)) {
        let text = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        let value = Value::from(all.clone()).to_string();
        errors.push(FieldError::invalid(path, &value, &text));
    }
    for (index, finalizer) in all.iter().enumerate() {
        if errors.len() > ERRORS_SHOWN_MAX {
            return;
        }
        if !names::is_finalizer(finalizer) {
            let path = format!("{path}[{index}]");
            let text = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(&path, &quote(finalizer), text));
        }
    }
}

fn owners(owners: &Value, errors: &mut Vec<FieldError>) {
    let path = "metadata.ownerReferences";
    let mut controller: Option<String> = None;
    let all = LazyCell::new(|| {
        let all = owners.as_array().into_iter().flatten().map(shown_owner);
        format!("[{}]", all.collect::<Vec<_>>().join(","))
    });
    for (index, owner) in owners.as_array().into_iter().flatten().enumerate() {
        if errors.len() > ERRORS_SHOWN_MAX {
            break;
        }
        let path_of = |member: &str| format!("{path}[{index}].{member}");
        let text = |member: &str| owner[member].as_str().unwrap_or_default();
        for member in ["apiVersion", "kind", "name", "uid"] {
            if text(member).is_empty() {
                errors.push(FieldError::required(&path_of(member), "must not be empty"));
            } else if member == "apiVersion" && !is_api_version(text(member)) {
                let detail = "must be <group>/<version> or <version>";
                let value = quote(text(member));
                errors.push(FieldError::invalid(&path_of(member), &value, detail));
            }
        }
        // An event owns nothing: it is gone too soon.
        if (text("apiVersion"), text("kind")) == ("v1", "Event") {
            let path = format!("{path}[{index}]");
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(&path, &shown_owner(owner), detail));
        }
        if owner["controller"] == Value::Bool(true) {
            let this = format!("{}/{}", text("kind"), text("name"));
            match &controller {
                None => controller = Some(this),
                Some(first) => {
                    let detail = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in \
                         references for {first} and {this}"
                    );
                    errors.push(FieldError::invalid(path, &all, &detail));
                }
            }
        }
    }
}

/// JSON text in the order of Go's struct.
fn shown_owner(owner: &Value) -> String {
    let members = [
        "apiVersion",
        "kind",
        "name",
        "uid",
        "controller",
        "blockOwnerDeletion",
    ];
    let members = members.iter().filter(|member| !owner[**member].is_null());
    let members = members.map(|member| format!("\"{member}\":{}", owner[*member]));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// `<version>` or `<group>/<version>`.
fn is_api_version(text: &str) -> bool {
    let version = match text.split_once('/') {
        Some((_, version)) => version,
        None => text,
    };
    !version.is_empty() && !version.contains('/')
}

/// Leaves one of each owner reference; a warning when there were more
/// (`apiserver/pkg/endpoints/handlers/rest.go`, `dedupOwnerReferences`).
pub(super) fn drop_repeated_owners(object: &mut Value, patched: bool) -> Option<String> {
    let owners = object.pointer_mut("/metadata/ownerReferences")?;
    let mut seen = BTreeSet::new();
    let mut repeated = Vec::new();
    owners.as_array_mut()?.retain(|owner| {
        let is_new = seen.insert(owner.to_string());
        if !is_new {
            repeated.push(owner["uid"].as_str().unwrap_or_default().to_owned());
        }
        is_new
    });
    if repeated.is_empty() {
        return None;
    }
    let when = if patched {
        " after mutating admission happens"
    } else {
        ""
    };
    Some(format!(
        ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and \
         may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        repeated.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::secrets::SECRETS;
    use serde_json::json;

    fn paths(metadata: Value) -> Vec<String> {
        validate(&SECRETS, &json!({ "metadata": metadata }))
            .into_iter()
            .map(|error| format!("{} {}", error.path, error.reason))
            .collect()
    }

    #[test]
    fn metadata() {
        let check = |metadata: Value, expected: &[&str]| {
            let text = metadata.to_string();
            assert_eq!(paths(metadata), expected, "{text}");
        };
        check(json!({"name": "a", "namespace": "n"}), &[]);
        check(
            json!({"name": "a", "namespace": "n", "labels": {"a": "", "a.b/c_D": "x.y"},
                   "annotations": {"Any/Thing": "any thing"}, "finalizers": ["a.b/c", "orphan"]}),
            &[],
        );
        check(
            json!({}),
            &[
                "metadata.name FieldValueRequired",
                "metadata.namespace FieldValueRequired",
            ],
        );
        check(
            json!({"name": "A", "namespace": "n.n"}),
            &[
                "metadata.name FieldValueInvalid",
                "metadata.namespace FieldValueInvalid",
            ],
        );
        check(
            json!({"name": "a", "namespace": "n", "generateName": "A"}),
            &["metadata.generateName FieldValueInvalid"],
        );
        check(
            json!({"name": "a", "namespace": "n", "labels": {"/x": "ok", "k": "-bad"}}),
            &[
                "metadata.labels FieldValueInvalid",
                "metadata.labels FieldValueInvalid",
            ],
        );
        check(
            json!({"name": "a", "namespace": "n", "annotations": {"k": "x".repeat(262_144)}}),
            &["metadata.annotations FieldValueTooLong"],
        );
        check(
            json!({"name": "a", "namespace": "n", "finalizers": ["a.b/c", "unqualified"],
                   "ownerReferences": [{"kind": "Node", "name": "n", "uid": "u"}]}),
            &[
                "metadata.ownerReferences[0].apiVersion FieldValueRequired",
                "metadata.finalizers[1] FieldValueInvalid",
            ],
        );
    }

    #[test]
    fn owners_are_judged() {
        let owner = |members: Value| {
            let mut owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"});
            for (name, value) in members.as_object().unwrap() {
                owner[name] = value.clone();
            }
            owner
        };
        let check = |owners: &[Value], expected: &[&str]| {
            let metadata = json!({"name": "a", "namespace": "n", "ownerReferences": owners});
            assert_eq!(paths(metadata), expected, "{owners:?}");
        };
        let controller = owner(json!({"controller": true}));
        check(&[owner(json!({})), controller.clone()], &[]);
        for good in ["a.b/v1", "v2"] {
            check(&[owner(json!({"apiVersion": good}))], &[]);
        }
        for bad in ["/", "a/", "a/b/c"] {
            check(
                &[owner(json!({"apiVersion": bad}))],
                &["metadata.ownerReferences[0].apiVersion FieldValueInvalid"],
            );
        }
        check(
            &[owner(json!({"kind": "Event"}))],
            &["metadata.ownerReferences[0] FieldValueInvalid"],
        );
        check(
            &[controller.clone(), controller],
            &["metadata.ownerReferences FieldValueInvalid"],
        );
    }

    #[test]
    fn equal_owners_are_one() {
        let owner = |name: &str| json!({"kind": "Node", "name": name, "uid": "u"});
        let mut object = json!({"metadata": {"ownerReferences": [owner("a"), owner("b")]}});
        assert_eq!(drop_repeated_owners(&mut object, false), None);
        assert_eq!(drop_repeated_owners(&mut json!({}), false), None);
        let all = json!([owner("a"), owner("b"), owner("a"), owner("a")]);
        object["metadata"]["ownerReferences"] = all;
        let warning = drop_repeated_owners(&mut object, true).unwrap();
        assert!(warning.ends_with("observed: u, u"), "{warning}");
        let owners = &object["metadata"]["ownerReferences"];
        assert_eq!(owners, &json!([owner("a"), owner("b")]));
    }

    #[test]
    fn updates() {
        let old = json!({"metadata": {"name": "a", "uid": "1", "creationTimestamp": "t",
            "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.b/c"]}});
        let mut new = json!({"metadata": {"name": "a", "creationTimestamp": "other",
            "finalizers": ["a.b/c", "a.b/d"]}});
        prepare_update(&mut new, &old);
        assert_eq!(new["metadata"]["uid"], "1");
        assert_eq!(new["metadata"]["creationTimestamp"], "t");
        let errors = validate_update(&new, &old);
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].path, "metadata.finalizers");
        new["metadata"]["finalizers"] = json!([]);
        new["metadata"]["uid"] = json!("2");
        let errors = validate_update(&new, &old);
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].path, "metadata.uid");
    }
}
