//! Sequences: what the machine does, step by step, against a lease that others change, too.

mod exclusion;
mod unsure;

use super::*;
use jiff::Timestamp;
use serde_json::json;

const RETRY: u64 = 2_000;

fn at(ms: u64) -> Now {
    let wall: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
    Now {
        monotonic: Monotonic::from_origin(Duration::from_millis(ms)),
        wall: wall + Duration::from_millis(ms),
    }
}

fn config(identity: &str) -> ElectionConfig {
    ElectionConfig {
        identity: identity.to_owned(),
        ..flags::ElectionOptions::default()
            .enter("unused", [7; 16])
            .unwrap()
    }
}

/// A lease in version `version`, held by `holder`, last renewed at `renewed`.
fn lease(holder: &str, version: u64, renewed: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": "kube-controller-manager", "namespace": "kube-system", "resourceVersion": version.to_string() },
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-11-20T09:00:00.000000Z",
            "renewTime": renewed,
            "leaseTransitions": 3,
        },
    })
}

/// One machine in a test's hands. Time is milliseconds since the start.
struct Driver {
    machine: Election,
    /// Everything but calls, so far.
    told: Vec<Effect>,
    call: Option<Call>,
}

impl Driver {
    fn new() -> Self {
        let mut driver = Self {
            machine: Election::new(config("us"), at(0)),
            told: Vec::new(),
            call: None,
        };
        driver.drain();
        assert_eq!(driver.take(), [Effect::Tell(Change::Attempting)]);
        driver.time(0);
        driver
    }

    /// Leads since 0, by a lease that it created; its version is 1.
    fn leading() -> Self {
        let mut driver = Self::new();
        driver.answer(0, Answer::Missing("not found".to_owned()));
        let Some(Call::Create(mut lease)) = driver.call.clone() else {
            panic!("{:?}", driver.call);
        };
        lease["metadata"]["resourceVersion"] = json!("1");
        driver.answer(0, Answer::Lease(lease));
        assert_eq!(driver.take(), [Effect::Tell(Change::Leading), Effect::Lead]);
        driver
    }

    fn drain(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Call(call, within) => {
                    assert_eq!(within, Duration::from_secs(5));
                    self.call = Some(call);
                }
                other => self.told.push(other),
            }
        }
    }

    fn event(&mut self, ms: u64, event: Event) {
        self.machine.handle_event(at(ms), event);
        self.drain();
    }

    fn answer(&mut self, ms: u64, answer: Answer) {
        assert!(self.call.take().is_some(), "no call is in flight");
        self.event(ms, Event::Answered(answer));
    }

    /// Answers the call in flight as a server that accepts it, with this version.
    fn accept(&mut self, ms: u64, version: u64) -> Value {
        let (Some(Call::Replace(mut lease)) | Some(Call::Create(mut lease))) = self.call.clone()
        else {
            panic!("no write is in flight: {:?}", self.call);
        };
        let sent = lease.clone();
        lease["metadata"]["resourceVersion"] = json!(version.to_string());
        self.answer(ms, Answer::Lease(lease));
        sent
    }

    fn time(&mut self, ms: u64) {
        self.machine.handle_timeout(at(ms));
        self.drain();
    }

    fn due(&self) -> Option<u64> {
        let due = self.machine.poll_timeout()?;
        let ms = due.since_origin().as_nanos().div_ceil(1_000_000);
        Some(u64::try_from(ms).unwrap())
    }

    /// Runs the attempt that is due and returns when it was.
    fn wake(&mut self) -> u64 {
        let due = self.due().unwrap();
        self.time(due);
        due
    }

    fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.told)
    }

    fn leads(&self, ms: u64) -> bool {
        self.machine.leads(at(ms).monotonic)
    }
}

fn failed(text: &str) -> Answer {
    Answer::Failed(text.to_owned())
}

fn conflict() -> Answer {
    Answer::Conflict("the object has been modified".to_owned())
}

fn lost(why: &str) -> Vec<Effect> {
    let why = why.to_owned();
    vec![
        Effect::Tell(Change::Lost { why: why.clone() }),
        Effect::End(Ending::Lost(why)),
    ]
}

