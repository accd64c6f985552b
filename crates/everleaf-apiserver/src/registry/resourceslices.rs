//! ResourceSlices: a kubelet deletes those of its node (`spec.nodeName`) at start, for no driver
//! runs yet. There are none here.

use super::Descriptor;
use everleaf_api::types;

/// ResourceSlices.
pub static RESOURCE_SLICES: Descriptor = Descriptor {
    verbs: &["deletecollection", "get", "list", "watch"],
    selectable: &["spec.driver", "spec.nodeName", "spec.pool.name"],
    ..Descriptor::cluster(&types::RESOURCE_SLICE, "resourceslices", "resourceslice")
};
