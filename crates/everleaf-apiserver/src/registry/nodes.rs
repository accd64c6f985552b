//! Nodes.
use everleaf_api::types;

use super::Descriptor;

/// Nodes.
pub static NODES: Descriptor = Descriptor {
    short_names: &["no"],
    storage: "minions",
    ..Descriptor::cluster(&types::NODE, "nodes", "node")
};
