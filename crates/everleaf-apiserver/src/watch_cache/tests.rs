use super::*;
use crate::registry::clustertrustbundles::{BETA_CLUSTER_TRUST_BUNDLES, CLUSTER_TRUST_BUNDLES};
use crate::registry::configmaps::CONFIG_MAPS;
use everleaf_api::negotiate::Encoding;
use everleaf_api::watch::EventType;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::task::{Poll, Waker};

const RESOURCE: &str = "configmaps";

/// A cache with the one thing that changes it.
struct TestCache {
    cache: Arc<Cache>,
}

impl TestCache {
    fn new() -> Self {
        Self {
            cache: Arc::new(Cache::new(&[&CONFIG_MAPS], 0)),
        }
    }

    /// Puts (Some) or deletes (None) an object; a delete of nothing does nothing.
    fn change(&self, name: &str, label: Option<&str>) {
        let revision = self.cache.revision() + 1;
        let previous = self.cache.get(RESOURCE, "ns", name);
        let event = match (label, previous) {
            (None, None) => return,
            (None, Some(last)) => {
                Event::new(Arc::new(last.at_revision(revision)), Some(last), true)
            }
            (Some(label), previous) => {
                let object = json!({"metadata": {"name": name, "namespace": "ns",
                    "labels": {"l": label}, "resourceVersion": revision.to_string()}});
                let created = previous.as_ref().map_or(revision, |stored| stored.created);
                let place = ("ns".to_owned(), name.to_owned());
                let bytes = vec![0; 100].into();
                let stored = Stored::new(&CONFIG_MAPS, place, (revision, created), object, bytes);
                Event::new(Arc::new(stored), previous, false)
            }
        };
        self.cache.publish(&[Arc::new(event)], revision);
    }

    fn watch(&self, start: Start) -> Result<Feed, SnapshotError> {
        self.cache.watch(RESOURCE, Scope::default(), start)
    }

    /// Everything at a revision, or now.
    fn walk(&self, revision: Option<u64>, start: &str) -> Walk {
        let snapshot = self.cache.snapshot(RESOURCE, revision).unwrap();
        snapshot.walk(Scope::default(), start)
    }

    /// What matches: name → object.
    fn list(&self, matches: impl Fn(&Value) -> bool, revision: Option<u64>) -> State {
        self.walk(revision, "")
            .filter(|stored| matches(&stored.object()))
            .map(|stored| (stored.name.to_string(), stored.object().into_owned()))
            .collect()
    }
}

type State = BTreeMap<String, Value>;

/// Applies everything a feed tells to `state`, as a client would; asserts that events make sense.
fn follow(feed: &mut Feed, state: &mut State, matches: impl Fn(&Value) -> bool) {
    let mut context = std::task::Context::from_waker(Waker::noop());
    while let Poll::Ready(next) = feed.poll_next(&mut context) {
        match next {
            Next::Existing(stored) => {
                if matches(&stored.object()) {
                    let known = state.insert(stored.name.to_string(), stored.object().into_owned());
                    assert_eq!(known, None);
                }
            }
            Next::Synced(_) => {}
            Next::Event(event) => {
                let Some(selected) = event.select(|stored| matches(&stored.object())) else {
                    continue;
                };
                let name = selected.object.name.to_string();
                let shown = selected.object.object().into_owned();
                assert_eq!(
                    shown["metadata"]["resourceVersion"],
                    event.revision().to_string()
                );
                let known = match selected.kind {
                    EventType::Deleted => state.remove(&name),
                    _ => state.insert(name, shown),
                };
                assert_eq!(known.is_some(), selected.kind != EventType::Added);
            }
            Next::Overflow | Next::Closed => panic!("neither was provoked"),
        }
    }
}

fn is_x(object: &Value) -> bool {
    object["metadata"]["labels"]["l"] == "x"
}

#[derive(Debug, Clone)]
enum Step {
    Change(u8, Option<bool>),
    Follow,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..6, prop::option::weighted(0.7, any::<bool>())).prop_map(|(key, to)| Step::Change(key, to)),
        1 => Just(Step::Follow),
    ]
}

