//! `meta.k8s.io`: what every object carries, options, Status. List and watch envelopes are built
//! elsewhere.

use super::table::*;

pub(super) const V1: Package = Package("io.k8s.apimachinery.pkg.apis.meta.v1");

/// ObjectMeta.
pub static OBJECT_META: Message = V1.message(
    "ObjectMeta",
    "What every object carries, whatever its type.",
    &[
        f("name", 1, String, OmitEmpty, "Unique in its namespace and type; cannot change."),
        f("generateName", 2, String, OmitEmpty, "Prefix for a name that the server completes; used when name is empty."),
        f("namespace", 3, String, OmitEmpty, "Space within which the name is unique; empty for cluster-scoped types."),
        f("selfLink", 4, String, OmitEmpty, "No longer filled."),
        f("uid", 5, String, OmitEmpty, "Identity of this object for all time; set by the server."),
        f("resourceVersion", 6, String, OmitEmpty, "Opaque version, changes with every write; set by the server."),
        f("generation", 7, Int64, OmitEmpty, "Counts changes of the desired state; set by the server."),
        f("creationTimestamp", 8, Time, OmitEmpty, "When the server created it."),
        f("deletionTimestamp", 9, Time, Pointer, "Time at which deletion was requested; set while finalizers are pending."),
        f("deletionGracePeriodSeconds", 10, Int64, Pointer, "Grace period in seconds, counted from deletionTimestamp."),
        f("labels", 11, Map(&String), OmitEmpty, "Keys and values to select by."),
        f("annotations", 12, Map(&String), OmitEmpty, "Keys and values for tools; not selectable."),
        f("ownerReferences", 13, List(&Nested(&OWNER_REFERENCE), Keyed(&["uid"])), OmitEmpty, "Objects this one depends on.").merged_by("uid"),
        f("finalizers", 14, List(&String, Set), OmitEmpty, "Finalizers that must complete before the object is deleted; empty when nothing holds it.").merged(),
        f("managedFields", 17, List(&Nested(&MANAGED_FIELDS_ENTRY), Atomic), OmitEmpty, "Field managers, and the fields each of them set."),
    ],
);

static OWNER_REFERENCE: Message = V1.message(
    "OwnerReference",
    "Points at the object that owns this one.",
    &[
        f("apiVersion", 5, String, Always, "Group and version of the owner.").required(),
        f("kind", 1, String, Always, "Kind of the owner.").required(),
        f("name", 3, String, Always, "Name of the owner.").required(),
        f("uid", 4, String, Always, "UID of the owner.").required(),
        f("controller", 6, Bool, Pointer, "True when the owner manages this object."),
        f("blockOwnerDeletion", 7, Bool, Pointer, "True when the owner cannot be deleted before this object."),
    ],
).atomic();

static MANAGED_FIELDS_ENTRY: Message = V1.message(
    "ManagedFieldsEntry",
    "The set of fields one manager wrote.",
    &[
        f("manager", 1, String, OmitEmpty, "Name of the field manager."),
        f("operation", 2, String, OmitEmpty, "Apply or Update."),
        f("apiVersion", 3, String, OmitEmpty, "Version the field set is expressed in."),
        f("time", 4, Time, Pointer, "When the set last changed."),
        f("fieldsType", 6, String, OmitEmpty, "Format of the set: FieldsV1."),
        f("fieldsV1", 7, FieldsV1, Pointer, "The set."),
        f("subresource", 8, String, OmitEmpty, "Subresource the write went through."),
    ],
);

/// ListMeta: the `metadata` of lists, tables and Status.
pub static LIST_META: Message = V1.message(
    "ListMeta",
    "What every list carries.",
    &[
        f("selfLink", 1, String, OmitEmpty, "No longer filled."),
        f("resourceVersion", 2, String, OmitEmpty, "State that the list shows; where a watch may begin."),
        f("continue", 3, String, OmitEmpty, "Token that asks for the next page."),
        f("remainingItemCount", 4, Int64, Pointer, "Items after this page, when known."),
        f("shardInfo", 5, Nested(&SHARD_INFO), Pointer, "Set when the list shows one shard of a sharded request."),
    ],
);

/// An observation about an object.
pub static CONDITION: Message = V1.message(
    "Condition",
    "An observation about an object, in the form that newer types share.",
    &[
        f("type", 1, String, Always, "What is observed, in CamelCase or as example.com/CamelCase.").required(),
        f("status", 2, String, Always, "True, False or Unknown.").required(),
        f("observedGeneration", 3, Int64, OmitEmpty, "metadata.generation that was observed."),
        f("lastTransitionTime", 4, Time, Always, "When the status last changed.").required(),
        f("reason", 5, String, Always, "Machine-readable reason, in CamelCase.").required(),
        f("message", 6, String, Always, "For people; may be empty.").required(),
    ],
);

