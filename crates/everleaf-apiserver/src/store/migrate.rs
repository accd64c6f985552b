//! The objects of a store in a data directory, moved into an etcd and back.
//!
//! Into etcd, what is there is the record of what is done: whoever was interrupted begins again,
//! and writes what is missing. Nothing else may be there. Before the first object is written,
//! etcd's revision is raised above the store's, so that no client takes a resource version from
//! before for one that is still to come; one that is older than what etcd remembers gets 410. Back
//! into a data directory, a store is made as of a snapshot: whole, or not at all.
//!
//! Values are moved as they are, encrypted ones, too. In the end both sides are read again and
//! compared, object by object.

use super::embedded::{Reader, Rows};
use super::etcd::{Etcd, EtcdConfig};
use super::snapshot::{Failure, Header, Summary, Trailer};
use super::{Change, Embedded, KEY_PREFIX, StoreError, Txn};
use crate::registry::{DESCRIPTORS, Descriptor};
use aws_lc_rs::digest::{SHA256, digest};
use std::collections::BTreeMap;
use std::path::Path;

/// Objects on their way at once.
const BATCH: usize = 128;
/// Revisions by which an etcd is raised at most: some minutes.
const RAISE_MAX: u64 = 20_000_000;
/// Every how many objects, or revisions, the progress is told.
const TELL_EACH: u64 = 10_000;
/// Values that are bound to their keys.
const BOUND: &[u8] = b"k8s:enc:aesgcm:";

/// What was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Objects.
    pub objects: u64,
    /// Of them, those that an earlier attempt had moved.
    pub before: u64,
    /// Keys in etcd that are no objects of Everleaf's.
    pub others: u64,
    /// The revision that both stand at, or above.
    pub revision: u64,
    /// Over the keys and SHA-256 of all values, hexadecimal.
    pub sha256: String,
}

/// What a key's value is: its SHA-256.
type Digests = BTreeMap<String, [u8; 32]>;

fn sum(value: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, value).as_ref());
    sum
}

fn sum_of_all(digests: &Digests) -> String {
    let mut all = Vec::new();
    for (key, digest) in digests {
        all.extend_from_slice(key.as_bytes());
        all.push(0);
        all.extend_from_slice(digest);
    }
    sum(&all).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All that is whole in a store, as it is now.
fn digests(reader: &Reader) -> Result<Digests, Failure> {
    let mut found = Digests::new();
    reader.rows::<Failure>(Rows::Alive, &mut |row| {
        let is_whole = row.is_whole();
        let change = row.change;
        if !is_whole {
            return Err(Failure::Store(StoreError::Damaged {
                path: reader.path().display().to_string(),
                key: change.key,
                revision: change.revision,
            }));
        }
        let digest = sum(change.value.as_deref().unwrap_or_default());
        found.insert(change.key, digest);
        Ok(())
    })?;
    Ok(found)
}

/// Refuses values that cannot be read under another prefix.
fn check_bound(prefix: &str, key: &str, value: &[u8]) -> Result<(), Failure> {
    let is_same = prefix.trim_matches('/') == KEY_PREFIX.trim_matches('/');
    if is_same || !value.starts_with(BOUND) {
        return Ok(());
    }
    Err(Failure::Bound {
        key: key.to_owned(),
        prefix: prefix.to_owned(),
    })
}

fn ttl_of(key: &str) -> u32 {
    let rest = key.strip_prefix(KEY_PREFIX).unwrap_or(key);
    let of = |one: &&&'static Descriptor| {
        let rest = rest.strip_prefix(one.storage);
        rest.is_some_and(|rest| rest.starts_with('/'))
    };
    let retention = DESCRIPTORS.iter().find(of).and_then(|one| one.retention);
    retention.map_or(0, |retention| {
        u32::try_from(retention.ttl.as_secs()).unwrap_or(0)
    })
}

/// What an etcd holds of ours, and whatever is no copy of `source`.
fn compare(etcd: &Etcd, source: &Digests) -> Result<Digests, Failure> {
    let mut found = Digests::new();
    etcd.survey::<Failure>(&mut |key, value| {
        let digest = sum(value);
        if source.get(key) != Some(&digest) {
            return Err(Failure::Occupied(key.to_owned()));
        }
        found.insert(key.to_owned(), digest);
        Ok(())
    })?;
    Ok(found)
}

/// Moves all objects of a store that no server has open into an etcd in which there is nothing
/// else.
///
/// # Errors
/// There is something else, something is damaged, or a call fails: then this can be called again.
pub fn to_etcd(
    reader: &Reader,
    config: EtcdConfig,
    tell: &mut dyn FnMut(&str),
) -> Result<Moved, Failure> {
    let prefix = config.prefix.clone();
    let source = digests(reader)?;
    let etcd = Etcd::open(config)?;
    let done = compare(&etcd, &source)?;
    let revision = reader.position().revision;
    raise(&etcd, revision, tell)?;
    let (mut batch, mut written) = (Vec::with_capacity(BATCH), 0);
    reader.rows::<Failure>(Rows::Alive, &mut |row| {
        let Change { key, value, .. } = row.change;
        if done.contains_key(&key) {
            return Ok(());
        }
        check_bound(&prefix, &key, value.as_deref().unwrap_or_default())?;
        batch.push(Txn {
            ttl_s: ttl_of(&key),
            follows: 0,
            key,
            value,
        });
        if batch.len() == BATCH {
            etcd.put_new(std::mem::take(&mut batch))?;
            written += BATCH as u64;
            if written % TELL_EACH < BATCH as u64 {
                tell(&format!("{written} objects are written"));
            }
        }
        Ok(())
    })?;
    etcd.put_new(batch)?;
    let found = compare(&etcd, &source)?;
    if let Some(missing) = source.keys().find(|key| !found.contains_key(*key)) {
        return Err(Failure::Differs(missing.clone()));
    }
    Ok(Moved {
        objects: source.len() as u64,
        before: done.len() as u64,
        others: 0,
        revision: etcd.forget_move()?,
        sha256: sum_of_all(&source),
    })
}

