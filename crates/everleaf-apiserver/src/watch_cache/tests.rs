use std::task::{Poll, Waker};

use everleaf_api::negotiate::Encoding;
use everleaf_api::watch::EventType;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::registry::configmaps::CONFIG_MAPS;

const RESOURCE: &str = "configmaps";

/// A cache with the one thing that changes it.
struct Hand {
    cache: Arc<Cache>,
}

impl Hand {
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

    fn watch(&self, start: Start) -> Result<Feed, u64> {
        self.cache.watch(RESOURCE, Scope::default(), start)
    }

    /// What matches now: name → object.
    fn list(&self, matches: impl Fn(&Value) -> bool, revision: Option<u64>) -> State {
        let request = PageRequest {
            revision,
            ..PageRequest::default()
        };
        let page = self
            .cache
            .page(RESOURCE, &request, &|stored| matches(&stored.object()))
            .unwrap();
        page.objects
            .iter()
            .map(|stored| (stored.name.clone(), stored.object().into_owned()))
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
                    let known = state.insert(stored.name.clone(), stored.object().into_owned());
                    assert_eq!(known, None);
                }
            }
            Next::Synced(_) => {}
            Next::Event(event) => {
                let Some(selected) = event.select(|stored| matches(&stored.object())) else {
                    continue;
                };
                let name = selected.object.name.clone();
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
    /// Whatever happened: a list, then the events after it, is the next list. For everything and for
    /// a selection; for a watch from the state, and for one from any revision on.
    #[test]
    fn a_watch_is_a_list_plus_events(
        before in prop::collection::vec(step(), 0..20),
        after in prop::collection::vec(step(), 0..40),
        back in 0u64..20,
    ) {
        let hand = Hand::new();
        let play = |steps: &[Step], each: &mut dyn FnMut()| {
            for step in steps {
                match step {
                    Step::Change(key, to) => {
                        let label = to.map(|x| if x { "x" } else { "y" });
                        hand.change(&format!("k{key}"), label);
                    }
                    Step::Follow => each(),
                }
            }
        };
        play(&before, &mut || ());
        let from = hand.cache.revision().saturating_sub(back);
        let (mut all, mut some) = (State::new(), State::new());
        let mut of_state = hand.watch(Start::State).unwrap();
        let mut selected = hand.watch(Start::State).unwrap();
        let mut resumed = hand.watch(Start::After(from)).unwrap();
        let mut continued = hand.list(|_| true, Some(from));
        play(&after, &mut || {
            follow(&mut of_state, &mut all, |_| true);
            follow(&mut selected, &mut some, is_x);
            follow(&mut resumed, &mut continued, |_| true);
        });
        follow(&mut of_state, &mut all, |_| true);
        follow(&mut selected, &mut some, is_x);
        follow(&mut resumed, &mut continued, |_| true);
        let now = hand.list(|_| true, None);
        prop_assert_eq!(&all, &now);
        prop_assert_eq!(&continued, &now);
        prop_assert_eq!(some, hand.list(is_x, None));
    }

    /// Pages of any size, with changes in between, are together the list at the first page's revision.
    #[test]
    fn pages_are_one_snapshot(
        before in prop::collection::vec(step(), 0..30),
        between in prop::collection::vec(step(), 0..30),
        limit in 1usize..4,
    ) {
        let hand = Hand::new();
        let mut changes = between.into_iter();
        let play = |step: Step| if let Step::Change(key, to) = step {
            hand.change(&format!("k{key}"), to.map(|_| "x"));
        };
        before.into_iter().for_each(play);
        let expected: Vec<String> = hand.list(|_| true, None).into_keys().collect();
        let revision = hand.cache.revision();
        let (mut found, mut start) = (Vec::new(), String::new());
        let mut count = Count::Walk;
        loop {
            let request = PageRequest {
                namespace: Some("ns"),
                revision: Some(revision),
                start: &start,
                limit,
                count,
                ..PageRequest::default()
            };
            let page = hand.cache.page(RESOURCE, &request, &|_| true).unwrap();
            prop_assert!(page.objects.len() <= limit);
            found.extend(page.objects.iter().map(|stored| stored.name.clone()));
            let remaining = page.remaining.unwrap();
            prop_assert_eq!(found.len() + remaining, expected.len());
            let walked = PageRequest { count: Count::Walk, ..request };
            let walked = hand.cache.page(RESOURCE, &walked, &|_| true).unwrap();
            prop_assert_eq!(walked.remaining, Some(remaining));
            count = Count::Known(remaining);
            changes.by_ref().take(5).for_each(play);
            match page.next {
                Some(next) => start = next,
                None => break,
            }
        }
        prop_assert_eq!(found, expected);
    }
}

