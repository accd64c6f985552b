//! The server, rights, controllers, tokens, versions, revocations.

use super::*;
use crate::doctor::tests::world::{GROUP, ders, server_by, stranger, token};
use crate::why::tests::world::{lease, manager, node};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The server shows this certificate, and whoever trusts it is out of reach.
fn shows(name: &'static str, from: i64, to: i64) -> World {
    with(|seen, ca| {
        let chain = server_by(ca, name, now() + hours(from), now() + hours(to));
        seen.server.shown = ders(&chain);
    })
}

pub(super) fn server() -> Cases {
    vec![
        (
            Fault::ServerUnreachable,
            with(|seen, _| {
                seen.server.answer = Answer::None("connection refused".to_owned());
                seen.server.shown = Known::Absent;
            }),
        ),
        (
            Fault::CredentialRefused,
            with(|seen, _| seen.server.answer = Answer::Refused("Unauthorized".to_owned())),
        ),
        (
            Fault::ServerNotReady,
            with(|seen, _| seen.server.readiness = Known::Read((500, "etcd failed".to_owned()))),
        ),
        (
            Fault::ServerUnverified,
            with(|seen, _| seen.server.trusts_anybody = true),
        ),
        (
            Fault::ServerCertificateUntrusted,
            with(|seen, _| {
                let pem = world::pem_of(&stranger());
                seen.bundles[0].pem = Known::Read(pem);
                seen.host.credentials.clear();
            }),
        ),
        (Fault::ServerCertificateName, shows("other.test", -24, 8000)),
        (Fault::ServerCertificateEnded, shows("api.test", -24, -1)),
        (Fault::ServerCertificateEnds, shows("api.test", -8000, 100)),
        (
            Fault::CredentialEnds,
            with(|seen, ca| {
                let chain = world::client_by(ca, now() - hours(20), now() + hours(1));
                seen.server.credential = Some(chain.leaf().clone());
            }),
        ),
        (
            Fault::CredentialEnded,
            with(|seen, ca| {
                let chain = world::client_by(ca, now() - hours(20), now() - hours(1));
                seen.server.credential = Some(chain.leaf().clone());
            }),
        ),
        (
            Fault::ClockSkew,
            with(|seen, _| seen.cluster.local = now() + hours(1)),
        ),
    ]
}

fn answering(right: Right, allowed: bool) -> World {
    with(|seen, _| {
        seen.rights.insert(right, Known::Read(allowed));
    })
}

pub(super) fn rights() -> Cases {
    let binding = json!({
        "metadata": { "name": "too-wide" },
        "roleRef": { "name": "system:certificates.k8s.io:certificatesigningrequests:nodeclient" },
        "subjects": [{ "kind": "Group", "name": "system:authenticated" }],
    });
    vec![
        (
            Fault::JoinRightAbsent,
            answering(Right::Join(GROUP.to_owned()), false),
        ),
        (
            Fault::JoinApprovalAbsent,
            answering(Right::JoinApproved(GROUP.to_owned()), false),
        ),
        (Fault::RenewalRightAbsent, answering(Right::Renew, false)),
        (Fault::NodeFilingAbsent, answering(Right::File, false)),
        (Fault::AnybodyJoins, answering(Right::AnybodyJoins, true)),
        (Fault::EverybodyJoins, answering(Right::EveryPodJoins, true)),
        (
            Fault::EverybodyJoins,
            with(|seen, _| seen.cluster.bindings = Known::Read(vec![binding])),
        ),
        (
            Fault::RoleAbsent,
            with(|seen, _| {
                let role = "system:certificates.k8s.io:certificatesigningrequests:nodeclient";
                seen.cluster.roles = Known::Read(vec![role.to_owned()]);
            }),
        ),
    ]
}

fn managed(flags: &'static [&str]) -> World {
    with(|seen, _| seen.cluster.pods = Known::Read(vec![manager("v1.37.1", flags)]))
}

fn led(renewed: &'static str) -> World {
    with(|seen, _| {
        seen.cluster.leases = Known::Read(vec![lease("kube-controller-manager", renewed)]);
    })
}

pub(super) fn controllers() -> Cases {
    const CA: &str = "--cluster-signing-cert-file=/ca.crt";
    vec![
        (
            Fault::ControllersAbsent,
            with(|seen, _| {
                seen.cluster.leases = Known::Read(Vec::new());
                seen.cluster.requests = Known::Read(Vec::new());
            }),
        ),
        (Fault::ControllersGone, led("2026-11-20T11:00:00.000000Z")),
        (Fault::ControllersClock, led("2026-11-20T13:00:00.000000Z")),
        (
            Fault::ApproverOff,
            managed(&[CA, "--controllers=*,-csrapproving"]),
        ),
        (
            Fault::SignerOff,
            managed(&[CA, "--controllers=*,-csrsigning"]),
        ),
        (
            Fault::CleanerOff,
            managed(&[CA, "--controllers=*,-csrcleaner"]),
        ),
        (Fault::SignerUnconfigured, managed(&["--controllers=*"])),
    ]
}

/// With these tokens, all of which are signed for.
fn tokens_are(change: impl FnOnce(&mut Vec<crate::doctor::TokenFacts>)) -> World {
    with(|seen, _| {
        let Known::Read(tokens) = &mut seen.tokens else {
            panic!("no tokens");
        };
        tokens.push(token("ghijkl", Some(now() + hours(20))));
        change(tokens);
        let signed = json!({ "jws-kubeconfig-abcdef": "x", "jws-kubeconfig-ghijkl": "y" });
        seen.cluster_info = Known::Read(json!({ "data": signed }));
    })
}

