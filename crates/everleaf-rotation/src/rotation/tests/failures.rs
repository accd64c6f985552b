//! What each failure does (client-go `certificate_manager_test.go`, and what it lacks).

use super::world::*;
use crate::effect::CredentialChoice;
use crate::event::{CredentialVersion, Event, RefusalClass, Sources};
use crate::notice::{Block, Cause, FailedStep, Notice, StuckReason};
use crate::rotation::Phase;
use crate::store::conformance::{at, prepare};
use jiff::SignedDuration;
use std::io;

/// A settled client that is due, after its first attempt met `class`.
pub(super) fn after_refusal(class: RefusalClass) -> World {
    let mut world = World::settled();
    world.server.submit_script.push_back(class);
    world.offset = SignedDuration::from_hours(24 * 360);
    world.tell(Event::ClockStepped);
    world
}

#[test]
fn a_success_makes_the_server_healthy_and_replaces_the_leaf() {
    let mut world = World::settled();
    let old = world.leaf().clone();
    world.offset = SignedDuration::from_hours(24 * 360);
    world.tell(Event::ClockStepped);
    assert!(world.machine.is_server_healthy());
    assert_ne!(world.leaf().fingerprint(), old.fingerprint());
    // Upstream's histogram observes now − notBefore of the one replaced.
    let age = world.notices.iter().find_map(|notice| match notice {
        Notice::Installed {
            replaced: Some((_, age)),
            ..
        } => Some(*age),
        _ => None,
    });
    assert_eq!(age, Some(world.now().wall.duration_since(old.not_before())));
}

#[test]
fn health_follows_the_class_of_the_refusal() {
    let forbidden = RefusalClass::Forbidden {
        verb: "create",
        resource: "certificatesigningrequests",
    };
    let limited = RefusalClass::RateLimited { retry_after: None };
    for (class, is_healthy) in [
        (RefusalClass::Other, false),
        (RefusalClass::Unauthorized, true),
        (forbidden, true),
        (RefusalClass::Unexpected, false),
        (RefusalClass::NotServed, true),
        (RefusalClass::Unreachable, false),
        (limited, false),
    ] {
        let world = after_refusal(class.clone());
        assert_eq!(world.machine.is_server_healthy(), is_healthy, "{class:?}");
        assert_eq!(world.csrs(), 1, "the leaf stays: {class:?}");
    }
}

#[test]
fn waits_suit_the_refusal() {
    let forbidden = RefusalClass::Forbidden {
        verb: "create",
        resource: "certificatesigningrequests",
    };
    let limited = RefusalClass::RateLimited {
        retry_after: Some(seconds(120)),
    };
    for (class, times, least, most) in [
        (RefusalClass::Unreachable, 8, 32, 36),
        (forbidden, 12, 300, 330),
        (limited, 1, 120, 121),
    ] {
        let mut world = after_refusal(class.clone());
        for _ in 1..times {
            world.server.submit_script.push_back(class.clone());
            let failures = world.count(|notice| matches!(notice, Notice::Failed { .. }));
            while world.count(|notice| matches!(notice, Notice::Failed { .. })) == failures {
                world.run_for(seconds(1));
            }
        }
        assert_eq!(world.csrs(), 1);
        world.run_for(seconds(least - 2));
        assert_eq!(world.csrs(), 1, "{class:?}: too soon");
        world.run_for(seconds(most - least + 3));
        assert_eq!(world.csrs(), 2, "{class:?}: too late");
    }
}

#[test]
fn the_wait_that_is_told_is_the_one_that_the_server_asks_for() {
    let world = after_refusal(RefusalClass::RateLimited {
        retry_after: Some(seconds(120)),
    });
    let told =
        |notice: &Notice| matches!(notice, Notice::Failed { wait, .. } if *wait == seconds(120));
    assert!(world.has(told), "{:#?}", world.notices);
}

#[test]
fn rejected_usages_are_asked_again_once_in_the_long_form() {
    let world = after_refusal(RefusalClass::UsagesRejected);
    assert_eq!(world.csrs(), 2);
    let newest = world.server.objects.values().last().unwrap();
    assert_eq!(newest.pending.usages, client_config().usages_long);
    world.assert_at_rest();
}

