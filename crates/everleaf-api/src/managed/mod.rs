//! Which manager owns which field: `metadata.managedFields`, kept by every write, and server-side
//! apply.
//!
//! A *manager* is a name with the operation by which it writes (Apply or Update), the version and
//! the endpoint; it owns a set of fields. Whoever changes a field by an update takes it from all
//! others. Whoever applies says all that it wants: what it no longer says goes, what another
//! manager owns is a conflict. Which values are owned as one is in the tables
//! ([`schema`](crate::schema)).
//!
//! Follows `sigs.k8s.io/structured-merge-diff` and `apimachinery/pkg/util/managedfields`; files
//! name their counterparts.

mod apply;
mod check;
mod element;
mod entries;
mod last_applied;
mod merge;
mod set;
mod shape;
mod walk;

#[cfg(test)]
mod tests;

pub use apply::apply;

use crate::meta;
use crate::schema::Type;
use entries::{Manager, Managers, Operation, Owned};
use serde_json::{Value, json};
use set::FieldSet;
use shape::{Form, Shape};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use walk::Difference;

/// The name of a manager that gives none.
const UNKNOWN: &str = "unknown";

/// Where a write goes.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<'a> {
    /// The type as the client sees it.
    pub r#type: &'static Type,
    /// Every version of it that is served, this one included: managers may have written others.
    pub versions: &'a [&'static Type],
    /// `""` for the object itself, `status`, `approval`.
    pub subresource: &'a str,
    /// Paths of members that this endpoint leaves as they are, whatever is written
    /// (`GetResetFields`).
    pub resets: &'static [&'static [&'static str]],
}

/// Who writes, and when.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// `fieldManager`, or what the client calls itself.
    pub manager: &'a str,
    /// RFC 3339 in whole seconds.
    pub now: &'a str,
}

/// What no manager owns: it is the object's identity, or the server's.
static STRIPPED: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::of(&[
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

fn stripped(fields: &FieldSet) -> FieldSet {
    fields.difference(&STRIPPED)
}

impl Endpoint<'_> {
    fn type_of(&self, api_version: &str) -> Option<&'static Type> {
        let mut all = [self.r#type]
            .into_iter()
            .chain(self.versions.iter().copied());
        all.find(|r#type| {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            r#type.group == group && r#type.version == version
        })
    }

    fn resets(&self) -> FieldSet {
        FieldSet::of(self.resets)
    }

    /// The managers with sets as the tables have them; without those of versions that are gone.
    fn reconciled(&self, managers: Managers) -> Managers {
        let known = managers.into_iter().filter_map(|(manager, owned)| {
            let root = Shape::Struct(self.type_of(&owned.api_version)?.message);
            let fields = walk::reconciled(root, owned.fields);
            Some((manager, Owned { fields, ..owned }))
        });
        known.collect()
    }
}

/// Notes in `new`, which a create (`old` is None), update or patch is to store in place of `old`,
/// who owns its fields: the writer what it changes, others what they owned before and it left
/// alone. Both objects are canonical. `new` may come with managers of its own: those of the object
/// it was made from, or, where the whole object is written, those that its author wants.
pub fn update(endpoint: &Endpoint<'_>, old: Option<&Value>, new: &mut Value, write: &Write<'_>) {
    let empty = json!({});
    let live = old.unwrap_or(&empty);
    let managers = if !endpoint.subresource.is_empty() {
        entries::read(live).unwrap_or_default()
    } else if entries::is_reset(new) {
        Managers::new()
    } else {
        let given = entries::read(new).filter(|managers| !managers.is_empty());
        given.unwrap_or_else(|| entries::read(live).unwrap_or_default())
    };
    // An object without managers is one whose managers nobody wants to be kept.
    let managers = if managers.is_empty() && old.is_some() {
        managers
    } else {
        after_update(endpoint, live, new, managers, write)
    };
    entries::write(new, managers);
}

