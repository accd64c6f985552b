//! What brings each fault about.

use super::world::{World, day, lease, manager, node};
use crate::fixture::{
    WEAK_REQUEST, api_client, authority, authority_between, kubelet_client, kubelet_serving, now,
};
use crate::serving::{Inventory, PolicySet};
use crate::why::{Evidence, Fault, Known};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::time::Duration;

type Cases = Vec<(Fault, World)>;

const BOOTSTRAP: &str = "system:bootstrap:abcdef";

fn damaged() -> String {
    // A request with another's signature: the last byte of the text that counts is changed.
    let object = kubelet_client("n1").object();
    let text = object["spec"]["request"].as_str().unwrap();
    let pem = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
    let block = everleaf_pki::pem::blocks(&pem).next().unwrap();
    let mut der = block.der;
    let at = der.len() - 6;
    der[at] ^= 1;
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
}

fn of_token() -> World {
    World::with(kubelet_client("n1").by(BOOTSTRAP).groups(&[
        "system:bootstrappers",
        "system:bootstrappers:kubeadm:default-node-token",
        "system:authenticated",
    ]))
}

fn leases(names: &[(&str, &str)]) -> Known<Vec<Value>> {
    Known::Read(
        names
            .iter()
            .map(|(name, renewed)| lease(name, renewed))
            .collect(),
    )
}

fn without_leases(evidence: &mut Evidence) {
    evidence.leases = leases(&[]);
}

