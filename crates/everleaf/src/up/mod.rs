//! `everleaf up`: the whole system over one data directory.
//!
//! [`data_dir`] holds the directory, [`authority`] makes the certificates that exist before there
//! is an API, unless [`clock`] refuses to believe this host's, [`kubeconfigs`] and [`token`] let
//! people and nodes in, [`system`] starts and stops the parts, of which [`controllers`] are several
//! and [`node`] is this host's agent. [`care`] watches over what was made, [`rolling`] puts another
//! authority in its place, which [`ledger`] remembers. [`shared`] has what is different where
//! several servers share an etcd.
//! Everything is level-triggered: each start looks at what is there and makes what is missing, so
//! it does not matter where the last one ended.

pub(crate) mod address;
pub(crate) mod authority;
mod care;
pub(crate) mod clock;
mod controllers;
pub(crate) mod data_dir;
mod ends;
pub(crate) mod entropy;
mod grants;
pub(crate) mod kubeconfigs;
pub(crate) mod ledger;
pub(crate) mod node;
mod own;
mod pods;
mod roll_log;
pub(crate) mod rolling;
mod serving;
mod shared;
pub(crate) mod system;
pub(crate) mod token;

#[cfg(test)]
mod tests;
