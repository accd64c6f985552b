//! `authorization.k8s.io`: reviews, answered and never stored.

use super::table::*;

const V1: Package = Package("io.k8s.api.authorization.v1");

const GROUP: &str = "authorization.k8s.io";

/// SubjectAccessReview.
pub static SUBJECT_ACCESS_REVIEW: Type = Type {
    group: GROUP,
    version: "v1",
    kind: "SubjectAccessReview",
    message: &V1.message(
        "SubjectAccessReview",
        "Checks whether a user may perform an action.",
        &[METADATA, SPEC, STATUS],
    ),
};

/// LocalSubjectAccessReview.
pub static LOCAL_SUBJECT_ACCESS_REVIEW: Type = Type {
    group: GROUP,
    version: "v1",
    kind: "LocalSubjectAccessReview",
    message: &V1.message(
        "LocalSubjectAccessReview",
        "Checks whether a user may perform an action in one namespace.",
        &[METADATA, SPEC, STATUS],
    ),
};

/// SelfSubjectAccessReview.
pub static SELF_SUBJECT_ACCESS_REVIEW: Type = Type {
    group: GROUP,
    version: "v1",
    kind: "SelfSubjectAccessReview",
    message: &V1.message(
        "SelfSubjectAccessReview",
        "May I do that?",
        &[
            METADATA,
            f("spec", 2, Nested(&SELF_SPEC), Always, "The question.").required(),
            STATUS,
        ],
    ),
};

/// SelfSubjectRulesReview.
pub static SELF_SUBJECT_RULES_REVIEW: Type = Type {
    group: GROUP,
    version: "v1",
    kind: "SelfSubjectRulesReview",
    message: &V1.message(
        "SelfSubjectRulesReview",
        "Lists the actions that the caller may perform in a namespace.",
        &[
            METADATA,
            f("spec", 2, Nested(&RULES_SPEC), Always, "The question.").required(),
            f("status", 3, Nested(&RULES_STATUS), Always, "The answer."),
        ],
    ),
};

const SPEC: Field = f("spec", 2, Nested(&REVIEW_SPEC), Always, "The question.").required();
const STATUS: Field = f("status", 3, Nested(&REVIEW_STATUS), Always, "The answer.");
const RESOURCE: Field = f("resourceAttributes", 1, Nested(&RESOURCE_ATTRIBUTES), Pointer, "An action on a resource.");
const NON_RESOURCE: Field = f("nonResourceAttributes", 2, Nested(&NON_RESOURCE_ATTRIBUTES), Pointer, "An action on a path.");

static REVIEW_SPEC: Message = V1.message(
    "SubjectAccessReviewSpec",
    "The user and the action; exactly one of the two attributes must be set.",
    &[
        RESOURCE,
        NON_RESOURCE,
        f("user", 3, String, OmitEmpty, "User."),
        f("groups", 4, List(&String, Atomic), OmitEmpty, "The user's groups."),
        f("extra", 5, Map(&ExtraValue), OmitEmpty, "The user's further attributes."),
        f("uid", 6, String, OmitEmpty, "The user's UID."),
    ],
);

static SELF_SPEC: Message = V1.message(
    "SelfSubjectAccessReviewSpec",
    "The action to check; exactly one of the attributes must be set.",
    &[RESOURCE, NON_RESOURCE],
);

static REVIEW_STATUS: Message = V1.message(
    "SubjectAccessReviewStatus",
    "The answer.",
    &[
        f("allowed", 1, Bool, Always, "True when the action is allowed.").required(),
        f("denied", 4, Bool, OmitEmpty, "True when an authorizer refused for good."),
        f("reason", 2, String, OmitEmpty, "Why."),
        f("evaluationError", 3, String, OmitEmpty, "Errors met while the rules were evaluated; the answer stands."),
    ],
);