pub(super) fn pending() -> Cases {
    let client = || World::client("n1");
    vec![
        (Fault::RequestGone, client().edit(|evidence| evidence.request = Known::Absent)),
        (
            Fault::RequestUnreadable,
            World::with(kubelet_client("n1").request("no PEM at all")),
        ),
        (Fault::RequestSignature, World::with(kubelet_client("n1").request(&damaged()))),
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
        (Fault::ManualApproval, World::with(api_client("ann", "admins"))),
        (
            Fault::BeingDeleted,
            client().change(|object| {
                object["metadata"]["deletionTimestamp"] = json!("2026-11-20T11:59:30Z");
                object["metadata"]["finalizers"] = json!(["example.com/hold"]);
            }),
        ),
        (Fault::ApproverAbsent, client().edit(without_leases)),
        (
            Fault::ApproverAbsent,
            client().edit(without_leases).edit(|evidence| {
                evidence.version = Known::Read("v1.37.0-everleaf.0.1".to_owned());
            }),
        ),
        (
            Fault::LeaderGone,
            client().edit(|evidence| {
                evidence.leases = leases(&[("kube-controller-manager", "2026-11-20T11:00:00.000000Z")]);
            }),
        ),
        (
            Fault::ApproverSwitchedOff,
            client().manager(&["--controllers=*,-csrapproving", "--cluster-signing-cert-file=/a"]),
        ),
        (
            Fault::ApproverSwitchedOff,
            client().manager(&["--controllers=csrsigning", "--cluster-signing-cert-file=/a"]),
        ),
        (Fault::ApproverNotPermitted, client().refusing("\"approve\"")),
        (Fault::ApproverSilent, client()),
        (
            Fault::ClientOrganization,
            World::with(kubelet_client("n1").organizations(&["system:masters"])),
        ),
        (Fault::ClientCommonName, World::with(kubelet_client("n1").common_name("ann"))),
        (Fault::ClientAltNames, World::with(kubelet_client("n1").dns("n1"))),
        (Fault::ClientUsages, World::with(kubelet_client("n1").usages(&["server auth"]))),
        (
            Fault::ClientNodeName,
            World::with(kubelet_client("n1").common_name("system:node:N_1")),
        ),
        (Fault::ClientSubject, World::with(kubelet_client("n1").request(UNUSUAL_SUBJECT))),
        (Fault::ClientKey, World::with(kubelet_client("n1").request(WEAK_REQUEST))),
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
        (
            Fault::RotationLoop,
            client().event("RotationLoopSuspected", "13 certificates within ten minutes"),
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

fn with_policy(world: World, text: &str) -> World {
    let text = format!("version: everleaf.io/policy/v1\n{text}");
    let policies = PolicySet::from_yaml(&text).unwrap();
    world.edit(|evidence| evidence.policies = policies)
}

pub(super) fn serving() -> Cases {
    let good = || kubelet_serving("n1").ip("10.0.0.1");
    let serving = || World::with(good());
    let policy = |rest: &str| {
        with_policy(
            serving(),
            &format!(
                "policy:\n  - name: strict\n    signer: kubernetes.io/kubelet-serving\n{rest}"
            ),
        )
    };
    let mut cases = vec![
        (
            Fault::ServingNobody,
            serving().edit(|evidence| {
                let renewed = "2026-11-20T11:59:55.000000Z";
                evidence.leases = leases(&[("kube-controller-manager", renewed)]);
            }),
        ),
        (Fault::PolicyDryRun, policy("    mode: dry-run\n")),
        (
            Fault::PolicyNone,
            policy("    match: { node_name_regex: other-.* }\n"),
        ),
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
            Fault::ServingUnique,
            serving().edit(|evidence| {
                let nodes = vec![node("n1", "10.0.0.1"), node("n2", "10.0.0.1")];
                evidence.nodes = Known::Read(nodes);
            }),
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
            Fault::ServingLifetime,
            World::with(good().expiration_seconds(60)),
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
        (
            Fault::ServingLimits,
            serving().event(
                "CSRRateLimited",
                "policy \"default\", rule S24 limits: too many",
            ),
        ),
    ];
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
    cases.push((Fault::ServingSuperseded, newer));
    cases.push((Fault::ApproverSilent, serving()));
    cases.push((
        Fault::ApproverNotPermitted,
        serving().refusing("\"approve\""),
    ));
    // What the approver said counts more than what would be said here.
    let said = "policy \"strict\", rule S17 ranges: 10.0.0.1 lies in a denied range (10.0.0.0/8)";
    cases.push((Fault::ServingRanges, serving().event("CSRWaiting", said)));
    cases.push((
        Fault::ServingRanges,
        serving().condition("Denied", "EverleafPolicyDenied", said),
    ));
    cases
}

pub(super) fn decided() -> Cases {
    let client = || World::client("n1").approved();
    let api = || World::with(api_client("ann", "admins")).approved();
    let failed =
        |world: World, message: &str| world.condition("Failed", "SignerValidationFailure", message);
    let with_reason = |reason: &str| {
        World::client("n1")
            .approved()
            .condition("Failed", reason, "the signer's words")
    };
    let (hour, long) = (
        Duration::from_secs(3600),
        Duration::from_secs(86_400 * 3650),
    );
    let other_key = client().issued().object()["status"]["certificate"].clone();
    vec![
        (
            Fault::DeniedByHand,
            World::client("n1").condition("Denied", "KubectlDeny", "no"),
        ),
        (
            Fault::DeniedAndApproved,
            client().condition("Denied", "KubectlDeny", "no"),
        ),
        (Fault::SignerAbsent, client().edit(without_leases)),
        (
            Fault::SignerUnconfigured,
            client().manager(&["--controllers=*"]),
        ),
        (
            Fault::SignerPartly,
            client().manager(&["--cluster-signing-kubelet-serving-cert-file=/s.crt"]),
        ),
        (
            Fault::SignerSwitchedOff,
            client().manager(&[
                "--controllers=*,-csrsigning",
                "--cluster-signing-cert-file=/a",
            ]),
        ),
        (Fault::SignerNotPermitted, client().refusing("\"sign\"")),
        (
            Fault::CaEnded,
            client().with_ca(authority_between(now() - day(9), now() - day(1))),
        ),
        (
            Fault::CaEnded,
            client().event("SignerCAExpired", "the CA ended"),
        ),
        (
            Fault::CaNotBegun,
            client().with_ca(authority_between(now() + day(1), now() + day(9))),
        ),
        (
            Fault::CaUnusable,
            client().event("CAReloadFailed", "the private key does not match"),
        ),
        (
            Fault::UsagesNobodyKnows,
            World::with(
                api_client("ann", "admins")
                    .usages(&["telepathy"])
                    .for_signer("kubernetes.io/legacy-unknown"),
            )
            .approved(),
        ),
        (Fault::SignerSilent, client()),
        (
            Fault::SignerForeign,
            World::with(kubelet_client("n1").for_signer("example.com/x")).approved(),
        ),
        (
            Fault::FailedOrganization,
            failed(
                World::with(kubelet_client("n1").organizations(&["x"])).approved(),
                "x",
            ),
        ),
        (
            Fault::FailedCommonName,
            failed(
                World::with(kubelet_client("n1").common_name("ann")).approved(),
                "x",
            ),
        ),
        (
            Fault::FailedAltNames,
            failed(World::with(kubelet_client("n1").dns("a")).approved(), "x"),
        ),
        (
            Fault::FailedNoAltName,
            failed(
                World::with(kubelet_serving("n1").without_all_names()).approved(),
                "x",
            ),
        ),
        (
            Fault::FailedUsages,
            failed(
                World::with(kubelet_client("n1").usages(&["server auth"])).approved(),
                "x",
            ),
        ),
        (
            Fault::FailedClientUsages,
            failed(
                World::with(api_client("ann", "x").usages(&["server auth"])).approved(),
                "x",
            ),
        ),
        (Fault::FailedKey, with_reason("UnsupportedKey")),
        (Fault::FailedUnknownUsages, with_reason("UnknownUsage")),
        (
            Fault::FailedUnreadable,
            World::with(kubelet_client("n1").request("no PEM"))
                .approved()
                .condition("Failed", "RequestUnparseable", "x"),
        ),
        (Fault::FailedLint, with_reason("PolicyViolation")),
        (Fault::FailedByOther, with_reason("NoIdea")),
        (
            Fault::OldUsages,
            failed(
                World::with(kubelet_serving("n1").usages(&["digital signature", "server auth"]))
                    .approved(),
                "usages did not match [digital signature key encipherment server auth]",
            ),
        ),
        (
            Fault::CertificateUnreadable,
            client().change(|object| object["status"]["certificate"] = json!("bm8=")),
        ),
        (
            Fault::CertificateOtherKey,
            client().change(|object| object["status"]["certificate"] = other_key),
        ),
        (
            Fault::CertificateEnded,
            client().issued_at(hour, SignedDuration::from_hours(-20)),
        ),
        (
            Fault::CertificateNotBegun,
            client().issued_at(hour, SignedDuration::from_hours(3)),
        ),
        (
            Fault::CertificateOtherCa,
            client().issued().with_ca(authority(day(400))),
        ),
        (
            Fault::CertificateTruncated,
            client().with_ca(authority(day(400))).issued_for(long),
        ),
        (
            Fault::CertificateShort,
            api()
                .change(|object| object["spec"]["expirationSeconds"] = json!(86_400))
                .issued_for(hour),
        ),
        (
            Fault::CaEndsSoon,
            client().with_ca(authority(day(9))).issued(),
        ),
    ]
}

pub(super) fn nodes() -> Cases {
    let node = || World::client("n1").approved().issued().of_node("n1");
    let kubelet = |text: &str| {
        let text = text.to_owned();
        node().edit(|evidence| evidence.kubelet = Known::Read((503, text)))
    };
    let nobody = || {
        World::client("n1")
            .of_node("n9")
            .edit(|evidence| evidence.requests = Known::Read(vec![]))
    };
    let many = |count: usize, world: World| {
        world.edit(|evidence| {
            if let Known::Read(requests) = &mut evidence.requests {
                *requests = vec![requests[0].clone(); count];
            }
        })
    };
    vec![
        (Fault::NodeUnknown, nobody()),
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

fn node_lease(renewed: &str) -> Known<Value> {
    Known::Read(json!({
        "metadata": { "managedFields": [{
            "manager": "kubelet", "time": "2026-11-20T11:59:50Z",
            "fieldsV1": { "f:spec": { "f:renewTime": {} } },
        }] },
        "spec": { "renewTime": renewed },
    }))
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
