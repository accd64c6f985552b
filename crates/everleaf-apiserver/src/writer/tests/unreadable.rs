//! Values without a key, while the writer runs.

use super::*;

/// As another server writes that has a key which we do not have.
#[test]
fn what_becomes_unreadable_is_not_told_as_deleted_and_comes_back() {
    let (mut committer, cache) = committer(Memory::new());
    let outcomes = batch(&mut committer, vec![put("a", "1", Expected::Absent)]);
    let Ok(first) = outcomes[0] else {
        panic!("{outcomes:?}")
    };
    let key = "/registry/configmaps/ns/a";
    let foreign = |committer: &mut Committer, follows, value: Option<Bytes>| {
        let txn = Txn {
            key: key.to_owned(),
            follows,
            value,
            ttl_s: 0,
        };
        let verdicts = committer.store.commit(vec![txn]).unwrap();
        committer.look();
        *verdicts[0].as_ref().unwrap()
    };
    let sealed = || Some(Bytes::from_static(b"k8s:enc:aescbc:v1:theirs:sealed"));
    let plain = || {
        let Operation::Put { bytes, .. } = put("a", "2", Expected::Absent).operation else {
            unreachable!()
        };
        Some(bytes)
    };
    let watch = || {
        cache
            .watch("configmaps", Scope::default(), Start::Now)
            .unwrap()
    };
    let named = Scope {
        namespace: Some("ns".to_owned()),
        name: Some("a".to_owned()),
    };
    let mut of_all = watch();
    let mut of_one = cache.watch("configmaps", named, Start::Now).unwrap();
    assert_eq!(
        (next(&mut of_all), next(&mut of_one)),
        ("nothing", "nothing")
    );

    let second = foreign(&mut committer, first, sealed());
    let reason = cache.unreadable("configmaps", "ns", "a").unwrap();
    assert!(reason.contains("aescbc:theirs"), "{reason}");
    assert!(cache.get("configmaps", "ns", "a").is_none());
    assert_eq!(cache.size("configmaps"), (0, 0));
    assert_eq!((next(&mut of_all), next(&mut of_one)), ("behind", "behind"));
    // It is there: nobody makes another one.
    let refused = batch(&mut committer, vec![put("a", "3", Expected::Absent)]);
    assert_eq!(refused, [Err(Refusal::Exists)]);

    let mut feed = watch();
    let third = foreign(&mut committer, second, plain());
    assert_eq!(cache.unreadable("configmaps", "ns", "a"), None);
    assert_eq!(cache.get("configmaps", "ns", "a").unwrap().revision, third);
    assert_eq!(next(&mut feed), "event");
    let fourth = foreign(&mut committer, third, sealed());
    foreign(&mut committer, fourth, None);
    assert_eq!(cache.unreadable("configmaps", "ns", "a"), None);
    assert!(!cache.has_unreadable());
    batch(&mut committer, vec![put("a", "4", Expected::Absent)])[0]
        .as_ref()
        .unwrap();
}

/// What comes next of a watch.
fn next(feed: &mut crate::watch_cache::Feed) -> &'static str {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match feed.poll_next(&mut context) {
        std::task::Poll::Ready(Next::Overflow) => "behind",
        std::task::Poll::Ready(Next::Event(_)) => "event",
        std::task::Poll::Ready(_) => "other",
        std::task::Poll::Pending => "nothing",
    }
}
