//! Which paths there are, and which operations on each.

use super::operations::{Answer, Body, Operation, Parameter};
use super::{Part, Served};
use crate::discovery::Resource;
use crate::schema::Type;
use crate::types::{API_GROUP, API_GROUP_LIST, API_RESOURCE_LIST, API_VERSIONS, VERSION_INFO};

/// A path, the parameters of all its operations, and these.
pub(super) struct Path {
    pub(super) path: String,
    pub(super) parameters: Vec<Parameter>,
    pub(super) operations: Vec<Operation>,
}

const fn query(name: &'static str, sort: &'static str, doc: &'static str) -> Parameter {
    Parameter {
        name,
        sort,
        is_in_path: false,
        doc,
    }
}

const fn in_path(name: &'static str, doc: &'static str) -> Parameter {
    Parameter {
        name,
        sort: "string",
        is_in_path: true,
        doc,
    }
}

const NAME: Parameter = in_path("name", "Name of the object.");
const NAMESPACE: Parameter = in_path("namespace", "Namespace of the objects.");
const PRETTY: Parameter = query("pretty", "string", "true: the answer is indented.");
const DRY_RUN: Parameter = query(
    "dryRun",
    "string",
    "All: the request is judged in full and nothing is stored.",
);
const FIELD_MANAGER: Parameter = query(
    "fieldManager",
    "string",
    "Who changes the fields; without it, the beginning of the User-Agent. Required to apply.",
);
const FIELD_VALIDATION: Parameter = query(
    "fieldValidation",
    "string",
    "What unknown and repeated fields lead to: Ignore, Warn (the default) or Strict (400).",
);
const WRITE: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
const PATCH: &[Parameter] = &[
    DRY_RUN,
    FIELD_MANAGER,
    FIELD_VALIDATION,
    query(
        "force",
        "boolean",
        "Takes fields over from other managers; only to apply.",
    ),
];
const CONTINUE: Parameter = query(
    "continue",
    "string",
    "Token of the page before; the rest of the query must be the same.",
);
const FIELD_SELECTOR: Parameter = query(
    "fieldSelector",
    "string",
    "Only objects whose fields have these values.",
);
const LABEL_SELECTOR: Parameter = query(
    "labelSelector",
    "string",
    "Only objects whose labels match.",
);
const LIMIT: Parameter = query(
    "limit",
    "integer",
    "Most objects of one answer; the rest comes by continue.",
);
const RESOURCE_VERSION: Parameter = query(
    "resourceVersion",
    "string",
    "State that is asked for, or that a watch begins after.",
);
const RESOURCE_VERSION_MATCH: Parameter = query(
    "resourceVersionMatch",
    "string",
    "How resourceVersion is meant: Exact or NotOlderThan.",
);
const SEND_INITIAL_EVENTS: Parameter = query(
    "sendInitialEvents",
    "boolean",
    "true: a watch begins with what is there, and a bookmark says where that ends.",
);
const SHARD_SELECTOR: Parameter = query(
    "shardSelector",
    "string",
    "Not supported: every object is told.",
);
const TIMEOUT: Parameter = query("timeoutSeconds", "integer", "How long a watch lasts.");
const LIST: &[Parameter] = &[
    query(
        "allowWatchBookmarks",
        "boolean",
        "Now and then, a watch tells how far it has come.",
    ),
    CONTINUE,
    FIELD_SELECTOR,
    LABEL_SELECTOR,
    LIMIT,
    RESOURCE_VERSION,
    RESOURCE_VERSION_MATCH,
    SEND_INITIAL_EVENTS,
    SHARD_SELECTOR,
    TIMEOUT,
    query(
        "watch",
        "boolean",
        "Changes as they happen, instead of a list.",
    ),
];
const GRACE_PERIOD: Parameter = query(
    "gracePeriodSeconds",
    "integer",
    "Seconds until the object goes; 0 at once.",
);
const IGNORE_READ_ERROR: Parameter = query(
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "boolean",
    "Deletes even what cannot be read; refused here.",
);
const ORPHAN: Parameter = query(
    "orphanDependents",
    "boolean",
    "Deprecated; see propagationPolicy.",
);
const PROPAGATION: Parameter = query(
    "propagationPolicy",
    "string",
    "What becomes of the objects that this one owns: Orphan, Background or Foreground.",
);
const DELETE: &[Parameter] = &[
    DRY_RUN,
    GRACE_PERIOD,
    IGNORE_READ_ERROR,
    ORPHAN,
    PROPAGATION,
];
const DELETE_COLLECTION: &[Parameter] = &[
    CONTINUE,
    DRY_RUN,
    FIELD_SELECTOR,
    GRACE_PERIOD,
    IGNORE_READ_ERROR,
    LABEL_SELECTOR,
    LIMIT,
    ORPHAN,
    PROPAGATION,
    RESOURCE_VERSION,
    RESOURCE_VERSION_MATCH,
    SEND_INITIAL_EVENTS,
    SHARD_SELECTOR,
    TIMEOUT,
];

