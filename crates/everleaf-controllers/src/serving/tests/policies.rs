//! What policies, inventories, origins and certificates add.

use super::*;
use everleaf_pki::Chain;

fn chain(pem: &str) -> Chain {
    Chain::from_pem(pem.as_bytes()).unwrap()
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
            host_name: Some("host1".to_owned()),
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
    let named = |name: &str| kubelet_serving(name).ip("10.0.0.100").dns(name);
    world.check(named("api.example.com"), "deny S11");
    world.check(named("host1"), "approve");
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
    let lenient = narrow(|policy| policy.on_other_requestor = OnViolation::Abstain);
    lenient.check(good().by("kubernetes-admin"), "abstain S5");
    lenient.check(good().by("system:node:n2"), "deny S7");
    let strict = narrow(|policy| policy.strict_usages = true);
    strict.check(good(), "deny S8");
    strict.check(
        good().usages(&["digital signature", "server auth"]),
        "approve",
    );
    let rsa = narrow(|policy| policy.key_algorithms = vec![policy::KeyAlgorithm::Rsa]);
    rsa.check(good(), "deny S4");
}

/// A28, and a renewal that takes what another node's valid certificate tells.
#[test]
fn what_a_valid_certificate_tells_is_its_nodes() {
    let mut world = world();
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let names = vec!["10.0.0.2".parse().unwrap()];
    world
        .issued
        .note(&chain(&leaf("n2", &names, &key, 60)), now());
    // Its Node has lost the address meanwhile, and n1 has it now.
    world.cluster.put(Source::Nodes, &node("n2", &[]));
    let both = node("n1", &["10.0.0.1", "10.0.0.2"]);
    world.cluster.put(Source::Nodes, &both);
    let theirs = || good().ip("10.0.0.2");
    let said = "deny S16: the Node \"n2\" has a certificate for 10.0.0.2";
    world.check(theirs(), said);
    let same_key = Template {
        subject: Subject::node("n1"),
        dns_names: vec!["n1".to_owned()],
        ..Template::default()
    };
    let same_key = same_key.to_request_pem(&key).unwrap();
    let said = "deny S16: its key is that of a certificate of the node \"n2\"";
    world.check(good().request(&same_key), said);
    world.issued = Issued::default();
    world
        .issued
        .note(&chain(&leaf("n2", &names, &key, -1)), now());
    world.check(theirs(), "approve");
    world
        .issued
        .note(&chain(&leaf("n1", &names, &key, 60)), now());
    world.check(theirs(), "approve");
    world
        .issued
        .note(&chain(&leaf("n2", &names, &key, 60)), now());
    world.cluster.delete(Source::Nodes, "n2");
    world.check(theirs(), "approve");
}

/// A node without a Node object is not gone, and nobody takes what it has by writing it into his
/// own status; nor can he keep others from what is theirs.
#[test]
fn a_word_in_ones_own_status_takes_nothing_from_others() {
    let mut world = world();
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let address: Vec<IpAddr> = vec!["10.0.0.50".parse().unwrap()];
    let theirs = leaf("edge", &address, &key, 60);
    world.issued.note(&chain(&theirs), now());
    world
        .cluster
        .put(Source::Nodes, &node("n1", &["10.0.0.1", "10.0.0.50"]));
    world.check(good().ip("10.0.0.50"), "deny S16");
    // Two nodes of one machine.
    world.origin = Some(Origin {
        addresses: address,
        ..Origin::default()
    });
    world.check(good().ip("10.0.0.50"), "approve");
    world.check(good().ip("10.0.0.50").dns("edge"), "wait S14");
    world.origin = None;
    // n2 claims the name and the address of n1, who holds a certificate for the address.
    let mut liar = node("n2", &["10.0.0.2", "10.0.0.1"]);
    let claim = json!({ "type": "InternalDNS", "address": "n1" });
    liar["status"]["addresses"]
        .as_array_mut()
        .unwrap()
        .push(claim);
    world.cluster.put(Source::Nodes, &liar);
    world.check(kubelet_serving("n1"), "approve");
    world.check(good(), "deny S16: the Node \"n2\" has 10.0.0.1, too");
    let own: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap()];
    let own = leaf("n1", &own, &key, 60);
    world.issued = Issued::default();
    world.issued.note(&chain(&own), now());
    world.check(good(), "approve");
    world.check(kubelet_serving("n2").dns("n1"), "deny S16");
}

#[test]
fn without_node_addresses_names_need_a_word_from_the_operator() {
    let open = |regex: &str| World {
        policies: policy(|policy| {
            policy.require_node_addresses = false;
            policy.allowed_cidrs = vec!["10.0.0.0/8".parse().unwrap()];
            policy.dns_regex = vec![regex::Regex::new(regex).unwrap()];
        }),
        ..world()
    };
    open("^$").check(good().ip("10.0.0.77"), "approve");
    open("^$").check(good().dns("login.example.com"), "deny S14");
    open("^login.*$").check(good().dns("login.example.com"), "approve");
}

/// A serving certificate that ends after so many minutes.
fn leaf(node: &str, ips: &[IpAddr], key: &PrivateKey, minutes: i64) -> String {
    let template = Template {
        subject: Subject::node(node),
        ip_addresses: ips.to_vec(),
        ..Template::default()
    };
    let issuer = authority(SignedDuration::from_hours(9));
    let (begin, end) = (
        now() - SignedDuration::from_hours(1),
        now() + SignedDuration::from_mins(minutes),
    );
    let usages = [Usage::ServerAuth];
    let chain = issuer.issue_own(&template, key.public_key(), &usages, [9; 16], begin, end);
    chain.unwrap().to_pem()
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
