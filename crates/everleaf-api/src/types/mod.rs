//! The schema tables of every type we serve, one file per API group. Written from the facts of the
//! Kubernetes 1.37 types (names, protobuf numbers, Go tags); the recordings under `testdata` prove
//! them. The files are laid out by hand: a field is a line.

#[rustfmt::skip]
pub mod authentication;
#[rustfmt::skip]
pub mod authorization;
#[rustfmt::skip]
pub mod bare;
#[rustfmt::skip]
pub mod certificates;
#[rustfmt::skip]
pub mod coordination;
#[rustfmt::skip]
pub mod core;
#[rustfmt::skip]
pub mod discovery;
#[rustfmt::skip]
pub mod events;
#[rustfmt::skip]
pub mod meta;
#[rustfmt::skip]
pub mod node;
#[rustfmt::skip]
pub mod rbac;
#[rustfmt::skip]
pub mod storage;

pub use self::core::{CONFIG_MAP, EVENT, NAMESPACE, SECRET, SERVICE_ACCOUNT};
pub use authentication::{SELF_SUBJECT_REVIEW, TOKEN_REQUEST, TOKEN_REVIEW};
pub use authorization::{
    LOCAL_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_RULES_REVIEW,
    SUBJECT_ACCESS_REVIEW,
};
pub use bare::{
    CSI_DRIVER, CUSTOM_RESOURCE_DEFINITION, POD, RESOURCE_SLICE, RUNTIME_CLASS, SERVICE,
    VOLUME_ATTACHMENT,
};
pub use certificates::{
    ALPHA_CLUSTER_TRUST_BUNDLE, BETA_CLUSTER_TRUST_BUNDLE, BETA_POD_CERTIFICATE_REQUEST,
    CERTIFICATE_SIGNING_REQUEST, CLUSTER_TRUST_BUNDLE, POD_CERTIFICATE_REQUEST,
};
pub use coordination::LEASE;
pub use discovery::{API_GROUP, API_GROUP_LIST, API_RESOURCE_LIST, API_VERSIONS, VERSION_INFO};
pub use events::NEW_EVENT;
pub use meta::{DELETE_OPTIONS, PARTIAL_OBJECT_METADATA, STATUS};
pub use node::NODE;
pub use rbac::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
pub use storage::CSI_NODE;

use crate::schema::Type;

/// Every type that has a whole table; see [`bare`] for the others.
pub static ALL: &[&Type] = &[
    &CERTIFICATE_SIGNING_REQUEST,
    &CLUSTER_TRUST_BUNDLE,
    &BETA_CLUSTER_TRUST_BUNDLE,
    &ALPHA_CLUSTER_TRUST_BUNDLE,
    &POD_CERTIFICATE_REQUEST,
    &BETA_POD_CERTIFICATE_REQUEST,
    &SECRET,
    &CONFIG_MAP,
    &NAMESPACE,
    &NODE,
    &SERVICE_ACCOUNT,
    &EVENT,
    &LEASE,
    &CSI_NODE,
    &ROLE,
    &ROLE_BINDING,
    &CLUSTER_ROLE,
    &CLUSTER_ROLE_BINDING,
    &SUBJECT_ACCESS_REVIEW,
    &SELF_SUBJECT_ACCESS_REVIEW,
    &SELF_SUBJECT_RULES_REVIEW,
    &LOCAL_SUBJECT_ACCESS_REVIEW,
    &SELF_SUBJECT_REVIEW,
    &TOKEN_REVIEW,
    &TOKEN_REQUEST,
    &DELETE_OPTIONS,
    &STATUS,
    &PARTIAL_OBJECT_METADATA,
];

/// What the tables are written with.
mod table {
    pub(super) use crate::schema::Kind::{
        Bool, Bytes, ExtraValue, FieldsV1, Int32, Int64, List, Map, Message as Nested, MicroTime,
        Quantity, String, Time,
    };
    pub(super) use crate::schema::ListKind::{Atomic, Map as Keyed, Set};
    pub(super) use crate::schema::Presence::{Always, Nullable, OmitEmpty, Pointer};
    pub(super) use crate::schema::{Field, Message, Package, Type};

    use crate::schema::{Kind, Presence};

    /// One line of a table.
    pub(super) const fn f(
        json: &'static str,
        number: u32,
        kind: Kind,
        presence: Presence,
        doc: &'static str,
    ) -> Field {
        Field::new(json, number, kind, presence, doc)
    }

    /// `metadata`, number 1 of every object.
    pub(super) const METADATA: Field = f(
        "metadata",
        1,
        Nested(&super::meta::OBJECT_META),
        Always,
        "Name, labels, owners and history of the object.",
    );
}
