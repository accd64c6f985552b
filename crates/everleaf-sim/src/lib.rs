//! A fleet in virtual time: a second caller of the production cores.
//!
//! Nodes are rotation machines over a cert dir in memory; the control plane is the API server's request
//! walk over its memory store, and the controllers' decisions. Only the shells are other: time is a
//! heap of happenings, and the network, the disks and the clocks have faults with stated budgets.
//! Everything random grows from one seed, so that a run can be repeated to the byte.
//!
//! ```text
//! scenario ─▶ world ─▶ node ── call ─▶ network ─▶ control_plane
//!               │        └ rotation, cert dir        └ apiserver, controllers
//!               └─▶ checker (watches beside the system), report (trace, replay line)
//! ```

pub mod call;
pub mod checker;
pub mod clock;
pub mod control_plane;
pub mod disk;
pub mod network;
pub mod node;
pub mod report;
pub mod rng;
pub mod scenario;
pub mod world;

pub use report::Report;
pub use scenario::Scenario;
pub use world::World;
