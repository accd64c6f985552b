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
