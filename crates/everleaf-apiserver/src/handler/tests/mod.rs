//! The walk, end to end over the memory store: one poll per request.

mod applying;
mod auditing;
mod conformance;
mod crud;
mod doors;
mod encrypting;
pub(crate) mod fixture;
mod late_reissue;
mod listing;
mod model;
mod namespaces;
mod openapi;
mod patching;
mod protobuf;
mod rehearsing;
mod resources;
mod security;
mod tokens;
mod versions;
mod watching;
