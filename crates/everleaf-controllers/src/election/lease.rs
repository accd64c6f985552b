//! The Lease that an election is about: read, claimed and given up.
//!
//! Owns the meaning of its fields, as client-go's `tools/leaderelection/resourcelock` writes
//! them, so that kube-controller-manager and we understand each other. What else stands in the
//! object (labels, the fields of coordinated election, fields that are still to be invented)
//! stays as it was found.

use everleaf_api::meta;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// Name of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What a lease says. Its times are text: they were written by another clock, so the only question
/// they can answer is whether they changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// `spec.acquireTime`.
    pub acquired: String,
    /// `spec.leaseDurationSeconds`: how long others wait after a change.
    pub duration: Duration,
    /// `spec.holderIdentity`; empty when nobody holds it.
    pub holder: String,
    /// `spec.preferredHolder`, of coordinated election.
    pub preferred_holder: String,
    /// `spec.renewTime`.
    pub renewed: String,
    /// `spec.strategy`, of coordinated election.
    pub strategy: String,
    /// `spec.leaseTransitions`: how often the holder changed.
    pub transitions: i64,
}

impl Record {
    /// Reads a Lease. What is missing or odd counts as empty, as in client-go.
    pub fn of(lease: &Value) -> Self {
        let spec = &lease["spec"];
        let text = |member: &str| spec[member].as_str().unwrap_or_default().to_owned();
        let number = |member: &str| spec[member].as_i64().unwrap_or_default();
        let seconds = u64::try_from(number("leaseDurationSeconds")).unwrap_or_default();
        Self {
            acquired: text("acquireTime"),
            duration: Duration::from_secs(seconds),
            holder: text("holderIdentity"),
            preferred_holder: text("preferredHolder"),
            renewed: text("renewTime"),
            strategy: text("strategy"),
            transitions: number("leaseTransitions"),
        }
    }
}

/// A lease that does not exist yet, without a holder.
pub(crate) fn unclaimed(lock: &LockName) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": lock.name, "namespace": lock.namespace },
        "spec": { "leaseTransitions": 0 },
    })
}

/// `lease`, held by `identity` from now on: a new term, unless it was the holder already.
///
/// A new term counts as a transition (also after a release, as in client-go) and ends what was said
/// about the old one: a preferred holder that did not come.
pub(crate) fn claimed(lease: &Value, identity: &str, duration: Duration, wall: Timestamp) -> Value {
    let before = Record::of(lease);
    let now = meta::format_micro_time(wall);
    let exists = lease.pointer("/metadata/resourceVersion").is_some();
    let mut lease = renewed(lease, identity, duration, wall);
    if before.holder != identity
        && let Some(spec) = lease["spec"].as_object_mut()
    {
        let transitions = before.transitions.saturating_add(i64::from(exists));
        spec.insert("acquireTime".to_owned(), json!(now));
        spec.insert("leaseTransitions".to_owned(), json!(transitions));
        spec.remove("preferredHolder");
    }
    lease
}

/// `lease`, renewed by its holder.
pub(crate) fn renewed(lease: &Value, identity: &str, duration: Duration, wall: Timestamp) -> Value {
    let mut lease = lease.clone();
    let spec = &mut lease["spec"];
    spec["holderIdentity"] = json!(identity);
    spec["leaseDurationSeconds"] = json!(duration.as_secs());
    spec["renewTime"] = json!(meta::format_micro_time(wall));
    lease
}

/// `lease`, given up: anybody may take it at once (client-go `tryRelease`).
pub(crate) fn released(lease: &Value, wall: Timestamp) -> Value {
    let now = meta::format_micro_time(wall);
    let mut lease = renewed(lease, "", Duration::from_secs(1), wall);
    lease["spec"]["acquireTime"] = json!(now);
    lease
}

/// `lease` as it is to be created anew after somebody deleted it: what it said, without the marks
/// of the deleted object.
pub(crate) fn reborn(lease: &Value, lock: &LockName) -> Value {
    let mut fresh = unclaimed(lock);
    fresh["spec"] = lease["spec"].clone();
    for member in ["labels", "annotations"] {
        if let Some(value) = lease["metadata"].get(member) {
            fresh["metadata"][member] = value.clone();
        }
    }
    fresh
}

