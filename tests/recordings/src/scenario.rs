//! Lists of requests, as they are written by hand.

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Accept headers that have a short name in the lists.
const ACCEPT: &[(&str, &str)] = &[
    ("json", "application/json"),
    ("yaml", "application/yaml"),
    ("protobuf", "application/vnd.kubernetes.protobuf"),
    ("table", "application/json;as=Table;v=v1;g=meta.k8s.io"),
    (
        "partial",
        "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    ),
    (
        "partial-list",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    ),
    (
        "aggregated",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    ),
];

/// Content types that have a short name in the lists.
const CONTENT: &[(&str, &str)] = &[
    ("json", "application/json"),
    ("yaml", "application/yaml"),
    ("protobuf", "application/vnd.kubernetes.protobuf"),
    ("merge", "application/merge-patch+json"),
    ("json-patch", "application/json-patch+json"),
    ("strategic", "application/strategic-merge-patch+json"),
    ("apply", "application/apply-patch+yaml"),
];

/// One file of requests: played in order on one server.
#[derive(Debug)]
pub struct Scenario {
    /// The file's name without its ending.
    pub name: String,
    /// What the server serves besides the usual (`--runtime-config`); "" for nothing.
    pub runtime_config: String,
    /// Values that requests refer to as `${name}`.
    pub lets: Map<String, Value>,
    /// The requests.
    pub asks: Vec<Ask>,
}

/// One request, before references are resolved.
#[derive(Debug)]
pub struct Ask {
    /// Unique within the scenario.
    pub id: String,
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// A subject's name.
    pub subject: String,
    /// Headers besides the subject's.
    pub headers: Vec<(String, String)>,
    /// A JSON tree, or text to be sent as it is.
    pub body: Option<Value>,
    /// Merged into a JSON body.
    pub merge: Option<Value>,
    /// The body travels as protobuf.
    pub protobuf: bool,
    /// What came before must have reached the caches of authentication and authorization.
    pub settle: bool,
    /// How the answer is read.
    pub reading: Reading,
}

/// What is particular about reading one answer.
#[derive(Debug, Default)]
pub struct Reading {
    /// Arrays whose order means nothing here: keys; `events` for a watch.
    pub sorted: Vec<String>,
    /// Members whose values belong to the server that answered.
    pub mask: Vec<String>,
    /// Arrays of which only the elements with these names are compared.
    pub keep: BTreeMap<String, Vec<String>>,
    /// Keep `metadata.managedFields` as they are: the request is about them.
    pub fields: bool,
    /// Only the status code and the headers are compared.
    pub no_body: bool,
}

/// Who asks: headers by subject name.
#[derive(Debug)]
pub struct Subjects(BTreeMap<String, Subject>);

/// One who asks.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Headers that make the server see this subject.
    pub headers: Vec<(String, String)>,
    /// The client certificate it connects with: a file of `clients/`.
    pub certificate: Option<String>,
    /// User name, for access reviews.
    pub user: String,
    /// Groups as the server would see them.
    pub groups: Vec<String>,
}

impl Scenario {
    /// Reads every list in `dir`/requests, in the order of their names.
    pub fn read_all(dir: &Path) -> Result<Vec<Self>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir.join("requests"))? {
            paths.push(entry?.path());
        }
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// Reads one list.
    pub fn read(path: &Path) -> Result<Self> {
        let place = || path.display().to_string();
        let text = fs::read_to_string(path).with_context(place)?;
        let mut document: Value =
            serde_saphyr::from_str(&text).map_err(|error| anyhow!("{}: {error}", place()))?;
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let name = name.context("a list needs a name")?.to_owned();
        let lets = document["let"].as_object().cloned().unwrap_or_default();
        let requests = document["requests"].take();
        let requests = requests
            .as_array()
            .with_context(|| format!("{}: no requests", place()))?;
        let mut asks: Vec<Ask> = Vec::new();
        for request in requests {
            let ask = Ask::read(request).with_context(|| format!("{}: {request}", place()))?;
            if asks.iter().any(|other| other.id == ask.id) {
                bail!("{}: two requests are called {}", place(), ask.id);
            }
            asks.push(ask);
        }
        let runtime_config = document["runtime-config"].as_str().unwrap_or_default();
        Ok(Self {
            name,
            runtime_config: runtime_config.to_owned(),
            lets,
            asks,
        })
    }
}

