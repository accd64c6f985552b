//! The Kubernetes wire contract that Everleaf speaks, as data and pure functions.
//!
//! An object in hand is a `serde_json::Value` tree in canonical form (see [`schema`]). One table
//! per type drives every codec:
//!
//! ```text
//!   JSON ──┐                        ┌── JSON (one text serves object, list item, watch event)
//!   YAML ──┼─► canonical tree ──────┼── protobuf (byte for byte as Go writes it; the stored form)
//! protobuf ┘   + findings           └── Table row, PartialObjectMetadata
//! ```
//!
//! - [`schema`], [`types`]: the tables and their entry points; [`meta`], [`csr`], [`review`]: typed
//!   views over the trees.
//! - [`status`], [`fields`]: errors, in upstream's words.
//! - [`managed`]: which manager owns which field, server-side apply.
//! - [`negotiate`], [`table`], [`watch`], [`discovery`], [`openapi`], [`patch`], [`selector`],
//!   [`duration`]: the rest of the contract.
//! - [`authorities`], [`revocation`]: what Everleaf's own objects say.
//!
//! Nothing here opens a socket, reads a clock or knows what a certificate is. Input is hostile: no
//! bytes panic, nesting and memory are bounded. Unknown JSON fields are reported and pruned,
//! unknown protobuf fields are dropped.

pub mod authorities;
mod codec;
pub mod csr;
pub mod discovery;
pub mod duration;
pub mod fields;
pub mod http_date;
pub mod managed;
pub mod meta;
pub mod negotiate;
pub mod openapi;
pub mod patch;
pub mod review;
pub mod revocation;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
pub mod types;
pub mod watch;

pub use status::Status;
