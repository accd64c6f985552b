//! What people are told to do fits who they are and what is there.

use super::cases;
use super::world::{World, day, lease};
use crate::fixture::{api_client, authority, kubelet_client, kubelet_serving};
use crate::why::{Diagnosis, Fault, Finding, Known};
use serde_json::{Value, json};

fn without_leases(world: World) -> World {
    world.edit(|evidence| evidence.leases = Known::Read(Vec::new()))
}

fn first(diagnosis: &Diagnosis) -> &Finding {
    diagnosis.findings.first().expect("a finding")
}

/// A request of another node that controllers approved at this time.
fn approved_at(time: &str) -> Value {
    let mut other = World::client("n2")
        .condition("Approved", crate::approver::REASON, "by a controller")
        .object();
    other["metadata"]["name"] = json!("other");
    other["status"]["conditions"][0]["lastUpdateTime"] = json!(time);
    other
}

fn beside(time: &str) -> Diagnosis {
    let other = approved_at(time);
    let world = without_leases(World::client("n1")).on_everleaf();
    let world = world.edit(|evidence| {
        if let Known::Read(requests) = &mut evidence.requests {
            requests.push(other);
        }
    });
    world.diagnose()
}

#[test]
fn controllers_without_a_lease_are_known_by_recent_work() {
    // Before the request was filed, and a few minutes ago.
    let diagnosis = beside("2026-11-20T11:55:00Z");
    assert_eq!(first(&diagnosis).fault, Fault::ApproverSilent);
    let shown = first(&diagnosis).evidence.join(" | ");
    assert!(
        shown.contains("try again by themselves within 60s"),
        "{shown}"
    );
    let diagnosis = beside("2026-11-20T10:55:00Z");
    assert_eq!(first(&diagnosis).fault, Fault::ControllersUnseen);
    assert!(!diagnosis.is_certain);
    assert!(first(&diagnosis).remedy.contains("never beside up"));
}

#[test]
fn the_all_in_one_server_is_not_told_that_nobody_approves_serving_requests() {
    let world = without_leases(World::serving("n1")).on_everleaf();
    assert_eq!(first(&world.diagnose()).fault, Fault::ControllersUnseen);
    let world = World::with(kubelet_serving("n1").ip("10.0.0.9"));
    let diagnosis = without_leases(world).on_everleaf().diagnose();
    assert_eq!(first(&diagnosis).fault, Fault::ServingNodeAddresses);
}

#[test]
fn a_dead_leader_of_a_short_lease_keeps_nobody_out() {
    let dead = lease("kube-controller-manager", "2026-11-20T11:59:00.000000Z");
    let world = World::client("n1").edit(|evidence| {
        evidence.now += jiff::SignedDuration::from_mins(5);
        evidence.local = evidence.now;
        evidence.leases = Known::Read(vec![dead]);
    });
    let diagnosis = world.diagnose();
    assert_eq!(first(&diagnosis).fault, Fault::LeaderGone);
    let commands = first(&diagnosis).commands.join("\n");
    assert!(commands.contains("on cp1"), "{commands}");
    assert!(!commands.contains("delete lease"), "{commands}");
}

#[test]
fn whoever_deletes_a_request_keeps_and_corrects_it_first_and_is_told_who_files_it_again() {
    let mut checked = 0;
    for (fault, world) in cases::all() {
        for finding in world.diagnose().findings {
            let place = |begin: &str| {
                let mut commands = finding.commands.iter();
                commands.position(|command| command.starts_with(begin))
            };
            let Some(deleted) = place("kubectl delete csr ") else {
                continue;
            };
            checked += 1;
            let shown = finding.commands.join("\n");
            let kept = place("kubectl get csr csr-abcde -o yaml > ").expect(&shown);
            assert!(kept < deleted, "{fault}: {shown}");
            for begin in ["vi ", "sed ", "openssl req -new", "openssl ecparam"] {
                let corrected = place(begin);
                assert!(
                    corrected.is_none_or(|at| kept < at && at < deleted),
                    "{fault}: {shown}"
                );
            }
            // What is signed can only be made anew, and has to get into the file.
            assert_eq!(
                place("openssl req -new").is_some(),
                place("sed ").is_some() && place("openssl req -in").is_none(),
                "{fault}: {shown}"
            );
            let last = finding.commands.last().unwrap();
            assert!(last.contains("create -f csr-abcde.yaml"), "{fault}: {last}");
        }
    }
    assert!(checked > 20);
}

