//! What tests stand on: a directory of their own, processes that end with them, and the tools of a user.

mod certificate;
mod cluster;
mod kubectl;
mod process;
mod sandbox;

pub(crate) use certificate::Certificate;
pub(crate) use cluster::{Agent, FakeClock, HOST, Up, free_port};
pub(crate) use kubectl::{Kubectl, arg, object, signing_request, write_request};
pub(crate) use process::{Process, http_get, run};
pub(crate) use sandbox::{Sandbox, Tools, eventually};
