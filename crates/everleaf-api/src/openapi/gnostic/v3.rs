//! The tables of version 3 (`github.com/google/gnostic-models/openapiv3/OpenAPIv3.proto`), as far
//! as our documents need them.

use super::Shape::{self, Any, Default, Each, Entries, Flag, Message, OrReference, Text, Within};

pub(super) static REFERENCE: Shape = Message(&[("$ref", 1, &Text), ("description", 3, &Text)], 0);
static SCHEMA: Shape = Message(
    &[
        ("uniqueItems", 20, &Flag),
        ("required", 23, &Each(&Text)),
        ("enum", 24, &Each(&Any)),
        ("type", 25, &Text),
        ("allOf", 26, &Each(&ANY_SCHEMA)),
        ("oneOf", 27, &Each(&ANY_SCHEMA)),
        ("items", 30, &Within(1, &ANY_SCHEMA)),
        ("properties", 31, &Entries(1, &ANY_SCHEMA)),
        ("additionalProperties", 32, &Within(1, &ANY_SCHEMA)),
        ("default", 33, &Default),
        ("description", 34, &Text),
        ("format", 35, &Text),
    ],
    36,
);
static ANY_SCHEMA: Shape = OrReference(&SCHEMA);
static MEDIA_TYPE: Shape = Message(&[("schema", 1, &ANY_SCHEMA)], 5);
static CONTENT: Shape = Entries(1, &MEDIA_TYPE);
static PARAMETER: Shape = OrReference(&Message(
    &[
        ("name", 1, &Text),
        ("in", 2, &Text),
        ("description", 3, &Text),
        ("required", 4, &Flag),
        ("schema", 10, &ANY_SCHEMA),
    ],
    14,
));
static REQUEST_BODY: Shape = OrReference(&Message(
    &[
        ("description", 1, &Text),
        ("content", 2, &CONTENT),
        ("required", 3, &Flag),
    ],
    4,
));
static RESPONSE: Shape = OrReference(&Message(
    &[("description", 1, &Text), ("content", 3, &CONTENT)],
    5,
));
static OPERATION: Shape = Message(
    &[
        ("tags", 1, &Each(&Text)),
        ("description", 3, &Text),
        ("operationId", 5, &Text),
        ("parameters", 6, &Each(&PARAMETER)),
        ("requestBody", 7, &REQUEST_BODY),
        ("responses", 8, &Entries(2, &RESPONSE)),
    ],
    13,
);
static PATH_ITEM: Shape = Message(
    &[
        ("get", 4, &OPERATION),
        ("put", 5, &OPERATION),
        ("post", 6, &OPERATION),
        ("delete", 7, &OPERATION),
        ("patch", 10, &OPERATION),
        ("parameters", 13, &Each(&PARAMETER)),
    ],
    14,
);
static SECURITY_SCHEME: Shape = OrReference(&Message(
    &[
        ("type", 1, &Text),
        ("description", 2, &Text),
        ("name", 3, &Text),
        ("in", 4, &Text),
    ],
    9,
));
static COMPONENTS: Shape = Message(
    &[
        ("schemas", 1, &Entries(1, &ANY_SCHEMA)),
        ("securitySchemes", 7, &Entries(1, &SECURITY_SCHEME)),
    ],
    10,
);
static INFO: Shape = Message(&[("title", 1, &Text), ("version", 6, &Text)], 7);
pub(super) static DOCUMENT: Shape = Message(
    &[
        ("openapi", 1, &Text),
        ("info", 2, &INFO),
        ("paths", 4, &Entries(1, &PATH_ITEM)),
        ("components", 5, &COMPONENTS),
    ],
    9,
);
