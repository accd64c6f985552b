//! What is asked of the API server, and told, on the strength of a decision.

use super::*;
use crate::attempt::{self, Task};
use crate::call::CallError;
use crate::config::{Config, Loop};
use crate::core::Core;
use crate::follower::Delta;
use crate::issuers::{Issuers, Terms};
use crate::notice::Notice;
use crate::queue::{Next, Outcome};
use bytes::Bytes;
use everleaf_time::{Monotonic, Now};
use std::collections::{BTreeMap, BTreeSet};

fn core(policies: PolicySet) -> Core {
    let config = Config {
        loops: BTreeSet::from([Loop::ServingApprover]),
        ..Config::new()
    };
    let (issuers, _) = Issuers::load(&BTreeMap::new(), Terms::of(&config)).unwrap();
    let core = Core::new(&config, issuers, policies);
    for source in Source::ALL {
        core.take_cluster(source, Delta::ListBegins, at(0));
        if source == Source::Nodes {
            let object = node("n1", &["10.0.0.1"]);
            core.take_cluster(source, Delta::Put(object), at(0));
        }
        core.take_cluster(source, Delta::ListEnds, at(0));
    }
    core
}

fn at(seconds: u64) -> Now {
    Now {
        wall: now(),
        monotonic: Monotonic::from_origin(Duration::from_secs(seconds)),
    }
}

fn put(core: &Core, request: Fixture, name: &str, now: Now) {
    let mut object = request.object();
    object["metadata"]["name"] = json!(name);
    object["metadata"]["uid"] = json!(format!("uid of {name}"));
    core.take(Delta::Put(object), now);
}

/// Works on whatever is ready, with a server that agrees; what was asked and told, in words.
fn work(core: &Core, now: Now) -> Vec<String> {
    let mut words = Vec::new();
    while let (Next::Ready { key, .. }, _) = core.next(Task::Approve, now.monotonic) {
        let mut attempt = core.begin(Task::Approve, &key, now.monotonic);
        let outcome = loop {
            match attempt.step(core, now) {
                attempt::Step::Done(outcome) => break outcome,
                attempt::Step::Look(look) => attempt.looked(look.in_vain()),
                attempt::Step::Log(_) => attempt.logged(Ok(()), core, now),
                attempt::Step::Tell(notice) => words.push(told(&notice)),
                attempt::Step::Call(call) => {
                    let is_event = call.path.ends_with("/events");
                    words.push(asked(call.body.as_ref().unwrap(), is_event));
                    // Whether an Event could be left changes nothing.
                    let answer = match is_event {
                        true => Err(CallError::Unreachable("away".to_owned())),
                        false => Ok(Bytes::new()),
                    };
                    attempt.answer(&answer, core, now);
                }
            }
        };
        words.push(match outcome {
            Outcome::After(delay) => format!("again in {} s", delay.as_secs()),
            Outcome::Finished => "done".to_owned(),
            Outcome::Failed { .. } => "failed".to_owned(),
        });
        core.done(Task::Approve, &key, outcome, now.monotonic);
    }
    words
}

/// What a rule needs to see is looked at once; the request is decided again by what was seen.
#[test]
fn a_look_is_asked_for_and_decides() {
    let check = policy::DnsCheck {
        servers: Vec::new(),
        timeout: Duration::from_secs(1),
    };
    let core = core(policy(|policy| policy.dns_resolution = Some(check)));
    for (name, addresses, expected) in [("a", "10.0.0.1", "Approved"), ("b", "10.0.0.9", "Denied")]
    {
        put(&core, good(), name, at(1));
        let mut attempt = core.begin(Task::Approve, name, at(1).monotonic);
        let attempt::Step::Look(look) = attempt.step(&core, at(1)) else {
            panic!("no look");
        };
        assert!(matches!(&*look, Look::Names { names, .. } if names.contains("n1")));
        let resolved = Resolved {
            addresses: BTreeSet::from([addresses.parse().unwrap()]),
            ..Resolved::default()
        };
        attempt.looked(Saw::Names(BTreeMap::from([("n1".to_owned(), resolved)])));
        let attempt::Step::Call(call) = attempt.step(&core, at(1)) else {
            panic!("no call");
        };
        let words = asked(call.body.as_ref().unwrap(), false);
        assert!(words.starts_with(expected), "{words}");
    }
    // One whom nobody answers is tried again.
    put(&core, good(), "c", at(1));
    let words = work(&core, at(1));
    assert!(words.contains(&"told waiting S19".to_owned()), "{words:?}");
}

fn told(notice: &Notice) -> String {
    match notice {
        Notice::Approved { rule, .. } => format!("told {rule}"),
        Notice::Judged {
            judgement, rule, ..
        } => format!(
            "told {} {}",
            judgement.label(),
            rule.map_or("all", Rule::id)
        ),
        other => format!("{other:?}"),
    }
}

