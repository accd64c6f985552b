//! A label selector, a line, a field selector, a line, labels as JSON.

#![no_main]

use everleaf_api::selector::{FieldSelector, LabelSelector};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(3, '\n');
    let mut next = || lines.next().unwrap_or_default();
    let (labels, fields) = (LabelSelector::parse(next()), FieldSelector::parse(next()));
    let object = match serde_json::from_str::<Value>(next()) {
        Ok(labels) => json!({"metadata": {"labels": labels}}),
        Err(_) => json!({"metadata": {"labels": {"a": "b", "n": "5"}}}),
    };
    if let Ok(labels) = labels {
        assert_eq!(labels.is_empty(), labels.terms().is_empty());
        assert!(labels.matches(&object) || !labels.is_empty());
    }
    if let Ok(fields) = fields {
        let required = fields.required("metadata.name").map(str::to_owned);
        let name = required.clone().unwrap_or_default();
        let value = |field: &str| match field {
            "metadata.name" => name.clone(),
            other => other.to_owned(),
        };
        let _ = fields.matches(value);
        assert!(!fields.is_empty() || fields.matches(|_| String::new()));
        if let Some(required) = required {
            assert!(!fields.matches(|_| format!("{required}-not")));
        }
    }
});
