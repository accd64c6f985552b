use super::*;
use jiff::Timestamp;

const FIRST: Fingerprint = Fingerprint::new([1; 32]);
const SECOND: Fingerprint = Fingerprint::new([2; 32]);

/// A node in good order, and one that nobody lets in.
const GOOD: Facts = Facts {
    leaf: FIRST,
    is_confirmed: true,
    is_stuck: false,
};
const LOST: Facts = Facts {
    leaf: FIRST,
    is_confirmed: false,
    is_stuck: true,
};

fn at(seconds: u64) -> Monotonic {
    Monotonic::from_origin(Duration::from_secs(seconds))
}

fn server_time() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn answer(object: Value) -> Result<Answer, Failure> {
    Ok(Answer {
        object,
        server_time: Some(server_time()),
    })
}

fn registered(state: &str) -> Result<Answer, Failure> {
    answer(json!({"state": state, "recoveriesLeft": 3}))
}

fn recovered(state: &str) -> Result<Answer, Failure> {
    let expires = "2030-01-01T00:05:00Z";
    answer(json!({"state": state, "recoveriesLeft": 2, "token": "t0ken", "tokenExpires": expires}))
}

fn failure(class: FailureClass, message: &str) -> Result<Answer, Failure> {
    Err(Failure {
        class,
        ..Failure::unreachable(message)
    })
}

/// Knocks, and returns what is sent.
fn knock(machine: &mut LateReissue, facts: Facts, seconds: u64, name: &str) -> Option<Value> {
    let knock = machine.begin(facts, at(seconds), || name.to_owned())?;
    let call = knock.call();
    assert_eq!((call.method, call.path.as_str()), (Method::POST, PATH));
    // It must be on disk by then.
    let kept = Kept::read(machine.kept().text().as_bytes()).unwrap();
    assert_eq!(
        kept.attempt.as_deref(),
        call.body.as_ref().unwrap()["attempt"].as_str()
    );
    call.body
}

#[test]
fn it_registers_once_for_each_certificate() {
    let mut machine = LateReissue::default();
    let unconfirmed = Facts {
        is_confirmed: false,
        ..GOOD
    };
    assert_eq!(machine.wake(unconfirmed), None);
    let body = knock(&mut machine, GOOD, 0, "a").unwrap();
    assert_eq!(body, json!({"attempt": "a"}), "there is no state yet");
    assert_eq!(knock(&mut machine, GOOD, 1, "b"), None, "it is under way");
    let heard = machine.take(registered("s1"), at(1));
    assert_eq!(heard, Heard::Registered { recoveries_left: 3 });
    assert_eq!(machine.wake(GOOD), None);
    // It knows that after a restart, too.
    let mut machine = LateReissue::new(machine.kept().clone());
    assert_eq!(machine.wake(GOOD), None);
    let renewed = Facts {
        leaf: SECOND,
        ..GOOD
    };
    let body = knock(&mut machine, renewed, 2, "b").unwrap();
    assert_eq!(body, json!({"attempt": "b", "state": "s1"}));
}

#[test]
fn an_attempt_keeps_its_name_until_its_answer_is_kept() {
    let mut machine = LateReissue::default();
    knock(&mut machine, GOOD, 0, "a").unwrap();
    machine.take(failure(FailureClass::Unreachable, "lost"), at(1));
    // The agent dies, and its certificate ends.
    let mut machine = LateReissue::new(machine.kept().clone());
    let body = knock(&mut machine, LOST, 2, "b").unwrap();
    assert_eq!(body["attempt"], "a");
    let heard = machine.take(recovered("s2"), at(3));
    assert_eq!(heard, Heard::Recovered { recoveries_left: 2 });
    // What was answered to a recovery is not kept: the registration brings it again.
    assert_eq!(machine.kept().state, None);
    let renewed = Facts {
        leaf: SECOND,
        ..GOOD
    };
    let mut machine = LateReissue::new(machine.kept().clone());
    let body = knock(&mut machine, renewed, 4, "c").unwrap();
    assert_eq!(body["attempt"], "a");
    machine.take(registered("s2"), at(5));
    assert_eq!(machine.kept().state.as_deref(), Some("s2"));
    assert_eq!(machine.kept().attempt, None);
}