static SHARD_INFO: Message = V1.message(
    "ShardInfo",
    "The shard a list shows.",
    &[f("selector", 1, String, Always, "Selector that was asked for.").required()],
);

static DELETE_OPTIONS_MESSAGE: Message = V1.message(
    "DeleteOptions",
    "How to delete.",
    &[
        f("gracePeriodSeconds", 1, Int64, Pointer, "Grace period in seconds; zero deletes immediately."),
        f("preconditions", 2, Nested(&PRECONDITIONS), Pointer, "Conditions that must hold, otherwise the answer is 409 Conflict."),
        f("orphanDependents", 3, Bool, Pointer, "Deprecated; see propagationPolicy."),
        f("propagationPolicy", 4, String, Pointer, "Orphan, Background or Foreground."),
        f("dryRun", 5, List(&String, Atomic), OmitEmpty, "All: process the request without storing the result."),
        f("ignoreStoreReadErrorWithClusterBreakingPotential", 6, Bool, Pointer, "Delete even what cannot be read; refused here."),
    ],
);

static PRECONDITIONS: Message = V1.message(
    "Preconditions",
    "Conditions on the object that a write applies to.",
    &[
        f("uid", 1, String, Pointer, "UID the object must have."),
        f("resourceVersion", 2, String, Pointer, "Version the object must have."),
    ],
);

/// Options of a delete; accepted under any group's version.
pub static DELETE_OPTIONS: Type = Type {
    group: "meta.k8s.io",
    version: "v1",
    kind: "DeleteOptions",
    message: &DELETE_OPTIONS_MESSAGE,
};

static STATUS_MESSAGE: Message = V1.message(
    "Status",
    "The outcome of a request that returns no object.",
    &[
        f("metadata", 1, Nested(&LIST_META), Always, "Metadata of the list that failed, if any."),
        f("status", 2, String, OmitEmpty, "Success or Failure."),
        f("message", 3, String, OmitEmpty, "Human-readable description."),
        f("reason", 4, String, OmitEmpty, "Machine-readable reason."),
        f("details", 5, Nested(&STATUS_DETAILS), Pointer, "What it is about."),
        f("code", 6, Int32, OmitEmpty, "Suggested HTTP code."),
    ],
);

static STATUS_DETAILS: Message = V1.message(
    "StatusDetails",
    "What a Status is about.",
    &[
        f("name", 1, String, OmitEmpty, "Name of the object."),
        f("group", 2, String, OmitEmpty, "Group of the resource."),
        f("kind", 3, String, OmitEmpty, "Resource, for Invalid the kind."),
        f("uid", 6, String, OmitEmpty, "UID of the object."),
        f("causes", 4, List(&Nested(&STATUS_CAUSE), Atomic), OmitEmpty, "One entry per fault."),
        f("retryAfterSeconds", 5, Int32, OmitEmpty, "Seconds to wait before trying again."),
    ],
);

static STATUS_CAUSE: Message = V1.message(
    "StatusCause",
    "One fault.",
    &[
        f("reason", 1, String, OmitEmpty, "Machine-readable reason."),
        f("message", 2, String, OmitEmpty, "Human-readable description."),
        f("field", 3, String, OmitEmpty, "Path of the field."),
    ],
);

/// The outcome of a request; `apiVersion: v1`, as upstream prints it.
pub static STATUS: Type = Type {
    group: "",
    version: "v1",
    kind: "Status",
    message: &STATUS_MESSAGE,
};

static PARTIAL_OBJECT_METADATA_MESSAGE: Message = V1.message(
    "PartialObjectMetadata",
    "Any object, reduced to its metadata.",
    &[METADATA],
);

/// Any object, reduced to its metadata.
pub static PARTIAL_OBJECT_METADATA: Type = Type {
    group: "meta.k8s.io",
    version: "v1",
    kind: "PartialObjectMetadata",
    message: &PARTIAL_OBJECT_METADATA_MESSAGE,
};

/// LabelSelector, as it stands inside objects.
pub static LABEL_SELECTOR: Message = V1.message(
    "LabelSelector",
    "Selects objects by their labels; all terms must hold.",
    &[
        f("matchLabels", 1, Map(&String), OmitEmpty, "Labels that must have these values."),
        f("matchExpressions", 2, List(&Nested(&LABEL_SELECTOR_REQUIREMENT), Atomic), OmitEmpty, "Further terms."),
    ],
).atomic();

/// One term of a label selector.
pub static LABEL_SELECTOR_REQUIREMENT: Message = V1.message(
    "LabelSelectorRequirement",
    "One term of a label selector.",
    &[
        f("key", 1, String, Always, "Label the term is about.").required(),
        f("operator", 2, String, Always, "In, NotIn, Exists or DoesNotExist.").required(),
        f("values", 3, List(&String, Atomic), OmitEmpty, "Values, for In and NotIn."),
    ],
);
