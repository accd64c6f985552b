//! The model: all that happened, as the answers to writes showed it, and what follows from it.

use super::steps::{Kind, Scope};
use serde_json::Value;
use std::collections::BTreeMap;

/// One change, as the answer to it showed it.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) kind: Kind,
    /// Namespace and name.
    pub(super) key: (String, String),
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

/// All that happened.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) log: Vec<Change>,
    /// What was there when it began.
    pub(super) revision_at_start: u64,
}

pub(super) type State = BTreeMap<(String, String), Value>;

impl Model {
    pub(super) fn state(&self, kind: Kind, revision: u64) -> State {
        let mut state = State::new();
        let until = self.log.iter().filter(|change| change.revision <= revision);
        for change in until.filter(|change| change.kind == kind) {
            match &change.after {
                Some(object) => state.insert(change.key.clone(), object.clone()),
                None => state.remove(&change.key),
            };
        }
        state
    }

    pub(super) fn now(&self, kind: Kind) -> State {
        self.state(kind, u64::MAX)
    }

    /// What a list of this scope holds at a revision, in order.
    pub(super) fn list(&self, scope: &Scope, revision: u64) -> Vec<Value> {
        let state = self.state(scope.kind, revision);
        state
            .into_values()
            .filter(|object| scope.covers(object))
            .collect()
    }

    /// What a watch of this scope tells of what came after a revision: type and object.
    pub(super) fn events(&self, scope: &Scope, after: u64) -> Vec<(&'static str, Value)> {
        let later = self.log.iter().filter(|change| change.revision > after);
        later
            .filter(|change| change.kind == scope.kind)
            .filter_map(|change| {
                let covers = |object: &&Value| scope.covers(object);
                let before = change.before.as_ref().filter(covers);
                let after = change.after.as_ref().filter(covers);
                match (before, after) {
                    (None, None) => None,
                    (None, Some(object)) => Some(("ADDED", object.clone())),
                    (Some(_), Some(object)) => Some(("MODIFIED", object.clone())),
                    (Some(last), None) => {
                        let mut last = last.clone();
                        let revision = change.revision.to_string();
                        last["metadata"]["resourceVersion"] = revision.into();
                        Some(("DELETED", last))
                    }
                }
            })
            .collect()
    }
}
