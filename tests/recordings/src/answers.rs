//! Normalised answers, and the file they are kept in.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Width below which a JSON value stays on one line.
const LINE_CHARS_MAX: usize = 120;

/// What a server answered, normalised.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers that are part of the contract.
    pub headers: BTreeMap<String, Vec<String>>,
    /// Body; text as a string.
    pub body: Value,
}

impl Answer {
    /// As one tree.
    pub fn to_json(&self) -> Value {
        let headers = self.headers.iter().map(|(name, values)| {
            let value = match values.as_slice() {
                [value] => Value::from(value.as_str()),
                values => values.into(),
            };
            (name.clone(), value)
        });
        json!({"status": self.status, "headers": headers.collect::<Map<_, _>>(), "body": self.body})
    }

    fn from_json(value: &Value) -> Result<Self> {
        let status = value["status"].as_u64().context("no status")?;
        let headers = value["headers"].as_object().context("no headers")?;
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), crate::scenario::one_or_many(value)));
        Ok(Self {
            status: u16::try_from(status)?,
            headers: headers.collect(),
            body: value["body"].clone(),
        })
    }
}

/// Reads what was recorded of a scenario; None when it never was.
pub fn read(dir: &Path, scenario: &str) -> Result<Option<BTreeMap<String, Answer>>> {
    let path = dir.join("answers").join(format!("{scenario}.json"));
    let Ok(text) = fs::read_to_string(&path) else {
        return Ok(None);
    };
    let document: Value =
        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let answers = document.as_object().context("answers are a map")?;
    let answers = answers.iter().map(|(id, value)| {
        let answer = Answer::from_json(value);
        answer
            .map(|answer| (id.clone(), answer))
            .with_context(|| format!("{}: {id}", path.display()))
    });
    answers.collect::<Result<_>>().map(Some)
}

/// Writes what was recorded of a scenario, in the order of its requests.
pub fn write(dir: &Path, scenario: &str, answers: &[(String, Answer)]) -> Result<()> {
    let mut text = String::from("{");
    for (index, (id, answer)) in answers.iter().enumerate() {
        let tree = answer.to_json();
        text.push_str(if index == 0 { "\n" } else { ",\n" });
        text.push_str(&format!(
            "  {}: {{\n    \"status\": {},\n    \"headers\": ",
            Value::from(id.as_str()),
            answer.status
        ));
        render(&tree["headers"], 4, &mut text);
        text.push_str(",\n    \"body\": ");
        render(&tree["body"], 4, &mut text);
        text.push_str("\n  }");
    }
    text.push_str("\n}\n");
    let path = dir.join("answers").join(format!("{scenario}.json"));
    fs::write(&path, text).with_context(|| path.display().to_string())
}

/// JSON with short values on one line: half the lines of the usual form, and still one change a
/// line.
pub fn render(value: &Value, indent: usize, out: &mut String) {
    let line = value.to_string();
    if line.len() + indent <= LINE_CHARS_MAX {
        out.push_str(&line);
        return;
    }
    let pad = " ".repeat(indent + 2);
    let end = " ".repeat(indent);
    match value {
        Value::Array(values) if !values.is_empty() => {
            for (index, value) in values.iter().enumerate() {
                out.push_str(if index == 0 { "[\n" } else { ",\n" });
                out.push_str(&pad);
                render(value, indent + 2, out);
            }
            out.push_str(&format!("\n{end}]"));
        }
        Value::Object(members) if !members.is_empty() => {
            for (index, (key, value)) in members.iter().enumerate() {
                out.push_str(if index == 0 { "{\n" } else { ",\n" });
                out.push_str(&format!("{pad}{}: ", Value::from(key.as_str())));
                render(value, indent + 2, out);
            }
            out.push_str(&format!("\n{end}}}"));
        }
        _ => out.push_str(&line),
    }
}
