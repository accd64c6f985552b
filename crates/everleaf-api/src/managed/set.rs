//! A set of fields (`structured-merge-diff`, `fieldpath/set.go`): a tree of steps, and its text
//! FieldsV1.

use super::element::Element;
use crate::codec::json_write;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// Fields of one object; sorted, and without branches that end in nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FieldSet {
    pub(super) steps: Vec<Step>,
}

/// One step, and what of the set begins with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) element: Element,
    /// The path that ends here is in the set.
    pub(super) is_member: bool,
    pub(super) below: FieldSet,
}

/// What becomes of two sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    Union,
    Intersection,
    Difference,
    /// A path goes with those that begin with it.
    DeepDifference,
}

impl FieldSet {
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The set of these paths of members.
    pub(super) fn of(paths: &[&[&'static str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            set = set.union(&Self::of_path(path));
        }
        set
    }

    fn of_path(path: &[&'static str]) -> Self {
        let Some((first, rest)) = path.split_first() else {
            return Self::default();
        };
        let mut set = Self::default();
        let below = Self::of_path(rest);
        set.push(Element::Field((*first).into()), rest.is_empty(), below);
        set
    }

    /// Adds a step at the end; the caller keeps the order, or restores it with [`Self::sort`].
    pub(super) fn push(&mut self, element: Element, is_member: bool, below: Self) {
        if is_member || !below.is_empty() {
            self.steps.push(Step {
                element,
                is_member,
                below,
            });
        }
    }

    /// Restores the order; of what is repeated the last counts.
    pub(super) fn sort(&mut self) {
        if !self.steps.is_sorted_by(|a, b| a.element < b.element) {
            self.steps.reverse();
            self.steps.sort_by(|a, b| a.element.cmp(&b.element));
            self.steps.dedup_by(|a, b| a.element == b.element);
        }
    }

    pub(super) fn step(&self, element: &Element) -> Option<&Step> {
        let found = self
            .steps
            .binary_search_by(|step| step.element.cmp(element));
        found.ok().map(|at| &self.steps[at])
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        self.zip(other, Rule::Union)
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        self.zip(other, Rule::Intersection)
    }

    /// Without the paths of `other`; those below them stay.
    pub(super) fn difference(&self, other: &Self) -> Self {
        self.zip(other, Rule::Difference)
    }

    /// Without the paths of `other` and all below them.
    pub(super) fn deep_difference(&self, other: &Self) -> Self {
        self.zip(other, Rule::DeepDifference)
    }

    fn zip(&self, other: &Self, rule: Rule) -> Self {
        let (mut a, mut b) = (self.steps.iter().peekable(), other.steps.iter().peekable());
        let mut result = Self::default();
        loop {
            let order = match (a.peek(), b.peek()) {
                (Some(a), Some(b)) => a.element.cmp(&b.element),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return result,
            };
            let left = order.is_le().then(|| a.next()).flatten();
            let right = order.is_ge().then(|| b.next()).flatten();
            match (left, right) {
                (Some(a), Some(b)) => {
                    let is_member = match rule {
                        Rule::Union => a.is_member || b.is_member,
                        Rule::Intersection => a.is_member && b.is_member,
                        Rule::DeepDifference if b.is_member => continue,
                        Rule::Difference | Rule::DeepDifference => a.is_member && !b.is_member,
                    };
                    let below = a.below.zip(&b.below, rule);
                    result.push(a.element.clone(), is_member, below);
                }
                (Some(a), None) if rule != Rule::Intersection => result.steps.push(a.clone()),
                (None, Some(b)) if rule == Rule::Union => result.steps.push(b.clone()),
                _ => {}
            }
        }
    }

    /// Every path as messages show it: at each level first those that end there.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths(&mut String::new(), &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &mut String, paths: &mut Vec<String>) {
        let here = prefix.len();
        for step in self.steps.iter().filter(|step| step.is_member) {
            step.element.show(prefix);
            paths.push(prefix.clone());
            prefix.truncate(here);
        }
        for step in self.steps.iter().filter(|step| !step.below.is_empty()) {
            step.element.show(prefix);
            step.below.collect_paths(prefix, paths);
            prefix.truncate(here);
        }
    }

    /// Its text.
    pub(super) fn write(&self) -> String {
        let mut out = Vec::with_capacity(256);
        self.write_members(&mut out, false);
        String::from_utf8(out).expect("invariant: the writer writes UTF-8")
    }

    fn write_members(&self, out: &mut Vec<u8>, with_itself: bool) {
        out.push(b'{');
        if with_itself {
            out.extend_from_slice(b"\".\":{}");
        }
        for (at, step) in self.steps.iter().enumerate() {
            if at > 0 || with_itself {
                out.push(b',');
            }
            json_write::string(out, &step.element.write());
            out.push(b':');
            step.below
                .write_members(out, step.is_member && !step.below.is_empty());
        }
        out.push(b'}');
    }

    /// From its text.
    ///
    /// # Errors
    /// A text that is no JSON object, or has a member that is no step.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut source = serde_json::Deserializer::from_str(text);
        let read = Read.deserialize(&mut source);
        let (set, _) = read
            .and_then(|read| source.end().map(|()| read))
            .map_err(|error| error.to_string())?;
        Ok(set)
    }
}

/// Reads what is below a step, and whether the step is in the set itself.
struct Read;

impl<'de> DeserializeSeed<'de> for Read {
    type Value = (FieldSet, bool);
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Self::Value, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Read {
    type Value = (FieldSet, bool);

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a set of fields (FieldsV1)")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok((FieldSet::default(), true))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<Self::Value, A::Error> {
        let (mut set, mut is_member) = (FieldSet::default(), false);
        while let Some(key) = source.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == "." {
                is_member = true;
                source.next_value::<IgnoredAny>()?;
                continue;
            }
            match Element::parse(&key).map_err(A::Error::custom)? {
                None => {
                    source.next_value::<IgnoredAny>()?;
                }
                Some(element) => {
                    let (below, is_member) = source.next_value_seed(Read)?;
                    set.push(element, is_member, below);
                }
            }
        }
        set.sort();
        is_member |= set.is_empty();
        Ok((set, is_member))
    }
}
