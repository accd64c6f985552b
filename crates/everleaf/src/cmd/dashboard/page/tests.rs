//! Pages on paper: what strangers have named and said, what a browser is asked to do, and which
//! rows are shown.

use super::super::route::{NodeQuery, Order, PAGE, RequestQuery, Verdict};
use super::super::site::Site;
use super::super::snapshot::{DAYS, Snapshot};
use super::{Slice, login, node, nodes, overview, plain, request, requests};
use crate::cmd::fleet::tests::facts;
use everleaf_api::csr::{self, APPROVED, DENIED, FAILED};
use everleaf_controllers::issuance::Entry;
use everleaf_controllers::why::{Evidence, Known, Leader, diagnose_object};
use everleaf_fleet::{Facts, Fleet, Forecast, Pace, Revocation, Standing, State};
use jiff::SignedDuration;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What breaks out of text, of attributes, of scripts, and of the order of letters.
const HOSTILE: &str =
    "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\u{202e}\u{1b}[2J\nx";

fn site(base: &'static str) -> Site {
    Site {
        base,
        form_key: "form-key".to_owned(),
        ..Site::default()
    }
}

fn snapshot(facts: &Facts) -> Snapshot {
    let fleet = Fleet::of(facts);
    Snapshot {
        number: 7,
        server: "https://a:6443".to_owned(),
        version: Some("v1.37.0".to_owned()),
        user: "ann".to_owned(),
        skew: SignedDuration::ZERO,
        pace: Pace::of(&facts.evidence),
        load: Forecast::of(&fleet, DAYS).load,
        roll: Vec::new(),
        site: Arc::new(site("")),
        fleet,
    }
}

/// Of a cluster without anything.
pub(in super::super) fn empty() -> Snapshot {
    snapshot(&facts(0, 1, 0))
}

fn object(name: &str, kind: Option<&str>) -> Value {
    let mut object = csr::build(name, "", HOSTILE, HOSTILE, &[HOSTILE], Some(600));
    object["metadata"]["uid"] = "u1".into();
    object["metadata"]["creationTimestamp"] = "2030-07-01T11:00:00Z".into();
    object["spec"]["username"] = HOSTILE.into();
    object["spec"]["groups"] = json!([HOSTILE]);
    if let Some(kind) = kind {
        csr::push_condition(&mut object, kind, HOSTILE, HOSTILE, None);
    }
    object
}

/// A cluster in which every word of others is hostile.
fn hostile() -> (Facts, Snapshot) {
    let mut facts = facts(3, 3, 0);
    if let Known::Read(book) = &mut facts.log {
        book.note(&Entry {
            signer: "kubernetes.io/kube-apiserver-client-kubelet".to_owned(),
            cn: format!("system:node:{HOSTILE}"),
            serial: HOSTILE.to_owned(),
            cert_sha256: format!("{:064x}", 77),
            not_before: "2030-06-01T00:00:00Z".to_owned(),
            not_after: "2030-07-02T00:00:00Z".to_owned(),
            csr: HOSTILE.to_owned(),
            ca_ski: HOSTILE.to_owned(),
            ..Entry::default()
        });
    }
    let requests = [None, Some(APPROVED), Some(DENIED), Some(FAILED)];
    let requests = requests.map(|kind| object(&format!("{kind:?}{HOSTILE}"), kind));
    facts.evidence.requests = Known::Read(requests.to_vec());
    facts.evidence.nodes = Known::Hidden(HOSTILE.to_owned());
    let mut snapshot = snapshot(&facts);
    for text in [&mut snapshot.server, &mut snapshot.user] {
        *text = HOSTILE.to_owned();
    }
    snapshot.version = Some(HOSTILE.to_owned());
    snapshot.roll = vec![HOSTILE.to_owned()];
    snapshot.fleet.leaders = vec![("kube-controller-manager", Leader::Alive(HOSTILE.to_owned()))];
    snapshot.fleet.revocations = vec![Revocation {
        target: HOSTILE.to_owned(),
        node: HOSTILE.to_owned(),
        reason: "unspecified",
        at: None,
    }];
    (facts, snapshot)
}

