//! What stands in the way of a renewal, one obstacle at a time.

use super::world::{World, codes, days, holding};
use crate::holding::{Kind, Standing};
use crate::outlook::{Code, Verdict};
use everleaf_api::csr;
use everleaf_controllers::why::Known;
use jiff::SignedDuration;
use serde_json::json;

/// A node whose certificate is 75 days old and lasts a hundred, with a request of this age.
fn due(minutes: i64) -> World {
    let mut world = World::new();
    world.node("n1", "True");
    world.issued("n1", Kind::Client, days(75), days(100));
    let filed = world.now() - SignedDuration::from_mins(minutes);
    world.request("csr-new", "n1", Kind::Client, filed);
    world
}

#[track_caller]
fn check(world: &World, verdict: Verdict, expected: &[Code], part: &str) {
    let found = holding(&world.fleet(), "n1", Kind::Client);
    assert_eq!(codes(&found), expected, "{:?}", found.outlook);
    assert_eq!(found.outlook.verdict, verdict);
    let text = &found.outlook.reasons[0].text;
    assert!(text.contains(part), "{text}");
}

#[test]
fn a_request_that_waits_holds_the_renewal_and_why_says_what_holds_it() {
    let world = due(30);
    // On a server where nothing of a controller is seen.
    check(
        &world,
        Verdict::Lapses,
        &[Code::Waits],
        "csr/csr-new waits for approval: ",
    );
    let forecast = world.forecast(365);
    assert_eq!(forecast.lapses.len(), 1);
    assert_eq!(forecast.lapses[0].at, Some(world.now() + days(25)));
    assert!(!forecast.lapses[0].has_lapsed);
    assert_eq!(world.forecast(24).lapses.len(), 0, "the horizon counts");
    assert_eq!(forecast.load.total, 0);
    let fleet = world.fleet();
    let hold = fleet.requests[0].hold.as_ref().unwrap();
    let expected = everleaf_controllers::why::diagnose_object(
        &world.facts.evidence.requests.read().unwrap()[1],
        &world.facts.evidence,
    );
    assert_eq!(hold.fault, expected.findings[0].fault.to_string());
}

#[test]
fn a_young_request_is_being_decided() {
    let world = due(0);
    check(
        &world,
        Verdict::Renews,
        &[Code::Deciding],
        "is being decided",
    );
    assert_eq!(world.forecast(365).lapses.len(), 0);
    // `why` knows after half a minute that nobody is there to decide.
    check(
        &due(2),
        Verdict::Lapses,
        &[Code::Waits],
        "csr/csr-new waits for approval: ",
    );
}

#[test]
fn denied_failed_and_approved_requests_are_told_apart() {
    for (kind, code, part) in [
        (csr::DENIED, Code::Denied, "is denied: "),
        (csr::FAILED, Code::Failed, "has failed: "),
        (csr::APPROVED, Code::Waits, "waits for its signer: "),
    ] {
        let mut world = due(30);
        csr::push_condition(world.last(), kind, "Because", "of this", None);
        check(&world, Verdict::Lapses, &[code], part);
    }
}

#[test]
fn before_it_is_due_a_request_can_wait() {
    let mut world = World::new();
    world.node("n1", "True");
    world.issued("n1", Kind::Client, days(10), days(100));
    let filed = world.now() - days(1);
    world.request("csr-new", "n1", Kind::Client, filed);
    check(
        &world,
        Verdict::Renews,
        &[Code::Renews, Code::Waits],
        "between",
    );
}

#[test]
fn a_request_from_before_the_certificate_means_nothing() {
    let mut world = World::new();
    world.node("n1", "True");
    let filed = world.now() - days(80);
    world.request("csr-old", "n1", Kind::Client, filed);
    csr::push_condition(world.last(), csr::DENIED, "No", "", None);
    world.issued("n1", Kind::Client, days(75), days(100));
    check(&world, Verdict::Renews, &[Code::Renews], "due since");
}

#[test]
fn a_node_that_is_off_does_not_renew() {
    let mut world = World::new();
    world.node("n1", "Unknown");
    world.issued("n1", Kind::Client, days(10), days(100));
    check(
        &world,
        Verdict::Lapses,
        &[Code::Silent],
        "not reporting since 2030-06-30 12:00Z",
    );
    assert_eq!(world.forecast(91).lapses.len(), 1);
    // A kubelet that says that it is not ready works on its certificates.
    let mut world = World::new();
    world.node("n1", "False");
    world.issued("n1", Kind::Client, days(10), days(100));
    check(&world, Verdict::Renews, &[Code::Renews], "renews by itself");
}

#[test]
fn an_authority_that_ends_takes_everything_along() {
    let mut world = World::with_authority_until("2030-12-01T00:00:00Z");
    world.node("n1", "True");
    world.issued("n1", Kind::Client, days(10), days(100));
    check(&world, Verdict::Renews, &[Code::Renews], "renews by itself");
    assert_eq!(world.forecast(100).lapses.len(), 0);
    let forecast = world.forecast(365);
    assert_eq!(forecast.authorities_ending.len(), 1);
    assert_eq!(forecast.lapses[0].reasons[0].code, Code::AuthorityEnds);
    assert_eq!(
        forecast.lapses[0].at,
        Some("2030-12-01T00:00:00Z".parse().unwrap())
    );
    // Nothing is renewed after its end.
    assert!(forecast.load.per_day[153..].iter().all(|count| *count == 0));
    // One that has been cut to the end of its authority.
    let left = "2030-12-01T00:00:00Z".parse().unwrap();
    let life = world.now().duration_until(left) + days(10);
    world.issued("n1", Kind::Client, days(10), life);
    world.issued("n1", Kind::Client, days(9), life - days(1));
    check(
        &world,
        Verdict::Lapses,
        &[Code::AuthorityEnds],
        "renewing it gives no more",
    );
}

