use super::*;
use crate::store::{Embedded, Position, Rejection, Store, Txn};
use std::path::Path;

const BUMP: u64 = 1000;

fn commit(store: &mut Embedded, key: &str, follows: u64, value: Option<&'static [u8]>) {
    let txn = Txn {
        key: key.to_owned(),
        follows,
        value: value.map(Bytes::from_static),
        ttl_s: 0,
    };
    store.commit(vec![txn]).unwrap()[0].clone().unwrap();
}

/// One that was changed, one that was deleted, and one that is as it was made; the store stays
/// open.
fn filled(directory: &Path) -> Embedded {
    let mut store = Embedded::open(directory).unwrap();
    commit(&mut store, "/registry/a", 0, Some(b"one"));
    commit(&mut store, "/registry/b", 0, Some(b"gone"));
    commit(&mut store, "/registry/a", 1, Some(b"two"));
    commit(&mut store, "/registry/b", 2, None);
    commit(&mut store, "/registry/c", 0, Some(b""));
    store
}

fn header(reader: &Reader) -> Header {
    Header::new("1", jiff::Timestamp::UNIX_EPOCH, reader.position().revision)
}

fn snapshot(directory: &Path) -> Vec<u8> {
    let reader = Reader::open(directory).unwrap();
    let mut out = Vec::new();
    write(&reader, header(&reader), Omission::default(), &mut out).unwrap();
    out
}

fn restored(bytes: &[u8]) -> Result<(tempfile::TempDir, Summary), Failure> {
    let home = tempfile::tempdir().unwrap();
    let summary = Embedded::restore(home.path(), &mut &*bytes, BUMP)?;
    Ok((home, summary))
}

fn contents(store: &mut Embedded) -> Vec<(String, u64, u64, Bytes)> {
    let mut all = Vec::new();
    let mut note = |change: Change| {
        all.push((
            change.key,
            change.revision,
            change.created,
            change.value.unwrap(),
        ));
    };
    store.replay(&mut note).unwrap();
    all
}

#[test]
fn a_snapshot_beside_the_open_store_restores_what_was_there() {
    let home = tempfile::tempdir().unwrap();
    let mut store = filled(home.path());
    let reader = Reader::open(home.path()).unwrap();
    assert!(reader.holder().unwrap().starts_with("process "));
    // What comes after it was opened is not in it.
    commit(&mut store, "/registry/d", 0, Some(b"later"));
    let mut bytes = Vec::new();
    let summary = write(&reader, header(&reader), Omission::default(), &mut bytes).unwrap();
    assert_eq!((summary.trailer.objects, summary.trailer.bytes), (2, 3));
    drop((reader, store));

    let (home, summary) = restored(&bytes).unwrap();
    assert_eq!((summary.header.revision, summary.trailer.objects), (5, 2));
    let mut store = Embedded::open(home.path()).unwrap();
    let position = Position {
        floor: 5 + BUMP,
        revision: 5 + BUMP,
    };
    assert_eq!(store.position(), position);
    let a = ("/registry/a".to_owned(), 3, 1, Bytes::from_static(b"two"));
    let c = ("/registry/c".to_owned(), 5, 5, Bytes::new());
    assert_eq!(contents(&mut store), [a, c]);
    // What it holds can be changed, and what comes next is numbered after the jump.
    commit(&mut store, "/registry/a", 3, Some(b"three"));
    assert_eq!(store.position().revision, 6 + BUMP);
}

#[test]
fn what_is_to_be_left_out_is_named_by_its_key_and_must_be_there() {
    let home = tempfile::tempdir().unwrap();
    drop(filled(home.path()));
    let reader = Reader::open(home.path()).unwrap();
    let without = |keys: &[&str], out: &mut Vec<u8>| {
        let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let omission = Omission {
            keys: &keys,
            ..Omission::default()
        };
        write(&reader, header(&reader), omission, out)
    };
    let mut bytes = Vec::new();
    let summary = without(&["/registry/a"], &mut bytes).unwrap();
    assert_eq!((summary.trailer.objects, summary.trailer.skipped), (1, 0));
    let (home, _) = restored(&bytes).unwrap();
    let mut store = Embedded::open(home.path()).unwrap();
    let left: Vec<String> = contents(&mut store).into_iter().map(|one| one.0).collect();
    assert_eq!(left, ["/registry/c"]);
    // One that is gone is not there either.
    for missing in ["/registry/b", "/registry/x"] {
        let refused = without(&["/registry/a", missing], &mut Vec::new()).unwrap_err();
        assert!(
            matches!(&refused, Failure::NoSuchKey(key) if key == missing),
            "{refused}"
        );
    }
}

