//! Judges a history.
//!
//! Three rules: what clients saw of an object is what one object would have shown that does one
//! operation at a time (linearizability, which holds for all objects if it holds for each: Herlihy
//! and Wing 1990, theorem 1; searched by [`WGLChecker`]); what was acknowledged is seen by
//! whoever reads later, as the revision that was acknowledged or a later one; and watchers are told
//! each change once, in the order of the revisions, and all the same.

use crate::history::{Answer, Event, History, Operation, Present, Request, Revision, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History as Actions};
use todc_utils::specifications::Specification;

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// No order of the operations on this object explains all answers.
    NotLinearizable {
        /// The object.
        key: u32,
        /// How many operations there were.
        operations: usize,
    },
    /// A read saw less than had been acknowledged before it was sent.
    Stale {
        /// The object.
        key: u32,
        /// What was acknowledged.
        acknowledged: Revision,
        /// What the read saw.
        seen: Option<Present>,
    },
    /// A write was acknowledged, and no watcher was ever told of it.
    Unheard {
        /// The object.
        key: u32,
        /// What was acknowledged.
        revision: Revision,
    },
    /// A watcher was told the same or an older revision again.
    Repeated {
        /// Which watcher.
        watcher: usize,
        /// What it was told.
        event: Event,
    },
    /// A watcher was not told what another was.
    Lost {
        /// Which watcher.
        watcher: usize,
        /// What it was not told.
        event: Event,
    },
    /// Of one revision, watchers were told different things, or a client another one.
    Unlike {
        /// One of them.
        one: Event,
        /// The other.
        other: Event,
    },
    /// A value that nobody asked to write, or whose write was refused.
    Invented {
        /// What was told.
        event: Event,
    },
}

impl Violation {
    /// The object that it is about.
    pub fn key(&self) -> u32 {
        match self {
            Self::NotLinearizable { key, .. }
            | Self::Stale { key, .. }
            | Self::Unheard { key, .. } => *key,
            Self::Repeated { event, .. }
            | Self::Lost { event, .. }
            | Self::Invented { event }
            | Self::Unlike { one: event, .. } => event.key,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLinearizable { key, operations } => write!(
                f,
                "object {key}: no order of its {operations} operations explains all answers"
            ),
            Self::Stale {
                key,
                acknowledged,
                seen,
            } => write!(
                f,
                "object {key}: revision {acknowledged} was acknowledged, and a later read saw {seen:?}"
            ),
            Self::Unheard { key, revision } => write!(
                f,
                "object {key}: revision {revision} was acknowledged, and no watcher was told of it"
            ),
            Self::Repeated { watcher, event } => {
                write!(f, "watcher {watcher} was told again, or late: {event:?}")
            }
            Self::Lost { watcher, event } => write!(f, "watcher {watcher} was not told: {event:?}"),
            Self::Unlike { one, other } => {
                write!(f, "told differently: {one:?} and {other:?}")
            }
            Self::Invented { event } => write!(f, "nobody has written: {event:?}"),
        }
    }
}

/// All that a history violates.
pub fn violations(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let told = told(history, &mut found);
    for (watcher, stretches) in history.watchers.iter().enumerate() {
        in_order_and_whole(watcher, stretches, &told, &mut found);
    }
    written_and_told(history, &told, &mut found);
    let mut keys: BTreeMap<u32, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        keys.entry(operation.key).or_default().push(operation);
    }
    for (key, operations) in keys {
        stale(key, &operations, &told, &mut found);
        if !is_linearizable(&operations) {
            let operations = operations.len();
            found.push(Violation::NotLinearizable { key, operations });
        }
    }
    found
}

type Told = BTreeMap<Revision, Event>;

/// All that any watcher was told.
fn told(history: &History, found: &mut Vec<Violation>) -> Told {
    let mut told = Told::new();
    let stretches = history.watchers.iter().flatten();
    for event in stretches.flat_map(|stretch| &stretch.events) {
        let known = told.entry(event.revision).or_insert(*event);
        if known != event {
            let (one, other) = (*known, *event);
            found.push(Violation::Unlike { one, other });
        }
    }
    told
}

fn in_order_and_whole(
    watcher: usize,
    stretches: &[crate::history::Stretch],
    told: &Told,
    found: &mut Vec<Violation>,
) {
    for stretch in stretches {
        let mut last = stretch.from;
        for event in &stretch.events {
            if event.revision <= last {
                let event = *event;
                found.push(Violation::Repeated { watcher, event });
            }
            last = last.max(event.revision);
        }
        let heard: BTreeSet<Revision> = stretch.events.iter().map(|one| one.revision).collect();
        let all = told.range(stretch.from + 1..=stretch.to.max(stretch.from + 1));
        let lost =
            all.filter(|(revision, _)| **revision <= stretch.to && !heard.contains(revision));
        found.extend(lost.map(|(_, event)| Violation::Lost {
            watcher,
            event: *event,
        }));
    }
}