/// The Kubernetes Event about a change of leadership, as client-go's recorder writes it.
pub(crate) fn event(lease: &Value, lock: &LockName, message: &str, wall: Timestamp) -> Value {
    const COMPONENT: &str = "everleaf-controllers";
    let text = |member: &str| lease["metadata"][member].as_str().unwrap_or_default();
    let now = meta::format_time(wall);
    let LockName { namespace, name } = lock;
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": format!("{name}.{:x}", wall.as_nanosecond()), "namespace": namespace },
        "involvedObject": {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "name": name,
            "namespace": namespace,
            "uid": text("uid"),
            "resourceVersion": text("resourceVersion"),
        },
        "reason": "LeaderElection",
        "message": message,
        "source": { "component": COMPONENT },
        "reportingComponent": COMPONENT,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "type": "Normal",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: Duration = Duration::from_secs(15);

    fn wall() -> Timestamp {
        "2026-11-20T12:00:00.5Z".parse().unwrap()
    }

    /// What kube-controller-manager 1.37 wrote, with everything that others may add.
    fn foreign() -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": "kube-controller-manager",
                "namespace": "kube-system",
                "uid": "u-1",
                "resourceVersion": "41",
                "labels": { "team": "x" },
            },
            "spec": {
                "holderIdentity": "host_1",
                "leaseDurationSeconds": 20,
                "acquireTime": "2026-11-20T10:00:00.000000Z",
                "renewTime": "2026-11-20T11:00:00.000000Z",
                "leaseTransitions": 3,
                "strategy": "OldestEmulationVersion",
                "preferredHolder": "host_9",
                "invented": { "later": true },
            },
        })
    }

    #[test]
    fn a_new_term_is_a_transition_and_keeps_what_is_foreign() {
        let lease = claimed(&foreign(), "us", SECONDS, wall());
        let spec = &lease["spec"];
        assert_eq!(spec["holderIdentity"], "us");
        assert_eq!(spec["leaseDurationSeconds"], 15);
        assert_eq!(spec["acquireTime"], "2026-11-20T12:00:00.500000Z");
        assert_eq!(spec["renewTime"], "2026-11-20T12:00:00.500000Z");
        assert_eq!(spec["leaseTransitions"], 4);
        assert_eq!(spec["strategy"], "OldestEmulationVersion");
        assert_eq!(spec["invented"]["later"], true);
        assert_eq!(spec.get("preferredHolder"), None, "of the old term");
        assert_eq!(lease["metadata"], foreign()["metadata"]);
    }

    #[test]
    fn a_renewal_changes_the_time_and_nothing_else() {
        let wall_later = "2026-11-20T12:00:02Z".parse().unwrap();
        let mut expected = foreign();
        expected["spec"]["renewTime"] = json!("2026-11-20T12:00:02.000000Z");
        expected["spec"]["leaseDurationSeconds"] = json!(15);
        assert_eq!(renewed(&foreign(), "host_1", SECONDS, wall_later), expected);
        assert_eq!(claimed(&foreign(), "host_1", SECONDS, wall_later), expected);
    }

    #[test]
    fn the_first_claim_is_no_transition() {
        let lock = LockName {
            namespace: "kube-system".to_owned(),
            name: "x".to_owned(),
        };
        let lease = claimed(&unclaimed(&lock), "us", SECONDS, wall());
        let record = Record::of(&lease);
        assert_eq!((record.transitions, record.holder.as_str()), (0, "us"));
        assert_eq!(
            lease["metadata"],
            json!({ "name": "x", "namespace": "kube-system" })
        );
    }

    #[test]
    fn a_released_lease_is_anybodys() {
        let record = Record::of(&released(&foreign(), wall()));
        let expected = Record {
            acquired: "2026-11-20T12:00:00.500000Z".to_owned(),
            duration: Duration::from_secs(1),
            holder: String::new(),
            renewed: "2026-11-20T12:00:00.500000Z".to_owned(),
            ..Record::of(&foreign())
        };
        assert_eq!(record, expected);
    }

    #[test]
    fn a_deleted_lease_comes_back_without_the_marks_of_the_old_one() {
        let lock = LockName {
            namespace: "kube-system".to_owned(),
            name: "kube-controller-manager".to_owned(),
        };
        let lease = reborn(&foreign(), &lock);
        assert_eq!(lease["spec"], foreign()["spec"]);
        assert_eq!(
            lease["metadata"],
            json!({ "name": "kube-controller-manager", "namespace": "kube-system", "labels": { "team": "x" } })
        );
    }

    #[test]
    fn odd_leases_are_read_as_client_go_reads_them() {
        for (lease, expected) in [
            (json!({}), Record::default()),
            (json!({ "spec": null }), Record::default()),
            (
                json!({ "spec": { "leaseDurationSeconds": -1, "holderIdentity": null } }),
                Record::default(),
            ),
            (
                json!({ "spec": { "holderIdentity": "a", "leaseDurationSeconds": 2 } }),
                Record {
                    holder: "a".to_owned(),
                    duration: Duration::from_secs(2),
                    ..Record::default()
                },
            ),
        ] {
            assert_eq!(Record::of(&lease), expected, "{lease}");
        }
    }
}
