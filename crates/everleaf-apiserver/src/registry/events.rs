//! Events: what happened to an object, told to people. Best effort by nature: nobody decides by
//! them, so they are forgotten after a while, or when there are too many.

mod new;

pub use new::NEW_EVENTS;

use super::retention::Retention;
use super::{Context, Descriptor, Strategy, names, text_column};
use crate::read;
use everleaf_api::fields::{FieldError, quote};
use everleaf_api::table::Column;
use everleaf_api::{meta, types};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Longest reportingInstance, action and reason of an event in the newer form
/// (`pkg/apis/core/validation/events.go`).
const WORD_BYTES_MAX: usize = 128;
/// Longest message of an event in the newer form.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Events (core/v1).
pub static EVENTS: Descriptor = Descriptor {
    short_names: &["ev"],
    strategy: &EventStrategy,
    columns: COLUMNS,
    cells,
    selectable: &[
        "involvedObject.apiVersion",
        "involvedObject.fieldPath",
        "involvedObject.kind",
        "involvedObject.name",
        "involvedObject.namespace",
        "involvedObject.resourceVersion",
        "involvedObject.uid",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ],
    field,
    create_on_update: true,
    validate_name: names::path_segment,
    compact: true,
    retention: Some(&RETENTION),
    ..Descriptor::namespaced(&types::EVENT, "events", "event")
};

/// An hour, as kube-apiserver's `--event-ttl`. The bounds are ours.
static RETENTION: Retention = Retention {
    ttl: SignedDuration::from_hours(1),
    last_seen,
    objects_max: 10_000,
    bytes_max: 16 << 20,
};

const COLUMNS: &[Column] = &[
    text_column("Last Seen", 0, "Time since it was last seen."),
    text_column("Type", 0, "Normal or Warning."),
    text_column("Reason", 0, "One word for programs."),
    text_column("Object", 0, "The object it is about."),
    text_column("Subobject", 1, "Part of the object that is meant."),
    text_column("Source", 1, "Who reports it."),
    text_column("Message", 0, "For people."),
    text_column("First Seen", 1, "Time since it was first seen."),
    text_column("Count", 1, "How often it was seen."),
    Column {
        priority: 1,
        ..super::NAME_COLUMN
    },
];

/// `pkg/printers/internalversion/printers.go`, `printEvent`.
fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let since = |pointers: &[&str]| {
        let mut times = pointers.iter().filter_map(|pointer| time(object, pointer));
        times.next().map_or_else(
            || "<unknown>".to_owned(),
            |time| everleaf_api::duration::human(now.as_second() - time.as_second()),
        )
    };
    let in_series = object["series"].is_object();
    let last_seen = if in_series {
        since(&["/series/lastObservedTime"])
    } else {
        since(&["/lastTimestamp", "/firstTimestamp", "/eventTime"])
    };
    let count = match in_series {
        true => object["series"]["count"].as_i64().unwrap_or(0),
        false => object["count"]
            .as_i64()
            .filter(|count| *count != 0)
            .unwrap_or(1),
    };
    let kind = read::text(object, "/involvedObject/kind").to_lowercase();
    let about = match read::text(object, "/involvedObject/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let component = first(object, ["/source/component", "/reportingComponent"]);
    let source = match first(object, ["/source/host", "/reportingInstance"]) {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    };
    vec![
        last_seen.into(),
        read::text(object, "/type").into(),
        read::text(object, "/reason").into(),
        about.into(),
        read::text(object, "/involvedObject/fieldPath").into(),
        source.into(),
        read::text(object, "/message").trim().into(),
        since(&["/firstTimestamp", "/eventTime"]).into(),
        count.into(),
        meta::name(object).into(),
    ]
}

/// The first of these texts that is not empty.
fn first<'a>(object: &'a Value, pointers: [&str; 2]) -> &'a str {
    match read::text(object, pointers[0]) {
        "" => read::text(object, pointers[1]),
        text => text,
    }
}

fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    meta::parse_time(read::text(object, pointer))
}

fn field(object: &Value, field: &str) -> String {
    match field {
        "source" => first(object, ["/source/component", "/reportingComponent"]).to_owned(),
        field => read::text(object, &format!("/{}", field.replace('.', "/"))).to_owned(),
    }
}

/// When it was last seen, by what it says of itself. What lies in the future of `now` does not
/// count, so that nobody plants an event for ever.
fn last_seen(event: &Value, now: Timestamp) -> Option<Timestamp> {
    [
        "/metadata/creationTimestamp",
        "/lastTimestamp",
        "/eventTime",
        "/series/lastObservedTime",
    ]
    .iter()
    .filter_map(|pointer| time(event, pointer))
    .filter(|time| *time <= now)
    .max()
}

struct EventStrategy;

/// The rules of core/v1.
impl Strategy for EventStrategy {
    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        legacy_rules(object, "reportingComponent")
    }
}

/// What holds in either group (`pkg/apis/core/validation/events.go`, `legacyValidateEvent`);
/// `component_path` is what the group calls the reporting component.
fn legacy_rules(object: &Value, component_path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut elsewhere = || {
        let namespace = quote(read::text(object, "/involvedObject/namespace"));
        let text = "does not match event.namespace";
        errors.push(FieldError::invalid(
            "involvedObject.namespace",
            &namespace,
            text,
        ));
    };
    let of_cluster = read::text(object, "/involvedObject/namespace").is_empty();
    let here = meta::namespace(object);
    if time(object, "/eventTime").is_none() {
        let fits = match of_cluster {
            true => here == "default",
            false => here == read::text(object, "/involvedObject/namespace"),
        };
        if !fits {
            elsewhere();
        }
        return errors;
    }
    if of_cluster && !matches!(here, "default" | "kube-system") {
        elsewhere();
    }
    validate_component(object, component_path, &mut errors);
    let mut demand = |member: &str, bytes_max: usize, required: bool| {
        let text = read::text(object, &format!("/{member}"));
        if required && text.is_empty() {
            errors.push(FieldError::required(member, ""));
        }
        if text.len() > bytes_max {
            let detail = format!("can have at most {bytes_max} characters");
            errors.push(FieldError::invalid(member, &quote(""), &detail));
        }
    };
    demand("reportingInstance", WORD_BYTES_MAX, true);
    demand("action", WORD_BYTES_MAX, true);
    demand("reason", WORD_BYTES_MAX, true);
    demand("message", MESSAGE_BYTES_MAX, false);
    errors
}

fn validate_component(object: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let component = read::text(object, "/reportingComponent");
    if component.is_empty() {
        errors.push(FieldError::required(path, ""));
        let text = "name part must be non-empty";
        errors.push(FieldError::invalid(path, &quote(component), text));
    }
    if let Err(text) = names::qualified(component) {
        errors.push(FieldError::invalid(path, &quote(component), &text));
    }
}

#[cfg(test)]
mod tests;