/// A list whose selector lets the writer in between any two objects is still one of a single revision, and where too much
/// was written meanwhile it is read at once.
#[test]
fn a_list_is_of_one_revision_whatever_is_written_while_it_is_read() {
    use std::cell::Cell;
    for (writes, size) in [(1, 2), (HISTORY_EVENTS_MAX, 2), (1, usize::MAX)] {
        let hand = Hand::new();
        (0..10).for_each(|number| hand.change(&format!("k{number}"), Some("x")));
        let asked = Cell::new(0);
        let write_meanwhile = |stored: &Stored| {
            asked.set(asked.get() + 1);
            if asked.get() <= 10 {
                // What comes later in the list changes, goes, and comes.
                hand.change("k9", Some("y"));
                hand.change("k8", None);
                hand.change(&format!("k7{}", asked.get()), Some("x"));
                (0..writes).for_each(|_| hand.change("k0", Some("y")));
            }
            is_x(&stored.object())
        };
        let request = PageRequest::default();
        let page = hand
            .cache
            .page_in_pieces(RESOURCE, &request, &write_meanwhile, size)
            .or_else(|_| {
                hand.cache
                    .page(RESOURCE, &request, &|stored| is_x(&stored.object()))
            });
        let page = page.unwrap();
        let at_then: Vec<&str> = page.objects.iter().map(|object| &*object.name).collect();
        if writes == 1 {
            let all: Vec<String> = (0..10).map(|number| format!("k{number}")).collect();
            assert_eq!(
                (page.revision, at_then),
                (10, all.iter().map(String::as_str).collect())
            );
        } else {
            assert_eq!(page.revision, hand.cache.revision());
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
    let max = HISTORY_EVENTS_MAX as u64;
    (1..=max).for_each(|revision| history.push(event(revision, 1)));
    assert_eq!(history.floor(), 0);
    history.push(event(max + 1, 1));
    assert_eq!(history.floor(), 1);
    assert!(history.after(0).is_none());
    assert_eq!(history.after(1).unwrap().count(), HISTORY_EVENTS_MAX);
    history.push(event(max + 2, history::HISTORY_BYTES_MAX));
    assert_eq!(history.after(max + 1).unwrap().count(), 1);
    assert!(history.after(max).is_none());
}

#[test]
fn a_thousand_watchers_share_one_rendering() {
    let hand = Hand::new();
    let mut feeds: Vec<Feed> = (0..1000).map(|_| hand.watch(Start::Now).unwrap()).collect();
    hand.change("a", Some("x"));
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
fn a_watcher_that_leaves_is_forgotten() {
    let hand = Hand::new();
    let scope = Scope {
        namespace: Some("ns".to_owned()),
        name: Some("a".to_owned()),
    };
    let named = hand.cache.watch(RESOURCE, scope, Start::Now).unwrap();
    let any = hand.watch(Start::Now).unwrap();
    assert_eq!(hand.cache.watcher_counts(), [(RESOURCE, 2)]);
    assert_eq!(hand.cache.watcher_count(), 2);
    drop((named, any));
    assert_eq!(hand.cache.watcher_count(), 0);
    assert_eq!(hand.cache.watcher_counts(), []);
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
    let hand = Hand::new();
    let bell = Arc::new(Bell(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&bell));
    let mut context = std::task::Context::from_waker(&waker);
    let mut any = hand.watch(Start::Now).unwrap();
    let scope = Scope {
        name: Some("b".to_owned()),
        ..Scope::default()
    };
    let mut named = hand.cache.watch(RESOURCE, scope, Start::Now).unwrap();
    assert!(any.poll_next(&mut context).is_pending());
    assert!(named.poll_next(&mut context).is_pending());
    hand.change("a", Some("x"));
    hand.change("a", Some("y"));
    assert_eq!(
        bell.0.load(Ordering::Relaxed),
        1,
        "only the one it concerns, and once"
    );
    assert!(any.poll_next(&mut context).is_ready());
    hand.cache.close_feeds();
    assert!(matches!(
        named.poll_next(&mut context),
        Poll::Ready(Next::Closed)
    ));
}

#[test]
fn bookmarks_never_overtake_events() {
    let hand = Hand::new();
    let mut feed = hand.watch(Start::Now).unwrap();
    hand.change("a", Some("x"));
    hand.change("b", Some("x"));
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
    let mut elsewhere = hand.cache.watch(RESOURCE, scope, Start::Now).unwrap();
    hand.change("a", Some("y"));
    assert_eq!(
        elsewhere.bookmark(),
        3,
        "what does not concern it counts too"
    );
}
