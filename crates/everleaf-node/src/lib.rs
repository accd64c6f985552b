//! An agent as a program: its command line, the files of `join`, log lines, signals, the service
//! manager. Two binaries have it: `everleaf agent`, and `everleaf-agent`, which is that alone and
//! small.
//!
//! Owns what every program of ours does at its edge: flags, messages for people, exit codes.
//! Refuses to decide anything about certificates ([`everleaf_agent`]), and to know the server and
//! the controllers.

mod adopt;
pub mod args;
pub mod config;
pub mod failure;
pub mod input;
mod join;
pub mod log;
pub mod places;
pub mod print;
mod profiles;
mod rehearse;
mod run;
pub mod service;
pub mod shutdown;

pub use run::run;
