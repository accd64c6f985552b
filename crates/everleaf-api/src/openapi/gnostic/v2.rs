//! The tables of version 2 (`github.com/google/gnostic-models/openapiv2/OpenAPIv2.proto`).

use super::Shape::{self, Any, Each, Entries, Flag, Message, Parameter, Text, Within};

static SCHEMA: Shape = Message(
    &[
        ("$ref", 1, &Text),
        ("format", 2, &Text),
        ("description", 4, &Text),
        ("required", 19, &Each(&Text)),
        ("enum", 20, &Each(&Any)),
        ("additionalProperties", 21, &Within(1, &SCHEMA)),
        ("type", 22, &Within(1, &Text)),
        ("items", 23, &Within(1, &SCHEMA)),
        ("properties", 25, &Entries(1, &SCHEMA)),
    ],
    31,
);
static RESPONSE: Shape = Message(
    &[
        ("description", 1, &Text),
        ("schema", 2, &Within(1, &SCHEMA)),
    ],
    5,
);
static BODY_PARAMETER: Shape = Message(
    &[
        ("description", 1, &Text),
        ("name", 2, &Text),
        ("in", 3, &Text),
        ("required", 4, &Flag),
        ("schema", 5, &SCHEMA),
    ],
    6,
);
static QUERY_PARAMETER: Shape = Message(
    &[
        ("required", 1, &Flag),
        ("in", 2, &Text),
        ("description", 3, &Text),
        ("name", 4, &Text),
        ("type", 6, &Text),
        ("uniqueItems", 20, &Flag),
    ],
    23,
);
static PATH_PARAMETER: Shape = Message(
    &[
        ("required", 1, &Flag),
        ("in", 2, &Text),
        ("description", 3, &Text),
        ("name", 4, &Text),
        ("type", 5, &Text),
        ("uniqueItems", 19, &Flag),
    ],
    22,
);
pub(super) static IN_BODY: Shape = Within(1, &BODY_PARAMETER);
pub(super) static IN_QUERY: Shape = Within(2, &Within(3, &QUERY_PARAMETER));
pub(super) static IN_PATH: Shape = Within(2, &Within(4, &PATH_PARAMETER));
static OPERATION: Shape = Message(
    &[
        ("tags", 1, &Each(&Text)),
        ("description", 3, &Text),
        ("operationId", 5, &Text),
        ("produces", 6, &Each(&Text)),
        ("consumes", 7, &Each(&Text)),
        ("parameters", 8, &Each(&Parameter)),
        ("responses", 9, &Entries(1, &Within(1, &RESPONSE))),
        ("schemes", 10, &Each(&Text)),
    ],
    13,
);
static PATH_ITEM: Shape = Message(
    &[
        ("get", 2, &OPERATION),
        ("put", 3, &OPERATION),
        ("post", 4, &OPERATION),
        ("delete", 5, &OPERATION),
        ("patch", 8, &OPERATION),
        ("parameters", 9, &Each(&Parameter)),
    ],
    10,
);
static API_KEY: Shape = Message(
    &[
        ("type", 1, &Text),
        ("name", 2, &Text),
        ("in", 3, &Text),
        ("description", 4, &Text),
    ],
    5,
);
pub(super) static DOCUMENT: Shape = Message(
    &[
        ("swagger", 1, &Text),
        (
            "info",
            2,
            &Message(&[("title", 1, &Text), ("version", 2, &Text)], 7),
        ),
        ("paths", 8, &Entries(2, &PATH_ITEM)),
        ("definitions", 9, &Entries(1, &SCHEMA)),
        ("security", 12, &Each(&Entries(1, &Within(1, &Each(&Text))))),
        ("securityDefinitions", 13, &Entries(1, &Within(2, &API_KEY))),
    ],
    16,
);
