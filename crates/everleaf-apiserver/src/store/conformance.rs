//! What every store must do, run for each.

#[cfg(feature = "real-etcd")]
use super::etcd::fixture::InEtcd;
use super::{Change, Embedded, Memory, Position, Rejection, Store, StoreError, Txn};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A store under test, which can be closed and opened again when it is durable.
pub(super) trait Backend {
    fn open(&mut self) -> Box<dyn Store>;
}

struct InMemory;
impl Backend for InMemory {
    fn open(&mut self) -> Box<dyn Store> {
        Box::new(Memory::new())
    }
}

struct OnDisk(tempfile::TempDir);
impl OnDisk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}
impl Backend for OnDisk {
    fn open(&mut self) -> Box<dyn Store> {
        Box::new(Embedded::open(&self.0.path().join("store")).unwrap())
    }
}

fn put(revision: u64, key: &str, created: u64, replaces: u64) -> Change {
    Change {
        revision,
        key: key.to_owned(),
        value: Some(Bytes::from(format!("value of {key} at {revision}"))),
        created,
        replaces,
    }
}

fn delete(revision: u64, key: &str, created: u64, replaces: u64) -> Change {
    Change {
        value: None,
        ..put(revision, key, created, replaces)
    }
}

/// Commits what comes to these changes, and sees that it did.
fn commit(store: &mut dyn Store, changes: &[Change]) -> Result<(), StoreError> {
    let verdicts = store.commit(changes.iter().map(Txn::of).collect())?;
    let revisions: Vec<_> = changes.iter().map(|change| Ok(change.revision)).collect();
    assert_eq!(verdicts, revisions);
    Ok(())
}

fn contents(store: &mut dyn Store) -> Vec<Change> {
    let mut changes = Vec::new();
    store.replay(&mut |change| changes.push(change)).unwrap();
    changes
}

fn starts_empty(backend: &mut dyn Backend) {
    let mut store = backend.open();
    assert_eq!(store.position(), Position::default());
    assert_eq!(contents(store.as_mut()), []);
}

fn replays_in_order(backend: &mut dyn Backend) {
    let mut store = backend.open();
    let first = [put(1, "/a", 1, 0), put(2, "/b", 2, 0)];
    let second = [put(3, "/a", 1, 1), delete(4, "/b", 2, 2)];
    commit(&mut *store, &first).unwrap();
    commit(&mut *store, &second).unwrap();
    assert_eq!(contents(store.as_mut()), [first, second].concat());
    assert_eq!(
        store.position(),
        Position {
            revision: 4,
            floor: 0
        }
    );
}

fn compacts(backend: &mut dyn Backend) {
    let mut store = backend.open();
    let log = [
        put(1, "/a", 1, 0),
        put(2, "/b", 2, 0),
        put(3, "/a", 1, 1),
        delete(4, "/b", 2, 2),
        put(5, "/a", 1, 3),
        put(6, "/b", 6, 0),
    ];
    commit(&mut *store, &log).unwrap();
    store.compact(3).unwrap();
    // 1 is superseded by 3; 2 lives on at the floor although 4 deletes it.
    assert_eq!(contents(store.as_mut()), log[1..]);
    store.compact(2).unwrap();
    assert_eq!(store.position().floor, 3, "a floor never sinks");
    store.compact(4).unwrap();
    assert_eq!(
        contents(store.as_mut()),
        [log[2].clone(), log[4].clone(), log[5].clone()]
    );
    store.compact(u64::MAX >> 1).unwrap();
    assert_eq!(contents(store.as_mut()), log[4..]);
    assert_eq!(
        store.position(),
        Position {
            revision: 6,
            floor: 6
        }
    );
}

fn remembers_the_last_revision_of_nothing(backend: &mut dyn Backend) {
    let mut store = backend.open();
    commit(&mut *store, &[put(1, "/a", 1, 0)]).unwrap();
    commit(&mut *store, &[delete(2, "/a", 1, 1)]).unwrap();
    store.compact(2).unwrap();
    assert_eq!(contents(store.as_mut()), []);
    assert_eq!(store.position().revision, 2);
    commit(&mut *store, &[put(3, "/a", 3, 0)]).unwrap();
    assert_eq!(contents(store.as_mut()), [put(3, "/a", 3, 0)]);
}

