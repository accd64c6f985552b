//! How much the server takes on. Going over a limit is answered 429 with `Retry-After`, or 413; never a
//! crash, never silence.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use everleaf_api::Status;

/// Largest request body: 3 MiB, as kube-apiserver.
pub(super) const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Reads served at once (`--max-requests-inflight`).
pub(super) const READS_INFLIGHT_MAX: usize = 400;
/// Writes served at once (`--max-mutating-requests-inflight`).
pub(super) const WRITES_INFLIGHT_MAX: usize = 200;
/// Watches open at once.
pub(super) const WATCHES_MAX: usize = 250_000;
/// Unsigned requests that one node identity may have.
pub(super) const UNSIGNED_REQUESTS_PER_NODE_MAX: usize = 16;
/// Unsigned requests that one bootstrap token may have made.
pub(super) const UNSIGNED_REQUESTS_PER_TOKEN_MAX: usize = 200_000;

/// The limits of one server; the defaults are the constants above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// See [`BODY_BYTES_MAX`].
    pub body_bytes_max: usize,
    /// See [`READS_INFLIGHT_MAX`].
    pub reads_inflight_max: usize,
    /// See [`WRITES_INFLIGHT_MAX`].
    pub writes_inflight_max: usize,
    /// See [`WATCHES_MAX`].
    pub watches_max: usize,
    /// See [`UNSIGNED_REQUESTS_PER_NODE_MAX`].
    pub unsigned_requests_per_node_max: usize,
    /// See [`UNSIGNED_REQUESTS_PER_TOKEN_MAX`].
    pub unsigned_requests_per_token_max: usize,
    /// `Retry-After` of a request that was turned away.
    pub retry_after_seconds: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: BODY_BYTES_MAX,
            reads_inflight_max: READS_INFLIGHT_MAX,
            writes_inflight_max: WRITES_INFLIGHT_MAX,
            watches_max: WATCHES_MAX,
            unsigned_requests_per_node_max: UNSIGNED_REQUESTS_PER_NODE_MAX,
            unsigned_requests_per_token_max: UNSIGNED_REQUESTS_PER_TOKEN_MAX,
            retry_after_seconds: 1,
        }
    }
}

/// Requests being served.
#[derive(Debug, Default)]
pub(super) struct Inflight {
    reads: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
}

/// One request's place; gives it back when dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<AtomicUsize>);

impl Inflight {
    /// Takes a place, or 429.
    pub(super) fn enter(&self, mutating: bool, limits: &Limits) -> Result<Slot, Status> {
        let (count, max) = if mutating {
            (&self.writes, limits.writes_inflight_max)
        } else {
            (&self.reads, limits.reads_inflight_max)
        };
        let slot = Slot(Arc::clone(count));
        if count.fetch_add(1, Ordering::Relaxed) < max {
            return Ok(slot);
        }
        Err(Status::too_many_requests(
            "Too many requests, please try again later.",
            limits.retry_after_seconds,
        ))
    }

    /// (reads, writes) right now.
    pub(super) fn counts(&self) -> (usize, usize) {
        (
            self.reads.load(Ordering::Relaxed),
            self.writes.load(Ordering::Relaxed),
        )
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_per_kind_and_given_back() {
        let limits = Limits {
            reads_inflight_max: 2,
            writes_inflight_max: 1,
            ..Limits::default()
        };
        let inflight = Inflight::default();
        let first = inflight.enter(false, &limits).unwrap();
        let _second = inflight.enter(false, &limits).unwrap();
        let refused = inflight.enter(false, &limits).unwrap_err();
        assert_eq!((refused.code, refused.retry_after_seconds), (429, Some(1)));
        let _write = inflight.enter(true, &limits).unwrap();
        assert!(inflight.enter(true, &limits).is_err());
        assert_eq!(inflight.counts(), (2, 1), "a refusal leaves no trace");
        drop(first);
        assert!(inflight.enter(false, &limits).is_ok());
    }
}
