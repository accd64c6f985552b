//! Each rule of a roll by itself, and a fleet in which everything happens in any order.

use super::*;
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2030-01-01T00:00:00Z")
}

fn authority(name: &str) -> Authority {
    Authority {
        subject: format!("CN={name}"),
        pin: format!("sha256:{name}"),
        key_id: name.to_owned(),
    }
}

/// A command by which it does not matter who is there.
fn obey(roll: Option<&Roll>, command: Command, now: Timestamp) -> Result<Change, String> {
    super::obey(roll, command, &Fleet::default(), now)
}

const START: Start = Start {
    per_minute: 60,
    may_finish: false,
};

fn roll() -> Roll {
    Roll::begin(authority("old"), authority("new"), START, now())
}

fn renewing() -> Roll {
    Roll {
        phase: Phase::Renew,
        renewal: Some(Renewal {
            from: now(),
            until: now(),
        }),
        may_finish: true,
        ..roll()
    }
}

fn word(trusts: &[&str], certificates: &[(&str, &str)]) -> Word {
    let pin = |name: &str| format!("sha256:{name}");
    Word {
        trusts: trusts.iter().map(|name| pin(name)).collect(),
        certificates: certificates
            .iter()
            .map(|(what, name)| ((*what).to_owned(), pin(name)))
            .collect(),
        epoch: now().as_millisecond().to_string(),
    }
}

fn says(trusts: &[&str], certificates: &[(&str, &str)]) -> Holder {
    Holder {
        word: Some(word(trusts, certificates)),
        old_until: Some(at("2031-01-01T00:00:00Z")),
        ..Holder::default()
    }
}

fn fleet(nodes: &[(&str, Holder)]) -> Fleet {
    Fleet {
        nodes: nodes
            .iter()
            .map(|(name, holder)| ((*name).to_owned(), holder.clone()))
            .collect(),
        ..Fleet::default()
    }
}

fn waited_for(roll: &Roll, fleet: &Fleet) -> Vec<(String, String)> {
    let all = tally(roll, fleet, now()).waited_for;
    all.into_iter().map(|one| (one.who, one.why)).collect()
}

