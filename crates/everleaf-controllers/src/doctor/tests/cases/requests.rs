//! Requests, and the nodes of which they tell.

use super::*;
use crate::doctor::tests::world::{DAY, approved, at, conditioned, issued, named};
use crate::fixture::Fixture;
use crate::why::tests::world::{lease, node};
use std::time::Duration;

/// Half an hour ago.
const BEFORE: &str = "2026-11-20T11:30:00Z";

fn waits(request: Fixture) -> World {
    World::healthy().filed(named(at(request.object(), BEFORE), "waiting"))
}

pub(super) fn waiting() -> Cases {
    let decided = |kind: &str| {
        let object = conditioned(kubelet_client("n2").object(), kind);
        World::healthy().filed(named(object, "decided"))
    };
    let not_issued = at(approved(kubelet_client("n2").object()), BEFORE);
    vec![
        (Fault::RequestsWaiting, waits(kubelet_client("n2"))),
        (Fault::RequestsForPeople, waits(api_client("ann", "devs"))),
        (Fault::ServingWaiting, waits(kubelet_serving("n2"))),
        (
            Fault::RequestsNotIssued,
            World::healthy().filed(named(not_issued, "approved")),
        ),
        (Fault::RequestsDenied, decided("Denied")),
        (Fault::RequestsFailed, decided("Failed")),
        (
            Fault::RequestsMisspelt,
            waits(kubelet_client("n2").for_signer("kubernetes.io/kubelet-client")),
        ),
        (
            Fault::RequestsForeign,
            waits(api_client("ann", "devs").for_signer("example.com/signer")),
        ),
        (
            Fault::RequestsUnreadable,
            waits(kubelet_client("n2").request("no request")),
        ),
    ]
}

pub(super) fn many() -> Cases {
    let mut flood = World::healthy();
    for index in 0..16 {
        let object = kubelet_client("n2").by("ann").object();
        flood = flood.filed(named(object, &format!("ann-{index}")));
    }
    let world = World::healthy();
    let old = issued(&world.ca, kubelet_client("n2"), 30 * DAY, hours(-10));
    let old = named(at(old, "2026-11-20T02:00:00Z"), "old");
    vec![
        (Fault::RequestsFlood, flood),
        (Fault::RequestsOld, world.filed(old)),
    ]
}

/// One more certificate of n1, of so many seconds, issued so many hours ago.
fn newest(request: Fixture, seconds: u64, ago: i64) -> World {
    let world = World::healthy();
    let life = Duration::from_secs(seconds);
    let object = named(issued(&world.ca, request, life, hours(-ago)), "newest");
    world.edit(|seen, _| seen.cluster.requests = Known::Read(vec![object]))
}

fn of_node(change: impl FnOnce(&mut Value)) -> World {
    with(|seen, _| {
        let mut node = node("n1", "10.0.0.1");
        change(&mut node);
        seen.cluster.nodes = Known::Read(vec![node]);
    })
}

fn leased(renewed: &'static str) -> World {
    with(|seen, _| {
        let mut lease = lease("n1", renewed);
        lease["metadata"]["managedFields"] = json!([{
            "manager": "kubelet", "time": "2026-11-20T11:59:50Z",
            "fieldsV1": { "f:spec": { "f:renewTime": {} } },
        }]);
        seen.node_leases = Known::Read(vec![lease]);
    })
}

pub(super) fn nodes() -> Cases {
    let serving = || kubelet_serving("n1").ip("10.0.0.1");
    let mut looping = World::healthy();
    for index in 0..12 {
        let object = issued(&looping.ca, kubelet_client("n1"), DAY, SignedDuration::ZERO);
        let object = object.as_object().unwrap().clone();
        looping = looping.filed(named(Value::Object(object), &format!("loop-{index}")));
    }
    vec![
        (Fault::NodeLapsed, newest(kubelet_client("n1"), 3_600, 2)),
        (
            Fault::NodeLapses,
            newest(kubelet_client("n1"), 3_600 * 10, 9).edit(|seen, _| {
                seen.cluster.now = now() + SignedDuration::from_mins(30);
                seen.cluster.local = seen.cluster.now;
                seen.cluster.leases = Known::Read(vec![lease(
                    "kube-controller-manager",
                    "2026-11-20T12:29:55.000000Z",
                )]);
            }),
        ),
        (Fault::ServingLapses, newest(serving(), 3_600, 2)),
        (
            Fault::ServingOtherNames,
            of_node(|node| node["status"]["addresses"][1]["address"] = json!("10.0.0.9")),
        ),
        (
            Fault::NodeSilent,
            of_node(|node| {
                node["status"]["conditions"] = json!([{
                    "type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting",
                    "lastTransitionTime": "2026-11-20T10:00:00Z",
                }]);
            }),
        ),
        (Fault::NodeClock, leased("2026-11-20T14:00:00.000000Z")),
        (Fault::NodeClock, leased("2026-11-20T10:00:00.000000Z")),
        (Fault::NodeLoop, looping),
    ]
}
