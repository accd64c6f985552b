//! Services: a kubelet lists and watches all of them at start, and starts no pod before it knows
//! them. There are none here.

use super::{Descriptor, READ_VERBS};
use everleaf_api::types;

/// Kubelets list and watch them before they start.
pub static SERVICES: Descriptor = Descriptor {
    short_names: &["svc"],
    categories: &["all"],
    verbs: READ_VERBS,
    selectable: &["spec.clusterIP", "spec.type"],
    ..Descriptor::namespaced(&types::SERVICE, "services", "service")
};
