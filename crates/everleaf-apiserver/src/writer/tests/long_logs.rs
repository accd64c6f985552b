//! Logs that keep all threads of the recovery busy.

use super::*;

/// Enough for all threads of the recovery, several times over.
const MANY: u64 = 3_000;

/// Objects that are written, written again, and of which a third is deleted, in turns.
fn many() -> Memory {
    let mut store = Memory::new();
    let value = |name: &str, revision: u64| {
        let put = put(name, &revision.to_string(), Expected::Absent);
        let Operation::Put { bytes, .. } = put.operation else {
            unreachable!()
        };
        Some(bytes)
    };
    let mut last = BTreeMap::new();
    for revision in 1..=MANY {
        let name = format!("object-{}", revision * 7 % 100);
        let (created, replaces) = last.get(&name).copied().unwrap_or((revision, 0));
        let is_deleted = replaces > 0 && revision % 3 == 0;
        let change = Change {
            revision,
            key: storage_key(&CONFIG_MAPS, "ns", &name),
            value: value(&name, revision).filter(|_| !is_deleted),
            created,
            replaces,
        };
        match is_deleted {
            true => last.remove(&name),
            false => last.insert(name, (created, revision)),
        };
        store.commit(vec![Txn::of(&change)]).unwrap();
    }
    store
}

#[test]
fn a_long_log_is_restored_in_its_order() {
    let mut store = many();
    let mut wanted = BTreeMap::new();
    store
        .replay(&mut |change| {
            match change.value {
                Some(_) => wanted.insert(change.key, change.revision),
                None => wanted.remove(&change.key),
            };
        })
        .unwrap();
    let cache = recovery::recover(&mut store, &Encryption::default()).unwrap();
    let found: BTreeMap<_, _> = cache
        .list(CONFIG_MAPS.resource, None)
        .iter()
        .map(|stored| {
            let object = stored.object();
            let revision = stored.revision.to_string();
            assert_eq!(object["data"]["key"], *revision, "{}", stored.name);
            (
                storage_key(&CONFIG_MAPS, "ns", &stored.name),
                stored.revision,
            )
        })
        .collect();
    assert!(wanted.len() > 30, "{}", wanted.len());
    assert_eq!(found, wanted);
    assert_eq!(cache.revision(), MANY);
}

#[test]
fn damage_in_the_middle_of_a_long_log_is_told_with_its_place() {
    for damaged in [5, MANY / 2, MANY + 1] {
        let mut store = Memory::new();
        let mut whole = many();
        let mut change = 0;
        whole
            .replay(&mut |mut one| {
                change += 1;
                if change == damaged {
                    one.value = Some(Bytes::from_static(b"k8s\0nonsense"));
                }
                store.commit(vec![Txn::of(&one)]).unwrap();
            })
            .unwrap();
        let restored = recovery::recover(&mut store, &Encryption::default());
        let told = restored.err().map(|error| error.to_string());
        let told = told.unwrap_or_default();
        assert_eq!(
            told.contains("is damaged: at revision"),
            damaged <= MANY,
            "{damaged}: {told}"
        );
    }
}
