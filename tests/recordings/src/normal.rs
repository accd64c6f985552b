//! What differs at each play is replaced by what it stands for: uids by their object, versions by
//! their order, times by their form.
//!
//! Names are given per object and not per play, so that one difference does not move all that
//! follows.

use crate::answers::Answer;
use crate::rewrite::Rewriter;
use crate::scenario::Reading;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Response headers that are part of the contract. All others (dates, audit ids, flow-control uids)
/// are dropped.
const HEADERS: &[&str] = &[
    "content-type",
    "warning",
    "retry-after",
    "x-content-type-options",
    "location",
    "cache-control",
    "allow",
    "www-authenticate",
    "vary",
    "etag",
];

/// Annotation of the bookmark that follows the initial events (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Characters of generated suffixes (`apimachinery/pkg/util/rand`), and how many.
const SUFFIX_ALPHABET: &str = "bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;

/// An answer as it came.
#[derive(Debug)]
pub struct Raw<'a> {
    /// Request.
    pub id: &'a str,
    /// How to read it.
    pub reading: &'a Reading,
    /// Status code.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// Body, read by its content type.
    pub body: Value,
}

/// What a scenario's answers say about its objects.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// uid → what stands for it.
    pub(crate) uids: BTreeMap<String, String>,
    /// Generated name → what stands for it.
    pub(crate) names: BTreeMap<String, String>,
    /// Long text that was sent → its name.
    pub(crate) fixtures: BTreeMap<String, String>,
    /// Object (its uid, or its name where there is none) → its versions in order.
    pub(crate) versions: BTreeMap<String, BTreeSet<u64>>,
}

/// Normalises a scenario's answers, in the order in which they came.
///
/// `fixtures` are long texts that were sent, each with a name to stand for it.
pub fn normalise(
    raws: Vec<Raw<'_>>,
    fixtures: BTreeMap<String, String>,
    now: Timestamp,
) -> Vec<(String, Answer)> {
    let mut learned = Learned {
        fixtures,
        ..Learned::default()
    };
    for raw in &raws {
        learned.learn(&raw.body);
    }
    let mut rewriter = Rewriter::new(&learned, now);
    raws.into_iter()
        .map(|raw| {
            let headers = headers(&raw.headers);
            let body = rewriter.body(without_periodic_bookmarks(raw.body), raw.reading);
            let answer = Answer {
                status: raw.status,
                headers,
                body,
            };
            (raw.id.to_owned(), answer)
        })
        .collect()
}

/// A watch without the bookmarks that only tell how far it is.
///
/// kube-apiserver sends them by a ticker that all watches share, so whether one falls into a watch
/// of a second is chance. The one that ends the initial events stays.
fn without_periodic_bookmarks(mut body: Value) -> Value {
    if let Value::Array(events) = &mut body {
        events.retain(|event| {
            event["type"] != "BOOKMARK" || event["object"].to_string().contains(INITIAL_EVENTS_END)
        });
    }
    body
}

fn headers(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut kept: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if HEADERS.contains(&name.as_str()) {
            let mut value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            if name == "etag" {
                value = "<etag>".to_owned();
            }
            kept.entry(name.as_str().to_owned())
                .or_default()
                .push(value);
        }
    }
    kept
}

impl Learned {
    fn learn(&mut self, value: &Value) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| self.learn(value)),
            Value::Object(members) => {
                if let Some(metadata) = members.get("metadata") {
                    self.learn_object(metadata);
                }
                if let (Some(name), Some(uid)) = (
                    members.get("name").and_then(Value::as_str),
                    members.get("uid").and_then(Value::as_str),
                ) {
                    self.learn_uid(name, uid);
                }
                members.values().for_each(|value| self.learn(value));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn learn_object(&mut self, metadata: &Value) {
        let text = |key: &str| metadata[key].as_str().unwrap_or_default();
        let (mut name, uid) = (text("name").to_owned(), text("uid"));
        if name.is_empty() {
            return;
        }
        let base = text("generateName");
        if is_generated(&name, base) {
            let count = self.names.len() + 1;
            let label = || format!("{base}<suffix-{count}>");
            name = self.names.entry(name).or_insert_with(label).clone();
        }
        self.learn_uid(&name, uid);
        if let Some(key) = object_key(metadata)
            && let Ok(version) = text("resourceVersion").parse()
        {
            self.versions.entry(key).or_default().insert(version);
        }
    }

    fn learn_uid(&mut self, name: &str, uid: &str) {
        if !is_uuid(uid) || self.uids.contains_key(uid) {
            return;
        }
        let first = format!("<uid of {name}>");
        let taken = |label: &String| self.uids.values().any(|other| other == label);
        let label = if taken(&first) {
            let next = (2..).map(|count| format!("<uid of {name} #{count}>"));
            next.into_iter().find(|label| !taken(label))
        } else {
            Some(first)
        };
        self.uids.insert(uid.to_owned(), label.unwrap_or_default());
    }
}

