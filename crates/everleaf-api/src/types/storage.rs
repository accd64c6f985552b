//! `storage.k8s.io`: what a kubelet writes about the volume drivers of its node.

use super::table::*;

/// CSINode.
pub static CSI_NODE: Type = Type {
    group: "storage.k8s.io",
    version: "v1",
    kind: "CSINode",
    message: &Message::new(
        "CSINode",
        "The volume drivers of a node.",
        &[
            METADATA,
            f("spec", 2, Nested(&SPEC), Always, "The drivers."),
            f("status", 3, Nested(&STATUS), Always, "What the drivers report."),
        ],
    ),
};

static SPEC: Message = Message::new(
    "CSINodeSpec",
    "The volume drivers of a node.",
    &[f("drivers", 1, List(&Nested(&DRIVER), Keyed(&["name"])), Always, "One entry per driver.").merged_by("name")],
);

static DRIVER: Message = Message::new(
    "CSINodeDriver",
    "One volume driver of a node.",
    &[
        f("name", 1, String, Always, "Name of the driver."),
        f("nodeID", 2, String, Always, "What the driver calls the node."),
        f("topologyKeys", 3, List(&String, Atomic), Always, "Node labels by which the driver tells places apart."),
        f("allocatable", 4, Nested(&NODE_RESOURCES), Pointer, "How many volumes the node can have."),
    ],
);

static NODE_RESOURCES: Message = Message::new(
    "VolumeNodeResources",
    "How many volumes a node can have of one driver.",
    &[f("count", 1, Int32, Pointer, "Volumes at most; absent is any number.")],
);

static STATUS: Message = Message::new(
    "CSINodeStatus",
    "What the volume drivers of a node report.",
    &[f("storageHealth", 1, List(&Nested(&HEALTH), Keyed(&["name"])), OmitEmpty, "Health, one entry per driver.").merged_by("name")],
);

static HEALTH: Message = Message::new(
    "StorageHealth",
    "The health that one driver reports.",
    &[
        f("name", 1, String, Always, "Name of the driver."),
        f("healthConditions", 2, List(&Nested(&HEALTH_CONDITION), Atomic), OmitEmpty, "What is wrong; at most 16."),
    ],
);

static HEALTH_CONDITION: Message = Message::new(
    "StorageHealthCondition",
    "One thing that is wrong with a driver's storage.",
    &[
        f("status", 1, String, Always, "StorageUnreachable or StorageDegraded."),
        f("reason", 2, String, Always, "One word for programs."),
        f("message", 3, String, OmitEmpty, "For people."),
        f("accessMode", 4, String, Pointer, "The one access mode that is affected; absent is all."),
        f("volumeMode", 5, String, Pointer, "The one volume mode that is affected; absent is both."),
        f("lastTransitionTime", 6, Time, Always, "Since when."),
    ],
);
