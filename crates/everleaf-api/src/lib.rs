//! The Kubernetes wire contract that Everleaf speaks, as data and pure functions.
//!
//! An object in hand is a `serde_json::Value` tree in the JSON shape of its type. One schema table per
//! type ([`types`]) drives every codec ([`schema`]): JSON and protobuf in and out, strict decoding with field
//! warnings, pruning, defaulting. Nothing here opens a socket, reads a clock or knows a certificate.

mod codec;
pub mod csr;
pub mod discovery;
pub mod duration;
pub mod fields;
pub mod meta;
pub mod negotiate;
pub mod patch;
pub mod review;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
pub mod types;
pub mod watch;

pub use status::Status;