/// Watchers are told what was acknowledged, and nothing that was not asked for.
fn written_and_told(history: &History, told: &Told, found: &mut Vec<Violation>) {
    let mut possible: BTreeSet<Value> = BTreeSet::new();
    for operation in &history.operations {
        let (Request::Create(value) | Request::Replace(_, value)) = operation.request else {
            continue;
        };
        if operation.is_acknowledged() || operation.answer == Answer::Unknown {
            possible.insert(value);
        }
        let Answer::Wrote(revision) = operation.answer else {
            continue;
        };
        let key = operation.key;
        let written = Event {
            key,
            revision,
            value: Some(value),
        };
        match told.get(&revision) {
            Some(event) if *event == written => {}
            Some(event) => found.push(Violation::Unlike {
                one: written,
                other: *event,
            }),
            None => found.push(Violation::Unheard { key, revision }),
        }
    }
    let is_invented = |event: &&Event| event.value.is_some_and(|value| !possible.contains(&value));
    let invented = told.values().filter(is_invented);
    found.extend(invented.map(|event| Violation::Invented { event: *event }));
}

/// Reads see what was acknowledged before they were sent, or what came after it.
fn stale(key: u32, operations: &[&Operation], told: &Told, found: &mut Vec<Violation>) {
    let mut acknowledged: Vec<(u64, Revision)> = operations
        .iter()
        .filter_map(|one| match one.answer {
            Answer::Wrote(revision) => Some((one.answered, revision)),
            _ => None,
        })
        .collect();
    acknowledged.sort_unstable();
    for read in operations {
        let Answer::Seen(seen) = read.answer else {
            continue;
        };
        let before = acknowledged.iter().filter(|(at, _)| *at < read.called);
        let Some(newest) = before.map(|(_, revision)| *revision).max() else {
            continue;
        };
        let is_fine = match seen {
            Some(present) => present.revision >= newest,
            None => told
                .range(newest + 1..)
                .any(|(_, event)| event.key == key && event.value.is_none()),
        };
        if !is_fine {
            found.push(Violation::Stale {
                key,
                acknowledged: newest,
                seen,
            });
        }
    }
}

/// One object, which is there with a value or is not.
struct Object;

impl Specification for Object {
    type State = Option<Value>;
    type Operation = (Request, Answer);

    fn init() -> Self::State {
        None
    }

    /// What was not answered is always right: it was done where that could be, or it was not.
    fn apply((request, answer): &Self::Operation, state: &Self::State) -> (bool, Self::State) {
        let is_expected = |expected: &Option<Present>| {
            state.is_some() && expected.is_none_or(|one| Some(one.value) == *state)
        };
        let (may_be_done, done) = match request {
            Request::Create(value) => (state.is_none(), Some(*value)),
            Request::Replace(expected, value) => (is_expected(expected), Some(*value)),
            Request::Delete(expected) => (is_expected(expected), None),
            Request::Read => (false, *state),
        };
        // Without a condition the server may find that others are always quicker.
        let has_condition = !matches!(request, Request::Replace(None, _) | Request::Delete(None));
        let is_right = match answer {
            Answer::Wrote(_) | Answer::Deleted => may_be_done,
            Answer::Exists => state.is_some(),
            Answer::Conflict => state.is_some() && !(has_condition && may_be_done),
            Answer::Absent => state.is_none(),
            Answer::Seen(seen) => seen.map(|one| one.value) == *state,
            Answer::Unknown => true,
        };
        let is_done = match answer {
            Answer::Wrote(_) | Answer::Deleted => is_right,
            Answer::Unknown => may_be_done,
            _ => false,
        };
        (is_right, if is_done { done } else { *state })
    }
}

/// What was not answered ends after all else: until then it may be done at any time.
fn is_linearizable(operations: &[&Operation]) -> bool {
    const NEVER: u64 = u64::MAX;
    let mut points = Vec::new();
    for (process, operation) in operations.iter().enumerate() {
        if operation.request == Request::Read && operation.answer == Answer::Unknown {
            continue;
        }
        let end = match operation.answer {
            Answer::Unknown => NEVER,
            _ => operation.answered,
        };
        // Of what happened in the same nanosecond, calls come first: it overlaps.
        points.push((operation.called, 0, process));
        points.push((end, 1, process));
    }
    points.sort_unstable();
    if points.is_empty() {
        return true;
    }
    let actions = points.into_iter().map(|(_, end, process)| {
        let what = (operations[process].request, operations[process].answer);
        let action = match end {
            0 => Action::Call(what),
            _ => Action::Response(what),
        };
        (process, action)
    });
    WGLChecker::<Object>::is_linearizable(Actions::from_actions(actions.collect()))
}

#[cfg(test)]
mod tests;
