//! Which objects of a resource a request means: label and field selectors, checked once.

use super::query::ListOptions;
use crate::objects::Stored;
use crate::registry::Descriptor;
use everleaf_api::selector::{FieldSelector, LabelSelector};
use everleaf_api::{Status, meta};
use serde_json::Value;

/// A selection of one resource.
#[derive(Clone)]
pub(super) struct Selection {
    descriptor: &'static Descriptor,
    labels: LabelSelector,
    fields: FieldSelector,
    /// Members that an object is judged by, if that is known; else all.
    members: Vec<String>,
}

impl Selection {
    /// 400 for a field that cannot be selected by.
    pub(super) fn new(
        descriptor: &'static Descriptor,
        options: &ListOptions,
    ) -> Result<Self, Status> {
        for (field, _, _) in &options.fields.terms {
            let known = match field.as_str() {
                "metadata.name" => true,
                "metadata.namespace" if descriptor.namespaced => true,
                other => descriptor.selectable.contains(&other),
            };
            if !known {
                return Err(Status::bad_request(format!(
                    "field label not supported: {field}"
                )));
            }
        }
        let fields = options
            .fields
            .terms
            .iter()
            .map(|(field, _, _)| field.clone());
        let labels = (!options.labels.is_empty()).then(|| "metadata.labels".to_owned());
        let mut members: Vec<String> = fields.chain(labels).collect();
        if !descriptor.selects_paths {
            members.clear();
        }
        Ok(Self {
            descriptor,
            members,
            labels: options.labels.clone(),
            fields: options.fields.clone(),
        })
    }

    /// True when everything is meant.
    pub(super) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.terms.is_empty()
    }

    /// True when a stored object is meant. Looks into it only when a selector asks for more than
    /// where it is.
    pub(super) fn covers(&self, stored: &Stored) -> bool {
        let place = |field: &str| match field {
            "metadata.name" => Some(&*stored.name),
            "metadata.namespace" => Some(&*stored.namespace),
            _ => None,
        };
        let mut fields = self.fields.terms.iter();
        if !self.labels.is_empty() || !fields.all(|(field, _, _)| place(field).is_some()) {
            let members: Vec<&str> = self.members.iter().map(String::as_str).collect();
            return self.matches(&stored.members(&members));
        }
        let mut fields = self.fields.terms.iter();
        fields.all(|(field, negated, wanted)| (place(field) == Some(wanted.as_str())) != *negated)
    }

    /// True when `object` is meant.
    fn matches(&self, object: &Value) -> bool {
        self.labels.matches(object)
            && self.fields.terms.iter().all(|(field, negated, wanted)| {
                let equal = match field.as_str() {
                    "metadata.name" => meta::name(object) == wanted,
                    "metadata.namespace" => meta::namespace(object) == wanted,
                    other => (self.descriptor.field)(object, other) == *wanted,
                };
                equal != *negated
            })
    }

    /// The one name that is meant, if so.
    pub(super) fn name(&self) -> Option<&str> {
        self.fields.required("metadata.name")
    }
}
