//! How much the server takes on. Going over a limit is answered 429 with `Retry-After`, or 413;
//! never a crash, never silence.

use crate::registry::Holder;
use everleaf_api::Status;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `Default` of [`Limits`]: the body limit and the in-flight limits are kube-apiserver's.
const DEFAULT: Limits = Limits {
    body_bytes_max: 3 * 1024 * 1024,
    reads_inflight_max: 400,
    writes_inflight_max: 200,
    watches_max: 250_000,
    unsigned_requests_per_node_max: 16,
    unsigned_requests_per_token_max: 200_000,
    retry_after_seconds: 1,
};

/// The limits of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body, in bytes: 3 MiB.
    pub body_bytes_max: usize,
    /// Reads served at once (`--max-requests-inflight`): 400.
    pub reads_inflight_max: usize,
    /// Writes served at once (`--max-mutating-requests-inflight`): 200.
    pub writes_inflight_max: usize,
    /// Watches open at once: 250,000.
    pub watches_max: usize,
    /// Unsigned requests that one node identity may have, client and other certificates counted
    /// apart: 16.
    pub unsigned_requests_per_node_max: usize,
    /// Unsigned requests that one bootstrap token may have made: 200,000.
    pub unsigned_requests_per_token_max: usize,
    /// `Retry-After` of a request that was turned away: 1.
    pub retry_after_seconds: u32,
}

impl Limits {
    /// How many unsigned requests one of such holders may have.
    pub(super) fn unsigned_requests_max(&self, holder: Holder) -> usize {
        match holder {
            Holder::Node => self.unsigned_requests_per_node_max,
            Holder::Token => self.unsigned_requests_per_token_max,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        DEFAULT
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
