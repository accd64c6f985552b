//! Requests of nodes for client certificates.

use super::Cases;
use crate::fixture::{WEAK_REQUEST, kubelet_client, now};
use crate::why::tests::world::{World, day, manager};
use crate::why::{Fault, Known};
use serde_json::json;

const BOOTSTRAP: &str = "system:bootstrap:abcdef";

fn client() -> World {
    World::client("n1")
}

fn of_token() -> World {
    World::with(kubelet_client("n1").by(BOOTSTRAP).groups(&[
        "system:bootstrappers",
        "system:bootstrappers:kubeadm:default-node-token",
        "system:authenticated",
    ]))
}

/// What is wrong with the request.
pub(super) fn requests() -> Cases {
    vec![
        (
            Fault::ClientOrganization,
            World::with(kubelet_client("n1").organizations(&["system:masters"])),
        ),
        (
            Fault::ClientCommonName,
            World::with(kubelet_client("n1").common_name("ann")),
        ),
        (
            Fault::ClientAltNames,
            World::with(kubelet_client("n1").dns("n1")),
        ),
        (
            Fault::ClientUsages,
            World::with(kubelet_client("n1").usages(&["server auth"])),
        ),
        (
            Fault::ClientNodeName,
            World::with(kubelet_client("n1").common_name("system:node:N_1")),
        ),
        (
            Fault::ClientSubject,
            World::with(kubelet_client("n1").request(UNUSUAL_SUBJECT)),
        ),
        (
            Fault::ClientKey,
            World::with(kubelet_client("n1").request(WEAK_REQUEST)),
        ),
        (
            Fault::RotationLoop,
            client().edit(|evidence| {
                let Known::Read(requests) = &mut evidence.requests else {
                    panic!("no requests");
                };
                let issued = World::client("n1").approved().issued().object();
                requests.extend(vec![issued; 12]);
            }),
        ),
        (
            Fault::RotationLoop,
            client().event(
                "RotationLoopSuspected",
                "13 certificates within ten minutes",
            ),
        ),
        (
            Fault::OldUsages,
            World::with(kubelet_client("n1").usages(&["digital signature", "client auth"]))
                .edit(|evidence| evidence.pods = Known::Read(vec![manager("v1.24.3", &[])])),
        ),
        (
            Fault::OldUsages,
            World::with(kubelet_client("n1").usages(&["digital signature", "client auth"])).edit(
                |evidence| {
                    evidence.pods = Known::Read(vec![]);
                    evidence.version = Known::Read("v1.26.9".to_owned());
                },
            ),
        ),
    ]
}

/// Who asks may not have it.
pub(super) fn permissions() -> Cases {
    vec![
(Fault::BootstrapPermission, of_token().refusing("nodeclient")),
(
            Fault::BootstrapGroup,
            of_token().refusing("nodeclient").edit(|evidence| {
                evidence.bindings = Known::Read(vec![json!({
                    "metadata": { "name": "bootstrap" },
                    "roleRef": { "name": "system:certificates.k8s.io:certificatesigningrequests:nodeclient" },
                    "subjects": [{ "kind": "Group", "name": "system:bootstrappers:others" }],
                })]);
            }),
        ),
(
            Fault::RoleMissing,
            of_token().refusing("nodeclient").edit(|evidence| evidence.roles = Known::Read(vec![])),
        ),
(Fault::RenewalPermission, client().refusing("nodeclient")),
(
            Fault::OtherNode,
            World::with(kubelet_client("n1").by("system:node:n2")).refusing("nodeclient"),
        ),
(
            Fault::AnonymousRequestor,
            World::with(kubelet_client("n1").by("system:anonymous")).refusing("nodeclient"),
        ),
(
            Fault::TokenEnded,
            of_token().edit(|evidence| {
                evidence.tokens = Known::Read([("abcdef".to_owned(), Some(now() - day(1)))].into());
            }),
        ),
(
            Fault::TokenEnded,
            of_token().edit(|evidence| evidence.tokens = Known::Read([].into())),
        ),
    ]
}

/// A node's request with two common names.
const UNUSUAL_SUBJECT: &str = "\
-----BEGIN CERTIFICATE REQUEST-----
MIIBBTCBqwIBADBJMRUwEwYDVQQKDAxzeXN0ZW06bm9kZXMxFzAVBgNVBAMMDnN5
c3RlbTpub2RlOm4xMRcwFQYDVQQDDA5zeXN0ZW06bm9kZTpuMTBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABO0tx/5jR/l2cUPKn3CeJEMJ2Giq+QUE32XAjUXtYoFI
J+YpE7rWTspTtjg2yJK3DeaB05fsw/U8Eijrqtmr1/igADAKBggqhkjOPQQDAgNJ
ADBGAiEA4UeXYkH2kmNAKMOt/HDXj6gS6nKGmpeWCIXDc2cP1okCIQCvV2YW9ESf
H929ZWk4ideNZWNud055xttqdbZsONjXPQ==
-----END CERTIFICATE REQUEST-----
";