proptest! {
    /// Whatever happened: a list, then the events after it, is the next list. For everything and
    /// for a selection; for a watch from the state, and for one from any revision on.
    #[test]
    fn a_watch_is_a_list_plus_events(
        before in prop::collection::vec(step(), 0..20),
        after in prop::collection::vec(step(), 0..40),
        back in 0u64..20,
    ) {
        let test = TestCache::new();
        let play = |steps: &[Step], each: &mut dyn FnMut()| {
            for step in steps {
                match step {
                    Step::Change(key, to) => {
                        let label = to.map(|x| if x { "x" } else { "y" });
                        test.change(&format!("k{key}"), label);
                    }
                    Step::Follow => each(),
                }
            }
        };
        play(&before, &mut || ());
        let from = test.cache.revision().saturating_sub(back);
        let (mut all, mut some) = (State::new(), State::new());
        let mut of_state = test.watch(Start::State).unwrap();
        let mut selected = test.watch(Start::State).unwrap();
        let mut resumed = test.watch(Start::After(from)).unwrap();
        let mut continued = test.list(|_| true, Some(from));
        play(&after, &mut || {
            follow(&mut of_state, &mut all, |_| true);
            follow(&mut selected, &mut some, is_x);
            follow(&mut resumed, &mut continued, |_| true);
        });
        follow(&mut of_state, &mut all, |_| true);
        follow(&mut selected, &mut some, is_x);
        follow(&mut resumed, &mut continued, |_| true);
        let now = test.list(|_| true, None);
        prop_assert_eq!(&all, &now);
        prop_assert_eq!(&continued, &now);
        prop_assert_eq!(some, test.list(is_x, None));
    }

    /// What is read from any place on, with changes in between, is the rest of the list at the
    /// first revision; so is what a walk shows that began before the changes. Every walk knows how
    /// much is left.
    #[test]
    fn a_walk_is_of_one_revision_whatever_is_written(
        before in prop::collection::vec(step(), 0..30),
        between in prop::collection::vec(step(), 0..30),
        taken in 0usize..4,
    ) {
        let test = TestCache::new();
        let play = |steps: Vec<Step>| for step in steps {
            if let Step::Change(key, to) = step {
                test.change(&format!("k{key}"), to.map(|_| "x"));
            }
        };
        play(before);
        let expected: Vec<String> = test.list(|_| true, None).into_keys().collect();
        let revision = test.cache.revision();
        let mut first = test.walk(None, "");
        let mut found: Vec<String> = first.by_ref().take(taken).map(|s| s.name.to_string()).collect();
        play(between);
        let start = found.last().map_or(String::new(), |last| key_of("ns", last) + "\0");
        let mut again = test.walk(Some(revision), &start);
        prop_assert_eq!((first.left(), again.left()), (expected.len() - found.len(), expected.len() - found.len()));
        let rest: Vec<String> = first.map(|stored| stored.name.to_string()).collect();
        let read_again: Vec<String> = again.by_ref().map(|stored| stored.name.to_string()).collect();
        prop_assert_eq!(&rest, &read_again);
        prop_assert_eq!(again.left(), 0);
        found.extend(rest);
        prop_assert_eq!(found, expected);
    }

    /// However many objects: what a map holds. Keys order by their text, where a namespace may go
    /// on with what comes before a slash.
    #[test]
    fn a_sequence_is_a_sorted_map(steps in prop::collection::vec((0u8..3, 0u16..600, any::<bool>()), 0..1500)) {
        let namespaces = ["a", "a-b", "a.c"];
        let (mut sequence, mut map) = (Sequence::default(), BTreeMap::new());
        let mut shared = Vec::new();
        for (number, (namespace, name, is_put)) in steps.into_iter().enumerate() {
            let place = (namespaces[usize::from(namespace)].to_owned(), format!("n{name}"));
            let key = key_of(&place.0, &place.1);
            if is_put || number < 900 {
                let stored = Stored::new(&CONFIG_MAPS, place, (1, 1), Value::Null, vec![].into());
                let stored = Arc::new(stored);
                sequence.insert(&key, Arc::clone(&stored));
                map.insert(key.clone(), stored);
            } else {
                sequence.remove(&key);
                map.remove(&key);
            }
            if number % 500 == 0 {
                shared.push((sequence.clone(), map.clone()));
            }
            prop_assert_eq!(sequence.get(&key).is_some(), map.contains_key(&key));
        }
        shared.push((sequence, map));
        for (sequence, map) in &shared {
            let keys = sequence.from("").map(|stored| key_of(&stored.namespace, &stored.name));
            prop_assert!(keys.eq(map.keys().cloned()));
            prop_assert_eq!(sequence.len(), map.len());
            for key in ["", "a-b/n3", "a/n50", "a/n9", "b"] {
                let before = map.range(..key.to_owned()).count();
                prop_assert_eq!(sequence.count_before(key), before);
                prop_assert_eq!(sequence.from(key).count(), map.len() - before);
            }
        }
    }
}

