//! `metadata.managedFields`, read and written (`apimachinery/pkg/util/managedfields/internal`,
//! `managedfields.go`, `capmanagers.go`).

use super::set::FieldSet;
use crate::meta;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Most managers that update an object and are told apart.
const UPDATERS_MAX: usize = 10;
/// Under this name fields are kept whose managers are no longer told apart.
const ANCIENT: &str = "ancient-changes";

/// How a manager writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// Who owns fields: the same name by another operation, version or endpoint is another manager.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Manager {
    pub(super) name: String,
    pub(super) operation: Operation,
    /// Empty for one that applies: it is the same in whatever version.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

/// What a manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) api_version: String,
    /// RFC 3339; None when it never changed anything.
    pub(super) time: Option<String>,
    pub(super) fields: FieldSet,
}

pub(super) type Managers = BTreeMap<Manager, Owned>;

impl Manager {
    /// Upstream's key of it: what is sorted by managers is sorted by this text.
    pub(super) fn identifier(&self) -> String {
        let mut members = vec![format!("\"operation\":\"{}\"", self.operation.name())];
        if !self.name.is_empty() {
            members.insert(
                0,
                format!("\"manager\":{}", Value::from(self.name.as_str())),
            );
        }
        for (member, text) in [
            ("apiVersion", &self.api_version),
            ("subresource", &self.subresource),
        ] {
            if !text.is_empty() {
                members.push(format!("\"{member}\":{}", Value::from(text.as_str())));
            }
        }
        format!("{{{}}}", members.join(","))
    }

    /// As a conflict tells it.
    pub(super) fn shown(&self) -> String {
        let mut text = crate::fields::quote(&self.name);
        if !self.subresource.is_empty() {
            text.push_str(" with subresource ");
            text.push_str(&crate::fields::quote(&self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(" using ");
            text.push_str(&self.api_version);
        }
        text
    }
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// The managers of an object; None when they cannot be read.
pub(super) fn read(object: &Value) -> Option<Managers> {
    let mut managers = Managers::new();
    for entry in object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let text = |member: &str| entry[member].as_str().unwrap_or_default().to_owned();
        let operation = match entry["operation"].as_str()? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        let api_version = text("apiVersion");
        if api_version.is_empty() || entry["fieldsType"] != "FieldsV1" {
            return None;
        }
        let manager = Manager {
            name: text("manager"),
            operation,
            api_version: match operation {
                Operation::Apply => String::new(),
                Operation::Update => api_version.clone(),
            },
            subresource: text("subresource"),
        };
        let owned = Owned {
            api_version,
            time: entry["time"].as_str().map(str::to_owned),
            fields: FieldSet::parse(entry["fieldsV1"].as_str().unwrap_or("{}")).ok()?,
        };
        managers.insert(manager, owned);
    }
    Some(managers)
}

/// True when whoever sends the object wants it to have no managers: one entry that says nothing.
pub(super) fn is_reset(object: &Value) -> bool {
    object["metadata"]["managedFields"] == json!([{}])
}

/// Puts them into an object.
pub(super) fn write(object: &mut Value, managers: Managers) {
    let metadata = meta::metadata_mut(object);
    if managers.is_empty() {
        metadata.remove("managedFields");
        return;
    }
    let mut sorted: Vec<_> = managers.into_iter().collect();
    // Times of one form are in order as texts.
    sorted.sort_by(|(a, x), (b, y)| {
        let rest = |manager: &Manager| (manager.operation, manager.name.clone());
        let first = a
            .operation
            .cmp(&b.operation)
            .then_with(|| x.time.cmp(&y.time));
        first
            .then_with(|| rest(a).cmp(&rest(b)))
            .then_with(|| x.api_version.cmp(&y.api_version))
            .then_with(|| a.subresource.cmp(&b.subresource))
    });
    let entries = sorted.into_iter().map(|(manager, owned)| {
        let mut entry = Map::new();
        for (member, text) in [
            ("manager", manager.name),
            ("apiVersion", owned.api_version),
            ("subresource", manager.subresource),
            ("time", owned.time.unwrap_or_default()),
        ] {
            if !text.is_empty() {
                entry.insert(member.to_owned(), text.into());
            }
        }
        entry.insert("operation".to_owned(), manager.operation.name().into());
        entry.insert("fieldsType".to_owned(), "FieldsV1".into());
        entry.insert("fieldsV1".to_owned(), owned.fields.write().into());
        Value::Object(entry)
    });
    let entries = entries.collect();
    metadata.insert("managedFields".to_owned(), Value::Array(entries));
}

/// Lays together the oldest of too many managers that update, by version.
pub(super) fn cap(managers: &mut Managers) {
    let is_updater = |manager: &&Manager| manager.operation == Operation::Update;
    let mut updaters: Vec<Manager> = managers.keys().filter(is_updater).cloned().collect();
    let mut count = updaters.len();
    if count <= UPDATERS_MAX {
        return;
    }
    let age = |manager: &Manager| (managers[manager].time.clone(), manager.identifier());
    updaters.sort_by_cached_key(age);
    let mut first_of: BTreeMap<String, Manager> = BTreeMap::new();
    for manager in updaters {
        if count <= UPDATERS_MAX {
            return;
        }
        let version = manager.api_version.clone();
        let Some(first) = first_of.get(&version) else {
            first_of.insert(version, manager);
            continue;
        };
        let bucket = Manager {
            name: ANCIENT.to_owned(),
            operation: Operation::Update,
            api_version: version,
            subresource: String::new(),
        };
        let old = match managers.get(&bucket) {
            Some(_) => managers.remove(&bucket),
            None => managers.remove(first),
        };
        let Some(newer) = managers.remove(&manager) else {
            continue;
        };
        let older = old.map(|old| old.fields).unwrap_or_default();
        let fields = newer.fields.union(&older);
        managers.insert(bucket, Owned { fields, ..newer });
        count -= 1;
    }
}
