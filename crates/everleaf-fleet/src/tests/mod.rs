//! Fleets on paper, and what the model makes of them.

mod scenes;
pub(crate) mod world;

use crate::facts::{Logbook, Probe};
use crate::holding::{Keeper, Kind, Standing};
use crate::node::{Presence, probe_address};
use crate::outlook::{Code, Verdict};
use crate::request::{EXPLAINED_MAX, State, to_explain};
use everleaf_api::csr;
use everleaf_controllers::issuance::Entry;
use everleaf_controllers::why::Known;
use everleaf_pki::{Chain, SignerName};
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;
use world::{World, at, certificate, codes, days, entry, holding, list};

/// A year's certificate of this age, in days, and no request: where it stands, what becomes of it.
#[track_caller]
fn ages(age: i64, standing: Standing, verdict: Verdict, expected: &[Code]) {
    let mut world = World::new();
    world.node("n1", "True");
    world.issued("n1", Kind::Client, days(age), days(100));
    let found = holding(&world.fleet(), "n1", Kind::Client);
    assert_eq!(
        (found.standing, found.outlook.verdict),
        (standing, verdict),
        "{age}"
    );
    assert_eq!(codes(&found), expected, "{age}");
    assert_eq!(found.life_used_percent, Some(age));
}

#[test]
fn a_life_has_its_standings() {
    ages(0, Standing::Fresh, Verdict::Renews, &[Code::Renews]);
    ages(69, Standing::Fresh, Verdict::Renews, &[Code::Renews]);
    ages(70, Standing::Due, Verdict::Renews, &[Code::Renews]);
    ages(89, Standing::Due, Verdict::Renews, &[Code::Renews]);
    ages(90, Standing::Late, Verdict::Lapses, &[Code::NoRequest]);
    ages(100, Standing::Late, Verdict::Lapses, &[Code::NoRequest]);
    let both = [Code::Ended, Code::NoRequest];
    ages(101, Standing::Expired, Verdict::Lapsed, &both);
}

#[test]
fn an_agent_of_ours_is_foreseen_to_the_second() {
    let mut world = World::new();
    world.issued("n1", Kind::Client, days(0), days(100));
    world.last()["metadata"]["managedFields"] =
        json!([{"manager": "everleaf-agent", "fieldsV1": {"f:spec": {}}}]);
    let found = holding(&world.fleet(), "n1", Kind::Client);
    assert_eq!(found.keeper, Keeper::EverleafAgent);
    let renewal = found.renewal.unwrap();
    let deadline = found.certificate.unwrap().deadline().unwrap();
    assert_eq!((renewal.opens, renewal.until), (deadline, deadline));
    let text = &found.outlook.reasons[0].text;
    assert!(text.starts_with("renews by itself at 2030-"), "{text}");
    // Without that note it is known by having no Node, but for servers of others.
    world.last()["metadata"]["managedFields"] = json!(null);
    let keeper = |world: &World| holding(&world.fleet(), "n1", Kind::Client).keeper;
    assert_eq!(keeper(&world), Keeper::EverleafAgent);
    world.facts.evidence.version = Known::Read("v1.37.0".to_owned());
    assert_eq!(keeper(&world), Keeper::Unknown);
    world.node("n1", "True");
    assert_eq!(keeper(&world), Keeper::Kubelet);
}

#[test]
fn a_node_is_whoever_has_an_object_a_certificate_or_a_request() {
    let mut world = World::new();
    let now = world.now();
    world.node("with-object", "True");
    world.logged("with-log", now - days(10), now + days(300));
    world.issued("with-request", Kind::Serving, days(1), days(100));
    world.request("csr-new", "waiting", Kind::Client, now - days(1));
    let name = "system:node:of-a-pod";
    world.log(&Entry {
        approved_by: "PodCertificateRequest".to_owned(),
        ..entry(name, now, now + days(1))
    });
    let fleet = world.fleet();
    let names: Vec<&str> = fleet.nodes.iter().map(|node| &*node.name).collect();
    assert_eq!(
        names,
        ["waiting", "with-log", "with-object", "with-request"]
    );
    let presences: Vec<Presence> = fleet.nodes.iter().map(|node| node.presence).collect();
    assert_eq!(presences[2], Presence::Ready);
    assert_eq!(presences[1], Presence::Absent);
    let unknown = holding(&fleet, "with-object", Kind::Client);
    assert_eq!(unknown.standing, Standing::Unknown);
    assert_eq!(codes(&unknown), [Code::NotKnown]);
    assert_eq!(fleet.counts(Kind::Client).unknown, 3);
    assert_eq!(fleet.counts(Kind::Client).fresh, 1);
    assert_eq!(fleet.counts(Kind::Serving).fresh, 1);
}

