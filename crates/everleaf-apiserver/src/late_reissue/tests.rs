//! The rules against an honest node that loses answers, and against whoever has a copy of it.

use super::*;
use crate::fixture::Shelf;
use proptest::prelude::*;
use serde_json::json;

const POLICY: Policy = Policy {
    age_max: SignedDuration::from_hours(24 * 365),
    recoveries_max: 3,
};

/// Days since the beginning.
fn day(days: i64) -> Timestamp {
    let origin: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    origin + SignedDuration::from_hours(24 * days)
}

/// One copy of a node: its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Copy {
    state: String,
    attempt: Option<String>,
    /// The certificate, and the day on which it ends.
    leaf: String,
    ends: i64,
}

/// What a copy hears.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    State(String),
    Token,
    Refused(&'static str),
}

/// The server, which has one node, `n1`.
#[derive(Default)]
struct Server {
    record: Option<Record>,
    attempts: u32,
}

impl Server {
    /// A copy knocks; the answer is on its way.
    fn knock(&mut self, copy: &mut Copy, today: i64) -> Answer {
        self.knock_as(copy, today, "uid")
    }

    fn knock_as(&mut self, copy: &mut Copy, today: i64, uid: &str) -> Answer {
        self.attempts += 1;
        let name = format!("attempt {}", self.attempts);
        let attempt = digest(copy.attempt.get_or_insert(name));
        let knock = Knock {
            node: "n1",
            node_uid: uid,
            leaf: &copy.leaf,
            not_before: day(copy.ends - 10),
            not_after: day(copy.ends),
            state: &copy.state,
            attempt: &attempt,
            fresh_key: "5eed",
        };
        match decide(self.record.as_ref(), &knock, &POLICY, day(today)) {
            Decision::Registered(record) => {
                let state = record.state("n1");
                self.record = Some(record);
                Answer::State(state)
            }
            Decision::Recovered { record, .. } => {
                self.record = Some(record);
                Answer::Token
            }
            Decision::Locked(record) => {
                self.record = Some(record);
                Answer::Refused("newly locked")
            }
            Decision::Refused(refusal) => Answer::Refused(refusal.word()),
        }
    }

    fn record(&self) -> &Record {
        self.record.as_ref().expect("a record")
    }

    /// A node that registered on the first day, with a certificate until the tenth.
    fn with_node() -> (Self, Copy) {
        let mut server = Self::default();
        let mut node = Copy {
            state: String::new(),
            attempt: None,
            leaf: "first".to_owned(),
            ends: 10,
        };
        server.register(&mut node, 0);
        (server, node)
    }

    /// Registers, and keeps the answer.
    #[track_caller]
    fn register(&mut self, copy: &mut Copy, today: i64) {
        let answer = self.knock(copy, today);
        let Answer::State(state) = answer else {
            panic!("{answer:?}");
        };
        copy.state = state;
        copy.attempt = None;
    }

    /// Recovers, is issued another certificate, and registers with it.
    #[track_caller]
    fn come_back(&mut self, copy: &mut Copy, today: i64) {
        assert_eq!(self.knock(copy, today), Answer::Token);
        copy.renew(today);
        self.register(copy, today);
    }
}

impl Copy {
    fn renew(&mut self, today: i64) {
        self.leaf = format!("{} and of day {today}", self.leaf);
        self.ends = today + 10;
    }
}

#[test]
fn a_node_comes_back_as_often_as_it_may() {
    let (mut server, mut node) = Server::with_node();
    for (days, count) in [(100, 1), (200, 2), (300, 3)] {
        server.come_back(&mut node, days);
        assert_eq!(server.record().recoveries, count);
    }
    assert_eq!(server.knock(&mut node, 400), Answer::Refused("exhausted"));
    // An operator sets its count back.
    server.record.as_mut().unwrap().recoveries = 0;
    server.come_back(&mut node, 400);
}

