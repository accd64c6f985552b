//! `storage.k8s.io`: what a kubelet writes about the volume drivers of its node.

use super::table::*;

const V1: Package = Package("io.k8s.api.storage.v1");

/// CSINode.
pub static CSI_NODE: Type = Type {
    group: "storage.k8s.io",
    version: "v1",
    kind: "CSINode",
    message: &V1.message(
        "CSINode",
        "The volume drivers of a node.",
        &[
            METADATA,
            f("spec", 2, Nested(&SPEC), Always, "The drivers.").required(),
            f("status", 3, Nested(&STATUS), Always, "What the drivers report."),
        ],
    ),
};

static SPEC: Message = V1.message(
    "CSINodeSpec",
    "The volume drivers of a node.",
    &[f("drivers", 1, List(&Nested(&DRIVER), Keyed(&["name"])), Always, "One entry per driver.").merged_by("name").required()],
);

static DRIVER: Message = V1.message(
    "CSINodeDriver",
    "One volume driver of a node.",
    &[
        f("name", 1, String, Always, "Name of the driver.").required(),
        f("nodeID", 2, String, Always, "What the driver calls the node.").required(),
        f("topologyKeys", 3, List(&String, Atomic), Always, "Node labels by which the driver tells places apart."),
        f("allocatable", 4, Nested(&NODE_RESOURCES), Pointer, "How many volumes the node can have."),
    ],
);

static NODE_RESOURCES: Message = V1.message(
    "VolumeNodeResources",
    "How many volumes a node can have of one driver.",
    &[f("count", 1, Int32, Pointer, "Volumes at most; absent is any number.")],
);

static STATUS: Message = V1.message(
    "CSINodeStatus",
    "What the volume drivers of a node report.",
    &[f("storageHealth", 1, List(&Nested(&HEALTH), Keyed(&["name"])), OmitEmpty, "Health, one entry per driver.").merged_by("name")],
);

static HEALTH: Message = V1.message(
    "StorageHealth",
    "The health that one driver reports.",
    &[
        f("name", 1, String, Always, "Name of the driver.").required(),
        f("healthConditions", 2, List(&Nested(&HEALTH_CONDITION), Atomic), OmitEmpty, "What is wrong; at most 16."),
    ],
);

static HEALTH_CONDITION: Message = V1.message(
    "StorageHealthCondition",
    "One thing that is wrong with a driver's storage.",
    &[
        f("status", 1, String, Always, "StorageUnreachable or StorageDegraded.").one_of(&["StorageDegraded", "StorageUnreachable"]).required(),
        f("reason", 2, String, Always, "One word for programs.").required(),
        f("message", 3, String, OmitEmpty, "For people."),
        f("accessMode", 4, String, Pointer, "The one access mode that is affected; absent is all.").one_of(&["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]),
        f("volumeMode", 5, String, Pointer, "The one volume mode that is affected; absent is both.").one_of(&["Block", "Filesystem"]),
        f("lastTransitionTime", 6, Time, Always, "Since when."),
    ],
);
