//! The policy against what a node can try (A1 to A30 and what came after), and against what nodes
//! rightly ask for.

use super::*;
use crate::fixture::{Fixture, WEAK_REQUEST, authority, kubelet_serving, now};
use crate::serving::names::quote;
use everleaf_pki::{KeyAlgorithm, PrivateKey, Subject, Template, Usage};
use jiff::SignedDuration;
use serde_json::json;

/// Node n1 with two addresses, n2, a control-plane node, a Service, the API server.
fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    for source in Source::ALL {
        cluster.begin_list(source);
        cluster.end_list(source);
    }
    for node in [
        node("n1", &["10.0.0.1", "fd00::1"]),
        node("n2", &["10.0.0.2"]),
        node("a", &["10.0.0.10"]),
        control_plane(),
    ] {
        cluster.put(Source::Nodes, &node);
    }
    cluster.put(
        Source::Services,
        &json!({
            "metadata": { "name": "kubernetes", "namespace": "default" },
            "spec": { "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "externalIPs": ["203.0.113.5"] },
            "status": { "loadBalancer": { "ingress": [{ "ip": "203.0.113.7" }] } },
        }),
    );
    let headless = json!({
        "metadata": { "name": "dns", "namespace": "kube-system" }, "spec": { "clusterIP": "None", "externalName": "db.example.com" },
    });
    cluster.put(Source::Services, &headless);
    cluster.put(
        Source::Endpoints,
        &json!({
            "metadata": { "name": "kubernetes", "namespace": "default" },
            "subsets": [{ "addresses": [{ "ip": "10.0.0.100" }] }],
        }),
    );
    let names = ["api.example.com", "host1"].map(|name| Claim::Name(name.to_owned()));
    cluster.set_api_server(names);
    cluster
}

fn node(name: &str, ips: &[&str]) -> Value {
    let mut addresses = vec![json!({ "type": "Hostname", "address": name })];
    addresses.extend(
        ips.iter()
            .map(|ip| json!({ "type": "InternalIP", "address": ip })),
    );
    json!({
        "metadata": {
            "name": name, "uid": format!("uid-{name}"),
            "creationTimestamp": "2026-11-20T11:00:00Z", "labels": { "pool": "general" },
        },
        "status": { "addresses": addresses },
    })
}

fn control_plane() -> Value {
    let mut node = node("cp", &["10.0.0.100"]);
    node["metadata"]["labels"] = json!({ "node-role.kubernetes.io/control-plane": "" });
    node
}

struct World {
    cluster: Cluster,
    policies: PolicySet,
    issued: Issued,
    inventory: Option<Inventory>,
    origin: Option<Origin>,
    age: Duration,
    newer: usize,
    limited: Option<Limited>,
    reviews: Vec<Review>,
    seen: Vec<(Look, Saw)>,
}

fn world() -> World {
    World {
        cluster: cluster(),
        policies: PolicySet::default(),
        issued: Issued::default(),
        inventory: None,
        origin: None,
        age: Duration::ZERO,
        newer: 0,
        limited: None,
        reviews: Vec::new(),
        seen: Vec::new(),
    }
}

fn policy(change: impl FnOnce(&mut Policy)) -> PolicySet {
    let mut policy = Policy::default();
    change(&mut policy);
    PolicySet {
        policies: vec![policy],
        warnings: Vec::new(),
    }
}

impl World {
    fn decide(&self, request: Fixture) -> Decision {
        let facts = Facts {
            cluster: &self.cluster,
            issued: &self.issued,
            inventory: self.inventory.as_ref().map(Ok),
            origin: self.origin.as_ref(),
            age: self.age,
            newer: self.newer,
            limited: self.limited,
            reviews: &self.reviews,
            seen: &self.seen,
            now: now(),
        };
        decide(&request.open(), &facts, &self.policies)
    }