#[test]
fn the_newest_certificate_counts_wherever_it_was_seen() {
    let mut world = World::new();
    let now = world.now();
    world.issued("n1", Kind::Client, days(50), days(100));
    world.issued("n1", Kind::Client, days(10), days(100));
    world.logged("n1", now - days(30), now + days(70));
    let age = |world: &World| holding(&world.fleet(), "n1", Kind::Client).life_used_percent;
    assert_eq!(age(&world), Some(10));
    world.logged("n1", now - days(5), now + days(95));
    assert_eq!(age(&world), Some(5));
    // Older entries that are read later change nothing.
    world.logged("n1", now - days(90), now + days(10));
    assert_eq!(age(&world), Some(5));
}

#[test]
fn a_kubelet_that_was_asked_is_believed() {
    let mut world = World::new();
    let now = world.now();
    world.node("n1", "True");
    world.node("n2", "True");
    world.issued("n1", Kind::Serving, days(1), days(100));
    let old = world.leaf("system:node:n1", now - days(80), now + days(20));
    world.probe("n1", Probe::Shown(Box::new(old)));
    world.probe("n2", Probe::Failed("connection refused".to_owned()));
    let fleet = world.fleet();
    assert_eq!(
        holding(&fleet, "n1", Kind::Serving).life_used_percent,
        Some(80)
    );
    let failed = holding(&fleet, "n2", Kind::Serving);
    assert_eq!(codes(&failed), [Code::NotShown]);
    assert!(
        failed.outlook.reasons[0]
            .text
            .contains("connection refused")
    );
}

#[test]
fn what_others_hold_is_told_apart_and_what_ended_is_left_out() {
    let mut world = World::new();
    let now = world.now();
    for (name, end) in [("ann", now + days(3)), ("bob", now - days(3))] {
        let mut entry = Entry {
            cn: name.to_owned(),
            signer: SignerName::KUBE_APISERVER_CLIENT.to_owned(),
            not_before: (now - days(30)).to_string(),
            not_after: end.to_string(),
            cert_sha256: "ab".repeat(32),
            ..Entry::default()
        };
        world.log(&entry);
        entry.cert_sha256 = "no hash".to_owned();
        world.log(&entry);
    }
    let fleet = world.fleet();
    assert_eq!(fleet.identities.len(), 1);
    assert_eq!(fleet.identities[0].name, "ann");
    assert!(fleet.nodes.is_empty());
    let forecast = world.forecast(7);
    assert_eq!((forecast.identities.len(), forecast.lapses.len()), (1, 0));
    assert_eq!(world.forecast(2).identities.len(), 0);
}

#[test]
fn what_has_ended_is_gone_where_no_node_is_there_any_more() {
    let mut world = World::new();
    let now = world.now();
    world.logged("n1", now - days(100), now - days(1));
    world.logged("n2", now - days(100), now - days(31));
    let names = |world: &World| -> Vec<String> {
        let nodes = world.fleet().nodes.into_iter();
        nodes.map(|node| node.name).collect()
    };
    assert_eq!(names(&world), ["n1"], "without Nodes it takes a month");
    assert_eq!(world.fleet().gone, 1);
    world.node("n3", "True");
    assert_eq!(names(&world), ["n3"]);
    world.node("n1", "True");
    assert_eq!(names(&world), ["n1", "n3"]);
}

#[test]
fn what_may_not_be_read_is_said() {
    let mut world = World::new();
    world.facts.evidence.requests = Known::Hidden("forbidden".to_owned());
    world.facts.evidence.nodes = Known::Hidden("forbidden, too".to_owned());
    world.facts.evidence.revocations = Known::Hidden("no".to_owned());
    let fleet = world.fleet();
    assert_eq!(
        fleet.unseen,
        [
            "requests: forbidden",
            "nodes: forbidden, too",
            "revocations: no"
        ]
    );
    assert_eq!(world.forecast(1).unseen, fleet.unseen);
}

#[test]
fn the_oldest_of_each_kind_are_explained_first() {
    let mut world = World::new();
    let now = world.now();
    for number in 0..40 {
        let filed = now - SignedDuration::from_mins(100 - number);
        world.request(&format!("client-{number:02}"), "n1", Kind::Client, filed);
    }
    world.request("serving", "n1", Kind::Serving, now);
    world.request("denied", "n1", Kind::Client, now);
    csr::push_condition(world.last(), csr::DENIED, "No", "by hand", None);
    let chosen = to_explain(&world.facts.evidence);
    let chosen: Vec<&str> = chosen.into_iter().map(everleaf_api::meta::name).collect();
    assert_eq!(chosen.len(), EXPLAINED_MAX);
    assert_eq!(chosen[..4], ["client-00", "serving", "denied", "client-01"]);
    let fleet = world.fleet();
    assert_eq!(fleet.requests_in(State::Pending), 41);
    assert_eq!(fleet.requests_in(State::Denied), 1);
    assert_eq!(fleet.requests[0].name, "client-00");
    assert_eq!(fleet.requests[41].name, "denied");
    let explained = fleet.requests.iter().filter(|one| one.is_explained);
    assert_eq!(explained.count(), EXPLAINED_MAX);
}

