//! One file per command: configuration in, exit code out.

pub(crate) mod apiserver;
pub(crate) mod bench;
pub(crate) mod ca;
mod ca_renew;
mod ca_status;
pub(crate) mod certs;
pub(crate) mod completion;
pub(crate) mod controllers;
pub(crate) mod dashboard;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod fleet;
pub(crate) mod man;
pub(crate) mod policy;
mod revoke;
mod roll;
pub(crate) mod roll_run;
pub(crate) mod store;
pub(crate) mod token;
pub(crate) mod up;
pub(crate) mod version;
pub(crate) mod why;

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};

/// A runtime with a thread per core; the agent, which is to be small, makes do with one thread.
fn runtime() -> Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