#[test]
fn a_token_lasts_as_long_as_the_server_says_and_no_longer_than_it_is_needed() {
    let mut machine = LateReissue::default();
    knock(&mut machine, LOST, 0, "a").unwrap();
    machine.take(recovered("s"), at(10));
    let token = |machine: &LateReissue, seconds| {
        machine
            .token(at(seconds))
            .map(|token| token.expose().to_owned())
    };
    assert_eq!(token(&machine, 10).as_deref(), Some("t0ken"));
    assert!(!format!("{machine:?}").contains("t0ken"));
    assert_eq!(token(&machine, 309).as_deref(), Some("t0ken"));
    assert_eq!(token(&machine, 310), None);
    // At its wits' end again before that: another one, after a pause.
    assert_eq!(knock(&mut machine, LOST, 39, "b"), None);
    knock(&mut machine, LOST, 40, "b").unwrap();
    machine.take(recovered("s"), at(41));
    let renewed = Facts {
        leaf: SECOND,
        ..GOOD
    };
    knock(&mut machine, renewed, 42, "b").expect("it is back, and waits for nothing");
    machine.take(registered("s"), at(43));
    assert_eq!(token(&machine, 44), None);
}

#[test]
fn what_a_refusal_means() {
    use FailureClass::{
        Forbidden, NotAnApi, NotFound, Rejected, ServerError, TooManyRequests, Unauthorized,
        Unreachable,
    };
    let ours = "forbidden: late re-issue of n1: the node is locked: two copies";
    let theirs = "forbidden: User \"system:node:n1\" cannot post path \"/pki/late-reissue\"";
    for (class, message, when_good, when_late) in [
        (Forbidden, ours, "refused", "refused"),
        (Forbidden, theirs, "not_offered", "not_offered"),
        (NotFound, "", "not_offered", "not_offered"),
        (NotAnApi, "", "not_offered", "not_offered"),
        (Rejected, "405", "not_offered", "not_offered"),
        (Unauthorized, "Unauthorized", "disturbed", "not_offered"),
        (TooManyRequests, "", "disturbed", "disturbed"),
        (ServerError, "", "disturbed", "disturbed"),
        (Unreachable, "", "disturbed", "disturbed"),
    ] {
        for (facts, expected) in [(GOOD, when_good), (LOST, when_late)] {
            let mut machine = LateReissue::default();
            knock(&mut machine, facts, 0, "a").unwrap();
            let heard = machine.take(failure(class, message), at(1));
            assert_eq!(heard.as_str(), expected, "{class:?} {message}");
            assert!(Heard::RESULTS.contains(&heard.as_str()));
            let is_final = facts == LOST && expected != "disturbed";
            assert_eq!(heard.needs_operator(), is_final, "{heard:?}");
        }
    }
    let mut machine = LateReissue::default();
    knock(&mut machine, GOOD, 0, "a").unwrap();
    let heard = machine.take(answer(json!({"kind": "Status"})), at(1));
    assert_eq!(heard.as_str(), "disturbed");
    assert_eq!(machine.kept().state, None);
}

/// Pauses double; that of a registration does not hold up a node that is lost.
#[test]
fn it_goes_on_knocking_ever_more_slowly() {
    let lost = || failure(FailureClass::Unreachable, "lost");
    let mut pauses = [GOOD, LOST].map(|facts| {
        let mut machine = LateReissue::default();
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            knock(&mut machine, facts, now, "a").expect("it is due");
            machine.take(lost(), at(now));
            let due = machine.wake(facts).unwrap().since(at(now)).as_secs();
            assert_eq!(knock(&mut machine, facts, now + due - 1, "a"), None);
            pauses.push(due);
            now += due;
        }
        pauses
    });
    assert_eq!(pauses[0], [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
    assert_eq!(pauses[1], [30, 60, 120, 240, 480, 600, 600, 600, 600]);
    pauses[0].clear();
    let mut machine = LateReissue::default();
    knock(&mut machine, GOOD, 0, "a").unwrap();
    machine.take(lost(), at(0));
    knock(&mut machine, LOST, 1, "a").expect("at once");
    machine.give_up(at(1));
    assert!(machine.wake(LOST).is_some_and(|due| due > at(1)));
}

#[test]
fn what_is_on_disk_is_read_or_begun_anew() {
    let kept = Kept {
        state: Some("s".to_owned()),
        attempt: Some("a".to_owned()),
        certificate: Some(FIRST.to_string()),
    };
    assert_eq!(Kept::read(kept.text().as_bytes()).unwrap(), kept);
    assert_eq!(Kept::read(b"{}").unwrap(), Kept::default());
    for torn in ["", "{\"state\": \"s", "[]x", "\u{0}"] {
        assert!(Kept::read(torn.as_bytes()).is_err(), "{torn}");
    }
}
