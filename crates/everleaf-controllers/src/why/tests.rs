//! Every fault of the catalogue, brought about in a healthy cluster, is named; the healthy cluster
//! has none.

mod advice;
mod cases;
pub(crate) mod world;

use super::*;
use crate::fixture::kubelet_serving;
use everleaf_api::revocation::Revocations;
use serde_json::json;
use std::collections::BTreeSet;
use world::World;

#[test]
fn every_fault_is_named_first() {
    let mut missed = Vec::new();
    for (fault, world) in cases::all() {
        let diagnosis = world.diagnose();
        let first = diagnosis.findings.first();
        if first.map(|finding| finding.fault) != Some(fault) {
            let named: Vec<String> = diagnosis
                .findings
                .iter()
                .map(|finding| format!("{} ({})", finding.fault, finding.evidence.join(" | ")))
                .collect();
            missed.push(format!("{fault}: {} {named:?}", diagnosis.standing));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn every_fault_of_the_catalogue_is_brought_about() {
    let brought: BTreeSet<Fault> = cases::all().into_iter().map(|(fault, _)| fault).collect();
    let missing: Vec<String> = Fault::ALL
        .iter()
        .filter(|fault| !brought.contains(fault))
        .map(ToString::to_string)
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(Fault::ALL.len() >= 60);
}

#[test]
fn what_is_found_shows_why_and_what_to_type() {
    for (fault, world) in cases::all() {
        for finding in world.diagnose().findings {
            assert!(!finding.commands.is_empty(), "{fault}");
            let is_told = !finding.evidence.is_empty()
                || matches!(
                    finding.fault,
                    Fault::ManualApproval
                        | Fault::SignerLegacy
                        | Fault::PolicyDryRun
                        | Fault::PolicyNone
                );
            assert!(is_told, "{fault}: {} without evidence", finding.fault);
            for line in finding.evidence.iter().chain(&finding.commands) {
                assert!(
                    !line.contains("{csr}") && !line.contains("{node}"),
                    "{line}"
                );
                assert!(!line.contains("Some("), "{line}");
            }
        }
    }
}

#[test]
fn the_catalogue_has_its_own_names() {
    let ids: BTreeSet<&str> = Fault::ALL.iter().map(|fault| fault.entry().id).collect();
    assert_eq!(ids.len(), Fault::ALL.len());
    let titles: BTreeSet<&str> = Fault::ALL.iter().map(|fault| fault.entry().title).collect();
    assert_eq!(titles.len(), Fault::ALL.len());
    for fault in Fault::ALL {
        let entry = fault.entry();
        assert_eq!(entry.fault, *fault);
        let document = catalogue_document();
        assert!(document.contains(&format!("`{}`", entry.id)), "{fault}");
    }
}

#[test]
fn nothing_is_wrong_where_nothing_is() {
    for world in [
        World::client("n1"),
        World::client("n1").approved().issued(),
        World::serving("n1"),
        World::serving("n1").approved().issued(),
        World::client("n1").approved().issued().of_node("n1"),
        World::serving("n1").approved().issued().of_node("n1"),
    ] {
        // A moment after it was filed: the controllers have not come to it.
        let diagnosis = world.young().diagnose();
        assert_eq!(diagnosis.findings, [], "{}", diagnosis.summary);
        assert_eq!(diagnosis.unseen, Vec::<String>::new());
    }
}

/// Whoever has been issued another since is not refused, nor is anybody by a server that does not
/// know revocations.
#[test]
fn a_revoked_node_is_so_until_it_is_issued_another() {
    let revoked = |at: &str, world: World| {
        let data = json!({"node.n1": format!(r#"{{"at": "{at}"}}"#)});
        let map = json!({ "data": data });
        let world = world.edit(|evidence| {
            evidence.revocations = Known::Read(Revocations::of_config_map(&map));
        });
        let findings = world.diagnose().findings;
        findings.iter().any(|one| one.fault == Fault::NodeRevoked)
    };
    let issued = || World::client("n1").approved().issued().of_node("n1");
    let later = "2026-11-20T12:00:00Z";
    assert!(revoked(later, issued().on_everleaf()));
    assert!(!revoked("2026-11-20T11:59:59Z", issued().on_everleaf()));
    assert!(!revoked(later, issued()), "another server");
    // Its requests are forgotten: whoever reports is believed.
    let forgotten = || {
        let world = World::serving("n1").of_node("n1").on_everleaf();
        world.edit(|evidence| evidence.requests = Known::Read(Vec::new()))
    };
    assert!(!revoked(later, forgotten()));
    let silent = |node: &mut Value| {
        node["status"]["conditions"][0]["status"] = json!("Unknown");
    };
    assert!(revoked(later, forgotten().node_object(silent)));
}

#[test]
fn what_cannot_be_seen_is_said_and_not_guessed() {
    let mut world = World::client("n1");
    let why = "you may not list leases (403)";
    world.evidence.leases = Known::Hidden(why.to_owned());
    world.evidence.answers.clear();
    let diagnosis = world.diagnose();
    assert_eq!(diagnosis.findings, []);
    assert!(diagnosis.unseen.iter().any(|line| line.contains(why)));
    let mut world = World::serving("n1");
    world.evidence.nodes = Known::Hidden("you may not list nodes (403)".to_owned());
    let findings = world.diagnose().findings;
    let faults: Vec<Fault> = findings.iter().map(|finding| finding.fault).collect();
    assert!(!faults.contains(&Fault::ServingAddresses), "{faults:?}");
}

#[test]
fn a_command_never_holds_what_a_stranger_wrote() {
    let mut context = Context::default();
    for evil in [
        "x; rm -rf /",
        "$(id)",
        "a'b",
        "a b",
        "--all",
        "a\nb",
        "`id`",
    ] {
        context.set("node", evil);
        assert_eq!(
            context.fill("kubectl get node {node}"),
            "kubectl get node NODE"
        );
    }
    context.set("node", "n1.example.com");
    assert_eq!(context.fill("get {node}"), "get n1.example.com");
}

#[test]
fn what_others_file_in_a_nodes_name_says_nothing_of_it() {
    let own = World::serving("n1").object();
    let mut evil = kubelet_serving("n1").ip("10.96.0.1").by("evil").object();
    evil["metadata"]["name"] = json!("evil");
    evil["metadata"]["creationTimestamp"] = json!("2026-11-20T11:59:10Z");
    let both = [own, evil.clone()];
    let world = World::serving("n1").of_node("n1");
    let diagnosis = world
        .edit(|evidence| evidence.requests = Known::Read(both.into()))
        .diagnose();
    let told: Vec<_> = diagnosis
        .findings
        .iter()
        .map(|one| one.csr.as_deref())
        .collect();
    assert_eq!(told, [Some("csr-abcde")], "{:?}", diagnosis.findings);
    let fact = "in its name, filed by evil: csr/evil Pending".to_owned();
    assert!(diagnosis.facts.contains(&fact), "{:?}", diagnosis.facts);
    // Where the node files nothing, they are looked at, and nobody is told to approve them.
    let world = World::serving("n1").of_node("n1").edit(|evidence| {
        evidence.requests = Known::Read(vec![evil]);
        evidence.leases = Known::Read(Vec::new());
    });
    let diagnosis = world.diagnose();
    let faults: Vec<Fault> = diagnosis.findings.iter().map(|one| one.fault).collect();
    assert_eq!(faults, [Fault::ServingNobody, Fault::ServingRequestor]);
    for command in diagnosis.findings.iter().flat_map(|one| &one.commands) {
        assert!(!command.contains("certificate approve"), "{command}");
    }
}

#[test]
fn who_sees_nothing_is_not_told_that_nothing_is_wrong() {
    let hidden = || "forbidden".to_owned();
    let blind = |evidence: &mut Evidence| {
        evidence.requests = Known::Hidden(hidden());
        evidence.nodes = Known::Hidden(hidden());
        evidence.leases = Known::Hidden(hidden());
    };
    let diagnosis = World::serving("n1").of_node("n1").edit(blind).diagnose();
    assert_eq!(diagnosis.findings, []);
    assert!(!diagnosis.is_certain);
    let diagnosis = World::serving("n1").edit(blind).diagnose();
    let named = diagnosis
        .findings
        .iter()
        .any(|one| one.fault == Fault::ServingNobody);
    assert!(!named, "nobody saw that");
    let healthy = World::serving("n1").approved().issued().of_node("n1");
    assert!(healthy.young().diagnose().is_certain);
}

#[test]
fn a_kubelet_that_says_it_is_not_ready_reports() {
    let world = World::client("n1").approved().issued().of_node("n1");
    let diagnosis = world
        .node_object(|node| {
            node["status"]["conditions"][0]["status"] = json!("False");
            node["status"]["conditions"][0]["message"] = json!("cni plugin not initialized");
        })
        .diagnose();
    assert_eq!(diagnosis.findings, []);
    assert_eq!(diagnosis.standing, "NotReady");
    assert!(
        diagnosis
            .facts
            .iter()
            .any(|fact| fact.contains("cni plugin"))
    );
}

/// Kubernetes 1.21 notes the time of a write only when the set of fields changes.
#[test]
fn an_old_note_of_a_write_makes_no_leader_dead_and_no_clock_wrong() {
    let old = json!([{
        "time": "2026-11-20T08:00:00Z", "fieldsV1": { "f:spec": { "f:renewTime": {} } },
    }]);
    let world = World::client("n1").edit(|evidence| {
        let Known::Read(leases) = &mut evidence.leases else {
            panic!("no leases");
        };
        for lease in leases {
            lease["metadata"]["managedFields"] = old.clone();
        }
    });
    let faults: Vec<Fault> = world
        .diagnose()
        .findings
        .iter()
        .map(|one| one.fault)
        .collect();
    assert_eq!(faults, [Fault::ApproverSilent], "it leads");
    let world = World::client("n1").approved().issued().of_node("n1");
    let diagnosis = world
        .edit(|evidence| {
            evidence.node_lease = Known::Read(json!({
                "metadata": { "managedFields": old },
                "spec": { "renewTime": "2026-11-20T11:59:55.000000Z" },
            }));
        })
        .diagnose();
    assert_eq!(diagnosis.findings, []);
}