#[test]
fn who_files_it_again_is_who_may() {
    for (requestor, told) in [
        ("system:bootstrap:abcdef", "bootstrap token"),
        ("system:node:n1", "the node's own certificate"),
        ("ann", "as ann or an administrator"),
    ] {
        let request = kubelet_client("n1").by(requestor).usages(&["server auth"]);
        let diagnosis = World::with(request).diagnose();
        let commands = first(&diagnosis).commands.join("\n");
        assert!(commands.contains(told), "{commands}");
        assert!(commands.contains("vi csr-abcde.yaml"), "{commands}");
        let has_own_way = commands.contains("systemctl");
        assert_eq!(has_own_way, requestor != "ann", "{commands}");
    }
    // Whoever filed it was the fault.
    let request = kubelet_serving("n1").by("kubernetes-admin");
    let message =
        "policy \"default\", rule S5 requestor: filed by \"kubernetes-admin\", who is no node";
    let denied = World::with(request).condition("Denied", "EverleafPolicyDenied", message);
    let diagnosis = denied.diagnose();
    assert_eq!(first(&diagnosis).fault, Fault::ServingRequestor);
    let commands = first(&diagnosis).commands.join("\n");
    assert!(
        commands.contains("the node's own certificate"),
        "{commands}"
    );
    assert!(!commands.contains("administrator"), "{commands}");
}

#[test]
fn a_denied_request_for_other_names_is_made_anew() {
    let message = "policy \"default\", rule S12 addresses: 10.96.0.1 is a Service's";
    let denied = World::serving("n1").condition("Denied", "EverleafPolicyDenied", message);
    let commands = first(&denied.diagnose()).commands.join("\n");
    assert!(commands.contains("subjectAltName=DNS:n1"), "{commands}");
}

#[test]
fn a_ca_that_was_refused_is_told_beside_the_one_that_has_ended() {
    let world = World::client("n1").approved();
    let world = world.event("SignerCAExpired", "the CA of this signer ended");
    let refused = "The changed CA files of kubernetes.io/kube-apiserver-client-kubelet (ca.crt, ca.key) are not used, the old CA keeps signing: no authority";
    let world = world.edit(|evidence| {
        if let Known::Read(events) = &mut evidence.events {
            let mut event = events.first().cloned().unwrap_or_default();
            event["reason"] = json!("CAReloadFailed");
            event["message"] = json!(refused);
            events.push(event);
        }
    });
    let diagnosis = world.diagnose();
    assert_eq!(first(&diagnosis).fault, Fault::CaEnded);
    let shown = first(&diagnosis).evidence.join(" | ");
    assert!(shown.contains("the old CA keeps signing"), "{shown}");
}

#[test]
fn everleafs_server_is_not_asked_for_what_it_has_not() {
    for (fault, world) in cases::all() {
        for finding in world.on_everleaf().diagnose().findings {
            let asked = finding.commands.join("\n");
            for part in ["webhookconfigurations", "get pod", " logs ", "get services"] {
                assert!(!asked.contains(part), "{fault}: {asked}");
            }
        }
    }
}

#[test]
fn a_denial_is_said_to_be_final() {
    let message = "policy \"default\", rule S15 node_addresses: 10.0.0.9 is no address of the node; its Node has 10.0.0.1";
    let denied = World::serving("n1").condition("Denied", "EverleafPolicyDenied", message);
    let diagnosis = denied.diagnose();
    assert_eq!(first(&diagnosis).fault, Fault::ServingNodeAddresses);
    let shown = first(&diagnosis).evidence.join(" | ");
    assert!(shown.contains("a denial is final"), "{shown}");
}