/// Every page, of such a cluster.
fn pages() -> Vec<String> {
    pages_at(site(""))
}

fn pages_at(site: Site) -> Vec<String> {
    let (facts, mut snapshot) = hostile();
    snapshot.site = Arc::new(site);
    let mut pages = vec![
        overview::show(&snapshot),
        nodes::show(
            &snapshot,
            &NodeQuery {
                search: HOSTILE.to_owned(),
                ..NodeQuery::default()
            },
        ),
        nodes::show(&snapshot, &NodeQuery::default()),
        requests::show(
            &snapshot,
            &RequestQuery {
                search: HOSTILE.to_owned(),
                ..RequestQuery::default()
            },
        ),
        requests::show(&snapshot, &RequestQuery::default()),
        request::undecided(&snapshot, HOSTILE, HOSTILE),
        plain(&snapshot.site, HOSTILE, HOSTILE),
        login::forbidden(&snapshot.site, HOSTILE, HOSTILE, false),
    ];
    pages.extend(
        snapshot
            .fleet
            .nodes
            .iter()
            .map(|one| node::show(&snapshot, one, &[HOSTILE.to_owned()])),
    );
    for object in facts.evidence.requests.read().unwrap() {
        pages.push(shown(
            &snapshot,
            &facts.evidence,
            object,
            Some(Verdict::Deny),
        ));
    }
    pages
}

fn shown(
    snapshot: &Snapshot,
    evidence: &Evidence,
    object: &Value,
    done: Option<Verdict>,
) -> String {
    let mut diagnosis = diagnose_object(object, evidence);
    diagnosis.unseen.push(HOSTILE.to_owned());
    let shown = request::Shown {
        name: csr::Csr(object).name(),
        object: Some(object),
        diagnosis: &diagnosis,
        done,
    };
    request::show(snapshot, &shown)
}

/// Every tag of a page, without its brackets.
fn tags(page: &str) -> Vec<&str> {
    let tags = page.split('<').skip(1);
    tags.map(|tag| tag.split_once('>').expect("a tag ends").0)
        .collect()
}

/// The value of an attribute of a tag.
fn attribute<'t>(tag: &'t str, name: &str) -> Option<&'t str> {
    let rest = tag.split_once(&format!(" {name}=\""))?.1;
    Some(rest.split_once('"').expect("a value ends").0)
}

#[test]
fn what_strangers_say_is_text() {
    let pages = pages();
    assert!(pages.len() > 12);
    for page in &pages {
        let scripts: Vec<_> = tags(page)
            .into_iter()
            .filter(|tag| tag.starts_with("script"))
            .collect();
        assert!(
            scripts
                .iter()
                .all(|tag| *tag == "script src=\"/script.js\""),
            "{scripts:?}"
        );
        for tag in tags(page) {
            let name = tag.trim_start_matches('/').split(' ').next().unwrap();
            assert!(
                !["img", "iframe", "object", "base", "style"].contains(&name),
                "{tag}"
            );
            for bad in [" on", " style=", "javascript:", "http-equiv", " srcdoc"] {
                // Values are escaped, so a quote ends one.
                let outside: String = tag.split('"').step_by(2).collect();
                assert!(!outside.contains(bad), "{bad} in {tag}");
            }
            for link in ["href", "src", "action"] {
                let path = attribute(tag, link);
                let is_own = |path: &str| path.starts_with('/') && !path.starts_with("//");
                assert!(
                    path.is_none_or(|path| is_own(path) || path == "#main"),
                    "{tag}"
                );
            }
        }
        for unseen in ['\u{202e}', '\u{1b}'] {
            assert!(!page.contains(unseen), "{page}");
        }
    }
    let said = "&quot;'&gt;&lt;script&gt;alert(1)&lt;/script&gt;";
    let telling = pages.iter().filter(|page| page.contains(said));
    assert_eq!(
        telling.count(),
        pages.len(),
        "the words themselves are shown"
    );
}