fn waits(roll: &Roll, holder: Holder, expected: &str) {
    let all = waited_for(roll, &fleet(&[("n1", holder)]));
    match (&all[..], expected) {
        ([], "") => {}
        ([(who, why)], expected) if !expected.is_empty() => {
            assert_eq!(who, "node/n1");
            assert!(why.contains(expected), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_phase_waits_for_every_node_to_trust_both() {
    let roll = roll();
    let kubelet = Holder {
        runs_kubelet: true,
        ..says(&["old", "new"], &[])
    };
    waits(&roll, Holder::default(), "does not say which CAs it trusts");
    waits(&roll, says(&["old"], &[]), "does not trust CN=new yet");
    waits(&roll, says(&["new"], &[]), "does not trust CN=old yet");
    waits(&roll, says(&["old", "new", "other"], &[]), "");
    waits(&roll, kubelet.clone(), "everleaf ca roll assume n1");
    let trusting = ("a", says(&["old", "new"], &[]));
    let both = fleet(&[trusting.clone(), ("k", kubelet)]);
    assert_eq!(next(&roll, &both, now()), Next::Stay);
    let Ok(Change::Go(assumed)) = super::obey(
        Some(&roll),
        Command::Assume(["k".to_owned()].into()),
        &both,
        now(),
    ) else {
        panic!();
    };
    let Next::Go(renewing) = next(&assumed, &both, now()) else {
        panic!();
    };
    assert_eq!(
        (renewing.phase, renewing.signs().key_id.as_str()),
        (Phase::Renew, "new")
    );
    assert_eq!(renewing.assumed, BTreeSet::new(), "another question");
    let Next::Go(_) = next(&roll, &fleet(&[trusting]), now()) else {
        panic!();
    };
}

#[test]
fn the_second_phase_waits_for_every_certificate_of_the_old_ca() {
    let (begun, roll) = (roll(), renewing());
    waits(
        &roll,
        says(&[], &[("client", "new"), ("serving", "new")]),
        "",
    );
    waits(
        &roll,
        says(&[], &[("client", "new"), ("serving", "old")]),
        "its serving certificate",
    );
    waits(
        &roll,
        says(&[], &[("client", "old")]),
        "its client certificate",
    );
    waits(
        &roll,
        says(&[], &[]),
        "says nothing of a client certificate",
    );
    // Where nobody speaks, the log does.
    let logged = |newest: &[(&str, &str, i64)], until: i64| Holder {
        newest: newest
            .iter()
            .map(|(signer, key_id, minutes)| {
                let issued = Issued {
                    key_id: (*key_id).to_owned(),
                    at: now() - SignedDuration::from_mins(*minutes),
                };
                ((*signer).to_owned(), issued)
            })
            .collect(),
        old_until: Some(now() + SignedDuration::from_mins(until)),
        ..Holder::default()
    };
    waits(
        &roll,
        logged(&[("client", "old", 50)], 5),
        "renews them at its own time",
    );
    waits(
        &roll,
        logged(&[("client", "new", 50), ("serving", "old", 50)], 5),
        "has certificates",
    );
    waits(
        &roll,
        logged(&[("client", "new", 9)], 5),
        "has certificates",
    );
    waits(&roll, logged(&[("client", "new", 10)], 5), "");
    waits(&roll, logged(&[("client", "old", 50)], 0), "");
    waits(&roll, Holder::default(), "");
    let mut users = fleet(&[]);
    users
        .users
        .insert("alice".to_owned(), at("2030-02-01T00:00:00Z"));
    users
        .users
        .insert("bob".to_owned(), at("2029-12-31T00:00:00Z"));
    let all = waited_for(&roll, &users);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0].0, "user/alice");
    assert_eq!(waited_for(&begun, &users), [], "not before");
}

#[test]
fn the_old_ca_is_dropped_only_when_it_may_be() {
    let mut before = says(&[], &[("client", "new")]);
    before.word.as_mut().unwrap().epoch = "1".to_owned();
    waits(&renewing(), before, "has not answered to this phase");
    let done = fleet(&[("n1", says(&[], &[("client", "new")]))]);
    assert_eq!(next(&renewing(), &done, now()), Next::Finish);
    let not_allowed = Roll {
        may_finish: false,
        ..renewing()
    };
    assert_eq!(next(&not_allowed, &done, now()), Next::Stay);
    let change = obey(Some(&not_allowed), Command::Finish, now());
    assert_eq!(change, Ok(Change::Go(renewing())));
    let left = fleet(&[("n1", says(&[], &[("client", "old")]))]);
    assert_eq!(next(&renewing(), &left, now()), Next::Stay);
}

#[test]
fn a_fleet_is_renewed_at_a_bounded_rate() {
    let left = says(&["old", "new"], &[("client", "old")]);
    let left = (0..100).map(|n| (format!("n{n}"), left.clone()));
    let fleet = Fleet {
        nodes: left.collect(),
        ..Fleet::default()
    };
    let slow = Roll {
        per_minute: 10,
        ..roll()
    };
    let Next::Go(renewing) = next(&slow, &fleet, now()) else {
        panic!();
    };
    let renewal = renewing.renewal.unwrap();
    let minutes = renewal.until.duration_since(renewal.from).as_mins();
    assert_eq!(minutes, 20, "100 nodes with two certificates each");
    let Ok(Change::Go(paused)) = obey(Some(&renewing), Command::Pause, now()) else {
        panic!();
    };
    assert_eq!(paused.renewal, None);
    assert_eq!(next(&paused, &fleet, now()), Next::Stay);
    let Ok(Change::Go(resumed)) = obey(Some(&paused), Command::Resume, now()) else {
        panic!();
    };
    assert!(matches!(next(&resumed, &fleet, now()), Next::Go(roll) if roll.renewal.is_some()));
}

#[test]
fn a_command_that_cannot_be_is_refused_in_words() {
    let refused = obey(None, Command::Pause, now()).unwrap_err();
    assert!(refused.contains("everleaf ca roll start"), "{refused}");
    let refused = obey(Some(&roll()), Command::Start(START), now()).unwrap_err();
    assert!(refused.contains("from CN=old to CN=new"), "{refused}");
    assert_eq!(
        obey(None, Command::Start(START), now()),
        Ok(Change::Begin(START))
    );
    assert_eq!(
        obey(Some(&roll()), Command::Back, now()),
        Ok(Change::Withdraw)
    );
}

#[test]
fn rolls_and_commands_survive_being_written_down() {
    for roll in [
        roll(),
        renewing(),
        Roll {
            is_paused: true,
            assumed: ["node/a".to_owned()].into(),
            ..roll()
        },
    ] {
        assert_eq!(Roll::of_json(&roll.to_json()), Some(roll));
    }
    let ended = Ended {
        at: now(),
        stays: authority("new"),
        dropped: authority("old"),
    };
    assert_eq!(Ended::of_json(&ended.to_json()), Some(ended));
    for command in [
        Command::Start(START),
        Command::Pause,
        Command::Resume,
        Command::Back,
        Command::Finish,
        Command::Assume(["node/a".to_owned()].into()),
    ] {
        assert_eq!(Command::of_json(&command.to_json()), Some(command));
    }
    for nonsense in ["{}", "[]", r#"{"phase":"drop"}"#, r#"{"verb":"go"}"#] {
        let value = serde_json::from_str(nonsense).unwrap();
        assert_eq!(Roll::of_json(&value), None);
        assert_eq!(Command::of_json(&value), None);
    }
}

#[test]
fn finish_is_refused_before_it_means_something_and_is_taken_back_by_pause() {
    let refused = obey(Some(&roll()), Command::Finish, now()).unwrap_err();
    assert!(
        refused.contains("stands at publish, CN=old still signs"),
        "{refused}"
    );
    let armed = renewing();
    assert!(armed.outlook().contains("it will end by itself when"));
    let Ok(Change::Go(paused)) = obey(Some(&armed), Command::Pause, now()) else {
        panic!();
    };
    let told = answer(&Command::Pause, &paused);
    assert!(told.contains("finish is taken back"), "{told}");
    let refused = obey(Some(&paused), Command::Finish, now()).unwrap_err();
    assert!(refused.contains("everleaf ca roll resume"), "{refused}");
    let Ok(Change::Go(resumed)) = obey(Some(&paused), Command::Resume, now()) else {
        panic!();
    };
    let done = fleet(&[("n1", says(&[], &[("client", "new")]))]);
    let Next::Go(resumed) = next(&resumed, &done, now()) else {
        panic!();
    };
    assert_eq!(next(&resumed, &done, now()), Next::Stay, "not said again");
    assert!(!answer(&Command::Resume, &resumed).contains("by itself"));
    let Ok(Change::Go(back)) = obey(Some(&armed), Command::Back, now()) else {
        panic!();
    };
    let told = answer(&Command::Back, &back);
    for expected in [
        "CN=old signs again and stays",
        "what CN=new has signed is renewed",
    ] {
        assert!(told.contains(expected), "{told}");
    }
    assert!(!back.ends_by_itself());
}

#[test]
fn only_those_who_are_waited_for_are_assumed() {
    let done = says(&[], &[("client", "new")]);
    let left = says(&[], &[("client", "old")]);
    let fleet = fleet(&[("a", done), ("b", left.clone()), ("c", left)]);
    let assume = |roll: &Roll, names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        super::obey(Some(roll), Command::Assume(names), &fleet, now())
    };
    for name in ["n9", "node/host1x", "", "b c", "a", "user/b", "node/"] {
        let refused = assume(&renewing(), &["b", name]).unwrap_err();
        assert!(
            refused.contains("it waits for node/b, node/c."),
            "{refused}"
        );
    }
    let Ok(Change::Go(assumed)) = assume(&renewing(), &["b"]) else {
        panic!();
    };
    let found = tally(&assumed, &fleet, now());
    assert_eq!((found.proven, found.all()), (1, 3));
    assert_eq!(found.assumed[0].who, "node/b");
    assert_eq!(found.waited_for[0].who, "node/c");
    assert_eq!(
        assume(&assumed, &["node/b"]),
        Ok(Change::Go(assumed.clone()))
    );
    let told = answer(&Command::Assume(BTreeSet::new()), &assumed);
    assert!(
        told.contains("nothing is waited for from node/b,"),
        "{told}"
    );
}

#[test]
fn whoever_is_refused_already_is_not_waited_for() {
    let mut locked_out = fleet(&[("n1", Holder::default())]);
    assert_eq!(tally(&roll(), &locked_out, now()).all(), 1);
    locked_out.refused.insert("n1".to_owned());
    assert_eq!(tally(&roll(), &locked_out, now()).all(), 0);
}

#[test]
fn an_agent_has_time_to_look() {
    let early = waited_for(&roll(), &fleet(&[("n1", Holder::default())]));
    assert!(early[0].1.contains("looks within ten minutes"), "{early:?}");
    let older = Roll {
        since: now() - SignedDuration::from_mins(11),
        ..roll()
    };
    waits(&older, Holder::default(), "no Everleaf agent runs there");
}

/// A node as it really is; what the roll knows of it is what it has said.
#[derive(Clone, Debug)]
struct Node {
    trusts: BTreeSet<String>,
    client: String,
    serving: Option<String>,
    epoch: String,
    said: Option<Word>,
}

/// What may happen.
#[derive(Clone, Debug)]
enum Act {
    /// The node takes over what is announced.
    Look(usize),
    /// It says what is true now.
    Say(usize),
    /// It gets a client certificate, or a serving certificate, of whoever signs now.
    RenewClient(usize),
    RenewServing(usize),
    Join,
    Obey(u8),
    Tick,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..2usize).prop_map(Act::Look),
        4 => (0..2usize).prop_map(Act::Say),
        4 => (0..2usize).prop_map(Act::RenewClient),
        1 => (0..2usize).prop_map(Act::RenewServing),
        1 => Just(Act::Join),
        2 => (0..6u8).prop_map(Act::Obey),
        4 => Just(Act::Tick),
    ]
}

