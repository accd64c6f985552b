//! A client of etcd's v3 API, as much of it as a Kubernetes API server needs.
//!
//! gRPC is little beside HTTP/2: a path, five bytes before each message, and a status in the
//! trailers. This crate has that on hyper, which is in the tree already, and the messages of
//! `api/etcdserverpb/rpc.proto` that it sends and reads. The usual client crates generate theirs
//! with `protoc`, which then everybody who builds Everleaf would need.
//!
//! [`Client`] holds one connection, to one of several endpoints, and goes on at the next one when
//! that is lost. A call that may be repeated is; of a transaction whose answer was lost nobody
//! knows whether it happened, and [`Error::is_ambiguous`] says so.

mod client;
mod endpoint;
mod error;
mod grpc;
pub mod messages;
mod watch;

pub use client::{Client, Config};
pub use endpoint::{BadEndpoint, Endpoint};
pub use error::{Code, Error};
pub use watch::Watch;
