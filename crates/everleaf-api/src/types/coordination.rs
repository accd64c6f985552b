//! `coordination.k8s.io`.

use super::table::*;

/// Lease.
pub static LEASE: Type = Type {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    message: &Message::new(
        "Lease",
        "A claim that must be renewed: leadership, or a node's heartbeat.",
        &[
            METADATA,
            f("spec", 2, Nested(&SPEC), Always, "Who holds it, since when."),
        ],
    ),
};

static SPEC: Message = Message::new(
    "LeaseSpec",
    "Who holds a lease, since when.",
    &[
        f("holderIdentity", 1, String, Pointer, "Holder."),
        f("leaseDurationSeconds", 2, Int32, Pointer, "Seconds after renewTime for which others must wait."),
        f("acquireTime", 3, MicroTime, Pointer, "When the holder took it."),
        f("renewTime", 4, MicroTime, Pointer, "When the holder last renewed it."),
        f("leaseTransitions", 5, Int32, Pointer, "Changes of holder."),
        f("strategy", 6, String, Pointer, "How a coordinated election picks the holder."),
        f("preferredHolder", 7, String, Pointer, "Holder that the present one should make way for."),
    ],
);