/// A controller manager before 1.25 says nothing to the short form; its server tells the version.
#[test]
fn an_old_control_plane_is_asked_in_the_long_form() {
    let mut world = World::new(client_config());
    world.server.minor = Some(21);
    world.server.wants_key_encipherment = true;
    world.run_for(minutes(1));
    assert_eq!(world.csrs(), 1);
    world.assert_at_rest();
    // Its successor takes both; what worked is asked again.
    world.server.minor = Some(29);
    world.server.wants_key_encipherment = false;
    world.run_for(days(330));
    assert_eq!(world.csrs(), 2);
    let long = client_config().usages_long;
    let mut objects = world.server.objects.values();
    assert!(objects.all(|object| object.pending.usages == long));
}

#[test]
fn silence_brings_one_request_in_the_other_form() {
    let mut world = World::new(client_config());
    world.server.minor = None;
    world.server.wants_key_encipherment = true;
    world.run_for(seconds(110));
    assert_eq!(world.csrs(), 1, "two minutes are not over");
    let first = world.machine.pending().unwrap().clone();
    world.run_for(minutes(1));
    assert_eq!(world.csrs(), 2);
    world.assert_at_rest();
    let newest = world
        .server
        .objects
        .values()
        .find(|o| o.pending.name != first.name);
    let newest = &newest.unwrap().pending;
    assert_eq!(newest.usages, client_config().usages_long);
    assert_ne!(newest.public_key, first.public_key);
    // A renewal begins with what worked, also in a new process.
    world.restart();
    world.run_for(days(330));
    assert_eq!(world.csrs(), 3);
}

#[test]
fn silence_brings_no_third_request() {
    for restarts in [false, true] {
        let mut world = World::new(client_config());
        world.server.minor = None;
        world.server.approves = false;
        world.run_for(minutes(5));
        if restarts {
            world.restart();
        }
        world.run_for(hours(3));
        assert_eq!(world.csrs(), 2, "restarts: {restarts}");
    }
    // Where the version is known, or somebody approved, silence is for people to break.
    let mut world = World::new(client_config());
    world.server.approves = false;
    world.run_for(hours(3));
    assert_eq!(world.csrs(), 1);
    let mut world = World::new(client_config());
    world.server.minor = None;
    world.server.ca_not_after = at("2000-01-01T00:00:00Z");
    world.run_for(hours(3));
    assert_eq!(world.csrs(), 1, "approved and unsigned");
}

#[test]
fn an_unreachable_server_gets_the_same_request_when_it_is_back() {
    let mut world = World::new(client_config());
    world.server.is_reachable = false;
    world.run_for(hours(20));
    assert_eq!(world.machine.phase(), Phase::BackingOff);
    let name = world.machine.pending().unwrap().name.clone();
    world.server.is_reachable = true;
    world.run_for(minutes(1));
    assert_eq!(world.csrs(), 1);
    assert!(world.server.objects.contains_key(&name));
    world.assert_at_rest();
}

#[test]
fn an_unapproved_request_is_waited_for_and_renewed_after_a_day() {
    let mut world = World::new(serving_config());
    world.server.approves = false;
    world.nap_max = minutes(15);
    world.run_for(hours(23));
    assert_eq!(world.csrs(), 1);
    assert!(world.count(|notice| matches!(notice, Notice::RequestUndecided { .. })) > 80);
    world.run_for(hours(2));
    assert_eq!(world.csrs(), 2);
}

/// Lets a first request be decided against, again and again, for `hours`.
fn decided(condition: &'static str) -> World {
    let mut world = World::new(client_config());
    world.server.approves = false;
    for _ in 0..6 * 60 {
        world.run_for(minutes(1));
        for object in world.server.objects.values_mut() {
            object.condition = Some((condition, "TestReason"));
        }
    }
    world
}

#[test]
fn a_denied_request_is_followed_by_ever_rarer_ones() {
    for condition in ["Denied", "Failed"] {
        let world = decided(condition);
        // After 5, 10, 20, 40 minutes, then an hour each.
        assert_eq!(world.csrs(), 9, "{condition}");
        assert!(world.has(|notice| matches!(
            notice,
            Notice::RequestDecided { condition: told, .. } if *told == condition
        )));
        // That says it all.
        assert!(!world.has(|notice| matches!(notice, Notice::PendingDiscarded { .. })));
    }
}

