//! The machine against a small world: a store in memory, a server with its own clock and signer,
//! and a node whose two clocks can be moved.

mod clocks;
mod failures;
mod identities;
mod keys;
mod matrix;
mod names;
mod restarts;
mod story;
mod sweep;
mod world;
