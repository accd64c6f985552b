//! Leases: who leads, which node lives. Written often, so an update must say what it replaces.

use super::{AGE_COLUMN, Context, Descriptor, NAME_COLUMN, Strategy, age, text_column};
use crate::read;
use everleaf_api::fields::FieldError;
use everleaf_api::table::Column;
use everleaf_api::{meta, types};
use jiff::Timestamp;
use serde_json::Value;

/// Leases.
pub static LEASES: Descriptor = Descriptor {
    strategy: &LeaseStrategy,
    columns: COLUMNS,
    cells,
    create_on_update: true,
    unconditional_update: false,
    ..Descriptor::namespaced(&types::LEASE, "leases", "lease")
};

const COLUMNS: &[Column] = &[
    NAME_COLUMN,
    text_column("Holder", 0, "The identity of the holder of the lease."),
    AGE_COLUMN,
];

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        meta::name(object).into(),
        read::text(object, "/spec/holderIdentity").into(),
        age(object, now).into(),
    ]
}

/// Members of coordinated leader election, which is off in Kubernetes unless somebody turns it on:
/// not for clients to set (`pkg/registry/coordination/lease/strategy.go`).
const COORDINATED: [&str; 2] = ["strategy", "preferredHolder"];

struct LeaseStrategy;

impl Strategy for LeaseStrategy {
    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        drop_coordinated(object, &Value::Null);
    }

    fn validate_create(&self, object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let spec = &object["spec"];
        let mut at_least = |member: &str, least: i64, detail: &str| {
            if let Some(number) = spec[member].as_i64().filter(|number| *number < least) {
                let path = format!("spec.{member}");
                errors.push(FieldError::invalid(&path, &number.to_string(), detail));
            }
        };
        at_least("leaseDurationSeconds", 1, "must be greater than 0");
        at_least("leaseTransitions", 0, "must be greater than or equal to 0");
        errors
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _context: &Context<'_>) {
        drop_coordinated(new, old);
    }
}

/// What `old` has, may stay and change.
fn drop_coordinated(new: &mut Value, old: &Value) {
    let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    for member in COORDINATED {
        if old["spec"][member].is_null() {
            spec.remove(member);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn coordinated_election_is_off() {
        let asked =
            json!({"spec": {"holderIdentity": "a", "strategy": "s", "preferredHolder": "b"}});
        let mut new = asked.clone();
        drop_coordinated(&mut new, &Value::Null);
        assert_eq!(new, json!({"spec": {"holderIdentity": "a"}}));
        let mut new = asked.clone();
        drop_coordinated(&mut new, &json!({"spec": {"strategy": "t"}}));
        assert_eq!(
            new,
            json!({"spec": {"holderIdentity": "a", "strategy": "s"}})
        );
    }
}
