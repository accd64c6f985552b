//! CSINodes: a kubelet makes one of its node's name at start and does not serve pods before it has.
//! The volume drivers in it come later, if ever.

use super::{AGE_COLUMN, Context, Descriptor, NAME_COLUMN, Strategy, age, names};
use crate::read;
use everleaf_api::fields::{ERRORS_SHOWN_MAX, FieldError, quote};
use everleaf_api::table::Column;
use everleaf_api::{meta, types};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Longest name that a driver may give a node, in bytes (`pkg/apis/storage/validation`).
const NODE_ID_BYTES_MAX: usize = 256;
/// Longest name of a driver, in bytes.
const DRIVER_NAME_BYTES_MAX: usize = 63;

/// CSINodes.
pub static CSI_NODES: Descriptor = Descriptor {
    strategy: &CsiNodeStrategy,
    resets: |_| &[&["status"]],
    columns: COLUMNS,
    cells,
    unconditional_update: false,
    returns_deleted: true,
    ..Descriptor::cluster(&types::CSI_NODE, "csinodes", "csinode")
};

const COLUMNS: &[Column] = &[
    NAME_COLUMN,
    Column {
        name: "Drivers",
        kind: "integer",
        format: "",
        priority: 0,
        doc: "Number of volume drivers of the node.",
    },
    AGE_COLUMN,
];

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        meta::name(object).into(),
        drivers(object).len().into(),
        age(object, now).into(),
    ]
}

fn drivers(object: &Value) -> &[Value] {
    read::items(object, "/spec/drivers")
}

struct CsiNodeStrategy;

/// The status is not for this endpoint, and its own is behind a feature gate upstream, so it stays
/// empty.
impl Strategy for CsiNodeStrategy {
    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        object["status"] = json!({});
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, driver) in drivers(object).iter().enumerate() {
            if errors.len() > ERRORS_SHOWN_MAX {
                break;
            }
            let path = format!("spec.drivers[{index}]");
            validate_driver(driver, &path, &mut errors);
            let name = read::text(driver, "/name");
            if !seen.insert(name) {
                let path = format!("{path}.name");
                errors.push(FieldError::duplicate(&path, &quote(name)));
            }
            validate_topology_keys(driver, &path, &mut errors);
        }
        errors
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _context: &Context<'_>) {
        new["status"] = old["status"].clone();
    }

    fn validate_update(&self, new: &Value, old: &Value, context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = self.validate_create(new, context);
        let name = |driver: &'_ Value| read::text(driver, "/name").to_owned();
        let before: BTreeMap<String, &Value> = drivers(old)
            .iter()
            .map(|driver| (name(driver), driver))
            .collect();
        for driver in drivers(new) {
            if errors.len() > ERRORS_SHOWN_MAX {
                break;
            }
            let was = before.get(&name(driver));
            if was.is_some_and(|was| without_limit(was) != without_limit(driver)) {
                let value = driver.to_string();
                errors.push(FieldError::invalid(
                    "spec.drivers",
                    &value,
                    "field is immutable",
                ));
            }
        }
        errors
    }
}

/// A driver without the number of volumes it allows, which alone may change.
fn without_limit(driver: &Value) -> Value {
    let mut driver = driver.clone();
    if let Some(members) = driver.as_object_mut() {
        members.remove("allocatable");
    }
    driver
}

fn validate_driver(driver: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let name_path = format!("{path}.name");
    match read::text(driver, "/name") {
        "" => errors.push(FieldError::required(&name_path, "")),
        name => {
            if name.len() > DRIVER_NAME_BYTES_MAX {
                errors.push(FieldError::too_long(&name_path, DRIVER_NAME_BYTES_MAX));
            }
            if let Err(text) = names::subdomain(&name.to_lowercase()) {
                errors.push(FieldError::invalid(&name_path, &quote(name), &text));
            }
        }
    }
    let id_path = format!("{path}.nodeID");
    match read::text(driver, "/nodeID") {
        "" => errors.push(FieldError::required(&id_path, "")),
        id if id.len() > NODE_ID_BYTES_MAX => {
            let text = format!("must be {NODE_ID_BYTES_MAX} characters or less");
            errors.push(FieldError::invalid(&id_path, &quote(id), &text));
        }
        _ => {}
    }
    if let Some(count) = driver.pointer("/allocatable/count").and_then(Value::as_i64)
        && count < 0
    {
        let path = format!("{path}.allocatable.count");
        let text = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&path, &count.to_string(), text));
    }
}