static RESOURCE_ATTRIBUTES: Message = V1.message(
    "ResourceAttributes",
    "An action on a resource.",
    &[
        f("namespace", 1, String, OmitEmpty, "Namespace; empty is every one, or none."),
        f("verb", 2, String, OmitEmpty, "Verb."),
        f("group", 3, String, OmitEmpty, "Group."),
        f("version", 4, String, OmitEmpty, "Version."),
        f("resource", 5, String, OmitEmpty, "Resource."),
        f("subresource", 6, String, OmitEmpty, "Subresource."),
        f("name", 7, String, OmitEmpty, "Name of the object; empty is every one."),
        f("fieldSelector", 8, Nested(&FIELD_SELECTOR), Pointer, "Field selector that limits the request."),
        f("labelSelector", 9, Nested(&LABEL_SELECTOR), Pointer, "Label selector that limits the request."),
    ],
);

static FIELD_SELECTOR: Message = V1.message(
    "FieldSelectorAttributes",
    "A field selector, raw or parsed.",
    &[
        f("rawSelector", 1, String, OmitEmpty, "As in a query."),
        f("requirements", 2, List(&Nested(&FIELD_SELECTOR_REQUIREMENT), Atomic), OmitEmpty, "Parsed; all must hold."),
    ],
);

static FIELD_SELECTOR_REQUIREMENT: Message = super::meta::V1.message(
    "FieldSelectorRequirement",
    "One term of a field selector.",
    &[
        f("key", 1, String, Always, "Field the term is about.").required(),
        f("operator", 2, String, Always, "In, NotIn, Exists or DoesNotExist.").required(),
        f("values", 3, List(&String, Atomic), OmitEmpty, "Values, for In and NotIn."),
    ],
);

static LABEL_SELECTOR: Message = V1.message(
    "LabelSelectorAttributes",
    "A label selector, raw or parsed.",
    &[
        f("rawSelector", 1, String, OmitEmpty, "As in a query."),
        f("requirements", 2, List(&Nested(&super::meta::LABEL_SELECTOR_REQUIREMENT), Atomic), OmitEmpty, "Parsed; all must hold."),
    ],
);

static NON_RESOURCE_ATTRIBUTES: Message = V1.message(
    "NonResourceAttributes",
    "An action on a path.",
    &[
        f("path", 1, String, OmitEmpty, "URL path."),
        f("verb", 2, String, OmitEmpty, "HTTP method in lower case."),
    ],
);

static RULES_SPEC: Message = V1.message(
    "SelfSubjectRulesReviewSpec",
    "The namespace to list rules for.",
    &[f("namespace", 1, String, OmitEmpty, "Namespace; required.")],
);

static RULES_STATUS: Message = V1.message(
    "SubjectRulesReviewStatus",
    "The actions that are allowed, as far as they can be listed.",
    &[
        f("resourceRules", 1, List(&Nested(&RESOURCE_RULE), Atomic), Always, "On resources.").required(),
        f("nonResourceRules", 2, List(&Nested(&NON_RESOURCE_RULE), Atomic), Always, "On paths.").required(),
        f("incomplete", 3, Bool, Always, "True when an authorizer cannot list its rules.").required(),
        f("evaluationError", 4, String, OmitEmpty, "What went wrong meanwhile."),
    ],
);

static RESOURCE_RULE: Message = V1.message(
    "ResourceRule",
    "Verbs on resources.",
    &[
        f("verbs", 1, List(&String, Atomic), Always, "Verbs; * is every one.").required(),
        f("apiGroups", 2, List(&String, Atomic), OmitEmpty, "Groups; * is every one."),
        f("resources", 3, List(&String, Atomic), OmitEmpty, "Resources; * is every one."),
        f("resourceNames", 4, List(&String, Atomic), OmitEmpty, "Names it is limited to; empty is every one."),
    ],
);

static NON_RESOURCE_RULE: Message = V1.message(
    "NonResourceRule",
    "Verbs on paths.",
    &[
        f("verbs", 1, List(&String, Atomic), Always, "Verbs; * is every one.").required(),
        f("nonResourceURLs", 2, List(&String, Atomic), OmitEmpty, "Paths; a * at the end matches what follows."),
    ],
);
