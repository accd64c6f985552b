//! The walk, end to end over the memory store: one poll per request.

mod crud;
pub(crate) mod fixture;
