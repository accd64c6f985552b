//! Server-side apply (`structured-merge-diff`, `merge/update.go`: `Apply`; around it
//! `apimachinery/pkg/util/managedfields/internal`).

use super::entries::{self, Manager, Managers, Operation, Owned};
use super::last_applied;
use super::set::FieldSet;
use super::shape::{Form, Shape};
use super::{Endpoint, Write, check, merge, stripped, walk};
use crate::Status;
use crate::meta;
use crate::schema::Type;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Owns what is there before the first apply to an object that has no managers.
const BEFORE: &str = "before-first-apply";
/// The manager that takes over from its own client-side apply.
pub(super) const KUBECTL: &str = "kubectl";

/// Fields that another manager owns, and would lose.
pub(super) type Conflicts = BTreeMap<Manager, FieldSet>;

/// Why an apply ends.
enum Refusal {
    Conflicts(Conflicts),
    Status(Status),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// What an apply makes of an object.
struct Applied {
    /// As clients see it, without managers; None: nothing changes.
    printed: Option<Value>,
    managers: Managers,
}

/// Lays `config`, an object as its author has it, over `live` (None: there is none yet). The result
/// is canonical and carries its managers.
///
/// # Errors
/// 400 for another type, or managers in the configuration; 409 when another manager owns what would
/// change, and `force` is not set; 500 for a configuration that does not fit the type, as upstream.
pub fn apply(
    endpoint: &Endpoint<'_>,
    live: Option<&Value>,
    config: &Value,
    write: &Write<'_>,
    force: bool,
) -> Result<Value, Status> {
    check_type(endpoint.r#type, config)?;
    let empty = json!({});
    let live = live.unwrap_or(&empty);
    let managers = entries::read(live);
    let managers = managers.ok_or_else(|| Status::bare(500, "failed to decode managed fields"))?;
    let attempt = Attempt {
        endpoint,
        live: printed(endpoint.r#type, live)?,
        config,
        manager: Manager {
            name: write.manager.to_owned(),
            operation: Operation::Apply,
            api_version: String::new(),
            subresource: endpoint.subresource.to_owned(),
        },
        now: write.now,
    };
    let managers = attempt.first(live, managers);
    let mut outcome = attempt.run(managers.clone(), force);
    if let Err(Refusal::Conflicts(conflicts)) = outcome {
        let allowed = match write.manager {
            KUBECTL => last_applied::unchanged(endpoint.r#type, &attempt.live),
            _ => None,
        };
        let left = allowed.as_ref().map(|allowed| without(&conflicts, allowed));
        outcome = match left {
            Some(left) if left.is_empty() => attempt.run(managers, true),
            Some(left) => Err(Refusal::Conflicts(left)),
            None => Err(Refusal::Conflicts(conflicts)),
        };
    }
    let applied = outcome.map_err(|refusal| match refusal {
        Refusal::Status(status) => status,
        Refusal::Conflicts(conflicts) => conflict(conflicts),
    })?;
    let mut object = match applied.printed {
        None if live == &empty => decode(endpoint.r#type, json!({}))?,
        None => live.clone(),
        Some(printed) => decode(endpoint.r#type, printed)?,
    };
    if write.manager == KUBECTL {
        last_applied::renew(&mut object, config);
    }
    entries::write(&mut object, applied.managers);
    Ok(object)
}

/// One apply of one configuration.
struct Attempt<'a> {
    endpoint: &'a Endpoint<'a>,
    live: Value,
    config: &'a Value,
    manager: Manager,
    now: &'a str,
}

impl Attempt<'_> {
    /// The managers before: when there are none, somebody owns what is there already.
    fn first(&self, live: &Value, managers: Managers) -> Managers {
        if !managers.is_empty() {
            return managers;
        }
        let write = Write {
            manager: BEFORE,
            now: self.now,
        };
        super::after_update(self.endpoint, &json!({}), live, managers, &write)
    }

    fn run(&self, managers: Managers, force: bool) -> Result<Applied, Refusal> {
        let r#type = self.endpoint.r#type;
        if self.config["metadata"]["managedFields"].is_array() {
            return Err(Status::bad_request("metadata.managedFields must be nil").into());
        }
        if let Some(faults) = check::faults(r#type.message, self.config) {
            let about = shown_object(self.config);
            let text = format!("failed to create typed patch object ({about}): {faults}");
            return Err(Status::bare(500, text).into());
        }
        let root = Shape::Struct(r#type.message);
        let mut managers = self.endpoint.reconciled(managers);
        let merged = merge::merge(root, &self.live, self.config).unwrap_or_default();
        let fields = walk::fields_of(root, self.config).deep_difference(&self.endpoint.resets());
        let last = managers.get(&self.manager).cloned();
        let owned = Owned {
            api_version: r#type.api_version(),
            time: last.as_ref().and_then(|last| last.time.clone()),
            fields,
        };
        managers.insert(self.manager.clone(), owned);
        let new = match last.filter(|last| !last.fields.is_empty()) {
            None => merged,
            Some(last) => self.prune(merged, &managers, &last)?,
        };
        self.take_over(&new, &mut managers, force)?;
        let is_changed = new != self.live;
        if let Some(owned) = managers.get_mut(&self.manager) {
            owned.fields = stripped(&owned.fields);
            if is_changed {
                owned.time = Some(self.now.to_owned());
            }
        }
        managers.retain(|_, owned| !owned.fields.is_empty());
        Ok(Applied {
            printed: is_changed.then_some(new),
            managers,
        })
    }

    /// Takes out what the manager applied last time and does not any more, unless another manager
    /// owns it.
    fn prune(&self, merged: Value, managers: &Managers, last: &Owned) -> Result<Value, Status> {
        let here = self.endpoint.r#type;
        let Some(then) = self.endpoint.type_of(&last.api_version) else {
            return Ok(merged);
        };
        let merged = convert(merged, here, then)?;
        let root = Shape::Struct(then.message);
        let last_named = walk::with_named(root, &last.fields);
        let mut pruned = merge::remove(root, &merged, &last_named);
        let mut versions: BTreeMap<&str, FieldSet> = BTreeMap::new();
        for owned in managers.values() {
            let fields = versions.entry(&owned.api_version).or_default();
            *fields = fields.union(&owned.fields);
        }
        // The version in hand first.
        let mut versions: Vec<_> = versions.into_iter().collect();
        versions.sort_by_key(|(version, _)| *version != last.api_version);
        for (version, fields) in versions {
            let Some(r#type) = self.endpoint.type_of(version) else {
                continue;
            };
            let (whole, part) = (
                convert(merged.clone(), then, r#type)?,
                convert(pruned, then, r#type)?,
            );
            let root = Shape::Struct(r#type.message);
            let named = |set: &FieldSet| walk::with_named(root, set);
            let kept = named(&walk::fields_of(root, &part)).union(&named(&fields));
            let gone = named(&walk::fields_of(root, &whole)).difference(&kept);
            pruned = convert(merge::remove(root, &whole, &gone), r#type, then)?;
        }
        let named = |value| walk::with_named(root, &walk::fields_of(root, value));
        let gone = named(&merged).difference(&named(&pruned));
        let gone = gone.intersection(&last_named);
        convert(merge::remove(root, &merged, &gone), then, here)
    }

    /// Takes from other managers what this apply changes.
    fn take_over(&self, new: &Value, managers: &mut Managers, force: bool) -> Result<(), Refusal> {
        let mut differences = BTreeMap::new();
        for owned in managers.values() {
            let version = owned.api_version.clone();
            if let Some(r#type) = self.endpoint.type_of(&version)
                && !differences.contains_key(&version)
            {
                let here = self.endpoint.r#type;
                let old = convert(self.live.clone(), here, r#type)?;
                let new = convert(new.clone(), here, r#type)?;
                let root = Shape::Struct(r#type.message);
                let difference = walk::compare(root, &old, &new, Form::Printed);
                differences.insert(version, difference.without(&self.endpoint.resets()));
            }
        }
        let conflicts = super::yield_to(managers, &differences, Some(&self.manager), force);
        conflicts.map_err(Refusal::Conflicts)
    }
}

/// As a client sees it, without managers.
fn printed(r#type: &'static Type, object: &Value) -> Result<Value, Status> {
    let whole = decode_if_new(r#type, object)?;
    let printed = serde_json::from_slice(&r#type.encode_json(whole.as_ref().unwrap_or(object)));
    let mut printed: Value = printed.map_err(|error| Status::internal(error.to_string()))?;
    meta::metadata_mut(&mut printed).remove("managedFields");
    Ok(printed)
}

fn decode_if_new(r#type: &'static Type, object: &Value) -> Result<Option<Value>, Status> {
    match object.get("kind") {
        None => decode(r#type, object.clone()).map(Some),
        Some(_) => Ok(None),
    }
}

fn decode(r#type: &'static Type, tree: Value) -> Result<Value, Status> {
    let about = shown_object(&tree);
    let decoded = r#type.decode_value(tree).map_err(|error| {
        let text = format!("failed to convert new object ({about}) to proper version: {error}");
        Status::bare(500, text)
    })?;
    Ok(decoded.object)
}

/// The same object as another version shows it.
fn convert(tree: Value, from: &'static Type, to: &'static Type) -> Result<Value, Status> {
    if std::ptr::eq(from, to) {
        return Ok(tree);
    }
    let object = decode(from, tree)?;
    let converted = serde_json::from_slice(&to.encode_json(&object));
    converted.map_err(|error| Status::internal(error.to_string()))
}

fn check_type(r#type: &Type, config: &Value) -> Result<(), Status> {
    let text = |member: &str| config[member].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version == r#type.api_version() && kind == r#type.kind {
        return Ok(());
    }
    Err(Status::bad_request(format!(
        "invalid object type: {}",
        shown_type(&api_version, &kind)
    )))
}

/// `group/version, Kind=kind`
fn shown_type(api_version: &str, kind: &str) -> String {
    match api_version.matches('/').count() {
        0 => format!("/{api_version}, Kind={kind}"),
        1 => format!("{api_version}, Kind={kind}"),
        _ => format!("/, Kind={kind}"),
    }
}

fn shown_object(config: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &config["metadata"];
    format!(
        "{}/{}; {}",
        text(&metadata["namespace"]),
        text(&metadata["name"]),
        shown_type(&text(&config["apiVersion"]), &text(&config["kind"]))
    )
}

fn without(conflicts: &Conflicts, allowed: &FieldSet) -> Conflicts {
    let left = conflicts
        .iter()
        .map(|(manager, fields)| (manager.clone(), fields.difference(allowed)));
    left.filter(|(_, fields)| !fields.is_empty()).collect()
}

/// 409 in upstream's words (`conflict.go`).
fn conflict(conflicts: Conflicts) -> Status {
    let mut conflicts: Vec<_> = conflicts.into_iter().collect();
    conflicts.sort_by_cached_key(|(manager, _)| manager.identifier());
    let (mut causes, mut lines) = (Vec::new(), Vec::new());
    for (manager, fields) in &conflicts {
        let manager = manager.shown();
        lines.push(format!("conflicts with {manager}:"));
        for path in fields.paths() {
            lines.push(format!("- {path}"));
            causes.push((path, format!("conflict with {manager}")));
        }
    }
    let message = match causes.as_slice() {
        [(path, conflict)] => format!("Apply failed with 1 conflict: {conflict}: {path}"),
        many => {
            let count = many.len();
            format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
        }
    };
    Status::apply_conflict(message, causes)
}
