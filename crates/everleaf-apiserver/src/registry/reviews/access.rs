//! May they? May I? What may I?

use std::collections::BTreeMap;

use everleaf_api::{
    Status,
    fields::{FieldError, quote},
    selector::{FieldSelector, LabelSelector},
};
use serde_json::{Value, json};

use super::Bench;
use crate::{
    authz::{Attributes, rule::Rule},
    read,
    user::User,
};

/// SubjectAccessReview, also the local one: about the user in the question.
pub(super) fn of_subject(object: &Value, bench: &Bench<'_>, errors: &mut Vec<FieldError>) -> Value {
    let user = subject(object);
    if user.name.is_empty() && user.groups.is_empty() {
        errors.push(FieldError::invalid(
            "spec.user",
            &quote(""),
            "at least one of user or group must be specified",
        ));
    }
    decide(object, &user, bench, errors)
}

/// SelfSubjectAccessReview (`kubectl auth can-i`): about whoever asks.
pub(super) fn of_self(object: &Value, bench: &Bench<'_>, errors: &mut Vec<FieldError>) -> Value {
    decide(object, bench.user, bench, errors)
}

/// A local review is about its own namespace, and about resources.
pub(super) fn in_place_rules(object: &Value, bench: &Bench<'_>, errors: &mut Vec<FieldError>) {
    let asked = read::text(object, "/spec/resourceAttributes/namespace");
    if has(object, "resourceAttributes") && asked != bench.namespace {
        errors.push(FieldError::invalid(
            "spec.resourceAttributes.namespace",
            &quote(asked),
            "must match metadata.namespace",
        ));
    }
    if has(object, "nonResourceAttributes") {
        errors.push(FieldError::invalid(
            "spec.nonResourceAttributes",
            &object["spec"]["nonResourceAttributes"].to_string(),
            "disallowed on this kind of request",
        ));
    }
}

fn subject(object: &Value) -> User {
    let extra = object
        .pointer("/spec/extra")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, values)| (key.clone(), read::texts(values, "")))
        .collect::<BTreeMap<_, _>>();
    User {
        name: read::text(object, "/spec/user").to_owned(),
        uid: read::text(object, "/spec/uid").to_owned(),
        groups: read::texts(object, "/spec/groups"),
        extra,
    }
}

/// Present at all: `{}` counts, as a pointer to an empty struct does upstream.
fn has(object: &Value, attributes: &str) -> bool {
    object
        .get("spec")
        .and_then(|spec| spec.get(attributes))
        .is_some_and(Value::is_object)
}

fn decide(object: &Value, user: &User, bench: &Bench<'_>, errors: &mut Vec<FieldError>) -> Value {
    const BOTH: &str =
        "cannot be specified in combination with resourceAttributes and nonResourceAttributes";
    let resource = has(object, "resourceAttributes");
    let path = has(object, "nonResourceAttributes");
    if resource && path {
        let shown = object["spec"]["nonResourceAttributes"].to_string();
        errors.push(FieldError::invalid(
            "spec.nonResourceAttributes",
            &shown,
            BOTH,
        ));
    }
    if !resource && !path {
        errors.push(FieldError::invalid(
            "spec.resourceAttributes",
            "null",
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ));
    }
    if !errors.is_empty() {
        return Value::Null;
    }
    let text = |pointer: &str| read::text(object, pointer);
    let field_selector = field_selector(object);
    let label_selector = label_selector(object);
    let attributes = if resource {
        Attributes {
            verb: text("/spec/resourceAttributes/verb"),
            group: text("/spec/resourceAttributes/group"),
            version: text("/spec/resourceAttributes/version"),
            resource: text("/spec/resourceAttributes/resource"),
            subresource: text("/spec/resourceAttributes/subresource"),
            namespace: text("/spec/resourceAttributes/namespace"),
            name: text("/spec/resourceAttributes/name"),
            field_selector: field_selector.as_ref(),
            label_selector: label_selector.as_ref(),
            ..Attributes::of(user)
        }
    } else {
        Attributes {
            verb: text("/spec/nonResourceAttributes/verb"),
            path: text("/spec/nonResourceAttributes/path"),
            ..Attributes::of(user)
        }
    };
    // Empty means "not about a resource" to the authorizer; a question about no resource is not about a path either.
    if resource && attributes.resource.is_empty() && !user.in_group(crate::user::MASTERS) {
        return json!({"allowed": false});
    }
    let decision = bench.authorizer.authorize(&attributes, bench.objects);
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    status
}

/// The field selector of the question. A requirement that is no equality is left out: fewer terms never allow more.
fn field_selector(object: &Value) -> Option<FieldSelector> {
    let selector = object.pointer("/spec/resourceAttributes/fieldSelector")?;
    match read::text(selector, "/rawSelector") {
        "" => {}
        raw => return FieldSelector::parse(raw).ok(),
    }
    let terms = read::items(selector, "/requirements")
        .iter()
        .filter_map(|requirement| {
            let negated = match read::text(requirement, "/operator") {
                "In" => false,
                "NotIn" => true,
                _ => return None,
            };
            let [value] = read::items(requirement, "/values") else {
                return None;
            };
            let key = read::text(requirement, "/key").to_owned();
            Some((key, negated, value.as_str()?.to_owned()))
        })
        .collect();
    Some(FieldSelector { terms })
}

fn label_selector(object: &Value) -> Option<LabelSelector> {
    let pointer = "/spec/resourceAttributes/labelSelector/rawSelector";
    match read::text(object, pointer) {
        "" => None,
        raw => LabelSelector::parse(raw).ok(),
    }
}

/// SelfSubjectRulesReview (`kubectl auth can-i --list`).
pub(super) fn rules(object: &Value, bench: &Bench<'_>) -> Result<Value, Status> {
    let namespace = read::text(object, "/spec/namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request(
            "no namespace on request: SelfSubjectRulesReview needs spec.namespace",
        ));
    }
    let all = bench
        .authorizer
        .enumerate(bench.user, namespace, bench.objects);
    let (paths, resources): (Vec<&Rule>, Vec<&Rule>) =
        all.rules.iter().partition(|rule| !rule.paths.is_empty());
    let values = |rules: Vec<&Rule>| rules.into_iter().map(Rule::to_value).collect::<Vec<_>>();
    let mut status = json!({
        "resourceRules": values(resources),
        "nonResourceRules": values(paths),
        "incomplete": all.incomplete,
    });
    if !all.errors.is_empty() {
        status["evaluationError"] = all.errors.join(", ").into();
    }
    Ok(status)
}
