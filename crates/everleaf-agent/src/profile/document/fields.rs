//! The members of one object of a document, read by type; what is wrong is told by its whole path.

use crate::config::nearest::nearest;
use serde_json::{Map, Value};

/// Most entries of a list.
const ENTRIES_MAX: usize = 256;

/// An object, and where its problems go.
pub(super) struct Fields<'a> {
    place: &'a str,
    path: String,
    members: &'a Map<String, Value>,
    problems: &'a mut Vec<String>,
}

impl<'a> Fields<'a> {
    /// The object at `path` of the document at `place`.
    pub(super) fn new(
        place: &'a str,
        path: &str,
        members: &'a Map<String, Value>,
        problems: &'a mut Vec<String>,
    ) -> Self {
        Self {
            place,
            path: path.to_owned(),
            members,
            problems,
        }
    }

    fn at(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Something is wrong with a member.
    pub(super) fn problem(&mut self, name: &str, text: &str) {
        let at = self.at(name);
        self.problems.push(format!("{}: {at}: {text}", self.place));
    }

    /// Something is wrong with the object.
    pub(super) fn problem_of_all(&mut self, text: &str) {
        self.problems
            .push(format!("{}: {}: {text}", self.place, self.path));
    }

    /// Refuses every member that is not among `known`.
    pub(super) fn check_names(&mut self, known: &[&str]) {
        let members = self.members;
        for name in members
            .keys()
            .filter(|name| !known.contains(&name.as_str()))
        {
            let hint = match nearest(name, known) {
                Some((near, _)) => format!("there is no such field; did you mean {near}?"),
                None => format!("there is no such field; there are {}", known.join(", ")),
            };
            self.problem(name, &hint);
        }
    }

    fn member(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// Whether there is such a member.
    pub(super) fn has(&self, name: &str) -> bool {
        self.member(name).is_some()
    }

    /// Whether there is no such member, or a list without entries.
    pub(super) fn is_empty(&self, name: &str) -> bool {
        let entries = self.member(name).map(Value::as_array);
        entries.is_none_or(|entries| entries.is_some_and(Vec::is_empty))
    }

    /// A member that has one value only.
    pub(super) fn expect(&mut self, name: &str, value: &str) {
        if self.member(name).and_then(Value::as_str) != Some(value) {
            self.problem(name, &format!("must be {value}"));
        }
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.member(name)? {
            Value::String(text) if text.is_empty() => {
                self.problem(name, "must not be empty");
                None
            }
            Value::String(text) if text.contains(char::is_control) => {
                self.problem(
                    name,
                    "must not hold line breaks or other control characters",
                );
                None
            }
            Value::String(text) => Some(text.clone()),
            _ => {
                self.problem(name, "must be a text; put it in quotes");
                None
            }
        }
    }

    /// The same, which must be there.
    pub(super) fn required_text(&mut self, name: &str) -> Option<String> {
        if !self.has(name) {
            self.problem(name, "is missing");
        }
        self.text(name)
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: &str) -> Option<i64> {
        let number = self.member(name)?.as_i64();
        if number.is_none() {
            self.problem(name, "must be a whole number");
        }
        number
    }

    /// The number of an account, where the member is one.
    pub(super) fn quiet_number(&self, name: &str) -> Option<u32> {
        let number = self.member(name)?.as_u64()?;
        u32::try_from(number).ok()
    }

    /// A list of texts that are not empty; none where there is no such member.
    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        let Some(value) = self.member(name) else {
            return Vec::new();
        };
        let entries = value.as_array().map(|entries| {
            let texts = entries
                .iter()
                .map(|entry| entry.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<String>>>()
        });
        match entries.flatten() {
            Some(texts) if texts.len() > ENTRIES_MAX => {
                self.problem(name, &format!("holds more than {ENTRIES_MAX} entries"));
            }
            Some(texts) if texts.iter().any(String::is_empty) => {
                self.problem(name, "holds an empty text");
            }
            Some(texts) => return texts,
            None => self.problem(name, "must be a list of texts"),
        }
        Vec::new()
    }

    /// Reads an object with these members; `None` where there is none.
    pub(super) fn within<T>(
        &mut self,
        name: &str,
        known: &[&str],
        read: impl FnOnce(&mut Fields<'_>) -> T,
    ) -> Option<T> {
        let members = match self.member(name) {
            Some(Value::Object(members)) => members,
            Some(_) => {
                self.problem(name, "must be an object");
                return None;
            }
            None if self.path.is_empty() => {
                self.problem(name, "is missing");
                return None;
            }
            None => return None,
        };
        let path = self.at(name);
        let mut fields = Fields::new(self.place, &path, members, self.problems);
        fields.check_names(known);
        Some(read(&mut fields))
    }

    /// Reads a list of objects with these members.
    pub(super) fn each<T>(
        &mut self,
        name: &str,
        known: &[&str],
        entries_max: usize,
        mut read: impl FnMut(&mut Fields<'_>) -> Option<T>,
    ) -> Vec<T> {
        let entries = match self.member(name) {
            Some(Value::Array(entries)) if entries.len() <= entries_max => entries,
            Some(Value::Array(_)) => {
                self.problem(name, &format!("holds more than {entries_max} entries"));
                return Vec::new();
            }
            Some(_) => {
                self.problem(name, "must be a list");
                return Vec::new();
            }
            None => return Vec::new(),
        };
        let mut all = Vec::new();
        for (number, entry) in entries.iter().enumerate() {
            let path = format!("{}[{number}]", self.at(name));
            let Value::Object(members) = entry else {
                self.problem(&format!("{name}[{number}]"), "must be an object");
                continue;
            };
            let mut fields = Fields::new(self.place, &path, members, self.problems);
            fields.check_names(known);
            all.extend(read(&mut fields));
        }
        all
    }
}
