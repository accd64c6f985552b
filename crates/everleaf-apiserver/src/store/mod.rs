//! Group-commit writer over a Store: memory, embedded.
