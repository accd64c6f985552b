//! A fleet in virtual time: a second caller of the production code.
//!
//! Nodes are rotation machines over cert dirs in memory, and the agent's conversations with the
//! API; the control plane is the API server's request walk over its memory store, and the
//! controllers' machines. Only the shells are other: time is an agenda, and the network, the
//! disks and the clocks have faults with stated budgets. Everything random grows from one seed,
//! so that a run can be repeated to the byte.
//!
//! ```text
//! scenario ─▶ world ─▶ node ── exchange ─▶ network ─▶ control_plane
//!               │        └ rotation, cert dirs           └ apiserver, controllers
//!               └─▶ checker (watches beside the system), report (trace, replay line)
//! ```

pub mod checker;
pub mod clock;
pub mod control_plane;
pub mod disk;
pub mod exchange;
pub mod late;
pub mod network;
pub mod node;
pub mod report;
pub mod rng;
pub mod scenario;
pub mod stories;
pub mod world;

pub use report::Report;
pub use scenario::Scenario;
pub use world::World;
