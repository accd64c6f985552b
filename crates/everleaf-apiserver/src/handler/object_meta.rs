//! Rules of ObjectMeta that hold for every resource (`apimachinery/pkg/api/validation/objectmeta.go`).

use std::collections::BTreeSet;

use everleaf_api::fields::{ERRORS_SHOWN_MAX, FieldError, quote};
use everleaf_api::meta;
use serde_json::Value;

use crate::registry::{Descriptor, names};

/// Keys and values of all annotations together, in bytes.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// Finalizers without a domain that upstream knows.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// Carries over what a client may not change, and fills what it left out.
pub(super) fn prepare_update(object: &mut Value, old: &Value) {
    let old = &old["metadata"];
    let metadata = meta::metadata_mut(object);
    metadata.remove("managedFields");
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
    if !generate_name.is_empty() {
        // A prefix may end where a name may not.
        let complete = format!("{}x", generate_name.trim_end_matches('-'));
        if let Err(text) = (descriptor.validate_name)(&complete) {
            errors.push(FieldError::invalid(
                "metadata.generateName",
                &quote(generate_name),
                &text,
            ));
        }
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
    labels(&metadata["labels"], &mut errors);
    annotations(&metadata["annotations"], &mut errors);
    finalizers(object, &mut errors);
    owners(&metadata["ownerReferences"], &mut errors);
    errors
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

fn finalizers(object: &Value, errors: &mut Vec<FieldError>) {
    for finalizer in meta::finalizers(object) {
        if errors.len() > ERRORS_SHOWN_MAX {
            break;
        }
        let checked = names::qualified(finalizer).and_then(|()| {
            if finalizer.contains('/') || STANDARD_FINALIZERS.contains(&finalizer) {
                Ok(())
            } else {
                Err("name is neither a standard finalizer name nor is it fully qualified".into())
            }
        });
        if let Err(text) = checked {
            errors.push(FieldError::invalid(
                "metadata.finalizers",
                &quote(finalizer),
                &text,
            ));
        }
    }
}

fn owners(owners: &Value, errors: &mut Vec<FieldError>) {
    for (index, owner) in owners.as_array().into_iter().flatten().enumerate() {
        if errors.len() > ERRORS_SHOWN_MAX {
            break;
        }
        for member in ["apiVersion", "kind", "name", "uid"] {
            if owner[member].as_str().unwrap_or_default().is_empty() {
                let path = format!("metadata.ownerReferences[{index}].{member}");
                errors.push(FieldError::required(
                    &path,
                    &format!("{member} must not be empty"),
                ));
            }
        }
    }
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
            json!({"name": "a", "namespace": "n", "generateName": "A-"}),
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
            json!({"name": "a", "namespace": "n", "finalizers": ["unqualified"],
                   "ownerReferences": [{"kind": "Node", "name": "n", "uid": "u"}]}),
            &[
                "metadata.finalizers FieldValueInvalid",
                "metadata.ownerReferences[0].apiVersion FieldValueRequired",
            ],
        );
    }

    #[test]
    fn updates() {
        let old = json!({"metadata": {"name": "a", "uid": "1", "creationTimestamp": "t",
            "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.b/c"]}});
        let mut new = json!({"metadata": {"name": "a", "creationTimestamp": "other",
            "managedFields": [{}], "finalizers": ["a.b/c", "a.b/d"]}});
        prepare_update(&mut new, &old);
        assert_eq!(new["metadata"]["uid"], "1");
        assert_eq!(new["metadata"]["creationTimestamp"], "t");
        assert_eq!(new["metadata"]["managedFields"], Value::Null);
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
