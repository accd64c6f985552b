//! The schema as ownership asks it: what of a value is owned by itself, and what as one?

use super::element::Element;
use crate::schema::{Field, Kind, ListKind, Message};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::LazyLock;

/// How a value is owned.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// As one: a scalar, and what merges as a whole.
    Leaf,
    /// Field by field.
    Struct(&'static Message),
    /// Member by member.
    Map(&'static Kind),
    /// Item by item, known by these members.
    Keyed(&'static Kind, &'static [&'static str]),
    /// Item by item, known by themselves.
    Set,
}

impl Shape {
    pub(super) fn of(kind: &'static Kind) -> Self {
        match kind {
            Kind::Message(message) if message.is_atomic => Self::Leaf,
            Kind::Message(message) => Self::Struct(message),
            Kind::Map(item) => Self::Map(item),
            Kind::List(item, ListKind::Map(keys)) => Self::Keyed(item, keys),
            Kind::List(_, ListKind::Set) => Self::Set,
            _ => Self::Leaf,
        }
    }

    /// The shape one step further; of what no table knows, a leaf.
    pub(super) fn below(self, element: &Element) -> Self {
        match (self, element) {
            (Self::Struct(message), Element::Field(name)) => message
                .field(name)
                .map_or(Self::Leaf, |field| Self::of(&field.kind)),
            (Self::Map(item), Element::Field(_)) => Self::of(item),
            (Self::Keyed(item, _), Element::Key(_)) => Self::of(item),
            _ => Self::Leaf,
        }
    }

    /// True for a field that a table names.
    pub(super) fn names(self, element: &Element) -> bool {
        match (self, element) {
            (Self::Struct(message), Element::Field(name)) => message.field(name).is_some(),
            _ => false,
        }
    }

    /// The step to an item of a list of this shape.
    ///
    /// # Errors
    /// In upstream's words, for an item that cannot be told from others.
    pub(super) fn item(self, item: &Value) -> Result<Element, String> {
        match self {
            Self::Keyed(kind, keys) => {
                let members = match item {
                    Value::Null => {
                        return Err("associative list with keys may not have a null element".into());
                    }
                    Value::Object(members) => members,
                    _ => {
                        return Err(
                            "associative list with keys may not have non-map elements".into()
                        );
                    }
                };
                let value = |key: &str| members.get(key).or_else(|| default_key(kind, key));
                let present = keys
                    .iter()
                    .filter_map(|key| Some(((*key).into(), value(key)?.clone())));
                let mut key: Vec<(Cow<'static, str>, Value)> = present.collect();
                if key.is_empty() {
                    let keys: Vec<_> = keys.iter().map(|key| format!("{key:?}")).collect();
                    return Err(format!(
                        "associative list with keys has an element that omits all key fields \
                         [{}] (and doesn't have default values for any key fields)",
                        keys.join(" ")
                    ));
                }
                key.sort_by(|a, b| a.0.cmp(&b.0));
                Ok(Element::Key(key))
            }
            _ => match item {
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type".into())
                }
                Value::Array(_) => {
                    Err("not supported: associative list with lists as elements".into())
                }
                Value::Null => Err(
                    "associative list without keys has an element that's an explicit null".into(),
                ),
                scalar => Ok(Element::Value(scalar.clone())),
            },
        }
    }

    /// The shape of an item of a list of this shape.
    pub(super) fn of_item(self) -> Self {
        match self {
            Self::Keyed(item, _) => Self::of(item),
            _ => Self::Leaf,
        }
    }
}

/// How a tree spells an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Canonical: without nulls, and under the names of the version that is stored.
    Held,
    /// As a client sees it, and as it applies it.
    Printed,
}

impl Form {
    /// A field's value: None when a server would not print it.
    pub(super) fn member<'v>(
        self,
        field: &Field,
        members: &'v Map<String, Value>,
    ) -> Option<&'v Value> {
        match self {
            Self::Printed => members.get(field.json),
            Self::Held => members.get(field.member).or_else(|| unset(field)),
        }
    }
}

/// What a key is that an item leaves out: zero, where the schema has that as its default.
fn default_key(item: &Kind, key: &str) -> Option<&'static Value> {
    let Kind::Message(message) = item else {
        return None;
    };
    unset(message.field(key)?).filter(|value| !value.is_null() && !value.is_object())
}

/// What stands for a field that is always printed.
fn unset(field: &Field) -> Option<&'static Value> {
    static NULL: Value = Value::Null;
    static FALSE: Value = Value::Bool(false);
    static EMPTY: Value = Value::String(String::new());
    static NOTHING: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
    static ZERO: LazyLock<Value> = LazyLock::new(|| 0.into());
    if !field.presence.is_always_printed() {
        return None;
    }
    Some(match &field.kind {
        _ if field.presence.is_pointer() => &NULL,
        Kind::Message(_) => &NOTHING,
        Kind::String => &EMPTY,
        Kind::Bool => &FALSE,
        Kind::Int32 | Kind::Int64 => &ZERO,
        _ => &NULL,
    })
}
