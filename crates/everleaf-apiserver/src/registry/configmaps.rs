//! ConfigMaps.

use super::{AGE_COLUMN, Context, Descriptor, NAME_COLUMN, Strategy, age, payload, text_column};
use everleaf_api::fields::FieldError;
use everleaf_api::table::Column;
use everleaf_api::{meta, types};
use jiff::Timestamp;
use serde_json::Value;

/// ConfigMaps.
pub static CONFIG_MAPS: Descriptor = Descriptor {
    short_names: &["cm"],
    strategy: &ConfigMapStrategy,
    columns: COLUMNS,
    cells,
    ..Descriptor::namespaced(&types::CONFIG_MAP, "configmaps", "configmap")
};

const COLUMNS: &[Column] = &[
    NAME_COLUMN,
    text_column("Data", 0, "Number of entries."),
    AGE_COLUMN,
];

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        meta::name(object).into(),
        payload::entries(object, &["data", "binaryData"]),
        age(object, now).into(),
    ]
}

struct ConfigMapStrategy;

impl Strategy for ConfigMapStrategy {
    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        payload::check_keys(object, "data", &mut errors);
        payload::check_keys(object, "binaryData", &mut errors);
        let texts = object["data"].as_object();
        for key in texts.into_iter().flat_map(|map| map.keys()) {
            if !object["binaryData"][key].is_null() {
                let path = format!("data[{key}]");
                let detail = "duplicate of key present in binaryData";
                let value = everleaf_api::fields::quote(key);
                errors.push(FieldError::invalid(&path, &value, detail));
            }
        }
        payload::check_size(object, Some("data"), "binaryData", &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = self.validate_create(new, context);
        payload::check_immutable(new, old, &["data", "binaryData"], &mut errors);
        errors
    }
}