fn asked(body: &Value, is_event: bool) -> String {
    let condition = &body["status"]["conditions"][0];
    match is_event {
        true => format!("event {}", body["reason"].as_str().unwrap()),
        false => format!(
            "{} {}",
            condition["type"].as_str().unwrap(),
            condition["reason"].as_str().unwrap()
        ),
    }
}

#[test]
fn an_approval_is_written_told_and_noted() {
    let core = core(PolicySet::default());
    put(&core, good(), "a", at(1));
    let expected = [
        "Approved EverleafPolicyApproved",
        "told kubelet_serving",
        "event CSRApproved",
        "done",
    ];
    assert_eq!(work(&core, at(1)), expected);
}

#[test]
fn a_denial_is_written_told_and_noted() {
    let core = core(PolicySet::default());
    put(&core, good().dns("localhost"), "a", at(1));
    let expected = [
        "Denied EverleafPolicyDenied",
        "told denied S11",
        "event CSRDenied",
        "done",
    ];
    assert_eq!(work(&core, at(1)), expected);
}

/// What is waited for is told once, and looked at again at once when the Node changes.
#[test]
fn a_wait_is_told_once_and_ends_with_the_node() {
    let core = core(PolicySet::default());
    put(&core, good().ip("10.0.0.9"), "a", at(1));
    let first = ["told waiting S15", "event CSRWaiting", "again in 30 s"];
    assert_eq!(work(&core, at(1)), first);
    assert!(work(&core, at(30)).is_empty());
    assert_eq!(work(&core, at(31)), ["again in 30 s"]);
    let object = node("n1", &["10.0.0.1", "10.0.0.9"]);
    let woken = core.take_cluster(Source::Nodes, Delta::Put(object.clone()), at(32));
    assert_eq!(woken, Some(Task::Approve));
    assert_eq!(work(&core, at(32))[0], "Approved EverleafPolicyApproved");
    let again = core.take_cluster(Source::Nodes, Delta::Put(object), at(33));
    assert_eq!(again, None, "nothing changed");
}

#[test]
fn a_wait_ends_in_a_denial() {
    let core = core(PolicySet::default());
    put(&core, good().ip("10.0.0.9"), "a", at(1));
    work(&core, at(1));
    assert_eq!(work(&core, at(590)), ["again in 11 s"]);
    assert_eq!(work(&core, at(601))[0], "Denied EverleafPolicyDenied");
}

#[test]
fn a_dry_run_tells_and_asks_nothing() {
    let core = core(policy(|policy| policy.mode = Mode::DryRun));
    put(&core, good(), "a", at(1));
    assert_eq!(work(&core, at(1)), ["told would_approve all", "done"]);
    put(&core, good().dns("localhost"), "b", at(1));
    assert_eq!(work(&core, at(1)), ["told would_deny S11", "done"]);
    put(&core, good().ip("10.0.0.9"), "c", at(1));
    assert_eq!(work(&core, at(1)), ["told waiting S15", "again in 30 s"]);
}

/// What only a person can decide is left Pending, and an Event says why.
#[test]
fn what_is_left_to_a_person_is_noted() {
    let core = core(policy(|policy| policy.on_violation = OnViolation::Abstain));
    put(&core, good().dns("localhost"), "a", at(1));
    assert_eq!(
        work(&core, at(1)),
        ["told left S11", "event CSRWaiting", "done"]
    );
    put(&core, good().approved(), "a", at(2));
    assert!(work(&core, at(2)).is_empty());
}

/// A flood of one node waits; another node does not.
#[test]
fn a_flood_of_one_node_waits() {
    let core = core(PolicySet::default());
    core.take_cluster(Source::Nodes, Delta::Put(node("n2", &["10.0.0.2"])), at(0));
    for number in 0..20 {
        put(&core, good(), &format!("csr-{number:02}"), at(1));
        // Issued at once, as by a signer: the next one is the node's only request.
        let words = work(&core, at(1));
        let is_first = number < 6;
        let approved = words[0] == "Approved EverleafPolicyApproved";
        assert_eq!(approved, is_first, "{number}: {words:?}");
        put(&core, good().approved(), &format!("csr-{number:02}"), at(1));
    }
    put(&core, kubelet_serving("n2").ip("10.0.0.2"), "other", at(2));
    assert_eq!(work(&core, at(2))[0], "Approved EverleafPolicyApproved");
}

#[test]
fn other_requests_are_not_its_business() {
    let core = core(PolicySet::default());
    put(&core, crate::fixture::kubelet_client("n1"), "a", at(1));
    let words = work(&core, at(1));
    assert_eq!(words.last().unwrap(), "done", "{words:?}");
    assert!(
        words.iter().all(|word| !word.starts_with("Approved")),
        "{words:?}"
    );
}
