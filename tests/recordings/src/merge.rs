//! References to earlier answers and fixtures, and JSON merge (RFC 7386): how a later request is
//! made of them.

use crate::chain;
use anyhow::{Context, Result, bail};
use base64::Engine as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What is this short may stand in an answer by chance.
const CHANCE_BYTES: usize = 32;

/// What `${…}` can mean.
#[derive(Debug)]
pub struct Known<'a> {
    /// Values of the scenario's `let`.
    pub lets: &'a Map<String, Value>,
    /// Bodies of earlier answers, by request.
    pub answers: BTreeMap<String, Value>,
    /// Where `fixtures/` is.
    pub dir: PathBuf,
    /// When the play began, by the server's clock.
    pub start: Timestamp,
    /// What was made of that time → its name.
    pub dated: RefCell<BTreeMap<String, String>>,
}

impl Known<'_> {
    /// Resolves every `${…}` in a tree. A text that is nothing but a reference becomes the value
    /// itself.
    pub fn resolve(&self, value: &Value) -> Result<Value> {
        Ok(match value {
            Value::String(text) => match whole_reference(text) {
                Some(name) => self.look_up(name)?,
                None => Value::String(self.text(text)?),
            },
            Value::Array(values) => Value::Array(
                values
                    .iter()
                    .map(|v| self.resolve(v))
                    .collect::<Result<_>>()?,
            ),
            Value::Object(members) => {
                let resolve = |(key, v): (&String, &Value)| Ok((key.clone(), self.resolve(v)?));
                Value::Object(members.iter().map(resolve).collect::<Result<_>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }

    /// Resolves every `${…}` within a text.
    pub fn text(&self, text: &str) -> Result<String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let (name, tail) = after.split_once('}').context("a `${` without `}`")?;
            match self.look_up(name)? {
                Value::String(found) => out.push_str(&found),
                other => out.push_str(&other.to_string()),
            }
            rest = tail;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn look_up(&self, name: &str) -> Result<Value> {
        if let Some((kind, rest)) = name.split_once(':') {
            return self.made(kind, rest);
        }
        let mut parts = name.split('.');
        let first = parts.next().unwrap_or_default();
        let mut found = match self.lets.get(first) {
            Some(value) => self.resolve(value)?,
            None => {
                let answer = self.answers.get(first);
                let answer = answer.with_context(|| format!("${{{name}}}: no such answer"))?;
                answer.clone()
            }
        };
        for part in parts {
            let member = match part.parse::<usize>() {
                Ok(index) if found.is_array() => found.get(index),
                _ => found.get(part),
            };
            found = member.cloned().unwrap_or_default();
            if found.is_null() {
                bail!("${{{name}}}: the answer has no {part}");
            }
        }
        Ok(found)
    }

    /// `pem:NAME`, `base64:NAME` and `der:NAME` are a fixture; `base64-of:TEXT`,
    /// `repeat:TEXT:COUNT`, `time:SECONDS` (from the beginning of the play) and
    /// `chain:REQUEST:FROM:SECONDS[:NAME]` (see [`chain`]) are made on the spot.
    fn made(&self, kind: &str, rest: &str) -> Result<Value> {
        let read = |name: &str| {
            let path = self.dir.join("fixtures").join(format!("{name}.pem"));
            fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let fixture = || read(rest);
        let encode = |text: &str| encode_bytes(text.as_bytes());
        Ok(Value::String(match kind {
            "pem" => fixture()?,
            "base64" => encode(&fixture()?),
            "base64-of" => encode(rest),
            "chain" => {
                let wish = chain::Wish::parse(rest)?;
                let request = der(&read(wish.request)?);
                let text = chain::make(&wish, &request.context("no PEM block")?, self.start)?;
                let name = format!("${{chain:{rest}}}");
                let mut dated = self.dated.borrow_mut();
                // As a message quotes it, too.
                dated.insert(text.replace('\n', "\\n"), name.clone());
                dated.insert(text.clone(), name);
                text
            }
            "der" => encode_bytes(&der(&fixture()?).context("no PEM block")?),
            "repeat" => {
                let (text, count) = rest.rsplit_once(':').context("repeat:TEXT:COUNT")?;
                text.repeat(count.parse()?)
            }
            "time" => {
                let after = SignedDuration::from_secs(rest.parse()?);
                self.start.checked_add(after)?.to_string()
            }
            other => bail!("${{{other}:…}} means nothing"),
        }))
    }
}

/// What `${base64:NAME}` and `${der:NAME}` become → that name, for every fixture: answers name what
/// they echo.
pub fn fixtures(dir: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir.join("fixtures"))? {
        let path = entry?.path();
        if let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) {
            let bytes = fs::read(&path)?;
            found.insert(encode_bytes(&bytes), format!("${{base64:{name}}}"));
            if let Some(der) =
                der(&String::from_utf8_lossy(&bytes)).filter(|der| der.len() > CHANCE_BYTES)
            {
                found.insert(encode_bytes(&der), format!("${{der:{name}}}"));
            }
        }
    }
    Ok(found)
}

fn encode_bytes(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// What is in the first PEM block without headers.
pub(crate) fn der(text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (_, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let body: String = body.split_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(body).ok()
}

fn whole_reference(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("${")?.strip_suffix('}')?;
    (!inner.contains('}')).then_some(inner)
}

/// RFC 7386: null removes, maps merge, all else replaces.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            members.remove(key);
        } else {
            merge(members.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_become_values() {
        let lets = json!({"where": "/api/v1", "base": {"data": {"a": "${where}"}}});
        let known = Known {
            lets: lets.as_object().unwrap(),
            answers: BTreeMap::from([("made".to_owned(), json!({"items": [{"uid": "u"}]}))]),
            dir: PathBuf::new(),
            start: "2026-01-02T03:04:05Z".parse().unwrap(),
            dated: RefCell::default(),
        };
        let resolve = |text: &str| known.resolve(&json!(text)).unwrap();
        assert_eq!(resolve("${base}"), json!({"data": {"a": "/api/v1"}}));
        assert_eq!(
            resolve("${where}/x?u=${made.items.0.uid}"),
            json!("/api/v1/x?u=u")
        );
        assert_eq!(resolve("${repeat:ab:3}"), json!("ababab"));
        assert_eq!(resolve("${base64-of:a.b}"), json!("YS5i"));
        assert_eq!(resolve("${time:-65}"), json!("2026-01-02T03:03:00Z"));
        assert!(known.resolve(&json!("${made.items.1.uid}")).is_err());
        assert!(known.resolve(&json!("${other}")).is_err());
    }

    #[test]
    fn merge_is_rfc_7386() {
        let mut target = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(&mut target, &json!({"a": {"b": null, "e": 3}, "d": "x"}));
        assert_eq!(target, json!({"a": {"c": 2, "e": 3}, "d": "x"}));
    }
}
