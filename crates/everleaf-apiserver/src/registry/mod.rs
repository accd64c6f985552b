//! What is served: one descriptor per resource; the engine ([`crate::handler`]) does the rest.
//!
//! A descriptor is data (names, scope, verbs, schema, table columns, selectable fields) plus a
//! [`Strategy`] of pure functions. Nothing here sees a transport, a store or a clock. Adding a
//! resource is one file and one line in [`DESCRIPTORS`].

pub mod apis;
pub mod clustertrustbundles;
pub mod configmaps;
pub mod csidrivers;
pub mod csinodes;
pub mod csr;
pub mod customresourcedefinitions;
pub mod events;
pub mod gates;
pub mod leases;
pub mod names;
pub mod namespaces;
pub mod nodes;
mod payload;
pub mod podcertificaterequests;
pub mod pods;
pub mod rbac;
pub mod resourceslices;
pub mod retention;
pub mod reviews;
pub mod runtime_config;
pub mod runtimeclasses;
pub mod secrets;
pub mod serviceaccounts;
pub mod services;
pub mod volumeattachments;

use self::apis::Lifecycle;
use self::gates::{Gate, Gates};
use self::retention::Retention;
use crate::user::User;
use bytes::Bytes;
use everleaf_api::fields::FieldError;
use everleaf_api::meta;
use everleaf_api::schema::{DecodeError, Type};
use everleaf_api::table::Column;
use everleaf_pki::{RecentRequests, RequestError, VerifiedRequest};
use jiff::Timestamp;
use serde_json::Value;

/// Every stored resource, in the order in which discovery lists its groups.
pub static DESCRIPTORS: &[&Descriptor] = &[
    &configmaps::CONFIG_MAPS,
    &events::EVENTS,
    &namespaces::NAMESPACES,
    &nodes::NODES,
    &pods::PODS,
    &secrets::SECRETS,
    &serviceaccounts::SERVICE_ACCOUNTS,
    &services::SERVICES,
    &csr::CERTIFICATE_SIGNING_REQUESTS,
    &clustertrustbundles::BETA_CLUSTER_TRUST_BUNDLES,
    &podcertificaterequests::BETA_POD_CERTIFICATE_REQUESTS,
    &leases::LEASES,
    &rbac::CLUSTER_ROLE_BINDINGS,
    &rbac::CLUSTER_ROLES,
    &rbac::ROLE_BINDINGS,
    &rbac::ROLES,
    &runtimeclasses::RUNTIME_CLASSES,
    &resourceslices::RESOURCE_SLICES,
    &csidrivers::CSI_DRIVERS,
    &csinodes::CSI_NODES,
    &volumeattachments::VOLUME_ATTACHMENTS,
    &customresourcedefinitions::CUSTOM_RESOURCE_DEFINITIONS,
];

/// Resources that show what another one stores, in another version.
pub static VIEWS: &[&Descriptor] = &[
    &events::NEW_EVENTS,
    &clustertrustbundles::CLUSTER_TRUST_BUNDLES,
    &clustertrustbundles::ALPHA_CLUSTER_TRUST_BUNDLES,
    &podcertificaterequests::POD_CERTIFICATE_REQUESTS,
];

/// All that may be served under an address of its own; a server's [`Apis`](apis::Apis) says what
/// is.
pub fn known() -> impl Iterator<Item = &'static Descriptor> + Clone {
    DESCRIPTORS.iter().chain(VIEWS).copied()
}

/// The descriptor of a plural resource name; names are unique among those stored.
pub fn by_resource(resource: &str) -> Option<&'static Descriptor> {
    DESCRIPTORS
        .iter()
        .find(|descriptor| descriptor.resource == resource)
        .copied()
}

/// What a strategy may know of the request.
pub struct Context<'a> {
    /// Whoever writes, after impersonation.
    pub user: &'a User,
    /// "" for the main resource, `approval`, `status`.
    pub subresource: &'a str,
    /// Server time, read once per request.
    pub now: Timestamp,
    /// A CSR's `spec.request`, verified once, on create; None on other resources and on updates,
    /// which leave it as it is.
    pub request: Option<&'a Verification>,
    /// What is switched on in this server.
    pub gates: &'a Gates,
}

