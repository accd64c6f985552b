//! Node, whole: kubelets write all of it, and what a table does not know would be lost on the way
//! through protobuf.

use super::table::*;

const V1: Package = Package("io.k8s.api.core.v1");

/// `v1` Node: its addresses bound what a serving certificate may name.
pub static NODE: Type = Type {
    group: "",
    version: "v1",
    kind: "Node",
    message: &V1.message(
        "Node",
        "A machine of the cluster.",
        &[
            METADATA,
            f("spec", 2, Nested(&SPEC), Always, "What the machine shall do."),
            f("status", 3, Nested(&STATUS), Always, "What its kubelet reports."),
        ],
    ),
};

static SPEC: Message = V1.message(
    "NodeSpec",
    "What a machine shall do.",
    &[
        f("podCIDR", 1, String, OmitEmpty, "Addresses for its pods."),
        f("podCIDRs", 7, List(&String, Set), OmitEmpty, "Addresses for its pods, one range per family.").merged(),
        f("providerID", 3, String, OmitEmpty, "Identity at the cloud provider."),
        f("unschedulable", 4, Bool, OmitEmpty, "True keeps new pods away."),
        f("taints", 5, List(&Nested(&TAINT), Atomic), OmitEmpty, "What pods must tolerate."),
        f("configSource", 6, Nested(&CONFIG_SOURCE), Pointer, "No longer used."),
        f("externalID", 2, String, OmitEmpty, "No longer used."),
        f("podPreemptionPolicy", 8, Nested(&POD_PREEMPTION_POLICY), Pointer, "Limits who may push pods off."),
    ],
);

static TAINT: Message = V1.message(
    "Taint",
    "Keeps pods away that do not tolerate it.",
    &[
        f("key", 1, String, Always, "Key.").required(),
        f("value", 2, String, OmitEmpty, "Value."),
        f("effect", 3, String, Always, "NoSchedule, PreferNoSchedule or NoExecute.").one_of(&["NoExecute", "NoSchedule", "PreferNoSchedule"]).required(),
        f("timeAdded", 4, Time, Pointer, "When it was added."),
    ],
);

static POD_PREEMPTION_POLICY: Message = V1.message(
    "NodePodPreemptionPolicy",
    "Limits who may push pods off.",
    &[f("disableResizePreemption", 1, List(&String, Set), OmitEmpty, "Cases in which growing a pod may not push others off.")],
);

static CONFIG_SOURCE: Message = V1.message(
    "NodeConfigSource",
    "Where a kubelet's configuration came from; no longer used.",
    &[f("configMap", 2, Nested(&CONFIG_MAP_SOURCE), Pointer, "A ConfigMap.")],
);

static CONFIG_MAP_SOURCE: Message = V1.message(
    "ConfigMapNodeConfigSource",
    "A ConfigMap that held a kubelet's configuration; no longer used.",
    &[
        f("namespace", 1, String, Always, "Namespace.").required(),
        f("name", 2, String, Always, "Name.").required(),
        f("uid", 3, String, OmitEmpty, "UID."),
        f("resourceVersion", 4, String, OmitEmpty, "Version."),
        f("kubeletConfigKey", 5, String, Always, "Key within it.").required(),
    ],
);

static STATUS: Message = V1.message(
    "NodeStatus",
    "What the kubelet reports.",
    &[
        f("capacity", 1, Map(&Quantity), OmitEmpty, "What the machine has."),
        f("allocatable", 2, Map(&Quantity), OmitEmpty, "What pods may use of it."),
        f("phase", 3, String, OmitEmpty, "No longer filled.").one_of(&["Pending", "Running", "Terminated"]),
        f("conditions", 4, List(&Nested(&CONDITION), Keyed(&["type"])), OmitEmpty, "Ready and others.").merged_by("type"),
        f("addresses", 5, List(&Nested(&ADDRESS), Keyed(&["type"])), OmitEmpty, "How it is reached.").merged_by("type"),
        f("daemonEndpoints", 6, Nested(&DAEMON_ENDPOINTS), Always, "Ports of the daemons."),
        f("nodeInfo", 7, Nested(&SYSTEM_INFO), Always, "Versions and identities."),
        f("images", 8, List(&Nested(&CONTAINER_IMAGE), Atomic), OmitEmpty, "Images on the machine."),
        f("volumesInUse", 9, List(&String, Atomic), OmitEmpty, "Volumes mounted."),
        f("volumesAttached", 10, List(&Nested(&ATTACHED_VOLUME), Atomic), OmitEmpty, "Volumes attached."),
        f("config", 11, Nested(&CONFIG_STATUS), Pointer, "No longer used."),
        f("runtimeHandlers", 12, List(&Nested(&RUNTIME_HANDLER), Atomic), OmitEmpty, "Runtimes that pods may ask for."),
        f("features", 13, Nested(&FEATURES), Pointer, "What the runtime can do."),
        f("declaredFeatures", 14, List(&String, Atomic), OmitEmpty, "Features that scheduling depends on."),
    ],
);

