//! Secrets.
use everleaf_api::types;

use super::Descriptor;

/// Secrets.
pub static SECRETS: Descriptor = Descriptor {
    ..Descriptor::namespaced(&types::SECRET, "secrets", "secret")
};
