//! What kube-apiserver's OpenAPI documents say of the resources that we serve, too: every operation
//! and every definition that it leads to, words aside.
//!
//! Both ways of writing one thing are made one: a parameter stands with its operation, wherever the
//! document has it. Answers without a code of their own (`default`) are left out; kube-apiserver
//! tells of none, though it gives them.

use crate::ADMIN_TOKEN;
use crate::play::Player;
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Request;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Documents of version 3, and the resources in them that are compared.
const PARTS: &[(&str, &[&str])] = &[
    ("version", &["version"]),
    ("api", &["api"]),
    ("apis", &["apis"]),
    ("apis/certificates.k8s.io", &[""]),
    (
        "api/v1",
        &[
            "",
            "configmaps",
            "events",
            "namespaces",
            "nodes",
            "secrets",
            "serviceaccounts",
        ],
    ),
    (
        "apis/authentication.k8s.io/v1",
        &["", "selfsubjectreviews", "tokenreviews"],
    ),
    (
        "apis/authorization.k8s.io/v1",
        &[
            "",
            "localsubjectaccessreviews",
            "selfsubjectaccessreviews",
            "selfsubjectrulesreviews",
            "subjectaccessreviews",
        ],
    ),
    (
        "apis/certificates.k8s.io/v1",
        &[
            "",
            "certificatesigningrequests",
            "clustertrustbundles",
            "podcertificaterequests",
        ],
    ),
    ("apis/coordination.k8s.io/v1", &["", "leases"]),
    ("apis/events.k8s.io/v1", &["", "events"]),
    (
        "apis/rbac.authorization.k8s.io/v1",
        &[
            "",
            "clusterrolebindings",
            "clusterroles",
            "rolebindings",
            "roles",
        ],
    ),
    ("apis/storage.k8s.io/v1", &["", "csinodes"]),
];
/// Subresources that we leave out on purpose: a kubelet is not called through this server, and the
/// status of a CSINode is behind a feature gate.
const NOT_SERVED: [&str; 2] = ["/nodes/{name}/proxy", "/csinodes/{name}/status"];
/// Kinds of every group: which groups there are is each server's own.
const EVERYWHERE: [&str; 2] = ["DeleteOptions", "WatchEvent"];

/// What the documents say, by where they say it.
pub type Facts = BTreeMap<String, Value>;

/// Asks a server for its documents.
pub fn play(player: &mut dyn Player) -> Result<Facts> {
    let mut facts = Facts::new();
    let whole = get(player, "/openapi/v2")?;
    for (part, resources) in PARTS {
        read(&mut facts, "v2", &whole, part, resources);
        let document = get(player, &format!("/openapi/v3/{part}"))?;
        read(&mut facts, "v3", &document, part, resources);
    }
    Ok(facts)
}

