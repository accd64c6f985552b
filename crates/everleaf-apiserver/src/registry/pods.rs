//! Pods: a kubelet lists and watches those of its node (`spec.nodeName`), and waits for the answer.
//! There are none here: this server schedules nothing, and keeps no mirror of what a kubelet runs
//! by itself.

use super::{Descriptor, READ_VERBS};
use everleaf_api::types;

/// Never created here; kubelets list and watch them and find none.
pub static PODS: Descriptor = Descriptor {
    short_names: &["po"],
    categories: &["all"],
    verbs: READ_VERBS,
    selectable: &[
        "spec.host",
        "spec.hostNetwork",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.nominatedNodeName",
        "status.phase",
        "status.podIP",
        "status.podIPs",
    ],
    ..Descriptor::namespaced(&types::POD, "pods", "pod")
};
