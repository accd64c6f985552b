//! Secrets. `stringData` is a convenience of writers: it is merged into `data` and never stored.
//! A type promises keys, and cannot change.

mod pair;

use super::{AGE_COLUMN, Context, Descriptor, NAME_COLUMN, Strategy, age, payload, text_column};
use crate::read;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everleaf_api::fields::{FieldError, quote};
use everleaf_api::table::Column;
use everleaf_api::{meta, types};
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde_json::error::Category;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Type of a secret that names none.
const OPAQUE: &str = "Opaque";
/// Annotation by which a token of a service account says whose it is.
const ACCOUNT_ANNOTATION: &str = "kubernetes.io/service-account.name";

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
    fn is_confidential(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        merge_string_data(object);
        if read::text(object, "/type").is_empty() {
            object["type"] = json!(OPAQUE);
        }
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        payload::check_keys(object, "data", &mut errors);
        payload::check_size(object, None, "data", &mut errors);
        check_type(object, &mut errors);
        errors
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

    fn warnings(&self, object: &Value) -> Vec<String> {
        match read::text(object, "/type") {
            "kubernetes.io/tls" => pair::fault(object).into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

/// What the type promises (`pkg/apis/core/validation/validation.go`, `ValidateSecret`).
fn check_type(object: &Value, errors: &mut Vec<FieldError>) {
    let data = |key: &str| object["data"][key].as_str();
    let mut demand = |is_there: bool, path: &str| {
        if !is_there {
            errors.push(FieldError::required(path, ""));
        }
    };
    match read::text(object, "/type") {
        "kubernetes.io/service-account-token" => {
            let account = object["metadata"]["annotations"][ACCOUNT_ANNOTATION].as_str();
            let path = format!("metadata.annotations[{ACCOUNT_ANNOTATION}]");
            demand(account.is_some_and(|name| !name.is_empty()), &path);
        }
        "kubernetes.io/basic-auth" => {
            let either = data("username").or(data("password")).is_some();
            demand(either, "data[username]");
            demand(either, "data[password]");
        }
        "kubernetes.io/ssh-auth" => {
            let key = data("ssh-privatekey").unwrap_or_default();
            demand(!key.is_empty(), "data[ssh-privatekey]");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                demand(data(key).is_some(), &format!("data[{key}]"));
            }
        }
        "kubernetes.io/dockercfg" => check_json(object, ".dockercfg", errors),
        "kubernetes.io/dockerconfigjson" => check_json(object, ".dockerconfigjson", errors),
        _ => {}
    }
}

/// A value that must be a JSON object; what is in it is nobody's to see.
fn check_json(object: &Value, key: &str, errors: &mut Vec<FieldError>) {
    let path = format!("data[{key}]");
    let Some(text) = object["data"][key].as_str() else {
        errors.push(FieldError::required(&path, ""));
        return;
    };
    let bytes = STANDARD.decode(text).unwrap_or_default();
    let read = serde_json::from_slice::<Option<BTreeMap<String, IgnoredAny>>>(&bytes);
    if let Err(error) = read {
        let detail = match error.classify() {
            Category::Eof => "unexpected end of JSON input",
            _ => "must be a JSON object",
        };
        let value = quote("<secret contents redacted>");
        errors.push(FieldError::invalid(&path, &value, detail));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(kind: &str, data: Value) -> Vec<String> {
        let mut errors = Vec::new();
        check_type(&json!({"type": kind, "data": data}), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn types_promise_keys() {
        let check = |kind: &str, data: Value, missing: &[&str]| {
            let missing: Vec<String> = missing
                .iter()
                .map(|path| format!("{path}: Required value"))
                .collect();
            assert_eq!(errors(kind, data.clone()), missing, "{kind} {data}");
        };
        check("Opaque", json!(null), &[]);
        check("example.com/own", json!(null), &[]);
        check(
            "kubernetes.io/tls",
            json!({"tls.crt": ""}),
            &["data[tls.key]"],
        );
        check("kubernetes.io/basic-auth", json!({"password": ""}), &[]);
        check(
            "kubernetes.io/basic-auth",
            json!({"user": "YQ=="}),
            &["data[username]", "data[password]"],
        );
        check(
            "kubernetes.io/ssh-auth",
            json!({"ssh-privatekey": "YQ=="}),
            &[],
        );
        check(
            "kubernetes.io/ssh-auth",
            json!({"ssh-privatekey": ""}),
            &["data[ssh-privatekey]"],
        );
        check("kubernetes.io/dockercfg", json!({}), &["data[.dockercfg]"]);
        check(
            "kubernetes.io/service-account-token",
            json!({}),
            &["metadata.annotations[kubernetes.io/service-account.name]"],
        );
    }

    #[test]
    fn a_docker_configuration_is_a_json_object_and_stays_secret() {
        let config = |text: &str| {
            let data = json!({".dockerconfigjson": STANDARD.encode(text)});
            errors("kubernetes.io/dockerconfigjson", data)
        };
        assert_eq!(config("{\"auths\": {\"a\": [1]}}"), [""; 0]);
        for (text, detail) in [
            ("{", "unexpected end of JSON input"),
            ("", "unexpected end of JSON input"),
            ("\"hunter2\"", "must be a JSON object"),
            ("{hunter2}", "must be a JSON object"),
        ] {
            let value = "Invalid value: \"<secret contents redacted>\"";
            let expected = format!("data[.dockerconfigjson]: {value}: {detail}");
            assert_eq!(config(text), [expected], "{text}");
        }
    }
}
