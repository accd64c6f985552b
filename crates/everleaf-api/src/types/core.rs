//! Core group, without Node.

use super::table::*;

const V1: Package = Package("io.k8s.api.core.v1");

/// `v1` Secret: bootstrap tokens are kept as such.
pub static SECRET: Type = Type {
    group: "",
    version: "v1",
    kind: "Secret",
    message: &V1.message(
        "Secret",
        "Small confidential data.",
        &[
            METADATA,
            f("immutable", 5, Bool, Pointer, "True freezes the data for good."),
            f("data", 2, Map(&Bytes), OmitEmpty, "Values by key."),
            f("stringData", 4, Map(&String), OmitEmpty, "Write-only: plain values, merged into data by the server."),
            f("type", 3, String, OmitEmpty, "Tells which keys the data must have; immutable."),
        ],
    ),
};

/// ConfigMap.
pub static CONFIG_MAP: Type = Type {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    message: &V1.message(
        "ConfigMap",
        "Small data that is not confidential.",
        &[
            METADATA,
            f("immutable", 4, Bool, Pointer, "True freezes the data for good."),
            f("data", 2, Map(&String), OmitEmpty, "Texts by key."),
            f("binaryData", 3, Map(&Bytes), OmitEmpty, "Bytes by key; no key may be in both."),
        ],
    ),
};

/// `v1` Namespace: deleting it deletes what is in it.
pub static NAMESPACE: Type = Type {
    group: "",
    version: "v1",
    kind: "Namespace",
    message: &V1.message(
        "Namespace",
        "A space in which names are unique.",
        &[
            METADATA,
            f("spec", 2, Nested(&NAMESPACE_SPEC), Always, "Finalizers that must complete before the namespace is deleted."),
            f("status", 3, Nested(&NAMESPACE_STATUS), Always, "Whether the namespace is active or being deleted."),
        ],
    ),
};

static NAMESPACE_SPEC: Message = V1.message(
    "NamespaceSpec",
    "Finalizers that must complete before a namespace is deleted.",
    &[f("finalizers", 1, List(&String, Atomic), OmitEmpty, "Finalizers that must complete before the namespace is deleted.")],
);

static NAMESPACE_STATUS: Message = V1.message(
    "NamespaceStatus",
    "Whether a namespace is in use or ending.",
    &[
        f("phase", 1, String, OmitEmpty, "Active or Terminating.").one_of(&["Active", "Terminating"]),
        f("conditions", 2, List(&Nested(&NAMESPACE_CONDITION), Keyed(&["type"])), OmitEmpty, "Progress of the deletion, as conditions.").merged_by("type"),
    ],
);

static NAMESPACE_CONDITION: Message = V1.message(
    "NamespaceCondition",
    "One thing that is true of the namespace.",
    &[
        f("type", 1, String, Always, "Name of the condition.").required(),
        f("status", 2, String, Always, "True, False or Unknown.").required(),
        f("lastTransitionTime", 4, Time, Always, "When the status last changed."),
        f("reason", 5, String, OmitEmpty, "One word for programs."),
        f("message", 6, String, OmitEmpty, "For people."),
    ],
);

/// ServiceAccount.
pub static SERVICE_ACCOUNT: Type = Type {
    group: "",
    version: "v1",
    kind: "ServiceAccount",
    message: &V1.message(
        "ServiceAccount",
        "An identity for programs.",
        &[
            METADATA,
            f("secrets", 2, List(&Nested(&OBJECT_REFERENCE), Keyed(&["name"])), OmitEmpty, "Secrets its pods may use.").merged_by("name"),
            f("imagePullSecrets", 3, List(&Nested(&LOCAL_OBJECT_REFERENCE), Atomic), OmitEmpty, "Secrets for pulling images."),
            f("automountServiceAccountToken", 4, Bool, Pointer, "Whether pods get a token mounted."),
        ],
    ),
};

/// ObjectReference.
pub static OBJECT_REFERENCE: Message = V1.message(
    "ObjectReference",
    "Points at an object.",
    &[
        f("kind", 1, String, OmitEmpty, "Kind."),
        f("namespace", 2, String, OmitEmpty, "Namespace."),
        f("name", 3, String, OmitEmpty, "Name."),
        f("uid", 4, String, OmitEmpty, "UID."),
        f("apiVersion", 5, String, OmitEmpty, "Group and version."),
        f("resourceVersion", 6, String, OmitEmpty, "Version of the object that is meant."),
        f("fieldPath", 7, String, OmitEmpty, "Part of the object that is meant."),
    ],
).atomic();

static LOCAL_OBJECT_REFERENCE: Message = V1.message(
    "LocalObjectReference",
    "Points at an object in the same namespace.",
    &[f("name", 1, String, OmitEmpty, "Name.").zero_by_default()],
).atomic();

/// Event (core/v1).
pub static EVENT: Type = Type {
    group: "",
    version: "v1",
    kind: "Event",
    message: &V1.message(
        "Event",
        "Something that happened to an object, for people to read.",
        &[
            METADATA.required(),
            f("involvedObject", 2, Nested(&OBJECT_REFERENCE), Always, "The object it is about.").required(),
            f("reason", 3, String, OmitEmpty, "One word for programs."),
            f("message", 4, String, OmitEmpty, "For people."),
            f("source", 5, Nested(&EVENT_SOURCE), Always, "Who reports it."),
            f("firstTimestamp", 6, Time, Always, "When it was first seen."),
            f("lastTimestamp", 7, Time, Always, "When it was last seen."),
            f("count", 8, Int32, OmitEmpty, "How often it was seen."),
            f("type", 9, String, OmitEmpty, "Normal or Warning."),
            f("eventTime", 10, MicroTime, Always, "When it was first seen, in the newer form."),
            f("series", 11, Nested(&EVENT_SERIES), Pointer, "How often it was seen, in the newer form."),
            f("action", 12, String, OmitEmpty, "What was done about the object."),
            f("related", 13, Nested(&OBJECT_REFERENCE), Pointer, "A second object it is about."),
            f("reportingComponent", 14, String, Always, "Controller that reports it."),
            f("reportingInstance", 15, String, Always, "Which instance of the controller."),
        ],
    ),
};

/// EventSource.
pub static EVENT_SOURCE: Message = V1.message(
    "EventSource",
    "Who reports an event.",
    &[
        f("component", 1, String, OmitEmpty, "Component."),
        f("host", 2, String, OmitEmpty, "Node."),
    ],
);

static EVENT_SERIES: Message = V1.message(
    "EventSeries",
    "How often an event was seen.",
    &[
        f("count", 1, Int32, OmitEmpty, "Times so far."),
        f("lastObservedTime", 2, MicroTime, Always, "When last."),
    ],
);
