//! Placeholder: the load-state table.