#[test]
fn a_lease_that_is_missing_is_created_and_renewed_every_retry_period() {
    let mut driver = Driver::leading();
    assert!(driver.leads(0));
    for turn in 1..=3 {
        assert_eq!(driver.wake(), turn * RETRY);
        let sent = driver.accept(turn * RETRY, turn + 1);
        assert_eq!(sent["metadata"]["resourceVersion"], turn.to_string());
        assert_eq!(sent["spec"]["leaseTransitions"], 0);
        assert_eq!(sent["spec"]["acquireTime"], "2026-11-20T12:00:00.000000Z");
        let renewed = format!("2026-11-20T12:00:0{}.000000Z", turn * 2);
        assert_eq!(sent["spec"]["renewTime"], renewed);
    }
    assert_eq!(driver.take(), [], "renewing is nobody's news");
}

#[test]
fn another_holder_is_waited_for_and_told_once() {
    let mut driver = Driver::new();
    let mut now = 0;
    let mut waits = Vec::new();
    for turn in 0..50 {
        let renewed = format!("2026-11-20T12:00:{turn:02}Z");
        assert_eq!(driver.call, Some(Call::Read));
        driver.answer(now, Answer::Lease(lease("kcm", turn, &renewed)));
        let next = driver.wake();
        waits.push(next - now);
        now = next;
    }
    let holder = "kcm".to_owned();
    assert_eq!(driver.take(), [Effect::Tell(Change::Seen { holder })]);
    let range = RETRY..(RETRY * 22 / 10);
    assert!(waits.iter().all(|wait| range.contains(wait)), "{waits:?}");
    let (least, most) = (waits.iter().min(), waits.iter().max());
    assert!(least < Some(&2_500) && most > Some(&4_000), "{waits:?}");
}

#[test]
fn a_lease_is_free_once_it_did_not_change_for_as_long_as_it_promises() {
    // Years old by its own words, and in a future: neither means anything.
    for renewed in ["2016-01-01T00:00:00.000000Z", "2036-01-01T00:00:00.000000Z"] {
        let mut driver = Driver::new();
        driver.answer(100, Answer::Lease(lease("kcm", 1, renewed)));
        let now = loop {
            let now = driver.wake();
            // Only its metadata changes: nobody renews.
            driver.answer(now, Answer::Lease(lease("kcm", now, renewed)));
            if driver.call.is_some() {
                break now;
            }
            assert!(now < 20_000, "it is never taken");
        };
        assert!(now >= 15_100, "taken after {now} ms");
        let sent = driver.accept(now, now + 1);
        assert_eq!(sent["metadata"]["resourceVersion"], now.to_string());
        assert_eq!(sent["spec"]["leaseTransitions"], 4);
        assert_eq!(sent["spec"]["holderIdentity"], "us");
        assert!(driver.leads(now));
    }
}

#[test]
fn a_renewal_at_the_last_moment_starts_the_wait_anew() {
    let mut driver = Driver::new();
    driver.answer(0, Answer::Lease(lease("kcm", 1, "a")));
    driver.time(14_000);
    driver.answer(14_999, Answer::Lease(lease("kcm", 2, "b")));
    driver.time(29_000);
    driver.answer(29_998, Answer::Lease(lease("kcm", 2, "b")));
    assert_eq!(driver.call, None, "14.999 s since the change");
    driver.time(34_500);
    driver.answer(34_500, Answer::Lease(lease("kcm", 2, "b")));
    assert!(matches!(driver.call, Some(Call::Replace(_))));
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let mut driver = Driver::new();
    driver.answer(0, Answer::Lease(lease("kcm", 1, "a")));
    let now = driver.wake();
    driver.answer(now, Answer::Lease(lease("", 2, "b")));
    let sent = driver.accept(now, 3);
    assert_eq!(sent["spec"]["leaseTransitions"], 4);
    assert!(driver.leads(now));
}

#[test]
fn who_is_slower_stands_by_without_complaint() {
    let mut driver = Driver::new();
    driver.answer(0, Answer::Lease(lease("", 1, "a")));
    driver.answer(10, conflict());
    assert!(!driver.leads(10));
    let now = driver.wake();
    driver.answer(now, Answer::Lease(lease("other", 2, "b")));
    let holder = "other".to_owned();
    assert_eq!(driver.take(), [Effect::Tell(Change::Seen { holder })]);
    // The same with a lease that both want to create.
    let mut driver = Driver::new();
    driver.answer(0, Answer::Missing(String::new()));
    driver.answer(10, conflict());
    assert_eq!(driver.take(), []);
    assert!(driver.due().unwrap() >= 10 + RETRY);
}

