//! Placeholder: waits after failures.
