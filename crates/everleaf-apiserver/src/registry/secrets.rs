//! Secrets. `stringData` is a convenience of writers: it is merged into `data` and never stored.
//! Types are not checked for the keys they promise; only the type itself cannot change.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_api::fields::{FieldError, quote};
use everleaf_api::table::Column;
use everleaf_api::{meta, types};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{AGE_COLUMN, Context, Descriptor, NAME_COLUMN, Strategy, age, payload, text_column};
use crate::read;

/// Type of a secret that names none.
const OPAQUE: &str = "Opaque";

/// Secrets.
pub static SECRETS: Descriptor = Descriptor {
    strategy: &SecretStrategy,
    columns: COLUMNS,
    cells,
    selectable: &["type"],
    field: |object, _| read::text(object, "/type").to_owned(),
    ..Descriptor::namespaced(&types::SECRET, "secrets", "secret")
};

const COLUMNS: &[Column] = &[
    NAME_COLUMN,
    text_column(
        "Type",
        0,
        "Used to facilitate programmatic handling of secret data.",
    ),
    text_column("Data", 0, "Number of entries."),
    AGE_COLUMN,
];

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        meta::name(object).into(),
        read::text(object, "/type").into(),
        payload::entries(object, &["data"]),
        age(object, now).into(),
    ]
}

struct SecretStrategy;

impl Strategy for SecretStrategy {
    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        merge_string_data(object);
        if read::text(object, "/type").is_empty() {
            object["type"] = json!(OPAQUE);
        }
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        payload::check_keys(object, "data", &mut errors);
        payload::check_size(object, None, "data", &mut errors);
        errors
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _context: &Context<'_>) {
        merge_string_data(new);
        if read::text(new, "/type").is_empty() {
            new["type"] = old["type"].clone();
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = self.validate_create(new, context);
        if new["type"] != old["type"] {
            let value = quote(read::text(new, "/type"));
            errors.push(FieldError::invalid("type", &value, "field is immutable"));
        }
        payload::check_immutable(new, old, &["data"], &mut errors);
        errors
    }
}

fn merge_string_data(object: &mut Value) {
    let Some(members) = object.as_object_mut() else {
        return;
    };
    let Some(Value::Object(texts)) = members.remove("stringData") else {
        return;
    };
    if texts.is_empty() {
        return;
    }
    let data = members
        .entry("data")
        .or_insert_with(|| Value::Object(Map::new()));
    for (key, text) in texts {
        data[key] = STANDARD.encode(text.as_str().unwrap_or("")).into();
    }
}
