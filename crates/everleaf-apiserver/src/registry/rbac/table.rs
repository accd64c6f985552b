//! `kubectl get` of roles and bindings (`pkg/printers/internalversion/printers.go`).

use crate::{
    read,
    registry::{AGE_COLUMN, NAME_COLUMN, age, text_column},
};
use everleaf_api::{meta, table::Column};
use jiff::Timestamp;
use serde_json::Value;

pub(super) const ROLE_COLUMNS: &[Column] = &[
    NAME_COLUMN,
    Column {
        kind: "date",
        ..text_column("Created At", 0, "When the object was created, in UTC.")
    },
];

pub(super) fn role_cells(object: &Value, _now: Timestamp) -> Vec<Value> {
    let created = match read::text(object, "/metadata/creationTimestamp") {
        "" => "<unknown>",
        created => created,
    };
    vec![meta::name(object).into(), created.into()]
}

pub(super) const BINDING_COLUMNS: &[Column] = &[
    NAME_COLUMN,
    text_column("Role", 0, "The role that is given, as kind/name."),
    AGE_COLUMN,
    text_column("Users", 1, "Users among the subjects."),
    text_column("Groups", 1, "Groups among the subjects."),
    text_column("ServiceAccounts", 1, "Service accounts among the subjects."),
];

pub(super) fn binding_cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let role = format!(
        "{}/{}",
        read::text(object, "/roleRef/kind"),
        read::text(object, "/roleRef/name")
    );
    let subjects = |kind: &str| -> Value {
        read::items(object, "/subjects")
            .iter()
            .filter(|subject| read::text(subject, "/kind") == kind)
            .map(|subject| {
                let name = read::text(subject, "/name");
                match (kind, read::text(subject, "/namespace")) {
                    ("ServiceAccount", namespace) => format!("{namespace}/{name}"),
                    _ => name.to_owned(),
                }
            })
            .collect::<Vec<_>>()
            .join(", ")
            .into()
    };
    vec![
        meta::name(object).into(),
        role.into(),
        age(object, now).into(),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}
