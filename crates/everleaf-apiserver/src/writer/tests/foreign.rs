//! A store that others write to as well.

use super::*;
use crate::watch_cache::Feed;

fn txn(name: &str, value: Option<&str>, follows: u64) -> Txn {
    let proposal = put(name, value.unwrap_or(""), Expected::Absent);
    let Operation::Put { bytes, .. } = proposal.operation else {
        unreachable!()
    };
    Txn {
        key: storage_key(&CONFIG_MAPS, "ns", name),
        follows,
        value: value.map(|_| bytes),
        ttl_s: 0,
    }
}

/// Name, revision, the revision before, and whether it is gone.
type Told = (String, u64, Option<u64>, bool);

fn told(name: &str, revision: u64, before: Option<u64>, deleted: bool) -> Told {
    (name.to_owned(), revision, before, deleted)
}

fn story(feed: &mut Feed) -> Vec<Told> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut story = Vec::new();
    while let std::task::Poll::Ready(Next::Event(event)) = feed.poll_next(&mut context) {
        let before = event.previous.as_ref().map(|previous| previous.revision);
        story.push(told(
            &event.object.name,
            event.revision(),
            before,
            event.deleted,
        ));
    }
    story
}

/// What another server wrote is told in its place, and what it refutes is refused.
#[test]
fn changes_of_others_are_made_visible_in_their_order() {
    let foreign = Arc::new(Mutex::new(Vec::new()));
    let (mut committer, cache) = committer(Probe {
        inner: Memory::new(),
        full: Arc::default(),
        foreign: Arc::clone(&foreign),
    });
    let own = vec![
        put("a", "1", Expected::Absent),
        put("b", "1", Expected::Absent),
    ];
    assert_eq!(batch(&mut committer, own), [Ok(1), Ok(2)]);
    let mut feed = cache
        .watch("configmaps", Scope::default(), Start::Now)
        .unwrap();
    let mut broken = txn("broken", Some(""), 0);
    broken.value = Some(Bytes::from_static(b"k8s\0nonsense"));
    *foreign.lock().unwrap() = vec![
        txn("a", Some("of another"), 1),
        txn("new", Some("1"), 0),
        txn("new", Some("2"), 4),
        broken,
        txn("b", None, 2),
    ];
    let own = vec![
        put("a", "2", Expected::Revision(1)),
        put("new", "1", Expected::Absent),
        put("c", "1", Expected::Absent),
    ];
    let outcomes = batch(&mut committer, own);
    assert_eq!(
        outcomes,
        [Err(Refusal::Changed), Err(Refusal::Exists), Ok(8)]
    );
    assert_eq!(
        story(&mut feed),
        [
            told("a", 3, Some(1), false),
            told("new", 4, None, false),
            told("new", 5, Some(4), false),
            told("b", 7, Some(2), true),
            told("c", 8, None, false),
        ]
    );
    assert_eq!(cache.revision(), 8);
    let object = cache.get("configmaps", "ns", "a").unwrap();
    assert_eq!(object.object()["data"]["key"], "of another");
    let own = vec![put("a", "3", Expected::Revision(3))];
    assert_eq!(batch(&mut committer, own), [Ok(9)]);
}
