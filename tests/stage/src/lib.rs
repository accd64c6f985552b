//! What the suites stand on: a directory for each test, processes that end with it, the programs of
//! a user, and the runner.
//!
//! `tests/e2e` and `tests/interop` are built on it. Refuses to link any Everleaf crate: it knows
//! what a user knows.

mod certificate;
mod check;
mod cluster;
mod kubectl;
pub mod page;
mod pods;
mod process;
pub mod runner;
mod sandbox;

pub use certificate::Certificate;
pub use check::same;
pub use cluster::{Agent, FakeClock, HOST, Up, free_port, host_address};
pub use kubectl::{Kubectl, arg, object, signing_request, write_request};
pub use pods::{
    POD_SIGNER, POD_SIGNER_FLAGS, pod_authority, pod_is_granted, pod_is_granted_by_proof,
    pod_is_refused, pod_request, pod_request_ended,
};
pub use process::{Answer, Process, http_get, http_post, run, run_fed};
pub use sandbox::{Later, Point, Sandbox, State, Tools, eventually};