#[test]
fn a_kubelet_is_asked_where_its_node_says() {
    let node = |status| json!({"metadata": {"name": "n1"}, "status": status});
    let address = |status| probe_address(&node(status)).map(|address| address.to_string());
    let internal = json!([{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.7"}]);
    assert_eq!(
        address(json!({ "addresses": internal.clone() })),
        Ok("10.0.0.7:10250".to_owned())
    );
    let port = json!({"kubeletEndpoint": {"Port": 10_350}});
    assert_eq!(
        address(json!({"addresses": internal, "daemonEndpoints": port})),
        Ok("10.0.0.7:10350".to_owned())
    );
    let name = json!([{"type": "InternalIP", "address": "metadata.internal"}]);
    assert!(address(json!({ "addresses": name })).is_err());
    assert!(address(json!({})).is_err());
}

#[test]
fn a_log_of_another_authority_can_be_left_out() {
    let world = World::new();
    let now = world.now();
    let pem = world.facts.evidence.client_ca.read().unwrap();
    let chain = Chain::from_pem(pem.as_bytes()).unwrap();
    let own = crate::certificate::hex(chain.leaf().subject_key_id().unwrap());
    let mut book = Logbook::default();
    for (name, id) in [("a", "01"), ("b", &*own)] {
        let entry = Entry {
            cn: format!("system:node:{name}"),
            ca_ski: id.to_owned(),
            not_before: now.to_string(),
            not_after: (now + days(1)).to_string(),
            cert_sha256: "ab".repeat(32),
            ..Entry::default()
        };
        book.note(&entry);
    }
    assert_eq!(book.len(), 2);
    let mut rehearsal = entry("system:node:c", now, now + days(1));
    rehearsal.csr = "everleaf-rehearsal-x".to_owned();
    book.note(&rehearsal);
    assert_eq!(book.len(), 2, "its certificate says nothing about the node");
    book.keep_of(chain.certificates());
    assert_eq!((book.len(), book.is_empty()), (1, false));
}

#[test]
fn five_thousand_nodes_are_counted() {
    let mut world = World::new();
    for number in 0..5_000 {
        let name = format!("node-{number:04}");
        world.issued(&name, Kind::Client, days(number % 100), days(100));
        world.node(&name, "True");
    }
    let fleet = world.fleet();
    let counts = fleet.counts(Kind::Client);
    assert_eq!((counts.fresh, counts.due, counts.late), (3_500, 1_000, 500));
    assert_eq!(fleet.counts(Kind::Serving).unknown, 5_000);
    let forecast = world.forecast(365);
    assert_eq!(forecast.lapses.len(), 500);
    assert_eq!(forecast.renewing, 4_500);
    assert_eq!(forecast.load.per_day.len(), 365);
    // Each of 4,500 is renewed every 70 to 90 days, and the first ones sooner.
    assert!((4 * 4_500..6 * 4_500).contains(&(forecast.load.total as usize)));
    assert_eq!(list(&mut world.facts.evidence.requests).len(), 5_000);
}

proptest! {
    /// Standings follow one another as a certificate grows older, and shares grow with them.
    #[test]
    fn a_life_never_goes_back(life in 60_i64..400_000_000, cuts in prop::collection::vec(0.0_f64..1.3, 2..20)) {
        let start = at("2030-01-01T00:00:00Z");
        let one = certificate("system:node:n1", start, start + SignedDuration::from_secs(life));
        let mut cuts = cuts;
        cuts.sort_by(f64::total_cmp);
        let mut before = (0, Standing::Fresh);
        for cut in cuts {
            let now = start + SignedDuration::from_secs((life as f64 * cut) as i64);
            for keeper in [Keeper::Unknown, Keeper::EverleafAgent] {
                let found = crate::Holding::dated(Some(one.clone()), keeper, None, now);
                if keeper == Keeper::Unknown {
                    let here = (found.life_used_percent.unwrap(), found.standing);
                    prop_assert!(before <= here, "{before:?} {here:?}");
                    before = here;
                }
                let renewal = found.renewal.unwrap();
                prop_assert!(one.not_before <= renewal.opens && renewal.opens <= renewal.until);
                prop_assert!(renewal.until <= renewal.closes && renewal.closes < one.not_after);
                prop_assert!(renewal.deadline <= renewal.closes);
                let is_late = now >= renewal.closes && now <= one.not_after;
                prop_assert_eq!(found.standing == Standing::Late, is_late);
            }
        }
    }
}
