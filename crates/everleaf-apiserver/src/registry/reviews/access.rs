//! May they? May I? What may I?

use super::{ReviewInput, faults};
use crate::{
    authz::{Attributes, rule::Rule},
    read,
    user::User,
};
use everleaf_api::{
    Status,
    selector::{FieldSelector, LabelSelector},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// API group of the reviews in this file.
pub(super) const GROUP: &str = "authorization.k8s.io";

/// SubjectAccessReview, also the local one: about the user in the question.
pub(super) fn of_subject(object: &Value, input: &ReviewInput<'_>) -> Value {
    decide(object, &subject(object), input)
}

/// SelfSubjectAccessReview (`kubectl auth can-i`): about whoever asks.
pub(super) fn of_self(object: &Value, input: &ReviewInput<'_>) -> Value {
    decide(object, input.user, input)
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

fn decide(object: &Value, user: &User, input: &ReviewInput<'_>) -> Value {
    let resource = faults::has(object, "resourceAttributes");
    let text = |pointer: &str| read::text(object, pointer);
    let fields = field_selector(object);
    let labels = label_selector(object);
    let attributes = if resource {
        Attributes {
            verb: text("/spec/resourceAttributes/verb"),
            group: text("/spec/resourceAttributes/group"),
            version: text("/spec/resourceAttributes/version"),
            resource: text("/spec/resourceAttributes/resource"),
            subresource: text("/spec/resourceAttributes/subresource"),
            namespace: text("/spec/resourceAttributes/namespace"),
            name: text("/spec/resourceAttributes/name"),
            field_selector: fields.selector.as_ref(),
            label_selector: labels.selector.as_ref(),
            ..Attributes::of(user)
        }
    } else {
        Attributes {
            verb: text("/spec/nonResourceAttributes/verb"),
            path: text("/spec/nonResourceAttributes/path"),
            ..Attributes::of(user)
        }
    };
    // Empty means "not about a resource" to the authorizer; a question about no resource is not
    // about a path either.
    if resource && attributes.resource.is_empty() && !user.in_group(crate::user::MASTERS) {
        return json!({"allowed": false});
    }
    let decision = input.authorizer.authorize(&attributes, input.objects);
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    let faults = [fields.fault("fieldSelector"), labels.fault("labelSelector")];
    let error = Some(decision.error).filter(|error| !error.is_empty());
    let faults: Vec<String> = faults.into_iter().flatten().chain(error).collect();
    if !faults.is_empty() {
        status["evaluationError"] = faults.join("; ").into();
    }
    status
}

/// A selector of the question. A requirement that cannot be used is left out: fewer terms never
/// allow more.
struct Asked<S> {
    selector: Option<S>,
    /// Something was left out.
    partial: bool,
}

impl<S> Asked<S> {
    fn raw(parsed: Result<S, String>) -> Self {
        Self {
            partial: parsed.is_err(),
            selector: parsed.ok(),
        }
    }

    fn fault(&self, name: &str) -> Option<String> {
        let how = match self.selector {
            _ if !self.partial => return None,
            Some(_) => "partially ignored",
            None => "ignored",
        };
        Some(format!(
            "spec.resourceAttributes.{name} {how} due to parse error"
        ))
    }
}

fn field_selector(object: &Value) -> Asked<FieldSelector> {
    let attributes = "/spec/resourceAttributes/fieldSelector";
    let requirements = read::items(object, &format!("{attributes}/requirements"));
    let raw = read::text(object, &format!("{attributes}/rawSelector"));
    if !raw.is_empty() {
        return Asked::raw(FieldSelector::parse(raw));
    }
    let terms: Vec<_> = requirements.iter().filter_map(field_term).collect();
    Asked {
        partial: terms.len() < requirements.len(),
        selector: (!terms.is_empty()).then_some(FieldSelector { terms }),
    }
}

/// A requirement that is an equality, or its opposite.
fn field_term(requirement: &Value) -> Option<(String, bool, String)> {
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
}

fn label_selector(object: &Value) -> Asked<LabelSelector> {
    let attributes = "/spec/resourceAttributes/labelSelector";
    let requirements = read::items(object, &format!("{attributes}/requirements"));
    let raw = read::text(object, &format!("{attributes}/rawSelector"));
    if !raw.is_empty() {
        return Asked::raw(LabelSelector::parse(raw));
    }
    let terms: Vec<_> = requirements.iter().filter_map(label_term).collect();
    let partial = terms.len() < requirements.len();
    let selector = (!terms.is_empty()).then(|| LabelSelector::parse(&terms.join(",")));
    Asked {
        partial,
        selector: selector.and_then(Result::ok),
    }
}

/// A requirement as text; keys and values have been judged.
fn label_term(requirement: &Value) -> Option<String> {
    let key = read::text(requirement, "/key");
    let values = read::texts(requirement, "/values").join(",");
    match read::text(requirement, "/operator") {
        "In" => Some(format!("{key} in ({values})")),
        "NotIn" => Some(format!("{key} notin ({values})")),
        "Exists" => Some(key.to_owned()),
        "DoesNotExist" => Some(format!("!{key}")),
        _ => None,
    }
}

/// SelfSubjectRulesReview (`kubectl auth can-i --list`).
pub(super) fn rules(object: &Value, input: &ReviewInput<'_>) -> Result<Value, Status> {
    let namespace = read::text(object, "/spec/namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request(
            "no namespace on request: SelfSubjectRulesReview needs spec.namespace",
        ));
    }
    let all = input
        .authorizer
        .enumerate(input.user, namespace, input.objects);
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
