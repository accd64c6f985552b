//! The node: everything that touches node, disk and network so that its certificates renew
//! themselves.
//!
//! The decisions (when to rotate, what to persist, which credential to try) are
//! `everleaf-rotation`'s; this crate reads the kubeconfigs, speaks to the API server, keeps the
//! cert dir and performs what the machines ask for. It works against any conformant API server and
//! knows no other part of Everleaf.
//!
//! ```text
//! Options ──resolve──▶ Config ──▶ run ── one loop over ──▶ node (its machines, one turn at a time)
//!                                                            │ effects
//!                       bootstrap (kubeconfigs) ◀── perform ─┼─▶ csr_api ──▶ client ──▶ API server
//!                                                            └─▶ cert dir
//! ```
//!
//! ```no_run
//! use everleaf_agent::{Environment, Options, Reload, SystemClock};
//! use std::sync::Arc;
//!
//! # async fn example(ctrl_c: impl Future<Output = ()> + Send) -> Result<(), Box<dyn std::error::Error>> {
//! let options = Options {
//!     bootstrap_kubeconfig: Some("bootstrap-kubelet.conf".into()),
//!     kubeconfig: Some("kubelet.conf".into()),
//!     rotate_certificates: Some(true),
//!     ..Options::default()
//! };
//! let config = options
//!     .resolve(&Environment::of_this_host()?)
//!     .map_err(|problems| problems[0].to_string())?;
//! let clock = Arc::new(SystemClock::new());
//! everleaf_agent::run(config, clock, ctrl_c, Reload::default()).await?;
//! # Ok(())
//! # }
//! ```

mod addresses;
pub mod adoption;
mod authorities;
mod bootstrap;
pub mod client;
pub mod clock;
mod command;
pub mod config;
pub mod csr_api;
mod endpoint;
mod host_address;
pub mod identity;
pub mod join;
mod keys;
pub mod kubeconfig;
pub mod late_reissue;
mod managed;
mod metrics;
mod node;
mod outcome;
mod perform;
mod profile;
mod profiles;
pub mod rehearsal;
mod run;
mod secret;
mod self_signed;
mod tell;
#[cfg(test)]
mod testing;
mod token;
mod yaml;

pub use authorities::INTERVAL_DEFAULT as AUTHORITIES_INTERVAL;
pub use clock::{Clock, OffsetClock, SystemClock};
pub use config::{Bootstrap, Config, Environment, Options, Problem};
pub use endpoint::TlsEndpoint;
pub use keys::KeyStore;
pub use kubeconfig::Kubeconfig;
pub use outcome::{AgentError, Outcome};
pub use profile::{
    Account, Action, Form, Output, Profile, ProfileFiles, ProfileProblem, read_profiles,
};
pub use run::{Reload, run, run_with};
pub use secret::Secret;
pub use token::TokenUri;
