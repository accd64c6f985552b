//! A name that the server refuses is left out; the others are got.

use super::world::*;
use crate::event::Event;
use crate::notice::{Notice, RefusedNames, Severity};
use everleaf_pki::Template;

fn wanting(names: &[&str]) -> Template {
    Template {
        dns_names: names.iter().map(ToString::to_string).collect(),
        ..serving_template(&["10.0.0.1"])
    }
}

/// A node that wants these names (and an address), on a server that refuses these.
fn world(names: &[&str], refused: &[&'static str]) -> World {
    let mut config = serving_config();
    config.template = Some(wanting(names));
    let mut world = World::new(config);
    world.server.refuses = refused.to_vec();
    world
}

fn decisions(world: &World) -> Vec<&RefusedNames> {
    let decided = world.notices.iter().filter_map(|notice| match notice {
        Notice::RequestDecided { names, .. } => Some(names),
        _ => None,
    });
    decided.collect()
}

#[test]
fn a_refused_name_is_left_out_and_the_others_are_got() {
    let mut world = world(&["n1", "a b", "c_d"], &["a b", "c_d"]);
    world.run_for(minutes(1));
    let left_out = RefusedNames::LeftOut(vec!["a b".to_owned(), "c_d".to_owned()]);
    assert_eq!(decisions(&world), [&left_out]);
    let warns = |n: &Notice| {
        matches!(n, Notice::RequestDecided { .. }) && n.severity() == Severity::Warning
    };
    assert!(world.has(warns));
    assert_eq!(world.csrs(), 2);
    assert_eq!(world.leaf().dns_names(), ["n1"]);
    assert_eq!(world.leaf().ip_addresses().len(), 1);
    // It is what is wanted now: nothing more is asked for, and the renewal does without it, too.
    world.run_for(days(330));
    world.assert_at_rest();
    assert_eq!(world.csrs(), 3);
    assert_eq!(decisions(&world).len(), 1);
}

#[test]
fn other_names_of_the_node_are_asked_for_in_full() {
    let mut world = world(&["n1", "a b"], &["a b"]);
    world.run_for(minutes(1));
    world.tell(Event::TemplateChanged(Some(wanting(&["n1", "a b"]))));
    world.run_for(minutes(1));
    assert_eq!(world.csrs(), 2, "nothing is new");
    world.server.refuses.clear();
    let all = ["a b", "n1", "n2"];
    world.tell(Event::TemplateChanged(Some(wanting(&all))));
    world.run_for(minutes(1));
    assert_eq!(world.csrs(), 3);
    assert_eq!(world.leaf().dns_names(), all);
}

#[test]
fn when_all_are_refused_it_waits() {
    let mut world = world(&["a b"], &["a b", "10.0.0.1"]);
    world.run_for(minutes(4));
    assert_eq!(decisions(&world), [&RefusedNames::All]);
    assert!(world.has(|n| n.severity() == Severity::Error));
    assert_eq!(world.csrs(), 1);
    // One after the other: the last is never left out.
    world.server.refuses = vec!["10.0.0.1"];
    world.run_for(minutes(3));
    world.server.refuses = vec!["a b"];
    world.run_for(minutes(30));
    let last = RefusedNames::LeftOut(vec!["10.0.0.1".to_owned()]);
    assert_eq!(decisions(&world)[1], &last);
    assert!(
        decisions(&world)[2..]
            .iter()
            .all(|names| **names == RefusedNames::All)
    );
    assert!(world.csrs() <= 6);
}

#[test]
fn an_admission_policy_refuses_names_too() {
    use crate::event::RefusalClass;
    // The test's server has the name of the class for a message.
    for (class, name) in [
        (RefusalClass::Invalid, "Invalid"),
        (
            RefusalClass::Forbidden {
                verb: "create",
                resource: "a_b",
            },
            "a_b",
        ),
    ] {
        let mut world = world(&["n1", name], &[]);
        world.server.submit_script.push_back(class.clone());
        world.run_for(minutes(1));
        let told = |n: &Notice| {
            matches!(
                n,
                Notice::RequestDecided {
                    condition: "Refused",
                    ..
                }
            )
        };
        if name == "a_b" {
            assert_eq!(world.count(told), 1, "{:#?}", world.notices);
            assert_eq!(world.leaf().dns_names(), ["n1"]);
        } else {
            // A plain word that is not in quotes.
            assert!(!world.has(told));
            assert_eq!(world.leaf().dns_names().len(), 2);
        }
        assert_eq!(world.csrs(), 1);
    }
    // What a broken server or a proxy says names nobody.
    let mut world = world(&["n1", "a_b"], &[]);
    world.server.submit_script.push_back(RefusalClass::Other);
    world.run_for(minutes(1));
    assert_eq!(world.leaf().dns_names().len(), 2);
}
