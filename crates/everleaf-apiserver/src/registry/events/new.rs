//! Events as `events.k8s.io` shows them: the same objects under newer names and stricter rules
//! (`pkg/apis/core/validation/events.go`). Field errors name the members of the core group, as
//! upstream's do.

use super::super::{Context, Descriptor, Strategy, names};
use super::{EVENTS, field, legacy_rules, time};
use crate::read;
use everleaf_api::fields::{FieldError, quote};
use everleaf_api::types;
use serde_json::Value;

/// Events (events.k8s.io/v1).
pub static NEW_EVENTS: Descriptor = Descriptor {
    r#type: &types::NEW_EVENT,
    view_of: Some(&EVENTS),
    strategy: &NewEventStrategy,
    selectable: &[
        "reason",
        "regarding.apiVersion",
        "regarding.fieldPath",
        "regarding.kind",
        "regarding.name",
        "regarding.namespace",
        "regarding.resourceVersion",
        "regarding.uid",
        "reportingController",
        "type",
    ],
    field: |object, name| match name.strip_prefix("regarding.") {
        Some(member) => field(object, &format!("involvedObject.{member}")),
        None if name == "reportingController" => field(object, "reportingComponent"),
        None => field(object, name),
    },
    validate_name: names::subdomain,
    ..EVENTS
};

/// What only the older form fills.
const DEPRECATED: [&str; 4] = ["firstTimestamp", "lastTimestamp", "count", "source"];
/// What an update may not change; only the series goes on.
const CONSTANT: [&str; 13] = [
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingController",
    "reportingInstance",
];

struct NewEventStrategy;

impl Strategy for NewEventStrategy {
    fn validate_create(&self, event: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = legacy_rules(event, "reportingController");
        validate_series(event, &mut errors);
        if time(event, "/eventTime").is_none() {
            errors.push(FieldError::required("eventTime", ""));
        }
        let kind = read::text(event, "/type");
        if !matches!(kind, "Normal" | "Warning") {
            let detail = format!("has invalid value: {kind}");
            errors.push(FieldError::invalid("type", &quote(""), &detail));
        }
        for member in DEPRECATED {
            if !read::is_empty(event.get(member)) && event[member] != 0 {
                errors.push(FieldError::invalid(member, &quote(""), "needs to be unset"));
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = legacy_rules(new, "reportingController");
        if new["series"] != old["series"] {
            validate_series(new, &mut errors);
        }
        for path in CONSTANT {
            let member = match path {
                "reportingController" => "reportingComponent",
                other => other,
            };
            let (is, was) = (new.get(member), old.get(member));
            if is != was && !(read::is_empty(is) && read::is_empty(was)) {
                let value = is.map_or_else(|| quote(""), Value::to_string);
                errors.push(FieldError::invalid(path, &value, "field is immutable"));
            }
        }
        errors
    }
}

fn validate_series(event: &Value, errors: &mut Vec<FieldError>) {
    if !event["series"].is_object() {
        return;
    }
    if event["series"]["count"].as_i64().unwrap_or(0) < 2 {
        let detail = "should be at least 2";
        errors.push(FieldError::invalid("series.count", &quote(""), detail));
    }
    if time(event, "/series/lastObservedTime").is_none() {
        errors.push(FieldError::required("series.lastObservedTime", ""));
    }
}