#[test]
fn a_certificate_may_not_have_ended_too_long_ago() {
    let (server, node) = Server::with_node();
    for (today, expected) in [
        (9, None),
        (10, None),
        (11, Some(Answer::Token)),
        (10 + 365, Some(Answer::Token)),
        (10 + 366, Some(Answer::Refused("too_old"))),
        (10 + 5 * 365, Some(Answer::Refused("too_old"))),
    ] {
        let mut server = Server {
            record: server.record.clone(),
            attempts: 0,
        };
        let answer = server.knock(&mut node.clone(), today);
        // By whatever clock the node came: while it is good, there is no token.
        match expected {
            None => assert!(matches!(answer, Answer::State(_)), "{today}: {answer:?}"),
            Some(expected) => assert_eq!(answer, expected, "{today}"),
        }
    }
}

/// The answer is lost after the server has stored its part, at each step.
#[test]
fn an_answer_may_be_lost_at_each_step() {
    // Of a registration, while the certificate is good.
    let (mut server, mut node) = Server::with_node();
    node.renew(5);
    assert!(matches!(server.knock(&mut node, 5), Answer::State(_)));
    server.register(&mut node, 6);
    // Of a registration, and the node is off until its certificate has ended.
    node.renew(12);
    assert!(matches!(server.knock(&mut node, 12), Answer::State(_)));
    let counter = server.record().counter;
    // Of a recovery, twice: that is one.
    for _ in 0..3 {
        assert_eq!(server.knock(&mut node, 100), Answer::Token);
    }
    assert_eq!(server.record().recoveries, 1);
    assert_eq!(server.record().counter, counter);
    // And of the registration that follows; then it goes on as ever.
    node.renew(100);
    assert!(matches!(server.knock(&mut node, 100), Answer::State(_)));
    server.register(&mut node, 101);
    server.come_back(&mut node, 200);
    assert_eq!(server.record().recoveries, 2);
}

#[test]
fn a_copy_that_comes_after_the_node_locks_itself_out() {
    // The node has renewed since.
    let (mut server, mut node) = Server::with_node();
    let mut thief = node.clone();
    node.renew(5);
    server.register(&mut node, 5);
    assert_eq!(
        server.knock(&mut thief, 20),
        Answer::Refused("newly locked")
    );
    assert!(!server.record().must_revoke, "the node is in good order");
    assert_eq!(server.knock(&mut thief, 20), Answer::Refused("locked"));
    assert_eq!(server.knock(&mut node, 20), Answer::Refused("locked"));
    // The node has come back late since: it may have been the thief.
    let (mut server, mut node) = Server::with_node();
    let mut thief = node.clone();
    server.come_back(&mut node, 20);
    assert_eq!(
        server.knock(&mut thief, 20),
        Answer::Refused("newly locked")
    );
    assert!(server.record().must_revoke);
}

#[test]
fn a_copy_that_comes_before_the_node_is_locked_when_the_node_comes() {
    for registers in [false, true] {
        let (mut server, mut node) = Server::with_node();
        let mut thief = node.clone();
        assert_eq!(server.knock(&mut thief, 20), Answer::Token);
        if registers {
            thief.renew(20);
            server.register(&mut thief, 20);
        }
        assert_eq!(server.knock(&mut node, 21), Answer::Refused("newly locked"));
        assert!(server.record().must_revoke);
        assert_eq!(server.record().token, "", "no token outlives it");
        assert_eq!(server.knock(&mut thief, 21), Answer::Refused("locked"));
    }
}

/// The copy has the attempt's name, too: both go on for one step, then they part.
#[test]
fn a_copy_made_between_question_and_answer_parts_with_the_next_step() {
    let (mut server, mut node) = Server::with_node();
    assert_eq!(server.knock(&mut node, 20), Answer::Token);
    let mut thief = node.clone();
    node.renew(20);
    server.register(&mut node, 20);
    // Its certificate is not the one with which the last step was made.
    assert_eq!(
        server.knock(&mut thief, 20),
        Answer::Refused("newly locked")
    );
}

#[test]
fn two_at_once_are_one_after_the_other() {
    let (mut server, node) = Server::with_node();
    let (mut one, mut other) = (node.clone(), node);
    assert_eq!(server.knock(&mut one, 20), Answer::Token);
    assert_eq!(
        server.knock(&mut other, 20),
        Answer::Refused("newly locked")
    );
}

