//! `authentication.k8s.io`: reviews, answered and never stored.

use super::table::*;

/// SelfSubjectReview.
pub static SELF_SUBJECT_REVIEW: Type = Type {
    group: "authentication.k8s.io",
    version: "v1",
    kind: "SelfSubjectReview",
    message: &Message::new(
        "SelfSubjectReview",
        "Who am I?",
        &[
            METADATA,
            f("status", 2, Nested(&SELF_STATUS), Always, "The answer."),
        ],
    ),
};

/// TokenReview.
pub static TOKEN_REVIEW: Type = Type {
    group: "authentication.k8s.io",
    version: "v1",
    kind: "TokenReview",
    message: &Message::new(
        "TokenReview",
        "Whose token is this?",
        &[
            METADATA,
            f("spec", 2, Nested(&TOKEN_SPEC), Always, "The question."),
            f("status", 3, Nested(&TOKEN_STATUS), Always, "The answer."),
        ],
    ),
};

/// TokenRequest.
pub static TOKEN_REQUEST: Type = Type {
    group: "authentication.k8s.io",
    version: "v1",
    kind: "TokenRequest",
    message: &Message::new(
        "TokenRequest",
        "Asks for a token of a service account.",
        &[
            METADATA,
            f("spec", 2, Nested(&REQUEST_SPEC), Always, "What it shall be good for."),
            f("status", 3, Nested(&REQUEST_STATUS), Always, "The token."),
        ],
    ),
};

static REQUEST_SPEC: Message = Message::new(
    "TokenRequestSpec",
    "What a token shall be good for.",
    &[
        f("audiences", 1, List(&String, Atomic), Always, "Who shall believe it; empty is the API server."),
        f("expirationSeconds", 4, Int64, Nullable, "How long, at least 600; absent is an hour."),
        f("boundObjectRef", 3, Nested(&BOUND_OBJECT), Nullable, "Object with which it ends."),
        f("attestations", 5, Map(&ExtraValue), OmitEmpty, "What else it shall say; refused here."),
    ],
);

static BOUND_OBJECT: Message = Message::new(
    "BoundObjectReference",
    "The object with which a token ends.",
    &[
        f("kind", 1, String, OmitEmpty, "Pod, Secret or Node."),
        f("apiVersion", 2, String, OmitEmpty, "Group and version."),
        f("name", 3, String, OmitEmpty, "Name."),
        f("uid", 4, String, OmitEmpty, "UID."),
    ],
);

static REQUEST_STATUS: Message = Message::new(
    "TokenRequestStatus",
    "The token that was asked for.",
    &[
        f("token", 1, String, Always, "The bearer token."),
        f("expirationTimestamp", 2, Time, Always, "When it ends."),
    ],
);

static SELF_STATUS: Message = Message::new(
    "SelfSubjectReviewStatus",
    "Who the caller is.",
    &[f("userInfo", 1, Nested(&USER_INFO), Always, "The caller.")],
);

static TOKEN_SPEC: Message = Message::new(
    "TokenReviewSpec",
    "A token, and for whom it should be good.",
    &[
        f("token", 1, String, OmitEmpty, "Bearer token."),
        f("audiences", 2, List(&String, Atomic), OmitEmpty, "Audiences of which one must fit; empty is the API server's own."),
    ],
);

static TOKEN_STATUS: Message = Message::new(
    "TokenReviewStatus",
    "Whether the token is good, and whose it is.",
    &[
        f("authenticated", 1, Bool, OmitEmpty, "True when the token is good."),
        f("user", 2, Nested(&USER_INFO), Always, "Whose it is."),
        f("audiences", 4, List(&String, Atomic), OmitEmpty, "Audiences that fit."),
        f("error", 3, String, OmitEmpty, "Why it could not be checked."),
    ],
);

static USER_INFO: Message = Message::new(
    "UserInfo",
    "A user as the server sees it.",
    &[
        f("username", 1, String, OmitEmpty, "Name."),
        f("uid", 2, String, OmitEmpty, "UID."),
        f("groups", 3, List(&String, Atomic), OmitEmpty, "Groups."),
        f("extra", 4, Map(&ExtraValue), OmitEmpty, "Further attributes."),
    ],
);
