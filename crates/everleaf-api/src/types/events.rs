//! `events.k8s.io`: another view of the core group's events. A decoded object is the core one; only
//! the wire differs.

use super::core::{EVENT_SOURCE, OBJECT_REFERENCE};
use super::table::*;

const V1: Package = Package("io.k8s.api.events.v1");

/// Event (events.k8s.io/v1).
pub static NEW_EVENT: Type = Type {
    group: "events.k8s.io",
    version: "v1",
    kind: "Event",
    message: &V1.message(
        "Event",
        "Something that happened to an object, for people to read.",
        &[
            METADATA,
            f("eventTime", 2, MicroTime, Always, "When it was first seen.").required(),
            f("series", 3, Nested(&SERIES), Pointer, "How often it was seen."),
            f("reportingController", 4, String, OmitEmpty, "Controller that reports it.").held_as("reportingComponent"),
            f("reportingInstance", 5, String, OmitEmpty, "Which instance of the controller."),
            f("action", 6, String, OmitEmpty, "What was done about the object."),
            f("reason", 7, String, OmitEmpty, "One word for programs."),
            f("regarding", 8, Nested(&OBJECT_REFERENCE), Always, "The object it is about.").held_as("involvedObject"),
            f("related", 9, Nested(&OBJECT_REFERENCE), Pointer, "A second object it is about."),
            f("note", 10, String, OmitEmpty, "For people.").held_as("message"),
            f("type", 11, String, OmitEmpty, "Normal or Warning."),
            f("deprecatedSource", 12, Nested(&EVENT_SOURCE), Always, "Who reports it, in the older form.").held_as("source"),
            f("deprecatedFirstTimestamp", 13, Time, Always, "When it was first seen, in the older form.").held_as("firstTimestamp"),
            f("deprecatedLastTimestamp", 14, Time, Always, "When it was last seen, in the older form.").held_as("lastTimestamp"),
            f("deprecatedCount", 15, Int32, OmitEmpty, "How often it was seen, in the older form.").held_as("count"),
        ],
    ),
};

static SERIES: Message = V1.message(
    "EventSeries",
    "How often an event was seen.",
    &[
        f("count", 1, Int32, Always, "Times so far.").required(),
        f("lastObservedTime", 2, MicroTime, Always, "When last.").required(),
    ],
);
