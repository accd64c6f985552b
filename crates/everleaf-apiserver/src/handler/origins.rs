//! Where requests for certificates were filed from, while this process remembers.
//!
//! A node's serving request tells addresses; the connection that it came over is the one word about
//! them that is not the node's own. It is no part of the object: nobody but an approver in this
//! process learns it, and after a restart it is not known.

use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Requests that are remembered; the oldest are forgotten first.
const REQUESTS_MAX: usize = 65_536;

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Origins {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_request: BTreeMap<Key, IpAddr>,
    order: VecDeque<Key>,
}

/// Who filed it, and a digest of what was filed. Known before the request has a UID, so that an
/// approver that is told of it finds its origin; and nobody reaches what another has filed.
type Key = (String, u64);

fn key(username: &str, csr: &Value) -> Key {
    let mut hasher = DefaultHasher::new();
    let request = csr.pointer("/spec/request").and_then(Value::as_str);
    request.unwrap_or_default().hash(&mut hasher);
    (username.to_owned(), hasher.finish())
}

impl Origins {
    /// This user files this request from there.
    pub(super) fn note(&self, username: &str, csr: &Value, origin: IpAddr) {
        let key = key(username, csr);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.by_request.insert(key.clone(), origin).is_some() {
            return;
        }
        known.order.push_back(key);
        if known.order.len() > REQUESTS_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.by_request.remove(&oldest);
        }
    }

    /// Where this stored request was filed from, if that is known.
    pub(super) fn of(&self, csr: &Value) -> Option<IpAddr> {
        let username = csr.pointer("/spec/username").and_then(Value::as_str)?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.by_request.get(&key(username, csr)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn csr(user: &str, request: &str) -> Value {
        json!({ "spec": { "username": user, "request": request } })
    }

    #[test]
    fn whoever_files_the_same_changes_nothing_for_others() {
        let origins = Origins::default();
        let (near, far): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        origins.note("a", &csr("", "x"), near);
        origins.note("b", &csr("", "x"), far);
        assert_eq!(origins.of(&csr("a", "x")), Some(near));
        assert_eq!(origins.of(&csr("b", "x")), Some(far));
        assert_eq!(origins.of(&csr("a", "y")), None);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let origins = Origins::default();
        let origin: IpAddr = [10, 0, 0, 1].into();
        for number in 0..=REQUESTS_MAX {
            origins.note("a", &csr("a", &number.to_string()), origin);
        }
        assert_eq!(origins.of(&csr("a", "0")), None);
        assert_eq!(origins.of(&csr("a", "1")), Some(origin));
        assert_eq!(origins.known.lock().unwrap().by_request.len(), REQUESTS_MAX);
    }
}