#[test]
fn another_authority_that_lasts_longer_takes_over() {
    let mut world = World::with_authority_until("2030-12-01T00:00:00Z");
    world.node("n1", "True");
    world.issued("n1", Kind::Client, days(10), days(100));
    let other = World::new();
    let pem = other.facts.evidence.client_ca.read().unwrap();
    let chain = everleaf_pki::Chain::from_pem(pem.as_bytes()).unwrap();
    world.facts.authorities = chain.certificates().to_vec();
    assert_eq!(world.fleet().authorities.len(), 2);
    // One that only the API server itself shows does not.
    assert_eq!(world.forecast(365).lapses.len(), 1);
    let own = world.facts.evidence.client_ca.read().unwrap();
    world.facts.evidence.client_ca = Known::Read(format!("{own}{pem}"));
    assert_eq!(world.forecast(365).lapses.len(), 0);
    assert_eq!(world.fleet().authorities.len(), 2);
}

#[test]
fn what_is_revoked_has_lapsed_until_another_is_issued() {
    let mut world = World::new();
    world.node("n1", "True");
    world.issued("n1", Kind::Client, days(10), days(100));
    world.revoke(
        &json!({"node.n1": r#"{"at": "2030-06-30T00:00:00Z", "reason": "keyCompromise"}"#}),
    );
    let found = holding(&world.fleet(), "n1", Kind::Client);
    assert_eq!(found.standing, Standing::Revoked);
    check(&world, Verdict::Lapsed, &[Code::Revoked], "node/n1");
    let fleet = world.fleet();
    assert_eq!(fleet.revocations[0].reason, "keyCompromise");
    assert!(fleet.revocations_are_enforced);
    assert!(world.forecast(1).lapses[0].has_lapsed);
    world.issued("n1", Kind::Client, days(0), days(100));
    check(&world, Verdict::Renews, &[Code::Renews], "renews by itself");
}

/// Both authorities have the same name: only their keys tell them apart.
#[test]
fn what_a_dropped_authority_signed_is_refused_now() {
    let mut world = World::new();
    world.node("n1", "True");
    world.issued("n1", Kind::Client, days(10), days(100));
    world.issued("n1", Kind::Serving, days(10), days(100));
    world.replace_authority("2061-01-01T00:00:00Z");
    let found = holding(&world.fleet(), "n1", Kind::Client);
    assert_eq!(found.standing, Standing::Untrusted);
    check(
        &world,
        Verdict::Lapsed,
        &[Code::AuthorityGone],
        "join again",
    );
    assert_eq!(world.fleet().counts(Kind::Client).untrusted, 1);
    assert_eq!(world.fleet().counts(Kind::Serving).untrusted, 0);
    let lapses = world.forecast(1).lapses;
    assert_eq!((lapses.len(), lapses[0].has_lapsed), (1, true));
    // Whoever does not know the authorities says nothing of it.
    let mut blind = World::new();
    blind.facts = world.facts.clone();
    blind.facts.evidence.client_ca = Known::Hidden("forbidden".to_owned());
    check(&blind, Verdict::Renews, &[Code::Renews], "renews by itself");
    world.issued("n1", Kind::Client, days(0), days(100));
    check(&world, Verdict::Renews, &[Code::Renews], "renews by itself");
}

#[test]
fn a_log_tells_whom_a_dropped_authority_signed() {
    let mut world = World::new();
    let start = world.now() - days(10);
    let log = |world: &mut World, node: &str, start, key_id: String| {
        let end = start + days(100);
        let mut entry = super::world::entry(&format!("system:node:{node}"), start, end);
        entry.ca_ski = key_id;
        world.log(&entry);
    };
    let old = world.key_id();
    log(&mut world, "n1", start, old);
    world.replace_authority("2061-01-01T00:00:00Z");
    // It may be one in between, below the one that is trusted.
    check(&world, Verdict::Renews, &[Code::Renews], "renews by itself");
    let new = world.key_id();
    log(&mut world, "n2", start + days(1), new);
    check(
        &world,
        Verdict::Lapsed,
        &[Code::AuthorityGone],
        "join again",
    );
    let other = holding(&world.fleet(), "n2", Kind::Client);
    assert_eq!(other.standing, Standing::Fresh);
}

#[test]
fn a_certificate_of_tomorrow_speaks_of_a_clock() {
    let mut world = World::new();
    world.issued("n1", Kind::Client, days(-1), days(100));
    check(
        &world,
        Verdict::Renews,
        &[Code::ClockWrong],
        "begins only at 2030-07-02",
    );
}

#[test]
fn whoever_only_waits_for_a_first_certificate_is_not_known() {
    let mut world = World::new();
    let filed = world.now() - days(1);
    world.request("csr-new", "n1", Kind::Client, filed);
    check(
        &world,
        Verdict::Unknown,
        &[Code::Waits, Code::NotKnown],
        "csr/csr-new",
    );
    let forecast = world.forecast(365);
    assert_eq!((forecast.lapses.len(), forecast.unknown.len()), (0, 2));
}