impl Ask {
    fn read(request: &Value) -> Result<Self> {
        let members = request.as_object().context("a request is a map")?;
        let mut ask = Self {
            id: text(request, "id")?.to_owned(),
            method: String::new(),
            path: String::new(),
            subject: "admin".to_owned(),
            headers: Vec::new(),
            body: None,
            merge: None,
            protobuf: false,
            settle: false,
            reading: Reading::default(),
        };
        for (key, value) in members {
            match key.as_str() {
                "id" | "note" => {}
                "do" => {
                    let line = text(request, key)?;
                    let (method, path) = line.split_once(' ').context("do: METHOD PATH")?;
                    method.clone_into(&mut ask.method);
                    path.trim().clone_into(&mut ask.path);
                }
                "as" => text(request, key)?.clone_into(&mut ask.subject),
                "accept" => ask.header("Accept", long(ACCEPT, text(request, key)?)),
                "type" => ask.header("Content-Type", long(CONTENT, text(request, key)?)),
                "headers" => {
                    for (name, value) in value.as_object().context("headers: a map")? {
                        for value in one_or_many(value) {
                            ask.header(name, &value);
                        }
                    }
                }
                "body" => ask.body = Some(value.clone()),
                "merge" => ask.merge = Some(value.clone()),
                "protobuf" => ask.protobuf = value == &Value::Bool(true),
                "settle" => ask.settle = value == &Value::Bool(true),
                "sorted" => ask.reading.sorted = one_or_many(value),
                "mask" => ask.reading.mask = one_or_many(value),
                "fields" => ask.reading.fields = value == &Value::Bool(true),
                "no-body" => ask.reading.no_body = value == &Value::Bool(true),
                "keep" => {
                    let keep = value.as_object().context("keep: a map")?;
                    ask.reading.keep = keep
                        .iter()
                        .map(|(key, names)| (key.clone(), one_or_many(names)))
                        .collect();
                }
                other => bail!("{other} means nothing in a request"),
            }
        }
        if ask.method.is_empty() {
            bail!("no `do`");
        }
        if ask.protobuf {
            ask.header("Content-Type", long(CONTENT, "protobuf"));
        }
        Ok(ask)
    }

    fn header(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }
}

impl Subjects {
    /// Reads `dir`/subjects.yaml.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("subjects.yaml");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let document: Value = serde_saphyr::from_str(&text)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let subjects = document.as_object().context("subjects.yaml is a map")?;
        let subjects = subjects
            .iter()
            .map(|(name, value)| Subject::read(value).map(|subject| (name.clone(), subject)));
        Ok(Self(subjects.collect::<Result<_>>()?))
    }

    /// The subject called so.
    pub fn find(&self, name: &str) -> Result<&Subject> {
        let found = self.0.get(name);
        found.with_context(|| format!("{name} is not in subjects.yaml"))
    }
}

impl Subject {
    /// `{token}` and `{certificate}` speak for themselves, `{user, groups}` is impersonated by the
    /// administrator, `{headers}` is what it says.
    fn read(value: &Value) -> Result<Self> {
        let user = value["user"].as_str().unwrap_or_default().to_owned();
        let groups = one_or_many(&value["groups"]);
        let mut headers = Vec::new();
        let mut add = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
        if let Some(token) = value["token"].as_str() {
            add("Authorization", &format!("Bearer {token}"));
        } else if !user.is_empty() && value["headers"].is_null() {
            add("Authorization", &format!("Bearer {}", crate::ADMIN_TOKEN));
            add("Impersonate-User", &user);
            for group in &groups {
                if group != "system:authenticated" && group != "system:unauthenticated" {
                    add("Impersonate-Group", group);
                }
            }
        }
        if let Some(more) = value["headers"].as_object() {
            for (name, value) in more {
                for value in one_or_many(value) {
                    add(name, &value);
                }
            }
        }
        Ok(Self {
            headers,
            certificate: value["certificate"].as_str().map(str::to_owned),
            user,
            groups,
        })
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key]
        .as_str()
        .with_context(|| format!("{key}: a text is needed"))
}

fn long<'a>(names: &[(&str, &'a str)], text: &'a str) -> &'a str {
    let found = names.iter().find(|(short, _)| *short == text);
    found.map_or(text, |(_, long)| long)
}

pub(crate) fn one_or_many(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values.iter().flat_map(one_or_many).collect(),
        Value::String(text) => vec![text.clone()],
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => vec![value.to_string()],
    }
}
