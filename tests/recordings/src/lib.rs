//! Requests, the answers that the real kube-apiserver gave to them, and how two answers are
//! compared.
//!
//! `requests/*.yaml` are lists written by hand, one scenario a file: ordered requests on one
//! server, each seen through the eyes of one of `subjects.yaml`. `answers/*.json` are what
//! kube-apiserver answered, normalised: times, uids and versions differ at each play.
//! `cargo xtask record` makes them anew; `tests/replay.rs` plays the same lists against our server
//! and compares. `matrix.yaml` does the same for authorization: who may do what, and why;
//! `client_certificates` for authentication: who a certificate is; `openapi` holds what the server
//! says of its resources.
//!
//! `accepted.yaml` holds the differences that are deliberate, `open.yaml` those that are still to
//! be closed, each with its reason; any other difference fails the test, and so does an entry that
//! matches nothing any more.
//!
//! This crate knows no server and no socket: a [`Player`] sends a request and brings the answer.

pub mod answers;
mod chain;
pub mod client_certificates;
pub mod difference;
pub mod ledger;
pub mod matrix;
pub mod merge;
pub mod message;
pub mod normal;
pub mod openapi;
pub mod play;
pub mod rewrite;
pub mod scenario;

pub use answers::Answer;
pub use difference::Difference;
pub use ledger::Ledger;
pub use play::{Player, play};
pub use scenario::{Scenario, Subjects};

use std::path::PathBuf;

/// Bearer token of the administrator, who impersonates everybody else.
pub const ADMIN_TOKEN: &str = "recordings-admin";

/// The static token file that the server under play is started with.
pub const TOKENS_CSV: &str = "\
recordings-admin,recordings-admin,,system:masters
recordings-jane,jane,jane-uid,\"dev,ops\"
recordings-deputy,deputy,
";

/// The authority of the client certificates that the server under play believes, below
/// [`data_dir`].
pub const CLIENT_CA: &str = "clients/ca.pem";

/// Where the lists and answers are.
pub fn data_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