#[test]
fn a_deleted_or_recreated_request_is_replaced() {
    for recreated in [false, true] {
        let mut world = World::new(client_config());
        world.server.approves = false;
        world.run_for(minutes(1));
        let (name, mut object) = world.server.objects.pop_first().unwrap();
        if recreated {
            object.uid = crate::store::RequestUid::new("another");
            world.server.objects.insert(name, object);
        }
        world.server.approves = true;
        world.run_for(minutes(1));
        assert!(world.has(|notice| matches!(notice, Notice::RequestGone { .. })));
        assert_eq!(world.csrs(), 2);
        world.assert_at_rest();
    }
}

#[test]
fn requests_that_are_deleted_again_and_again_run_into_the_limit() {
    let mut world = World::new(client_config());
    world.server.approves = false;
    for _ in 0..59 {
        world.run_for(minutes(1));
        world.server.objects.clear();
    }
    assert_eq!(world.csrs(), 5);
    assert!(world.has(|notice| matches!(
        notice,
        Notice::Blocked {
            block: Block::TooManyRequests,
            ..
        }
    )));
    world.server.approves = true;
    world.run_for(minutes(3));
    world.assert_at_rest();
}

#[test]
fn a_certificate_for_another_key_or_name_is_not_installed() {
    for wrong_key in [true, false] {
        let mut world = World::new(client_config());
        world.server.approves = false;
        world.run_for(minutes(1));
        let (start, end) = (
            world.time - SignedDuration::from_mins(5),
            at("2028-01-01T00:00:00Z"),
        );
        let name = world.server.objects.keys().next().unwrap().clone();
        let mut asked = world.server.objects[&name].pending.clone();
        if wrong_key {
            let order = crate::store::conformance::client_order();
            asked = prepare(order, 99, start).0;
        } else {
            asked.template.subject = everleaf_pki::Subject::node("n2");
        }
        let chain = world.server.authority.issue(&asked, start, end);
        let object = world.server.objects.get_mut(&name).unwrap();
        object.condition = Some(("Approved", ""));
        object.chain = Some(chain);
        world.run_for(minutes(1));
        assert!(world.has(|notice| matches!(notice, Notice::LeafRejected { .. })));
        assert!(world.machine.current().is_none());
        assert_eq!(world.machine.phase(), Phase::BackingOff);
        world.server.approves = true;
        world.run_for(minutes(6));
        assert_eq!(world.csrs(), 2);
        world.assert_at_rest();
    }
}

#[test]
fn a_certificate_that_ended_before_the_servers_date_is_not_installed() {
    let mut world = World::new(client_config());
    world.server.dates = Some((at("2020-01-01T00:00:00Z"), at("2021-01-01T00:00:00Z")));
    world.run_for(hours(1));
    assert!(world.machine.current().is_none());
    assert!(world.csrs() <= 5);
    assert!(world.has(|notice| matches!(notice, Notice::LeafRejected { .. })));
}

#[test]
fn a_certificate_that_begins_after_the_servers_date_is_fetched_again_then() {
    let mut world = World::settled();
    let start = world.time + SignedDuration::from_mins(20);
    world.server.dates = Some((start, at("2028-01-01T00:00:00Z")));
    world.offset = SignedDuration::from_hours(24 * 360);
    world.run_for(minutes(19));
    assert!(
        world.machine.current().unwrap().not_before() < start,
        "the old one stays"
    );
    world.run_for(minutes(3));
    assert_eq!(world.csrs(), 2);
    assert_eq!(world.machine.current().unwrap().not_before(), start);
    world.assert_at_rest();
}

#[test]
fn a_new_credential_that_the_server_refuses_is_taken_back() {
    let mut world = World::settled_for(days(365));
    let old = world.leaf().clone();
    world.offset = SignedDuration::from_hours(24 * 360);
    world.tell(Event::ClockStepped);
    let new = world.leaf().clone();
    assert_ne!(new.fingerprint(), old.fingerprint());
    // Doubt arises before the old file could be forgotten.
    let mut world = World::settled_for(days(365));
    let old = world.leaf().clone();
    world.offset = SignedDuration::from_hours(24 * 360);
    world.server.distrusts_new = true;
    world.tell(Event::ClockStepped);
    world.run_for(minutes(1));
    assert_eq!(world.leaf().fingerprint(), old.fingerprint());
    assert!(world.has(|notice| matches!(notice, Notice::Reverted { .. })));
    assert!(world.machine.is_confirmed());
    world.server.distrusts_new = false;
    world.server.distrusted.clear();
    world.run_for(minutes(6));
    assert_ne!(world.leaf().fingerprint(), old.fingerprint());
    assert_eq!(world.csrs(), 3);
    world.assert_at_rest();
}

