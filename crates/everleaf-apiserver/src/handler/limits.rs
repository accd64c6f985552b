//! How much the server takes on. Going over a limit is answered 429 with `Retry-After`, or 413;
//! never a crash, never silence.

use super::goaway::Chance;
use super::route::Target;
use crate::registry::Holder;
use crate::user::User;
use everleaf_api::Status;
use jiff::Timestamp;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// `Default` of [`Limits`]: the body limit and the in-flight limits are kube-apiserver's.
const DEFAULT: Limits = Limits {
    body_bytes_max: 3 * 1024 * 1024,
    reads_inflight_max: 400,
    writes_inflight_max: 200,
    watches_max: 250_000,
    unsigned_requests_per_node_max: 16,
    unsigned_requests_per_token_max: 200_000,
    retry_after_seconds: 1,
    goaway: Chance::NEVER,
};

/// The limits of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body, in bytes: 3 MiB.
    pub body_bytes_max: usize,
    /// Reads served at once (`--max-requests-inflight`): 400; 0 is any number. A quarter is kept
    /// for nodes and what runs the cluster, half of that for heartbeats alone; the same of writes.
    pub reads_inflight_max: usize,
    /// Writes served at once (`--max-mutating-requests-inflight`): 200; 0 is any number.
    pub writes_inflight_max: usize,
    /// Watches open at once: 250,000.
    pub watches_max: usize,
    /// Unsigned requests that one node identity may have, client and other certificates counted
    /// apart: 16.
    pub unsigned_requests_per_node_max: usize,
    /// Unsigned requests that one bootstrap token may have made: 200,000.
    pub unsigned_requests_per_token_max: usize,
    /// `Retry-After` of a request that was turned away: 1; longer for those beyond the first
    /// hundred of a second.
    pub retry_after_seconds: u32,
    /// How often a client over HTTP/2 is sent away to connect anew (`--goaway-chance`): never.
    pub goaway: Chance,
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

/// Who comes first when there is too much to do. kube-apiserver's own flow schemas tell them apart
/// (`k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap/default.go`): the renewals of Leases keep a
/// cluster alive, so a storm of requests from elsewhere must leave room for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Priority {
    /// Everybody else (`workload-low`, `global-default`, `catch-all`).
    Ordinary,
    /// Nodes, and what runs the cluster (`system`, `workload-high`).
    System,
    /// A node's word that it is alive, and elections of leaders (`node-high`, `leader-election`).
    Heartbeat,
    /// `system:masters` (`exempt`), who may do everything: it takes a place when there is one, and
    /// is never turned away.
    Exempt,
}

impl Priority {
    /// What a request has.
    pub(super) fn of(user: &User, target: &Target) -> Self {
        if user.in_group("system:masters") {
            return Self::Exempt;
        }
        let is_node = user.in_group("system:nodes");
        let runs_cluster = user.in_group("system:serviceaccounts:kube-system")
            || matches!(
                &*user.name,
                "system:kube-controller-manager" | "system:kube-scheduler"
            );
        let path = match target {
            Target::Resource(path) => (&*path.group, &*path.resource),
            Target::Path => ("", ""),
        };
        match path {
            ("coordination.k8s.io", "leases") if is_node || runs_cluster => Self::Heartbeat,
            ("", "nodes") if is_node => Self::Heartbeat,
            _ if is_node || runs_cluster => Self::System,
            _ => Self::Ordinary,
        }
    }

    /// How many of all places such requests may fill.
    fn share(self, places: usize) -> usize {
        match self {
            _ if places == 0 => usize::MAX,
            Self::Ordinary => places - places / 4,
            Self::System => places - places / 8,
            Self::Heartbeat | Self::Exempt => places,
        }
    }
}

/// Requests turned away in one second of which the next ones are told to stay away a second longer.
const REFUSALS_PER_SECOND: u32 = 100;
/// Longest that somebody is told to stay away.
const STAY_AWAY_SECONDS_MAX: u32 = 30;

/// Requests being served.
#[derive(Debug, Default)]
pub(super) struct Inflight {
    reads: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
    refusals: Mutex<Refusals>,
}

/// Requests turned away in one second.
#[derive(Debug, Default)]
struct Refusals {
    second: i64,
    count: u32,
}

impl Refusals {
    /// One more: how many seconds later than others it should come back. So those that are turned
    /// away together do not come back together (clients obey `Retry-After` to the second).
    fn next(&mut self, now: Timestamp) -> u32 {
        let second = now.as_second();
        if self.second != second {
            *self = Self { second, count: 0 };
        }
        let later = self.count / REFUSALS_PER_SECOND % STAY_AWAY_SECONDS_MAX;
        self.count = self.count.wrapping_add(1);
        later
    }
}

/// One request's place; gives it back when dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<AtomicUsize>);