fn after_update(
    endpoint: &Endpoint<'_>,
    old: &Value,
    new: &Value,
    managers: Managers,
    write: &Write<'_>,
) -> Managers {
    let mut managers = endpoint.reconciled(managers);
    let here = endpoint.r#type.api_version();
    let resets = endpoint.resets();
    let difference = |r#type: &'static Type| {
        let root = Shape::Struct(r#type.message);
        walk::compare(root, old, new, Form::Held).without(&resets)
    };
    let mut differences = BTreeMap::from([(here.clone(), difference(endpoint.r#type))]);
    for owned in managers.values() {
        if let Some(r#type) = endpoint.type_of(&owned.api_version)
            && !differences.contains_key(&owned.api_version)
        {
            differences.insert(owned.api_version.clone(), difference(r#type));
        }
    }
    yield_to(&mut managers, &differences, None, true).unwrap_or_default();
    let written = stripped(&differences[&here].written());
    if !written.is_empty() {
        let name = if write.manager.is_empty() {
            UNKNOWN
        } else {
            write.manager
        };
        let manager = Manager {
            name: name.to_owned(),
            operation: Operation::Update,
            api_version: here.clone(),
            subresource: endpoint.subresource.to_owned(),
        };
        let fields = match managers.remove(&manager) {
            Some(before) => written.union(&before.fields),
            None => written,
        };
        let owned = Owned {
            api_version: here,
            time: Some(write.now.to_owned()),
            fields,
        };
        managers.insert(manager, owned);
    }
    entries::cap(&mut managers);
    managers
}

/// Takes from managers, but for the one that writes, what is changed and what is removed.
///
/// # Errors
/// What is changed, by manager, unless they are forced.
fn yield_to(
    managers: &mut Managers,
    differences: &BTreeMap<String, Difference>,
    writer: Option<&Manager>,
    force: bool,
) -> Result<(), apply::Conflicts> {
    let mut conflicts = apply::Conflicts::new();
    let mut left = Managers::new();
    for (manager, owned) in managers.iter() {
        if writer == Some(manager) {
            left.insert(manager.clone(), owned.clone());
            continue;
        }
        let Some(difference) = differences.get(&owned.api_version) else {
            continue;
        };
        let lost = owned.fields.intersection(&difference.written());
        let fields = owned
            .fields
            .difference(&lost)
            .difference(&difference.removed);
        if !lost.is_empty() {
            conflicts.insert(manager.clone(), lost);
        }
        let owned = Owned {
            fields,
            ..owned.clone()
        };
        left.insert(manager.clone(), owned);
    }
    if !force && !conflicts.is_empty() {
        return Err(conflicts);
    }
    left.retain(|_, owned| !owned.fields.is_empty());
    *managers = left;
    Ok(())
}

/// Gives `new` the times of `old`'s managers when nothing else differs: such a write changes
/// nothing (`apiserver/pkg/endpoints/handlers/fieldmanager/equality.go`).
pub fn keep_times(new: &mut Value, old: &Value) {
    let (mine, others) = (
        &new["metadata"]["managedFields"],
        &old["metadata"]["managedFields"],
    );
    let (Some(mine), Some(others)) = (mine.as_array(), others.as_array()) else {
        return;
    };
    let is_same = mine.len() == others.len()
        && mine
            .iter()
            .zip(others)
            .all(|(a, b)| same_but_for(a, b, &["time"]));
    if is_same
        && same_but_for(new, old, &["metadata"])
        && same_but_for(
            &new["metadata"],
            &old["metadata"],
            &["managedFields", "resourceVersion"],
        )
    {
        meta::metadata_mut(new).insert(
            "managedFields".to_owned(),
            old["metadata"]["managedFields"].clone(),
        );
    }
}

fn same_but_for(a: &Value, b: &Value, members: &[&str]) -> bool {
    let counts = |(name, _): &(&String, &Value)| !members.contains(&name.as_str());
    let a = a.as_object().into_iter().flatten().filter(counts);
    let b = b.as_object().into_iter().flatten().filter(counts);
    a.eq(b)
}
