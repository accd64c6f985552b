//! One file per command: configuration in, exit code out.

pub(crate) mod agent;
pub(crate) mod apiserver;
pub(crate) mod certs;
pub(crate) mod completion;
pub(crate) mod controllers;
pub(crate) mod demo;
pub(crate) mod up;
pub(crate) mod version;
