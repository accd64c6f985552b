//! The fields of an object, and those in which two differ (`structured-merge-diff`,
//! `typed/tofieldset.go`, `typed/compare.go`).

use super::element::Element;
use super::set::FieldSet;
use super::shape::{Form, Shape};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// In which fields one object differs from another; each is in one set only.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) removed: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) added: FieldSet,
}

/// What happened to one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Removed,
    Modified,
    Added,
}

impl Difference {
    /// What was made of it, without what is removed.
    pub(super) fn written(&self) -> FieldSet {
        if self.modified.is_empty() {
            return self.added.clone();
        }
        self.modified.union(&self.added)
    }

    /// Without these fields and all below them.
    pub(super) fn without(self, fields: &FieldSet) -> Self {
        if fields.is_empty() {
            return self;
        }
        Self {
            removed: self.removed.deep_difference(fields),
            modified: self.modified.deep_difference(fields),
            added: self.added.deep_difference(fields),
        }
    }

    fn attach(&mut self, element: Element, (below, fate): (Self, Option<Fate>)) {
        let is = |wanted| fate == Some(wanted);
        let sets = [
            (&mut self.removed, below.removed, is(Fate::Removed)),
            (&mut self.modified, below.modified, is(Fate::Modified)),
        ];
        for (set, below, is_member) in sets {
            if is_member || !below.is_empty() {
                set.push(element.clone(), is_member, below);
            }
        }
        self.added.push(element, is(Fate::Added), below.added);
    }

    fn sort(&mut self) {
        for set in [&mut self.removed, &mut self.modified, &mut self.added] {
            set.sort();
        }
    }
}

/// How `new` differs from `old`.
pub(super) fn compare(shape: Shape, old: &Value, new: &Value, form: Form) -> Difference {
    visit(shape, Some(old), Some(new), form).0
}

fn visit(
    shape: Shape,
    old: Option<&Value>,
    new: Option<&Value>,
    form: Form,
) -> (Difference, Option<Fate>) {
    let fate = match (old, new) {
        (None, Some(_)) => Some(Fate::Added),
        (Some(_), None) => Some(Fate::Removed),
        (old, new) => (old != new).then_some(Fate::Modified),
    };
    let mut below = Difference::default();
    // Two empty values are told apart as a whole: that is how null differs from {}.
    let is_leaf = matches!(shape, Shape::Leaf) || is_empty(old) && is_empty(new);
    if is_leaf || fate.is_none() {
        return (below, fate);
    }
    match shape {
        Shape::Struct(message) => {
            let (old, new) = (members(old), members(new));
            for field in message.fields {
                let old = old.and_then(|members| form.member(field, members));
                let new = new.and_then(|members| form.member(field, members));
                if old.is_some() || new.is_some() {
                    let element = Element::Field(field.json.into());
                    below.attach(element, visit(Shape::of(&field.kind), old, new, form));
                }
            }
        }
        Shape::Map(item) => {
            let (old, new) = (members(old), members(new));
            let names = old.into_iter().chain(new).flat_map(Map::keys);
            for name in names.collect::<BTreeSet<_>>() {
                let old = old.and_then(|members| members.get(name));
                let new = new.and_then(|members| members.get(name));
                let element = Element::Field(name.clone().into());
                below.attach(element, visit(Shape::of(item), old, new, form));
            }
        }
        Shape::Keyed(..) | Shape::Set => items_of(shape, old, new, form, &mut below),
        Shape::Leaf => {}
    }
    below.sort();
    (below, fate.filter(|fate| *fate != Fate::Modified))
}

/// Items that are repeated are compared as one.
fn items_of(
    shape: Shape,
    old: Option<&Value>,
    new: Option<&Value>,
    form: Form,
    below: &mut Difference,
) {
    let mut items: BTreeMap<Element, [Vec<&Value>; 2]> = BTreeMap::new();
    for (side, list) in [old, new].into_iter().enumerate() {
        for item in list.and_then(Value::as_array).into_iter().flatten() {
            if let Ok(element) = shape.item(item) {
                items.entry(element).or_default()[side].push(item);
            }
        }
    }
    for (element, [old, new]) in items {
        let (first_old, first_new) = (old.first().copied(), new.first().copied());
        let item = |old, new| visit(shape.of_item(), old, new, form);
        let outcome = match (old.len() > 1, new.len() > 1) {
            (false, false) => item(first_old, first_new),
            (true, true) => {
                let fate = (old != new).then_some(Fate::Modified);
                (Difference::default(), fate)
            }
            (true, false) => {
                if first_new.is_some() {
                    below.attach(element.clone(), item(None, first_new));
                }
                (Difference::default(), Some(Fate::Removed))
            }
            (false, true) => {
                if first_old.is_some() {
                    below.attach(element.clone(), item(first_old, None));
                }
                (Difference::default(), Some(Fate::Added))
            }
        };
        below.attach(element, outcome);
    }
}

/// Every field that a printed or applied object has.
pub(super) fn fields_of(shape: Shape, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    match (shape, value) {
        (Shape::Struct(message), Value::Object(members)) => {
            for field in message.fields {
                if let Some(value) = members.get(field.json) {
                    let shape = Shape::of(&field.kind);
                    let is_bare = value.is_null() || members_are_none(value);
                    let is_member = matches!(shape, Shape::Leaf) || is_bare;
                    let element = Element::Field(field.json.into());
                    set.push(element, is_member, fields_of(shape, value));
                }
            }
        }
        (Shape::Map(item), Value::Object(members)) => {
            for (name, value) in members {
                let below = fields_of(Shape::of(item), value);
                set.push(Element::Field(name.clone().into()), true, below);
            }
        }
        (Shape::Keyed(..) | Shape::Set, Value::Array(items)) => {
            let mut known: BTreeMap<Element, Option<&Value>> = BTreeMap::new();
            for item in items {
                if let Ok(element) = shape.item(item) {
                    let entry = known.entry(element);
                    entry.and_modify(|one| *one = None).or_insert(Some(item));
                }
            }
            for (element, item) in known {
                let below = item.map(|item| fields_of(shape.of_item(), item));
                set.push(element, true, below.unwrap_or_default());
            }
        }
        _ => {}
    }
    set.sort();
    set
}

/// The same set with every field that a table names and that only leads to others.
pub(super) fn with_named(shape: Shape, set: &FieldSet) -> FieldSet {
    let mut result = FieldSet::default();
    for step in &set.steps {
        let is_member = step.is_member || shape.names(&step.element);
        let below = with_named(shape.below(&step.element), &step.below);
        result.push(step.element.clone(), is_member, below);
    }
    result
}

/// The same set where fields below what is owned as one count as that one: a manager may have
/// written them when the table said otherwise (`typed/reconcile_schema.go`).
pub(super) fn reconciled(shape: Shape, set: FieldSet) -> FieldSet {
    let mut result = FieldSet::default();
    for step in set.steps {
        let below = shape.below(&step.element);
        if matches!(below, Shape::Leaf) {
            result.push(step.element, true, FieldSet::default());
        } else {
            let inner = reconciled(below, step.below);
            result.push(step.element, step.is_member, inner);
        }
    }
    result
}

fn members(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn members_are_none(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

pub(super) fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(members)) => members.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}
