//! `coordination.k8s.io`.

use super::table::*;

const V1: Package = Package("io.k8s.api.coordination.v1");

/// `coordination.k8s.io/v1` Lease: node heartbeats and leader elections.
pub static LEASE: Type = Type {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    message: &V1.message(
        "Lease",
        "A claim that must be renewed: leadership, or a node's heartbeat.",
        &[
            METADATA,
            f("spec", 2, Nested(&SPEC), Always, "Current holder and its times."),
        ],
    ),
};

static SPEC: Message = V1.message(
    "LeaseSpec",
    "Current holder of a lease and its times.",
    &[
        f("holderIdentity", 1, String, Pointer, "Holder."),
        f("leaseDurationSeconds", 2, Int32, Pointer, "Seconds after renewTime for which others must wait."),
        f("acquireTime", 3, MicroTime, Pointer, "When the current holder acquired the lease."),
        f("renewTime", 4, MicroTime, Pointer, "When the current holder last renewed the lease."),
        f("leaseTransitions", 5, Int32, Pointer, "Number of transitions between holders."),
        f("strategy", 6, String, Pointer, "Strategy by which a coordinated election picks the holder."),
        f("preferredHolder", 7, String, Pointer, "Preferred holder, to which the current one should hand over."),
    ],
);
