//! The policy against what a node can try (A1 to A30 and what came after), and against what nodes
//! rightly ask for.

use super::*;
use crate::fixture::{Fixture, WEAK_REQUEST, kubelet_serving, now};
use crate::serving::names::quote;
use everleaf_pki::KeyAlgorithm;
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
    cluster.put(
        Source::Endpoints,
        &json!({
            "metadata": { "name": "kubernetes", "namespace": "default" },
            "subsets": [{ "addresses": [{ "ip": "10.0.0.100" }] }],
        }),
    );
    cluster.set_api_server([Claim::Name("api.example.com".to_owned())]);
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
    inventory: Option<Inventory>,
    origin: Option<Origin>,
    age: Duration,
    newer: usize,
    limited: Option<Limited>,
    reviews: Vec<Review>,
}

fn world() -> World {
    World {
        cluster: cluster(),
        policies: PolicySet::default(),
        inventory: None,
        origin: None,
        age: Duration::ZERO,
        newer: 0,
        limited: None,
        reviews: Vec::new(),
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
            inventory: self.inventory.as_ref().map(Ok),
            origin: self.origin.as_ref(),
            age: self.age,
            newer: self.newer,
            limited: self.limited,
            reviews: &self.reviews,
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
            Verdict::Review => ("review", None),
        };
        let said = match rule {
            None => kind.to_owned(),
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
        ("169.254.169.254", "link-local"),
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

/// A30, and which policy is for whom.
#[test]
fn the_first_policy_that_matches_decides() {
    let set = PolicySet::from_yaml(
        "version: everleaf.io/policy/v1\npolicy:\n\
         - {name: nobody, mode: abstain, match: {node_name_regex: 'n2'}}\n\
         - {name: lab, match: {node_name_regex: 'n'}, san: {max_ip: 0}}\n\
         - {name: rest, match: {node_labels: {pool: general}}, on_violation: abstain}\n",
    )
    .unwrap();
    assert!(set.warnings[0].contains("themselves"), "{:?}", set.warnings);
    let world = World {
        policies: set,
        ..world()
    };
    assert_eq!(world.decide(good()).policy, "rest", "regexes are anchored");
    world.check(good().dns("localhost"), "abstain S11");
    let other = kubelet_serving("n2").ip("10.0.0.2");
    world.check(other, "abstain");
    let unlabelled = kubelet_serving("cp").ip("10.0.0.100");
    world.check(unlabelled, "abstain");
}

#[test]
fn a_control_plane_node_needs_a_word_from_the_operator() {
    let request = || kubelet_serving("cp").ip("10.0.0.100");
    world().check(
        request(),
        "abstain S12: 10.0.0.100 is an address of the API server; for a control-plane node",
    );
    let listed = World {
        policies: policy(|policy| {
            policy.control_plane_addresses = vec!["10.0.0.100/32".parse().unwrap()];
        }),
        ..world()
    };
    listed.check(request(), "approve");
    let mut liar = listed;
    liar.cluster
        .put(Source::Nodes, &node("n1", &["10.0.0.100"]));
    liar.check(kubelet_serving("n1").ip("10.0.0.100"), "deny S12");
}

#[test]
fn where_the_requestor_connects_from_counts() {
    let mut world = World {
        origin: Some(Origin {
            addresses: vec!["10.0.0.100".parse().unwrap()],
            is_server_host: true,
        }),
        ..world()
    };
    // A node on the API server's own machine, without a label.
    world.cluster.delete(Source::Nodes, "cp");
    world
        .cluster
        .put(Source::Nodes, &node("n1", &["10.0.0.100"]));
    world.check(kubelet_serving("n1").ip("10.0.0.100"), "approve");
    // No Node, but everything it asks for is proved.
    world.check(kubelet_serving("n9").ip("10.0.0.100"), "deny S16");
    world.cluster.delete(Source::Nodes, "n1");
    world.check(kubelet_serving("n9").ip("10.0.0.100"), "approve");
    world.check(kubelet_serving("n9"), "wait S13");
    world.check(
        kubelet_serving("n9").ip("10.0.0.100").ip("10.0.0.5"),
        "wait S13",
    );
    world.check(
        kubelet_serving("n9").ip("10.0.0.100").dns("other"),
        "wait S13",
    );
    world.check(
        kubelet_serving("n9")
            .ip("10.0.0.100")
            .dns("api.example.com"),
        "deny S11",
    );
    // Behind whoever forwards connections on that machine, each node seems to be there: its Node
    // may say what it likes, only the name that its credential proves is its own.
    let mut liar = node("n1", &["10.0.0.1"]);
    liar["status"]["addresses"][0]["address"] = json!("api.example.com");
    world.cluster.put(Source::Nodes, &liar);
    world.check(kubelet_serving("n1").dns("api.example.com"), "deny S11");
    world.cluster.delete(Source::Nodes, "n1");
    world.check(
        kubelet_serving("api.example.com")
            .ip("10.0.0.100")
            .dns("api.example.com"),
        "approve",
    );
    // Somebody who forwards connections has that address for all of them.
    world.origin.as_mut().unwrap().is_server_host = false;
    world.check(kubelet_serving("n9").ip("10.0.0.100"), "deny S12");
}

#[test]
fn ranges_lists_and_expressions_narrow() {
    let narrow = |change: fn(&mut Policy)| World {
        policies: policy(change),
        ..world()
    };
    let inside = narrow(|policy| policy.allowed_cidrs = vec!["10.0.0.0/24".parse().unwrap()]);
    inside.check(good(), "approve");
    inside.check(good().ip("fd00::1"), "deny S17");
    let outside = narrow(|policy| policy.deny_cidrs = vec!["10.0.0.0/28".parse().unwrap()]);
    outside.check(good(), "deny S17");
    let exact = narrow(|policy| policy.comparison = policy::Comparison::Exact);
    exact.check(good(), "wait S15: it does not ask for fd00::1");
    exact.check(good().ip("fd00::1"), "approve");
    let cel = narrow(|policy| {
        let expr = "size(csr.san.ips) == 1 && node.labels.pool == 'general'";
        policy.cel = vec![cel::Predicate::compile(expr, "one address").unwrap()];
    });
    cel.check(good(), "approve");
    cel.check(good().ip("fd00::1"), "deny S22: one address");
    let asking = narrow(|policy| policy.require_permission = true);
    asking.check(good(), "review");
    let strict = narrow(|policy| policy.strict_usages = true);
    strict.check(good(), "deny S8");
    strict.check(
        good().usages(&["digital signature", "server auth"]),
        "approve",
    );
    let rsa = narrow(|policy| policy.key_algorithms = vec![policy::KeyAlgorithm::Rsa]);
    rsa.check(good(), "deny S4");
}

/// A6, S18: the operator's list is above what the node says.
#[test]
fn the_inventory_is_the_authority() {
    let mut world = world();
    world.inventory = Some(Inventory::from_yaml("n1: [10.0.0.1, '::ffff:10.0.0.3']\n").unwrap());
    world.check(good(), "approve");
    world.check(good().ip("fd00::1"), "deny S18");
    world.check(kubelet_serving("n2").ip("10.0.0.2"), "deny S18");
    assert!(Inventory::from_yaml("n1: 10.0.0.1\n").is_err());
    assert!(Inventory::from_yaml("n1: [a]\nn1: [b]\n").is_err(), "twice");
}

#[test]
fn answers_of_the_access_review() {
    let with = |allowed| World {
        policies: policy(|policy| policy.require_permission = true),
        reviews: vec![Review {
            permission: PERMISSION.to_owned(),
            allowed,
        }],
        ..world()
    };
    with(true).check(good(), "approve");
    with(false).check(good(), "abstain S23");
}

#[test]
fn nothing_is_approved_before_the_cluster_is_known() {
    let mut world = world();
    world.cluster = Cluster::default();
    world.cluster.put(Source::Nodes, &node("n1", &["10.0.0.1"]));
    world.check(good(), "wait S12");
    world.age = Duration::from_secs(86400);
    world.check(good(), "wait S12");
}

#[test]
fn messages_are_short_and_printable() {
    let evil = format!("\u{1b}[31m\u{f6}{}", "x".repeat(4000));
    let decision = world().decide(good().by(&evil));
    let message = decision.message();
    assert!(message.len() <= 1024 && message.is_ascii(), "{message}");
    assert!(!message.contains('\u{1b}'), "{message}");
    assert!(message.contains("rule S5 requestor"), "{message}");
    assert!(message.contains("policy \"default\""), "{message}");
    assert_eq!(quote("a"), "\"a\"");
    let approved = world().decide(good()).message();
    assert_eq!(
        approved,
        "Auto approving kubelet serving certificate: policy \"default\", all rules passed."
    );
}

#[test]
fn an_address_that_leaves_a_service_is_free() {
    let mut world = world();
    world
        .cluster
        .put(Source::Nodes, &node("n1", &["10.0.0.1", "203.0.113.5"]));
    world.check(good().ip("203.0.113.5"), "deny S12");
    world.cluster.delete(Source::Services, "default/kubernetes");
    world.check(good().ip("203.0.113.5"), "approve");
}
