//! Leases: who leads, which node lives. Written often, so an update must say what it replaces.

use everleaf_api::fields::FieldError;
use everleaf_api::table::Column;
use everleaf_api::{meta, types};
use jiff::Timestamp;
use serde_json::Value;

use super::{AGE_COLUMN, Context, Descriptor, NAME_COLUMN, Strategy, age, text_column};
use crate::read;

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

struct LeaseStrategy;

impl Strategy for LeaseStrategy {
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

    fn validate_update(&self, new: &Value, _old: &Value, context: &Context<'_>) -> Vec<FieldError> {
        self.validate_create(new, context)
    }
}
