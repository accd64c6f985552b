//! Whether what clients see of Everleaf's API is what must hold, while servers, and the members of
//! their etcd, are killed, paused and cut off.
//!
//! [`campaign`] starts the real programs, puts load on them ([`Plan`]), does the faults, and hands
//! what clients and watchers saw ([`history`]) to [`check`], which knows neither programs nor
//! faults. `cargo xtask faults` runs it for as long as one likes, the end-to-end suite briefly.
//! Refuses to link any crate of the product: it knows what a client knows.

pub mod campaign;
pub mod check;
mod client;
pub mod doctor;
pub mod history;
mod links;
mod load;
mod random;
mod system;
mod watcher;

pub use campaign::{Fault, Plan, Report, run};
pub use system::Store;