struct World {
    nodes: Vec<Node>,
    roll: Option<Roll>,
    /// The CA when no roll is under way.
    alone: Authority,
    made: u32,
    /// Pins that were dropped, which nodes give up when they look.
    retired: BTreeSet<String>,
}

impl World {
    fn trusted(&self) -> BTreeSet<String> {
        let pins = match &self.roll {
            Some(roll) => roll.trusted().map(|one| one.pin.clone()).to_vec(),
            None => vec![self.alone.pin.clone()],
        };
        pins.into_iter().collect()
    }

    fn signer(&self) -> String {
        let signer = self.roll.as_ref().map_or(&self.alone, Roll::signs);
        signer.pin.clone()
    }

    fn fleet(&self) -> Fleet {
        let holders = self.nodes.iter().enumerate().map(|(number, node)| {
            let holder = Holder {
                word: node.said.clone(),
                old_until: Some(at("2040-01-01T00:00:00Z")),
                ..Holder::default()
            };
            (format!("n{number}"), holder)
        });
        Fleet {
            nodes: holders.collect(),
            ..Fleet::default()
        }
    }

    fn end(&mut self, stays: Authority) {
        let both = self.trusted();
        self.retired
            .extend(both.into_iter().filter(|pin| *pin != stays.pin));
        self.alone = stays;
        self.roll = None;
    }

