//! `meta.k8s.io`: what a server tells about itself. Made as JSON by
//! [`discovery`](crate::discovery); the tables give the protobuf form, which clients configured for
//! protobuf ask for.

use super::table::*;

const fn document(kind: &'static str, message: &'static Message) -> Type {
    Type { group: "", version: "v1", kind, message }
}

/// APIVersions.
pub static API_VERSIONS: Type = document(
    "APIVersions",
    &Message::new(
        "APIVersions",
        "The versions of the core group.",
        &[
            f("versions", 1, List(&String, Atomic), Always, "The versions."),
            f("serverAddressByClientCIDRs", 2, List(&Nested(&SERVER_ADDRESS), Atomic), Always, "Where clients reach the server."),
        ],
    ),
);

/// APIGroupList.
pub static API_GROUP_LIST: Type = document(
    "APIGroupList",
    &Message::new(
        "APIGroupList",
        "The groups that are served.",
        &[f("groups", 1, List(&Nested(&GROUP), Atomic), Always, "The groups, in order of preference.")],
    ),
);

/// APIGroup.
pub static API_GROUP: Type = document("APIGroup", &GROUP);

/// APIResourceList.
pub static API_RESOURCE_LIST: Type = document(
    "APIResourceList",
    &Message::new(
        "APIResourceList",
        "The resources of a version of a group.",
        &[
            f("groupVersion", 1, String, Always, "Group and version."),
            f("resources", 2, List(&Nested(&RESOURCE), Atomic), Always, "The resources; subresources too."),
        ],
    ),
);

static SERVER_ADDRESS: Message = Message::new(
    "ServerAddressByClientCIDR",
    "Where clients of a network reach the server.",
    &[
        f("clientCIDR", 1, String, Always, "The clients' network."),
        f("serverAddress", 2, String, Always, "Host, or host and port."),
    ],
);

static GROUP: Message = Message::new(
    "APIGroup",
    "A group and its versions.",
    &[
        f("name", 1, String, Always, "Name."),
        f("versions", 2, List(&Nested(&VERSION), Atomic), Always, "Versions, in order of preference."),
        f("preferredVersion", 3, Nested(&VERSION), OmitEmpty, "The first of them."),
        f("serverAddressByClientCIDRs", 4, List(&Nested(&SERVER_ADDRESS), Atomic), OmitEmpty, "Where clients reach the server."),
    ],
);

static VERSION: Message = Message::new(
    "GroupVersionForDiscovery",
    "A version of a group.",
    &[
        f("groupVersion", 1, String, Always, "Group and version."),
        f("version", 2, String, Always, "Version."),
    ],
);

static RESOURCE: Message = Message::new(
    "APIResource",
    "A resource, or a subresource.",
    &[
        f("name", 1, String, Always, "Plural, or plural/subresource."),
        f("singularName", 6, String, Always, "Singular."),
        f("namespaced", 2, Bool, Always, "Whether its objects are in namespaces."),
        f("group", 8, String, OmitEmpty, "Group of the kind, where it is not that of the list."),
        f("version", 9, String, OmitEmpty, "Version of the kind, where it is not that of the list."),
        f("kind", 3, String, Always, "Kind."),
        // `Verbs{items=1}`, as an ExtraValue is.
        f("verbs", 4, ExtraValue, Pointer, "What can be done."),
        f("shortNames", 5, List(&String, Atomic), OmitEmpty, "Short names."),
        f("categories", 7, List(&String, Atomic), OmitEmpty, "Categories, such as `all`."),
        f("storageVersionHash", 10, String, OmitEmpty, "Changes with the version in which objects are stored."),
    ],
);
