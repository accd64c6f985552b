//! ConfigMaps.
use everleaf_api::types;

use super::Descriptor;

/// ConfigMaps.
pub static CONFIG_MAPS: Descriptor = Descriptor {
    short_names: &["cm"],
    ..Descriptor::namespaced(&types::CONFIG_MAP, "configmaps", "configmap")
};
