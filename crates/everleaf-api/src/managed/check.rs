//! Whether an applied configuration fits the tables (`structured-merge-diff`,
//! `typed/validate.go`), in upstream's words.

use super::element::Element;
use super::shape::Shape;
use crate::fields::ERRORS_SHOWN_MAX;
use crate::patch::go_text;
use crate::schema::{Kind, Message};
use serde_json::Value;
use std::collections::BTreeSet;

/// What is wrong with a configuration; None when nothing is.
pub(super) fn faults(message: &'static Message, config: &Value) -> Option<String> {
    let mut check = Check::default();
    check.message(message, config, true);
    match check.faults.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("errors:\n  {}", many.join("\n  "))),
    }
}

#[derive(Default)]
struct Check {
    path: String,
    faults: Vec<String>,
}

impl Check {
    fn fail(&mut self, text: &str) {
        if self.faults.len() < ERRORS_SHOWN_MAX {
            self.faults.push(match self.path.as_str() {
                "" => text.to_owned(),
                path => format!("{path}: {text}"),
            });
        }
    }

    fn step(&mut self, element: &Element, inner: impl FnOnce(&mut Self)) {
        let here = self.path.len();
        element.show(&mut self.path);
        inner(self);
        self.path.truncate(here);
    }

    fn value(&mut self, kind: &'static Kind, value: &Value) {
        match (kind, value) {
            (_, Value::Null) => {}
            (Kind::Message(message), value) => self.message(message, value, false),
            (Kind::Map(item), Value::Object(members)) => {
                for (name, value) in members {
                    let element = Element::Field(name.clone().into());
                    self.step(&element, |check| check.value(item, value));
                }
            }
            (Kind::FieldsV1, Value::Object(_)) => {}
            (Kind::Map(_) | Kind::FieldsV1, value) => {
                self.fail(&format!("expected map, got &{{{}}}", go_text::text(value)));
            }
            (Kind::List(item, _), Value::Array(items)) => self.items(kind, item, items),
            (Kind::ExtraValue, Value::Array(items)) => self.items(kind, &Kind::String, items),
            (Kind::List(..) | Kind::ExtraValue, value) => {
                self.fail(&format!("expected list, got &{{{}}}", go_text::text(value)));
            }
            (kind, value) => self.scalar(kind, value),
        }
    }

    fn message(&mut self, message: &'static Message, value: &Value, is_root: bool) {
        let Value::Object(members) = value else {
            return self.fail(&format!("expected map, got &{{{}}}", go_text::text(value)));
        };
        for (name, value) in members {
            let element = Element::Field(name.clone().into());
            let kind = match message.field(name) {
                Some(field) => &field.kind,
                None if is_root && matches!(name.as_str(), "apiVersion" | "kind") => &Kind::String,
                None => {
                    return self.step(&element, |check| check.fail("field not declared in schema"));
                }
            };
            self.step(&element, |check| check.value(kind, value));
        }
    }

    fn items(&mut self, list: &'static Kind, item: &'static Kind, items: &[Value]) {
        let shape = Shape::of(list);
        let mut seen = BTreeSet::new();
        for (at, value) in items.iter().enumerate() {
            let element = match shape {
                Shape::Leaf => Element::Index(at as i64),
                _ => match shape.item(value) {
                    Ok(element) => element,
                    Err(text) => return self.fail(&format!("element {at}: {text}")),
                },
            };
            self.step(&element, |check| check.value(item, value));
            if !matches!(shape, Shape::Leaf) && seen.contains(&element) {
                let mut shown = String::new();
                element.show(&mut shown);
                self.fail(&format!("duplicate entries for key {shown}"));
            }
            seen.insert(element);
        }
    }

    fn scalar(&mut self, kind: &Kind, value: &Value) {
        let is_scalar = !value.is_array() && !value.is_object();
        let text = || go_text::text(value);
        match kind {
            Kind::Bool if !value.is_boolean() => {
                self.fail(&format!("expected boolean, got &{{{}}}", text()));
            }
            Kind::Int32 | Kind::Int64 if !value.is_number() => {
                let sort = go_text::type_name(value);
                self.fail(&format!("expected numeric (int or float), got {sort}"));
            }
            Kind::Quantity if !is_scalar => {
                self.fail(&format!("expected any scalar, got &{{{}}}", text()));
            }
            Kind::String | Kind::Bytes | Kind::Time | Kind::MicroTime if !value.is_string() => {
                let text = go_text::syntax(value);
                self.fail(&format!(
                    "expected string, got &value.valueUnstructured{{Value:{text}}}"
                ));
            }
            _ => {}
        }
    }
}