#[test]
fn a_standby_says_once_why_it_cannot_see_the_lease() {
    let mut driver = Driver::new();
    let mut now = 0;
    for text in ["forbidden", "forbidden", "away", "away"] {
        driver.answer(now, failed(text));
        now = driver.wake();
    }
    driver.answer(now, Answer::Lease(lease("kcm", 1, "a")));
    let failing = |error: &str| {
        let error = error.to_owned();
        Effect::Tell(Change::Failing { error })
    };
    let holder = "kcm".to_owned();
    let expected = [
        failing("forbidden"),
        failing("away"),
        Effect::Tell(Change::Recovered),
        Effect::Tell(Change::Seen { holder }),
    ];
    assert_eq!(driver.take(), expected);
}

#[test]
fn a_server_that_is_away_costs_the_leadership_before_others_may_take_it() {
    let mut driver = Driver::leading();
    driver.wake();
    driver.accept(2_100, 2); // Sent at 2.0 s.
    let mut now;
    loop {
        now = driver.wake();
        if !driver.leads(now) {
            break;
        }
        // The optimistic write, then the read.
        driver.answer(now, failed("refused"));
        driver.answer(now, failed("refused"));
    }
    assert_eq!(now, 14_000, "12 s after the last good renewal was sent");
    let expected = [
        Effect::Tell(Change::SlowPath),
        Effect::Tell(Change::RenewalFailing {
            error: "refused".to_owned(),
            left: Duration::from_millis(9_900),
        }),
    ];
    let told = driver.take();
    assert_eq!(told[..2], expected);
    let news = told.iter().filter(|one| **one != expected[0]).count();
    assert_eq!(news, 3, "{told:?}");
    assert_eq!(
        told[told.len() - 2..],
        lost("the lease could not be renewed in time: refused")
    );
    assert_eq!(driver.due(), None);
}

#[test]
fn a_call_that_hangs_does_not_delay_the_end() {
    let mut driver = Driver::leading();
    driver.wake();
    assert_eq!(driver.due(), Some(12_000));
    driver.time(11_999);
    assert!(driver.leads(11_999));
    // The answer arrives, and says yes; but too late.
    driver.accept(12_000, 2);
    assert!(!driver.leads(12_000));
    assert_eq!(
        driver.take(),
        lost("the lease could not be renewed in time")
    );
    driver.event(12_001, Event::LoopsEnded);
    driver.event(12_002, Event::StopAsked);
    assert_eq!(
        (driver.take(), driver.call.take()),
        (vec![], None),
        "it is over"
    );
}

#[test]
fn a_slow_answer_counts_from_when_it_was_asked_for() {
    let mut driver = Driver::leading();
    driver.wake();
    driver.accept(6_900, 2);
    assert_eq!(driver.due(), Some(8_900));
    driver.wake();
    assert_eq!(driver.due(), Some(14_000), "2.0 + 12");
}

#[test]
fn a_short_outage_is_told_and_survived() {
    let mut driver = Driver::leading();
    driver.wake();
    driver.answer(2_000, failed("refused"));
    driver.answer(2_000, failed("refused"));
    assert_eq!(driver.wake(), 4_000);
    driver.accept(4_000, 2);
    assert_eq!(driver.take().last(), Some(&Effect::Tell(Change::Recovered)));
    assert_eq!(driver.wake(), 6_000);
    assert!(driver.leads(15_999));
    assert!(!driver.leads(16_000));
}

