//! The node: everything that touches node, disk and network so that its certificates renew
//! themselves.
//!
//! The decisions (when to rotate, what to persist, which credential to try) are
//! `everleaf-rotation`'s; this crate reads the kubeconfigs, speaks to the API server, keeps the
//! cert dir and performs what the machine asks for. It works against any conformant API server and
//! knows no other part of Everleaf.

mod addresses;
mod bootstrap;
pub mod client;
pub mod clock;
pub mod config;
mod csr_api;
pub mod identity;
pub mod kubeconfig;
mod metrics;
mod node;
mod perform;
mod run;
mod secret;
mod tell;
#[cfg(test)]
mod testing;
mod yaml;

pub use clock::{Clock, OffsetClock, SystemClock};
pub use config::{Bootstrap, Config, Environment, Options, Problem};
pub use kubeconfig::Kubeconfig;
pub use run::{AgentError, Outcome, run, run_with};
pub use secret::Secret;
