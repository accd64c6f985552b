//! Disks that fail and power that is lost, after every operation (E1, E2).

use super::{LOCAL, install, is_current, now};
use crate::store::conformance::{Authority, client_order, prepare};
use crate::store::dir::RealDisk;
use crate::store::disk::Disk as _;
use crate::store::faulty::{self, Fault, Faults};
use crate::store::layout::Layout;
use crate::store::memory::MemoryStore;
use crate::store::{CertStore, Finding, StoreError};
use everleaf_pki::{Chain, Credential, Leaf};
use jiff::SignedDuration;
use rustix::io::Errno;
use std::ffi::OsString;
use std::io;
use std::path::Path;

/// Three rotations, each accepted, and a way back; stops at the first error. Collects what was
/// installed: from the moment that `install` returns, it is a promise.
fn rotate(store: &mut dyn CertStore, installs: &mut Vec<Chain>) -> Result<(), StoreError> {
    let mut authority = Authority::new();
    for seed in 1..=3_u64 {
        let (pending, key) = prepare(client_order(), seed, now());
        store.put_pending(&pending, &key)?;
        let start = now() + SignedDuration::from_hours(seed.cast_signed());
        let chain = authority.issue(&pending, start, start + SignedDuration::from_hours(8760));
        store.install(&chain, LOCAL)?;
        installs.push(chain);
        store.discard_pending()?;
        store.accept()?;
        store.load(now())?;
    }
    match store.revert() {
        Ok(_) | Err(StoreError::NothingToRevert) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whatever was interrupted: what had been installed is still usable, and work can go on.
#[track_caller]
fn assert_recovers(store: &mut dyn CertStore, installs: &[Chain], case: &str) {
    let opened = store.load(now()).unwrap();
    assert!(opened.current.is_some() || installs.is_empty(), "{case}");
    if let (Some(last), Some(current)) = (installs.last(), &opened.current) {
        let begin = current.leaf().not_before();
        assert!(
            begin >= last.leaf().not_before(),
            "{case}: an older one came back"
        );
    }
    assert!(
        !opened
            .findings
            .iter()
            .any(|finding| matches!(finding, Finding::Quarantined { .. })),
        "{case}: a torn file was current: {:?}",
        opened.findings
    );
    assert_eq!(
        store.load(now()).unwrap().findings,
        [],
        "{case}: recovery is done once"
    );
    let next = install(store, 9).unwrap();
    assert!(is_current(&store.load(now()).unwrap(), &next), "{case}");
}

/// Before any recovery: a kubectl that reads the link at this moment finds a whole credential; and,
/// unless power was lost, no dated file lies about that nobody was told of, except the current one.
#[track_caller]
fn assert_never_absent(dir: &Path, installs: &[Chain], case: &str) {
    if installs.is_empty() {
        return;
    }
    let current = RealDisk.read(&dir.join("kubelet-client-current.pem"));
    let current = current.unwrap_or_else(|error| panic!("{case}: no current: {error}"));
    let current = Credential::from_pem(&current).unwrap();
    let is_known = |leaf: &Leaf| {
        leaf.fingerprint() == current.leaf().fingerprint()
            || installs
                .iter()
                .any(|chain| chain.leaf().fingerprint() == leaf.fingerprint())
    };
    for name in RealDisk.list(dir).unwrap() {
        if name.to_string_lossy().starts_with("kubelet-client-2026") {
            let credential = Credential::from_pem(&RealDisk.read(&dir.join(&name)).unwrap());
            let is_lost = case.contains("power");
            assert!(
                is_lost || is_known(credential.unwrap().leaf()),
                "{case}: {name:?}"
            );
        }
    }
}

#[test]
fn power_lost_after_any_operation_leaves_a_usable_credential_on_disk() {
    for loses_power in [true, false] {
        for fails_at in 1.. {
            let home = tempfile::tempdir().unwrap();
            let dir = home.path().to_owned();
            let fault = match loses_power {
                true => Fault::Stop,
                false => Fault::Once(Errno::NOSPC),
            };
            let faults = Faults::at(fails_at, fault);
            let mut store = faulty::store(&faults, &dir, "kubelet-client");
            let mut installs = Vec::new();
            let result = rotate(&mut store, &mut installs);
            let how = if loses_power {
                "power lost"
            } else {
                "disk full"
            };
            assert_never_absent(&dir, &installs, &format!("{how} at {fails_at}"));
            let mut reopened = Layout::new(RealDisk, dir.clone(), "kubelet-client".to_owned());
            assert_recovers(&mut reopened, &installs, &format!("stopped at {fails_at}"));
            let left = RealDisk.list(&dir).unwrap();
            let is_temporary = |name: &OsString| name.to_string_lossy().ends_with(".tmp");
            assert!(
                !left.iter().any(is_temporary),
                "stopped at {fails_at}: {left:?}"
            );
            if result.is_ok() && !faults.has_begun() {
                assert!(fails_at > 40, "only {fails_at} operations");
                break;
            }
        }
    }
}

#[test]
fn power_lost_with_unsynced_names_and_bytes_leaves_a_usable_credential() {
    let mut whole = MemoryStore::new("kubelet-client");
    rotate(&mut whole, &mut Vec::new()).unwrap();
    for stop in 0..whole.operations() {
        for kept_names in [0, 1, 2, 3, usize::MAX] {
            let mut store = MemoryStore::new("kubelet-client");
            store.lose_power_after(stop);
            let mut installs = Vec::new();
            rotate(&mut store, &mut installs).unwrap_err();
            store.restart(kept_names);
            assert_recovers(
                &mut store,
                &installs,
                &format!("stop {stop}, kept {kept_names}"),
            );
        }
    }
}

#[test]
fn a_refusing_disk_is_explained_and_changes_nothing() {
    for (kind, advice) in [
        (io::ErrorKind::StorageFull, "free some space"),
        (io::ErrorKind::ReadOnlyFilesystem, "must be writable"),
        (io::ErrorKind::PermissionDenied, "owner of the cert dir"),
    ] {
        let mut store = MemoryStore::new("kubelet-client");
        let first = install(&mut store, 1).unwrap();
        let mut failed = 0;
        for operation in 0..40 {
            store.fail_after(operation, kind);
            match install(&mut store, 2 + operation) {
                Err(error) => {
                    failed += 1;
                    let text = error.to_string();
                    assert!(text.contains("/cert-dir"), "{text}");
                    assert!(text.contains(advice), "{text}");
                }
                Ok(_) => break,
            }
            assert!(store.load(now()).unwrap().current.is_some());
        }
        assert!(failed > 10, "only {failed} operations could fail");
        let current = store.load(now()).unwrap().current.unwrap();
        assert!(current.leaf().not_before() >= first.leaf().not_before());
    }
}

/// Four certificates, the first three accepted, on a disk whose given operation fails once. Returns
/// how many operations that took.
fn four(home: &Path, faults: &Faults) -> (Layout<faulty::FaultyDisk>, Vec<Chain>, u64) {
    let mut store = faulty::store(faults, home, "kubelet-client");
    store.load(now()).unwrap();
    let mut installs = Vec::new();
    for seed in 1..=4 {
        installs.push(install(&mut store, seed).unwrap());
        if seed < 4 {
            store.accept().unwrap();
        }
    }
    let operations = faults.operations();
    (store, installs, operations)
}

/// The same for each operation of what `act` does after that.
fn at_each_operation_after_four(act: fn(&Path, &mut Layout<faulty::FaultyDisk>, &[Chain])) {
    let home = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let (mut store, installs, before) = four(home.path(), &faults);
    act(home.path(), &mut store, &installs);
    let after = faults.operations();
    assert!(after > before + 5, "only {} operations", after - before);
    for operation in before + 1..=after {
        let home = tempfile::tempdir().unwrap();
        let faults = Faults::at(operation, Fault::Once(Errno::IO));
        let (mut store, installs, _) = four(home.path(), &faults);
        act(home.path(), &mut store, &installs);
        assert!(faults.has_begun(), "{operation}: it did not happen");
    }
}

/// A file that could not be read at the moment is not one that is of no use.
#[test]
fn pruning_keeps_what_could_not_be_read() {
    at_each_operation_after_four(|home, store, installs| {
        let _ = store.accept();
        let mut left: Vec<_> = RealDisk
            .list(home)
            .unwrap()
            .into_iter()
            .filter_map(|name| RealDisk.read(&home.join(name)).ok())
            .filter_map(|bytes| Some(Credential::from_pem(&bytes).ok()?.leaf().fingerprint()))
            .collect();
        left.dedup();
        for (index, chain) in installs.iter().enumerate().skip(1) {
            let is_left = left.contains(&chain.leaf().fingerprint());
            assert!(is_left, "the certificate {index} is gone");
        }
    });
}

/// Nor does an older one take its place for good.
#[test]
fn relinking_passes_over_no_file_that_could_not_be_read() {
    at_each_operation_after_four(|home, store, installs| {
        let current = std::fs::read_link(home.join("kubelet-client-current.pem")).unwrap();
        std::fs::remove_file(current).unwrap();
        if let Ok(opened) = store.load(now()) {
            assert!(opened.current.is_some(), "{:?}", opened.findings);
        }
        // The operation that fails may be one of this load, but not of the next, too.
        let opened = store.load(now()).or_else(|_| store.load(now()));
        assert!(is_current(&opened.unwrap(), &installs[2]));
    });
}
