//! S19 and S20: what DNS and the node's kubelet say.

use super::*;
use crate::serving::policy::{DnsCheck, RenewalCheck};
use std::collections::{BTreeMap, BTreeSet};

fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn found(list: &[&str]) -> Resolved {
    Resolved {
        addresses: addresses(list),
        ..Resolved::default()
    }
}

fn absent() -> Resolved {
    Resolved {
        is_absent: true,
        ..Resolved::default()
    }
}

fn failing(list: &[&str]) -> Resolved {
    Resolved {
        trouble: Some("the server answers SERVFAIL".to_owned()),
        ..found(list)
    }
}

fn asking_dns() -> World {
    let check = DnsCheck {
        servers: vec!["10.0.0.53:53".parse().unwrap()],
        timeout: Duration::from_secs(1),
    };
    World {
        policies: policy(|policy| policy.dns_resolution = Some(check)),
        ..world()
    }
}

/// A world that has had the look that it asks for.
fn having_seen(mut world: World, request: Fixture, saw: Saw) -> World {
    let Verdict::Look(_, look) = world.decide(request).verdict else {
        panic!("asks for no look");
    };
    world.seen.push((*look, saw));
    world
}

fn check_dns(request: impl Fn() -> Fixture, names: &[(&str, Resolved)], expected: &str) {
    let names = names.iter().cloned();
    let names: BTreeMap<String, Resolved> = names
        .map(|(name, resolved)| (name.to_owned(), resolved))
        .collect();
    having_seen(asking_dns(), request(), Saw::Names(names)).check(request(), expected);
}

#[test]
fn names_must_lead_to_the_addresses() {
    let one = good;
    asking_dns().check(one(), "look S19: the addresses of n1 in DNS");
    let both = || good().ip("fd00::1");
    check_dns(one, &[("n1", found(&["10.0.0.1", "10.0.0.9"]))], "approve");
    check_dns(both, &[("n1", found(&["10.0.0.1", "fd00::1"]))], "approve");
    check_dns(
        both,
        &[("n1", found(&["10.0.0.1"]))],
        "deny S19: no name that it asks for leads to fd00::1 in DNS, which has 10.0.0.1",
    );
    check_dns(one, &[("n1", found(&["10.0.0.9"]))], "deny S19: no name");
    check_dns(
        one,
        &[("n1", found(&[]))],
        "deny S19: DNS has no address of \"n1\"",
    );
    check_dns(
        one,
        &[("n1", absent())],
        "deny S19: DNS knows no \"n1\" (NXDOMAIN)",
    );
}

/// A failing server is not the node's fault, unless something else is sure.
#[test]
fn dns_that_fails_is_waited_for() {
    let one = good;
    let both = || good().ip("fd00::1");
    let waits = "wait S19: DNS cannot tell the addresses of \"n1\": the server answers SERVFAIL";
    check_dns(one, &[("n1", failing(&[]))], waits);
    check_dns(one, &[("n1", failing(&["10.0.0.1"]))], "approve");
    check_dns(both, &[("n1", failing(&["10.0.0.1"]))], waits);
    // Nor does the deadline end it.
    let mut world = asking_dns();
    world.age = Duration::from_secs(3600);
    let names = BTreeMap::from([("n1".to_owned(), failing(&[]))]);
    having_seen(world, one(), Saw::Names(names)).check(one(), waits);
}

#[test]
fn every_name_must_resolve_and_addresses_need_one() {
    let mut world = asking_dns();
    let mut object = node("n1", &["10.0.0.1"]);
    let alias = json!({ "type": "InternalDNS", "address": "n1.example.com" });
    object["status"]["addresses"]
        .as_array_mut()
        .unwrap()
        .push(alias);
    world.cluster.put(Source::Nodes, &object);
    let request = || good().dns("n1.example.com");
    let names = |other: Resolved| {
        Saw::Names(BTreeMap::from([
            ("n1".to_owned(), found(&["10.0.0.1"])),
            ("n1.example.com".to_owned(), other),
        ]))
    };
    let Verdict::Look(_, look) = world.decide(request()).verdict else {
        panic!("asks for no look");
    };
    for (other, expected) in [
        (found(&["10.0.0.9"]), "approve"),
        (absent(), "deny S19: DNS knows no \"n1.example.com\""),
        (
            failing(&[]),
            "wait S19: DNS cannot tell the addresses of \"n1.example.com\"",
        ),
    ] {
        world.seen = vec![((*look).clone(), names(other))];
        world.check(request(), expected);
    }
    let bare = good().without_names().ip("10.0.0.1");
    asking_dns().check(bare, "deny S19: no name that it asks for leads to 10.0.0.1");
}

