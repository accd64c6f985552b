//! What `kubectl apply` leaves in an annotation when it applies by itself, and what becomes of it
//! once the server applies (`apimachinery/pkg/util/managedfields/internal`, `lastapplied*.go`).

use super::set::FieldSet;
use super::shape::{Form, Shape};
use super::walk;
use crate::codec::json_write;
use crate::meta;
use crate::schema::Type;
use serde_json::{Value, json};

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Keys and values of all annotations together, in bytes.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// The fields that were applied and are as they were applied: kubectl owns them, whoever is said
/// to. None when it never applied.
pub(super) fn unchanged(r#type: &'static Type, live: &Value) -> Option<FieldSet> {
    let text = meta::annotation(live, ANNOTATION).filter(|text| !text.is_empty())?;
    let applied: Value = serde_json::from_str(text).ok()?;
    if applied["apiVersion"] != r#type.api_version().as_str()
        || super::check::faults(r#type.message, &applied).is_some()
    {
        return None;
    }
    let root = Shape::Struct(r#type.message);
    let difference = walk::compare(root, &applied, live, Form::Printed);
    let fields = walk::fields_of(root, &applied);
    let fields = fields.difference(&difference.written());
    Some(fields.difference(&difference.removed))
}

/// Keeps the annotation, where there is one, at what is applied now.
pub(super) fn renew(object: &mut Value, config: &Value) {
    if meta::annotation(object, ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations")
        && let Some(members) = annotations.as_object_mut()
    {
        members.remove(ANNOTATION);
    }
    let mut text = Vec::new();
    json_write::any(&mut text, &config);
    text.push(b'\n');
    let text = String::from_utf8(text).expect("invariant: the writer writes UTF-8");
    let annotations = &mut meta::metadata_mut(object)["annotations"];
    annotations[ANNOTATION] = text.into();
    let sizes = annotations.as_object().into_iter().flatten();
    let bytes: usize = sizes
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        annotations[ANNOTATION] = json!(null);
        if let Some(members) = annotations.as_object_mut() {
            members.remove(ANNOTATION);
        }
    }
}
