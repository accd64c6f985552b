//! Leases.
use everleaf_api::types;

use super::Descriptor;

/// Leases.
pub static LEASES: Descriptor = Descriptor {
    create_on_update: true,
    unconditional_update: false,
    ..Descriptor::namespaced(&types::LEASE, "leases", "lease")
};
