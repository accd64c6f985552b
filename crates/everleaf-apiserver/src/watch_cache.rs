//! Committed objects in memory, event ring, list and watch from it.
