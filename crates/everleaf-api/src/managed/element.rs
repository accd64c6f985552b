//! One step of a path to a field (`structured-merge-diff`, `fieldpath/element.go`): its order, its
//! text in a stored set, and its text in a message.

use crate::codec::json_write;
use crate::fields::quote;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::cmp::Ordering;

/// A step from a value to one within it.
#[derive(Debug, Clone)]
pub(super) enum Element {
    /// To the member of that name.
    Field(Cow<'static, str>),
    /// To the item of a keyed list whose members have these values; sorted by name.
    Key(Vec<(Cow<'static, str>, Value)>),
    /// To the item of a set.
    Value(Value),
    /// To the item at that place: in no table of ours, but in what others may have written.
    Index(i64),
}

impl Element {
    /// From its text in a set: None for a sort that a later version may know.
    ///
    /// # Errors
    /// A text that breaks its grammar.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, String> {
        let broken = || format!("{text:?} is not an element of a field path");
        let (sort, rest) = text
            .split_at_checked(2)
            .filter(|(sort, _)| sort.ends_with(':'))
            .ok_or_else(broken)?;
        Ok(Some(match sort {
            "f:" => Self::Field(Cow::Owned(rest.to_owned())),
            "v:" => Self::Value(serde_json::from_str(rest).map_err(|_| broken())?),
            "i:" => Self::Index(rest.parse().map_err(|_| broken())?),
            "k:" => {
                let members: Map<String, Value> =
                    serde_json::from_str(rest).map_err(|_| broken())?;
                let members = members.into_iter();
                let mut key: Vec<(Cow<'static, str>, Value)> =
                    members.map(|(name, value)| (name.into(), value)).collect();
                key.sort_by(|a, b| a.0.cmp(&b.0));
                Self::Key(key)
            }
            _ => return Ok(None),
        }))
    }

    /// Its text in a set.
    pub(super) fn write(&self) -> String {
        let mut out = Vec::new();
        match self {
            Self::Field(name) => return format!("f:{name}"),
            Self::Index(at) => return format!("i:{at}"),
            Self::Value(value) => {
                out.extend_from_slice(b"v:");
                json_write::any(&mut out, value);
            }
            Self::Key(members) => {
                out.extend_from_slice(b"k:{");
                for (at, (name, value)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    json_write::string(&mut out, name);
                    out.push(b':');
                    json_write::any(&mut out, value);
                }
                out.push(b'}');
            }
        }
        String::from_utf8(out).expect("invariant: the writer writes UTF-8")
    }

    /// Appends it to a path as messages show it: `.status.conditions[type="Ready"]`.
    pub(super) fn show(&self, path: &mut String) {
        match self {
            Self::Field(name) => {
                path.push('.');
                path.push_str(name);
            }
            Self::Key(members) => {
                let members = members
                    .iter()
                    .map(|(name, value)| format!("{name}={}", shown(value)));
                path.push_str(&format!("[{}]", members.collect::<Vec<_>>().join(",")));
            }
            Self::Value(value) => path.push_str(&format!("[={}]", shown(value))),
            Self::Index(at) => path.push_str(&format!("[{at}]")),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
            Self::Index(_) => 3,
        }
    }
}

impl Ord for Element {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.cmp(b),
            (Self::Value(a), Self::Value(b)) => compare(a, b),
            (Self::Index(a), Self::Index(b)) => a.cmp(b),
            (Self::Key(a), Self::Key(b)) => {
                let members = a.iter().zip(b);
                let differing = members
                    .map(|(a, b)| a.0.cmp(&b.0).then_with(|| compare(&a.1, &b.1)))
                    .find(|order| order.is_ne());
                differing.unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Element {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Element {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Element {}

/// The order of values (`value/value.go`): numbers, strings, booleans, lists, maps, null.
fn compare(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    };
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => x.cmp(&y),
            _ => {
                let float = |number: &serde_json::Number| number.as_f64().unwrap_or_default();
                float(x).total_cmp(&float(y))
            }
        },
        (Value::String(x), Value::String(y)) => x.cmp(y),
        (Value::Bool(x), Value::Bool(y)) => x.cmp(y),
        (Value::Array(x), Value::Array(y)) => {
            let items = x.iter().zip(y).map(|(x, y)| compare(x, y));
            let differing = items.into_iter().find(|order| order.is_ne());
            differing.unwrap_or_else(|| x.len().cmp(&y.len()))
        }
        (Value::Object(x), Value::Object(y)) => {
            let members = x.iter().zip(y);
            let differing = members
                .map(|(x, y)| x.0.cmp(y.0).then_with(|| compare(x.1, y.1)))
                .find(|order| order.is_ne());
            differing.unwrap_or_else(|| x.len().cmp(&y.len()))
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

/// A value in a message.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        other => other.to_string(),
    }
}