#[test]
fn history_is_bounded_by_number_and_by_bytes() {
    let mut history = History::new(0);
    let event = |revision: u64, bytes: usize| {
        let place = (String::new(), "a".to_owned());
        let bytes = vec![0; bytes].into();
        let stored = Stored::new(&CONFIG_MAPS, place, (revision, 1), Value::Null, bytes);
        Arc::new(Event::new(Arc::new(stored), None, false))
    };
    let (max, recent) = (HISTORY_EVENTS_MAX as u64, RECENT_EVENTS_MAX as u64);
    (1..=max).for_each(|revision| drop(history.push(event(revision, 1))));
    assert_eq!(history.floor(), 0);
    assert_eq!(history.push(event(max + 1, 1)).len(), 1);
    assert_eq!(history.floor(), 1);
    assert!(history.after(0).is_none());
    let revisions = history.after(1).unwrap().map(|event| event.revision());
    assert!(revisions.eq(2..=max + 1));
    let few = |revision| history.few_after(revision).map(Iterator::count);
    assert_eq!(few(max + 1 - recent), Some(RECENT_EVENTS_MAX));
    assert_eq!(few(max - recent), None);
    // What was replaced or deleted counts; what is there anyway does not.
    let large = event(max + 2, HISTORY_BYTES_MAX);
    drop(history.push(Arc::clone(&large)));
    assert!(history.after(max).is_some());
    let next = event(max + 3, 1);
    let replaces = |previous: &Arc<Event>, deleted| {
        let previous = Some(Arc::clone(&previous.object));
        Arc::new(Event::new(Arc::clone(&next.object), previous, deleted))
    };
    drop(history.push(replaces(&large, false)));
    assert!(history.after(max).is_some());
    drop(history.push(replaces(&next, true)));
    assert_eq!(history.after(max + 3).unwrap().count(), 0);
    assert!(history.after(max + 2).is_none());
}

#[test]
fn history_ages() {
    let test = TestCache::new();
    let reaches = |revision| test.watch(Start::After(revision)).is_ok();
    let age = |times| (0..times).for_each(|_| test.cache.age());
    test.change("a", Some("x"));
    test.change("a", Some("y"));
    let old = test.cache.revision();
    age(1);
    test.change("a", Some("x"));
    age(9);
    assert!(reaches(old - 1), "ten minutes are not over");
    age(1);
    assert!(reaches(old), "what came after it is younger");
    assert!(!reaches(old - 1));
    age(1);
    let now = test.cache.revision();
    assert!(reaches(now) && !reaches(now - 1));
    // It goes on as ever.
    test.change("b", Some("x"));
    let mut feed = test.watch(Start::After(now)).unwrap();
    let mut seen = State::new();
    follow(&mut feed, &mut seen, |_| true);
    assert_eq!(seen.len(), 1);
}

#[test]
fn a_thousand_watchers_share_one_rendering() {
    let test = TestCache::new();
    let mut feeds: Vec<Feed> = (0..1000).map(|_| test.watch(Start::Now).unwrap()).collect();
    test.change("a", Some("x"));
    let mut context = std::task::Context::from_waker(Waker::noop());
    let mut frames = feeds.iter_mut().map(|feed| {
        let Poll::Ready(Next::Event(event)) = feed.poll_next(&mut context) else {
            panic!("the event is there");
        };
        let selected = event.select(|_| true).unwrap();
        event.frame(&selected, &CONFIG_MAPS, Encoding::Json)
    });
    let first = frames.next().unwrap();
    assert!(frames.all(|frame| frame.as_ptr() == first.as_ptr()));
}

