//! Field errors, columns, selectable fields and age of events.

use super::*;
use crate::user::User;
use serde_json::json;

fn now() -> Timestamp {
    "2030-01-01T01:00:00Z".parse().unwrap()
}

/// As client-go's recorder writes it.
fn event() -> Value {
    json!({"metadata": {"name": "n1.17f", "namespace": "default", "creationTimestamp": "2030-01-01T00:00:00Z"},
        "involvedObject": {"kind": "Node", "name": "n1", "uid": "n1", "apiVersion": "v1", "fieldPath": "spec"},
        "reason": "Starting", "message": "Starting kubelet.\n", "source": {"component": "kubelet", "host": "n1"},
        "firstTimestamp": "2030-01-01T00:00:00Z", "lastTimestamp": "2030-01-01T00:59:00Z", "count": 3,
        "type": "Normal", "reportingComponent": "kubelet", "reportingInstance": "n1"})
}

/// In the newer form.
fn series() -> Value {
    json!({"metadata": {"name": "e", "namespace": "default"}, "involvedObject": {"kind": "Node", "name": "n1"},
        "eventTime": "2030-01-01T00:00:00.000000Z", "series": {"count": 7, "lastObservedTime": "2030-01-01T00:30:00.000000Z"},
        "reason": "r", "action": "a", "reportingComponent": "example.com/c", "reportingInstance": "i"})
}

fn errors(object: &Value) -> Vec<String> {
    let user = User::default();
    let context = Context {
        user: &user,
        subresource: "",
        now: now(),
        request: None,
        gates: &crate::registry::gates::USUAL,
    };
    let errors = EventStrategy.validate_create(object, &context);
    assert_eq!(
        errors,
        EventStrategy.validate_update(object, object, &context)
    );
    errors
        .iter()
        .map(|error| format!("{} {}", error.path, error.reason))
        .collect()
}

/// `object` with one member replaced.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[member] = value;
    object
}

#[test]
fn an_event_lies_where_its_object_does() {
    const ELSEWHERE: [&str; 1] = ["involvedObject.namespace FieldValueInvalid"];
    let check = |object: Value, here: &str, about: &str, expected: &[&str]| {
        let object = with(object, "/metadata/namespace", json!(here));
        let object = with(object, "/involvedObject/namespace", json!(about));
        assert_eq!(errors(&object), expected, "{here} {about}");
    };
    check(event(), "default", "", &[]);
    check(event(), "team", "team", &[]);
    check(event(), "kube-system", "", &ELSEWHERE);
    check(event(), "default", "team", &ELSEWHERE);
    check(series(), "kube-system", "", &[]);
    check(series(), "team", "", &ELSEWHERE);
    check(series(), "default", "team", &[]);
}

#[test]
fn the_newer_form_is_held_to_more() {
    assert_eq!(errors(&series()), [""; 0]);
    let check = |pointer: &str, value: Value, expected: &[&str]| {
        assert_eq!(
            errors(&with(series(), pointer, value)),
            expected,
            "{pointer}"
        );
    };
    check(
        "/reportingComponent",
        json!(""),
        &[
            "reportingComponent FieldValueRequired",
            "reportingComponent FieldValueInvalid",
            "reportingComponent FieldValueInvalid",
        ],
    );
    check(
        "/reportingComponent",
        json!("a b"),
        &["reportingComponent FieldValueInvalid"],
    );
    for (member, max) in [
        ("reportingInstance", 128),
        ("action", 128),
        ("reason", 128),
        ("message", 1024),
    ] {
        let pointer = format!("/{member}");
        let invalid = format!("{member} FieldValueInvalid");
        let required = format!("{member} FieldValueRequired");
        check(&pointer, json!("x".repeat(max)), &[]);
        check(&pointer, json!("x".repeat(max + 1)), &[&invalid]);
        let missing: &[&str] = if member == "message" {
            &[]
        } else {
            &[&required]
        };
        check(&pointer, json!(""), missing);
    }
    let long = with(event(), "/message", json!("x".repeat(5000)));
    assert_eq!(errors(&long), [""; 0]);
}