static CONDITION: Message = V1.message(
    "NodeCondition",
    "One thing that is true of the machine.",
    &[
        f("type", 1, String, Always, "Ready, MemoryPressure or another name.").required(),
        f("status", 2, String, Always, "True, False or Unknown.").required(),
        f("lastHeartbeatTime", 3, Time, Always, "When it was last reported."),
        f("lastTransitionTime", 4, Time, Always, "When the status last changed."),
        f("reason", 5, String, OmitEmpty, "One word for programs."),
        f("message", 6, String, OmitEmpty, "For people."),
    ],
);

static ADDRESS: Message = V1.message(
    "NodeAddress",
    "How a machine is reached.",
    &[
        f("type", 1, String, Always, "Hostname, InternalIP, ExternalIP, InternalDNS or ExternalDNS.").required(),
        f("address", 2, String, Always, "The address.").required(),
    ],
);

static DAEMON_ENDPOINTS: Message = V1.message(
    "NodeDaemonEndpoints",
    "Ports of the daemons.",
    &[f("kubeletEndpoint", 1, Nested(&DAEMON_ENDPOINT), Always, "The kubelet's.")],
);

static DAEMON_ENDPOINT: Message = V1.message(
    "DaemonEndpoint",
    "One daemon's port.",
    &[f("Port", 1, Int32, Always, "Port; the capital letter is upstream's.").required()],
);

static SYSTEM_INFO: Message = V1.message(
    "NodeSystemInfo",
    "Versions and identities of a machine.",
    &[
        f("machineID", 1, String, Always, "Machine ID of the system.").required(),
        f("systemUUID", 2, String, Always, "UUID of the hardware.").required(),
        f("bootID", 3, String, Always, "ID of this boot.").required(),
        f("kernelVersion", 4, String, Always, "Kernel.").required(),
        f("osImage", 5, String, Always, "Distribution.").required(),
        f("containerRuntimeVersion", 6, String, Always, "Container runtime.").required(),
        f("kubeletVersion", 7, String, Always, "Kubelet.").required(),
        f("kubeProxyVersion", 8, String, Always, "Deprecated.").required(),
        f("operatingSystem", 9, String, Always, "Operating system.").required(),
        f("architecture", 10, String, Always, "Architecture.").required(),
        f("swap", 11, Nested(&SWAP_STATUS), Pointer, "Swap space."),
        f("runningInUserNamespace", 12, Bool, Pointer, "True when the kubelet runs without root."),
    ],
);

static SWAP_STATUS: Message = V1.message(
    "NodeSwapStatus",
    "Swap space of a machine.",
    &[f("capacity", 1, Int64, Pointer, "Bytes.")],
);

static CONTAINER_IMAGE: Message = V1.message(
    "ContainerImage",
    "An image on a machine.",
    &[
        f("names", 1, List(&String, Atomic), Always, "Names it is known by."),
        f("sizeBytes", 2, Int64, OmitEmpty, "Bytes."),
    ],
);

static ATTACHED_VOLUME: Message = V1.message(
    "AttachedVolume",
    "A volume attached to a machine.",
    &[
        f("name", 1, String, Always, "Volume.").required(),
        f("devicePath", 2, String, Always, "Where it appears.").required(),
    ],
);

static CONFIG_STATUS: Message = V1.message(
    "NodeConfigStatus",
    "Which configuration a kubelet used; no longer used.",
    &[
        f("assigned", 1, Nested(&CONFIG_SOURCE), Pointer, "What it shall use."),
        f("active", 2, Nested(&CONFIG_SOURCE), Pointer, "What it uses."),
        f("lastKnownGood", 3, Nested(&CONFIG_SOURCE), Pointer, "What it falls back to."),
        f("error", 4, String, OmitEmpty, "What is wrong with it."),
    ],
);

static RUNTIME_HANDLER: Message = V1.message(
    "NodeRuntimeHandler",
    "A runtime that pods may ask for.",
    &[
        f("name", 1, String, Always, "Name; empty for the default one."),
        f("features", 2, Nested(&RUNTIME_HANDLER_FEATURES), Pointer, "What it can do."),
    ],
);

static RUNTIME_HANDLER_FEATURES: Message = V1.message(
    "NodeRuntimeHandlerFeatures",
    "What a runtime can do.",
    &[
        f("recursiveReadOnlyMounts", 1, Bool, Pointer, "Mounts that are read-only all the way down."),
        f("userNamespaces", 2, Bool, Pointer, "User namespaces."),
    ],
);

static FEATURES: Message = V1.message(
    "NodeFeatures",
    "What the machine's runtime can do.",
    &[f("supplementalGroupsPolicy", 1, Bool, Pointer, "Strict supplemental groups.")],
);
