//! Requests of any kind that wait.

use super::{Cases, damaged, lease, leases, without_leases};
use crate::fixture::{api_client, kubelet_client};
use crate::why::tests::world::World;
use crate::why::{Fault, Known};
use serde_json::json;

fn client() -> World {
    World::client("n1")
}

/// What is wrong with the request.
pub(super) fn requests() -> Cases {
    vec![
        (
            Fault::RequestGone,
            client().edit(|evidence| evidence.request = Known::Absent),
        ),
        (
            Fault::RequestUnreadable,
            World::with(kubelet_client("n1").request("no PEM at all")),
        ),
        (
            Fault::RequestSignature,
            World::with(kubelet_client("n1").request(&damaged())),
        ),
        (
            Fault::SignerMisspelt,
            World::with(kubelet_client("n1").for_signer("kubernetes.io/kubelet-client")),
        ),
        (
            Fault::SignerForeign,
            World::with(kubelet_client("n1").for_signer("example.com/signer")),
        ),
        (
            Fault::SignerLegacy,
            World::with(kubelet_client("n1").for_signer("kubernetes.io/legacy-unknown")),
        ),
        (
            Fault::ManualApproval,
            World::with(api_client("ann", "admins")),
        ),
        (
            Fault::BeingDeleted,
            client().change(|object| {
                object["metadata"]["deletionTimestamp"] = json!("2026-11-20T11:59:30Z");
                object["metadata"]["finalizers"] = json!(["example.com/hold"]);
            }),
        ),
    ]
}

/// Nobody is there to approve.
pub(super) fn controllers() -> Cases {
    vec![
        (Fault::ApproverAbsent, client().edit(without_leases)),
        (
            Fault::ControllersUnseen,
            client().edit(without_leases).on_everleaf(),
        ),
        (
            Fault::LeaderGone,
            client().edit(|evidence| {
                evidence.leases =
                    leases(&[("kube-controller-manager", "2026-11-20T11:00:00.000000Z")]);
            }),
        ),
        (
            Fault::LeaderDead,
            client().edit(|evidence| {
                let mut dead = lease("kube-controller-manager", "2026-11-20T09:48:00.000000Z");
                dead["spec"]["leaseDurationSeconds"] = json!(86_400);
                evidence.leases = Known::Read(vec![dead]);
            }),
        ),
        (
            Fault::ApproverSwitchedOff,
            client().manager(&[
                "--controllers=*,-csrapproving",
                "--cluster-signing-cert-file=/a",
            ]),
        ),
        (
            Fault::ApproverSwitchedOff,
            client().manager(&["--controllers=csrsigning", "--cluster-signing-cert-file=/a"]),
        ),
        (
            Fault::ApproverNotPermitted,
            client().refusing("\"approve\""),
        ),
        (Fault::ApproverSilent, client()),
    ]
}