/// Below a path, nothing leads out of it; and whoever came in by a form can leave everywhere.
#[test]
fn pages_below_a_path_stay_there() {
    let below = Site {
        has_session: true,
        ..site("/ui")
    };
    let door = login::show(&site("/ui"), Some(HOSTILE));
    let pages = pages_at(below);
    for page in pages.iter().chain([&door]) {
        let mut links = 0;
        for tag in tags(page) {
            for link in ["href", "src", "action", "data-events"] {
                if let Some(path) = attribute(tag, link).filter(|path| *path != "#main") {
                    assert!(path.starts_with("/ui/"), "{tag}");
                    links += 1;
                }
            }
        }
        assert!(links >= 3, "{page}");
    }
    for page in &pages {
        let leave = "<form class=\"leave\" method=\"post\" action=\"/ui/logout\"><input type=\"hidden\" name=\"key\" value=\"form-key\">";
        assert!(page.contains(leave), "{page}");
    }
    assert!(
        !door.contains("Log out") && !door.contains("<script"),
        "{door}"
    );
}

/// For the script, for keyboards, and for those who do not see the page.
#[test]
fn pages_are_whole() {
    for page in pages() {
        let mut ids = BTreeSet::new();
        for tag in tags(&page) {
            if let Some(id) = attribute(tag, "id") {
                assert!(ids.insert(id), "{id} twice in\n{page}");
            }
            if tag.contains(" data-live") {
                assert!(attribute(tag, "id").is_some(), "{tag}");
            }
            if tag.starts_with("svg") {
                assert!(tag.contains("aria-hidden"), "{tag}");
            }
        }
        for name in [
            "table", "tr", "td", "section", "form", "a", "dl", "ul", "div", "p", "span",
        ] {
            let all = tags(&page);
            let opened = all
                .iter()
                .filter(|tag| tag.split(' ').next() == Some(name))
                .count();
            let closed = all
                .iter()
                .filter(|tag| tag.strip_prefix('/') == Some(name))
                .count();
            assert_eq!(opened, closed, "{name}");
        }
        assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">"));
        assert_eq!(page.matches("<h1>").count(), 1);
    }
}

#[test]
fn five_thousand_nodes_are_shown_by_fifties() {
    let snapshot = snapshot(&facts(5_000, 110, 3_000));
    let rows = |page: &str| page.matches("<tr role=\"row\"><td").count();
    let query = |page: usize| NodeQuery {
        page,
        ..NodeQuery::default()
    };
    let first = nodes::show(&snapshot, &query(1));
    assert_eq!(rows(&first), PAGE);
    assert!(first.contains("1–50 of 5000 nodes"), "{first}");
    assert!(first.contains("href=\"/nodes?by=lapse&amp;page=2\""));
    assert!(
        !first.contains("id=\"earlier\"") && first.len() < 100_000,
        "{}",
        first.len()
    );
    let last = nodes::show(&snapshot, &query(999));
    assert!(last.contains("4951–5000 of 5000 nodes") && !last.contains("id=\"later\""));
    let all = requests::show(&snapshot, &RequestQuery::default());
    assert!(all.contains("1–50 of 3000 requests") && rows(&all) == PAGE);
    assert!(overview::show(&snapshot).len() < 60_000);
}

#[test]
fn nodes_are_found_and_sorted() {
    let fleet = Fleet::of(&facts(110, 110, 0));
    let found = |query: NodeQuery| nodes::select(&fleet.nodes, &query);
    let by = |order: Order| {
        found(NodeQuery {
            order,
            ..NodeQuery::default()
        })
    };
    assert_eq!(by(Order::Lapse).len(), 110);
    let first = by(Order::Lapse)[0].client.standing;
    assert!(matches!(first, Standing::Expired), "{first:?}");
    assert_eq!(by(Order::Used)[0].client.life_used_percent, Some(109));
    assert!(by(Order::Name).is_sorted_by_key(|node| &node.name));
    assert!(by(Order::End)[0].name.contains("00109"));
    let late = found(NodeQuery {
        standing: Some(Standing::Late),
        ..NodeQuery::default()
    });
    assert!(
        !late.is_empty()
            && late
                .iter()
                .all(|node| node.client.standing == Standing::Late)
    );
    let one = found(NodeQuery {
        search: "NAME-00042".to_owned(),
        ..NodeQuery::default()
    });
    assert_eq!(one.len(), 1);
    let none = found(NodeQuery {
        search: "nobody".to_owned(),
        ..NodeQuery::default()
    });
    assert!(none.is_empty());
}