#[test]
fn a_lost_answer_is_found_out_by_reading() {
    let mut driver = Driver::leading();
    driver.wake();
    driver.answer(2_000, failed("reset"));
    assert_eq!(driver.call, Some(Call::Read));
    driver.answer(2_000, Answer::Lease(lease("us", 2, "x")));
    let sent = driver.accept(2_000, 3);
    assert_eq!(sent["metadata"]["resourceVersion"], "2");
    assert_eq!(sent["spec"]["leaseTransitions"], 3, "what the server had");
    assert!(driver.leads(2_000));
    // A claim whose answer was lost: the next attempt continues the term.
    let mut driver = Driver::new();
    driver.answer(0, Answer::Lease(lease("", 1, "a")));
    driver.answer(0, failed("reset"));
    let now = driver.wake();
    driver.answer(now, Answer::Lease(lease("us", 2, "b")));
    let sent = driver.accept(now, 3);
    assert_eq!(sent["spec"]["leaseTransitions"], 3);
    assert!(driver.leads(now));
}

#[test]
fn a_conflict_is_read_again_and_what_is_foreign_is_kept() {
    let mut driver = Driver::leading();
    driver.wake();
    driver.answer(2_000, conflict());
    let mut theirs = lease("us", 7, "x");
    theirs["metadata"]["labels"] = json!({ "team": "x" });
    theirs["spec"]["strategy"] = json!("OldestEmulationVersion");
    theirs["spec"]["preferredHolder"] = json!("kcm");
    theirs["spec"]["invented"] = json!(1);
    driver.answer(2_000, Answer::Lease(theirs.clone()));
    let sent = driver.accept(2_000, 8);
    theirs["spec"]["renewTime"] = json!("2026-11-20T12:00:02.000000Z");
    assert_eq!(sent, theirs);
    // And by the optimistic renewals after it.
    driver.wake();
    let sent = driver.accept(4_000, 9);
    assert_eq!(sent["spec"]["preferredHolder"], "kcm");
    assert_eq!(sent["spec"]["invented"], 1);
}

#[test]
fn another_holder_ends_a_leadership_at_once() {
    let mut driver = Driver::leading();
    driver.wake();
    driver.answer(2_000, conflict());
    driver.answer(2_000, Answer::Lease(lease("kcm", 7, "x")));
    assert!(!driver.leads(2_000));
    let told = driver.take();
    assert_eq!(told[1..], lost("kcm holds the lease now"));
}

#[test]
fn a_deleted_lease_is_put_back_by_its_holder() {
    let mut driver = Driver::leading();
    driver.wake();
    driver.answer(2_000, Answer::Missing("not found".to_owned()));
    driver.answer(2_000, Answer::Missing("not found".to_owned()));
    assert!(matches!(driver.call, Some(Call::Create(_))));
    let sent = driver.accept(2_000, 9);
    assert_eq!(sent["metadata"].get("resourceVersion"), None);
    assert_eq!(sent["spec"]["acquireTime"], "2026-11-20T12:00:00.000000Z");
    assert!(driver.leads(13_999));
    // Unless somebody else was faster.
    driver.wake();
    driver.answer(4_000, Answer::Missing("not found".to_owned()));
    driver.answer(4_000, Answer::Missing("not found".to_owned()));
    driver.answer(4_000, conflict());
    assert_eq!(driver.wake(), 6_000);
    driver.answer(6_000, conflict());
    driver.answer(6_000, Answer::Lease(lease("kcm", 12, "x")));
    assert!(!driver.leads(6_000));
}

#[test]
fn stopping_ends_the_loops_then_gives_the_lease_up() {
    let mut driver = Driver::leading();
    driver.wake();
    driver.event(2_500, Event::StopAsked);
    assert_eq!(driver.take(), [Effect::Finish]);
    // The renewal that was in flight; its answer is of no interest.
    driver.accept(2_600, 2);
    assert!(driver.leads(2_600), "the loops still write");
    driver.event(3_000, Event::LoopsEnded);
    assert!(!driver.leads(3_000));
    assert_eq!(driver.call, Some(Call::Read));
    driver.answer(3_000, Answer::Lease(lease("us", 2, "a")));
    driver.answer(3_000, conflict());
    driver.answer(3_000, Answer::Lease(lease("us", 3, "a")));
    let sent = driver.accept(3_000, 4);
    assert_eq!(sent["metadata"]["resourceVersion"], "3");
    assert_eq!(sent["spec"]["holderIdentity"], "");
    assert_eq!(sent["spec"]["leaseDurationSeconds"], 1);
    assert_eq!(sent["spec"]["leaseTransitions"], 3);
    let expected = [Effect::Tell(Change::Released), Effect::End(Ending::Stopped)];
    assert_eq!(driver.take(), expected);
}

