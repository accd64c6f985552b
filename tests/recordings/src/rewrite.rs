//! The second half of normalising: one walk over a body that puts the learned names in.

use crate::normal::{Learned, object_key};
use crate::scenario::Reading;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// A time this near to the play is the server's; any other was sent by the request.
const NEAR_SECONDS: i64 = 36 * 3600;
/// Longer texts are cut: they echo what was sent.
const TEXT_CHARS_MAX: usize = 2000;
const TEXT_CHARS_KEPT: usize = 200;
/// Table columns that hold ages.
const AGE_COLUMNS: &[&str] = &["Age", "Last Seen", "First Seen"];

/// Walks bodies.
pub(crate) struct Rewriter<'a> {
    learned: &'a Learned,
    now: Timestamp,
    /// Age columns of the table being read; later events of a watch do not repeat them.
    age_columns: Vec<usize>,
}

impl<'a> Rewriter<'a> {
    pub(crate) fn new(learned: &'a Learned, now: Timestamp) -> Self {
        Self {
            learned,
            now,
            age_columns: Vec::new(),
        }
    }

    /// Normalises one body.
    pub(crate) fn body(&mut self, body: Value, reading: &Reading) -> Value {
        let mut body = self.value(body, reading);
        if reading.sorted.iter().any(|key| key == "events") {
            sort(&mut body);
        }
        body
    }

    fn value(&mut self, value: Value, reading: &Reading) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(values) => {
                let values = values.into_iter().map(|value| self.value(value, reading));
                Value::Array(values.collect())
            }
            Value::Object(members) => self.object(members, reading),
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }

    fn object(&mut self, mut members: Map<String, Value>, reading: &Reading) -> Value {
        if let Some(columns) = members.get("columnDefinitions").and_then(Value::as_array) {
            let is_age = |column: &Value| AGE_COLUMNS.iter().any(|age| column["name"] == *age);
            let columns = columns.iter().enumerate();
            self.age_columns = columns
                .filter(|(_, column)| is_age(column))
                .map(|(index, _)| index)
                .collect();
        }
        self.versions(&mut members);
        let mut out = Map::new();
        for (key, value) in members {
            let value = match key.as_str() {
                _ if reading.mask.contains(&key) => "<masked>".into(),
                "managedFields" if !reading.fields => "<fields>".into(),
                "managedFields" => by_manager(self.value(value, reading)),
                "continue" if value.as_str().is_some_and(|text| !text.is_empty()) => {
                    "<continue>".into()
                }
                "cells" => self.cells(value, reading),
                _ => self.value(value, reading),
            };
            out.insert(key, value);
        }
        shorten_message(&mut out);
        for (key, names) in &reading.keep {
            if let Some(Value::Array(values)) = out.get_mut(key) {
                values.retain(|value| {
                    name_of(value).is_some_and(|name| names.iter().any(|kept| kept == name))
                });
            }
        }
        for key in &reading.sorted {
            if let Some(values) = out.get_mut(key) {
                sort(values);
            }
        }
        Value::Object(out)
    }

    fn versions(&self, members: &mut Map<String, Value>) {
        let newest = newest_item(members);
        let Some(metadata) = members.get_mut("metadata") else {
            return;
        };
        let key = object_key(metadata);
        let Some(version) = metadata.get_mut("resourceVersion") else {
            return;
        };
        let Some(number) = version.as_str().and_then(|text| text.parse::<u64>().ok()) else {
            return;
        };
        let text = match key.and_then(|key| self.learned.versions.get(&key)) {
            Some(versions) => {
                let rank = versions.iter().position(|other| *other == number);
                format!("<version {}>", rank.unwrap_or_default() + 1)
            }
            None if number < newest => "<list version behind its items>".to_owned(),
            None if number == 0 => "<version zero>".to_owned(),
            None => "<list version>".to_owned(),
        };
        *version = text.into();
    }

    fn cells(&mut self, cells: Value, reading: &Reading) -> Value {
        let Value::Array(cells) = cells else {
            return cells;
        };
        let ages = self.age_columns.clone();
        let cells = cells.into_iter().enumerate().map(|(index, cell)| {
            let is_duration = cell.as_str().is_some_and(is_duration);
            if is_duration && ages.contains(&index) {
                "<age>".into()
            } else {
                self.value(cell, reading)
            }
        });
        Value::Array(cells.collect())
    }

    fn text(&self, text: &str) -> String {
        let mut text = self.times(text);
        for (fixture, name) in &self.learned.fixtures {
            if text.contains(fixture.as_str()) {
                text = text.replace(fixture.as_str(), name);
            }
        }
        for (uid, label) in &self.learned.uids {
            if text.contains(uid.as_str()) {
                text = text.replace(uid.as_str(), label);
            }
        }
        for (name, label) in &self.learned.names {
            if text.contains(name.as_str()) {
                text = text.replace(name.as_str(), label);
            }
        }
        if text.contains("resource version:") || text.contains("ResourceVersion in record") {
            text = digits(&text);
        }
        text = without_objects(&text);
        if text.chars().count() > TEXT_CHARS_MAX {
            let kept: String = text.chars().take(TEXT_CHARS_KEPT).collect();
            text = format!("{kept}… {} characters", text.chars().count());
        }
        text
    }

    /// Replaces RFC 3339 times near the play.
    fn times(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("T") {
            let Some(start) = at.checked_sub("2026-01-02".len()) else {
                out.push_str(&rest[..=at]);
                rest = &rest[at + 1..];
                continue;
            };
            let length = rest[at..]
                .find(|c: char| !matches!(c, 'T' | ':' | '.' | 'Z' | '0'..='9'))
                .unwrap_or(rest.len() - at);
            let end = at + length;
            let candidate = rest.get(start..end);
            let time = candidate.and_then(|text| text.parse::<Timestamp>().ok());
            match time {
                Some(time) if (time.as_second() - self.now.as_second()).abs() < NEAR_SECONDS => {
                    out.push_str(&rest[..start]);
                    out.push_str(if rest[at..end].contains('.') {
                        "<time.micro>"
                    } else {
                        "<time>"
                    });
                }
                _ => out.push_str(&rest[..end]),
            }
            rest = &rest[end..];
        }
        out.push_str(rest);
        out
    }
}