/// The paths of one part.
pub(super) fn of_part(served: &Served<'_>, part: &Part) -> Vec<Path> {
    let document = |path: &str, id: &str, doc: &str, tag: String, r#type: &'static Type| Path {
        path: path.to_owned(),
        parameters: Vec::new(),
        operations: vec![Operation {
            method: "get",
            id: id.to_owned(),
            doc: doc.to_owned(),
            tag,
            parameters: &[],
            body: Body::None,
            codes: &[200],
            answer: Answer::Object(r#type),
            action: "",
            kind: None,
        }],
    };
    let versions = "get available API versions";
    match part {
        Part::Version => vec![version()],
        Part::Core => {
            let tag = "core".to_owned();
            vec![document(
                "/api/",
                "getCoreAPIVersions",
                versions,
                tag,
                &API_VERSIONS,
            )]
        }
        Part::Groups => {
            let tag = "apis".to_owned();
            vec![document(
                "/apis/",
                "getAPIVersions",
                versions,
                tag,
                &API_GROUP_LIST,
            )]
        }
        Part::Group(group) => {
            let id = format!("get{}APIGroup", in_camel_case(group));
            let path = format!("/apis/{group}/");
            let tag = tag(group, "");
            vec![document(
                &path,
                &id,
                "get information of a group",
                tag,
                &API_GROUP,
            )]
        }
        Part::Resources(group, version) => {
            let names = Names::of(group, version);
            let root = format!("/{}", part.name());
            let id = format!("get{}APIResources", names.camel);
            let (path, tag) = (format!("{root}/"), names.tag.clone());
            let doc = "get available resources";
            let mut paths = vec![document(&path, &id, doc, tag, &API_RESOURCE_LIST)];
            let of_part = served
                .resources
                .iter()
                .filter(|resource| resource.group == *group && resource.version == *version);
            for resource in of_part {
                paths.extend(of_resource(served, resource, &root, &names));
            }
            paths
        }
    }
}

/// What the operations of a group and version are called by.
struct Names {
    /// `CertificatesV1`
    camel: String,
    /// `certificates_v1`
    tag: String,
}

impl Names {
    fn of(group: &str, version: &str) -> Self {
        let version_in_camel_case = in_camel_case(version);
        Self {
            camel: format!("{}{version_in_camel_case}", in_camel_case(group)),
            tag: tag(group, version),
        }
    }
}

/// `RbacAuthorization` of `rbac.authorization.k8s.io`, `Core` of the group without a name.
fn in_camel_case(group: &str) -> String {
    let mut text = String::new();
    for word in short(group).split('.') {
        let mut letters = word.chars();
        text.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        text.extend(letters);
    }
    text
}

fn tag(group: &str, version: &str) -> String {
    let words: Vec<&str> = short(group).split('.').chain([version]).collect();
    // As Go writes names: `rbacAuthorization_v1`.
    let camel = in_camel_case(group);
    let mut letters = camel.chars();
    let first: String = letters
        .next()
        .into_iter()
        .map(|first| first.to_ascii_lowercase())
        .collect();
    match words.last() {
        Some(&"") | None => format!("{first}{}", letters.as_str()),
        Some(version) => format!("{first}{}_{version}", letters.as_str()),
    }
}

fn short(group: &str) -> &str {
    match group {
        "" => "core",
        group => group.strip_suffix(".k8s.io").unwrap_or(group),
    }
}

