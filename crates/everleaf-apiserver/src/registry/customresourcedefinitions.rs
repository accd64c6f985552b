//! CustomResourceDefinitions: kubectl lists them to learn of which kind an object is that no
//! document describes. There are none here.

use super::{Descriptor, READ_VERBS};
use everleaf_api::types;

/// CustomResourceDefinitions.
pub static CUSTOM_RESOURCE_DEFINITIONS: Descriptor = Descriptor {
    verbs: READ_VERBS,
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    ..Descriptor::cluster(
        &types::CUSTOM_RESOURCE_DEFINITION,
        "customresourcedefinitions",
        "customresourcedefinition",
    )
};