#[test]
fn those_who_watch_another_version_share_one_rendering_of_it() {
    let r#type = BETA_CLUSTER_TRUST_BUNDLES.r#type;
    let object = json!({"metadata": {"name": "a"}, "spec": {"trustBundle": "-"}});
    let object = r#type.decode_value(object).unwrap().object;
    let bytes = r#type.encode_protobuf(&object).into();
    let place = (String::new(), "a".to_owned());
    let stored = Stored::new(&BETA_CLUSTER_TRUST_BUNDLES, place, (7, 7), object, bytes);
    let event = Event::new(Arc::new(stored), None, false);
    let selected = event.select(|_| true).unwrap();
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let beta = event.frame(&selected, &BETA_CLUSTER_TRUST_BUNDLES, encoding);
        let stable = || event.frame(&selected, &CLUSTER_TRUST_BUNDLES, encoding);
        assert_eq!(stable().as_ptr(), stable().as_ptr());
        let has = |frame: &[u8], text: &str| {
            let mut windows = frame.windows(text.len());
            windows.any(|window| window == text.as_bytes())
        };
        assert!(has(&beta, "certificates.k8s.io/v1beta1"));
        assert!(has(&stable(), "certificates.k8s.io/v1"));
        assert!(!has(&stable(), "certificates.k8s.io/v1beta1"));
    }
}

#[test]
fn a_watcher_that_leaves_is_forgotten() {
    let test = TestCache::new();
    let scope = Scope {
        namespace: Some("ns".to_owned()),
        name: Some("a".to_owned()),
    };
    let named = test.cache.watch(RESOURCE, scope, Start::Now).unwrap();
    let any = test.watch(Start::Now).unwrap();
    assert_eq!(test.cache.watcher_counts(), [(RESOURCE, 2)]);
    assert_eq!(test.cache.watcher_count(), 2);
    drop((named, any));
    assert_eq!(test.cache.watcher_count(), 0);
    assert_eq!(test.cache.watcher_counts(), []);
}

#[test]
fn a_waiting_watcher_is_woken() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    struct Bell(AtomicUsize);
    impl std::task::Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let test = TestCache::new();
    let bell = Arc::new(Bell(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&bell));
    let mut context = std::task::Context::from_waker(&waker);
    let mut any = test.watch(Start::Now).unwrap();
    let scope = Scope {
        name: Some("b".to_owned()),
        ..Scope::default()
    };
    let mut named = test.cache.watch(RESOURCE, scope, Start::Now).unwrap();
    assert!(any.poll_next(&mut context).is_pending());
    assert!(named.poll_next(&mut context).is_pending());
    test.change("a", Some("x"));
    test.change("a", Some("y"));
    assert_eq!(
        bell.0.load(Ordering::Relaxed),
        1,
        "only the one it concerns, and once"
    );
    assert!(any.poll_next(&mut context).is_ready());
    test.cache.close_feeds();
    assert!(matches!(
        named.poll_next(&mut context),
        Poll::Ready(Next::Closed)
    ));
}

/// Wakers are foreign code: the last one of a task may drop another watch with it.
#[test]
fn wakers_are_dropped_and_called_while_nothing_is_locked() {
    struct Holder {
        _feed: Mutex<Feed>,
    }
    impl std::task::Wake for Holder {
        fn wake(self: Arc<Self>) {}
    }
    let test = TestCache::new();
    let named = Scope {
        name: Some("a".to_owned()),
        ..Scope::default()
    };
    for scope in [Scope::default(), named] {
        let watch = || {
            test.cache
                .watch(RESOURCE, scope.clone(), Start::Now)
                .unwrap()
        };
        let holding = |feed: Feed| {
            let _feed = Mutex::new(feed);
            Waker::from(Arc::new(Holder { _feed }))
        };
        let sleep = |feed: &mut Feed, waker: &Waker| {
            let mut context = std::task::Context::from_waker(waker);
            assert!(feed.poll_next(&mut context).is_pending());
        };
        let mut feed = watch();
        sleep(&mut feed, &holding(watch()));
        // Replaced,
        sleep(&mut feed, &holding(watch()));
        // called,
        test.change("a", Some("x"));
        let mut context = std::task::Context::from_waker(Waker::noop());
        assert!(feed.poll_next(&mut context).is_ready());
        sleep(&mut feed, &holding(watch()));
        // and gone with its feed.
        drop(feed);
        assert_eq!(test.cache.watcher_count(), 0);
    }
}