#[test]
fn a_refused_unexpired_certificate_falls_back_to_the_bootstrap_credential() {
    let mut world = World::settled();
    world.sources.bootstrap = Some(CredentialVersion(1));
    let leaf = world.leaf().clone();
    world.server.distrusted.push(leaf.clone());
    world.tell(Event::CredentialRefused);
    world.run_for(minutes(2));
    assert_ne!(world.leaf().fingerprint(), leaf.fingerprint());
    assert!(world.has(|notice| *notice
        == Notice::AttemptBegan {
            cause: Cause::Refused,
            lack: None,
        }));
    assert!(world.has(|notice| matches!(
        notice,
        Notice::RequestSubmitted {
            credential: CredentialChoice::Bootstrap,
            ..
        }
    )));
    assert_eq!(world.csrs(), 2);
    world.assert_at_rest();
}

#[test]
fn credentials_are_tried_in_order_and_only_a_401_moves_on() {
    let mut world = World::settled();
    world.sources = Sources {
        kubeconfig: Some(CredentialVersion(1)),
        bootstrap: Some(CredentialVersion(1)),
        client: None,
    };
    world.server.accepts_kubeconfig = false;
    let leaf = world.leaf().clone();
    world.server.distrusted.push(leaf);
    world.server.is_reachable = false;
    world.offset = SignedDuration::from_hours(24 * 360);
    world.run_for(minutes(2));
    assert!(!world.has(|notice| matches!(notice, Notice::CredentialRefused { .. })));
    world.server.is_reachable = true;
    world.run_for(minutes(1));
    let refused: Vec<_> = world
        .notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::CredentialRefused { credential, .. } => Some(*credential),
            _ => None,
        })
        .collect();
    assert_eq!(
        refused,
        [CredentialChoice::Current, CredentialChoice::Kubeconfig]
    );
    assert_eq!(world.csrs(), 2);
}

#[test]
fn a_new_bootstrap_token_is_picked_up() {
    let mut world = World::new(client_config());
    world.server.accepts_bootstrap = false;
    world.run_for(minutes(30));
    assert_eq!(world.machine.phase(), Phase::Stuck);
    assert!(world.has(|notice| matches!(
        notice,
        Notice::Stuck {
            reason: StuckReason::AllRefused,
            ..
        }
    )));
    world.server.accepts_bootstrap = true;
    world.run_for(minutes(6));
    assert_eq!(world.csrs(), 1);
    world.assert_at_rest();
}

#[test]
fn without_any_credential_the_machine_is_stuck_until_one_appears() {
    let mut world = World::new(client_config());
    world.sources.bootstrap = None;
    world.run_for(minutes(30));
    assert_eq!(world.machine.phase(), Phase::Stuck);
    assert_eq!(
        world.count(|notice| matches!(notice, Notice::Stuck { .. })),
        1
    );
    world.sources.bootstrap = Some(CredentialVersion(1));
    world.tell(Event::SourcesChanged(world.sources));
    assert_eq!(world.csrs(), 1);
    world.assert_at_rest();
}

#[test]
fn flapping_addresses_abandon_nothing_and_settled_ones_make_one_request() {
    let mut world = World::new(serving_config());
    world.server.approves = false;
    world.run_for(minutes(1));
    let name = world.machine.pending().unwrap().name.clone();
    for _ in 0..20 {
        world.tell(Event::TemplateChanged(Some(serving_template(&[
            "10.0.0.2",
        ]))));
        world.run_for(seconds(4));
        world.tell(Event::TemplateChanged(Some(serving_template(&[
            "10.0.0.1",
        ]))));
        world.run_for(seconds(4));
    }
    world.run_for(seconds(30));
    assert_eq!(
        world.machine.pending().unwrap().name,
        name,
        "it was not abandoned"
    );
    assert_eq!(world.csrs(), 1);
    world.tell(Event::TemplateChanged(Some(serving_template(&[
        "10.0.0.1", "10.0.0.2",
    ]))));
    world.run_for(seconds(9));
    assert_eq!(world.csrs(), 1);
    world.server.approves = true;
    world.run_for(seconds(4));
    assert_eq!(world.csrs(), 2);
    assert_eq!(world.leaf().ip_addresses().len(), 2);
    world.assert_at_rest();
}