fn keeps_odd_keys_and_values(backend: &mut dyn Backend) {
    let mut store = backend.open();
    let change = Change {
        value: Some(Bytes::from(vec![0, 255, b'\'', 0])),
        ..put(1, "/registry/x/ü '\"\n\u{0}.. name", 1, 0)
    };
    let empty = Change {
        value: Some(Bytes::new()),
        ..put(2, "/e", 2, 0)
    };
    commit(&mut *store, &[change.clone(), empty.clone()]).unwrap();
    assert_eq!(contents(store.as_mut()), [change, empty]);
}

fn txn(key: &str, follows: u64, value: Option<&'static str>) -> Txn {
    Txn {
        key: key.to_owned(),
        follows,
        value: value.map(Bytes::from),
        ttl_s: 0,
    }
}

fn a_conflict_fails_none_but_its_own(backend: &mut dyn Backend) {
    let mut store = backend.open();
    let verdicts = store
        .commit(vec![
            txn("/a", 0, Some("1")),
            txn("/a", 0, Some("again")),
            txn("/b", 7, Some("was never there")),
            txn("/b", 0, None),
            txn("/c", 0, Some("1")),
        ])
        .unwrap();
    let conflict = |present| Err(Rejection::Conflict { present });
    let expected = [Ok(1), conflict(1), conflict(0), conflict(0), Ok(2)];
    assert_eq!(verdicts, expected);
    assert_eq!(contents(store.as_mut()).len(), 2);
    let verdicts = store.commit(vec![txn("/a", 9, None)]).unwrap();
    assert_eq!(verdicts, [conflict(1)]);
    assert_eq!(store.position().revision, 2);
}

fn each_transaction_sees_those_before_it(backend: &mut dyn Backend) {
    let mut store = backend.open();
    let verdicts = store
        .commit(vec![
            txn("/a", 0, Some("1")),
            txn("/a", 1, Some("2")),
            txn("/a", 1, None),
            txn("/a", 2, None),
            txn("/a", 0, Some("3")),
        ])
        .unwrap();
    let conflict = Err(Rejection::Conflict { present: 2 });
    assert_eq!(verdicts, [Ok(1), Ok(2), conflict, Ok(3), Ok(4)]);
    let created: Vec<_> = contents(store.as_mut())
        .iter()
        .map(|change| (change.revision, change.created, change.replaces))
        .collect();
    assert_eq!(created, [(1, 1, 0), (2, 1, 1), (3, 1, 2), (4, 4, 0)]);
}

fn tells_each_change_once_and_in_order(backend: &mut dyn Backend) {
    let mut store = backend.open();
    let log = [
        put(1, "/a", 1, 0),
        put(2, "/b", 2, 0),
        put(3, "/a", 1, 1),
        delete(4, "/b", 2, 2),
    ];
    assert_eq!(store.changes().unwrap(), []);
    commit(&mut *store, &log[..1]).unwrap();
    commit(&mut *store, &log[1..3]).unwrap();
    assert_eq!(store.changes().unwrap(), log[..3]);
    assert_eq!(store.changes().unwrap(), []);
    commit(&mut *store, &log[3..]).unwrap();
    assert_eq!(store.changes().unwrap(), log[3..]);
}

fn tells_what_came_after_the_replay(backend: &mut dyn Backend) {
    let mut store = backend.open();
    let log = [put(1, "/a", 1, 0), put(2, "/a", 1, 1)];
    commit(&mut *store, &log[..1]).unwrap();
    assert_eq!(contents(store.as_mut()), log[..1]);
    assert_eq!(store.changes().unwrap(), [], "it was replayed");
    commit(&mut *store, &log[1..]).unwrap();
    assert_eq!(store.changes().unwrap(), log[1..]);
}

macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod memory { $( #[test] fn $case() { super::$case(&mut super::InMemory); } )* }
        #[cfg(feature = "real-etcd")]
        mod etcd { $(
            #[test]
            fn $case() { super::$case(&mut super::InEtcd::new()); }
        )* }
        mod embedded { $( #[test] fn $case() { super::$case(&mut super::OnDisk::new()); } )* }
    };
}
conformance!(
    starts_empty,
    replays_in_order,
    compacts,
    remembers_the_last_revision_of_nothing,
    keeps_odd_keys_and_values,
    a_conflict_fails_none_but_its_own,
    each_transaction_sees_those_before_it,
    tells_each_change_once_and_in_order,
    tells_what_came_after_the_replay,
);

// --- What only a durable store can show -------------------------------------------------------

#[test]
fn reopens_where_it_stopped_even_after_a_delete() {
    let mut backend = OnDisk::new();
    {
        let mut store = backend.open();
        commit(&mut *store, &[put(1, "/a", 1, 0), put(2, "/b", 2, 0)]).unwrap();
        commit(&mut *store, &[delete(3, "/b", 2, 2)]).unwrap();
        store.compact(3).unwrap();
    }
    let mut store = backend.open();
    assert_eq!(
        store.position(),
        Position {
            revision: 3,
            floor: 3
        }
    );
    assert_eq!(contents(store.as_mut()), [put(1, "/a", 1, 0)]);
    // Garbage noted before the restart is still collected after it.
    commit(&mut *store, &[put(4, "/a", 1, 1)]).unwrap();
    drop(store);
    let mut store = backend.open();
    store.compact(4).unwrap();
    assert_eq!(contents(store.as_mut()), [put(4, "/a", 1, 1)]);
}

#[test]
fn a_second_opener_hears_that_the_directory_is_in_use() {
    let mut backend = OnDisk::new();
    let _store = backend.open();
    let error = Embedded::open(&backend.0.path().join("store")).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("in use"), "{error}");
}

#[test]
fn foreign_and_damaged_files_are_refused_untouched() {
    let check = |bytes: &[u8], expected: &str| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("log.db");
        std::fs::write(&file, bytes).unwrap();
        let error = Embedded::open(directory.path()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.to_string().contains("log.db"), "{error}");
        assert!(
            std::fs::read(&file).unwrap() == bytes,
            "the file was changed"
        );
    };
    check(&[b'x'; 8192], "not a database at all");

    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("other.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    check(
        &std::fs::read(&path).unwrap(),
        "a database of another application",
    );
}

#[test]
fn damage_in_the_middle_is_named() {
    let mut backend = OnDisk::new();
    {
        let mut store = backend.open();
        let batch: Vec<Change> = (1..400)
            .map(|revision| put(revision, &format!("/key/{revision}"), revision, 0))
            .collect();
        commit(&mut *store, &batch).unwrap();
    }
    let file = backend.0.path().join("store/log.db");
    let mut bytes = std::fs::read(&file).unwrap();
    for byte in &mut bytes[3 * 4096..6 * 4096] {
        *byte = 0xff;
    }
    std::fs::write(&file, &bytes).unwrap();
    let opened = Embedded::open(&backend.0.path().join("store"))
        .and_then(|mut store| store.replay(&mut |_| ()));
    assert!(
        matches!(opened, Err(StoreError::Corrupt { .. })),
        "{opened:?}"
    );
}

#[test]
fn a_newer_layout_is_named() {
    let mut backend = OnDisk::new();
    drop(backend.open());
    let file = backend.0.path().join("store/log.db");
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute_batch("PRAGMA user_version = 7")
        .unwrap();
    let error = Embedded::open(&backend.0.path().join("store")).unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { found: 7, .. }),
        "{error}"
    );
}

#[test]
fn files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let mut backend = OnDisk::new();
    let mut store = backend.open();
    commit(&mut *store, &[put(1, "/a", 1, 0)]).unwrap();
    let directory = backend.0.path().join("store");
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

/// A compaction touches no disk by itself: its rows go with later batches, some with each, and with
/// the end.
#[test]
fn garbage_goes_along_with_batches() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Embedded::open(directory.path()).unwrap();
    let batch: Vec<Change> = (1..=10_000)
        .map(|revision| put(revision, "/a", 1, revision - 1))
        .collect();
    commit(&mut store, &batch).unwrap();
    store.compact(10_000).unwrap();
    assert_eq!((store.rows(), store.position().floor), (10_000, 10_000));
    assert_eq!(
        contents(&mut store),
        batch[9_999..],
        "gone for all that anybody sees"
    );
    let mut rows = 10_000;
    for revision in 10_001..=10_010 {
        commit(&mut store, &[put(revision, "/a", 1, revision - 1)]).unwrap();
        let gone = rows + 1 - store.rows();
        assert!((50..=100).contains(&gone), "{gone} at once");
        rows = store.rows();
    }
    drop(store);
    let store = Embedded::open(directory.path()).unwrap();
    assert_eq!((store.rows(), store.position().floor), (11, 10_000));
}

