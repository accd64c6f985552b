//! Lists and watches against a model: random writes, lists and watches in every form, and restarts
//! of the server, on the embedded store. The model is a log of what the answers to writes said.

mod log;
mod steps;

use super::fixture::{Answer, Watch, World};
use crate::handler::Limits;
use crate::store::Embedded;
use log::{Change, Model};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use steps::{Begin, Kind, NAMES, NAMESPACES, Scope, Step, steps};

/// A client that watches.
struct Watcher {
    scope: Scope,
    watch: Watch,
    /// What it still has to hear of the state at its start, and then everything after `told`.
    initial: Vec<Value>,
    wants_mark: bool,
    told: u64,
}

/// The server, those who watch it, and what must be true.
struct Play {
    directory: tempfile::TempDir,
    /// None while it is closed.
    world: Option<World>,
    model: Model,
    watchers: Vec<Watcher>,
    round: usize,
}

impl Play {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut play = Self {
            world: None,
            directory,
            model: Model::default(),
            watchers: Vec::new(),
            round: 0,
        };
        play.open();
        play.model.revision_at_start = play.revision();
        // What the server itself put there is part of the past.
        for kind in [Kind::Map, Kind::Node, Kind::Event] {
            let there = play.world().get(&kind.path(None)).expect(200);
            for object in there.json["items"].as_array().unwrap() {
                let revision = play.model.revision_at_start;
                play.model.log.push(Change {
                    revision,
                    kind,
                    key: key(object),
                    before: None,
                    after: Some(typed(kind, object)),
                });
            }
        }
        play
    }

    fn open(&mut self) {
        let store = Embedded::open(self.directory.path()).unwrap();
        self.world = Some(World::with(Box::new(store), Limits::default()));
    }

    fn world(&self) -> &World {
        self.world.as_ref().unwrap()
    }

    fn revision(&self) -> u64 {
        self.world().get("/api/v1/nodes?limit=1").version()
    }

    fn step(&mut self, step: Step) {
        self.round += 1;
        match step {
            Step::Create(kind, second, name, selected) => self.create(kind, second, name, selected),
            Step::Change(kind, at, selected) => {
                let patch = kind.change(selected, self.round);
                self.patch(kind, &at, &patch, "");
            }
            Step::Nothing(kind, at) => self.patch(kind, &at, &json!({}), ""),
            Step::Trial(kind, at) => {
                let patch = kind.change(true, self.round);
                self.patch(kind, &at, &patch, "?dryRun=All");
            }
            Step::Delete(kind, at) => self.delete(kind, &at),
            Step::DeleteSelected(scope) => self.delete_selected(&scope),
            Step::Watch(scope, begin) => self.watch(scope, &begin),
            Step::Follow(at) => {
                if !self.watchers.is_empty() {
                    let at = at.index(self.watchers.len());
                    self.follow(at);
                }
            }
            Step::List(scope, limit) => self.list(&scope, limit),
            Step::ListAt(scope, at, exact) => self.list_at(&scope, &at, exact),
            Step::Restart => self.restart(),
        }
    }

    fn note(
        &mut self,
        kind: Kind,
        key: (String, String),
        before: Option<Value>,
        after: Option<Value>,
    ) {
        let revision = self.revision();
        if let Some(after) = &after {
            assert_eq!(after["metadata"]["resourceVersion"], revision.to_string());
        }
        self.model.log.push(Change {
            revision,
            kind,
            key,
            before,
            after,
        });
    }

    fn create(&mut self, kind: Kind, second: bool, name: &str, selected: bool) {
        let namespace = kind.namespace(second);
        let object = kind.object(namespace, name, selected);
        let answer = self.world().post(&kind.path(Some(namespace)), &object);
        let key = (namespace.to_owned(), name.to_owned());
        if self.model.now(kind).contains_key(&key) {
            answer.expect(409);
            return;
        }
        let created = answer.expect(201).json;
        self.note(kind, key, None, Some(created));
    }

    /// One of the objects that are there, and where it is; none of the server's own, which it
    /// looks after.
    fn one_of(&self, kind: Kind, at: &Index) -> Option<((String, String), Value, String)> {
        let is_ours = |((_, name), _): &((_, String), _)| NAMES.contains(&name.as_str());
        let all: Vec<_> = self.model.now(kind).into_iter().filter(is_ours).collect();
        if all.is_empty() {
            return None;
        }
        let (key, object) = all[at.index(all.len())].clone();
        let path = format!("{}/{}", kind.path(Some(&key.0)), key.1);
        Some((key, object, path))
    }

    fn patch(&mut self, kind: Kind, at: &Index, patch: &Value, query: &str) {
        let Some((key, before, path)) = self.one_of(kind, at) else {
            return;
        };
        let revision = self.revision();
        let answer = self.world().patch(&format!("{path}{query}"), patch);
        let after = answer.expect(200).json;
        if self.revision() == revision {
            assert!(
                patch == &json!({}) || !query.is_empty(),
                "nothing was written"
            );
            return;
        }
        assert_eq!(self.revision(), revision + 1);
        self.note(kind, key, Some(before), Some(after));
    }

    fn delete(&mut self, kind: Kind, at: &Index) {
        if let Some((key, before, path)) = self.one_of(kind, at) {
            self.world().delete(&path).expect(200);
            self.note(kind, key, Some(before), None);
        }
    }

    fn delete_selected(&mut self, scope: &Scope) {
        // Across all namespaces nothing can be deleted at once.
        let scope = Scope {
            namespace: (scope.kind != Kind::Node).then_some(NAMESPACES[0]),
            ..scope.clone()
        };
        let before = self.revision();
        let gone = self.model.list(&scope, u64::MAX);
        self.world().delete(&scope.url("")).expect(200);
        assert_eq!(self.revision(), before + gone.len() as u64);
        for (number, object) in gone.into_iter().enumerate() {
            self.model.log.push(Change {
                revision: before + 1 + number as u64,
                kind: scope.kind,
                key: key(&object),
                before: Some(object),
                after: None,
            });
        }
    }

    /// A revision that there was, since the beginning.
    fn past(&self, at: &Index) -> u64 {
        let first = self.model.revision_at_start;
        let count = self.revision() - first + 1;
        first + at.index(usize::try_from(count).unwrap()) as u64
    }

    fn watch(&mut self, scope: Scope, begin: &Begin) {
        let now = self.revision();
        let (query, told, has_state) = match begin {
            Begin::State => (String::new(), now, true),
            Begin::Zero => ("&resourceVersion=0".to_owned(), now, true),
            Begin::Initial => (
                "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
                    .to_owned(),
                now,
                true,
            ),
            Begin::Now => (
                "&sendInitialEvents=false&resourceVersionMatch=NotOlderThan".to_owned(),
                now,
                false,
            ),
            Begin::After(at) => {
                let past = self.past(at);
                (format!("&resourceVersion={past}"), past, false)
            }
        };
        let url = scope.url(&format!("watch=true&timeoutSeconds=3600{query}"));
        let response = self.world().raw("GET", &url, &[], "");
        if response.status() == 410 {
            assert!(matches!(begin, Begin::After(_)), "{url}");
            return;
        }
        assert_eq!(response.status(), 200, "{url}");
        let watch = Watch(response.into_body().into_watch().unwrap());
        let initial = match has_state {
            true => self.model.list(&scope, now),
            false => Vec::new(),
        };
        self.watchers.push(Watcher {
            scope,
            watch,
            initial,
            wants_mark: matches!(begin, Begin::Initial),
            told,
        });
    }

    /// Everything that a watcher is told by now, each event once, in order.
    fn follow(&mut self, at: usize) {
        let now = self.revision();
        let watcher = &mut self.watchers[at];
        let (events, ended) = watcher.watch.drain(0);
        assert!(!ended);
        let mut expected: Vec<(&str, Value)> = Vec::new();
        let initial = std::mem::take(&mut watcher.initial);
        expected.extend(initial.into_iter().map(|object| ("ADDED", object)));
        let mark = expected.len();
        expected.extend(self.model.events(&watcher.scope, watcher.told));
        let mut seen: Vec<(&str, Value)> = Vec::new();
        for event in &events {
            let kind = event["type"].as_str().unwrap();
            if kind == "BOOKMARK" {
                assert!(std::mem::take(&mut watcher.wants_mark), "{event}");
                assert_eq!(seen.len(), mark, "the mark comes after the state");
                continue;
            }
            seen.push((kind, event["object"].clone()));
        }
        assert!(!watcher.wants_mark, "a mark was promised");
        assert_eq!(seen, expected, "{:?} after {}", watcher.scope, watcher.told);
        watcher.told = now;
    }

    /// A list in pages, whose state stays while others write.
    fn list(&mut self, scope: &Scope, limit: usize) {
        let first = self
            .world()
            .get(&scope.url(&format!("limit={limit}")))
            .expect(200);
        let revision = first.version();
        let mut items = items(scope.kind, &first);
        let mut page = first;
        while let Some(token) = continuation(&page) {
            assert!(limit > 0);
            assert_eq!(items.len() % limit, 0, "a page that goes on is full");
            // Somebody writes between two pages.
            self.create(scope.kind, false, "d", true);
            let url = scope.url(&format!("limit={limit}&continue={token}"));
            page = self.world().get(&url).expect(200);
            assert_eq!(page.version(), revision);
            items.extend(self::items(scope.kind, &page));
        }
        assert_eq!(
            items,
            self.model.list(scope, revision),
            "{scope:?} at {revision}"
        );
    }

    /// A list at, or not before, a revision that there was.
    fn list_at(&mut self, scope: &Scope, at: &Index, exact: bool) {
        let (asked, now) = (self.past(at), self.revision());
        let matching = if exact { "Exact" } else { "NotOlderThan" };
        let query = format!("resourceVersion={asked}&resourceVersionMatch={matching}");
        let answer = self.world().get(&scope.url(&query));
        if exact && answer.code == 410 {
            assert!(answer.message().contains("too old resource version"));
            return;
        }
        let answer = answer.expect(200);
        let revision = answer.version();
        assert_eq!(revision, if exact { asked } else { now });
        let expected = self.model.list(scope, revision);
        assert_eq!(
            items(scope.kind, &answer),
            expected,
            "{scope:?} at {revision}"
        );
    }

    /// The server ends and begins again; those who watched go on where they were, or are told that
    /// they cannot.
    fn restart(&mut self) {
        let before = self.revision();
        for at in 0..self.watchers.len() {
            self.follow(at);
        }
        self.world().server.stop();
        let watchers = std::mem::take(&mut self.watchers);
        let watched: Vec<(Scope, u64)> = watchers
            .into_iter()
            .map(|mut watcher| {
                let (events, ended) = watcher.watch.drain(0);
                assert!(ended && events.is_empty(), "{events:?}");
                (watcher.scope, watcher.told)
            })
            .collect();
        self.world = None;
        self.open();
        assert_eq!(self.revision(), before, "a restart changes nothing");
        for (scope, told) in watched {
            let query = format!("watch=true&timeoutSeconds=3600&resourceVersion={told}");
            let response = self.world().raw("GET", &scope.url(&query), &[], "");
            if response.status() == 410 {
                let listed = self.world().get(&scope.url("")).expect(200);
                assert_eq!(items(scope.kind, &listed), self.model.list(&scope, before));
                continue;
            }
            assert_eq!(response.status(), 200);
            self.watchers.push(Watcher {
                scope,
                watch: Watch(response.into_body().into_watch().unwrap()),
                initial: Vec::new(),
                wants_mark: false,
                told,
            });
        }
    }
}