    fn obey(&mut self, which: u8) {
        let command = match which {
            0 => Command::Start(START),
            1 => Command::Pause,
            2 => Command::Resume,
            3 => Command::Back,
            _ => Command::Finish,
        };
        match obey(self.roll.as_ref(), command, now()) {
            Ok(Change::Begin(start)) => {
                self.made += 1;
                let to = authority(&format!("ca{}", self.made));
                let later = now() + SignedDuration::from_hours(i64::from(self.made));
                self.roll = Some(Roll::begin(self.alone.clone(), to, start, later));
            }
            Ok(Change::Go(roll)) => self.roll = Some(roll),
            Ok(Change::Withdraw) => {
                let stays = self.roll.as_ref().unwrap().from.clone();
                self.end(stays);
            }
            Err(_) => {}
        }
    }

    fn act(&mut self, act: &Act) {
        let (trusted, signer) = (self.trusted(), self.signer());
        let retired = self.retired.clone();
        let epoch = self
            .roll
            .as_ref()
            .map_or(String::new(), |roll| roll.epoch.to_string());
        let count = self.nodes.len();
        match *act {
            Act::Look(at) => {
                let node = &mut self.nodes[at % count];
                node.trusts.retain(|pin| !retired.contains(pin));
                node.trusts.extend(trusted);
                node.epoch = epoch;
            }
            Act::Say(at) => {
                let node = &mut self.nodes[at % count];
                let serving = node
                    .serving
                    .iter()
                    .map(|pin| ("serving".to_owned(), pin.clone()));
                let client = [("client".to_owned(), node.client.clone())];
                node.said = Some(Word {
                    trusts: node.trusts.clone(),
                    certificates: serving.chain(client).collect(),
                    epoch: node.epoch.clone(),
                });
            }
            Act::RenewClient(at) => self.nodes[at % count].client = signer,
            Act::RenewServing(at) => self.nodes[at % count].serving = Some(signer),
            Act::Join if count < 2 => self.nodes.push(Node {
                trusts: trusted,
                client: signer,
                serving: None,
                epoch,
                said: None,
            }),
            Act::Join => {}
            Act::Obey(which) => self.obey(which),
            Act::Tick => {
                let Some(roll) = &self.roll else { return };
                match next(roll, &self.fleet(), now()) {
                    Next::Stay => {}
                    Next::Go(roll) => self.roll = Some(roll),
                    Next::Finish => {
                        let stays = roll.to.clone();
                        self.end(stays);
                    }
                }
            }
        }
    }

    /// Whether every node and the API server would believe each other now.
    fn check(&self) {
        let (trusted, serves) = (self.trusted(), self.signer());
        for node in &self.nodes {
            assert!(
                node.trusts.contains(&serves),
                "{node:?} does not believe the server"
            );
            assert!(
                trusted.contains(&node.client),
                "the server does not believe {node:?}"
            );
            if let Some(serving) = &node.serving {
                assert!(trusted.contains(serving), "nobody believes {node:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happens in whatever order: looks, words that are late, renewals, new nodes, and
    /// every command.
    #[test]
    fn nobody_is_ever_refused(acts in prop::collection::vec(act(), 1..300)) {
        let first = authority("ca0");
        let pins = BTreeSet::from([first.pin.clone()]);
        let node = Node {
            trusts: pins,
            client: first.pin.clone(),
            serving: None,
            epoch: String::new(),
            said: None,
        };
        let mut world = World {
            nodes: vec![node],
            roll: None,
            alone: first,
            made: 0,
            retired: BTreeSet::new(),
        };
        for act in &acts {
            world.act(act);
            world.check();
        }
    }
}