#[test]
fn a_lease_of_somebody_else_is_not_given_up() {
    for answer in [
        Answer::Lease(lease("kcm", 2, "a")),
        Answer::Missing("not found".to_owned()),
    ] {
        let mut driver = Driver::leading();
        driver.event(1_000, Event::StopAsked);
        driver.event(1_000, Event::LoopsEnded);
        driver.take();
        driver.answer(1_000, answer);
        assert_eq!(driver.call, None);
        assert_eq!(driver.take(), [Effect::End(Ending::Stopped)]);
    }
}

#[test]
fn giving_up_does_not_take_for_ever() {
    let stop = |driver: &mut Driver| {
        driver.event(1_000, Event::StopAsked);
        driver.event(1_000, Event::LoopsEnded);
        driver.take();
    };
    let expected = |error: &str| {
        let error = error.to_owned();
        [
            Effect::Tell(Change::ReleaseFailed { error }),
            Effect::End(Ending::Stopped),
        ]
    };
    let mut driver = Driver::leading();
    stop(&mut driver);
    driver.answer(1_000, failed("refused"));
    assert_eq!(driver.take(), expected("refused"));
    let mut driver = Driver::leading();
    stop(&mut driver);
    assert_eq!(driver.wake(), 11_000);
    assert_eq!(driver.take(), expected("no answer in time"));
}

#[test]
fn loops_that_take_too_long_to_finish_are_cut_off() {
    let mut driver = Driver::leading();
    driver.event(1_000, Event::StopAsked);
    driver.take();
    assert_eq!(driver.wake(), 12_000);
    assert_eq!(
        driver.take(),
        lost("the lease could not be renewed in time")
    );
}

#[test]
fn loops_that_die_free_the_lease() {
    let mut driver = Driver::leading();
    driver.event(1_000, Event::LoopsEnded);
    driver.answer(1_000, Answer::Lease(lease("us", 1, "a")));
    let sent = driver.accept(1_000, 2);
    assert_eq!(sent["spec"]["holderIdentity"], "");
}

#[test]
fn a_standby_stops_without_a_trace() {
    let mut driver = Driver::new();
    driver.answer(0, Answer::Lease(lease("kcm", 1, "a")));
    driver.take();
    driver.event(1_000, Event::StopAsked);
    assert_eq!(driver.take(), [Effect::End(Ending::Stopped)]);
    assert_eq!((driver.call.take(), driver.due()), (None, None));
}

#[test]
fn wall_time_is_only_written() {
    let mut driver = Driver::leading();
    let mut now = at(2_000);
    for step in [-1_000_000_i64, 400_000_000, 0] {
        now.wall += jiff::SignedDuration::from_secs(step);
        driver.machine.handle_timeout(now);
        driver.drain();
        let ms = u64::try_from(now.monotonic.since_origin().as_millis()).unwrap();
        let sent = driver.accept(ms, ms);
        let renewed = everleaf_api::meta::format_micro_time(now.wall);
        assert_eq!(sent["spec"]["renewTime"], renewed);
        assert_eq!(driver.due(), Some(ms + RETRY));
        now.monotonic = now.monotonic + Duration::from_millis(RETRY);
    }
    assert_eq!(driver.take(), []);
}

#[test]
fn a_lease_duration_in_fractions_is_judged_as_the_lease_tells_it() {
    let mut config = config("us");
    config.lease_duration = Duration::from_millis(2_900);
    config.renew_deadline = Duration::from_millis(2_500);
    config.retry_period = Duration::from_millis(1_000);
    let mut machine = Election::new(config, at(0));
    machine.handle_timeout(at(0));
    machine.handle_event(at(0), Event::Answered(Answer::Missing(String::new())));
    let call = std::iter::from_fn(|| machine.poll_effect()).last();
    let Some(Effect::Call(Call::Create(lease), within)) = call else {
        panic!("{call:?}");
    };
    assert_eq!(within, Duration::from_millis(1_250));
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 2);
    machine.handle_event(at(0), Event::Answered(Answer::Lease(lease)));
    assert!(machine.leads(at(1_999).monotonic));
    assert!(
        !machine.leads(at(2_000).monotonic),
        "others may take it now"
    );
}