fn key(object: &Value) -> (String, String) {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or("").to_owned();
    (text("namespace"), text("name"))
}

/// Items of a list name neither kind nor version.
fn typed(kind: Kind, item: &Value) -> Value {
    let mut object = item.clone();
    object["apiVersion"] = "v1".into();
    object["kind"] = match kind {
        Kind::Map => "ConfigMap",
        Kind::Node => "Node",
        Kind::Event => "Event",
    }
    .into();
    object
}

fn items(kind: Kind, answer: &Answer) -> Vec<Value> {
    let items = answer.json["items"].as_array().unwrap();
    items.iter().map(|item| typed(kind, item)).collect()
}

fn continuation(page: &Answer) -> Option<String> {
    let token = page.json["metadata"]["continue"].as_str()?;
    (!token.is_empty()).then(|| token.to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    /// Whatever happens: a list is what the model holds at its version, page by page; a watcher is
    /// told of each change in its scope once, in order and as what it is to that scope, over
    /// restarts, too.
    #[test]
    fn lists_and_watches_are_what_the_model_says(steps in prop::collection::vec(steps(), 10..60)) {
        let mut play = Play::new();
        for step in steps {
            play.step(step);
        }
        for at in 0..play.watchers.len() {
            play.follow(at);
        }
    }
}
