//! Sequences: what the machine does, step by step, against a lease that others change, too.

mod exclusion;

use super::*;
use jiff::Timestamp;
use serde_json::json;

const RETRY: u64 = 2_000;

fn at(ms: u64) -> Now {
    let wall: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
    Now {
        uptime: Uptime::new(Duration::from_millis(ms)),
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
struct Bench {
    machine: Election,
    /// Everything but calls, so far.
    told: Vec<Effect>,
    call: Option<Call>,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self {
            machine: Election::new(config("us"), at(0)),
            told: Vec::new(),
            call: None,
        };
        bench.drain();
        assert_eq!(bench.take(), [Effect::Tell(Change::Attempting)]);
        bench.time(0);
        bench
    }

    /// Leads since 0, by a lease that it created; its version is 1.
    fn leading() -> Self {
        let mut bench = Self::new();
        bench.answer(0, Answer::Missing("not found".to_owned()));
        let Some(Call::Create(mut lease)) = bench.call.clone() else {
            panic!("{:?}", bench.call);
        };
        lease["metadata"]["resourceVersion"] = json!("1");
        bench.answer(0, Answer::Lease(lease));
        assert_eq!(bench.take(), [Effect::Tell(Change::Leading), Effect::Lead]);
        bench
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
        let ms = due.since_start().as_nanos().div_ceil(1_000_000);
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
        self.machine.leads(at(ms).uptime)
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
    let mut bench = Bench::leading();
    assert!(bench.leads(0));
    for turn in 1..=3 {
        assert_eq!(bench.wake(), turn * RETRY);
        let sent = bench.accept(turn * RETRY, turn + 1);
        assert_eq!(sent["metadata"]["resourceVersion"], turn.to_string());
        assert_eq!(sent["spec"]["leaseTransitions"], 0);
        assert_eq!(sent["spec"]["acquireTime"], "2026-11-20T12:00:00.000000Z");
        let renewed = format!("2026-11-20T12:00:0{}.000000Z", turn * 2);
        assert_eq!(sent["spec"]["renewTime"], renewed);
    }
    assert_eq!(bench.take(), [], "renewing is nobody's news");
}

#[test]
fn another_holder_is_waited_for_and_told_once() {
    let mut bench = Bench::new();
    let mut now = 0;
    let mut waits = Vec::new();
    for turn in 0..50 {
        let renewed = format!("2026-11-20T12:00:{turn:02}Z");
        assert_eq!(bench.call, Some(Call::Read));
        bench.answer(now, Answer::Lease(lease("kcm", turn, &renewed)));
        let next = bench.wake();
        waits.push(next - now);
        now = next;
    }
    let holder = "kcm".to_owned();
    assert_eq!(bench.take(), [Effect::Tell(Change::Seen { holder })]);
    let range = RETRY..(RETRY * 22 / 10);
    assert!(waits.iter().all(|wait| range.contains(wait)), "{waits:?}");
    let (least, most) = (waits.iter().min(), waits.iter().max());
    assert!(least < Some(&2_500) && most > Some(&4_000), "{waits:?}");
}

#[test]
fn a_lease_is_free_once_it_did_not_change_for_as_long_as_it_promises() {
    // Years old by its own words, and in a future: neither means anything.
    for renewed in ["2016-01-01T00:00:00.000000Z", "2036-01-01T00:00:00.000000Z"] {
        let mut bench = Bench::new();
        bench.answer(100, Answer::Lease(lease("kcm", 1, renewed)));
        let now = loop {
            let now = bench.wake();
            // Only its metadata changes: nobody renews.
            bench.answer(now, Answer::Lease(lease("kcm", now, renewed)));
            if bench.call.is_some() {
                break now;
            }
            assert!(now < 20_000, "it is never taken");
        };
        assert!(now >= 15_100, "taken after {now} ms");
        let sent = bench.accept(now, now + 1);
        assert_eq!(sent["metadata"]["resourceVersion"], now.to_string());
        assert_eq!(sent["spec"]["leaseTransitions"], 4);
        assert_eq!(sent["spec"]["holderIdentity"], "us");
        assert!(bench.leads(now));
    }
}

#[test]
fn a_renewal_at_the_last_moment_starts_the_wait_anew() {
    let mut bench = Bench::new();
    bench.answer(0, Answer::Lease(lease("kcm", 1, "a")));
    bench.time(14_000);
    bench.answer(14_999, Answer::Lease(lease("kcm", 2, "b")));
    bench.time(29_000);
    bench.answer(29_998, Answer::Lease(lease("kcm", 2, "b")));
    assert_eq!(bench.call, None, "14.999 s since the change");
    bench.time(34_500);
    bench.answer(34_500, Answer::Lease(lease("kcm", 2, "b")));
    assert!(matches!(bench.call, Some(Call::Replace(_))));
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let mut bench = Bench::new();
    bench.answer(0, Answer::Lease(lease("kcm", 1, "a")));
    let now = bench.wake();
    bench.answer(now, Answer::Lease(lease("", 2, "b")));
    let sent = bench.accept(now, 3);
    assert_eq!(sent["spec"]["leaseTransitions"], 4);
    assert!(bench.leads(now));
}

#[test]
fn who_is_slower_stands_by_without_complaint() {
    let mut bench = Bench::new();
    bench.answer(0, Answer::Lease(lease("", 1, "a")));
    bench.answer(10, conflict());
    assert!(!bench.leads(10));
    let now = bench.wake();
    bench.answer(now, Answer::Lease(lease("other", 2, "b")));
    let holder = "other".to_owned();
    assert_eq!(bench.take(), [Effect::Tell(Change::Seen { holder })]);
    // The same with a lease that both want to create.
    let mut bench = Bench::new();
    bench.answer(0, Answer::Missing(String::new()));
    bench.answer(10, conflict());
    assert_eq!(bench.take(), []);
    assert!(bench.due().unwrap() >= 10 + RETRY);
}

#[test]
fn a_standby_says_once_why_it_cannot_see_the_lease() {
    let mut bench = Bench::new();
    let mut now = 0;
    for text in ["forbidden", "forbidden", "away", "away"] {
        bench.answer(now, failed(text));
        now = bench.wake();
    }
    bench.answer(now, Answer::Lease(lease("kcm", 1, "a")));
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
    assert_eq!(bench.take(), expected);
}

#[test]
fn a_server_that_is_away_costs_the_leadership_before_others_may_take_it() {
    let mut bench = Bench::leading();
    bench.wake();
    bench.accept(2_100, 2); // Sent at 2.0 s.
    let mut now;
    loop {
        now = bench.wake();
        if !bench.leads(now) {
            break;
        }
        // The optimistic write, then the read.
        bench.answer(now, failed("refused"));
        bench.answer(now, failed("refused"));
    }
    assert_eq!(now, 14_000, "12 s after the last good renewal was sent");
    let expected = [
        Effect::Tell(Change::SlowPath),
        Effect::Tell(Change::RenewalFailing {
            error: "refused".to_owned(),
            left: Duration::from_millis(9_900),
        }),
    ];
    let told = bench.take();
    assert_eq!(told[..2], expected);
    let news = told.iter().filter(|one| **one != expected[0]).count();
    assert_eq!(news, 3, "{told:?}");
    assert_eq!(
        told[told.len() - 2..],
        lost("the lease could not be renewed in time: refused")
    );
    assert_eq!(bench.due(), None);
}

#[test]
fn a_call_that_hangs_does_not_delay_the_end() {
    let mut bench = Bench::leading();
    bench.wake();
    assert_eq!(bench.due(), Some(12_000));
    bench.time(11_999);
    assert!(bench.leads(11_999));
    // The answer arrives, and says yes; but too late.
    bench.accept(12_000, 2);
    assert!(!bench.leads(12_000));
    assert_eq!(bench.take(), lost("the lease could not be renewed in time"));
    bench.event(12_001, Event::LoopsEnded);
    bench.event(12_002, Event::StopAsked);
    assert_eq!(
        (bench.take(), bench.call.take()),
        (vec![], None),
        "it is over"
    );
}

#[test]
fn a_slow_answer_counts_from_when_it_was_asked_for() {
    let mut bench = Bench::leading();
    bench.wake();
    bench.accept(6_900, 2);
    assert_eq!(bench.due(), Some(8_900));
    bench.wake();
    assert_eq!(bench.due(), Some(14_000), "2.0 + 12");
}

#[test]
fn a_short_outage_is_told_and_survived() {
    let mut bench = Bench::leading();
    bench.wake();
    bench.answer(2_000, failed("refused"));
    bench.answer(2_000, failed("refused"));
    assert_eq!(bench.wake(), 4_000);
    bench.accept(4_000, 2);
    assert_eq!(bench.take().last(), Some(&Effect::Tell(Change::Recovered)));
    assert_eq!(bench.wake(), 6_000);
    assert!(bench.leads(15_999));
    assert!(!bench.leads(16_000));
}

#[test]
fn a_lost_answer_is_found_out_by_reading() {
    let mut bench = Bench::leading();
    bench.wake();
    bench.answer(2_000, failed("reset"));
    assert_eq!(bench.call, Some(Call::Read));
    bench.answer(2_000, Answer::Lease(lease("us", 2, "x")));
    let sent = bench.accept(2_000, 3);
    assert_eq!(sent["metadata"]["resourceVersion"], "2");
    assert_eq!(sent["spec"]["leaseTransitions"], 3, "what the server had");
    assert!(bench.leads(2_000));
    // A claim whose answer was lost: the next attempt continues the term.
    let mut bench = Bench::new();
    bench.answer(0, Answer::Lease(lease("", 1, "a")));
    bench.answer(0, failed("reset"));
    let now = bench.wake();
    bench.answer(now, Answer::Lease(lease("us", 2, "b")));
    let sent = bench.accept(now, 3);
    assert_eq!(sent["spec"]["leaseTransitions"], 3);
    assert!(bench.leads(now));
}

#[test]
fn a_conflict_is_read_again_and_what_is_foreign_is_kept() {
    let mut bench = Bench::leading();
    bench.wake();
    bench.answer(2_000, conflict());
    let mut theirs = lease("us", 7, "x");
    theirs["metadata"]["labels"] = json!({ "team": "x" });
    theirs["spec"]["strategy"] = json!("OldestEmulationVersion");
    theirs["spec"]["preferredHolder"] = json!("kcm");
    theirs["spec"]["invented"] = json!(1);
    bench.answer(2_000, Answer::Lease(theirs.clone()));
    let sent = bench.accept(2_000, 8);
    theirs["spec"]["renewTime"] = json!("2026-11-20T12:00:02.000000Z");
    assert_eq!(sent, theirs);
    // And by the optimistic renewals after it.
    bench.wake();
    let sent = bench.accept(4_000, 9);
    assert_eq!(sent["spec"]["preferredHolder"], "kcm");
    assert_eq!(sent["spec"]["invented"], 1);
}

#[test]
fn another_holder_ends_a_leadership_at_once() {
    let mut bench = Bench::leading();
    bench.wake();
    bench.answer(2_000, conflict());
    bench.answer(2_000, Answer::Lease(lease("kcm", 7, "x")));
    assert!(!bench.leads(2_000));
    let told = bench.take();
    assert_eq!(told[1..], lost("kcm holds the lease now"));
}

#[test]
fn a_deleted_lease_is_put_back_by_its_holder() {
    let mut bench = Bench::leading();
    bench.wake();
    bench.answer(2_000, Answer::Missing("not found".to_owned()));
    bench.answer(2_000, Answer::Missing("not found".to_owned()));
    assert!(matches!(bench.call, Some(Call::Create(_))));
    let sent = bench.accept(2_000, 9);
    assert_eq!(sent["metadata"].get("resourceVersion"), None);
    assert_eq!(sent["spec"]["acquireTime"], "2026-11-20T12:00:00.000000Z");
    assert!(bench.leads(13_999));
    // Unless somebody else was faster.
    bench.wake();
    bench.answer(4_000, Answer::Missing("not found".to_owned()));
    bench.answer(4_000, Answer::Missing("not found".to_owned()));
    bench.answer(4_000, conflict());
    assert_eq!(bench.wake(), 6_000);
    bench.answer(6_000, conflict());
    bench.answer(6_000, Answer::Lease(lease("kcm", 12, "x")));
    assert!(!bench.leads(6_000));
}

#[test]
fn stopping_ends_the_loops_then_gives_the_lease_up() {
    let mut bench = Bench::leading();
    bench.wake();
    bench.event(2_500, Event::StopAsked);
    assert_eq!(bench.take(), [Effect::Finish]);
    // The renewal that was in flight; its answer is of no interest.
    bench.accept(2_600, 2);
    assert!(bench.leads(2_600), "the loops still write");
    bench.event(3_000, Event::LoopsEnded);
    assert!(!bench.leads(3_000));
    assert_eq!(bench.call, Some(Call::Read));
    bench.answer(3_000, Answer::Lease(lease("us", 2, "a")));
    bench.answer(3_000, conflict());
    bench.answer(3_000, Answer::Lease(lease("us", 3, "a")));
    let sent = bench.accept(3_000, 4);
    assert_eq!(sent["metadata"]["resourceVersion"], "3");
    assert_eq!(sent["spec"]["holderIdentity"], "");
    assert_eq!(sent["spec"]["leaseDurationSeconds"], 1);
    assert_eq!(sent["spec"]["leaseTransitions"], 3);
    let expected = [Effect::Tell(Change::Released), Effect::End(Ending::Stopped)];
    assert_eq!(bench.take(), expected);
}

#[test]
fn a_lease_of_somebody_else_is_not_given_up() {
    for answer in [
        Answer::Lease(lease("kcm", 2, "a")),
        Answer::Missing("not found".to_owned()),
    ] {
        let mut bench = Bench::leading();
        bench.event(1_000, Event::StopAsked);
        bench.event(1_000, Event::LoopsEnded);
        bench.take();
        bench.answer(1_000, answer);
        assert_eq!(bench.call, None);
        assert_eq!(bench.take(), [Effect::End(Ending::Stopped)]);
    }
}

#[test]
fn giving_up_does_not_take_for_ever() {
    let stop = |bench: &mut Bench| {
        bench.event(1_000, Event::StopAsked);
        bench.event(1_000, Event::LoopsEnded);
        bench.take();
    };
    let expected = |error: &str| {
        let error = error.to_owned();
        [
            Effect::Tell(Change::ReleaseFailed { error }),
            Effect::End(Ending::Stopped),
        ]
    };
    let mut bench = Bench::leading();
    stop(&mut bench);
    bench.answer(1_000, failed("refused"));
    assert_eq!(bench.take(), expected("refused"));
    let mut bench = Bench::leading();
    stop(&mut bench);
    assert_eq!(bench.wake(), 11_000);
    assert_eq!(bench.take(), expected("no answer in time"));
}

#[test]
fn loops_that_take_too_long_to_finish_are_cut_off() {
    let mut bench = Bench::leading();
    bench.event(1_000, Event::StopAsked);
    bench.take();
    assert_eq!(bench.wake(), 12_000);
    assert_eq!(bench.take(), lost("the lease could not be renewed in time"));
}

#[test]
fn loops_that_die_free_the_lease() {
    let mut bench = Bench::leading();
    bench.event(1_000, Event::LoopsEnded);
    bench.answer(1_000, Answer::Lease(lease("us", 1, "a")));
    let sent = bench.accept(1_000, 2);
    assert_eq!(sent["spec"]["holderIdentity"], "");
}

#[test]
fn a_standby_stops_without_a_trace() {
    let mut bench = Bench::new();
    bench.answer(0, Answer::Lease(lease("kcm", 1, "a")));
    bench.take();
    bench.event(1_000, Event::StopAsked);
    assert_eq!(bench.take(), [Effect::End(Ending::Stopped)]);
    assert_eq!((bench.call.take(), bench.due()), (None, None));
}

#[test]
fn wall_time_is_only_written() {
    let mut bench = Bench::leading();
    let mut now = at(2_000);
    for step in [-1_000_000_i64, 400_000_000, 0] {
        now.wall += jiff::SignedDuration::from_secs(step);
        bench.machine.handle_timeout(now);
        bench.drain();
        let ms = u64::try_from(now.uptime.since_start().as_millis()).unwrap();
        let sent = bench.accept(ms, ms);
        let renewed = everleaf_api::meta::format_micro_time(now.wall);
        assert_eq!(sent["spec"]["renewTime"], renewed);
        assert_eq!(bench.due(), Some(ms + RETRY));
        now.uptime = now.uptime + Duration::from_millis(RETRY);
    }
    assert_eq!(bench.take(), []);
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
    assert!(machine.leads(at(1_999).uptime));
    assert!(!machine.leads(at(2_000).uptime), "others may take it now");
}
