//! Node, whole: kubelets write all of it, and what a table does not know would be lost on the way
//! through protobuf.

use super::table::*;

/// `v1` Node: its addresses bound what a serving certificate may name.
pub static NODE: Type = Type {
    group: "",
    version: "v1",
    kind: "Node",
    message: &Message::new(
        "Node",
        "A machine of the cluster.",
        &[
            METADATA,
            f("spec", 2, Nested(&SPEC), Always, "What the machine shall do."),
            f("status", 3, Nested(&STATUS), Always, "What its kubelet reports."),
        ],
    ),
};

static SPEC: Message = Message::new(
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

static TAINT: Message = Message::new(
    "Taint",
    "Keeps pods away that do not tolerate it.",
    &[
        f("key", 1, String, Always, "Key."),
        f("value", 2, String, OmitEmpty, "Value."),
        f("effect", 3, String, Always, "NoSchedule, PreferNoSchedule or NoExecute."),
        f("timeAdded", 4, Time, Pointer, "When it was added."),
    ],
);

static POD_PREEMPTION_POLICY: Message = Message::new(
    "NodePodPreemptionPolicy",
    "Limits who may push pods off.",
    &[f("disableResizePreemption", 1, List(&String, Set), OmitEmpty, "Cases in which growing a pod may not push others off.")],
);

static CONFIG_SOURCE: Message = Message::new(
    "NodeConfigSource",
    "Where a kubelet's configuration came from; no longer used.",
    &[f("configMap", 2, Nested(&CONFIG_MAP_SOURCE), Pointer, "A ConfigMap.")],
);

static CONFIG_MAP_SOURCE: Message = Message::new(
    "ConfigMapNodeConfigSource",
    "A ConfigMap that held a kubelet's configuration; no longer used.",
    &[
        f("namespace", 1, String, Always, "Namespace."),
        f("name", 2, String, Always, "Name."),
        f("uid", 3, String, OmitEmpty, "UID."),
        f("resourceVersion", 4, String, OmitEmpty, "Version."),
        f("kubeletConfigKey", 5, String, Always, "Key within it."),
    ],
);

static STATUS: Message = Message::new(
    "NodeStatus",
    "What the kubelet reports.",
    &[
        f("capacity", 1, Map(&Quantity), OmitEmpty, "What the machine has."),
        f("allocatable", 2, Map(&Quantity), OmitEmpty, "What pods may use of it."),
        f("phase", 3, String, OmitEmpty, "No longer filled."),
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

static CONDITION: Message = Message::new(
    "NodeCondition",
    "One thing that is true of the machine.",
    &[
        f("type", 1, String, Always, "Ready, MemoryPressure or another name."),
        f("status", 2, String, Always, "True, False or Unknown."),
        f("lastHeartbeatTime", 3, Time, Always, "When it was last reported."),
        f("lastTransitionTime", 4, Time, Always, "When the status last changed."),
        f("reason", 5, String, OmitEmpty, "One word for programs."),
        f("message", 6, String, OmitEmpty, "For people."),
    ],
);

static ADDRESS: Message = Message::new(
    "NodeAddress",
    "How a machine is reached.",
    &[
        f("type", 1, String, Always, "Hostname, InternalIP, ExternalIP, InternalDNS or ExternalDNS."),
        f("address", 2, String, Always, "The address."),
    ],
);

static DAEMON_ENDPOINTS: Message = Message::new(
    "NodeDaemonEndpoints",
    "Ports of the daemons.",
    &[f("kubeletEndpoint", 1, Nested(&DAEMON_ENDPOINT), Always, "The kubelet's.")],
);

static DAEMON_ENDPOINT: Message = Message::new(
    "DaemonEndpoint",
    "One daemon's port.",
    &[f("Port", 1, Int32, Always, "Port; the capital letter is upstream's.")],
);

static SYSTEM_INFO: Message = Message::new(
    "NodeSystemInfo",
    "Versions and identities of a machine.",
    &[
        f("machineID", 1, String, Always, "Machine ID of the system."),
        f("systemUUID", 2, String, Always, "UUID of the hardware."),
        f("bootID", 3, String, Always, "ID of this boot."),
        f("kernelVersion", 4, String, Always, "Kernel."),
        f("osImage", 5, String, Always, "Distribution."),
        f("containerRuntimeVersion", 6, String, Always, "Container runtime."),
        f("kubeletVersion", 7, String, Always, "Kubelet."),
        f("kubeProxyVersion", 8, String, Always, "Deprecated."),
        f("operatingSystem", 9, String, Always, "Operating system."),
        f("architecture", 10, String, Always, "Architecture."),
        f("swap", 11, Nested(&SWAP_STATUS), Pointer, "Swap space."),
        f("runningInUserNamespace", 12, Bool, Pointer, "True when the kubelet runs without root."),
    ],
);

static SWAP_STATUS: Message = Message::new(
    "NodeSwapStatus",
    "Swap space of a machine.",
    &[f("capacity", 1, Int64, Pointer, "Bytes.")],
);

static CONTAINER_IMAGE: Message = Message::new(
    "ContainerImage",
    "An image on a machine.",
    &[
        f("names", 1, List(&String, Atomic), Always, "Names it is known by."),
        f("sizeBytes", 2, Int64, OmitEmpty, "Bytes."),
    ],
);

static ATTACHED_VOLUME: Message = Message::new(
    "AttachedVolume",
    "A volume attached to a machine.",
    &[
        f("name", 1, String, Always, "Volume."),
        f("devicePath", 2, String, Always, "Where it appears."),
    ],
);

static CONFIG_STATUS: Message = Message::new(
    "NodeConfigStatus",
    "Which configuration a kubelet used; no longer used.",
    &[
        f("assigned", 1, Nested(&CONFIG_SOURCE), Pointer, "What it shall use."),
        f("active", 2, Nested(&CONFIG_SOURCE), Pointer, "What it uses."),
        f("lastKnownGood", 3, Nested(&CONFIG_SOURCE), Pointer, "What it falls back to."),
        f("error", 4, String, OmitEmpty, "What is wrong with it."),
    ],
);

static RUNTIME_HANDLER: Message = Message::new(
    "NodeRuntimeHandler",
    "A runtime that pods may ask for.",
    &[
        f("name", 1, String, Always, "Name; empty for the default one."),
        f("features", 2, Nested(&RUNTIME_HANDLER_FEATURES), Pointer, "What it can do."),
    ],
);

static RUNTIME_HANDLER_FEATURES: Message = Message::new(
    "NodeRuntimeHandlerFeatures",
    "What a runtime can do.",
    &[
        f("recursiveReadOnlyMounts", 1, Bool, Pointer, "Mounts that are read-only all the way down."),
        f("userNamespaces", 2, Bool, Pointer, "User namespaces."),
    ],
);

static FEATURES: Message = Message::new(
    "NodeFeatures",
    "What the machine's runtime can do.",
    &[f("supplementalGroupsPolicy", 1, Bool, Pointer, "Strict supplemental groups.")],
);
