//! Every way to be a kubelet, and every way not to be one: each benign request is approved, and no
//! change for the worse is, whatever it is applied to. The rule that speaks is named.

use super::*;

type Change = fn(Fixture) -> Fixture;

const LONG_USAGES: [&str; 3] = ["digital signature", "key encipherment", "server auth"];
const SHORT_USAGES: [&str; 2] = ["digital signature", "server auth"];

/// What kubelets of all ages on all kinds of nodes ask for.
fn benign() -> Vec<Fixture> {
    let nodes: [(&str, &[&str]); 3] = [
        ("n1", &["10.0.0.1", "fd00::1"]),
        ("n2", &["10.0.0.2"]),
        ("a", &["10.0.0.10"]),
    ];
    let mut requests = Vec::new();
    for (name, ips) in nodes {
        for usages in [&LONG_USAGES[..], &SHORT_USAGES[..]] {
            for key in [
                KeyAlgorithm::EcdsaP256,
                KeyAlgorithm::EcdsaP384,
                KeyAlgorithm::Ed25519,
            ] {
                let base = || kubelet_serving(name).usages(usages).key(key);
                requests.push(base());
                requests.push(base().ip(ips[0]));
                requests.push(base().without_names().ip(ips[0]));
                requests.push(base().ip(ips[0]).expiration_seconds(600));
                requests.push(base().ip(ips[0]).expiration_seconds(31_622_400));
                // Twice the same is no more than once.
                requests.push(base().ip(ips[0]).ip(ips[0]).dns(name));
                requests.push(ips.iter().fold(base(), |request, ip| request.ip(ip)));
            }
        }
    }
    requests
}