/// Per-resource rules: pure functions.
pub trait Strategy: Send + Sync {
    /// Fills what a decoded object leaves unsaid, whatever it is decoded for (upstream's
    /// `defaults.go`, and its conversions).
    fn default(&self, _object: &mut Value) {}
    /// Resets and fills what the server owns on create.
    fn prepare_create(&self, _object: &mut Value, _context: &Context<'_>) {}
    /// Field errors on create.
    fn validate_create(&self, _object: &Value, _context: &Context<'_>) -> Vec<FieldError> {
        Vec::new()
    }
    /// Forces back what this endpoint may not change.
    fn prepare_update(&self, _new: &mut Value, _old: &Value, _context: &Context<'_>) {}
    /// Field errors on update: those of a create, unless more is said.
    fn validate_update(&self, new: &Value, _old: &Value, context: &Context<'_>) -> Vec<FieldError> {
        self.validate_create(new, context)
    }
    /// Marks an object that is on its way out, besides its metadata.
    fn mark_deleted(&self, _object: &mut Value) {}
    /// Whether something besides the finalizers in its metadata keeps an object that is on its way
    /// out.
    fn is_held(&self, _object: &Value) -> bool {
        false
    }
    /// Marks a container in which nothing is left.
    fn mark_emptied(&self, _object: &mut Value) {}
    /// What whoever wrote this object through the main endpoint should know, though it is no fault.
    fn warnings(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }
    /// Whether no refusal may show what was sent.
    fn is_confidential(&self) -> bool {
        false
    }
}

/// A certificate request after its verification.
pub type Verification = Result<VerifiedRequest, RequestError>;

/// Paths of members.
pub type Paths = &'static [&'static [&'static str]];

/// How objects of a resource are counted.
#[derive(Clone, Copy)]
pub struct Tally {
    /// The account an object is counted under while it counts (a CSR: its requestor, until it is
    /// signed).
    pub account: fn(&Value) -> Option<String>,
    /// The members that this depends on, named as `spec.signerName`.
    pub members: &'static [&'static str],
    /// As what a user is limited; None: he may have any number.
    pub holder: fn(&User) -> Option<Holder>,
}

/// How many objects that are done with weigh as much as one that is not.
pub const SPENT_PER_ONE: usize = 16;

/// The account of objects that are done with, and still there, beside that of the others.
pub fn spent_account(account: &str) -> String {
    format!("{account} (spent)")
}

/// Who may have but so many objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A node.
    Node,
    /// A bootstrap token, which may serve a fleet.
    Token,
}

/// A certificate that an update has put into an object with a wanted lifetime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// Who signed it, from a bounded set of names.
    pub signer: String,
    /// It lives about as long as wanted.
    pub is_honored: bool,
}

/// Verbs of an endpoint below objects, sorted.
pub fn subresource_verbs(subresource: &str) -> &'static [&'static str] {
    match subresource {
        "finalize" => &["update"],
        _ => &["get", "patch", "update"],
    }
}

/// The strategy without rules.
pub struct Plain;
impl Strategy for Plain {}

/// A served resource. Write `Descriptor { columns: …, ..Descriptor::cluster(…) }` in a `static`.
#[derive(Clone, Copy)]
pub struct Descriptor {
    /// What its objects look like, in every encoding.
    pub r#type: &'static Type,
    /// The resource that stores what this one shows: both decode to the same objects. None: this
    /// one.
    pub view_of: Option<&'static Descriptor>,
    /// Plural, as in paths: `secrets`.
    pub resource: &'static str,
    /// Singular, which kubectl takes as well: `secret`.
    pub singular: &'static str,
    /// Further names for kubectl: `csr`.
    pub short_names: &'static [&'static str],
    /// Categories, such as `all`, by which kubectl finds several resources at once.
    pub categories: &'static [&'static str],
    /// Paths of its objects have a namespace.
    pub namespaced: bool,
    /// Storage directory below the prefix: `certificatesigningrequests`, `minions`, …
    pub storage: &'static str,
    /// Verbs of the main resource, sorted.
    pub verbs: &'static [&'static str],
    /// Subresources served (`status`, `approval`), sorted; see [`subresource_verbs`].
    pub subresources: &'static [&'static str],
    /// What is filled in and what is refused.
    pub strategy: &'static dyn Strategy,
    /// Paths of members that an endpoint (`""`, `status`, …) leaves as they are, whatever is
    /// written there: nobody owns them by it.
    pub resets: fn(&str) -> Paths,
    /// What `kubectl get` shows of it.
    pub columns: &'static [Column],
    /// One object's cells in those columns, at a time.
    pub cells: fn(&Value, Timestamp) -> Vec<Value>,
    /// Selectable fields besides metadata.name (and metadata.namespace when namespaced).
    pub selectable: &'static [&'static str],
    /// Whether each selectable field is the path of the one member that it is read from: then the
    /// rest of a [compact](Self::compact) object is not decoded for a selector.
    pub selects_paths: bool,
    /// Value of a selectable field.
    pub field: fn(&Value, &str) -> String,
    /// PUT creates when missing.
    pub create_on_update: bool,
    /// PUT without resourceVersion overwrites.
    pub unconditional_update: bool,
    /// Name check: error text when bad.
    pub validate_name: fn(&str) -> Result<(), String>,
    /// Bounds how many objects one identity may have; None: any number.
    pub tally: Option<Tally>,
    /// The certificate request in a new object, verified: its signature is checked here and nowhere
    /// else. None: such objects have none.
    pub verify: Option<fn(&Value, &RecentRequests) -> Verification>,
    /// What an update from one object to another says about the lifetimes of certificates; None:
    /// nothing.
    pub issued: Option<fn(&Value, &Value) -> Option<Issued>>,
    /// Other objects are in it, those whose namespace has its name, and go when it is deleted.
    pub is_container: bool,
    /// Objects come by the ten thousand and are read a few times each: memory holds their encoding
    /// alone, a third of what the decoded tree takes.
    pub compact: bool,
    /// A delete answers with the object (upstream's `ReturnDeletedObject`), not with a Status.
    pub returns_deleted: bool,
    /// What is forgotten by itself; None: nothing.
    pub retention: Option<&'static Retention>,
    /// In which releases it is there.
    pub lifecycle: Lifecycle,
    /// What has to be on for it to be served; None: nothing.
    pub gate: Option<Gate>,
}