/// Has every resource version that the store ever gave out be in the past.
fn raise(etcd: &Etcd, revision: u64, tell: &mut dyn FnMut(&str)) -> Result<(), Failure> {
    let begun = etcd.latest()?;
    if revision.saturating_sub(begun) > RAISE_MAX {
        return Err(Failure::TooFar {
            revision,
            latest: begun,
        });
    }
    let mut told = begun;
    loop {
        let latest = etcd.raise(revision)?;
        if latest > revision {
            return Ok(());
        }
        if latest - told >= TELL_EACH {
            tell(&format!(
                "etcd's revision is raised: {latest} of {revision}"
            ));
            told = latest;
        }
    }
}

/// Makes a store in `directory`, which must hold none, of what an etcd holds of ours now. No API
/// server may be writing to it.
///
/// # Errors
/// The etcd cannot be read or is written to, or the disk fails.
pub fn from_etcd(
    config: EtcdConfig,
    directory: &Path,
    header: impl Fn(u64) -> Header,
) -> Result<Moved, Failure> {
    let prefix = config.prefix.clone();
    let etcd = Etcd::open(config)?;
    let (revision, mut changes) = etcd.contents()?;
    let mut source = Digests::new();
    for change in &mut changes {
        change.replaces = 0;
        let value = change.value.as_deref().unwrap_or_default();
        check_bound(&prefix, &change.key, value)?;
        source.insert(change.key.clone(), sum(value));
    }
    let bytes = changes.iter().filter_map(|change| change.value.as_deref());
    let trailer = Trailer {
        objects: changes.len() as u64,
        bytes: bytes.map(|value| value.len() as u64).sum(),
        skipped: 0,
        sha256: sum_of_all(&source),
    };
    Embedded::fill(directory, 0, &mut |put| {
        for change in changes.drain(..) {
            put(change)?;
        }
        Ok(Summary {
            header: header(revision),
            trailer: trailer.clone(),
            damaged: Vec::new(),
        })
    })?;
    let written = digests(&Reader::open(directory)?)?;
    let (mut others, mut again) = (0, Digests::new());
    etcd.survey::<Failure>(&mut |key, value| {
        match source.contains_key(key) || etcd.holds(key) {
            true => drop(again.insert(key.to_owned(), sum(value))),
            false => others += 1,
        }
        Ok(())
    })?;
    for (left, right) in [(&written, &again), (&again, &written)] {
        let differs = left.iter().find(|(key, sum)| right.get(*key) != Some(*sum));
        if let Some((key, _)) = differs {
            return Err(Failure::Differs(key.clone()));
        }
    }
    Ok(Moved {
        objects: trailer.objects,
        before: 0,
        others,
        revision,
        sha256: trailer.sha256,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bound_to_its_key_moves_under_the_same_one_alone() {
        let key = "/registry/secrets/default/a";
        for (prefix, value, moves) in [
            ("/registry", &b"k8s:enc:aesgcm:v1:k:x"[..], true),
            ("registry/", b"k8s:enc:aesgcm:v1:k:x", true),
            ("/kubernetes.io", b"k8s:enc:aesgcm:v1:k:x", false),
            ("/kubernetes.io", b"k8s:enc:secretbox:v1:k:x", true),
            ("/kubernetes.io", b"k8s\0", true),
        ] {
            let checked = check_bound(prefix, key, value);
            assert_eq!(checked.is_ok(), moves, "{prefix} {}", value.escape_ascii());
            if let Err(refused) = checked {
                let told = refused.to_string();
                assert!(told.contains(key) && told.contains(prefix), "{told}");
            }
        }
    }

    #[test]
    fn events_alone_end_by_themselves() {
        assert_eq!(ttl_of("/registry/events/default/a"), 3600);
        assert_eq!(ttl_of("/registry/eventsources/default/a"), 0);
        assert_eq!(ttl_of("/registry/secrets/default/a"), 0);
    }

    #[test]
    fn the_sum_is_over_keys_and_values() {
        let of = |pairs: &[(&str, &[u8])]| {
            let pairs = pairs.iter();
            sum_of_all(
                &pairs
                    .map(|(key, value)| ((*key).to_owned(), sum(value)))
                    .collect(),
            )
        };
        let all = of(&[("a", b"1"), ("b", b"2")]);
        assert_eq!(all, of(&[("b", b"2"), ("a", b"1")]));
        for other in [
            of(&[("a", b"2"), ("b", b"1")]),
            of(&[("a", b"1")]),
            of(&[("a", b"1"), ("c", b"2")]),
        ] {
            assert_ne!(all, other);
        }
    }
}