#[test]
fn whatever_bit_of_a_snapshot_is_turned_nothing_is_restored() {
    let home = tempfile::tempdir().unwrap();
    drop(filled(home.path()));
    let whole = snapshot(home.path());
    let last = whole.len() - 1;
    // What is restored is what reads without damage.
    let is_usable = |mut bytes: &[u8]| {
        read(&mut bytes, &mut |_| Ok(())).is_ok_and(|summary| summary.damaged.is_empty())
    };
    for place in 0..last {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        // How many were left out when it was made is told to people, and nothing follows from it.
        let is_remark = whole[..place].ends_with(b"\"skipped\":");
        assert_eq!(is_usable(&bytes), is_remark, "byte {place}");
    }
    for length in 0..last {
        assert!(!is_usable(&whole[..length]), "cut to {length}");
    }
    let twice = [&*whole, &*whole].concat();
    for bytes in [&*twice, &whole[..last / 2], b"", b"x\n"] {
        assert!(restored(bytes).is_err());
    }
    restored(&whole).unwrap();
}

#[test]
fn a_damaged_record_is_named_with_its_place() {
    let home = tempfile::tempdir().unwrap();
    drop(filled(home.path()));
    let text = String::from_utf8(snapshot(home.path())).unwrap();
    let (two, other) = (STANDARD.encode(b"two"), STANDARD.encode(b"twx"));
    let damaged = text.replace(&two, &other);
    let summary = read(&mut damaged.as_bytes(), &mut |_| Ok(())).unwrap();
    let first = text.find('\n').unwrap() + 1;
    let wanted =
        format!("line 2 (byte {first}): /registry/a at revision 3 does not match its checksum");
    assert_eq!(summary.damaged[0], wanted);
}

#[test]
fn a_store_is_not_restored_over() {
    let home = tempfile::tempdir().unwrap();
    drop(filled(home.path()));
    let bytes = snapshot(home.path());
    let refused = Embedded::restore(home.path(), &mut &*bytes, BUMP).unwrap_err();
    assert!(matches!(refused, Failure::NotEmpty(_)), "{refused}");
}

/// Turns a bit of the value of /registry/a below SQLite's structure.
fn damage(directory: &Path) {
    let file = directory.join(Embedded::FILE_NAME);
    let mut bytes = std::fs::read(&file).unwrap();
    let place = bytes
        .windows(3)
        .position(|window| window == b"two")
        .unwrap();
    bytes[place] ^= 4;
    std::fs::write(&file, bytes).unwrap();
}

#[test]
fn a_turned_bit_in_the_store_is_named_and_the_rest_can_be_saved() {
    let home = tempfile::tempdir().unwrap();
    drop(filled(home.path()));
    damage(home.path());
    let mut store = Embedded::open(home.path()).unwrap();
    let refused = store.replay(&mut |_| ()).unwrap_err();
    let named = StoreError::Damaged {
        path: home.path().join("log.db").display().to_string(),
        key: "/registry/a".to_owned(),
        revision: 3,
    };
    assert_eq!(refused, named);
    let reader = Reader::open(home.path()).unwrap();
    let refused = write(
        &reader,
        header(&reader),
        Omission::default(),
        &mut Vec::new(),
    )
    .unwrap_err();
    assert!(matches!(refused, Failure::Store(error) if error == named));
    let mut bytes = Vec::new();
    let damaged = Omission {
        damaged: true,
        ..Omission::default()
    };
    let summary = write(&reader, header(&reader), damaged, &mut bytes).unwrap();
    assert_eq!(summary.damaged, ["/registry/a at revision 3"]);
    let (home, _) = restored(&bytes).unwrap();
    let left = contents(&mut Embedded::open(home.path()).unwrap());
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].0, "/registry/c");
}

#[test]
fn a_log_of_the_first_layout_is_upgraded_and_gets_checksums_from_then_on() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(Embedded::FILE_NAME);
    let old = rusqlite::Connection::open(&file).unwrap();
    old.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA application_id = 1702259814; PRAGMA user_version = 1;
         CREATE TABLE log (revision INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB,
             created INTEGER NOT NULL, replaces INTEGER NOT NULL) STRICT;
         CREATE TABLE position (id INTEGER PRIMARY KEY CHECK (id = 0), floor INTEGER NOT NULL,
             revision INTEGER NOT NULL) STRICT;
         INSERT INTO position VALUES (0, 0, 0);
         INSERT INTO log VALUES (1, '/registry/a', x'6f6e65', 1, 0);",
    )
    .unwrap();
    drop(old);
    let figures = || Reader::open(home.path()).unwrap().figures().unwrap();
    assert_eq!((figures().layout, figures().without_checksum), (1, 1));
    let mut store = Embedded::open(home.path()).unwrap();
    commit(&mut store, "/registry/a", 1, Some(b"two"));
    assert_eq!(contents(&mut store).len(), 2);
    assert_eq!((figures().layout, figures().rows), (2, 2));
    assert_eq!(figures().without_checksum, 1);
}

#[test]
fn a_shrunk_store_has_what_is_there_and_no_history() {
    let home = tempfile::tempdir().unwrap();
    filled(home.path()).shrink().unwrap();
    let reader = Reader::open(home.path()).unwrap();
    assert_eq!(reader.position().floor, 5);
    assert_eq!(reader.figures().unwrap().rows, 2);
    assert_eq!(reader.faults().unwrap(), Vec::<String>::new());
    let mut store = Embedded::open(home.path()).unwrap();
    assert_eq!(contents(&mut store).len(), 2);
}

