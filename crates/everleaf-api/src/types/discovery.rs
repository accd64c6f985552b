//! `meta.k8s.io`: what a server tells about itself. Made as JSON by
//! [`discovery`](crate::discovery); the tables give the protobuf form, which clients configured for
//! protobuf ask for.

use super::table::*;

const V1: Package = Package("io.k8s.apimachinery.pkg.apis.meta.v1");

const fn document(kind: &'static str, message: &'static Message) -> Type {
    Type { group: "", version: "v1", kind, message }
}

/// APIVersions.
pub static API_VERSIONS: Type = document(
    "APIVersions",
    &V1.message(
        "APIVersions",
        "The versions of the core group.",
        &[
            f("versions", 1, List(&String, Atomic), Always, "The versions.").required(),
            f("serverAddressByClientCIDRs", 2, List(&Nested(&SERVER_ADDRESS), Atomic), Always, "Where clients reach the server.").required(),
        ],
    ),
);

/// APIGroupList.
pub static API_GROUP_LIST: Type = document(
    "APIGroupList",
    &V1.message(
        "APIGroupList",
        "The groups that are served.",
        &[f("groups", 1, List(&Nested(&GROUP), Atomic), Always, "The groups, in order of preference.").required()],
    ),
);

/// APIGroup.
pub static API_GROUP: Type = document("APIGroup", &GROUP);

/// APIResourceList.
pub static API_RESOURCE_LIST: Type = document(
    "APIResourceList",
    &V1.message(
        "APIResourceList",
        "The resources of a version of a group.",
        &[
            f("groupVersion", 1, String, Always, "Group and version.").required(),
            f("resources", 2, List(&Nested(&RESOURCE), Atomic), Always, "The resources; subresources too.").required(),
        ],
    ),
);

static SERVER_ADDRESS: Message = V1.message(
    "ServerAddressByClientCIDR",
    "Where clients of a network reach the server.",
    &[
        f("clientCIDR", 1, String, Always, "The clients' network.").required(),
        f("serverAddress", 2, String, Always, "Host, or host and port.").required(),
    ],
);

static GROUP: Message = V1.message(
    "APIGroup",
    "A group and its versions.",
    &[
        f("name", 1, String, Always, "Name.").required(),
        f("versions", 2, List(&Nested(&VERSION), Atomic), Always, "Versions, in order of preference.").required(),
        f("preferredVersion", 3, Nested(&VERSION), OmitEmpty, "The first of them.").zero_by_default(),
        f("serverAddressByClientCIDRs", 4, List(&Nested(&SERVER_ADDRESS), Atomic), OmitEmpty, "Where clients reach the server."),
    ],
);

static VERSION: Message = V1.message(
    "GroupVersionForDiscovery",
    "A version of a group.",
    &[
        f("groupVersion", 1, String, Always, "Group and version.").required(),
        f("version", 2, String, Always, "Version.").required(),
    ],
);

static RESOURCE: Message = V1.message(
    "APIResource",
    "A resource, or a subresource.",
    &[
        f("name", 1, String, Always, "Plural, or plural/subresource.").required(),
        f("singularName", 6, String, Always, "Singular.").required(),
        f("namespaced", 2, Bool, Always, "Whether its objects are in namespaces.").required(),
        f("group", 8, String, OmitEmpty, "Group of the kind, where it is not that of the list."),
        f("version", 9, String, OmitEmpty, "Version of the kind, where it is not that of the list."),
        f("kind", 3, String, Always, "Kind.").required(),
        // `Verbs{items=1}`, as an ExtraValue is.
        f("verbs", 4, ExtraValue, Pointer, "What can be done.").required(),
        f("shortNames", 5, List(&String, Atomic), OmitEmpty, "Short names."),
        f("categories", 7, List(&String, Atomic), OmitEmpty, "Categories, such as `all`."),
        f("storageVersionHash", 10, String, OmitEmpty, "Changes with the version in which objects are stored."),
    ],
);

/// `/version`, which is no object: it has neither kind nor apiVersion.
pub static VERSION_INFO: Message = Package("io.k8s.apimachinery.pkg.version").message(
    "Info",
    "Which server this is, and how it was built.",
    &[
        f("major", 1, String, Always, "Major version of the API.").required(),
        f("minor", 2, String, Always, "Minor version of the API.").required(),
        f("emulationMajor", 3, String, OmitEmpty, "Major version that the API behaves as."),
        f("emulationMinor", 4, String, OmitEmpty, "Minor version that the API behaves as."),
        f("minCompatibilityMajor", 5, String, OmitEmpty, "Major version of the oldest server that it runs beside."),
        f("minCompatibilityMinor", 6, String, OmitEmpty, "Minor version of the oldest server that it runs beside."),
        f("gitVersion", 7, String, Always, "Version of this server.").required(),
        f("gitCommit", 8, String, Always, "Commit that it was built from.").required(),
        f("gitTreeState", 9, String, Always, "Whether that commit was built as it is.").required(),
        f("buildDate", 10, String, Always, "When it was built.").required(),
        f("goVersion", 11, String, Always, "Version of the compiler.").required(),
        f("compiler", 12, String, Always, "Name of the compiler.").required(),
        f("platform", 13, String, Always, "Operating system and architecture.").required(),
    ],
);
