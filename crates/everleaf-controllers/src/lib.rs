//! The controllers of certificate signing requests: approver, signer, cleaner.
//!
//! They work against any Kubernetes API server from 1.19 on, as clients of its HTTP contract, and
//! see nothing else of it. Every rule is a synchronous function of what it is given: [`approver`],
//! [`signer`] and [`cleaner`] decide about one request, [`breaker`] sees renewal loops, [`queue`]
//! says when to work on what. [`run`] is the shell around them: it lists and watches, calls, writes
//! and tells ([`notice`]), and holds no policy. [`run_elected`] is the same for one of several processes:
//! [`election`] decides when it may.
//!
//! ```text
//!            list+watch                 queue                 decide            perform
//! API server ─────────▶ index ─ stage ─▶ approver ─▶ worker ─▶ Action ─▶ PUT …/approval
//!                             │        └▶ signers  ─▶ worker ─▶ Action ─▶ PUT …/status
//!                             └─ records, every hour ──────────▶ Action ─▶ DELETE
//! ```

pub mod approver;
pub mod breaker;
pub mod bucket;
pub mod builtin;
pub mod cleaner;
mod client;
pub mod config;
mod elect;
pub mod election;
#[cfg(test)]
mod fixture;
mod follow;
mod foreign;
pub mod index;
pub mod issuers;
mod log;
pub mod metrics;
pub mod notice;
pub mod options;
mod perform;
pub mod queue;
pub mod record;
mod run;
pub mod signer;
pub mod skew;
pub mod telemetry;
pub mod uptime;
mod workplace;

pub use builtin::{BuiltinSigner, UnknownSigner};
pub use config::{ApiLimit, Clock, Config, IssuerSource, Loop, SerialSource};
pub use elect::run_elected;
pub use election::ElectionConfig;
pub use election::flags::ElectionOptions;
pub use options::{FilePair, Options, OptionsError, Validated};
pub use run::{RunError, run};
pub use telemetry::Telemetry;
