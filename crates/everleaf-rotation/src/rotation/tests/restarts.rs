//! The process ends at every boundary between effects (E6); one issuance stays one request.

use super::world::*;
use crate::effect::{CredentialChoice, Effect};
use crate::event::{CredentialVersion, Event, SubmitOutcome};
use crate::notice::Notice;
use crate::rotation::Phase;
use crate::standing::Standing;
use crate::store::RequestUid;
use jiff::SignedDuration;

/// Runs a first issuance, ending the process before the `stop`-th effect is carried out; says
/// whether there was one.
fn interrupted(stop: usize, approves: bool) -> bool {
    let mut world = World::new(client_config());
    world.server.approves = approves;
    let was_stopped = world.run_effects(stop);
    world.restart();
    world.run_for(minutes(40));
    if !approves {
        assert_eq!(world.machine.phase(), Phase::Awaiting);
        let names: Vec<_> = world.server.objects.keys().cloned().collect();
        assert_eq!(names.len(), 1, "stopped before effect {stop}");
        let now = world.time;
        world.server.approve(&names[0], now);
        world.run_for(minutes(1));
    }
    assert_eq!(
        world.csrs(),
        1,
        "stopped before effect {stop}: {:#?}",
        world.notices
    );
    assert!(world.machine.is_confirmed());
    world.assert_at_rest();
    was_stopped
}

#[test]
fn a_first_issuance_interrupted_anywhere_makes_one_request() {
    for approves in [true, false] {
        let mut stop = 0;
        while interrupted(stop, approves) {
            stop += 1;
        }
        assert!(stop >= if approves { 9 } else { 4 }, "only {stop} effects");
    }
}

#[test]
fn a_lost_answer_to_a_create_is_found_again() {
    let mut world = World::new(client_config());
    world.server.loses_answers = 1;
    world.run_for(minutes(5));
    assert_eq!(world.csrs(), 1);
    assert!(world.machine.is_confirmed());
    assert!(world.has(|notice| matches!(notice, Notice::RequestSubmitted { existed: true, .. })));
    world.assert_at_rest();
}

#[test]
fn a_lost_answer_and_a_restart_are_survived_together() {
    let mut world = World::new(client_config());
    world.server.loses_answers = 1;
    world.run_for(seconds(1));
    world.restart();
    world.run_for(seconds(10));
    assert_eq!(world.csrs(), 1);
    world.assert_at_rest();
}

#[test]
fn a_fresh_certificate_is_confirmed_at_start_and_not_renewed() {
    let mut world = World::settled();
    world.restart();
    world.run_for(hours(1));
    assert_eq!(world.csrs(), 1);
    assert_eq!(world.machine.standing(world.now().wall), Standing::Fresh);
    assert!(world.machine.is_confirmed());
    world.assert_at_rest();
}

#[test]
fn an_answer_out_of_place_changes_nothing() {
    let mut world = World::settled();
    let name = crate::store::RequestName::new("node-csr-of-somebody");
    let uid = RequestUid::new("u");
    let outcome = SubmitOutcome::Created {
        uid,
        server_date: None,
    };
    world.tell(Event::Submitted { name, outcome });
    world.tell(Event::Discarded);
    world.tell(Event::Accepted { deleted: 0 });
    let leaf = world.leaf().clone();
    world.tell(Event::Reverted { leaf });
    world.run_for(minutes(5));
    assert_eq!(world.csrs(), 1);
    world.assert_at_rest();
}

#[test]
fn each_effect_is_given_up_when_no_answer_comes() {
    let mut answered = Vec::new();
    World::new(client_config()).run_effects_with(usize::MAX, |effect| {
        let is_answered = !matches!(effect, Effect::Publish { .. } | Effect::RecordPending(_));
        answered.push(is_answered);
    });
    assert!(answered.len() > 8);
    for stop in (0..answered.len()).filter(|index| answered[*index]) {
        let mut world = World::new(client_config());
        assert!(world.run_effects(stop));
        // The effect that was not carried out is not answered either; the machine asks again.
        world.run_for(minutes(40));
        assert_eq!(
            world.csrs(),
            1,
            "effect {stop} unanswered: {:#?}",
            world.notices
        );
        world.assert_at_rest();
    }
}

#[test]
fn a_serving_machine_uses_the_client_credential_only() {
    let mut world = World::new(serving_config());
    world.sources = crate::event::Sources {
        kubeconfig: Some(CredentialVersion(1)),
        bootstrap: Some(CredentialVersion(1)),
        client: None,
    };
    world.run_for(minutes(10));
    assert_eq!(world.csrs(), 0);
    assert!(!world.machine.id().renews_itself());
    assert_eq!(
        world.count(|notice| matches!(notice, Notice::Blocked { .. })),
        1
    );
    assert_eq!(world.machine.phase(), Phase::Waiting);
    world.sources.client = Some(CredentialVersion(1));
    world.tell(Event::SourcesChanged(world.sources));
    assert_eq!(world.csrs(), 1);
    assert!(world.has(|notice| matches!(
        notice,
        Notice::RequestSubmitted {
            credential: CredentialChoice::ClientCredential,
            ..
        }
    )));
    world.assert_at_rest();
}

/// Whoever should have told the machine did not: it looks for itself, and says nothing meanwhile.
#[test]
fn a_machine_that_waits_for_another_looks_again_by_itself() {
    let mut world = World::new(serving_config());
    world.sources.client = None;
    world.run_for(hours(1));
    assert_eq!(world.csrs(), 0);
    let notices = world.notices.len();
    world.run_for(hours(1));
    assert_eq!(world.notices.len(), notices, "{:#?}", world.notices);
    world.sources.client = Some(CredentialVersion(1));
    world.run_for(minutes(11));
    assert_eq!(world.csrs(), 1);
    world.assert_at_rest();
}

#[test]
fn no_effect_carries_a_key() {
    // Effects are shown in logs: none of their texts may hold key bytes.
    let mut world = World::new(client_config());
    let mut effects = Vec::new();
    world.run_effects_with(usize::MAX, |effect: &Effect| {
        effects.push(format!("{effect:?}"))
    });
    assert!(effects.len() > 8);
    assert!(
        effects.iter().all(|text| !text.contains("PRIVATE")),
        "{effects:#?}"
    );
}

/// As after a person's approval while the node was off and its clock was set: only the server
/// knows.
#[test]
fn a_request_that_was_answered_meanwhile_is_taken_however_old_it_seems() {
    let (mut count, mut until_recorded) = (0, 0);
    World::new(client_config()).run_effects_with(usize::MAX, |effect| {
        count += 1;
        if matches!(effect, Effect::RecordPending(_)) {
            until_recorded = count;
        }
    });
    for is_answered in [true, false] {
        let mut world = World::new(client_config());
        world.server.approves = is_answered;
        // The server has it, which is on disk; the process ends before it asks what became of it.
        world.run_effects(until_recorded);
        assert_eq!((world.csrs(), world.machine.current()), (1, None));
        world.offset = SignedDuration::from_hours(24 * 20);
        world.restart();
        world.run_for(seconds(50));
        assert_eq!(world.csrs(), 1, "it is asked for its answer first");
        world.server.approves = true;
        world.run_for(minutes(2));
        assert_eq!(world.csrs(), if is_answered { 1 } else { 2 });
        world.assert_at_rest();
    }
}