    /// `approve`, or the kind of verdict, the rule and what it found.
    fn check(&self, request: Fixture, expected: &str) {
        let decision = self.decide(request);
        let (kind, rule) = match &decision.verdict {
            Verdict::Approve => ("approve", None),
            Verdict::Deny(rule) => ("deny", Some(rule.id())),
            Verdict::Abstain(rule) => ("abstain", rule.map(Rule::id)),
            Verdict::Wait(rule, _) => ("wait", Some(rule.id())),
            Verdict::Look(rule, _) => ("look", Some(rule.id())),
            Verdict::Review => ("review", None),
        };
        let said = match rule {
            None => kind.to_owned(),
            Some(rule) if let Verdict::Look(_, look) = &decision.verdict => {
                format!("{kind} {rule}: {look}")
            }
            Some(rule) => format!("{kind} {rule}: {}", decision.why()),
        };
        assert!(
            said.starts_with(expected),
            "expected {expected}, got {said}"
        );
    }
}

fn good() -> Fixture {
    kubelet_serving("n1").ip("10.0.0.1")
}

fn deny(request: Fixture, expected: &str) {
    world().check(request, &format!("deny {expected}"));
}

#[test]
fn what_kubelets_ask_for_is_approved() {
    let ok = |request| world().check(request, "approve");
    ok(good());
    ok(good().ip("fd00::1"));
    ok(good().usages(&["digital signature", "server auth"]));
    ok(good().without_names().ip("10.0.0.1"));
    ok(good().expiration_seconds(600));
    ok(good().expiration_seconds(31_622_400));
    ok(kubelet_serving("n1"));
    for key in [KeyAlgorithm::EcdsaP384, KeyAlgorithm::Ed25519] {
        ok(good().key(key));
    }
}

/// A1, A2, A26: who asks is not whom it names.
#[test]
fn the_requestor_must_be_the_node() {
    deny(good().by("system:node:n2"), "S7");
    deny(good().by("system:serviceaccount:default:x"), "S5");
    deny(good().by("system:node:"), "S5");
    deny(good().by("system:node:N1"), "S5");
    deny(good().groups(&["system:authenticated"]), "S6");
    deny(good().groups(&["system:nodes"]), "S6");
    deny(good().common_name("system:node:n2"), "S7");
    deny(good().common_name("n1"), "S7");
}

/// A12, A13: a subject that holds more than the node.
#[test]
fn the_subject_must_be_the_node_alone() {
    deny(
        good().organizations(&["system:nodes", "system:masters"]),
        "S7",
    );
    deny(good().organizations(&["system:masters"]), "S7");
    deny(good().organizations(&[]), "S7");
}

/// A3, A8, A9, A11: names that no node can have.
#[test]
fn names_of_others_are_denied() {
    for name in [
        "kubernetes",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "db.prod.svc",
        "localhost",
        "*.example.com",
        "10.0.0.1",
        "n1\0",
        "N1",
        "n1.",
        "api.example.com",
        "dns.kube-system",
        "db.example.com",
        "metadata.google.internal",
        "ip6-localhost",
    ] {
        deny(good().dns(name), "S11");
    }
}

/// A request of node n1 as another tool may write it.
fn foreign(change: impl FnOnce(&mut rcgen::CertificateParams)) -> Fixture {
    let mut params = rcgen::CertificateParams::new(vec!["n1".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let names = &mut params.distinguished_name;
    names.push(rcgen::DnType::OrganizationName, "system:nodes");
    names.push(rcgen::DnType::CommonName, "system:node:n1");
    change(&mut params);
    let key = rcgen::KeyPair::generate().unwrap();
    good().request(&params.serialize_request(&key).unwrap().pem().unwrap())
}

/// A11, A15: names of other kinds, and what only an authority has.
#[test]
fn nothing_but_names_and_addresses_may_be_asked_for() {
    world().check(foreign(|_| {}), "approve");
    let with = |name: rcgen::SanType| foreign(|params| params.subject_alt_names.push(name));
    let uri = "spiffe://cluster.local/ns/x".try_into().unwrap();
    deny(with(rcgen::SanType::URI(uri)), "S9: it asks for the URI");
    let email = "a@example.com".try_into().unwrap();
    deny(
        with(rcgen::SanType::Rfc822Name(email)),
        "S9: it asks for the email",
    );
    let other = rcgen::SanType::OtherName((vec![1, 2, 3], "x".into()));
    deny(with(other), "S9: it asks for a name that is neither");
    let ca = |params: &mut rcgen::CertificateParams| {
        let der = vec![0x30, 0x03, 0x01, 0x01, 0xff];
        let basic = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 19], der);
        params.custom_extensions.push(basic);
    };
    deny(foreign(ca), "S9: it asks for the extension 2.5.29.19");
    let title = |params: &mut rcgen::CertificateParams| {
        let names = &mut params.distinguished_name;
        names.push(rcgen::DnType::OrganizationalUnitName, "x");
    };
    deny(foreign(title), "S7: the subject holds more");
}