impl Inflight {
    /// Takes a place; None for who goes on without one; or 429.
    pub(super) fn enter(
        &self,
        mutating: bool,
        priority: Priority,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Option<Slot>, Status> {
        let (count, max) = if mutating {
            (&self.writes, limits.writes_inflight_max)
        } else {
            (&self.reads, limits.reads_inflight_max)
        };
        let slot = Slot(Arc::clone(count));
        if count.fetch_add(1, Ordering::Relaxed) < priority.share(max) {
            return Ok(Some(slot));
        }
        if priority == Priority::Exempt {
            return Ok(None);
        }
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        Err(Status::too_many_requests(
            "Too many requests, please try again later.",
            limits.retry_after_seconds + refusals.next(now),
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
    use super::super::query::Query;
    use super::*;

    fn now() -> Timestamp {
        "2026-11-30T05:00:00Z".parse().unwrap()
    }

    #[test]
    fn places_are_limited_per_kind_and_given_back() {
        let limits = Limits {
            reads_inflight_max: 2,
            writes_inflight_max: 1,
            ..Limits::default()
        };
        let inflight = Inflight::default();
        let enter = |mutating| inflight.enter(mutating, Priority::Ordinary, &limits, now());
        let first = enter(false).unwrap();
        let _second = enter(false).unwrap();
        let refused = enter(false).unwrap_err();
        assert_eq!((refused.code, refused.retry_after_seconds), (429, Some(1)));
        let _write = enter(true).unwrap();
        assert!(enter(true).is_err());
        assert_eq!(inflight.counts(), (2, 1), "a refusal leaves no trace");
        drop(first);
        assert!(enter(false).is_ok());
    }

    #[test]
    fn some_places_are_for_those_who_come_first() {
        let limits = Limits::default();
        let inflight = Inflight::default();
        let mut taken = Vec::new();
        let mut fill = |priority| {
            let before = taken.len();
            while let Ok(Some(slot)) = inflight.enter(true, priority, &limits, now()) {
                taken.push(slot);
            }
            taken.len() - before
        };
        assert_eq!(fill(Priority::Ordinary), 150);
        assert_eq!(fill(Priority::System), 25);
        assert_eq!(fill(Priority::Heartbeat), 25);
        assert_eq!(fill(Priority::Heartbeat), 0);
        let administrator = inflight.enter(true, Priority::Exempt, &limits, now());
        assert!(administrator.unwrap().is_none(), "served without a place");
        assert_eq!(inflight.counts(), (0, 200));
    }

    #[test]
    fn an_administrator_takes_a_place_that_is_free() {
        let limits = Limits {
            reads_inflight_max: 1,
            ..Limits::default()
        };
        let inflight = Inflight::default();
        let taken = inflight.enter(false, Priority::Exempt, &limits, now());
        assert!(taken.unwrap().is_some());
    }

    #[test]
    fn without_a_limit_everybody_is_served_and_counted() {
        let limits = Limits {
            writes_inflight_max: 0,
            ..Limits::default()
        };
        let inflight = Inflight::default();
        let enter = || inflight.enter(true, Priority::Ordinary, &limits, now());
        let taken: Vec<_> = (0..1_000).map(|_| enter().unwrap()).collect();
        assert_eq!(inflight.counts(), (0, 1_000));
        drop(taken);
        assert_eq!(inflight.counts(), (0, 0));
    }

    #[test]
    fn a_crowd_that_is_turned_away_comes_back_spread_out() {
        let limits = Limits {
            writes_inflight_max: 1,
            ..Limits::default()
        };
        let inflight = Inflight::default();
        let _only = inflight.enter(true, Priority::Heartbeat, &limits, now());
        let retry = |now| {
            let refused = inflight.enter(true, Priority::Heartbeat, &limits, now);
            refused.unwrap_err().retry_after_seconds.unwrap()
        };
        let told: Vec<u32> = (0..6_000).map(|_| retry(now())).collect();
        for seconds in 1..=30 {
            let together = told.iter().filter(|told| **told == seconds).count();
            assert_eq!(together, 200, "after {seconds} s");
        }
        assert_eq!(retry(now() + jiff::SignedDuration::from_secs(1)), 1);
    }

    #[test]
    fn who_comes_first() {
        let target = |path: &str| Target::parse(&http::Method::PUT, path, &Query::default());
        let lease = target("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1");
        let status = target("/api/v1/nodes/n1/status");
        let csr = target("/apis/certificates.k8s.io/v1/certificatesigningrequests/a");
        let path = target("/healthz");
        use Priority::{Exempt, Heartbeat, Ordinary, System};
        for (name, group, expected) in [
            ("admin", "system:masters", [Exempt; 4]),
            (
                "system:node:n1",
                "system:nodes",
                [Heartbeat, Heartbeat, System, System],
            ),
            (
                "system:kube-scheduler",
                "",
                [Heartbeat, System, System, System],
            ),
            (
                "system:serviceaccount:kube-system:a",
                "system:serviceaccounts:kube-system",
                [Heartbeat, System, System, System],
            ),
            (
                "system:serviceaccount:default:a",
                "system:serviceaccounts:default",
                [Ordinary; 4],
            ),
            (
                "system:bootstrap:abcdef",
                "system:bootstrappers",
                [Ordinary; 4],
            ),
            ("system:node:n1", "system:authenticated", [Ordinary; 4]),
        ] {
            let user = User {
                name: name.to_owned(),
                groups: vec![group.to_owned()],
                ..User::default()
            };
            let found = [&lease, &status, &csr, &path].map(|target| Priority::of(&user, target));
            assert_eq!(found, expected, "{name} in {group}");
        }
    }
}
