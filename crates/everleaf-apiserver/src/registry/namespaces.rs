//! Namespaces. Deleting one deletes what is in it; the engine does that, see
//! `handler/namespace_deletion.rs`.

use everleaf_api::table::Column;
use everleaf_api::{meta, types};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{AGE_COLUMN, Context, Descriptor, NAME_COLUMN, Strategy, age, names, text_column};
use crate::read;

/// Label that carries a namespace's name, so that selectors can find it.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Namespaces.
pub static NAMESPACES: Descriptor = Descriptor {
    short_names: &["ns"],
    subresources: &["status"],
    strategy: &NamespaceStrategy,
    columns: COLUMNS,
    cells,
    selectable: &["status.phase"],
    field: |object, _| read::text(object, "/status/phase").to_owned(),
    validate_name: names::label,
    ..Descriptor::cluster(&types::NAMESPACE, "namespaces", "namespace")
};

const COLUMNS: &[Column] = &[
    NAME_COLUMN,
    text_column("Status", 0, "The status of the namespace."),
    AGE_COLUMN,
];

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        meta::name(object).into(),
        read::text(object, "/status/phase").into(),
        age(object, now).into(),
    ]
}

struct NamespaceStrategy;

impl Strategy for NamespaceStrategy {
    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        object["status"] = json!({"phase": "Active"});
        object["spec"] = json!({"finalizers": ["kubernetes"]});
        label(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, context: &Context<'_>) {
        new["spec"] = old["spec"].clone();
        if context.subresource != "status" {
            new["status"] = old["status"].clone();
        }
        label(new);
    }
}

fn label(object: &mut Value) {
    let name = meta::name(object).to_owned();
    let metadata = meta::metadata_mut(object);
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if !labels.is_object() {
        *labels = json!({});
    }
    labels[NAME_LABEL] = name.into();
}