/// A full disk, as SQLite sees it: a page limit.
#[test]
fn a_full_disk_fails_the_batch_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Embedded::open(directory.path()).unwrap();
    commit(&mut store, &[put(1, "/a", 1, 0)]).unwrap();
    store.limit_pages(8);
    let big = Change {
        value: Some(Bytes::from(vec![7; 100_000])),
        ..put(3, "/big", 3, 0)
    };
    let error = commit(&mut store, &[put(2, "/small", 2, 0), big]).unwrap_err();
    assert_eq!(error, StoreError::NoSpace);
    assert_eq!(store.changes().unwrap(), [put(1, "/a", 1, 0)]);
    assert_eq!(contents(&mut store), [put(1, "/a", 1, 0)]);
    assert_eq!(store.position().revision, 1);
    store.limit_pages(1_000_000);
    commit(&mut store, &[put(2, "/small", 2, 0)]).unwrap();
    assert_eq!(store.position().revision, 2);
}

/// Applies batches of operations on a few keys; returns the batches as committed.
fn batches(operations: &[(u8, bool, bool)]) -> Vec<Vec<Change>> {
    let mut live: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut batches = vec![Vec::new()];
    for (index, (key, remove, end_batch)) in operations.iter().enumerate() {
        let revision = index as u64 + 1;
        let key = format!("/k{}", key % 5);
        let (created, replaces) = live.get(&key).copied().unwrap_or((revision, 0));
        let change = if *remove && replaces > 0 {
            live.remove(&key);
            delete(revision, &key, created, replaces)
        } else {
            live.insert(key.clone(), (created, revision));
            put(revision, &key, created, replaces)
        };
        batches.last_mut().unwrap().push(change);
        if *end_batch {
            batches.push(Vec::new());
        }
    }
    batches.retain(|batch| !batch.is_empty());
    batches
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Power loss leaves some prefix of the WAL: the log recovers to whole batches, a prefix of
    /// those committed, and goes on.
    #[test]
    fn recovers_a_prefix_of_whole_batches(
        operations in prop::collection::vec(any::<(u8, bool, bool)>(), 1..40),
        cut in 0.0f64..=1.0,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let (running, crashed) = (directory.path().join("a"), directory.path().join("b"));
        let batches = batches(&operations);
        let mut store = Embedded::open(&running).unwrap();
        for batch in &batches {
            commit(&mut store, batch).unwrap();
        }
        std::fs::create_dir(&crashed).unwrap();
        let wal = std::fs::read(running.join("log.db-wal")).unwrap();
        let kept = (wal.len() as f64 * cut) as usize;
        std::fs::copy(running.join("log.db"), crashed.join("log.db")).unwrap();
        std::fs::write(crashed.join("log.db-wal"), &wal[..kept]).unwrap();

        let mut recovered = Embedded::open(&crashed).unwrap();
        let found = contents(&mut recovered);
        let mut prefix = Vec::new();
        let mut boundaries = vec![0];
        for batch in &batches {
            prefix.extend(batch.iter().cloned());
            boundaries.push(prefix.len());
        }
        prop_assert!(boundaries.contains(&found.len()), "a batch was split");
        prop_assert_eq!(&found[..], &prefix[..found.len()]);
        prop_assert!(cut < 1.0 || found.len() == prefix.len(), "an acknowledged batch is missing");
        let next = recovered.position().revision + 1;
        commit(&mut recovered, &[put(next, "/next", next, 0)]).unwrap();
    }

    /// Compaction at any point keeps what is alive and everything after the floor.
    #[test]
    fn compaction_keeps_state_and_window(
        operations in prop::collection::vec(any::<(u8, bool, bool)>(), 1..60),
        floor in 0u64..60,
    ) {
        let batches = batches(&operations).concat();
        let mut store = Memory::new();
        commit(&mut store, &batches).unwrap();
        store.compact(floor).unwrap();
        let floor = floor.min(batches.len() as u64);
        let found = contents(&mut store);
        let mut alive: BTreeMap<&str, &Change> = BTreeMap::new();
        for change in batches.iter().filter(|change| change.revision <= floor) {
            if change.value.is_some() {
                alive.insert(&change.key, change);
            } else {
                alive.remove(change.key.as_str());
            }
        }
        let mut expected: Vec<Change> = alive.into_values().cloned().collect();
        expected.sort_by_key(|change| change.revision);
        expected.extend(batches.iter().filter(|change| change.revision > floor).cloned());
        prop_assert_eq!(found, expected);
    }
}