/// What tells one object from another: uid, or name. None: a list.
pub(crate) fn object_key(metadata: &Value) -> Option<String> {
    let text = |key: &str| metadata[key].as_str().filter(|text| !text.is_empty());
    let name = text("name")?;
    Some(text("uid").unwrap_or(name).to_owned())
}

fn is_generated(name: &str, base: &str) -> bool {
    // A long base is cut before the suffix is appended.
    let Some(cut) = name.len().checked_sub(SUFFIX_LENGTH) else {
        return false;
    };
    !base.is_empty()
        && name.is_char_boundary(cut)
        && base.starts_with(&name[..cut])
        && name[cut..].chars().all(|c| SUFFIX_ALPHABET.contains(c))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.char_indices().all(|(index, c)| match index {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: &str = "2026-01-02T03:04:05Z";

    fn check(bodies: &[Value]) -> Vec<Value> {
        let reading = Reading::default();
        let raws = bodies.iter().map(|body| Raw {
            id: "x",
            reading: &reading,
            status: 200,
            headers: HeaderMap::new(),
            body: body.clone(),
        });
        let answers = normalise(raws.collect(), BTreeMap::new(), NOW.parse().unwrap());
        answers.into_iter().map(|(_, answer)| answer.body).collect()
    }

    #[test]
    fn versions_keep_their_order_and_uids_their_object() {
        let at = |version: &str| {
            json!({"metadata": {"name": "a", "uid": "0b6f0b6f-0000-4000-8000-000000000001", "resourceVersion": version,
                "creationTimestamp": "2026-01-02T03:04:01Z", "managedFields": [{"manager": "x"}]}})
        };
        let answers = check(&[
            at("17"),
            at("9"),
            at("17"),
            json!({"message": "2026-01-02T03:04:05.123456Z, not 2020-01-01T00:00:00Z"}),
        ]);
        let versions: Vec<&str> = answers[..3]
            .iter()
            .map(|answer| answer["metadata"]["resourceVersion"].as_str().unwrap())
            .collect();
        assert_eq!(versions, ["<version 2>", "<version 1>", "<version 2>"]);
        assert_eq!(answers[0]["metadata"]["uid"], "<uid of a>");
        assert_eq!(answers[0]["metadata"]["creationTimestamp"], "<time>");
        assert_eq!(answers[0]["metadata"]["managedFields"], "<fields>");
        assert_eq!(
            answers[3]["message"],
            "<time.micro>, not 2020-01-01T00:00:00Z"
        );
    }

    #[test]
    fn a_list_is_not_behind_its_items() {
        let list = |version: &str| json!({"metadata": {"resourceVersion": version}, "items": [{"metadata": {"name": "a", "resourceVersion": "7"}}]});
        let answers = check(&[list("7"), list("6")]);
        assert_eq!(answers[0]["metadata"]["resourceVersion"], "<list version>");
        assert_eq!(
            answers[1]["metadata"]["resourceVersion"],
            "<list version behind its items>"
        );
    }

    #[test]
    fn a_bookmark_by_the_clock_is_chance_and_the_end_of_the_initial_events_is_not() {
        let bookmark = |metadata: Value| json!({"type": "BOOKMARK", "object": {"kind": "ConfigMap", "metadata": metadata}});
        let end = || {
            bookmark(json!({"resourceVersion": "7", "annotations": {INITIAL_EVENTS_END: "true"}}))
        };
        let periodic = || bookmark(json!({"resourceVersion": "8"}));
        let added = || json!({"type": "ADDED", "object": {"metadata": {"name": "a", "resourceVersion": "7"}}});
        let answers = check(&[
            json!([added(), end()]),
            json!([added(), end(), periodic(), periodic()]),
            json!([added(), periodic(), end()]),
        ]);
        assert_eq!(answers[0].as_array().unwrap().len(), 2);
        assert_eq!(answers[1], answers[0]);
        assert_eq!(answers[2], answers[0]);
    }

    #[test]
    fn generated_names_and_ages() {
        let object = json!({"metadata": {"name": "csr-bcdfg", "generateName": "csr-"}, "message": "csr-bcdfg exists"});
        let table = json!({"columnDefinitions": [{"name": "Name"}, {"name": "Age"}], "rows": [{"cells": ["csr-bcdfg", "3s"]}]});
        let answers = check(&[object, table]);
        assert_eq!(answers[0]["metadata"]["name"], "csr-<suffix-1>");
        assert_eq!(answers[0]["message"], "csr-<suffix-1> exists");
        assert_eq!(
            answers[1]["rows"][0]["cells"],
            json!(["csr-<suffix-1>", "<age>"])
        );
    }
}
