//! Requests of nodes for serving certificates.

use super::{Cases, damaged, leases};
use crate::fixture::{Fixture, WEAK_REQUEST, kubelet_serving};
use crate::serving::{Inventory, PolicySet};
use crate::why::tests::world::{World, node};
use crate::why::{Fault, Known};
use serde_json::json;

fn good() -> Fixture {
    kubelet_serving("n1").ip("10.0.0.1")
}

fn serving() -> World {
    World::with(good())
}

/// A good request under a policy that says this besides its name.
fn policy(rest: &str) -> World {
    let text = format!(
        "version: everleaf.io/policy/v1\npolicy:\n  - name: strict\n    signer: kubernetes.io/kubelet-serving\n{rest}"
    );
    let policies = PolicySet::from_yaml(&text).unwrap();
    serving().edit(|evidence| evidence.policies = policies)
}

/// What is wrong with the request.
pub(super) fn requests() -> Cases {
    vec![
        (Fault::ServingPem, World::with(good().request("no PEM"))),
        (
            Fault::RequestSignature,
            World::with(good().request(&damaged())),
        ),
        (Fault::ServingKey, World::with(good().request(WEAK_REQUEST))),
        (Fault::ServingRequestor, World::with(good().by("ann"))),
        (
            Fault::ServingGroups,
            World::with(good().groups(&["system:authenticated"])),
        ),
        (
            Fault::ServingSubject,
            World::with(good().common_name("system:node:n2")),
        ),
        (
            Fault::ServingUsages,
            World::with(good().usages(&["digital signature", "server auth", "client auth"])),
        ),
        (
            Fault::ServingExtensions,
            World::with(good().request(URI_REQUEST)),
        ),
        (Fault::ServingCount, World::with(good().without_all_names())),
        (
            Fault::ServingNames,
            World::with(good().dns("kubernetes.default.svc")),
        ),
        (Fault::ServingAddresses, World::with(good().ip("10.96.0.1"))),
        (
            Fault::ServingLifetime,
            World::with(good().expiration_seconds(60)),
        ),
    ]
}

/// What it asks for is not the node's.
pub(super) fn nodes() -> Cases {
    vec![
        (
            Fault::ServingNodeMissing,
            serving().edit(|evidence| evidence.nodes = Known::Read(vec![])),
        ),
        (
            Fault::ServingNodeNewer,
            serving().node_object(|node| {
                node["metadata"]["creationTimestamp"] = json!("2026-11-20T11:59:40Z");
            }),
        ),
        (
            Fault::ServingNodeNames,
            World::with(good().dns("n1.example.com")),
        ),
        (
            Fault::ServingNodeAddresses,
            World::with(good().ip("10.0.0.9")),
        ),
        (
            Fault::ServingNodeUnreported,
            serving().node_object(|node| node["status"] = json!({})),
        ),
        (
            Fault::ServingUnique,
            serving().edit(|evidence| {
                let nodes = vec![node("n1", "10.0.0.1"), node("n2", "10.0.0.1")];
                evidence.nodes = Known::Read(nodes);
            }),
        ),
    ]
}

/// What the operator's policy says.
pub(super) fn policies() -> Cases {
    vec![
        (Fault::PolicyDryRun, policy("    mode: dry-run\n")),
        (
            Fault::PolicyNone,
            policy("    match: { node_name_regex: other-.* }\n"),
        ),
        (
            Fault::ServingRanges,
            policy("    san: { allowed_cidrs: [192.168.0.0/16] }\n"),
        ),
        (
            Fault::ServingInventory,
            policy("    inventory: { kind: file, ref: /inventory.yaml }\n").edit(|evidence| {
                evidence.inventory = Some(Ok(Inventory::from_yaml("n2: [10.0.0.2]\n").unwrap()));
            }),
        ),
        (
            Fault::ServingExpressions,
            policy(
                "    cel:\n      - expr: size(csr.san.ips) == 0\n        message: no addresses\n",
            ),
        ),
        (
            Fault::ServingPermission,
            policy("    require_permission: true\n").refusing("selfnodeserver"),
        ),
    ]
}

/// What the approver does, and has said.
pub(super) fn told() -> Cases {
    let mut later = Vec::new();
    for number in 1..=3 {
        let mut object = good().object();
        object["metadata"]["name"] = json!(format!("csr-later{number}"));
        object["metadata"]["creationTimestamp"] = json!(format!("2026-11-20T11:59:1{number}Z"));
        later.push(object);
    }
    let newer = serving().edit(|evidence| {
        if let Known::Read(requests) = &mut evidence.requests {
            requests.extend(later);
        }
    });
    let said = "policy \"strict\", rule S17 ranges: 10.0.0.1 lies in a denied range (10.0.0.0/8)";
    vec![
        (
            Fault::ServingNobody,
            serving().edit(|evidence| {
                let renewed = "2026-11-20T11:59:55.000000Z";
                evidence.leases = leases(&[("kube-controller-manager", renewed)]);
            }),
        ),
        (
            Fault::ServingLimits,
            serving().event(
                "CSRRateLimited",
                "policy \"default\", rule S24 limits: too many",
            ),
        ),
        (Fault::ServingSuperseded, newer),
        (Fault::ApproverSilent, serving()),
        (
            Fault::ApproverNotPermitted,
            serving().refusing("\"approve\""),
        ),
        (
            Fault::ServingDns,
            serving().condition(
                "Denied",
                "EverleafPolicyDenied",
                "policy \"strict\", rule S19 dns_resolution: DNS knows no \"n1\" (NXDOMAIN)",
            ),
        ),
        (
            Fault::ServingDnsSilent,
            serving().event(
                "CSRWaiting",
                "policy \"strict\", rule S19 dns_resolution: DNS cannot tell the addresses of \"n1\": no answer in time",
            ),
        ),
        (
            Fault::ServingRenewal,
            serving().condition(
                "Denied",
                "EverleafPolicyDenied",
                "policy \"strict\", rule S18 inventory: the inventory does not know the node \"n1\"; the kubelet could not be dialled (10.0.0.1:10250)",
            ),
        ),
        // What the approver said counts more than what would be said here.
        (Fault::ServingRanges, serving().event("CSRWaiting", said)),
        (
            Fault::ServingRanges,
            serving().condition("Denied", "EverleafPolicyDenied", said),
        ),
    ]
}

/// A node's request for a serving certificate with a URI besides.
const URI_REQUEST: &str = "\
-----BEGIN CERTIFICATE REQUEST-----
MIIBHjCBxgIBADAwMRUwEwYDVQQKDAxzeXN0ZW06bm9kZXMxFzAVBgNVBAMMDnN5
c3RlbTpub2RlOm4xMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE7S3H/mNH+XZx
Q8qfcJ4kQwnYaKr5BQTfZcCNRe1igUgn5ikTutZOylO2ODbIkrcN5oHTl+zD9TwS
KOuq2avX+KA0MDIGCSqGSIb3DQEJDjElMCMwIQYDVR0RBBowGIICbjGHBAoAAAGG
DHNwaWZmZTovL2EvYjAKBggqhkjOPQQDAgNHADBEAiBVrO0uyN/qnFdz8VbXG9Ym
AyEXK4O2ldqi/lRFcXo2ygIgFp9KBwv+VqzUF2OE0EyyMNtYYudzO6sYI1rA4fBH
EKc=
-----END CERTIFICATE REQUEST-----
";