#[test]
fn the_signer_that_is_meant_is_named() {
    for (request, meant) in [
        (
            kubelet_client("n1"),
            "kubernetes.io/kube-apiserver-client-kubelet is",
        ),
        (kubelet_serving("n1"), "kubernetes.io/kubelet-serving is"),
        (
            api_client("ann", "admins"),
            "kubernetes.io/kube-apiserver-client is",
        ),
    ] {
        let world = World::with(request.for_signer("kubernetes.io/kubelet"));
        let shown = first(&world.diagnose()).evidence.join(" | ");
        assert!(shown.contains(meant), "{shown}");
    }
}

#[test]
fn a_node_is_told_of_each_request_once() {
    let misspelt = kubelet_client("n1")
        .by("kubernetes-admin")
        .for_signer("kubernetes.io/kubelet");
    let diagnosis = World::with(misspelt).of_node("n1").diagnose();
    assert_eq!(first(&diagnosis).fault, Fault::SignerMisspelt);
    let of_it = diagnosis
        .facts
        .iter()
        .filter(|fact| fact.contains("csr/csr-abcde"));
    assert_eq!(of_it.count(), 1, "{:?}", diagnosis.facts);
    let unborn = World::serving("n4").of_node("n4").diagnose();
    assert_eq!(first(&unborn).fault, Fault::NodeNoClient);
    let commands: Vec<&String> = unborn
        .findings
        .iter()
        .flat_map(|one| &one.commands)
        .collect();
    let asks_again = |command: &&&String| command.starts_with("everleaf why node/");
    assert!(commands.iter().find(asks_again).is_none(), "{commands:?}");
}

#[test]
fn an_approved_request_counts_from_its_approval() {
    let world = World::client("n1").approved().edit(|evidence| {
        evidence.now = "2026-11-20T11:59:06Z".parse().unwrap();
    });
    let summary = world.diagnose().summary;
    assert!(summary.starts_with("It was approved 5s ago"), "{summary}");
}

#[test]
fn no_placeholder_stands_for_a_node_that_nobody_knows() {
    let gone = World::client("n1").edit(|evidence| evidence.request = Known::Absent);
    let diagnosis = gone.diagnose();
    let commands = first(&diagnosis).commands.join("\n");
    assert!(!commands.contains("NODE"), "{commands}");
}

/// A certificate of `n1` by a CA that was dropped, and a later one of `later` by its successor.
fn after_a_change_of_ca(later: &str) -> World {
    let old = World::client("n1").approved().issued().object();
    let mut world = World::client(later)
        .with_ca(authority(day(400)))
        .approved()
        .issued()
        .change(|object| {
            object["metadata"]["name"] = json!("later");
            object["metadata"]["creationTimestamp"] = json!("2026-11-20T11:59:30Z");
        });
    let later = world.object();
    world.evidence.request = Known::Read(old.clone());
    world.evidence.requests = Known::Read(vec![old, later]);
    world
}

#[test]
fn a_certificate_of_a_dropped_ca_with_a_good_successor_is_no_fault() {
    let diagnosis = after_a_change_of_ca("n1").diagnose();
    assert!(diagnosis.findings.is_empty(), "{:?}", diagnosis.findings);
    let facts = diagnosis.facts.join(" | ");
    assert!(facts.contains("csr/later, which took its place"), "{facts}");
}

#[test]
fn a_node_that_a_change_of_ca_left_behind_joins_again() {
    let diagnosis = after_a_change_of_ca("n2").diagnose();
    let finding = first(&diagnosis);
    assert_eq!(finding.fault, Fault::CertificateOtherCa);
    let shown = finding.evidence.join(" | ");
    assert!(shown.contains("csr/later, which the same signer issued later, is believed"));
    let commands = finding.commands.join("\n");
    assert!(commands.contains("everleaf token create --print-join-command"));
    assert!(commands.contains("--replace"), "{commands}");
    assert!(!commands.contains("if the signer has another CA"));
    // Nobody is told to believe a CA that was dropped, or to append to the file of `up`.
    let told = format!("{} {commands}", finding.remedy);
    assert!(
        !told.contains(">>") && !told.contains("pki/ca.crt"),
        "{told}"
    );
}
