//! `authentication.k8s.io`: reviews, answered and never stored.

use super::table::*;

const V1: Package = Package("io.k8s.api.authentication.v1");

/// SelfSubjectReview.
pub static SELF_SUBJECT_REVIEW: Type = Type {
    group: "authentication.k8s.io",
    version: "v1",
    kind: "SelfSubjectReview",
    message: &V1.message(
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
    message: &V1.message(
        "TokenReview",
        "Checks a token and tells whose it is.",
        &[
            METADATA,
            f("spec", 2, Nested(&TOKEN_SPEC), Always, "The question.").required(),
            f("status", 3, Nested(&TOKEN_STATUS), Always, "The answer."),
        ],
    ),
};

/// TokenRequest.
pub static TOKEN_REQUEST: Type = Type {
    group: "authentication.k8s.io",
    version: "v1",
    kind: "TokenRequest",
    message: &V1.message(
        "TokenRequest",
        "Asks for a token of a service account.",
        &[
            METADATA,
            f("spec", 2, Nested(&REQUEST_SPEC), Always, "Audiences, lifetime and binding that are asked for."),
            f("status", 3, Nested(&REQUEST_STATUS), Always, "The token."),
        ],
    ),
};

static REQUEST_SPEC: Message = V1.message(
    "TokenRequestSpec",
    "Audiences, lifetime and binding of a token that is asked for.",
    &[
        f("audiences", 1, List(&String, Atomic), Always, "Intended audiences; empty means the API server."),
        f("expirationSeconds", 4, Int64, Nullable, "Requested lifetime in seconds, at least 600; defaults to 3600."),
        f("boundObjectRef", 3, Nested(&BOUND_OBJECT), Nullable, "Object that the token is bound to: it is invalid once that is deleted."),
        f("attestations", 5, Map(&ExtraValue), OmitEmpty, "Further claims that are asked for; refused here."),
    ],
);

static BOUND_OBJECT: Message = V1.message(
    "BoundObjectReference",
    "Reference to the object that a token is bound to.",
    &[
        f("kind", 1, String, OmitEmpty, "Pod, Secret or Node."),
        f("apiVersion", 2, String, OmitEmpty, "Group and version."),
        f("name", 3, String, OmitEmpty, "Name."),
        f("uid", 4, String, OmitEmpty, "UID."),
    ],
);

static REQUEST_STATUS: Message = V1.message(
    "TokenRequestStatus",
    "The issued token.",
    &[
        f("token", 1, String, Always, "The bearer token."),
        f("expirationTimestamp", 2, Time, Always, "When it ends."),
    ],
);

static SELF_STATUS: Message = V1.message(
    "SelfSubjectReviewStatus",
    "Who the caller is.",
    &[f("userInfo", 1, Nested(&USER_INFO), Always, "The caller.")],
);

static TOKEN_SPEC: Message = V1.message(
    "TokenReviewSpec",
    "The token to check, and the audiences it should be valid for.",
    &[
        f("token", 1, String, OmitEmpty, "Bearer token.").required(),
        f("audiences", 2, List(&String, Atomic), OmitEmpty, "Audiences, one of which must match; empty means the API server's own."),
    ],
);

static TOKEN_STATUS: Message = V1.message(
    "TokenReviewStatus",
    "Whether the token is valid, and whose it is.",
    &[
        f("authenticated", 1, Bool, OmitEmpty, "True when the token is valid."),
        f("user", 2, Nested(&USER_INFO), Always, "Whose it is."),
        f("audiences", 4, List(&String, Atomic), OmitEmpty, "Audiences that match."),
        f("error", 3, String, OmitEmpty, "Why it could not be checked."),
    ],
);

static USER_INFO: Message = V1.message(
    "UserInfo",
    "A user as the server sees it.",
    &[
        f("username", 1, String, OmitEmpty, "Name."),
        f("uid", 2, String, OmitEmpty, "UID."),
        f("groups", 3, List(&String, Atomic), OmitEmpty, "Groups."),
        f("extra", 4, Map(&ExtraValue), OmitEmpty, "Further attributes."),
    ],
);
