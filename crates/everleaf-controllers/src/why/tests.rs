//! Every fault of the catalogue, brought about in a healthy cluster, is named; the healthy cluster
//! has none.

mod cases;
mod world;

use super::*;
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
fn lengths_of_time_are_read_as_people_say_them() {
    for (seconds, text) in [
        (0, "0 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (3_700, "1 h 1 min"),
        (90_000, "1 d 1 h"),
        (86_400 * 400, "400 d"),
        (-3_700, "1 h 1 min"),
    ] {
        assert_eq!(span(SignedDuration::from_secs(seconds)), text);
    }
}
