//! The controllers of certificate signing requests: approver, signer, cleaner; and those of
//! bootstrap tokens and of the cluster's CA ([`upkeep`]).
//!
//! They work against any Kubernetes API server from 1.19 on, as clients of its HTTP contract, and
//! see nothing else of it. Every rule is a synchronous function of what it is given: [`approver`],
//! [`signer`] and [`cleaner`] decide about one request, [`breaker`] sees renewal loops, [`queue`]
//! says when to work on what. What is asked of the API server, in which order, is decided without
//! I/O, too: [`follower`], [`attempt`] and [`cleaner::Pass`] are machines that ask for a
//! [`call::Call`] and are told its answer, over one [`core::Core`]. [`run()`] is the shell around
//! them: it carries calls, keeps time and tells ([`notice`]), and holds no policy; a simulator is
//! another. [`run_elected`] is the same for one of several processes: [`election`] decides when it
//! may.
//!
//! ```text
//!             follower                 queues              attempts
//! API server ─────────▶ index ─ stage ─▶ approver ─▶ review, decide ─▶ PUT …/approval
//!                             │        └▶ signers  ─▶ decide, issue ──▶ PUT …/status
//!                             └─ records, every hour ───────▶ pass ───▶ DELETE
//! ```

pub mod approver;
pub mod attempt;
pub mod breaker;
pub mod bucket;
pub mod builtin;
pub mod call;
pub mod cleaner;
mod client;
pub mod config;
pub mod core;
pub mod doctor;
mod elect;
pub mod election;
mod event;
#[cfg(test)]
mod fixture;
pub mod follower;
mod foreign;
mod gate;
pub mod index;
mod input;
pub mod issuance;
pub mod issuers;
mod log;
mod looks;
pub mod metrics;
pub mod notice;
pub mod options;
pub mod pods;
pub mod queue;
pub mod record;
pub mod roll;
mod run;
pub mod serving;
mod shell;
pub mod signer;
pub mod skew;
pub mod telemetry;
pub mod upkeep;
pub mod why;

pub use builtin::{BuiltinSigner, UnknownSigner};
pub use client::transport_text;
pub use config::{ApiLimit, CaFiles, Config, IssuerSource, Loop, SerialSource};
pub use elect::{run_all_elected, run_elected};
pub use election::ElectionConfig;
pub use election::flags::ElectionOptions;
pub use looks::shown as certificates_shown;
pub use looks::{Greeting, greeting_of, shown_by};
pub use options::{FilePair, Options, OptionsError, PodOptions, Validated};
pub use run::{RunError, run};
pub use serving::ServingConfig;
pub use telemetry::Telemetry;