impl Descriptor {
    /// A cluster-scoped resource with every verb, the columns Name and Age, names as DNS-1123
    /// subdomains, unconditional updates, and nothing else.
    pub const fn cluster(
        r#type: &'static Type,
        resource: &'static str,
        singular: &'static str,
    ) -> Self {
        Self {
            r#type,
            view_of: None,
            resource,
            singular,
            short_names: &[],
            categories: &[],
            namespaced: false,
            storage: resource,
            verbs: ALL_VERBS,
            subresources: &[],
            strategy: &Plain,
            resets: |_| &[],
            columns: NAME_AND_AGE,
            cells: name_and_age,
            selectable: &[],
            selects_paths: false,
            field: no_field,
            create_on_update: false,
            unconditional_update: true,
            validate_name: names::subdomain,
            tally: None,
            verify: None,
            issued: None,
            is_container: false,
            compact: false,
            returns_deleted: false,
            retention: None,
            lifecycle: Lifecycle::ALWAYS,
            gate: None,
        }
    }

    /// The same for a namespaced resource.
    pub const fn namespaced(
        r#type: &'static Type,
        resource: &'static str,
        singular: &'static str,
    ) -> Self {
        Self {
            namespaced: true,
            ..Self::cluster(r#type, resource, singular)
        }
    }

    /// What stores it: itself, unless it is a view.
    pub fn stored(&'static self) -> &'static Self {
        self.view_of.unwrap_or(self)
    }

    /// Every version in which objects of this resource are known, the stored one first.
    pub fn versions(&'static self) -> impl Iterator<Item = &'static Self> {
        let stored = self.stored();
        let shows_it = move |view: &&Self| view.view_of.is_some_and(|of| std::ptr::eq(of, stored));
        [stored]
            .into_iter()
            .chain(VIEWS.iter().copied().filter(shows_it))
    }

    /// What stored bytes hold, whatever version of the resource they were written in, and the bytes
    /// of the version that is written.
    ///
    /// # Errors
    /// They are of no version.
    pub fn decode_stored(&'static self, bytes: &Bytes) -> Result<(Value, Bytes), DecodeError> {
        let stored = self.stored().r#type;
        let error = match stored.decode_protobuf(bytes) {
            Ok(object) => return Ok((object, bytes.clone())),
            Err(error) => error,
        };
        let mut others = self.versions().skip(1).map(|view| view.r#type);
        let Some(object) = others.find_map(|other| other.decode_protobuf(bytes).ok()) else {
            return Err(error);
        };
        let bytes = Bytes::from(stored.encode_protobuf(&object));
        Ok((stored.decode_protobuf(&bytes)?, bytes))
    }

    /// False for a resource that can only be read: there is never an object of it here. What
    /// another server stored under its keys is not ours to show, for we know but its metadata.
    pub fn holds_objects(&self) -> bool {
        self.verbs.contains(&"create")
    }
}

/// Verbs of a resource that supports everything, sorted as discovery wants them.
pub const ALL_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// Verbs of a resource of which there is nothing here (see [`Descriptor::holds_objects`]): who
/// waits for the list gets an empty one.
pub const READ_VERBS: &[&str] = &["get", "list", "watch"];

/// The column every table starts with.
pub const NAME_COLUMN: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    priority: 0,
    doc: "Name must be unique within a namespace. It is primarily intended for creation idempotence and configuration definition.",
};

/// Time since creation, in Kubernetes' human form.
pub const AGE_COLUMN: Column = Column {
    name: "Age",
    kind: "string",
    format: "",
    priority: 0,
    doc: "Time since the object was created.",
};

/// Columns of a resource that has nothing better to show.
pub const NAME_AND_AGE: &[Column] = &[NAME_COLUMN, AGE_COLUMN];

/// A column of text.
pub const fn text_column(name: &'static str, priority: i32, doc: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        format: "",
        priority,
        doc,
    }
}

/// Cells of [`NAME_AND_AGE`].
pub fn name_and_age(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![meta::name(object).into(), age(object, now).into()]
}

/// The Age cell: human duration since creation, `<unknown>` when there is no creation time.
pub fn age(object: &Value, now: Timestamp) -> String {
    match meta::creation_timestamp(object) {
        Some(created) => everleaf_api::duration::human(now.as_second() - created.as_second()),
        None => "<unknown>".to_owned(),
    }
}

fn no_field(_object: &Value, _field: &str) -> String {
    String::new()
}