#[test]
fn who_has_the_key_and_no_join_state_comes_to_nothing_and_locks_nobody() {
    let (mut server, mut node) = Server::with_node();
    let state = node.state.clone();
    let mut words: Vec<String> = state.split('.').map(str::to_owned).collect();
    words[1] = "2".to_owned();
    let raised = words.join(".");
    let long = "1".repeat(3000);
    let of_other = server.record().state("n2");
    for forged in [
        "", "v1", "v1.1", "v1.1.", "v1.1.zz", "v1.x.00", "v2.1.00", &raised, &of_other,
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([
        long,
        format!("{state}.1"),
        state.replace("v1", "v2"),
        format!("{state}00"),
    ]) {
        let mut thief = Copy {
            state: forged.clone(),
            ..node.clone()
        };
        let answer = server.knock(&mut thief, 20);
        assert_eq!(answer, Answer::Refused("unknown_state"), "{forged:?}");
    }
    server.come_back(&mut node, 20);
}

#[test]
fn another_node_of_the_same_name_is_another_node() {
    let (mut server, mut node) = Server::with_node();
    let answer = server.knock_as(&mut node.clone(), 20, "uid of the next");
    assert_eq!(answer, Answer::Refused("other_node"));
    // While its certificate is good, it begins anew.
    let answer = server.knock_as(&mut node.clone(), 5, "uid of the next");
    assert!(matches!(answer, Answer::State(_)));
    assert_eq!(server.record().node_uid, "uid of the next");
    assert_eq!(server.knock(&mut node, 20), Answer::Refused("other_node"));
    server.record = None;
    assert_eq!(server.knock(&mut node, 20), Answer::Refused("unregistered"));
}

/// A node that was made anew, with a bootstrap token, has no join state.
#[test]
fn a_node_may_begin_anew_with_a_good_certificate_and_an_older_copy_is_noticed() {
    let (mut server, node) = Server::with_node();
    let mut anew = Copy {
        state: String::new(),
        attempt: None,
        leaf: "of another disk".to_owned(),
        ends: 30,
    };
    server.register(&mut anew, 20);
    assert_eq!(
        server.knock(&mut node.clone(), 20),
        Answer::Refused("newly locked")
    );
    assert!(!server.record().must_revoke);
}

/// From a backup: what the node holds is newer, and only this server can have made it.
#[test]
fn a_server_that_was_put_back_lets_its_nodes_in() {
    let (mut server, mut node) = Server::with_node();
    let backup = server.record.clone();
    for days in [5, 12] {
        node.renew(days);
        server.register(&mut node, days);
    }
    server.record = backup;
    server.come_back(&mut node, 100);
    node.renew(105);
    server.register(&mut node, 105);
}

#[test]
fn a_record_survives_being_a_secret() {
    let (mut server, mut node) = Server::with_node();
    server.come_back(&mut node, 20);
    let record = Record {
        token: digest("t"),
        token_until: Some(day(20)),
        locked: "why".to_owned(),
        must_revoke: true,
        ..server.record().clone()
    };
    let secret = record.to_secret("n1", None);
    assert_eq!(Record::of_secret(&secret), Some(record.clone()));
    let labelled = json!({"metadata": {"labels": {"a": "b"}}, "type": "everleaf.io/late-reissue"});
    let secret = record.to_secret("n1", Some(&labelled));
    assert_eq!(secret["metadata"]["labels"]["a"], "b");
    // What an operator may have made of it never lets more nodes in.
    let mut broken = secret.clone();
    broken["data"]["recoveries"] = "%%".into();
    assert_eq!(Record::of_secret(&broken).unwrap().recoveries, u32::MAX);
    for missing in ["key", "counter"] {
        let mut broken = secret.clone();
        broken["data"].as_object_mut().unwrap().remove(missing);
        assert_eq!(Record::of_secret(&broken), None, "{missing}");
    }
    let mut other = secret;
    other["type"] = "Opaque".into();
    assert_eq!(Record::of_secret(&other), None);
}

#[test]
fn a_token_is_good_for_requests_and_for_a_while() {
    let shelf = Shelf::default();
    let requests = TOKEN_PATHS[0];
    let (mut server, mut node) = Server::with_node();
    assert_eq!(server.knock(&mut node, 20), Answer::Token);
    let record = Record {
        token: digest("5ec2e7"),
        token_until: Some(day(21)),
        ..server.record().clone()
    };
    let put = |record: &Record| shelf.put("secrets", record.to_secret("n1", None));
    let user = |token: &str, path: &str, today| token_user(token, path, &shelf, day(today));
    let good = token("n1", "5ec2e7");
    put(&record);
    assert_eq!(user(&good, requests, 20), None, "there is no Node");
    let node = |uid: &str| json!({"metadata": {"name": "n1", "uid": uid}});
    shelf.put("nodes", node("uid"));
    let named = user(&good, requests, 20).expect("a user");
    assert_eq!(named.node_name(), Some("n1"));
    assert_eq!(named.extra[EXTRA], ["2"]);
    for path in [requests, &format!("{requests}/x"), "/version"] {
        assert!(user(&good, path, 20).is_some(), "{path}");
    }
    for path in [
        "/",
        "/api/v1/nodes/n1",
        "/versions",
        PATH,
        &format!("{requests}x"),
    ] {
        assert_eq!(user(&good, path, 20), None, "{path}");
    }
    for bad in [
        token("n1", "5ec2e8"),
        token("n1", ""),
        token("n2", "5ec2e7"),
        token("", "5ec2e7"),
        record.token.clone(),
        token("n1", &record.token),
        "late-reissue/".to_owned(),
    ] {
        assert_eq!(user(&bad, requests, 20), None, "{bad}");
    }
    assert_eq!(user(&good, requests, 21), None, "it has ended");
    put(&Record {
        locked: "why".to_owned(),
        ..record.clone()
    });
    assert_eq!(user(&good, requests, 20), None, "the node is locked");
    put(&Record {
        token: String::new(),
        ..record.clone()
    });
    assert_eq!(user(&token("n1", ""), requests, 20), None, "there is none");
    put(&record);
    shelf.put("nodes", node("another"));
    assert_eq!(user(&good, requests, 20), None, "another Node");
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Knock { is_heard: bool },
    Renew,
    Off { days: i64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any::<bool>().prop_map(|is_heard| Step::Knock { is_heard }),
        2 => Just(Step::Renew),
        1 => (0..30i64).prop_map(|days| Step::Off { days }),
    ];
    prop::collection::vec(step, 0..60)
}

/// What a node does next; true: it was locked out.
fn take(server: &mut Server, node: &mut Copy, step: Step, today: &mut i64) -> bool {
    match step {
        Step::Off { days } => *today += days,
        Step::Renew if node.ends >= *today => node.renew(*today),
        Step::Renew => {}
        Step::Knock { is_heard } => match server.knock(node, *today) {
            Answer::State(state) if is_heard => {
                node.state = state;
                node.attempt = None;
            }
            Answer::Token if is_heard => node.renew(*today),
            Answer::State(_) | Answer::Token => {}
            Answer::Refused(word) => return word.ends_with("locked"),
        },
    }
    false
}

proptest! {
    /// Whatever is lost and whenever it is off: a node that is alone is never taken for two.
    #[test]
    fn a_node_that_is_alone_is_never_locked(steps in steps()) {
        let (mut server, mut node) = Server::with_node();
        let mut today = 0;
        for step in steps {
            server.record.as_mut().unwrap().recoveries = 0;
            prop_assert!(!take(&mut server, &mut node, step, &mut today), "{step:?} {node:?} {:?}", server.record);
        }
    }

    /// Two that go on from one copy: as soon as each has been heard twice in a row, one of them was
    /// caught.
    #[test]
    fn two_copies_never_live_side_by_side(before in steps(), after in steps()) {
        let (mut server, mut node) = Server::with_node();
        let mut today = 0;
        for step in before {
            server.record.as_mut().unwrap().recoveries = 0;
            take(&mut server, &mut node, step, &mut today);
        }
        let mut thief = node.clone();
        // Each renews by itself from now on, and registers.
        for step in after {
            take(&mut server, &mut node, step, &mut today);
        }
        for _ in 0..3 {
            for copy in [&mut node, &mut thief] {
                if copy.ends >= today {
                    copy.renew(today);
                }
                take(&mut server, copy, Step::Knock { is_heard: true }, &mut today);
            }
        }
        let is_out = |server: &mut Server, copy: &mut Copy| {
            matches!(server.knock(copy, today), Answer::Refused(_))
        };
        prop_assert!(is_out(&mut server, &mut node) && is_out(&mut server, &mut thief));
    }
}
