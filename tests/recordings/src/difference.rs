//! Where two answers differ.

use crate::answers::Answer;
use crate::rewrite::name_of;
use anyhow::{Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// One place at which two answers differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Scenario.
    pub scenario: String,
    /// Request.
    pub request: String,
    /// Path within the answer: `status`, `headers.warning`, `body.items[name].spec`.
    pub at: String,
    /// What kube-apiserver has there; None: nothing.
    pub theirs: Option<Value>,
    /// What we have there; None: nothing.
    pub ours: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Value>| match value {
            Some(value) => value.to_string(),
            None => "nothing".to_owned(),
        };
        write!(
            f,
            "{} {}: {}\n    kubernetes: {}\n    everleaf:   {}",
            self.scenario,
            self.request,
            self.at,
            show(&self.theirs),
            show(&self.ours)
        )
    }
}

/// Nothing, or an error that shows the first of them.
pub fn none(differences: &[Difference], what: &str, shown_max: usize) -> Result<()> {
    let shown = differences.iter().take(shown_max);
    let shown: Vec<String> = shown.map(ToString::to_string).collect();
    ensure!(
        differences.is_empty(),
        "{} {what}:\n{}",
        differences.len(),
        shown.join("\n")
    );
    Ok(())
}

/// Everything in which `ours` differs from `theirs`.
pub fn compare(scenario: &str, request: &str, theirs: &Answer, ours: &Answer) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut put = |at: String, theirs: Option<&Value>, ours: Option<&Value>| {
        found.push(Difference {
            scenario: scenario.to_owned(),
            request: request.to_owned(),
            at,
            theirs: theirs.cloned(),
            ours: ours.cloned(),
        });
    };
    let (theirs, ours) = (theirs.to_json(), ours.to_json());
    if theirs["status"] != ours["status"] || kind(&theirs["body"]) != kind(&ours["body"]) {
        // Another outcome: what follows from it is not a difference of its own.
        put(
            "outcome".to_owned(),
            Some(&outcome(&theirs)),
            Some(&outcome(&ours)),
        );
        return found;
    }
    walk("headers", &theirs["headers"], &ours["headers"], &mut put);
    if let Some((theirs, ours)) = differently_worded(&theirs["body"], &ours["body"]) {
        put("body.message (words)".to_owned(), Some(theirs), Some(ours));
        return found;
    }
    // Two forms of one document cannot be compared; that they are two, the content type has said.
    if theirs["body"].get("protobuf").is_some() == ours["body"].get("protobuf").is_some() {
        walk("body", &theirs["body"], &ours["body"], &mut put);
    }
    found
}

/// Kind of a document in either form.
fn kind(body: &Value) -> &Value {
    &body.get("protobuf").unwrap_or(body)["kind"]
}

/// Code, kind and message.
fn outcome(answer: &Value) -> Value {
    let text = |key: &str| answer["body"][key].as_str().unwrap_or_default();
    let outcome = format!("{} {} {}", answer["status"], text("kind"), text("message"));
    outcome.trim_end().into()
}

/// Messages of two answers that differ in nothing but the words in which they call a request bad.
/// What a strict decoder says is not among them: kubectl reads it.
fn differently_worded<'a>(theirs: &'a Value, ours: &'a Value) -> Option<(&'a Value, &'a Value)> {
    let (a, b) = (&theirs["message"], &ours["message"]);
    let is_strict = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| text.contains("strict decoding error"))
    };
    if theirs["reason"] != "BadRequest" || a == b || is_strict(a) || is_strict(b) {
        return None;
    }
    let mut same = ours.clone();
    same["message"] = a.clone();
    (same == *theirs).then_some((a, b))
}

/// Types of field errors that show the value, and those that do not
/// (`apimachinery/pkg/util/validation/field`).
const WITH_VALUE: &[&str] = &[
    "Invalid value: ",
    "Duplicate value: ",
    "Unsupported value: ",
    "Not found: ",
];
const WITHOUT_VALUE: &[&str] = &[
    "Required value",
    "Forbidden",
    "Too long",
    "Too many",
    "Internal error",
];