#[test]
fn reading_for_long_does_not_hold_up_the_writer() {
    let home = tempfile::tempdir().unwrap();
    let mut store = filled(home.path());
    let reader = Reader::open(home.path()).unwrap();
    // More than the journal holds before it is folded in.
    let value: &'static [u8] = vec![7; 1 << 20].leak();
    for number in 0..40 {
        commit(&mut store, &format!("/registry/x{number}"), 0, Some(value));
    }
    let mut bytes = Vec::new();
    let summary = write(&reader, header(&reader), Omission::default(), &mut bytes).unwrap();
    assert_eq!((summary.header.revision, summary.trailer.objects), (5, 2));
    drop(reader);
    assert_eq!(store.position().revision, 45);
}

/// A tmpfs of 24 MiB; None: mounting is refused here, which needs root.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let home = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(home.path())
            .status();
        mount
            .is_ok_and(|status| status.success())
            .then(|| Self(home))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg(self.0.path())
            .status();
    }
}

/// The journal outgrows the first piece of its index while somebody reads: what has no room then
/// may be the journal or the index, and is a full disk either way.
#[test]
fn a_disk_that_is_full_while_somebody_reads_takes_writes_again_with_room() {
    // Pages that something else has: so many that the last free one falls to either.
    for taken in (2000..2060).step_by(5) {
        let Some(disk) = SmallDisk::mount() else {
            eprintln!("skipped: mounting a tmpfs needs root");
            return;
        };
        let place = disk.0.path().join("store");
        let ballast = disk.0.path().join("ballast");
        std::fs::write(&ballast, vec![1; taken * 4096]).unwrap();
        let mut store = filled(&place);
        let reader = Reader::open(&place).unwrap();
        let mut follows = 0;
        let failure = loop {
            // It goes on when there is little space, and the journal grows by it.
            let txn = Txn {
                key: "/registry/x".to_owned(),
                follows,
                value: Some(Bytes::from_static(&[7; 60_000])),
                ttl_s: 0,
            };
            match store.commit(vec![txn]) {
                Ok(verdicts) => follows = verdicts[0].clone().unwrap(),
                Err(failure) => break failure,
            }
        };
        assert_eq!(failure, StoreError::NoSpace, "{taken} pages taken");
        drop(reader);
        std::fs::remove_file(&ballast).unwrap();
        commit(&mut store, "/registry/y", 0, Some(b"with room"));
        drop(store);
        let reader = Reader::open(&place).unwrap();
        assert_eq!(reader.faults().unwrap(), Vec::<String>::new());
    }
}

#[test]
fn at_the_quota_deletes_make_room_and_small_updates_go_on() {
    let home = tempfile::tempdir().unwrap();
    let quota = 200_000;
    let mut store = Embedded::open(home.path()).unwrap().with_quota(quota);
    let put = |key: &str, follows, length: usize| Txn {
        key: format!("/registry/{key}"),
        follows,
        value: Some(Bytes::from(vec![7; length])),
        ttl_s: 0,
    };
    let delete = |key: &str, follows| Txn {
        value: None,
        ..put(key, follows, 0)
    };
    let mut only = |txn| store.commit(vec![txn]).unwrap()[0].clone();
    only(put("lease", 0, 300)).unwrap();
    let mut full = (0..).map(|number| only(put(&format!("x{number}"), 0, 10_000)));
    let refusal = full.find_map(Result::err).unwrap();
    let Rejection::Failed(StoreError::QuotaExceeded { used, .. }) = refusal else {
        panic!("{refusal:?}");
    };
    assert!((quota..quota + 20_000).contains(&used), "{used}");

    // One refused is none of the others' business.
    let batch = vec![
        put("lease", 1, 310),
        put("new", 0, 1),
        put("x0", 2, 12_000),
        delete("x1", 3),
    ];
    let verdicts = store.commit(batch).unwrap();
    let is_refused = |verdict: &Result<u64, Rejection>| {
        matches!(
            verdict,
            Err(Rejection::Failed(StoreError::QuotaExceeded { .. }))
        )
    };
    assert!(verdicts[0].is_ok() && verdicts[3].is_ok(), "{verdicts:?}");
    assert!(is_refused(&verdicts[1]) && is_refused(&verdicts[2]));
    assert_eq!(store.changes().unwrap().last().unwrap().key, "/registry/x1");

    // Renewals go on, and never add up.
    let mut lease = verdicts[0].clone().unwrap();
    for _ in 0..400 {
        lease = store.commit(vec![put("lease", lease, 310)]).unwrap()[0]
            .clone()
            .unwrap();
    }
    assert!(store.rows() < 300, "{} rows", store.rows());
    // What was deleted above is room, after a while also for new objects.
    let deleted = store
        .commit(vec![delete("x2", 4), delete("x3", 5)])
        .unwrap();
    assert!(deleted.iter().all(Result::is_ok));
    let again = (0..3).any(|_| store.commit(vec![put("new", 0, 1)]).unwrap()[0].is_ok());
    assert!(again, "nothing is created although there is room");
}
