//! `everleaf up`: binds the socket, makes the authority, starts the three parts, and says what runs.

pub(crate) mod authority;
pub(crate) mod data_dir;
pub(crate) mod entropy;
