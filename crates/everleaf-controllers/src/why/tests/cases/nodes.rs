//! Nodes.

use super::Cases;
use crate::fixture::{api_client, kubelet_serving, now};
use crate::why::tests::world::{World, day};
use crate::why::{Fault, Known};
use everleaf_api::revocation::Revocations;
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::time::Duration;

fn node() -> World {
    World::client("n1").approved().issued().of_node("n1")
}

/// The API server met this when it asked the kubelet.
fn kubelet(text: &str) -> World {
    let text = text.to_owned();
    node().edit(|evidence| evidence.kubelet = Known::Read((503, text)))
}

fn revoked() -> Known<Revocations> {
    let data = json!({"node.n1": r#"{"at": "2026-11-20T12:00:00Z"}"#});
    Known::Read(Revocations::of_config_map(&json!({ "data": data })))
}

fn nobody() -> World {
    let world = World::client("n1").of_node("n9");
    world.edit(|evidence| evidence.requests = Known::Read(vec![]))
}

/// The same request so many times.
fn many(count: usize, world: World) -> World {
    world.edit(|evidence| {
        if let Known::Read(requests) = &mut evidence.requests {
            *requests = vec![requests[0].clone(); count];
        }
    })
}

fn node_lease(renewed: &str) -> Known<Value> {
    Known::Read(json!({
        "metadata": { "managedFields": [{
            "manager": "kubelet", "time": "2026-11-20T11:59:50Z",
            "fieldsV1": { "f:spec": { "f:renewTime": {} } },
        }] },
        "spec": { "renewTime": renewed },
    }))
}

/// What the API tells of the machine.
pub(super) fn machines() -> Cases {
    vec![
        (Fault::NodeUnknown, nobody()),
        (Fault::NodeNoClient, World::serving("n4").of_node("n4")),
        (
            Fault::NodeJoinTokenEnded,
            nobody().edit(|evidence| {
                evidence.tokens = Known::Read([("abcdef".to_owned(), Some(now() - day(1)))].into());
            }),
        ),
        (
            Fault::NodeNotReady,
            node().node_object(|node| {
                node["status"]["conditions"][0] = json!({
                    "type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting",
                    "lastTransitionTime": "2026-11-20T10:00:00Z",
                });
            }),
        ),
        (
            Fault::NodeClock,
            node().edit(|evidence| evidence.node_lease = node_lease("2027-11-12T00:00:00.000000Z")),
        ),
        (
            Fault::NodeClock,
            node().edit(|evidence| evidence.node_lease = node_lease("2026-11-20T10:00:00.000000Z")),
        ),
        (Fault::NodeLoop, many(12, node())),
        (
            Fault::NodeFull,
            many(
                3,
                World::with(api_client("x", "y").by("system:node:n1")).approved(),
            )
            .of_node("n1")
            .edit(|evidence| {
                evidence.open_max = Some(3);
                evidence.leases = Known::default();
            })
            .refusing("nothing"),
        ),
        (
            Fault::NodeEnded,
            World::client("n1")
                .approved()
                .issued_at(Duration::from_secs(3600), SignedDuration::from_hours(-20))
                .of_node("n1"),
        ),
        (
            Fault::NodeRevoked,
            World::client("n1")
                .approved()
                .issued()
                .of_node("n1")
                .on_everleaf()
                .edit(|evidence| evidence.revocations = revoked()),
        ),
        (
            Fault::ClockHere,
            node().edit(|evidence| evidence.local = now() + SignedDuration::from_hours(1)),
        ),
        (
            Fault::ServingNodeAddresses,
            World::with(kubelet_serving("n1").ip("10.0.0.9")).of_node("n1"),
        ),
    ]
}

/// What the API server meets at the kubelet's port.
pub(super) fn kubelets() -> Cases {
    vec![
        (
            Fault::ServingAbsent,
            kubelet("error: remote error: tls: internal error"),
        ),
        (
            Fault::ServingUntrusted,
            kubelet(
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
            ),
        ),
        (
            Fault::ServingOtherName,
            kubelet("x509: certificate is valid for 10.0.0.2, not 10.0.0.1"),
        ),
        (
            Fault::ServingEnded,
            kubelet("x509: certificate has expired or is not yet valid: current time …"),
        ),
        (
            Fault::NodeUnreachable,
            kubelet("dial tcp 10.0.0.1:10250: i/o timeout"),
        ),
    ]
}