#[test]
fn who_watches_one_name_is_not_passed_by_what_others_do() {
    let test = TestCache::new();
    let scope = Scope {
        name: Some("a".to_owned()),
        ..Scope::default()
    };
    let mut feed = test.cache.watch(RESOURCE, scope, Start::Now).unwrap();
    test.change("a", Some("x"));
    (0..=RECENT_EVENTS_MAX).for_each(|_| test.change("b", Some("x")));
    let mut context = std::task::Context::from_waker(Waker::noop());
    let first = feed.poll_next(&mut context);
    assert!(matches!(first, Poll::Ready(Next::Event(_))), "{first:?}");
    assert!(feed.poll_next(&mut context).is_pending());
    // But not for ever behind on its own.
    (0..=feed::WATCH_BUFFER_EVENTS_MAX).for_each(|_| test.change("a", Some("x")));
    let next = feed.poll_next(&mut context);
    assert!(matches!(next, Poll::Ready(Next::Overflow)), "{next:?}");
}

/// A lease that ends takes many objects with it, all at one revision.
#[test]
fn changes_of_one_revision_are_told_whole() {
    let test = TestCache::new();
    let names: Vec<String> = (0..200).map(|number| format!("n{number:03}")).collect();
    names.iter().for_each(|name| test.change(name, Some("x")));
    let mut feed = test.watch(Start::Now).unwrap();
    let revision = test.cache.revision() + 1;
    let gone = |name: &String| {
        let last = test.cache.get(RESOURCE, "ns", name).unwrap();
        let object = Arc::new(last.at_revision(revision));
        Arc::new(Event::new(object, Some(last), true))
    };
    let events: Vec<_> = names.iter().map(gone).collect();
    test.cache.publish(&events, revision);
    let mut context = std::task::Context::from_waker(Waker::noop());
    for name in &names {
        let Poll::Ready(Next::Event(event)) = feed.poll_next(&mut context) else {
            panic!("{name} is missing");
        };
        assert_eq!(*event.object.name, **name);
    }
    assert!(feed.poll_next(&mut context).is_pending());
}

#[test]
fn whoever_watched_what_is_forgotten_is_told_so() {
    let test = TestCache::new();
    test.change("a", Some("x"));
    let scope = Scope {
        name: Some("a".to_owned()),
        ..Scope::default()
    };
    let mut all = test.watch(Start::Now).unwrap();
    let mut one = test.cache.watch(RESOURCE, scope, Start::Now).unwrap();
    test.cache.publish(&[], 9);
    test.cache.forget_history(9);
    let mut context = std::task::Context::from_waker(Waker::noop());
    for feed in [&mut all, &mut one] {
        let next = feed.poll_next(&mut context);
        assert!(matches!(next, Poll::Ready(Next::Overflow)), "{next:?}");
    }
    assert!(test.watch(Start::After(8)).is_err());
    let mut state = State::new();
    let mut feed = test.watch(Start::After(9)).unwrap();
    test.change("b", Some("x"));
    follow(&mut feed, &mut state, |_| true);
    assert_eq!(state.len(), 1);
}

#[test]
fn bookmarks_never_overtake_events() {
    let test = TestCache::new();
    let mut feed = test.watch(Start::Now).unwrap();
    test.change("a", Some("x"));
    test.change("b", Some("x"));
    assert_eq!(feed.bookmark(), 0, "two are still to come");
    let mut context = std::task::Context::from_waker(Waker::noop());
    assert!(feed.poll_next(&mut context).is_ready());
    assert_eq!(feed.bookmark(), 1);
    assert!(feed.poll_next(&mut context).is_ready());
    assert_eq!(feed.bookmark(), 2);
    let scope = Scope {
        name: Some("z".to_owned()),
        ..Scope::default()
    };
    let mut elsewhere = test.cache.watch(RESOURCE, scope, Start::Now).unwrap();
    test.change("a", Some("y"));
    assert_eq!(
        elsewhere.bookmark(),
        3,
        "what does not concern it counts too"
    );
}