pub(super) fn tokens() -> Cases {
    let soon = now() + SignedDuration::from_mins(30);
    vec![
        (
            Fault::TokensNone,
            with(|seen, _| seen.tokens = Known::Read(Vec::new())),
        ),
        (
            Fault::TokenEnded,
            tokens_are(|all| all[1] = token("ghijkl", Some(now() - hours(2)))),
        ),
        (
            Fault::TokenEndsSoon,
            tokens_are(|all| all[1] = token("ghijkl", Some(soon))),
        ),
        (
            Fault::TokenForEver,
            tokens_are(|all| all[1] = token("ghijkl", None)),
        ),
        (
            Fault::TokenNoUsage,
            tokens_are(|all| (all[1].authenticates, all[1].signs) = (false, false)),
        ),
        (
            Fault::TokenUsageValue,
            tokens_are(|all| all[1].odd_usages = vec!["usage: \"True\"".to_owned()]),
        ),
        (
            Fault::TokenGroups,
            tokens_are(|all| all[1].groups = vec!["admins".to_owned()]),
        ),
        (
            Fault::TokenMalformed,
            tokens_are(|all| all[1].secret_name = "mine".to_owned()),
        ),
        (
            Fault::TokenUnsigned,
            with(|seen, _| seen.cluster_info = Known::Read(json!({ "data": {} }))),
        ),
        (
            Fault::ClusterInfoAbsent,
            with(|seen, _| seen.cluster_info = Known::Absent),
        ),
    ]
}

fn running(server: &'static str, kubelet: &'static str) -> World {
    with(|seen, _| {
        seen.cluster.version = Known::Read(server.to_owned());
        let flags = ["--cluster-signing-cert-file=/ca.crt"];
        seen.cluster.pods = Known::Read(vec![manager(server, &flags)]);
        let mut node = node("n1", "10.0.0.1");
        node["status"]["nodeInfo"]["kubeletVersion"] = json!(kubelet);
        seen.cluster.nodes = Known::Read(vec![node]);
    })
}

pub(super) fn versions() -> Cases {
    let unequal = running("v1.37.1", "v1.37.1").edit(|seen, _| {
        let flags = ["--cluster-signing-cert-file=/ca.crt"];
        seen.cluster.pods = Known::Read(vec![manager("v1.35.0", &flags)]);
    });
    let split = running("v1.25.0", "v1.27.3").edit(|seen, _| {
        let flags = ["--cluster-signing-cert-file=/ca.crt"];
        seen.cluster.pods = Known::Read(vec![manager("v1.24.9", &flags)]);
    });
    vec![
        (Fault::VersionsUsages, split),
        (Fault::VersionsKubeletNewer, running("v1.36.0", "v1.37.1")),
        (Fault::VersionsKubeletOld, running("v1.37.1", "v1.33.0")),
        (Fault::VersionsManager, unequal),
        (
            Fault::VersionsMlDsa,
            World::healthy().filed(with_ml_dsa_key()),
        ),
        (
            Fault::VersionsNoApi,
            with(|seen, _| seen.cluster.requests = Known::Absent),
        ),
    ]
}

/// A request with a key, and a signature, of ML-DSA-65.
fn with_ml_dsa_key() -> Value {
    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut bytes = vec![tag, u8::try_from(content.len()).unwrap()];
        bytes.extend(content);
        bytes
    }
    let oid = [
        0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x12,
    ];
    let algorithm = tlv(0x30, &[&oid]);
    let bits = tlv(0x03, &[&[0, 1, 2, 3]]);
    let key = tlv(0x30, &[&algorithm, &bits]);
    let info = tlv(0x30, &[&[2, 1, 0], &[0x30, 0], &key, &[0xa0, 0]]);
    let body = STANDARD.encode(tlv(0x30, &[&info, &algorithm, &bits]));
    let label = "CERTIFICATE REQUEST-----";
    let pem = format!("-----BEGIN {label}\n{body}\n-----END {label}\n");
    world::named(kubelet_client("n1").request(&pem).object(), "ml-dsa")
}

/// Names and ends of the list of revocations.
fn listed(this: &'static str, next: &'static str) -> World {
    with(|seen, _| {
        let data = json!({ "thisUpdate": this, "nextUpdate": next });
        seen.revocation_list = Known::Read(json!({ "data": data }));
    })
}

fn revoked(key: &'static str) -> World {
    with(|seen, _| {
        seen.cluster.version = Known::Read("v1.37.0-everleaf.0.1".to_owned());
        let fresh = json!({
            "thisUpdate": "2026-11-20T11:00:00Z", "nextUpdate": "2026-11-27T11:00:00Z",
        });
        seen.revocation_list = Known::Read(json!({ "data": fresh }));
        let value = json!({ "at": "2026-11-20T11:00:00Z" }).to_string();
        seen.revocations = Known::Read(json!({ "data": { key: value } }));
    })
}

pub(super) fn revocations() -> Cases {
    vec![
        (
            Fault::RevocationListLate,
            listed("2026-11-10T00:00:00Z", "2026-11-17T00:00:00Z"),
        ),
        (
            Fault::RevocationListStale,
            listed("2026-11-17T00:00:00Z", "2026-11-24T00:00:00Z"),
        ),
        (
            Fault::RevocationsUnenforced,
            revoked("serial.AB").edit(|seen, _| {
                seen.cluster.version = Known::Read("v1.37.1".to_owned());
            }),
        ),
        (
            Fault::RevocationListAbsent,
            revoked("serial.AB").edit(|seen, _| seen.revocation_list = Known::Absent),
        ),
        (Fault::RevocationUnknownEntry, revoked("n1")),
        (Fault::RevokedWithToken, revoked("node.n2")),
    ]
}
