//! Whose certificate it is decides which credential asks: a host that was renamed or cloned, and
//! servers that let a credential in and forbid it to ask.

use super::world::*;
use crate::effect::CredentialChoice;
use crate::event::{CredentialVersion, Event, RefusalClass};
use crate::notice::{Block, Notice, StuckReason};
use crate::rotation::Phase;

const FORBIDDEN: RefusalClass = RefusalClass::Forbidden {
    verb: "create",
    resource: "certificatesigningrequests",
};

/// A node that was `n1` and is called `n2` since its restart.
fn renamed(has_bootstrap: bool) -> World {
    let mut world = World::settled();
    world.sources.bootstrap = has_bootstrap.then_some(CredentialVersion(1));
    world.restart_as("system:node:n2");
    world
}

/// With what each request was made.
fn asked_with(world: &World) -> Vec<CredentialChoice> {
    let submitted = |notice: &Notice| match notice {
        Notice::RequestSubmitted { credential, .. } => Some(*credential),
        _ => None,
    };
    world.notices.iter().filter_map(submitted).collect()
}

#[test]
fn a_renamed_host_asks_with_its_bootstrap_credential() {
    // Also where the server does not see that another node asks (before 1.21), and nobody approves.
    for forbids_strangers in [true, false] {
        let mut world = renamed(true);
        world.server.forbids_strangers = forbids_strangers;
        world.run_for(minutes(1));
        assert_eq!(asked_with(&world), [CredentialChoice::Bootstrap]);
        let lack = world.notices.iter().find_map(|notice| match notice {
            Notice::AttemptBegan { lack, .. } => lack.as_deref(),
            _ => None,
        });
        let renamed = r#"common name is "system:node:n1", wanted "system:node:n2""#;
        assert_eq!(lack, Some(renamed));
        assert_eq!(world.leaf().subject().common_name, "system:node:n2");
        assert_eq!(world.published.as_ref(), world.machine.current());
        world.assert_at_rest();
    }
}

#[test]
fn another_nodes_certificate_is_handed_to_nobody_and_said_once() {
    let mut world = renamed(false);
    world.server.forbids_strangers = true;
    world.run_for(hours(3));
    assert_eq!(world.published, None);
    assert_eq!(world.csrs(), 1, "n1's own, of the beginning");
    let told = |notice: &Notice| matches!(notice, Notice::NotThisNodes { .. });
    assert_eq!(world.count(told), 1);
    let told = world.notices.iter().find(|notice| told(notice));
    let Some(Notice::NotThisNodes {
        holder,
        wanted,
        next,
        ..
    }) = told
    else {
        panic!("{:#?}", world.notices);
    };
    assert_eq!(holder, "system:node:n1");
    assert_eq!(wanted, "system:node:n2");
    assert_eq!(*next, None, "only a person can help");
    // The person does.
    world.sources.bootstrap = Some(CredentialVersion(1));
    world.run_for(minutes(30));
    assert_eq!(world.leaf().subject().common_name, "system:node:n2");
}

#[test]
fn what_is_forbidden_to_one_credential_is_tried_with_the_next() {
    let mut world = World::settled();
    world.sources.bootstrap = Some(CredentialVersion(1));
    world.server.submit_script.push_back(FORBIDDEN);
    world.offset = jiff::SignedDuration::from_hours(24 * 360);
    world.run_for(minutes(1));
    assert_eq!(asked_with(&world), [CredentialChoice::Bootstrap]);
    assert!(world.has(|notice| matches!(
        notice,
        Notice::CredentialForbidden {
            credential: CredentialChoice::Current,
            next: CredentialChoice::Bootstrap,
            ..
        }
    )));
    assert_eq!(world.csrs(), 2);
}

#[test]
fn forbidden_to_all_is_waited_for_from_the_first_on() {
    let mut world = World::settled();
    world.sources.bootstrap = Some(CredentialVersion(1));
    world.server.submit_script.extend([FORBIDDEN, FORBIDDEN]);
    world.offset = jiff::SignedDuration::from_hours(24 * 360);
    world.run_for(minutes(15));
    assert_eq!(asked_with(&world), [CredentialChoice::Current]);
    let failed = |notice: &Notice| matches!(notice, Notice::Failed { .. });
    assert_eq!(world.count(failed), 1);
    let stuck = |notice: &Notice| {
        matches!(
            notice,
            Notice::Stuck {
                reason: StuckReason::AllRefused,
                ..
            }
        )
    };
    assert!(!world.has(stuck));
}

#[test]
fn a_replaced_bootstrap_kubeconfig_is_tried_at_once() {
    let mut world = World::new(client_config());
    world.server.accepts_bootstrap = false;
    world.run_for(minutes(30));
    assert_eq!(world.machine.phase(), Phase::Stuck);
    world.server.accepts_bootstrap = true;
    world.tell(Event::SourcesChanged(world.sources));
    assert_eq!(world.csrs(), 0, "it is the same as before");
    world.sources.bootstrap = Some(CredentialVersion(2));
    world.tell(Event::SourcesChanged(world.sources));
    assert_eq!(world.csrs(), 1);
    world.assert_at_rest();
}

/// The same after a failure that is no refusal of the credential.
#[test]
fn a_replaced_bootstrap_kubeconfig_ends_a_back_off() {
    let mut world = World::new(client_config());
    world.server.is_reachable = false;
    world.run_for(minutes(30));
    assert_eq!(world.machine.phase(), Phase::BackingOff);
    world.server.is_reachable = true;
    world.sources.bootstrap = Some(CredentialVersion(2));
    world.tell(Event::SourcesChanged(world.sources));
    assert_eq!(world.csrs(), 1);
    world.assert_at_rest();
}

/// A node whose name was revoked: whatever it is given is refused.
#[test]
fn a_node_that_is_always_refused_asks_seldom() {
    let mut world = World::settled();
    world.sources.bootstrap = Some(CredentialVersion(1));
    let leaf = world.leaf().clone();
    world.server.distrusted.push(leaf);
    world.server.distrusts_new = true;
    world.tell(Event::CredentialRefused);
    world.run_for(hours(3));
    let questions = world.count(|notice| matches!(notice, Notice::CredentialRefused { .. }));
    // One a minute, and some of each certificate that it has got meanwhile.
    assert!((100..300).contains(&questions), "{questions}");
    assert!(world.csrs() <= 1 + 3 * 5, "{}", world.csrs());
    assert!(world.has(|notice| matches!(
        notice,
        Notice::Blocked {
            block: Block::TooManyRequests,
            ..
        }
    )));
    world.server.distrusts_new = false;
    world.server.distrusted.clear();
    world.run_for(minutes(2));
    assert!(world.machine.is_confirmed(), "it is let in again");
}
