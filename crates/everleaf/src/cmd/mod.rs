//! One file per command: configuration in, exit code out.

pub(crate) mod completion;
pub(crate) mod version;
