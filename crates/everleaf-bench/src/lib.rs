//! A load of nodes for any API server that takes certificate signing requests, and what it
//! measured.
//!
//! Owns what a load is (how many nodes, when each arrives, how it waits for its certificate), what
//! is counted, and how that is shown. It refuses to know whose server it is: it speaks to it as an
//! agent does, by a kubeconfig, and reads of other processes only what the kernel counted.
//!
//! ```text
//! Plan ──▶ arrival, requests (keys and bodies, before the clock starts)
//!            │
//!           run ── a node each ──▶ line ──▶ API server
//!            │                      │ frames
//!          record ◀─────────────────┘
//!            │
//!          Report ──▶ text, JSON, HTML
//! ```
//!
//! The decisions are functions that a test calls: [`plan`], `arrival`, `frames`, `record`,
//! `verdict` and [`report`]. `line`, `node`, `informer`, `run`, [`process`] and `clock` are the
//! shell.

mod arrival;
mod clock;
mod frames;
mod html;
mod informer;
mod line;
mod live;
mod node;
pub mod plan;
mod plot;
pub mod process;
mod record;
pub mod report;
mod requests;
mod run;
mod text;
mod trouble;
mod verdict;

pub use line::{Target, TargetError};
pub use live::{Live, Phase};
pub use plan::Plan;
pub use process::Process;
pub use report::Report;
pub use run::{BenchError, Targets, run};