#[test]
fn columns() {
    let check = |object: Value, expected: Value| {
        let cells = cells(&object, now());
        assert_eq!(cells.len(), COLUMNS.len());
        assert_eq!(Value::from(cells), expected);
    };
    check(
        event(),
        json!([
            "60s",
            "Normal",
            "Starting",
            "node/n1",
            "spec",
            "kubelet, n1",
            "Starting kubelet.",
            "60m",
            3,
            "n1.17f"
        ]),
    );
    check(
        series(),
        json!([
            "30m",
            "",
            "r",
            "node/n1",
            "",
            "example.com/c, i",
            "",
            "60m",
            7,
            "e"
        ]),
    );
    check(
        json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Node"}, "source": {"component": "c"}}),
        json!([
            "<unknown>",
            "",
            "",
            "node",
            "",
            "c",
            "",
            "<unknown>",
            1,
            "e"
        ]),
    );
}

#[test]
fn selectable_fields() {
    let check = |object: &Value, name: &str, expected: &str| {
        assert!(EVENTS.selectable.contains(&name));
        assert_eq!(field(object, name), expected, "{name}");
    };
    check(&event(), "involvedObject.name", "n1");
    check(&event(), "involvedObject.apiVersion", "v1");
    check(&event(), "involvedObject.namespace", "");
    check(&event(), "reason", "Starting");
    check(&event(), "source", "kubelet");
    check(&series(), "source", "example.com/c");
    check(&series(), "reportingComponent", "example.com/c");
}

#[test]
fn last_seen_is_what_it_says_but_never_later_than_now() {
    let check = |object: Value, expected: Option<&str>| {
        let expected = expected.map(|text| text.parse().unwrap());
        assert_eq!(last_seen(&object, now()), expected);
    };
    check(event(), Some("2030-01-01T00:59:00Z"));
    check(series(), Some("2030-01-01T00:30:00Z"));
    let planted = with(event(), "/lastTimestamp", json!("2999-01-01T00:00:00Z"));
    check(planted, Some("2030-01-01T00:00:00Z"));
    check(json!({}), None);
}

#[test]
fn the_newer_group_shows_the_same_objects() {
    let mut core = series();
    core["message"] = json!("told");
    core["type"] = json!("Normal");
    let shown = NEW_EVENTS.r#type.encode_json(&core);
    let shown: Value = serde_json::from_slice(&shown).unwrap();
    assert_eq!(shown["apiVersion"], "events.k8s.io/v1");
    assert_eq!(shown["note"], "told");
    assert_eq!(shown["regarding"]["name"], "n1");
    assert_eq!(shown["reportingController"], "example.com/c");
    let back = NEW_EVENTS.r#type.decode_value(shown).unwrap().object;
    let bytes = EVENTS.r#type.encode_protobuf(&back);
    assert_eq!(bytes, EVENTS.r#type.encode_protobuf(&core));
    let field = NEW_EVENTS.field;
    assert_eq!(field(&core, "regarding.kind"), "Node");
    assert_eq!(field(&core, "reportingController"), "example.com/c");
}

#[test]
fn the_newer_group_lets_only_the_series_go_on() {
    let user = User::default();
    let context = Context {
        user: &user,
        subresource: "",
        now: now(),
        request: None,
        gates: &crate::registry::gates::USUAL,
    };
    let old = with(series(), "/type", json!("Normal"));
    let told = |errors: Vec<FieldError>| -> Vec<String> {
        errors.iter().map(|error| error.path.clone()).collect()
    };
    let update = |new: &Value| told(NEW_EVENTS.strategy.validate_update(new, &old, &context));
    assert_eq!(
        told(NEW_EVENTS.strategy.validate_create(&old, &context)),
        [""; 0]
    );
    assert_eq!(
        update(&with(old.clone(), "/series/count", json!(8))),
        [""; 0]
    );
    assert_eq!(
        update(&with(old.clone(), "/series/count", json!(1))),
        ["series.count"]
    );
    assert_eq!(
        update(&with(old.clone(), "/action", json!("b"))),
        ["action"]
    );
    let controller = with(old.clone(), "/reportingComponent", json!("d"));
    assert_eq!(update(&controller), ["reportingController"]);
    let deprecated = told(NEW_EVENTS.strategy.validate_create(&event(), &context));
    assert_eq!(
        deprecated,
        [
            "eventTime",
            "firstTimestamp",
            "lastTimestamp",
            "count",
            "source"
        ]
    );
}
