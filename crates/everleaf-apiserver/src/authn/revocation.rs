//! Client certificates that are refused although they are good.
//!
//! Asked on each request, like the rest of a certificate's worth, not in the handshake: who is
//! connected already is refused with the next request. The list is an object of the store
//! ([`everleaf_api::revocation`]), so that every API server on the same store goes by it as soon as
//! it sees the change. While nothing is revoked, the question costs one look-up.

use crate::objects::{Objects, Stored};
use arc_swap::ArcSwapOption;
use everleaf_api::revocation::{Facts, NAME, NAMESPACE, Revocations};
use everleaf_pki::Leaf;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// In place of an entry.
const UNREADABLE: &str = "the list itself, which cannot be read: see --encryption-provider-config";
/// Most certificates whose verdict is remembered; then it begins anew.
const REMEMBERED_MAX: usize = 16_384;

/// The list, read once per change.
#[derive(Default)]
pub(super) struct Revoked {
    current: ArcSwapOption<List>,
    /// What was told of last, and its revision.
    told: Mutex<(u64, Revocations)>,
}

/// The list at one revision.
struct List {
    revision: u64,
    revocations: Revocations,
    /// By SHA-256 of the leaf: by which entry it is refused, if it is.
    verdicts: Mutex<HashMap<[u8; 32], Option<String>>>,
}

impl Revoked {
    /// By which entry this leaf (DER) is refused, if it is. All are while the list is there and
    /// cannot be read: any of them may be on it.
    pub(super) fn refuses(&self, leaf: &[u8], objects: &dyn Objects) -> Option<String> {
        if is_unreadable(objects) {
            return Some(UNREADABLE.to_owned());
        }
        self.list(objects)?.judge(leaf)
    }

    /// The revision of the list; 0: there is none; the highest number: it cannot be read. What came
    /// and went since the last look is told: whoever may write the object may let everybody in
    /// again.
    pub(super) fn look(&self, objects: &dyn Objects, now: Timestamp) -> u64 {
        if is_unreadable(objects) {
            return u64::MAX;
        }
        let revision = stored(objects).map_or(0, |stored| stored.revision);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0 == revision {
            return revision;
        }
        let list = self.list(objects);
        let after = list.map_or_else(Revocations::default, |list| list.revocations.clone());
        let (added, removed) = (lacking(&told.1, &after, now), lacking(&after, &told.1, now));
        if removed > 0 {
            tracing::warn!(
                added,
                removed,
                "revocations were taken back: what they refused is let in again"
            );
        } else if added > 0 {
            tracing::info!(added, "certificates are revoked");
        }
        *told = (revision, after);
        revision
    }

    /// None: nothing is revoked.
    fn list(&self, objects: &dyn Objects) -> Option<Arc<List>> {
        let stored = stored(objects)?;
        let current = self.current.load_full();
        let list = match current.filter(|list| list.revision == stored.revision) {
            Some(list) => list,
            None => {
                let list = Arc::new(List {
                    revision: stored.revision,
                    revocations: Revocations::of_config_map(&stored.object()),
                    verdicts: Mutex::default(),
                });
                self.current.store(Some(Arc::clone(&list)));
                list
            }
        };
        (!list.revocations.is_empty()).then_some(list)
    }
}

/// How many entries of `other`, which still mean something, are not in `these`.
fn lacking(these: &Revocations, other: &Revocations, now: Timestamp) -> usize {
    let entries = other.iter().filter(|(_, entry)| !entry.is_over(now));
    entries.filter(|(target, _)| !these.has(target)).count()
}

fn stored(objects: &dyn Objects) -> Option<Arc<Stored>> {
    objects.get("configmaps", NAMESPACE, NAME)
}

fn is_unreadable(objects: &dyn Objects) -> bool {
    objects.unreadable("configmaps", NAMESPACE, NAME).is_some()
}

impl List {
    fn judge(&self, leaf: &[u8]) -> Option<String> {
        let digest = super::x509::digest_of_all(leaf, &[]);
        let verdicts = || self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(verdict) = verdicts().get(&digest) {
            return verdict.clone();
        }
        // Whoever cannot read it refuses it for that.
        let leaf = Leaf::from_der(leaf).ok()?;
        let facts = Facts {
            serial: &leaf.serial().to_string(),
            credential: &leaf.fingerprint().to_string(),
            common_name: &leaf.subject().common_name,
            not_before: leaf.not_before(),
        };
        let by = self.revocations.refuses(facts).map(ToString::to_string);
        let mut verdicts = verdicts();
        if verdicts.len() >= REMEMBERED_MAX {
            verdicts.clear();
        }
        verdicts.insert(digest, by.clone());
        by
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A list that is in the store, or is there and cannot be read.
    struct Unreadable(bool);

    impl Objects for Unreadable {
        fn get(&self, _: &str, _: &str, _: &str) -> Option<Arc<Stored>> {
            None
        }

        fn list(&self, _: &str, _: Option<&str>) -> Vec<Arc<Stored>> {
            Vec::new()
        }

        fn last_change(&self, _: &str) -> u64 {
            0
        }

        fn unreadable(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<str>> {
            let is_list = (resource, namespace, name) == ("configmaps", NAMESPACE, NAME);
            (self.0 && is_list).then(|| "no key".into())
        }
    }

    #[test]
    fn all_are_refused_while_the_list_cannot_be_read() {
        let (revoked, now) = (Revoked::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(revoked.refuses(b"", &Unreadable(false)), None);
        assert_eq!(revoked.look(&Unreadable(false), now), 0);
        let by = revoked.refuses(b"", &Unreadable(true));
        assert_eq!(by.as_deref(), Some(UNREADABLE));
        assert_eq!(
            revoked.look(&Unreadable(true), now),
            u64::MAX,
            "judged anew"
        );
    }

    /// What has ended is taken out by the next command, and lets nobody in.
    #[test]
    fn what_is_taken_back_is_counted_and_what_has_ended_is_not() {
        let of = |data| Revocations::of_config_map(&json!({"data": data}));
        let all = of(json!({"node.n1": "{}", "serial.5B": r#"{"until": "2030-01-01T00:00:00Z"}"#}));
        let (now, later) = ("2029-01-01T00:00:00Z", "2031-01-01T00:00:00Z");
        for (left, now, count) in [
            (json!({"node.n1": "no JSON", "serial.5B": ""}), now, 0),
            (json!({"node.n1": "{}"}), now, 1),
            (json!({"node.n1": "{}"}), later, 0),
            (json!(null), now, 2),
        ] {
            let now = now.parse().expect("a time");
            assert_eq!(lacking(&of(left.clone()), &all, now), count, "{left}");
        }
    }
}
