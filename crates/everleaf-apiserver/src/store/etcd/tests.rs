//! What only a store with other writers, in another process, can show. Each needs a real etcd:
//! `ETCD=…/etcd cargo test -p everleaf-apiserver --lib --features real-etcd etcd`.

use super::super::{Rejection, Store, StoreError, Txn};
use super::fixture::Member;
use super::{Change, Etcd};
use bytes::Bytes;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// For an etcd that starts, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn txn(name: &str, follows: u64, value: Option<&'static str>) -> Txn {
    Txn {
        key: format!("/registry/test/{name}"),
        follows,
        value: value.map(Bytes::from),
        ttl_s: 0,
    }
}

fn started(member: &Member) -> Etcd {
    let mut store = member.open();
    store.replay(&mut |_| ()).unwrap();
    store
}

/// What tells when there are changes.
fn told(store: &Etcd) -> Receiver<()> {
    let (sender, told) = channel();
    let upstream = store.upstream().unwrap();
    upstream.on_change(Box::new(move || {
        // Whoever asked may have heard enough.
        let _ = sender.send(());
    }));
    told
}

/// One transaction, accepted.
fn commit(store: &mut Etcd, txn: Txn) -> u64 {
    let verdicts = store.commit(vec![txn]).unwrap();
    *verdicts[0].as_ref().unwrap()
}

/// Changes, as they come, until there are so many.
fn changes(store: &mut Etcd, told: &Receiver<()>, count: usize) -> Result<Vec<Change>, StoreError> {
    let mut changes = store.changes()?;
    while changes.len() < count {
        told.recv_timeout(PATIENCE).unwrap();
        changes.extend(store.changes()?);
    }
    Ok(changes)
}

#[test]
fn changes_of_another_are_told_and_refute() {
    let member = Member::start();
    let (mut one, mut other) = (started(&member), started(&member));
    let other_told = told(&other);
    let first = commit(&mut one, txn("a", 0, Some("1")));
    let second = commit(&mut other, txn("a", first, Some("2")));
    let third = commit(&mut other, txn("b", 0, Some("1")));
    let verdicts = one.commit(vec![
        txn("a", first, Some("late")),
        txn("c", 0, Some("1")),
        txn("b", 0, Some("late")),
    ]);
    let verdicts = verdicts.unwrap();
    let conflict = |present| Err(Rejection::Conflict { present });
    assert_eq!(verdicts[0], conflict(second));
    assert_eq!(verdicts[2], conflict(third));
    let fourth = *verdicts[1].as_ref().unwrap();
    // All that refuted is told with the next call, so that whoever was refused reads it.
    let revisions: Vec<_> = one
        .changes()
        .unwrap()
        .iter()
        .map(|c| (c.revision, c.replaces))
        .collect();
    assert_eq!(
        revisions,
        [(first, 0), (second, first), (third, 0), (fourth, 0)]
    );
    assert_eq!(one.position().revision, fourth);
    let last = changes(&mut other, &other_told, 4).unwrap();
    assert_eq!(last.last().map(|change| change.revision), Some(fourth));
}

#[test]
fn a_restart_of_etcd_loses_and_repeats_no_change() {
    let mut member = Member::start();
    let mut store = started(&member);
    let store_told = told(&store);
    let first = commit(&mut store, txn("a", 0, Some("1")));
    member.kill();
    let verdicts = store.commit(vec![txn("b", 0, Some("1"))]).unwrap();
    assert!(
        matches!(verdicts[0], Err(Rejection::Failed(_))),
        "{verdicts:?}"
    );
    member.restart();
    let mut other = started(&member);
    let second = commit(&mut other, txn("a", first, Some("2")));
    let third = commit(&mut other, txn("a", second, None));
    let revisions: Vec<_> = changes(&mut store, &store_told, 3)
        .unwrap()
        .iter()
        .map(|c| c.revision)
        .collect();
    assert_eq!(revisions, [first, second, third]);
    let upstream = store.upstream().unwrap();
    assert_eq!(upstream.failure(), None);
}

#[test]
fn what_was_compacted_meanwhile_is_listed_anew() {
    let mut member = Member::start();
    let mut store = started(&member);
    let store_told = told(&store);
    let first = commit(&mut store, txn("a", 0, Some("1")));
    member.kill();
    // Without its watch: it must not see what comes next before that is compacted.
    store.following.take().unwrap().abort();
    member.restart();
    let mut other = started(&member);
    let second = commit(&mut other, txn("a", first, Some("2")));
    let third = commit(&mut other, txn("a", second, Some("3")));
    other.compact(third).unwrap();
    let upstream = store.upstream().unwrap();
    let link = std::sync::Arc::clone(&store.link);
    let following = super::follow::run(link, upstream, first);
    store.following = Some(store.runtime().spawn(following));
    let error = changes(&mut store, &store_told, 3).unwrap_err();
    assert_eq!(error, StoreError::Compacted);
    let mut found = Vec::new();
    store
        .replay(&mut |change| found.push(change.revision))
        .unwrap();
    assert_eq!(found, [third]);
    let fourth = commit(&mut store, txn("a", third, Some("4")));
    assert_eq!(store.changes().unwrap()[0].revision, fourth);
}

#[test]
fn whoever_reads_waits_for_what_others_had_acknowledged() {
    let member = Member::start();
    let (mut one, mut other) = (started(&member), started(&member));
    let one_told = told(&one);
    let upstream = one.upstream().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    upstream.published(one.position().revision);
    runtime.block_on(upstream.catch_up()).unwrap();
    let revision = commit(&mut other, txn("a", 0, Some("1")));
    // Nobody makes it visible: then nothing old is served either.
    assert_eq!(
        runtime.block_on(upstream.catch_up()),
        Err(StoreError::Behind)
    );
    changes(&mut one, &one_told, 1).unwrap();
    upstream.published(revision);
    runtime.block_on(upstream.catch_up()).unwrap();
}

#[test]
fn what_has_a_time_to_live_ends_with_its_lease() {
    let member = Member::start();
    let mut store = started(&member);
    let store_told = told(&store);
    let brief = Txn {
        ttl_s: 1,
        ..txn("brief", 0, Some("1"))
    };
    let revision = commit(&mut store, brief);
    let both = changes(&mut store, &store_told, 2).unwrap();
    assert_eq!(both[0].revision, revision);
    assert_eq!((both[1].value.clone(), both[1].replaces), (None, revision));
}