/// What was recorded.
pub fn recorded(dir: &Path) -> Result<Facts> {
    let path = path(dir);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

/// Writes it down.
pub fn write(dir: &Path, facts: &Facts) -> Result<()> {
    let lines = facts
        .iter()
        .map(|(place, fact)| format!("{}: {fact}", json!(place)));
    let text = format!("{{\n{}\n}}\n", lines.collect::<Vec<_>>().join(",\n"));
    Ok(fs::write(path(dir), text)?)
}

/// Where two servers differ, a line each.
pub fn differences(kubernetes: &Facts, other: &Facts) -> Vec<String> {
    let places: BTreeSet<&String> = kubernetes.keys().chain(other.keys()).collect();
    let differing = places
        .into_iter()
        .filter(|place| kubernetes.get(*place) != other.get(*place));
    let told = |facts: &Facts, place: &str| {
        facts
            .get(place)
            .map_or("nothing".to_owned(), Value::to_string)
    };
    differing
        .map(|place| {
            format!(
                "{place}\n  kubernetes: {}\n  other: {}",
                told(kubernetes, place),
                told(other, place)
            )
        })
        .collect()
}

fn path(dir: &Path) -> PathBuf {
    dir.join("answers").join("openapi.json")
}

fn get(player: &mut dyn Player, path: &str) -> Result<Value> {
    let request = Request::get(path)
        .header("authorization", format!("Bearer {ADMIN_TOKEN}"))
        .header("accept", "application/json")
        .body(Bytes::new())?;
    let response = player.send(request)?;
    ensure!(
        response.status() == 200,
        "GET {path}: {}",
        response.status()
    );
    serde_json::from_slice(response.body()).with_context(|| format!("GET {path}"))
}

/// Adds what a document says of these resources.
fn read(facts: &mut Facts, form: &str, document: &Value, part: &str, resources: &[&str]) {
    let root = format!("/{part}/");
    let mut seen = BTreeSet::new();
    for (path, item) in members(&document["paths"]) {
        let is_kept = path.strip_prefix(&root).is_some_and(|rest| {
            // Documents of groups have no resources.
            path.as_str() == root || resources.contains(&resource(rest))
        });
        if !is_kept || NOT_SERVED.iter().any(|part| path.contains(part)) {
            continue;
        }
        for (method, operation) in members(item).filter(|(name, _)| *name != "parameters") {
            let operation = operation_of(document, item, operation);
            follow(document, &operation, &mut seen);
            facts.insert(format!("{form} {method} {path}"), operation);
        }
    }
    for name in seen {
        let mut definition = without_words(definition(document, &name));
        let is_everywhere = EVERYWHERE
            .iter()
            .any(|kind| name.ends_with(&format!(".{kind}")));
        if is_everywhere && let Some(members) = definition.as_object_mut() {
            members.remove("x-kubernetes-group-version-kind");
        }
        sort(&mut definition["required"]);
        facts.insert(format!("{form} {name}"), definition);
    }
}

/// The resource of what follows group and version in a path.
fn resource(path: &str) -> &str {
    let path = path.strip_prefix("watch/").unwrap_or(path);
    let path = path.strip_prefix("namespaces/{namespace}/").unwrap_or(path);
    path.split('/').next().unwrap_or_default()
}

fn operation_of(document: &Value, item: &Value, operation: &Value) -> Value {
    let mut parameters: Vec<Value> = [&item["parameters"], &operation["parameters"]]
        .into_iter()
        .flat_map(|list| list.as_array().into_iter().flatten())
        .map(|parameter| match parameter["$ref"].as_str() {
            Some(name) => without_words(&document["parameters"][last(name)]),
            None => without_words(parameter),
        })
        .collect();
    parameters.sort_by_key(|parameter| parameter["name"].to_string());
    let mut operation = without_words(operation);
    operation["parameters"] = parameters.into();
    for member in ["consumes", "produces", "tags"] {
        sort(&mut operation[member]);
    }
    if let Some(responses) = operation["responses"].as_object_mut() {
        responses.remove("default");
    }
    operation
}

/// Every definition that a value refers to, and those that they refer to.
fn follow(document: &Value, value: &Value, seen: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                let name = last(name).to_owned();
                if seen.insert(name.clone()) {
                    follow(document, definition(document, &name), seen);
                }
            }
            map.values().for_each(|value| follow(document, value, seen));
        }
        Value::Array(items) => items.iter().for_each(|value| follow(document, value, seen)),
        _ => {}
    }
}

fn definition<'a>(document: &'a Value, name: &str) -> &'a Value {
    let definitions = [&document["definitions"], &document["components"]["schemas"]];
    definitions
        .into_iter()
        .find_map(|all| all.get(name))
        .unwrap_or(&Value::Null)
}

fn last(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or_default()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn sort(value: &mut Value) {
    match value {
        Value::Array(items) => items.sort_by_key(Value::to_string),
        other => *other = json!([]),
    }
}

/// Without documentation: the words are each server's own.
fn without_words(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map
                .iter()
                .filter(|(name, value)| *name != "description" || !value.is_string());
            let kept = kept.map(|(name, value)| (name.clone(), without_words(value)));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(without_words).collect(),
        other => other.clone(),
    }
}