/// A7: the prefix of a name is not the name. It could become the Node's, so it is waited for.
#[test]
fn names_must_be_the_nodes_own() {
    let auth = || kubelet_serving("a").ip("10.0.0.10").dns("auth.example.com");
    world().check(
        auth(),
        "wait S14: \"auth.example.com\" is no name of the node",
    );
    let late = World {
        age: Duration::from_secs(600),
        ..world()
    };
    late.check(auth(), "deny S14");
}

/// A4, A10, A29 and its kin: addresses that no node can have.
#[test]
fn addresses_of_others_are_denied() {
    for (ip, why) in [
        ("10.96.0.1", "address of a Service"),
        ("203.0.113.5", "address of a Service"),
        ("203.0.113.7", "address of a Service"),
        ("10.0.0.100", "address of the API server"),
        ("::ffff:10.0.0.100", "address of the API server"),
        ("64:ff9b::10.0.0.100", "address of the API server"),
        ("2002:a60:1::1", "address of a Service"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("169.254.169.254", "metadata"),
        ("fe80::1", "link-local"),
        ("224.0.0.1", "multicast"),
    ] {
        let mut world = world();
        // The node may write into its own status whatever it likes.
        world
            .cluster
            .put(Source::Nodes, &node("n1", &["10.0.0.1", ip]));
        let decision = world.decide(good().ip(ip));
        assert_eq!(decision.verdict, Verdict::Deny(Rule::Addresses), "{ip}");
        assert!(decision.why().contains(why), "{ip}: {}", decision.why());
    }
}

/// A5, and a name that is another Node's.
#[test]
fn what_another_node_has_is_denied() {
    let mut world = world();
    world
        .cluster
        .put(Source::Nodes, &node("n1", &["10.0.0.1", "10.0.0.2"]));
    world.check(
        good().ip("10.0.0.2"),
        "deny S16: the Node \"n2\" has 10.0.0.2, too",
    );
    world.check(good().dns("n2"), "deny S16");
    // Whatever reaches the other one reaches it in each of these forms.
    for form in ["::ffff:10.0.0.2", "64:ff9b::10.0.0.2", "2002:a00:2::1"] {
        world
            .cluster
            .put(Source::Nodes, &node("n1", &["10.0.0.1", form]));
        world.check(good().ip(form), "deny S16: the Node \"n2\" has 10.0.0.2");
    }
    let mut other = node("n2", &["10.0.0.2"]);
    other["status"]["addresses"] = json!([]);
    world.cluster.put(Source::Nodes, &other);
    world.check(good().dns("n2"), "deny S16");
}

#[test]
fn addresses_must_be_the_nodes_own() {
    world().check(
        good().ip("10.0.0.77"),
        "wait S15: 10.0.0.77 is no address of the node",
    );
    let mut world = world();
    world
        .cluster
        .put(Source::Nodes, &node("n1", &["10.0.0.1", "10.0.0.77"]));
    world.check(good().ip("10.0.0.77"), "approve");
    world.check(good().ip("::ffff:10.0.0.77"), "approve");
}

/// A14, A15.
#[test]
fn usages_must_be_a_servers() {
    let with = |more: &str| good().usages(&["digital signature", "server auth", more]);
    deny(with("client auth"), "S8");
    deny(with("cert sign"), "S8");
    deny(good().usages(&["digital signature"]), "S8");
    deny(good().usages(&["server auth"]), "S8");
    deny(good().usages(&[]), "S8");
    deny(good().usages(&["signing", "server auth"]), "S8");
}

/// A16: another signer's request is another approver's.
#[test]
fn other_signers_are_left_alone() {
    let other = good().for_signer("kubernetes.io/kube-apiserver-client");
    world().check(other, "abstain S1");
    world().check(good().approved(), "abstain S2");
    world().check(good().condition("Failed", "True"), "abstain S2");
    world().check(good().certificate("x"), "abstain S2");
}

/// A17.
#[test]
fn lifetimes_are_bounded() {
    deny(good().expiration_seconds(2_147_483_647), "S21");
    deny(good().expiration_seconds(4_000_000_000), "S21");
    deny(good().expiration_seconds(599), "S21");
    deny(good().expiration_seconds(-1), "S21");
}

/// A18, A19.
#[test]
fn limits_hold_a_request_and_never_deny_it() {
    let limited = World {
        limited: Some(Limited {
            what: "enough",
            delay: Duration::from_secs(77),
        }),
        age: Duration::from_secs(3600),
        ..world()
    };
    let decision = limited.decide(good());
    assert_eq!(
        decision.verdict,
        Verdict::Wait(Rule::Limits, Duration::from_secs(77))
    );
    let newer = |newer, minutes: u64| World {
        newer,
        age: Duration::from_secs(60 * minutes),
        ..world()
    };
    newer(2, 14).check(good(), "approve");
    newer(3, 14).check(good(), "wait S25");
    newer(1, 16).check(good(), "deny S25");
    assert_eq!(newer(1, 16).decide(good()).reason(), SUPERSEDED_REASON);
}

/// A22, A27: the Node of today is not who filed the request.
#[test]
fn a_request_older_than_its_node_is_denied() {
    let mut world = world();
    let made = |at: &str| {
        let mut node = node("n1", &["10.0.0.1"]);
        node["metadata"]["creationTimestamp"] = json!(at);
        node
    };
    // The request is of 11:59:00.
    world
        .cluster
        .put(Source::Nodes, &made("2026-11-20T11:59:05Z"));
    world.check(good(), "approve");
    world
        .cluster
        .put(Source::Nodes, &made("2026-11-20T11:59:11Z"));
    world.check(good(), "deny S13");
    let mut another = made("2026-11-20T11:59:05Z");
    another["metadata"]["uid"] = json!("another");
    world.cluster.put(Source::Nodes, &another);
    world.check(good(), "deny S13");
    world.cluster.delete(Source::Nodes, "n1");
    world.check(good(), "wait S13: there is no Node \"n1\"");
    // Seen to go and to come back: no moment is allowed for a race.
    let back = made("2026-11-20T11:59:05Z");
    world.cluster.put(Source::Nodes, &back);
    world.check(good(), "deny S13");
}

/// A23, A24, A25: requests that are not what they seem.
#[test]
fn weak_and_odd_requests_are_denied() {
    deny(good().request(WEAK_REQUEST), "S4");
    deny(good().request("no PEM"), "S3");
    let two = |label: &str| {
        let text = String::from_utf8(good().open().csr().request()).unwrap();
        let more = everleaf_pki::pem::encode(label, b"x");
        good().request(&format!("{text}{more}"))
    };
    deny(two("CERTIFICATE REQUEST"), "S3");
    deny(two("ATTESTATION"), "S3");
    let lenient = World {
        policies: policy(|policy| policy.attestation_blocks = vec!["ATTESTATION".to_owned()]),
        ..world()
    };
    lenient.check(two("ATTESTATION"), "approve");
    lenient.check(two("CERTIFICATE REQUEST"), "deny S3");
    let text = String::from_utf8(good().open().csr().request()).unwrap();
    deny(good().request(&format!("-----BEGIN X-----\n{text}")), "S3");
    deny(
        good().request(&format!("{}{text}", "x".repeat(17_000))),
        "S3",
    );
}

mod corpus;
mod machine;
mod outside;
mod policies;