/// The message of an Invalid repeats its causes; what is exactly that is left out.
fn shorten_message(members: &mut Map<String, Value>) {
    let texts = |cause: &Value| {
        Some(format!(
            "{}: {}",
            cause["field"].as_str()?,
            cause["message"].as_str()?
        ))
    };
    let causes = members.get("details").map(|details| &details["causes"]);
    let Some(causes) = causes.and_then(Value::as_array) else {
        return;
    };
    let mut lines: Vec<String> = Vec::new();
    for line in causes.iter().filter_map(texts) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let all = match lines.as_slice() {
        [] => return,
        [line] => line.clone(),
        lines => format!("[{}]", lines.join(", ")),
    };
    if let Some(Value::String(message)) = members.get_mut("message")
        && let Some(start) = message.len().checked_sub(all.len())
        && let Some(tail) = message.get(start..)
        // Their order in the message is the causes' own, before those were sorted.
        && lines.iter().all(|line| tail.contains(line.as_str()))
    {
        *message = format!("{}<causes>", &message[..start]);
    }
}

/// The largest version among the members of a list or the rows of a table; 0 when it is none.
fn newest_item(members: &Map<String, Value>) -> u64 {
    let items = members.get("items").or_else(|| members.get("rows"));
    let items = items
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let versions = items.iter().filter_map(|item| {
        let object = item.get("object").unwrap_or(item);
        object["metadata"]["resourceVersion"].as_str()?.parse().ok()
    });
    versions.max().unwrap_or(0)
}

/// What an element of an array is called, if anything.
pub(crate) fn name_of(value: &Value) -> Option<&str> {
    let of = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    of("/metadata/name")
        .or_else(|| of("/object/metadata/name"))
        .or_else(|| of("/name"))
        .or_else(|| of("/resource"))
        .or_else(|| of("/subresource"))
        .or_else(|| of("/version"))
}

fn sort(values: &mut Value) {
    if let Value::Array(values) = values {
        let key = |value: &Value| (name_of(value).map(str::to_owned), value.to_string());
        values.sort_by_cached_key(key);
    }
}

/// Entries in the order of their managers: their times, which depend on the pace of the play, order
/// them otherwise.
fn by_manager(mut entries: Value) -> Value {
    const NAMES: [&str; 4] = ["operation", "manager", "apiVersion", "subresource"];
    let key = |entry: &Value| NAMES.map(|name| entry[name].as_str().map(str::to_owned));
    if let Value::Array(entries) = &mut entries {
        entries.sort_by_cached_key(key);
    }
    entries
}

/// Numbers in a message about versions.
fn digits(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !out.ends_with('#') {
            out.push('#');
        }
    }
    out
}

/// Field errors of a patch repeat the whole object as quoted JSON.
fn without_objects(text: &str) -> String {
    const START: &str = "\"{\\\"";
    let Some(start) = text.find(START) else {
        return text.to_owned();
    };
    match text[start..].find("}\"") {
        Some(length) => {
            let end = start + length + "}\"".len();
            format!("{}\"<object>\"{}", &text[..start], &text[end..])
        }
        None => text.to_owned(),
    }
}

fn is_duration(text: &str) -> bool {
    let mut digit = false;
    !text.is_empty()
        && text.chars().all(|c| {
            let fits = c.is_ascii_digit() || (digit && matches!(c, 's' | 'm' | 'h' | 'd' | 'y'));
            digit = c.is_ascii_digit();
            fits
        })
}
