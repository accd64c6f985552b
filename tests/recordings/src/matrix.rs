//! The authorization matrix: who may do what, and why; told by SubjectAccessReview.
//!
//! `matrix.yaml` names subjects and actions; a cell is one review. `answers/matrix.json` holds, by
//! subject, what is allowed and by which reason; a cell that is not there was neither allowed nor
//! explained.

use crate::answers::render;
use crate::play::Player;
use crate::scenario::{Subject, Subjects, one_or_many};
use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::Request;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// What is asked of whom.
#[derive(Debug)]
pub struct Matrix {
    subjects: Vec<String>,
    actions: Vec<Action>,
}

/// One column: its name in the file, and its attributes in a review.
#[derive(Debug)]
struct Action {
    name: String,
    attributes: Value,
}

/// Verdict and reason by subject and action.
pub type Cells = BTreeMap<String, BTreeMap<String, String>>;

impl Matrix {
    /// Reads `dir`/matrix.yaml.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("matrix.yaml");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let document: Value = serde_saphyr::from_str(&text)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let mut actions = Vec::new();
        for row in document["actions"].as_array().context("no actions")? {
            actions.extend(expand(row)?);
        }
        Ok(Self {
            subjects: one_or_many(&document["subjects"]),
            actions,
        })
    }

    /// How many cells.
    pub fn len(&self) -> usize {
        self.subjects.len() * self.actions.len()
    }

    /// True without cells.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks the server for every cell.
    pub fn play(&self, subjects: &Subjects, player: &mut dyn Player) -> Result<Cells> {
        let mut cells = Cells::new();
        for name in &self.subjects {
            let subject = subjects.find(name)?;
            let mut row = BTreeMap::new();
            for action in &self.actions {
                let verdict = review(subject, action, player)
                    .with_context(|| format!("{name}: {}", action.name))?;
                row.insert(action.name.clone(), verdict);
            }
            cells.insert(name.clone(), row);
        }
        Ok(cells)
    }
}

/// One row of the file: every verb with every name.
fn expand(row: &Value) -> Result<Vec<Action>> {
    let text = |key: &str| row[key].as_str().unwrap_or_default();
    let mut actions = Vec::new();
    for path in one_or_many(&row["path"]) {
        for verb in one_or_many(&row["verbs"]) {
            actions.push(Action {
                name: format!("{verb} {path}"),
                attributes: json!({"nonResourceAttributes": {"path": path, "verb": verb}}),
            });
        }
    }
    let names = match one_or_many(&row["names"]) {
        names if names.is_empty() => vec![String::new()],
        names => names,
    };
    for resource in one_or_many(&row["resources"]) {
        for verb in one_or_many(&row["verbs"]) {
            for name in &names {
                let (main, sub) = resource.split_once('/').unwrap_or((&resource, ""));
                let mut attributes = json!({"verb": verb, "group": text("group"), "version": "v1",
                    "resource": main, "subresource": sub, "name": name, "namespace": text("namespace")});
                let mut label = format!("{verb} {}{resource}", prefix(text("group")));
                for (word, value) in [(" ", name.as_str()), (" -n ", text("namespace"))] {
                    if !value.is_empty() {
                        label.push_str(word);
                        label.push_str(value);
                    }
                }
                if let Some((key, value)) = text("field").split_once('=') {
                    attributes["fieldSelector"] = json!({"requirements": [{"key": key, "operator": "In", "values": [value]}]});
                    label.push_str(&format!(" --field-selector {key}={value}"));
                }
                actions.push(Action {
                    name: label,
                    attributes: json!({"resourceAttributes": attributes}),
                });
            }
        }
    }
    if actions.is_empty() {
        bail!("a row without actions: {row}");
    }
    Ok(actions)
}

fn prefix(group: &str) -> String {
    if group.is_empty() {
        String::new()
    } else {
        format!("{group}/")
    }
}

fn review(subject: &Subject, action: &Action, player: &mut dyn Player) -> Result<String> {
    let mut spec = action.attributes.clone();
    spec["user"] = subject.user.as_str().into();
    spec["groups"] = subject.groups.clone().into();
    let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec});
    let request = Request::post(REVIEWS)
        .header("Authorization", format!("Bearer {}", crate::ADMIN_TOKEN))
        .header("Content-Type", "application/json")
        .body(Bytes::from(body.to_string()))?;
    let response = player.send(request)?;
    let answer: Value = serde_json::from_slice(response.body())?;
    if response.status() != 201 {
        bail!("{}: {answer}", response.status());
    }
    let status = &answer["status"];
    let verdict = match (&status["allowed"], &status["denied"]) {
        (Value::Bool(true), _) => "allowed",
        (_, Value::Bool(true)) => "denied",
        _ => "no",
    };
    let mut text = verdict.to_owned();
    if status["reason"]
        .as_str()
        .is_some_and(|reason| reason.starts_with("RBAC: allowed by "))
    {
        // Which one of several bindings is named is chance.
        return Ok(format!("{text}: RBAC"));
    }
    for (word, key) in [(": ", "reason"), ("; error: ", "evaluationError")] {
        if let Some(value) = status[key].as_str().filter(|value| !value.is_empty()) {
            text.push_str(word);
            text.push_str(value);
        }
    }
    Ok(text)
}

/// Reads `dir`/answers/matrix.json; None when it was never recorded. Cells that are not in the file
/// are "no".
pub fn read(dir: &Path, matrix: &Matrix) -> Result<Option<Cells>> {
    let Ok(text) = fs::read_to_string(dir.join("answers/matrix.json")) else {
        return Ok(None);
    };
    let document: Value = serde_json::from_str(&text).context("answers/matrix.json")?;
    let mut cells = Cells::new();
    for subject in &matrix.subjects {
        let names = matrix.actions.iter().map(|action| action.name.clone());
        let mut row: BTreeMap<String, String> = names.map(|name| (name, "no".to_owned())).collect();
        let groups = document[subject].as_object();
        for (verdict, names) in groups.into_iter().flatten() {
            for name in one_or_many(names) {
                row.insert(name, verdict.clone());
            }
        }
        cells.insert(subject.clone(), row);
    }
    Ok(Some(cells))
}

/// Writes `dir`/answers/matrix.json, grouped by subject and reason.
pub fn write(dir: &Path, cells: &Cells) -> Result<()> {
    let mut document = Map::new();
    for (subject, row) in cells {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (action, verdict) in row.iter().filter(|(_, verdict)| *verdict != "no") {
            groups.entry(verdict).or_default().push(action);
        }
        document.insert(subject.clone(), json!(groups));
    }
    let mut text = String::new();
    render(&Value::Object(document), 0, &mut text);
    text.push('\n');
    fs::write(dir.join("answers/matrix.json"), text).context("answers/matrix.json")
}