/// The paths of a resource or of a subresource.
fn of_resource(served: &Served<'_>, resource: &Resource, root: &str, names: &Names) -> Vec<Path> {
    let (group, version) = resource
        .kind_version
        .unwrap_or((resource.group, resource.version));
    let Some(r#type) = (served.r#type)(group, version, resource.kind) else {
        return Vec::new();
    };
    let (name, subresource) = match resource.name.split_once('/') {
        Some((name, subresource)) => (name, subresource),
        None => (resource.name, ""),
    };
    // What the path is of; a subresource may speak of another kind.
    let owner = served.resources.iter().find(|other| {
        other.name == name && other.group == resource.group && other.version == resource.version
    });
    let maker = Maker {
        names,
        resource,
        r#type,
        owner: owner.map_or(resource.kind, |owner| owner.kind),
        subresource,
    };
    let (scope, mut parameters) = match resource.namespaced {
        true => (
            format!("{root}/namespaces/{{namespace}}"),
            vec![NAMESPACE, PRETTY],
        ),
        false => (root.to_owned(), vec![PRETTY]),
    };
    let path = |path: String, parameters: Vec<Parameter>, operations: Vec<Operation>| {
        (!operations.is_empty()).then_some(Path {
            path,
            parameters,
            operations,
        })
    };
    let collection = format!("{scope}/{name}");
    if !subresource.is_empty() {
        parameters.insert(0, NAME);
        let object = format!("{collection}/{{name}}/{subresource}");
        let verbs = ["get", "update", "patch", "create"];
        return path(object, parameters, maker.operations(&verbs))
            .into_iter()
            .collect();
    }
    let mut of_object = parameters.clone();
    of_object.insert(0, NAME);
    let verbs = ["list", "create", "deletecollection"];
    let of_collection = path(collection.clone(), parameters, maker.operations(&verbs));
    let verbs = ["get", "update", "delete", "patch"];
    let of_object = path(
        format!("{collection}/{{name}}"),
        of_object,
        maker.operations(&verbs),
    );
    let of_all = resource.namespaced.then(|| {
        let operations = maker.operations(&["list all"]);
        path(format!("{root}/{name}"), vec![PRETTY], operations)
    });
    let watches = maker.watches(root, name);
    of_collection
        .into_iter()
        .chain(of_object)
        .chain(of_all.flatten())
        .chain(watches)
        .collect()
}

/// Makes the operations of a resource.
struct Maker<'a> {
    names: &'a Names,
    resource: &'a Resource,
    r#type: &'static Type,
    owner: &'static str,
    subresource: &'a str,
}

