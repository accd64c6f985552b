//! Namespaces.
use everleaf_api::types;

use super::Descriptor;

/// Namespaces.
pub static NAMESPACES: Descriptor = Descriptor {
    short_names: &["ns"],
    ..Descriptor::cluster(&types::NAMESPACE, "namespaces", "namespace")
};
