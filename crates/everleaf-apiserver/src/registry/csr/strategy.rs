//! What the server stamps on a request, and what each of the three endpoints leaves as stored.

use super::{conditions, validate};
use crate::{
    read,
    registry::{Context, Strategy},
};
use everleaf_api::fields::FieldError;
use serde_json::{Map, Value, json};

pub(super) struct CsrStrategy;

impl Strategy for CsrStrategy {
    /// The requestor is who asks, whatever the body says; a new request is decided by nobody.
    fn prepare_create(&self, object: &mut Value, context: &Context<'_>) {
        let Some(object) = object.as_object_mut() else {
            return;
        };
        object.insert("status".to_owned(), json!({}));
        let spec = object.entry("spec").or_insert_with(|| json!({}));
        if let Some(spec) = spec.as_object_mut() {
            stamp_requestor(spec, context);
        }
    }

    fn validate_create(&self, object: &Value, context: &Context<'_>) -> Vec<FieldError> {
        validate::create(object, context)
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, context: &Context<'_>) {
        let Some(members) = new.as_object_mut() else {
            return;
        };
        members.insert(
            "spec".to_owned(),
            old.get("spec").cloned().unwrap_or_else(|| json!({})),
        );
        let asked = members
            .remove("status")
            .and_then(|status| match status {
                Value::Object(status) => Some(status),
                _ => None,
            })
            .unwrap_or_default();
        let stored = old
            .get("status")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let old_conditions = read::items(old, "/status/conditions");
        let status = match context.subresource {
            "approval" => with_conditions(stored, asked, |conditions| {
                conditions::fill_times(conditions, old_conditions, context.now);
            }),
            "status" => with_conditions(asked.clone(), asked, |conditions| {
                conditions::restore_decisions(conditions, old_conditions);
                conditions::fill_times(conditions, old_conditions, context.now);
            }),
            _ => stored,
        };
        members.insert("status".to_owned(), Value::Object(status));
    }

    fn validate_update(&self, new: &Value, old: &Value, context: &Context<'_>) -> Vec<FieldError> {
        validate::update(new, old, context)
    }
}

fn stamp_requestor(spec: &mut Map<String, Value>, context: &Context<'_>) {
    for member in ["username", "uid", "groups", "extra"] {
        spec.remove(member);
    }
    let user = context.user;
    let mut stamp = |member: &str, empty: bool, value: Value| {
        if !empty {
            spec.insert(member.to_owned(), value);
        }
    };
    stamp("username", user.name.is_empty(), json!(user.name));
    stamp("uid", user.uid.is_empty(), json!(user.uid));
    stamp("groups", user.groups.is_empty(), json!(user.groups));
    stamp("extra", user.extra.is_empty(), json!(user.extra));
}

/// `status` with the conditions of `asked`, adjusted by `adjust`.
fn with_conditions(
    mut status: Map<String, Value>,
    mut asked: Map<String, Value>,
    adjust: impl FnOnce(&mut [Value]),
) -> Map<String, Value> {
    match asked.remove("conditions") {
        Some(Value::Array(mut conditions)) if !conditions.is_empty() => {
            adjust(&mut conditions);
            status.insert("conditions".to_owned(), Value::Array(conditions));
        }
        _ => {
            status.remove("conditions");
        }
    }
    status
}