impl Maker<'_> {
    /// Those operations of the named ones that the resource has.
    fn operations(&self, names: &[&str]) -> Vec<Operation> {
        let named = names.iter().filter(|name| {
            let verb = name.split(' ').next().unwrap_or("");
            self.resource.verbs.contains(&verb)
        });
        named.filter_map(|name| self.operation(name)).collect()
    }

    /// The deprecated paths of watches.
    fn watches(&self, root: &str, name: &str) -> Vec<Path> {
        if !self.resource.verbs.contains(&"watch") {
            return Vec::new();
        }
        let (group, owner) = (&self.names.camel, self.owner);
        let (scope, place, of) = match self.resource.namespaced {
            true => (
                "Namespaced",
                "namespaces/{namespace}/",
                vec![NAMESPACE, PRETTY],
            ),
            false => ("", "", vec![PRETTY]),
        };
        let watch = |path: String, id: String, action, parameters: &[Parameter]| {
            let doc = match action {
                "watch" => format!("watch one object of kind {owner}; deprecated: list with watch"),
                _ => format!("watch objects of kind {owner}; deprecated: list with watch"),
            };
            Path {
                path: format!("{root}/watch/{path}"),
                parameters: [LIST, parameters].concat(),
                operations: vec![Operation {
                    method: "get",
                    id,
                    doc,
                    tag: self.names.tag.clone(),
                    parameters: &[],
                    body: Body::None,
                    codes: &[200],
                    answer: Answer::Events,
                    action,
                    kind: Some((self.r#type.group, self.r#type.version, self.resource.kind)),
                }],
            }
        };
        let id = format!("watch{group}{scope}{owner}");
        let list = format!("{id}List");
        let object = [of.as_slice(), &[NAME]].concat();
        let mut paths = vec![
            watch(format!("{place}{name}"), list, "watchlist", &of),
            watch(format!("{place}{name}/{{name}}"), id, "watch", &object),
        ];
        if self.resource.namespaced {
            let id = format!("watch{group}{owner}ListForAllNamespaces");
            paths.push(watch(name.to_owned(), id, "watchlist", &[PRETTY]));
        }
        paths
    }

    fn operation(&self, name: &str) -> Option<Operation> {
        let verb = VERBS.iter().find(|verb| verb.name == name)?;
        let (owner, kind) = (self.owner, self.resource.kind);
        let (of, about) = match self.subresource {
            "" => (String::new(), format!("the specified {owner}")),
            subresource => (
                in_camel_case(subresource),
                format!("{subresource} of the specified {owner}"),
            ),
        };
        let group = &self.names.camel;
        let scope = match self.resource.namespaced {
            true => "Namespaced",
            false => "",
        };
        let id = match name {
            "list all" => format!("list{group}{owner}ForAllNamespaces"),
            "deletecollection" => format!("delete{group}Collection{scope}{owner}"),
            _ => format!("{}{group}{scope}{owner}{of}", verb.id),
        };
        let doc = match (verb.action, self.subresource) {
            ("list", _) => format!("list or watch objects of kind {kind}"),
            ("post", "") => format!("create {} {kind}", article(kind)),
            ("post", subresource) => format!("create {subresource} of {} {owner}", article(owner)),
            ("delete", _) => format!("delete {} {kind}", article(kind)),
            ("deletecollection", _) => format!("delete collection of {kind}"),
            ("get", _) => format!("read {about}"),
            ("put", _) => format!("replace {about}"),
            _ => format!("partially update {about}"),
        };
        let body = match verb.action {
            "post" | "put" => Body::Object(self.r#type),
            "patch" => Body::Patch,
            "delete" | "deletecollection" => Body::Options,
            _ => Body::None,
        };
        let answer = match verb.action {
            "list" => Answer::List(self.r#type),
            "deletecollection" => Answer::Status,
            "delete" if !self.resource.returns_deleted => Answer::Status,
            _ => Answer::Object(self.r#type),
        };
        Some(Operation {
            method: verb.method,
            id,
            doc,
            tag: self.names.tag.clone(),
            parameters: verb.parameters,
            body,
            codes: verb.codes,
            answer,
            action: verb.action,
            kind: Some((self.r#type.group, self.r#type.version, kind)),
        })
    }
}

/// What a verb is in OpenAPI.
struct Verb {
    /// As discovery has it; `list all` is a list across namespaces.
    name: &'static str,
    method: &'static str,
    /// How the names of its operations begin.
    id: &'static str,
    parameters: &'static [Parameter],
    /// Codes of success.
    codes: &'static [u16],
    action: &'static str,
}

const fn verb(
    name: &'static str,
    (method, id, action): (&'static str, &'static str, &'static str),
    parameters: &'static [Parameter],
    codes: &'static [u16],
) -> Verb {
    Verb {
        name,
        method,
        id,
        parameters,
        codes,
        action,
    }
}

const VERBS: [Verb; 8] = [
    verb("list", ("get", "list", "list"), LIST, &[200]),
    verb("list all", ("get", "list", "list"), LIST, &[200]),
    verb(
        "create",
        ("post", "create", "post"),
        WRITE,
        &[200, 201, 202],
    ),
    verb(
        "deletecollection",
        ("delete", "delete", "deletecollection"),
        DELETE_COLLECTION,
        &[200],
    ),
    verb("get", ("get", "read", "get"), &[], &[200]),
    verb("update", ("put", "replace", "put"), WRITE, &[200, 201]),
    verb("patch", ("patch", "patch", "patch"), PATCH, &[200, 201]),
    verb(
        "delete",
        ("delete", "delete", "delete"),
        DELETE,
        &[200, 202],
    ),
];

fn article(noun: &str) -> &'static str {
    match noun.chars().next() {
        Some('A' | 'E' | 'I' | 'O' | 'U') => "an",
        _ => "a",
    }
}

fn version() -> Path {
    Path {
        path: "/version/".to_owned(),
        parameters: Vec::new(),
        operations: vec![Operation {
            method: "get",
            id: "getCodeVersion".to_owned(),
            doc: "get the version information for this server".to_owned(),
            tag: "version".to_owned(),
            parameters: &[],
            body: Body::None,
            codes: &[200],
            answer: Answer::Plain(&VERSION_INFO),
            action: "",
            kind: None,
        }],
    }
}