/// Nobody is asked about what would not be approved, nor because of what was seen for something
/// else.
#[test]
fn looks_come_last() {
    asking_dns().check(good().dns("localhost"), "deny S11");
    asking_dns().check(good().ip("10.0.0.9"), "wait S15");
    renewing().check(good().ip("10.0.0.9"), "wait S15");
    let names = Saw::Names(BTreeMap::from([("n1".to_owned(), found(&["10.0.0.1"]))]));
    let mut world = having_seen(asking_dns(), good(), names);
    world.policies.policies[0].dns_resolution = Some(DnsCheck {
        servers: Vec::new(),
        timeout: Duration::from_secs(1),
    });
    world.check(good(), "look S19");
}

// === renewal ===

/// The inventory does not know n1, and its certificate may say so.
fn renewing() -> World {
    let check = RenewalCheck {
        ca_file: "/ca.pem".into(),
        ports: vec![10250],
    };
    World {
        policies: policy(|policy| policy.renewal = Some(check)),
        inventory: Some(Inventory::from_yaml("n2: [10.0.0.2]\n").unwrap()),
        ..world()
    }
}

fn believed(common_name: &str, names: &[&str], ips: &[&str]) -> Present {
    Present::Believed {
        common_name: common_name.to_owned(),
        names: names.iter().map(|&name| name.to_owned()).collect(),
        addresses: addresses(ips),
    }
}

fn check_renewal(present: Present, expected: &str) {
    having_seen(renewing(), good(), Saw::Kubelet(present)).check(good(), expected);
}

#[test]
fn a_present_certificate_stands_in_for_the_inventory() {
    let at = "look S18: the certificate that the kubelet shows at 10.0.0.1:10250";
    renewing().check(good(), at);
    let n1 = "system:node:n1";
    check_renewal(believed(n1, &["n1"], &["10.0.0.1"]), "approve");
    let falls = "deny S18: the inventory does not know the node \"n1\"; the kubelet";
    for (present, why) in [
        (
            believed("system:node:n2", &["n1"], &["10.0.0.1"]),
            "'s present certificate is not for",
        ),
        (
            believed("n1", &["n1"], &["10.0.0.1"]),
            "'s present certificate is not for",
        ),
        (
            believed(n1, &["n1"], &["10.0.0.1", "fd00::1"]),
            "'s present certificate is not for",
        ),
        (
            believed(n1, &["n1", "x"], &["10.0.0.1"]),
            "'s present certificate is not for",
        ),
        (
            believed(n1, &[], &["10.0.0.1"]),
            "'s present certificate is not for",
        ),
        (
            Present::Refused,
            " shows no certificate of renewal.ca_file that is in force (10.0.0.1:10250)",
        ),
        (Present::Unreached, " could not be dialled (10.0.0.1:10250)"),
    ] {
        check_renewal(present, &format!("{falls}{why}"));
    }
    let blind = Present::Blind("/ca.pem: there is no such file".to_owned());
    check_renewal(blind, "wait S18: renewal.ca_file cannot be used: /ca.pem");
}

/// Without need nobody is dialled, and an inventory's word counts as before.
#[test]
fn who_is_in_the_inventory_is_not_dialled() {
    let mut world = renewing();
    world.inventory = Some(Inventory::from_yaml("n1: [10.0.0.1]\n").unwrap());
    world.check(good(), "approve");
    world.policies = policy(|_| {});
    world.inventory = Some(Inventory::from_yaml("n2: [10.0.0.2]\n").unwrap());
    world.check(
        good(),
        "deny S18: the inventory does not know the node \"n1\"",
    );
}

/// A Node must not send the controllers to an address that no rule lets it have, nor to a port that
/// no kubelet has.
#[test]
fn a_node_cannot_choose_who_is_dialled() {
    let could_not =
        "deny S18: the inventory does not know the node \"n1\"; the kubelet could not be dialled: ";
    let mut object = node("n1", &["10.0.0.9", "10.0.0.1"]);
    let mut world = renewing();
    world.cluster.put(Source::Nodes, &object);
    world.check(
        good(),
        "look S18: the certificate that the kubelet shows at 10.0.0.1:10250",
    );
    object["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] = json!(22);
    world.cluster.put(Source::Nodes, &object);
    world.check(
        good(),
        &format!("{could_not}its Node says port 22, and renewal.ports has 10250"),
    );
    object["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] = json!(10250);
    object["status"]["addresses"][2]["type"] = json!("ExternalIP");
    world.cluster.put(Source::Nodes, &object);
    let why = "none of the addresses that it asks for is an InternalIP of its Node";
    world.check(good(), &format!("{could_not}{why}"));
    for address in ["127.0.0.1", "169.254.169.254", "10.96.0.1"] {
        world.cluster.put(Source::Nodes, &node("n1", &[address]));
        world.check(kubelet_serving("n1").ip(address), "deny S12");
    }
}
