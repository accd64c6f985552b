//! A Kubernetes-compatible API server for a few resources.
//!
//! A request walks through once, top to bottom: authentication → authorization → decode → admission
//! → strategy → store → encode. [`handler`] is that walk as one plain function over (server,
//! request, peer, now); [`serve`] wraps sockets, TLS and limits around it.

pub mod admission;
pub mod audit;
pub mod authn;
pub mod authz;
pub mod bootstrap;
pub mod config_file;
pub mod encryption;
#[cfg(test)]
mod fixture;
pub mod handler;
pub mod late_reissue;
pub mod objects;
mod read;
pub mod registry;
pub mod serve;
pub mod store;
pub mod user;
pub mod watch_cache;
pub mod writer;