#[test]
fn requests_are_found() {
    let (_, snapshot) = hostile();
    let found = |query: RequestQuery| requests::select(&snapshot.fleet.requests, &query).len();
    assert_eq!(found(RequestQuery::default()), 4);
    assert_eq!(
        found(RequestQuery {
            state: Some(State::Denied),
            ..RequestQuery::default()
        }),
        1
    );
    assert_eq!(
        found(RequestQuery {
            search: "ONERROR".to_owned(),
            ..RequestQuery::default()
        }),
        4
    );
    assert_eq!(
        found(RequestQuery {
            search: "nobody".to_owned(),
            ..RequestQuery::default()
        }),
        0
    );
}

#[test]
fn only_what_is_open_can_be_decided() {
    let (facts, snapshot) = hostile();
    for object in facts.evidence.requests.read().unwrap() {
        let page = shown(&snapshot, &facts.evidence, object, None);
        let is_open = csr::Csr(object).conditions().is_empty();
        assert_eq!(page.contains("method=\"post\""), is_open);
        assert_eq!(page.contains("name=\"key\" value=\"form-key\""), is_open);
        assert_eq!(page.contains("name=\"uid\" value=\"u1\""), is_open);
        assert!(!page.contains("You have"));
        for (verdict, kind) in [(Verdict::Approve, "Approved"), (Verdict::Deny, "Denied")] {
            let page = shown(&snapshot, &facts.evidence, object, Some(verdict));
            let stands = csr::Csr(object).has_condition(kind);
            assert_eq!(page.contains("You have"), stands, "a link says nothing");
        }
    }
}

#[test]
fn no_sign_stands_for_two_words() {
    let shown = Standing::ALL.map(|one| super::standing(one).into_string());
    let words: BTreeSet<_> = shown.iter().collect();
    assert_eq!(words.len(), Standing::ALL.len());
    let sign = |text: &String| {
        text.split("\"true\">")
            .nth(1)
            .and_then(|rest| rest.chars().next())
    };
    let signs: BTreeSet<_> = shown.iter().map(sign).collect();
    assert_eq!(signs.len(), Standing::ALL.len());
    for (one, text) in Standing::ALL.iter().zip(&shown) {
        assert!(text.contains(one.as_str()), "{text}");
    }
}

#[test]
fn a_slice_is_within_all() {
    for (all, page, wanted) in [
        (0, 1, (0, 0)),
        (1, 9, (0, 1)),
        (100, 2, (50, 100)),
        (101, 3, (100, 101)),
    ] {
        let slice = Slice::of(all, page, 50);
        assert_eq!(
            (slice.first, slice.end, slice.all),
            (wanted.0, wanted.1, all)
        );
    }
}

#[test]
fn the_overview_says_what_is_wrong() {
    let well = overview::show(&snapshot(&facts(3, 3, 0)));
    assert!(
        well.contains("No node lapses, by all that is known."),
        "{well}"
    );
    assert!(well.contains("agree to a second or two"));
    let mut bad = snapshot(&facts(110, 110, 3));
    bad.skew = SignedDuration::from_mins(-6);
    bad.roll = vec!["phase 1 of 2".to_owned()];
    bad.pace = None;
    let bad = overview::show(&bad);
    for part in [
        "certificates of nodes have lapsed or will",
        "Requests (3 pending)",
        "<strong>6m</strong> behind this machine's.",
        "phase 1 of 2",
        "Requests may not be read",
        "nodes is forbidden",
    ] {
        assert!(bad.contains(part), "{part} in\n{bad}");
    }
}