/// What of a field error is contract: its type and value. The explanation that follows is for
/// people.
fn head(message: &str) -> Option<&str> {
    if let Some(kind) = WITHOUT_VALUE
        .iter()
        .find(|kind| message.starts_with(**kind))
    {
        return Some(kind);
    }
    let kind = WITH_VALUE.iter().find(|kind| message.starts_with(**kind))?;
    let value = message[kind.len()..].find(": ");
    Some(value.map_or(message, |end| &message[..kind.len() + end]))
}

fn differ_in_words(at: &str, a: &Value, b: &Value) -> bool {
    let head = |value: &Value| value.as_str().and_then(head).map(str::to_owned);
    at.contains(".causes[") && at.ends_with(".message") && head(a).is_some() && head(a) == head(b)
}

type Put<'a> = dyn FnMut(String, Option<&Value>, Option<&Value>) + 'a;

fn walk(at: &str, theirs: &Value, ours: &Value, put: &mut Put<'_>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let at = format!("{at}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => walk(&at, a, b, put),
                    (a, b) => put(at, a, b),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => arrays(at, a, b, put),
        (a, b) if a == b => {}
        (a, b) if differ_in_words(at, a, b) => put(format!("{at} (words)"), Some(a), Some(b)),
        (a, b) => put(at.to_owned(), Some(a), Some(b)),
    }
}

/// Elements that have names are compared name by name, others place by place.
fn arrays(at: &str, a: &[Value], b: &[Value], put: &mut Put<'_>) {
    let names = |values: &[Value]| -> Option<Vec<String>> {
        let names: Option<Vec<String>> = values
            .iter()
            .map(|value| element_name(value).map(str::to_owned))
            .collect();
        let names = names?;
        let distinct: BTreeSet<&String> = names.iter().collect();
        (distinct.len() == names.len()).then_some(names)
    };
    if let (Some(left), Some(right)) = (names(a), names(b)) {
        let all: BTreeSet<&String> = left.iter().chain(&right).collect();
        for name in all {
            let find = |names: &[String], values: &'_ [Value]| {
                let index = names.iter().position(|other| other == name)?;
                values.get(index).cloned()
            };
            let at = format!("{at}[{name}]");
            match (find(&left, a), find(&right, b)) {
                (Some(a), Some(b)) => walk(&at, &a, &b, put),
                (a, b) => put(at, a.as_ref(), b.as_ref()),
            }
        }
        let common = |names: &[String], others: &[String]| -> Vec<String> {
            names
                .iter()
                .filter(|name| others.contains(name))
                .cloned()
                .collect()
        };
        let (left, right) = (common(&left, &right), common(&right, &left));
        if left != right {
            let (left, right) = (left.into(), right.into());
            put(format!("{at}.order"), Some(&left), Some(&right));
        }
        return;
    }
    let is_scalar = |value: &Value| !value.is_object() && !value.is_array();
    if a.iter().chain(b).all(is_scalar) {
        if a != b {
            put(at.to_owned(), Some(&a.into()), Some(&b.into()));
        }
        return;
    }
    for index in 0..a.len().max(b.len()) {
        let at = format!("{at}[{index}]");
        match (a.get(index), b.get(index)) {
            (Some(a), Some(b)) => walk(&at, a, b, put),
            (a, b) => put(at, a, b),
        }
    }
}

fn element_name(value: &Value) -> Option<&str> {
    // Events of a watch and causes of an error are told apart by their place.
    let is_event = value.get("object").is_some() && value.get("cells").is_none();
    if is_event || value.get("field").is_some() {
        return None;
    }
    name_of(value).or_else(|| value["type"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn check(theirs: Value, ours: Value, expected: &[&str]) {
        let answer = |body| Answer {
            status: 200,
            headers: BTreeMap::new(),
            body,
        };
        let found = compare("s", "r", &answer(theirs), &answer(ours));
        let places: Vec<&str> = found
            .iter()
            .map(|difference| difference.at.as_str())
            .collect();
        assert_eq!(places, expected);
    }

    #[test]
    fn places() {
        check(json!({"a": 1}), json!({"a": 1}), &[]);
        check(
            json!({"a": 1}),
            json!({"a": 2, "b": 3}),
            &["body.a", "body.b"],
        );
        check(json!([1, 2]), json!([1]), &["body"]);
        check(
            json!([{"name": "x", "v": 1}, {"name": "y"}]),
            json!([{"name": "y"}, {"name": "x", "v": 2}, {"name": "z"}]),
            &["body[x].v", "body[z]", "body.order"],
        );
    }
}