/// Changes for the worse, and the rule that speaks first.
const CHANGES: &[(&str, Change)] = &[
    ("S1", |one| {
        one.for_signer("kubernetes.io/kube-apiserver-client")
    }),
    ("S1", |one| {
        one.for_signer("kubernetes.io/kube-apiserver-client-kubelet")
    }),
    ("S1", |one| one.for_signer("kubernetes.io/legacy-unknown")),
    ("S1", |one| one.for_signer("kubernetes.io/kubelet-serving ")),
    ("S2", Fixture::approved),
    ("S2", |one| one.condition("Denied", "True")),
    ("S2", |one| one.condition("Failed", "False")),
    ("S2", |one| one.certificate("x")),
    ("S3", |one| one.request("")),
    ("S3", |one| {
        one.request(
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        )
    }),
    ("S4", |one| one.request(WEAK_REQUEST)),
    ("S5", |one| one.by("system:admin")),
    ("S5", |one| {
        one.by("system:serviceaccount:kube-system:node-controller")
    }),
    ("S5", |one| one.by("system:bootstrap:abcdef")),
    ("S5", |one| one.by("system:node:")),
    ("S5", |one| one.by("system:node:a b")),
    ("S5", |one| one.by("system:nodes:n1")),
    ("S5", |one| one.by("System:node:n1")),
    ("S5", |one| one.by("")),
    ("S6", |one| one.groups(&[])),
    ("S6", |one| one.groups(&["system:nodes"])),
    ("S6", |one| one.groups(&["system:authenticated"])),
    ("S6", |one| {
        one.groups(&["system:node", "system:authenticated"])
    }),
    ("S7", |one| one.by("system:node:stranger")),
    ("S7", |one| one.common_name("system:node:stranger")),
    ("S7", |one| one.common_name("system:node:n1\0")),
    ("S7", |one| one.common_name("system:masters")),
    ("S7", |one| one.common_name("")),
    ("S7", |one| {
        one.organizations(&["system:nodes", "system:nodes"])
    }),
    ("S7", |one| {
        one.organizations(&["system:masters", "system:nodes"])
    }),
    ("S7", |one| one.organizations(&["system:node"])),
    ("S7", |one| one.organizations(&[])),
    ("S8", |one| {
        one.usages(&["digital signature", "server auth", "client auth"])
    }),
    ("S8", |one| {
        one.usages(&["digital signature", "key encipherment"])
    }),
    ("S8", |one| {
        one.usages(&["digital signature", "server auth", "any"])
    }),
    ("S8", |one| {
        one.usages(&["digital signature", "server auth", "crl sign"])
    }),
    ("S8", |one| {
        one.usages(&["Digital Signature", "server auth"])
    }),
    ("S8", |one| one.usages(&["key encipherment", "server auth"])),
    ("S10", Fixture::without_all_names),
    ("S10", |one| {
        (0..9).fold(one, |one, index| one.dns(&format!("n{index}.example")))
    }),
    ("S10", |one| {
        (0..17).fold(one, |one, index| one.ip(&format!("10.9.0.{index}")))
    }),
    ("S11", |one| one.dns("kubernetes")),
    ("S11", |one| one.dns("kubernetes.default.svc.cluster.local")),
    ("S11", |one| one.dns("metrics.kube-system.svc")),
    ("S11", |one| one.dns("10-0-0-1.default.pod.cluster.local")),
    ("S11", |one| one.dns("localhost")),
    ("S11", |one| one.dns("api.example.com")),
    ("S11", |one| one.dns("*")),
    ("S11", |one| one.dns("*.n1")),
    ("S11", |one| one.dns("n1.")),
    ("S11", |one| one.dns("N1")),
    ("S11", |one| one.dns("10.0.0.1")),
    ("S11", |one| one.dns("0x0a.1")),
    ("S11", |one| one.dns("n1/../n2")),
    ("S11", |one| one.dns("n1 ")),
    ("S11", |one| one.dns("_n1")),
    ("S11", |one| one.dns(&"a".repeat(64))),
    ("S12", |one| one.ip("127.0.0.1")),
    ("S12", |one| one.ip("0.0.0.0")),
    ("S12", |one| one.ip("::")),
    ("S12", |one| one.ip("::1")),
    ("S12", |one| one.ip("169.254.169.254")),
    ("S12", |one| one.ip("fe80::a")),
    ("S12", |one| one.ip("ff02::1")),
    ("S12", |one| one.ip("255.255.255.255")),
    ("S12", |one| one.ip("10.96.0.1")),
    ("S12", |one| one.ip("203.0.113.7")),
    ("S12", |one| one.ip("10.0.0.100")),
    ("S12", |one| one.ip("64:ff9b::a60:1")),
    ("S12", |one| one.ip("::10.96.0.1")),
    ("S14", |one| one.dns("auth.example.com")),
    ("S14", |one| one.dns("n1.example.com")),
    ("S14", |one| one.dns("an1")),
    ("S15", |one| one.ip("10.0.0.77")),
    ("S15", |one| one.ip("fd00::77")),
    ("S16", |one| one.dns("cp")),
    ("S21", |one| one.expiration_seconds(2_147_483_647)),
    ("S21", |one| one.expiration_seconds(31_622_401)),
    ("S21", |one| one.expiration_seconds(599)),
    ("S21", |one| one.expiration_seconds(0)),
];

fn rule_of(decision: &Decision) -> &'static str {
    match decision.verdict {
        Verdict::Approve | Verdict::Look(..) | Verdict::Review | Verdict::Abstain(None) => "",
        Verdict::Abstain(Some(rule)) | Verdict::Deny(rule) | Verdict::Wait(rule, _) => rule.id(),
    }
}

#[test]
fn every_benign_request_is_approved() {
    let world = world();
    let requests = benign();
    assert!(requests.len() > 100, "{}", requests.len());
    for request in requests {
        world.check(request, "approve");
    }
}

#[test]
fn no_change_for_the_worse_is_approved() {
    let world = world();
    let mut judged = 0;
    for (index, (rule, change)) in CHANGES.iter().enumerate() {
        // Every change meets a third of the requests, a different one each time.
        for request in benign().into_iter().skip(index % 3).step_by(3) {
            let decision = world.decide(change(request));
            let said = format!("change {index}: {:?}, {}", decision.verdict, decision.why());
            assert_ne!(decision.verdict, Verdict::Approve, "{said}");
            assert_eq!(rule_of(&decision), *rule, "{said}");
            judged += 1;
        }
    }
    assert!(judged > 1850, "{judged}");
}
