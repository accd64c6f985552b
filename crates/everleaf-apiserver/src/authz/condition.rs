//! When a webhook is asked: expressions over a review (`apiserver/pkg/authorization/cel`).

use super::Attributes;
use everleaf_api::fields::quote;
use everleaf_cel::{ExecutionError, Expression, Gives, Language, Type, Value as Cel, kind, words};
use serde_json::{Map, Value, json};

/// Conditions of one webhook, as upstream.
pub const CONDITIONS_MAX: usize = 64;

/// What a condition sees: the `spec` of a review.
const LANGUAGE: Language = Language {
    variables: &[("request", || REQUEST)],
    list_max: 512,
    has_text_functions: true,
    is_within: |range, address| range.contains(&address),
};
const REQUEST: Type = Type::Object {
    name: "kubernetes.SubjectAccessReviewSpec",
    members: &[
        ("resourceAttributes", || RESOURCE),
        ("nonResourceAttributes", || PATH),
        ("user", || Type::String),
        ("groups", Type::texts),
        ("extra", Type::texts_by_name),
        ("uid", || Type::String),
    ],
};
const RESOURCE: Type = Type::Object {
    name: "kubernetes.ResourceAttributes",
    members: &[
        ("namespace", || Type::String),
        ("verb", || Type::String),
        ("group", || Type::String),
        ("version", || Type::String),
        ("resource", || Type::String),
        ("subresource", || Type::String),
        ("name", || Type::String),
        ("fieldSelector", || {
            selector("kubernetes.FieldSelectorAttributes")
        }),
        ("labelSelector", || {
            selector("kubernetes.LabelSelectorAttributes")
        }),
    ],
};
const PATH: Type = Type::Object {
    name: "kubernetes.NonResourceAttributes",
    members: &[("path", || Type::String), ("verb", || Type::String)],
};
const REQUIREMENT: Type = Type::Object {
    name: "kubernetes.SelectorRequirement",
    members: &[
        ("key", || Type::String),
        ("operator", || Type::String),
        ("values", Type::texts),
    ],
};

const fn selector(name: &'static str) -> Type {
    Type::Object {
        name,
        members: &[
            ("rawSelector", || Type::String),
            ("requirements", || Type::List(Box::new(REQUIREMENT))),
        ],
    }
}

/// A condition over a review: an expression over `request`.
#[derive(Debug, Clone)]
pub struct Condition(Expression);

impl Condition {
    /// Compiles it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(source: &str) -> Result<Self, String> {
        let condition = Self(Expression::compile(source, LANGUAGE, Gives::Bool)?);
        condition.try_out()?;
        Ok(condition)
    }

    /// Tries it on a review of a resource and on one of a path, with all that such have: one that
    /// works on neither is no condition.
    fn try_out(&self) -> Result<(), String> {
        let selector = json!({"rawSelector": "a=b", "requirements": [
            {"key": "a", "operator": "In", "values": ["b"]},
        ]});
        let resource = json!({
            "namespace": "default", "verb": "get", "group": "apps", "version": "v1",
            "resource": "deployments", "subresource": "status", "name": "web",
            "fieldSelector": selector, "labelSelector": selector,
        });
        let of_whom =
            json!({"user": "ann", "uid": "1", "groups": ["staff"], "extra": {"a": ["b"]}});
        let mut unknown = Vec::new();
        let about = [
            ("resourceAttributes", resource),
            (
                "nonResourceAttributes",
                json!({"path": "/healthz", "verb": "get"}),
            ),
        ];
        for (member, attributes) in about {
            let mut spec = of_whom.clone();
            spec[member] = attributes;
            match self.0.evaluate(&json!({"request": spec})) {
                Ok(Cel::Bool(_)) => {}
                Ok(other) => return Err(format!("it gives {}, not true or false", kind(&other))),
                Err(error @ ExecutionError::NoSuchKey(_)) => unknown.push(words(&error)),
                Err(_) => {}
            }
        }
        match &unknown[..] {
            [first, _] => Err(first.clone()),
            _ => Ok(()),
        }
    }

    /// Does it hold in an [`environment`]?
    pub(super) fn holds(&self, environment: &Value) -> Result<bool, String> {
        let source = quote(self.0.source());
        match self.0.evaluate(environment) {
            Ok(Cel::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!("condition {source} gives {}", kind(&other))),
            Err(error) => Err(format!("condition {source}: {}", words(&error))),
        }
    }
}

/// What a condition sees of a request: its review, with all members that such have; those that a
/// review leaves out are empty.
pub(super) fn environment(attributes: &Attributes<'_>, spec: &Value) -> Value {
    let user = attributes.user;
    let mut request = json!({
        "user": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra,
    });
    if attributes.resource.is_empty() {
        request["nonResourceAttributes"] =
            json!({"path": attributes.path, "verb": attributes.verb});
    } else {
        let mut members: Map<String, Value> = [
            ("namespace", attributes.namespace),
            ("verb", attributes.verb),
            ("group", attributes.group),
            ("version", attributes.version),
            ("resource", attributes.resource),
            ("subresource", attributes.subresource),
            ("name", attributes.name),
        ]
        .map(|(name, text)| (name.to_owned(), text.into()))
        .into_iter()
        .collect();
        for name in ["fieldSelector", "labelSelector"] {
            if let Some(selector) = spec["resourceAttributes"].get(name) {
                members.insert(name.to_owned(), selector.clone());
            }
        }
        request["resourceAttributes"] = members.into();
    }
    json!({"request": request})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_with_a_misspelt_member_or_without_a_verdict_is_refused() {
        for (source, fault) in [
            ("request.usr == 'bob'", "undefined field 'usr'"),
            (
                "request.resourceAttributes.gruop != 'x'",
                "undefined field 'gruop'",
            ),
            (
                "has(request.resourceAttributes) && request.verb == 'get'",
                "undefined field 'verb'",
            ),
            ("request.user.startsWith(1)", "no matching overload"),
            ("'text'", "must evaluate to bool but got string"),
            ("request.user", "must evaluate to bool but got string"),
            (
                "request.resourceAttributes.name.nonsense()",
                "undeclared reference",
            ),
        ] {
            let error = Condition::compile(source).unwrap_err();
            assert!(error.contains(fault), "{source}: {error}");
        }
        for source in [
            "request.user == 'bob'",
            "has(request.resourceAttributes) && request.resourceAttributes.namespace == 'a'",
            "request.resourceAttributes.group == 'apps'",
            "request.nonResourceAttributes.path.startsWith('/debug')",
            "'admins' in request.groups",
            "has(request.resourceAttributes.fieldSelector)",
        ] {
            let compiled = Condition::compile(source);
            assert!(compiled.is_ok(), "{source}: {:?}", compiled.err());
        }
    }
}
