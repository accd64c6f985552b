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
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most certificates whose verdict is remembered; then it begins anew.
const REMEMBERED_MAX: usize = 16_384;

/// The list, read once per change.
#[derive(Default)]
pub(super) struct Revoked {
    current: ArcSwapOption<List>,
}

/// The list at one revision.
struct List {
    revision: u64,
    revocations: Revocations,
    /// By SHA-256 of the leaf: by which entry it is refused, if it is.
    verdicts: Mutex<HashMap<[u8; 32], Option<String>>>,
}

impl Revoked {
    /// By which entry this leaf (DER) is refused, if it is.
    pub(super) fn refuses(&self, leaf: &[u8], objects: &dyn Objects) -> Option<String> {
        self.list(objects)?.judge(leaf)
    }

    /// The revision of the list; 0: there is none.
    pub(super) fn revision(&self, objects: &dyn Objects) -> u64 {
        stored(objects).map_or(0, |stored| stored.revision)
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

fn stored(objects: &dyn Objects) -> Option<Arc<Stored>> {
    objects.get("configmaps", NAMESPACE, NAME)
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