fn validate_topology_keys(driver: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for key in read::texts(driver, "/topologyKeys") {
        if errors.len() > ERRORS_SHOWN_MAX {
            break;
        }
        if key.is_empty() {
            errors.push(FieldError::required(path, ""));
        }
        if let Err(text) = names::qualified(&key) {
            errors.push(FieldError::invalid(path, &quote(&key), &text));
        }
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(path, &quote(&key)));
        }
        seen.insert(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::User;

    fn context(user: &User) -> Context<'_> {
        Context {
            user,
            subresource: "",
            now: Timestamp::UNIX_EPOCH,
            request: None,
            gates: &crate::registry::gates::USUAL,
        }
    }

    fn node(drivers: Value) -> Value {
        json!({"metadata": {"name": "n1", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"drivers": drivers}})
    }

    fn errors(drivers: Value) -> Vec<String> {
        let user = User::default();
        let errors = CsiNodeStrategy.validate_create(&node(drivers), &context(&user));
        errors
            .iter()
            .map(|error| format!("{} {}", error.path, error.reason))
            .collect()
    }

    #[test]
    fn drivers_are_checked() {
        assert!(errors(json!(null)).is_empty(), "as kubelets make it");
        let good = json!({"name": "CSI.example.com", "nodeID": "i-1", "topologyKeys": ["example.com/zone"],
            "allocatable": {"count": 0}});
        assert!(errors(json!([good])).is_empty());
        assert_eq!(
            errors(
                json!([good, {"name": "a_b", "nodeID": "", "allocatable": {"count": -1}},
                {"name": "", "nodeID": "x".repeat(257), "topologyKeys": ["", "a", "a"]},
                {"name": "x".repeat(64), "nodeID": "x"}, good])
            ),
            [
                "spec.drivers[1].name FieldValueInvalid",
                "spec.drivers[1].nodeID FieldValueRequired",
                "spec.drivers[1].allocatable.count FieldValueInvalid",
                "spec.drivers[2].name FieldValueRequired",
                "spec.drivers[2].nodeID FieldValueInvalid",
                "spec.drivers[2] FieldValueRequired",
                "spec.drivers[2] FieldValueInvalid",
                "spec.drivers[2] FieldValueDuplicate",
                "spec.drivers[3].name FieldValueTooLong",
                "spec.drivers[4].name FieldValueDuplicate",
            ]
        );
    }

    #[test]
    fn a_driver_may_change_its_limit_only() {
        let user = User::default();
        let old = node(json!([{"name": "d", "nodeID": "a"}, {"name": "e", "nodeID": "a"}]));
        let update =
            |drivers: Value| CsiNodeStrategy.validate_update(&node(drivers), &old, &context(&user));
        let limit = json!([{"name": "d", "nodeID": "a", "allocatable": {"count": 3}}]);
        assert_eq!(update(limit), []);
        let moved = update(json!([{"name": "d", "nodeID": "b"}]));
        assert_eq!(moved.len(), 1);
        assert_eq!(moved[0].path, "spec.drivers");
    }

    #[test]
    fn columns() {
        let now = Timestamp::from_second(60).unwrap();
        let cells = cells(&node(json!([{}, {}])), now);
        assert_eq!(cells, [json!("n1"), json!(2), json!("60s")]);
        assert_eq!(cells.len(), COLUMNS.len());
    }
}