#[test]
fn losing_an_address_rotates_nothing_and_gaining_one_does() {
    let mut world = World::new(serving_config());
    world.run_for(minutes(1));
    world.tell(Event::TemplateChanged(Some(serving_template(&[]))));
    world.run_for(minutes(1));
    assert_eq!(world.csrs(), 1);
    world.tell(Event::TemplateChanged(Some(serving_template(&[
        "10.0.0.1", "10.0.0.9",
    ]))));
    world.run_for(seconds(15));
    assert_eq!(world.csrs(), 2);
    world.assert_at_rest();
}

#[test]
fn without_addresses_nothing_is_asked_until_the_certificate_nears_its_end() {
    let mut world = World::new(serving_config());
    world.run_for(minutes(1));
    world.tell(Event::TemplateChanged(None));
    world.nap_max = hours(6);
    world.run_for(days(365 * 4 / 5 - 1));
    assert_eq!(world.csrs(), 1);
    world.run_for(days(60));
    assert_eq!(world.csrs(), 2);
    assert_eq!(world.leaf().dns_names(), ["n1"]);
}

#[test]
fn a_start_near_the_end_gives_the_addresses_a_moment_to_come() {
    for comes in [true, false] {
        let mut world = World::new(serving_config());
        world.run_for(minutes(1));
        world.server.approves = false;
        world.config.template = None;
        world.pass(days(360));
        world.restart();
        world.run_for(seconds(2));
        assert_eq!(world.csrs(), 1, "the addresses are not known yet");
        let wanted = serving_template(&["10.0.0.1", "10.0.0.2"]);
        if comes {
            world.tell(Event::TemplateChanged(Some(wanted.clone())));
        }
        world.run_for(seconds(10));
        assert_eq!(world.csrs(), 2, "comes: {comes}");
        let asked = &world.machine.pending().unwrap().template;
        assert_eq!(asked.ip_addresses.len(), 1 + usize::from(comes));
    }
}

#[test]
fn a_signer_that_drops_a_name_is_not_asked_for_ever() {
    let mut world = World::new(serving_config());
    world.server.drops_addresses = true;
    world.run_for(hours(6));
    assert!(world.csrs() <= 12, "{}", world.csrs());
    assert!(world.has(|notice| matches!(notice, Notice::LeafDiffers { .. })));
}

#[test]
fn a_full_disk_leaves_the_old_credential_and_the_request() {
    for operation in 0..30 {
        let mut world = World::settled();
        world
            .store
            .fail_after(operation, io::ErrorKind::StorageFull);
        world.offset = SignedDuration::from_hours(24 * 360);
        world.tell(Event::ClockStepped);
        world.run_for(minutes(10));
        assert_eq!(
            world.csrs(),
            2,
            "failed at {operation}: {:#?}",
            world.notices
        );
        assert!(world.machine.is_confirmed());
        world.assert_at_rest();
    }
}

#[test]
fn a_disk_that_stays_full_is_told_and_makes_no_requests() {
    let mut world = World::new(client_config());
    world.store.lose_power_after(0);
    world.run_for(hours(3));
    assert_eq!(world.csrs(), 0);
    assert!(world.has(|notice| matches!(
        notice,
        Notice::Failed {
            step: FailedStep::Prepare,
            ..
        }
    )));
    world.store.restart(0);
    world.run_for(minutes(1));
    assert_eq!(world.csrs(), 1);
    world.assert_at_rest();
}

/// A kubelet without `--rotate-certificates` fetches one certificate and goes on.
#[test]
fn without_renewal_one_certificate_is_fetched_and_kept_to_its_end() {
    let mut config = client_config();
    config.renews = false;
    let mut world = World::new(config);
    world.run_for(days(360));
    assert_eq!(world.csrs(), 1);
    world.assert_at_rest();
    // Its end is as good as no certificate.
    world.run_for(days(10));
    assert_eq!(world.csrs(), 2);
}
